"""MobileNet v4: layer names in timm's files; neither Keras nor torchvision publishes the network."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import rename_parts

ENDS = {
    "stem": "conv_stem",
    "stem_bn": "bn1",
    "last": "blocks.4.0.conv",
    "last_bn": "blocks.4.0.bn1",
    "fc": "conv_head",
    "fc_bn": "norm_head",
    "logits": "classifier",
}
UNIVERSAL = {"start": "dw_start", "expand": "pw_exp", "depthwise": "dw_mid", "project": "pw_proj"}
FUSED = {"expand": ("conv_exp", "bn1"), "project": ("conv_pwl", "bn2")}


def to_timm(layers):
    """Rename stage3_unit1_start to blocks.2.0.dw_start.conv; stages 1 and 2 of the small network have plain names."""
    fused = {"1", "2"} if "stage2_unit2_expand" not in layers else {"1"}
    names = {}
    for layer in layers:
        if layer in ENDS:
            names[layer] = ENDS[layer]
            continue
        stage, unit, part, norm = rename_parts(r"stage(\d)_unit(\d+)_([a-z]+?)(_bn)?", layer)
        parent = f"blocks.{int(stage) - 1}"
        if stage not in fused:
            names[layer] = f"{parent}.{int(unit) - 1}.{UNIVERSAL[part]}.{'bn' if norm else 'conv'}"
        elif len(fused) == 2:
            names[layer] = f"{parent}.{int(part == 'project')}.{'bn1' if norm else 'conv'}"
        else:
            names[layer] = f"{parent}.0.{FUSED[part][bool(norm)]}"
    return names


def map_timm(model):
    """Return the mapping of timm's files, for its network of this name."""
    return {"timm": WeightMapping(names=to_timm, models={model: {}})}
