"""Blocks of several branches side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from kcnn.blocks.basic import Norm, conv, max_pool
from kcnn.graph.ops import Concat, Padding, Pool, Size
from kcnn.graph.tracing import apply

# By name, rows (filters, kernel, stride, padding) or ("max" | "average", kernel, stride, padding).
Branches = Mapping[str, Sequence[Any]]


def inception(x, c1: int, r3: int, c3: int, r5: int, c5: int, proj: int, *, norm: Norm = False, name: str):
    """Four branches, 1x1, 3x3, 5x5 and pooled, joined on channels (arXiv:1409.4842, figure 2b).

    (rows, columns, any) -> (rows, columns, c1 + c3 + c5 + proj); r3 and r5 are the 1x1 reductions.
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


def branches(x, ways: Branches, *, norm: Norm = True, strided: str = "valid", name: str):
    """Ways from `x` by their names, joined on channels (arXiv:1512.00567, figures 5 to 7).

    A way is rows (filters, kernel, stride, padding), of which the last two may be missing; "max" or
    "average" in place of filters pools; a list of rows, at a way's end, forks. Rows of stride 2 have
    the padding `strided`, others "same". The layers of a way are `name_way` where it is one
    convolution, `name_way_1`, `name_way_2` where it is more; a pool is `name_way`, a single
    convolution behind it `name_way_proj`, and the parts of a fork end in a and b.
    """
    ends = (end for way, rows in ways.items() for end in _way(x, rows, norm, strided, f"{name}_{way}"))
    return apply(Concat(), *ends, name=name)


def sequential(x, rows: Sequence[tuple], *, norm: Norm = True, strided: str = "valid", name: str):
    """Rows, as those of branches, one after another: `name1`, `name2`, and `name2_pool` for a pool behind it."""
    number = 0
    for row in rows:
        if isinstance(row[0], str):
            x = _pool(x, row, strided, f"{name}{number}_pool")
        else:
            number += 1
            x = _conv(x, row, norm, strided, f"{name}{number}")
    return x


def _way(x, rows: Sequence[Any], norm: Norm, strided: str, name: str) -> list[Any]:
    """The tensors that a way ends in: one, or those of its fork."""
    pooled = any(isinstance(row, tuple) and isinstance(row[0], str) for row in rows)
    alone = len(rows) - pooled == 1
    number = 0
    for row in rows:
        if isinstance(row, tuple) and isinstance(row[0], str):
            x = _pool(x, row, strided, name)
            continue
        number += 1
        where = (f"{name}_proj" if pooled else name) if alone else f"{name}_{number}"
        if isinstance(row, list):
            return [_conv(x, part, norm, strided, f"{where}{side}") for part, side in zip(row, "ab", strict=True)]
        x = _conv(x, row, norm, strided, where)
    return [x]


def _pool(x, row: tuple, strided: str, name: str):
    kind, kernel, stride = row[:3]
    return apply(Pool(kernel, stride, _padding(row, stride, strided), kind), x, name=name)


def _conv(x, row: tuple, norm: Norm, strided: str, name: str):
    filters, kernel, stride = (*row, 1)[:3]
    return conv(x, filters, kernel, stride=stride, padding=_padding(row, stride, strided), norm=norm, name=name)


def _padding(row: tuple, stride: Size, strided: str) -> Padding:
    return row[3] if len(row) > 3 else "same" if stride == 1 else strided
