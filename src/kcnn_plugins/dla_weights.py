"""Deep layer aggregation: layer names in timm's files."""

from kcnn.architectures.publishers import make_mapping, rename_parts

CONVOLUTIONS = {"a": "conv1", "b": "conv2", "c": "conv3"}


def to_timm(layer):
    """Rename stage4_tree1_tree2_a to level3.tree1.tree2.conv1, stage4_tree1_root_bn to level3.tree1.root.bn."""
    if layer == "logits":
        return "fc"
    bare, norm = layer.removesuffix("_bn"), layer.endswith("_bn")
    if bare in ("stem", "stage1", "stage2"):
        return f"{'base_layer' if bare == 'stem' else f'level{int(bare[-1]) - 1}'}.{int(norm)}"
    stage, path, part = rename_parts(r"stage(\d+)((?:_tree\d)*)_(a|b|c|root|project)", bare)
    convolution = CONVOLUTIONS.get(part, "")
    within = {"root": "root.bn" if norm else "root.conv", "project": f"project.{int(norm)}"}.get(part)
    within = within or (convolution.replace("conv", "bn") if norm else convolution)
    return f"level{int(stage) - 1}{path.replace('_', '.')}.{within}"


def map_timm(model):
    """Return the mapping of the files of timm's network of a name."""
    return {"timm": make_mapping(to_timm, models={model: {}}, reshaped=("logits",))}
