"""RepVGG: names of layers in timm's files."""

from kcnn.architectures.publishers import make_mapping, rename_parts


def to_timm(layer):
    """Rename stage2_unit1_conv_bn to stages.0.0.conv_kxk.bn; stage 1 is the stem."""
    if layer == "logits":
        return "head.fc"
    stage, unit, part, norm = rename_parts(r"stage(\d+)_unit(\d+)_(conv|1x1|identity)(_bn)?", layer)
    block = "stem" if stage == "1" else f"stages.{int(stage) - 2}.{int(unit) - 1}"
    within = {"conv": "conv_kxk", "1x1": "conv_1x1", "identity": "identity"}[part]
    return f"{block}.{within}" + ("" if part == "identity" else ".bn" if norm else ".conv")


def map_timm(name):
    """Return timm's mapping for a network."""
    return {"timm": make_mapping(to_timm, models={name: {}})}
