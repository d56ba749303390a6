"""Blocks that add their input to what they make of it.

`drop_path` is the chance with which training leaves a block's own way out, image by image
(stochastic depth, arXiv:1603.09382). The way round a block is a 1x1 projection where shapes ask for
one; `shortcut="padding"` subsamples and pads channels instead (arXiv:1512.03385, option A), and
`shortcut="none"` leaves the way round out: a plain network.
"""

from collections.abc import Iterator

from kcnn.blocks.basic import Norm, conv, norm_act
from kcnn.graph.ops import Activation, Add, DropPath, Pad, Pool, Size
from kcnn.graph.tracing import apply


def drop_path_rates(rate: float, units: int) -> Iterator[float]:
    """The drop rate of each unit: from rate / units, linearly, to `rate` at the last (arXiv:1603.09382, figure 2)."""
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path lies in [0, 1), not {rate!r}")
    return (rate * unit / units for unit in range(1, units + 1))


def residual_add(x, y, *, drop_path: float = 0.0, name: str):
    """The way round a block and the block's own, added; the latter left out at the rate `drop_path`."""
    if drop_path:
        y = apply(DropPath(drop_path), y, name=f"{name}_drop_path")
    return apply(Add(), x, y, name=f"{name}_add")


def _step(before: int | None, after: int | None, stride: int) -> int:
    """The stride with which a 1x1 takes `before` positions to `after`: `stride` where it does."""
    if before is None or after is None or (before - 1) // stride + 1 == after:
        return stride
    return next((s for s in range(1, before + 1) if (before - 1) // s + 1 == after), stride)


def steps(x, y, stride: int) -> tuple[int, int]:
    """Strides on rows and columns of a 1x1 from `x` to `y`, which follow from the shapes, not from the code."""
    rows, columns = (_step(n, m, stride) for n, m in zip(x.shape[-3:-1], y.shape[-3:-1], strict=True))
    return rows, columns


def _size(pair: tuple[int, int]) -> Size:
    return pair[0] if pair[0] == pair[1] else pair


def _skip(x, y, stride: int, norm: Norm, bias: bool | None, name: str):
    """`x` itself where it fits `y`, else a 1x1 projection."""
    step = steps(x, y, stride)
    if step == (1, 1) and x.shape[-1] == y.shape[-1]:
        return x
    return conv(
        x, y.shape[-1], 1, stride=_size(step), padding="valid", bias=bias, norm=norm, activation=None, name=name
    )


def _subsample(x, y, stride: int, name: str):
    """Every `stride`-th position of `x`."""
    step = steps(x, y, stride)
    return x if step == (1, 1) else apply(Pool(1, _size(step)), x, name=name)


def _padded(x, y, stride: int, name: str):
    """`x` subsampled, with channels of zeros on both sides: option A."""
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
    drop_path: float = 0.0,
    name: str,
):
    """Two 3x3 convolutions and the way round them (arXiv:1512.03385, figure 5 left)."""
    if shortcut not in ("projection", "padding", "none"):
        raise ValueError(f'shortcut is "projection", "padding" or "none", not {shortcut!r}')
    if shortcut == "none" and drop_path:
        raise ValueError("drop_path leaves a block to the way round it, and a plain network has none")
    y = conv(x, filters, 3, stride=stride, padding="half", norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, padding="half", norm=norm, activation=None, name=f"{name}_b")
    if shortcut == "projection":
        y = residual_add(_skip(x, y, stride, norm, None, f"{name}_skip"), y, drop_path=drop_path, name=name)
    elif shortcut == "padding":
        y = residual_add(_padded(x, y, stride, f"{name}_skip"), y, drop_path=drop_path, name=name)
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
    drop_path: float = 0.0,
    name: str,
):
    """1x1 down, 3x3, 1x1 up to 4 * `filters`, and the way round them (arXiv:1512.03385, figure 5 right).

    The paper's stride is on the first 1x1; `stride_on="3x3"` moves it. `inner` are the filters of
    the first two, `filters` where nothing is said; `groups` are those of the 3x3 (arXiv:1611.05431).
    """
    first, second = _strides(stride, stride_on)
    bottleneck_filters = bottleneck_filters or filters
    y = conv(x, bottleneck_filters, 1, stride=first, padding="half", bias=bias, norm=norm, name=f"{name}_a")
    y = conv(
        y, bottleneck_filters, 3, stride=second, padding="half", groups=groups, bias=bias, norm=norm, name=f"{name}_b"
    )
    y = conv(y, 4 * filters, 1, padding="half", bias=bias, norm=norm, activation=None, name=f"{name}_c")
    y = residual_add(_skip(x, y, stride, norm, bias, f"{name}_skip"), y, drop_path=drop_path, name=name)
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
    """A bottleneck whose normalisations and activations come first (arXiv:1603.05027, figure 4e).

    A projection stands on the activated input, and a way round without one is subsampled.
    `bias` gives one to the last convolution and the projection; `active` says that `x` is
    activated already.
    """
    first, second = _strides(stride, stride_on)
    start = x if active else norm_act(x, norm, "relu", f"{name}_pre")
    y = conv(start, filters, 1, stride=first, padding="half", norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, stride=second, padding="half", norm=norm, name=f"{name}_b")
    y = conv(y, 4 * filters, 1, padding="half", bias=bias, activation=None, name=f"{name}_c")
    if x.shape[-1] == y.shape[-1]:
        skip = _subsample(x, y, stride, f"{name}_skip_pool")
    else:
        skip = _skip(start, y, stride, False, bias, f"{name}_skip")
    return residual_add(skip, y, drop_path=drop_path, name=name)


def _strides(stride: int, stride_on: str) -> tuple[int, int]:
    """The strides of the first 1x1 and of the 3x3."""
    if stride_on not in ("1x1", "3x3"):
        raise ValueError(f'stride_on is "1x1" (the paper\'s) or "3x3", not {stride_on!r}')
    return (stride, 1) if stride_on == "1x1" else (1, stride)
