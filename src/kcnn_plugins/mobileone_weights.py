"""MobileOne: names of layers in timm's files."""

from kcnn.architectures.publishers import make_mapping, rename_parts


def to_timm(layer):
    """Rename stage2_unit1_pointwise_conv1_bn to stages.1.1.conv_kxk.0.bn."""
    if layer == "logits":
        return "head.fc"
    stage, unit, half, part, number, norm = rename_parts(
        r"(?:stem|stage(\d+)_unit(\d+)_(depthwise|pointwise))_(conv|1x1|identity)(\d*)(_bn)?", layer
    )
    position = 2 * int(unit or 1) - (2 if half == "depthwise" else 1)
    block = f"stages.{int(stage) - 1}.{position}" if stage else "stem"
    if part == "identity":
        return f"{block}.identity"
    within = "conv_scale" if part == "1x1" else f"conv_kxk.{int(number or 1) - 1}"
    return f"{block}.{within}.{'bn' if norm else 'conv'}"


def map_timm(name):
    """Return timm's mapping for a network."""
    return {"timm": make_mapping(to_timm, models={name: {}})}
