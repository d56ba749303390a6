"""Inception-ResNet v2: layer names in Keras' and timm's files, and the weights that Keras publishes."""

import re

from kcnn import WeightMapping
from kcnn.architectures.publishers import (
    make_mapping,
    number_layers,
    rename_branches,
    rename_normalized,
    rename_parts,
    tf_slim_weights,
)

KERAS_BLOCKS = {"block_a": "block35", "block_b": "block17", "block_c": "block8"}
TIMM_BLOCKS = {"block_a": "repeat", "block_b": "repeat_1", "block_c": "repeat_2"}
TIMM_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
TIMM_MIXED = {"mixed": "mixed_5b", "reduction_a": "mixed_6a", "reduction_b": "mixed_7a", "block_last": "block8"}


def to_keras(layers):
    """Name the last convolution and the last of each residual, and number the others, as Keras does."""
    named = {"last": "conv_7b", "last_bn": "conv_7b_bn", "logits": "predictions", "block_last_up": "block8_10_conv"}
    for layer in layers:
        block = re.fullmatch(r"(block_[abc])(\d+)_up", layer)
        if block:
            named[layer] = f"{KERAS_BLOCKS[block[1]]}_{block[2]}_conv"
    return number_layers(layers, named)


def rename_convolution(layer):
    """Rename block_a2_double_3 to repeat.1.branch2.2."""
    if layer == "last":
        return "conv2d_7b"
    if layer.startswith("stem"):
        return TIMM_STEM[int(layer[4:]) - 1]
    block, number, rest = rename_parts(r"(mixed|reduction_[ab]|block_last|block_[abc])(\d*)_(.+)", layer)
    parent = TIMM_MIXED.get(block) or f"{TIMM_BLOCKS[block]}.{int(number) - 1}"
    order = {
        "mixed": ("1x1", "5x5", "double", "pool"),
        "reduction_a": ("3x3", "double"),
        "reduction_b": ("3x3a", "3x3b", "double"),
    }
    rest = rest.removeprefix("mixed_")
    first = ("1x1", "7x7" if block == "block_b" else "3x3", "double")
    return f"{parent}.{rename_branches(order.get(block, first), rest)}"


def to_timm(layer):
    """Rename block_a2_double_3 to repeat.1.branch2.2.conv, block_a2_up to repeat.1.conv2d."""
    if layer == "logits":
        return "classif"
    if layer.endswith("_up"):
        return rename_convolution(layer.removesuffix("_up") + "_1x1").removesuffix("branch0") + "conv2d"
    return rename_normalized(rename_convolution)(layer)


KERAS_MAPPING = {"keras": WeightMapping(names=to_keras, numbered=True)}
TIMM_MAPPING = {"timm": make_mapping(to_timm, models={"inception_resnet_v2": {}})}
KERAS = tf_slim_weights(
    "inception_resnet_v2",
    "e693bd0210a403b3192acc6073ad2e96",
    "d19885ff4a710c122648d3b5c3b684e4",
    80.3,
    "Apache-2.0, Keras",
    resize=342,
    crop=299,
)
