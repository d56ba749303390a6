"""Res2Net (Gao et al., 2019): bottlenecks whose 3x3 is a row of small ones, each on the output of the one before."""

from typing import Any

from kcnn import Architecture
from kcnn.blocks import Norm, apply, average_pool, conv, drop_path_rates, max_pool, project_shortcut, residual_add
from kcnn.graph.ops import STANDARDIZED, Activation, Add, ChannelSlice, Concat
from kcnn_plugins.res2net_weights import map_timm


def scales(x, scale: int, *, stride: int, is_first: bool, norm: Norm, name: str):
    """Split the channels into `scale` parts, and convolve each but the last, with the output before it added.

    The first unit of a stage adds none, and pools the last part, as in the authors' code: sizes may differ there.
    """
    width = x.shape[-1] // scale
    slices = [ChannelSlice(first * width, (first + 1) * width) for first in range(scale - 1)]
    slices.append(ChannelSlice((scale - 1) * width))
    parts = [apply(one, x, name=f"{name}_part{number}") for number, one in enumerate(slices, 1)]
    ends: list[Any] = []
    for number, y in enumerate(parts[:-1], 1):
        if ends and not is_first:
            y = apply(Add(), ends[-1], y, name=f"{name}_part{number}_add")
        ends.append(conv(y, width, 3, stride=stride, padding="half", norm=norm, name=f"{name}_b{number}"))
    last = parts[-1]
    if is_first:
        last = average_pool(last, 3, stride=stride, padding="half", count_include_pad=True, name=f"{name}_pool")
    return apply(Concat(), *ends, last, name=f"{name}_concat")


def backbone(
    x,
    *,
    repeats: tuple[int, ...],
    base_width: int = 26,
    scale: int = 4,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply a 7x7 convolution and a pool, then stages of `repeats` units of 64, 128, ... filters.

    A part of a unit has `base_width` channels in the first stage, twice as many in each that follows.
    """
    x = conv(x, 64, 7, stride=2, padding="half", norm=norm, name="stem")
    x = max_pool(x, 3, stride=2, padding="half", name="stem_pool")
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, count in enumerate(repeats):
        for unit in range(count):
            stride, name = 2 if stage and not unit else 1, f"stage{stage + 1}_unit{unit + 1}"
            y = conv(x, scale * base_width << stage, 1, norm=norm, name=f"{name}_a")
            y = scales(y, scale, stride=stride, is_first=not unit, norm=norm, name=name)
            y = conv(y, 256 << stage, 1, norm=norm, activation=None, name=f"{name}_c")
            skip = project_shortcut(x, y, stride=stride, norm=norm, name=f"{name}_skip")
            x = apply(Activation("relu"), residual_add(skip, y, drop_path=next(rates), name=name), name=name)
    return x


def make_architecture(name: str, *repeats: int, params: int) -> Architecture:
    """Return the network."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:1904.01169, figure 2b, on table 1 of arXiv:1512.03385",
        year=2019,
        options={"repeats": repeats},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=map_timm(name),
    )


res2net50_26w_4s = make_architecture("res2net50_26w_4s", 3, 4, 6, 3, params=25_699_120)
res2net101_26w_4s = make_architecture("res2net101_26w_4s", 3, 4, 23, 3, params=45_206_688)
