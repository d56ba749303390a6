"""ResNet v2: layer names in Keras' and timm's files, and the weights that Keras publishes."""

from functools import partial

from kcnn import WeightMapping
from kcnn.architectures.publishers import make_mapping, rename_keras_hub_units, rename_parts, tf_slim_weights

POSITIONS = ("skip", "a", "b", "c")


def split_name(layer):
    """Return the stage, unit and position of "stage1_unit2_a_bn", and whether it is a normalization."""
    stage, number, position, norm = rename_parts(r"stage(\d+)_unit(\d+)_(pre|a|b|c|skip)(_bn|_norm)?", layer)
    return int(stage), int(number), position, bool(norm)


def to_keras(layer):
    """Rename stage1_unit2_a_bn to conv2_block2_1_bn, stage1_unit1_pre_bn to conv2_block1_preact_bn."""
    known = {"stem": "conv1_conv", "last_bn": "post_bn", "logits": ("predictions", "probs")}
    if layer in known:
        return known[layer]
    stage, number, position, norm = split_name(layer)
    within = "preact" if position == "pre" else POSITIONS.index(position)
    return f"conv{stage + 1}_block{number}_{within}_{'bn' if norm else 'conv'}"


def to_timm(layer):
    """Count the normalizations of a unit before its convolutions: stage1_unit1_a_bn is norm2."""
    known = {"stem": "stem.conv", "last_bn": "norm", "last_norm": "norm", "logits": "head.fc"}
    if layer in known:
        return known[layer]
    stage, number, position, norm = split_name(layer)
    parent = f"stages.{stage - 1}.blocks.{number - 1}"
    if position == "skip":
        return f"{parent}.downsample.conv"
    return (
        f"{parent}.norm{('pre', 'a', 'b').index(position) + 1}" if norm else f"{parent}.conv{POSITIONS.index(position)}"
    )


KERAS_MAPPING = {"keras": make_mapping(to_keras)}


def map_timm(*models):
    """Return the mapping of timm's files, for the networks of these names."""
    return {"timm": make_mapping(to_timm, models={name: {} for name in models}, reshaped=("logits",))}


def map_pytorch(layers):
    """Return the mappings of timm's files and of KerasHub's presets, which come from there."""
    names = partial(rename_keras_hub_units, split=split_name)
    keras_hub = {"keras_hub": WeightMapping(names=names, models={f"resnet_v2_{layers}": {}})}
    return map_timm(f"resnetv2_{layers}") | keras_hub


KERAS = {  # parameters, weights
    name: (
        params,
        tf_slim_weights(
            name.replace("_", ""), complete, headless, accuracy, "Apache-2.0, Keras", folder="resnet", resize=256
        ),
    )
    for name, params, complete, headless, accuracy in (
        ("resnet50_v2", 25_568_360, "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917", 76.0),
        ("resnet101_v2", 44_577_896, "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5", 77.2),
        ("resnet152_v2", 60_236_904, "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33", 78.0),
    )
}
