"""Blocks of depthwise convolutions, and channels weighed by themselves."""

from kcnn.blocks.basic import Norm, conv, depthwise
from kcnn.blocks.residual import residual_add, steps
from kcnn.graph.ops import GlobalPool, Multiply, Size
from kcnn.graph.tracing import apply


def make_divisible(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, at least 8, never less than 90 % of it."""
    if filters <= 0:
        raise ValueError(f"{filters:g} filters: a width is more than 0")
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def separable(x, filters: int, kernel: Size = 3, *, stride: int = 1, norm: Norm = True, activation="relu", name: str):
    """Depthwise, then pointwise, each normalised and activated (arXiv:1704.04861, figure 3)."""
    x = depthwise(x, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_depthwise")
    return conv(x, filters, 1, norm=norm, activation=activation, name=f"{name}_pointwise")


def squeeze_excite(x, filters: int, *, activation: str = "relu", gate: str = "sigmoid", name: str):
    """Every channel times a weight that all channels' means decide (arXiv:1709.01507, figure 3).

    `filters` are those between the two 1x1 convolutions; `gate` makes the weights.
    """
    y = apply(GlobalPool(keepdims=True), x, name=f"{name}_pool")
    y = conv(y, filters, 1, activation=activation, name=f"{name}_reduce")
    y = conv(y, x.shape[-1], 1, activation=gate, name=f"{name}_expand")
    return apply(Multiply(), x, y, name=name)


def inverted_residual(
    x,
    filters: int,
    expand: int,
    kernel: Size = 3,
    *,
    stride: int = 1,
    squeeze: int = 0,
    activation: str = "relu6",
    norm: Norm = True,
    drop_path: float = 0.0,
    name: str,
):
    """1x1 up to `expand` channels, depthwise, linear 1x1 down; added back where shapes allow (arXiv:1801.04381).

    There is no 1x1 up where `expand` is what `x` has. `squeeze` weighs the depthwise channels by
    themselves, with so many filters between (arXiv:1905.02244, figure 4).
    """
    y = x
    if expand != x.shape[-1]:
        y = conv(y, expand, 1, norm=norm, activation=activation, name=f"{name}_expand")
    y = depthwise(y, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_depthwise")
    if squeeze:
        y = squeeze_excite(y, squeeze, gate="hard_sigmoid", name=f"{name}_squeeze")
    y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_project")
    if steps(x, y, stride) == (1, 1) and x.shape == y.shape:
        y = residual_add(x, y, drop_path=drop_path, name=name)
    return y
