"""Mappings of files in which the name of a layer follows from kcnn's name, and the parts of such names."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kcnn.architectures.architecture import WeightMapping
from kcnn.graph.argument_kinds import check_arguments


@check_arguments
def make_mapping(
    rename: Callable[[str], str | tuple[str, ...]],
    bgr: bool = False,
    normalization: bool = False,
    models: Mapping[str, Mapping[str, Any]] | None = None,
    reshaped: tuple[str, ...] = (),
) -> WeightMapping:
    """Return the mapping of files in which the name of a layer follows from kcnn's name.

    Args:
        rename: Function from kcnn's name of a layer to that in the file, or to its possible names.
        bgr: Whether the first kernel expects blue, green, red.
        normalization: Whether the file has Keras' layer that normalizes pixels.
        models: Names that the publisher gives to this very network, with the options that each takes here.
        reshaped: As of WeightMapping.

    Returns:
        The mapping.
    """
    return WeightMapping(
        names=lambda layers: {layer: rename(layer) for layer in layers},
        bgr=bgr,
        normalization=normalization,
        models=models or {},
        reshaped=reshaped,
    )


@check_arguments
def rename_normalized(rename: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function to PyTorch's names X.conv and X.bn of a convolution and its normalization.

    Args:
        rename: Function from kcnn's name of the convolution to X.

    Returns:
        Function from kcnn's name of either layer.
    """

    def named(layer: str) -> str:
        bare = layer.removesuffix("_bn")
        return rename(bare) + (".conv" if bare == layer else ".bn")

    return named


@check_arguments
def rename_parts(pattern: str, layer: str) -> tuple[str, ...]:
    """Return the groups of a pattern in the name of a layer.

    Args:
        pattern: Regular expression of the complete name.
        layer: The name.

    Returns:
        The groups; "" for one that takes no part.

    Raises:
        ValueError: The name does not match.
    """
    match = re.fullmatch(pattern, layer)
    if not match:
        raise ValueError(f"layer {layer!r} has no name in the weight files of other libraries")
    return match.groups(default="")


@check_arguments
def rename_branches(branches: Sequence[str], layer: str) -> str:
    """Return the name of a layer by branch and position, counted from 0: "double_2" is branch2.1 if double is third.

    Args:
        branches: Names of the branches, in the file's order.
        layer: kcnn's name, BRANCH or BRANCH_POSITION.

    Returns:
        The name in the file.
    """
    branch, _, position = layer.partition("_")
    name = f"branch{branches.index(branch)}"
    if position == "proj":  # after the pool, which is at 0
        return f"{name}.1"
    return f"{name}.{int(position) - 1}" if position else name
