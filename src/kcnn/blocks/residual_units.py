"""Residual blocks: convolutions whose output is added to their input.

`drop_path` is the rate at which training skips the convolutions of a block, image by image (stochastic depth,
arXiv:1603.09382). The shortcut is the identity, or a 1x1 projection where shapes differ.
"""

from collections.abc import Iterator, Sequence

from kcnn.blocks.attention import squeeze_excite
from kcnn.blocks.basic import Norm, average_pool, conv, norm_act
from kcnn.graph.names import unknown
from kcnn.graph.ops import Activation, Add, DropPath, Pad, Pool, Size
from kcnn.graph.tracing import apply, decide_by_shapes

SHORTCUTS = ("projection", "padding", "none")


def drop_path_rates(rate: float, units: int) -> Iterator[float]:
    """Return the rate of stochastic depth of each unit, growing linearly (arXiv:1603.09382, figure 2).

    Args:
        rate: Rate of the last unit.
        units: Number of units.

    Returns:
        Rates from rate / units to `rate`.

    Raises:
        ValueError: The rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path must be in [0, 1), got {rate!r}")
    return (rate * unit / units for unit in range(1, units + 1))


def residual_add(x, y, *, drop_path: float = 0.0, name: str):
    """Add a shortcut and the output of a block's convolutions.

    Args:
        x: The shortcut.
        y: The output, of the same shape.
        drop_path: Rate of stochastic depth, applied to `y`.
        name: Prefix of the layers' names.

    Returns:
        A tensor of the same shape.
    """
    if drop_path:
        y = apply(DropPath(drop_path), y, name=f"{name}_drop_path")
    return apply(Add(), x, y, name=f"{name}_add")


def _step(before: int | None, after: int | None, stride: int) -> int:
    """The stride at which a 1x1 takes `before` positions to `after`: `stride` where it does."""
    if before is None or after is None or (before - 1) // stride + 1 == after:
        return stride
    return next((s for s in range(1, before + 1) if (before - 1) // s + 1 == after), stride)


def compare_sizes(before: Sequence[int | None], after: Sequence[int | None], stride: int) -> tuple[int, int]:
    """Return the strides on rows and columns of a 1x1 between two shapes; `stride` where those do."""
    rows, columns = (_step(n, m, stride) for n, m in zip(before[-3:-1], after[-3:-1], strict=True))
    return rows, columns


def projection_strides(x, y, stride: int) -> tuple[int, int]:
    """Return the strides of a 1x1 from `x` to `y`, from their shapes: overrides may have changed the block's stride.

    Args:
        x: The input of a block.
        y: Its output.
        stride: The stride of the block as it is written.

    Returns:
        Strides on rows and columns.
    """
    return decide_by_shapes(lambda before, after: compare_sizes(before, after, stride), x, y)


def _size(pair: tuple[int, int]) -> Size:
    return pair[0] if pair[0] == pair[1] else pair


def match_stride(x, y, stride: int) -> Size:
    """Return the stride of a layer of odd kernel and "half" padding from `x` beside a block from `x` to `y`.

    Args:
        x: The input of the block.
        y: Its output.
        stride: The stride of the block as it is written.

    Returns:
        Pixels, or (rows, columns) where overrides made them differ.
    """
    return _size(projection_strides(x, y, stride))


def project_shortcut(x, y, *, stride: int, norm: Norm = True, bias: bool | None = None, pool: bool = False, name: str):
    """Return `x` where it fits the output of a block, else a 1x1 projection of it.

    Args:
        x: The input of a block.
        y: Its output.
        stride: The stride of the block as it is written.
        norm: As of `norm_act`.
        bias: As of `conv`.
        pool: Whether a 2x2 average pool has the stride, not the projection (arXiv:1812.01187, figure 2c).
        name: Name of the projection; the pool is `name_pool`.

    Returns:
        A tensor of the shape of `y`.
    """
    step = projection_strides(x, y, stride)
    if step == (1, 1) and x.shape[-1] == y.shape[-1]:
        return x
    if pool and step != (1, 1):
        x, step = average_pool(x, 2, stride=_size(step), padding="ceil", name=f"{name}_pool"), (1, 1)
    return conv(
        x, y.shape[-1], 1, stride=_size(step), padding="valid", bias=bias, norm=norm, activation=None, name=name
    )


def _subsample(x, y, stride: int, name: str):
    """Every `stride`-th position of `x`."""
    step = projection_strides(x, y, stride)
    return x if step == (1, 1) else apply(Pool(1, _size(step)), x, name=name)


def _pad_channels(x, y, stride: int, name: str):
    """`x` subsampled, with channels of zeros on both sides (arXiv:1512.03385, option A)."""
    x = _subsample(x, y, stride, f"{name}_pool")
    more = y.shape[-1] - x.shape[-1]
    return apply(Pad(0, channels=(more // 2, more - more // 2)), x, name=name) if more > 0 else x


def residual(
    x,
    filters: int,
    *,
    stride: int = 1,
    norm: Norm = True,
    shortcut: str = "projection",
    pool_shortcut: bool = False,
    squeeze: int = 0,
    drop_path: float = 0.0,
    name: str,
):
    """Apply two 3x3 convolutions and add the shortcut (arXiv:1512.03385, figure 5 left).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        stride: Pixels, of the first convolution.
        norm: As of `norm_act`.
        shortcut: "projection" (1x1 where shapes differ), "padding" (subsampled, with channels of zeros: option A), or
            "none" (a plain network).
        pool_shortcut: `pool` of `project_shortcut`.
        squeeze: Channels of squeeze-and-excitation on the convolutions' output (arXiv:1709.01507, figure 3); 0 for
            none.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).

    Raises:
        UnknownNameError: The shortcut is unknown.
        ValueError: `drop_path` without a shortcut.
    """
    if shortcut not in SHORTCUTS:
        raise unknown("shortcut", shortcut, SHORTCUTS)
    if shortcut == "none" and drop_path:
        raise ValueError("drop_path needs a shortcut, and a plain network has none")
    y = conv(x, filters, 3, stride=stride, padding="half", norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, padding="half", norm=norm, activation=None, name=f"{name}_b")
    y = squeeze_excite(y, squeeze, name=f"{name}_squeeze") if squeeze else y
    if shortcut == "projection":
        skip = project_shortcut(x, y, stride=stride, norm=norm, pool=pool_shortcut, name=f"{name}_skip")
        y = residual_add(skip, y, drop_path=drop_path, name=name)
    elif shortcut == "padding":
        y = residual_add(_pad_channels(x, y, stride, f"{name}_skip"), y, drop_path=drop_path, name=name)
    return apply(Activation("relu"), y, name=name)


def bottleneck(
    x,
    filters: int,
    *,
    bottleneck_filters: int | None = None,
    groups: int = 1,
    stride: int = 1,
    stride_on: str = "1x1",
    norm: Norm = True,
    bias: bool | None = None,
    pool_shortcut: bool = False,
    squeeze: int = 0,
    drop_path: float = 0.0,
    name: str,
):
    """Apply 1x1 down, 3x3, 1x1 up and add the shortcut (arXiv:1512.03385, figure 5 right).

    Args:
        x: (rows, columns, channels).
        filters: A quarter of the output channels.
        bottleneck_filters: Channels of the first two convolutions; None for `filters`.
        groups: Groups of the 3x3 (arXiv:1611.05431).
        stride: Pixels.
        stride_on: Which convolution has the stride: "1x1", the first (the paper's), or "3x3".
        norm: As of `norm_act`.
        bias: As of `conv`.
        pool_shortcut: `pool` of `project_shortcut`.
        squeeze: Channels of squeeze-and-excitation on the last convolution (arXiv:1709.01507, figure 3); 0 for none.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, 4 * filters).
    """
    first, second = _strides(stride, stride_on)
    bottleneck_filters = bottleneck_filters or filters
    y = conv(x, bottleneck_filters, 1, stride=first, padding="half", bias=bias, norm=norm, name=f"{name}_a")
    y = conv(
        y, bottleneck_filters, 3, stride=second, padding="half", groups=groups, bias=bias, norm=norm, name=f"{name}_b"
    )
    y = conv(y, 4 * filters, 1, padding="half", bias=bias, norm=norm, activation=None, name=f"{name}_c")
    y = squeeze_excite(y, squeeze, name=f"{name}_squeeze") if squeeze else y
    skip = project_shortcut(x, y, stride=stride, norm=norm, bias=bias, pool=pool_shortcut, name=f"{name}_skip")
    y = residual_add(skip, y, drop_path=drop_path, name=name)
    return apply(Activation("relu"), y, name=name)


def preactivation(
    x,
    filters: int,
    *,
    stride: int = 1,
    stride_on: str = "1x1",
    norm: Norm = True,
    bias: bool = False,
    active: bool = False,
    drop_path: float = 0.0,
    name: str,
):
    """Apply a bottleneck with normalization and activation before each convolution (arXiv:1603.05027, figure 4e).

    A projection takes the activated input; a shortcut without projection is subsampled.

    Args:
        x: (rows, columns, channels).
        filters: A quarter of the output channels.
        stride: Pixels.
        stride_on: As of `bottleneck`.
        norm: As of `norm_act`.
        bias: Whether the last convolution and the projection have a bias.
        active: Whether `x` is activated already.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, 4 * filters).
    """
    first, second = _strides(stride, stride_on)
    start = x if active else norm_act(x, norm, "relu", f"{name}_pre")
    y = conv(start, filters, 1, stride=first, padding="half", norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, stride=second, padding="half", norm=norm, name=f"{name}_b")
    y = conv(y, 4 * filters, 1, padding="half", bias=bias, activation=None, name=f"{name}_c")
    if x.shape[-1] == y.shape[-1]:
        skip = _subsample(x, y, stride, f"{name}_skip_pool")
    else:
        skip = project_shortcut(start, y, stride=stride, norm=False, bias=bias, name=f"{name}_skip")
    return residual_add(skip, y, drop_path=drop_path, name=name)


def _strides(stride: int, stride_on: str) -> tuple[int, int]:
    """The strides of the first 1x1 and of the 3x3."""
    if stride_on not in ("1x1", "3x3"):
        raise unknown("stride_on", stride_on, ("1x1", "3x3"))
    return (stride, 1) if stride_on == "1x1" else (1, stride)
