"""GhostNet: layer names in timm's files."""

from bisect import bisect

from kcnn.architectures.publishers import make_mapping, rename_parts

FIRST = (1, 2, 3, 4, 5, 6, 7, 12, 13)  # units that begin a stage of timm
PARTS = {
    "expand": "ghost1.primary_conv.0",
    "expand_bn": "ghost1.primary_conv.1",
    "expand_cheap": "ghost1.cheap_operation.0",
    "expand_cheap_bn": "ghost1.cheap_operation.1",
    "depthwise": "conv_dw",
    "depthwise_bn": "bn_dw",
    "squeeze_reduce": "se.conv_reduce",
    "squeeze_expand": "se.conv_expand",
    "project": "ghost2.primary_conv.0",
    "project_bn": "ghost2.primary_conv.1",
    "project_cheap": "ghost2.cheap_operation.0",
    "project_cheap_bn": "ghost2.cheap_operation.1",
    "skip_a": "shortcut.0",
    "skip_a_bn": "shortcut.1",
    "skip_b": "shortcut.2",
    "skip_b_bn": "shortcut.3",
}
ENDS = {
    "stem": "conv_stem",
    "stem_bn": "bn1",
    "last": "blocks.9.0.conv",
    "last_bn": "blocks.9.0.bn1",
    "fc": "conv_head",
    "logits": "classifier",
}


def to_timm(layer):
    """Rename unit7_expand_cheap to blocks.6.0.ghost1.cheap_operation.0."""
    if layer in ENDS:
        return ENDS[layer]
    number, part = rename_parts(r"unit(\d+)_(\w+)", layer)
    stage = bisect(FIRST, int(number)) - 1
    return f"blocks.{stage}.{int(number) - FIRST[stage]}.{PARTS[part]}"


def map_timm(model):
    """Return the mapping of timm's files, for its network of this name."""
    return {"timm": make_mapping(to_timm, models={model: {}}, reshaped=("fc",))}
