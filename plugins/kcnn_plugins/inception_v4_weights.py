"""timm's names for Inception v4's layers; neither Keras nor torchvision publishes the network."""

import re

from kcnn.architectures.publishers import make_mapping, rename_branches, rename_normalized, rename_parts

FIRST = {"stem": 0, "inception_a": 6, "reduction_a": 10, "inception_b": 11, "reduction_b": 18, "inception_c": 19}


def convolution(layer):
    """timm numbers convolutions and blocks in one sequence, and a block's branches from 0."""
    if re.fullmatch(r"stem[123]", layer):
        return f"features.{int(layer[4]) - 1}"
    block, number, rest = rename_parts(r"([a-z]+(?:_[abc])?)(\d*)_(.+)", layer)
    index = int(number or 1) - 1 + FIRST[block]
    where = f"features.{index}"
    if block == "stem":
        return f"{where}.conv" if index in (3, 5) else f"{where}.{rename_branches(('3x3', '7x7'), rest)}"
    ways = {"inception_a": ("1x1", "3x3", "double", "pool"), "inception_b": ("1x1", "7x7", "double", "pool")}
    reductions = {"reduction_a": ("3x3", "double"), "reduction_b": ("3x3", "7x7")}
    if block != "inception_c" or rest in ("1x1", "pool_proj"):
        order = {**ways, **reductions}.get(block, ("1x1", "3x3", "double", "pool"))
        return f"{where}.{rename_branches(order, rest)}"
    way, _, place = rest.partition("_")
    return f"{where}.branch{('1x1', '3x3', 'double').index(way)}_{int(place[0]) - 1}{place[1:]}"


LAYOUTS = {
    "timm": make_mapping(lambda layer: "last_linear" if layer == "logits" else rename_normalized(convolution)(layer))
}
