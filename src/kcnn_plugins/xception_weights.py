"""Xception: layer names in Keras' and timm's files, and the weights that Keras publishes."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import add_group_names, make_mapping, rename_parts, tf_slim_weights

PATTERN = r"(stem|last|block)(\d+)(?:_(sep\d|skip))?(_depthwise|_pointwise)?(_bn)?"
SKIPS = ("1", "2", "3", "12")  # blocks with a projection, whose layers Keras numbers


def to_keras(layer):
    """Rename block1_sep2_depthwise to block2_sepconv2_depthwise: Keras counts the stem first."""
    if layer == "logits":
        return "predictions"
    kind, number, position, part, norm = rename_parts(PATTERN, layer)
    if position == "skip":
        return f"{'batch_normalization' if norm else 'conv2d'}_{SKIPS.index(number)}"
    if kind == "stem":
        return f"block1_conv{number}{norm}"
    block, index = (int(number) + 1, position[3:]) if kind == "block" else (14, number)
    return f"block{block}_sepconv{index}{norm or part}"


def to_timm(layer):
    """Rename block2_sep2_pointwise_bn to block2.rep.5: its activations, convolutions and normalizations are counted."""
    if layer == "logits":
        return "fc"
    kind, number, position, part, norm = rename_parts(PATTERN, layer)
    within = "" if norm else {"_depthwise": ".conv1", "_pointwise": ".pointwise", "": ""}[part]
    if position == "skip":
        return f"block{number}.skip{'bn' if norm else ''}"
    if kind == "block":
        start = 3 * int(position[3:]) - (3 if number == "1" else 2)  # the first block starts without an activation
        return f"block{number}.rep.{start + bool(norm)}{within}"
    return f"{'bn' if norm else 'conv'}{int(number) + 2 * (kind == 'last')}{within}"


def to_keras_hub(layers):
    """Rename as Keras does, but block1_skip to block2_residual_conv; a projection comes last of its block."""

    def rename(layer):
        if "_skip" not in layer:
            return to_keras(layer)
        number, norm = rename_parts(r"block(\d+)_skip(_bn)?", layer)
        return f"block{int(number) + 1}_residual_{'bn' if norm else 'conv'}"

    def place(layer):
        kind, number, position, *_ = rename_parts(PATTERN, layer) if layer != "logits" else ("logits", 0, "")
        return ("stem", "block", "last", "logits").index(kind), int(number), position == "skip"

    return add_group_names({layer: rename(layer) for layer in sorted(layers, key=place)})


KERAS_MAPPINGS = {
    "keras": WeightMapping(names=lambda layers: {layer: to_keras(layer) for layer in layers}, numbered=True),
    "keras_hub": WeightMapping(names=to_keras_hub, models={"xception_41": {}}),
}
TIMM_MAPPING = {"timm": make_mapping(to_timm, models={"legacy_xception": {}})}
KERAS = tf_slim_weights(
    "xception",
    "0a58e3b7378bc2990ea3b43d5981f1f6",
    "b0042744bf5b25fce3cb969f33bebb97",
    79.0,
    "MIT, Francois Chollet",
    resize=342,
    crop=299,
)
