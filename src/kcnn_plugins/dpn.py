"""Dual path networks (Chen et al., 2017): each unit adds to one path, and appends channels to the other."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, match_stride, max_pool, norm_act
from kcnn.graph.ops import Add, BatchNorm, ChannelSlice, Concat, DropPath, Rescale
from kcnn_plugins.dpn_weights import map_timm

SCALING = Rescale(0.0167, (-124 * 0.0167, -117 * 0.0167, -104 * 0.0167))  # of the authors' code
NORM = BatchNorm(epsilon=1e-3)  # as there
PAPER = "arXiv:1707.01629, table 1"
CODE = "the authors' code, with the units of arXiv:1707.01629, table 1"


def split_paths(x, filters: int, name: str):
    """Return the first `filters` channels, of the residual path, and the others, of the dense one."""
    residual = apply(ChannelSlice(0, filters), x, name=f"{name}_residual")
    return residual, apply(ChannelSlice(filters), x, name=f"{name}_dense")


def unit(
    x,
    filters: int,
    bottleneck: int,
    growth: int,
    *,
    groups: int,
    stride: int,
    project: bool,
    norm: Norm,
    drop_path: float,
    name: str,
):
    """Apply a pre-activation bottleneck; add one part of its output, and append the other (figure 2d).

    Args:
        x: Both paths in one tensor, the residual one first.
        filters: Channels of the residual path.
        bottleneck: Channels of the 1x1 and the 3x3.
        growth: Channels that are appended to the dense path.
        groups: Of the 3x3.
        stride: Of the 3x3 and the projection.
        project: Whether the paths begin here, in a projection of `x` with twice `growth` channels of the dense path.
        norm: As of `norm_act`.
        drop_path: Rate of stochastic depth, applied to what is added and what is appended.
        name: Prefix of the layers' names.

    Returns:
        Both paths in one tensor.
    """
    y = norm_act(x, norm, "relu", f"{name}_pre")
    y = conv(y, bottleneck, 1, norm=norm, name=f"{name}_a")
    y = conv(y, bottleneck, 3, stride=stride, padding="half", groups=groups, norm=norm, name=f"{name}_b")
    y = conv(y, filters + growth, 1, bias=False, activation=None, name=f"{name}_c")
    y = apply(DropPath(drop_path), y, name=f"{name}_drop_path") if drop_path else y
    if project:
        step, channels = match_stride(x, y, stride), filters + 2 * growth
        x = norm_act(x, norm, "relu", f"{name}_skip_pre")
        x = conv(x, channels, 1, stride=step, padding="valid", bias=False, activation=None, name=f"{name}_skip")
    residual, dense = split_paths(x, filters, f"{name}_x")
    added, appended = split_paths(y, filters, f"{name}_y")
    return apply(Concat(), apply(Add(), residual, added, name=f"{name}_add"), dense, appended, name=name)


def backbone(
    x,
    *,
    stem: tuple[int, int],
    filters: int,
    bottleneck: int,
    groups: int,
    repeats: tuple[int, ...],
    growth: tuple[int, ...],
    norm: Norm = NORM,
    drop_path: float = 0.0,
):
    """Apply a convolution and a pool, stages of `repeats` units, and a last activation.

    `stem` is the kernel and the filters of the convolution. `filters` of the residual path and `bottleneck` are those
    of the first stage, and double from stage to stage; `growth` are the channels that each unit of a stage appends.
    """
    kernel, width = stem
    x = conv(x, width, kernel, stride=2, padding="half", norm=norm, name="stem")
    x = max_pool(x, 3, stride=2, padding="half", name="stem_pool")
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, (count, more) in enumerate(zip(repeats, growth, strict=True)):
        for number in range(count):
            x = unit(
                *(x, filters << stage, bottleneck << stage, more),
                groups=groups,
                stride=2 if stage and not number else 1,
                project=not number,
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage + 1}_unit{number + 1}",
            )
    return norm_act(x, norm, "relu", "last")


def make_architecture(name: str, column: tuple, *, params: int, reference: str = CODE) -> Architecture:
    """Return the network of a column of the paper's table."""
    return Architecture(
        backbone=backbone,
        reference=reference,
        year=2017,
        options=dict(zip(("stem", "filters", "bottleneck", "groups", "repeats", "growth"), column, strict=True)),
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=SCALING,
        weight_mappings=map_timm(name),
    )


# stem, residual filters, bottleneck, groups, repeats, growth
DPN68 = ((3, 10), 64, 128, 32, (3, 4, 12, 3), (16, 32, 32, 64))
DPN92 = ((7, 64), 256, 96, 32, (3, 4, 20, 3), (16, 32, 24, 128))
DPN98 = ((7, 96), 256, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128))
DPN131 = ((7, 128), 256, 160, 40, (4, 8, 28, 3), (16, 32, 32, 128))
DPN107 = ((7, 128), 256, 200, 50, (4, 8, 20, 3), (20, 64, 64, 128))
dpn68 = make_architecture("dpn68", DPN68, params=12_611_602)
dpn92 = make_architecture("dpn92", DPN92, params=37_668_392, reference=PAPER)
dpn98 = make_architecture("dpn98", DPN98, params=61_570_728, reference=PAPER)
dpn131 = make_architecture("dpn131", DPN131, params=79_254_504)
dpn107 = make_architecture("dpn107", DPN107, params=86_917_800)
