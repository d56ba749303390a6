"""DarkNet-53: layer names in timm's files."""

from kcnn.architectures.publishers import make_mapping, rename_normalized, rename_parts


def to_timm(layer):
    """Rename stem to stem.conv1, stage1_down to stages.0.conv_down, stage1_unit1_b to stages.0.blocks.0.conv2."""
    if layer == "stem":
        return "stem.conv1"
    stage, _, number, part = rename_parts(r"stage(\d+)_(down|unit(\d+)_(a|b))", layer)
    within = f"blocks.{int(number) - 1}.conv{'ab'.index(part) + 1}" if number else "conv_down"
    return f"stages.{int(stage) - 1}.{within}"


def to_timm_or_logits(layer):
    """Rename the classifier to head.fc, and other layers as `to_timm` does, with .conv or .bn."""
    return "head.fc" if layer == "logits" else rename_normalized(to_timm)(layer)


TIMM_MAPPING = {"timm": make_mapping(to_timm_or_logits, models={"darknet53": {}})}
