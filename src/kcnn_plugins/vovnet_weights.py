"""VoVNet v2: layer names in timm's files."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import rename_parts


def to_timm(layers):
    """Rename stage1_unit1_layer2 to stages.0.blocks.0.conv_mid.1.conv, or to ...conv_pw after a depthwise layer."""
    names = {}
    for layer in layers:
        bare = layer.removesuffix("_bn").removesuffix("_depthwise")
        leaf = "bn" if layer.endswith("_bn") else "conv"
        if leaf == "conv" and f"{bare}_depthwise" in layers:
            leaf = "conv_dw" if layer.endswith("_depthwise") else "conv_pw"
        if bare == "logits":
            names[layer] = "head.fc"
        elif bare.startswith("stem"):
            names[layer] = f"stem.{int(bare[4:]) - 1}.{leaf}"
        else:
            stage, number, part, index = rename_parts(
                r"stage(\d+)_unit(\d+)_(layer|reduce|aggregate|excite_fc)(\d*)", bare
            )
            known = {"reduce": f"conv_reduction.{leaf}", "aggregate": f"conv_concat.{leaf}", "excite_fc": "attn.fc"}
            within = known.get(part) or f"conv_mid.{int(index) - 1}.{leaf}"
            names[layer] = f"stages.{int(stage) - 1}.blocks.{int(number) - 1}.{within}"
    return names


def map_timm(model):
    """Return the mapping of the files of timm's network of a name."""
    return {"timm": WeightMapping(names=to_timm, models={model: {}})}
