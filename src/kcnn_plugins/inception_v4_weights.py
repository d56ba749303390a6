"""Inception v4: layer names in timm's files; neither Keras nor torchvision publishes the network."""

import re

from kcnn.architectures.publishers import make_mapping, rename_branches, rename_normalized, rename_parts

FIRST = {"stem": 0, "inception_a": 6, "reduction_a": 10, "inception_b": 11, "reduction_b": 18, "inception_c": 19}


def rename_convolution(layer):
    """Number convolutions and blocks in one sequence, and a block's branches from 0, as timm does."""
    if re.fullmatch(r"stem[123]", layer):
        return f"features.{int(layer[4]) - 1}"
    block, number, rest = rename_parts(r"([a-z]+(?:_[abc])?)(\d*)_(.+)", layer)
    index = int(number or 1) - 1 + FIRST[block]
    parent = f"features.{index}"
    if block == "stem":
        return f"{parent}.conv" if index in (3, 5) else f"{parent}.{rename_branches(('3x3', '7x7'), rest)}"
    blocks = {"inception_a": ("1x1", "3x3", "double", "pool"), "inception_b": ("1x1", "7x7", "double", "pool")}
    reductions = {"reduction_a": ("3x3", "double"), "reduction_b": ("3x3", "7x7")}
    if block != "inception_c" or rest in ("1x1", "pool_proj"):
        order = {**blocks, **reductions}.get(block, ("1x1", "3x3", "double", "pool"))
        return f"{parent}.{rename_branches(order, rest)}"
    branch, _, position = rest.partition("_")
    return f"{parent}.branch{('1x1', '3x3', 'double').index(branch)}_{int(position[0]) - 1}{position[1:]}"


MAPPINGS = {
    "timm": make_mapping(
        lambda layer: "last_linear" if layer == "logits" else rename_normalized(rename_convolution)(layer),
        models={"inception_v4": {}},
    )
}
