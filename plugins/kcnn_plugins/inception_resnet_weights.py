"""Names for the layers of Inception v4 and Inception-ResNet v2 in Keras' and timm's files, and Keras' weights."""

import re

from kcnn import Layout
from kcnn.sources import layout, normalised, numbered, parts, tf_kernels

KERAS_BLOCKS = {"block_a": "block35", "block_b": "block17", "block_c": "block8"}
TIMM_BLOCKS = {"block_a": "repeat", "block_b": "repeat_1", "block_c": "repeat_2"}
TIMM_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
TIMM_MIXED = {"mixed": "mixed_5b", "reduction_a": "mixed_6a", "reduction_b": "mixed_7a", "block_last": "block8"}
V4_FIRST = {"stem": 0, "inception_a": 6, "reduction_a": 10, "inception_b": 11, "reduction_b": 18, "inception_c": 19}


def in_keras(layers):
    """Keras names the last convolution and those that lead back to a residual, and numbers the others."""
    named = {"last": "conv_7b", "last_bn": "conv_7b_bn", "logits": "predictions", "block_last_up": "block8_10_conv"}
    for layer in layers:
        block = re.fullmatch(r"(block_[abc])(\d+)_up", layer)
        if block:
            named[layer] = f"{KERAS_BLOCKS[block[1]]}_{block[2]}_conv"
    return numbered(layers, named)


def branch(ways, layer):
    """timm's number of a branch and of a place in it: "double_2" is branch2.1 where double is the third way."""
    way, _, place = layer.partition("_")
    where = f"branch{ways.index(way)}"
    if place == "proj":
        return f"{where}.1"
    return f"{where}.{int(place) - 1}" if place else where


def residual_in_timm(layer):
    if layer == "last":
        return "conv2d_7b"
    if layer.startswith("stem"):
        return TIMM_STEM[int(layer[4:]) - 1]
    block, number, rest = parts(r"(mixed|reduction_[ab]|block_last|block_[abc])(\d*)_(.+)", layer)
    where = TIMM_MIXED.get(block) or f"{TIMM_BLOCKS[block]}.{int(number) - 1}"
    ways = {
        "mixed": ("1x1", "5x5", "double", "pool"),
        "reduction_a": ("3x3", "double"),
        "reduction_b": ("3x3a", "3x3b", "double"),
    }
    rest = rest.removeprefix("mixed_")
    first = ("1x1", "7x7" if block == "block_b" else "3x3", "double")
    return f"{where}.{branch(ways.get(block, first), rest)}"


def v4_in_timm(layer):
    """timm numbers convolutions and blocks in one sequence, and a block's branches from 0."""
    if re.fullmatch(r"stem[123]", layer):
        return f"features.{int(layer[4]) - 1}"
    block, number, rest = parts(r"([a-z]+(?:_[abc])?)(\d+)_(.+)", layer)
    index = int(number) - 1 + V4_FIRST[block]
    where = f"features.{index}"
    if block == "stem":
        return f"{where}.conv" if index in (3, 5) else f"{where}.{branch(('3x3', '7x7'), rest)}"
    ways = {"inception_a": ("1x1", "3x3", "double", "pool"), "inception_b": ("1x1", "7x7", "double", "pool")}
    reductions = {"reduction_a": ("3x3", "double"), "reduction_b": ("3x3", "7x7")}
    if block != "inception_c" or rest in ("1x1", "pool_proj"):
        order = {**ways, **reductions}.get(block, ("1x1", "3x3", "double", "pool"))
        return f"{where}.{branch(order, rest)}"
    way, _, place = rest.partition("_")
    return f"{where}.branch{('1x1', '3x3', 'double').index(way)}_{int(place[0]) - 1}{place[1:]}"


def in_timm(layer):
    """Both networks: a layer's block tells which of them it is of."""
    if layer == "logits":
        return "classif"
    if layer.endswith("_up"):
        return residual_in_timm(layer.removesuffix("_up") + "_1x1").removesuffix("branch0") + "conv2d"
    return normalised(residual_in_timm)(layer)


LAYOUTS = {"keras": Layout(names=in_keras), "timm": layout(in_timm)}
V4_LAYOUTS = {"timm": layout(lambda layer: "last_linear" if layer == "logits" else normalised(v4_in_timm)(layer))}
KERAS = tf_kernels(
    "inception_resnet_v2",
    "e693bd0210a403b3192acc6073ad2e96",
    "d19885ff4a710c122648d3b5c3b684e4",
    80.3,
    "Apache-2.0, Keras",
    resize=342,
    crop=299,
)
