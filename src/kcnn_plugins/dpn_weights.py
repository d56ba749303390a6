"""Dual path networks: layer names in timm's files."""

from kcnn.architectures.publishers import make_mapping, rename_parts

PARTS = {  # timm keeps each normalization with the convolution that follows it
    "pre_bn": "c1x1_a.bn",
    "a": "c1x1_a.conv",
    "a_bn": "c3x3_b.bn",
    "b": "c3x3_b.conv",
    "b_bn": "c1x1_c.bn",
    "c": "c1x1_c.conv",
    "skip_pre_bn": "c1x1_w_s{stride}.bn",
    "skip": "c1x1_w_s{stride}.conv",
}
ENDS = {
    "stem": "features.conv1_1.conv",
    "stem_bn": "features.conv1_1.bn",
    "last_bn": "features.conv5_bn_ac.bn",
    "logits": "classifier",
}


def to_timm(layer):
    """Rename stage2_unit1_skip to features.conv3_1.c1x1_w_s2.conv."""
    if layer in ENDS:
        return ENDS[layer]
    stage, number, part = rename_parts(r"stage(\d)_unit(\d+)_(\w+)", layer)
    return f"features.conv{int(stage) + 1}_{number}.{PARTS[part].format(stride=min(int(stage), 2))}"


def map_timm(model):
    """Return the mapping of timm's files, for its network of this name."""
    return {"timm": make_mapping(to_timm, models={model: {}}, reshaped=("logits",))}
