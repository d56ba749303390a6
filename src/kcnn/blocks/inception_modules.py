"""Blocks of several branches side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kcnn.blocks.basic import Norm, conv, max_pool, norm_act
from kcnn.graph.ops import Concat, Conv
from kcnn.graph.tracing import apply

Layers = Mapping[str, Any]  # Conv and Pool ops by name, in order; a mapping in the place of an op forks
Branches = Sequence[Layers]


def inception(x, c1: int, r3: int, c3: int, r5: int, c5: int, proj: int, *, norm: Norm = False, name: str):
    """Concatenate four branches: 1x1, 3x3, 5x5 and a pool (arXiv:1409.4842, figure 2b).

    Args:
        x: (rows, columns, channels).
        c1: Filters of the 1x1 branch.
        r3: Filters of the 1x1 reduction before the 3x3.
        c3: Filters of the 3x3.
        r5: Filters of the 1x1 reduction before the 5x5.
        c5: Filters of the 5x5.
        proj: Filters of the 1x1 after the pool.
        norm: As of `norm_act`.
        name: Name of the concatenation and prefix of the other layers' names.

    Returns:
        (rows, columns, c1 + c3 + c5 + proj).
    """
    pooled = max_pool(x, 3, stride=1, padding="same", name=f"{name}_pool")
    return apply(
        Concat(),
        conv(x, c1, 1, norm=norm, name=f"{name}_1x1"),
        conv(conv(x, r3, 1, norm=norm, name=f"{name}_3x3_reduce"), c3, 3, norm=norm, name=f"{name}_3x3"),
        conv(conv(x, r5, 1, norm=norm, name=f"{name}_5x5_reduce"), c5, 5, norm=norm, name=f"{name}_5x5"),
        conv(pooled, proj, 1, norm=norm, name=f"{name}_proj"),
        name=name,
    )


def branches(x, table: Branches, *, norm: Norm = True, name: str):
    """Concatenate branches from one tensor (arXiv:1512.00567, figures 5 to 7).

    Args:
        x: (rows, columns, channels).
        table: For each branch its ops by name, in order: {"3x3_1": Conv(64, 1), "3x3_2": Conv(96)}. A layer is
            `name_3x3_1`. A mapping in the place of the last op forks: its ops all see the tensor before it.
        norm: As of `norm_act`; a normalized convolution has no bias.
        name: Name of the concatenation and prefix of the other layers' names.

    Returns:
        (rows, columns, sum of the branches' channels).
    """
    ends = [end for layers in table for end in _branch(x, layers, norm, name)]
    return apply(Concat(), *ends, name=name)


def sequential(x, layers: Layers, *, norm: Norm = True):
    """Apply convolutions and pools one after another.

    Args:
        x: (rows, columns, channels).
        layers: Conv and Pool ops by the names of their layers. Convolutions are normalized and activated.
        norm: As of `norm_act`; a normalized convolution has no bias.

    Returns:
        The last tensor.
    """
    for name, op in layers.items():
        x = _layer(x, op, norm, name)
    return x


def _branch(x, layers: Layers, norm: Norm, name: str) -> list[Any]:
    """The tensors that a branch ends in: one, or those of its fork."""
    for layer, op in layers.items():
        if isinstance(op, Mapping):
            return [_layer(x, side, norm, f"{name}_{end}") for end, side in op.items()]
        x = _layer(x, op, norm, f"{name}_{layer}")
    return [x]


def _layer(x, op: Any, norm: Norm, name: str):
    if not isinstance(op, Conv):
        return apply(op, x, name=name)
    return norm_act(apply(replace(op, bias=not norm), x, name=name), norm, "relu", name)
