"""Blocks of depthwise convolutions."""

from kcnn.blocks.attention import squeeze_excite
from kcnn.blocks.basic import Norm, conv, depthwise
from kcnn.blocks.residual_units import compare_sizes, residual_add
from kcnn.graph.ops import Depthwise, Size
from kcnn.graph.tracing import apply, decide_by_shapes


def make_divisible(filters: float, divisor: int = 8) -> int:
    """Return the multiple of 8 nearest to a number of filters, at least 8, and at least 90% of it.

    Args:
        filters: Number of filters, such as a width times that of the paper.
        divisor: Another number in place of 8.

    Returns:
        The multiple.

    Raises:
        ValueError: The number is not positive.
    """
    if filters <= 0:
        raise ValueError(f"filters must be positive, got {filters:g}")
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def separable(x, filters: int, kernel: Size = 3, *, stride: int = 1, norm: Norm = True, activation="relu", name: str):
    """Apply a depthwise and a pointwise convolution, each normalized and activated (arXiv:1704.04861, figure 3).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        kernel: Pixels, or (rows, columns).
        stride: Pixels.
        norm: As of `norm_act`.
        activation: Name of the activation.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).
    """
    x = depthwise(x, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_depthwise")
    return conv(x, filters, 1, norm=norm, activation=activation, name=f"{name}_pointwise")


def depthwise_separable(x, filters: int, kernel: Size = 3, *, stride: int = 1, norm: Norm = True, name: str):
    """Apply a depthwise and a pointwise convolution with nothing between them, then normalize (arXiv:1610.02357).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        kernel: Pixels, or (rows, columns).
        stride: Pixels.
        norm: As of `norm_act`.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).
    """
    x = apply(Depthwise(kernel, stride, bias=False), x, name=f"{name}_depthwise")
    return conv(x, filters, 1, norm=norm, activation=None, name=f"{name}_pointwise")


def inverted_residual(
    x,
    filters: int,
    expand: int,
    kernel: Size = 3,
    *,
    stride: int = 1,
    squeeze: int = 0,
    squeeze_activation: str = "relu",
    gate: str = "hard_sigmoid",
    activation: str = "relu6",
    norm: Norm = True,
    drop_path: float = 0.0,
    name: str,
):
    """Apply 1x1 up, depthwise, linear 1x1 down, added to the input where shapes allow (arXiv:1801.04381).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        expand: Channels of the depthwise convolution; no 1x1 up where they are those of `x`.
        kernel: Pixels, or (rows, columns).
        stride: Pixels.
        squeeze: Channels of squeeze-and-excitation on the depthwise convolution (arXiv:1905.02244, figure 4); 0 for
            none.
        squeeze_activation: Activation between its two convolutions.
        gate: Activation of its weights.
        activation: Name of the activation.
        norm: As of `norm_act`.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).
    """
    y = x
    if expand != x.shape[-1]:
        y = conv(y, expand, 1, norm=norm, activation=activation, name=f"{name}_expand")
    y = depthwise(y, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_depthwise")
    if squeeze:
        y = squeeze_excite(y, squeeze, activation=squeeze_activation, gate=gate, name=f"{name}_squeeze")
    y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_project")
    return _add_where_shapes_allow(x, y, stride, drop_path, name)


def fused_inverted_residual(
    x,
    filters: int,
    expand: int,
    kernel: Size = 3,
    *,
    stride: int = 1,
    activation: str = "silu",
    norm: Norm = True,
    drop_path: float = 0.0,
    name: str,
):
    """Apply an inverted residual whose 1x1 up and depthwise are one convolution (arXiv:2104.00298, figure 2).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        expand: Channels of the first convolution; where they are those of `x`, it is the only one and has `filters`.
        kernel: Pixels, or (rows, columns).
        stride: Pixels.
        activation: Name of the activation.
        norm: As of `norm_act`.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).
    """
    if expand == x.shape[-1]:
        y = conv(x, filters, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_project")
    else:
        y = conv(x, expand, kernel, stride=stride, norm=norm, activation=activation, name=f"{name}_expand")
        y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_project")
    return _add_where_shapes_allow(x, y, stride, drop_path, name)


def universal_inverted_bottleneck(
    x,
    filters: int,
    expand: int,
    kernels: tuple[int, int],
    *,
    stride: int = 1,
    activation: str = "relu",
    norm: Norm = True,
    drop_path: float = 0.0,
    name: str,
):
    """Apply an inverted residual with depthwise convolutions before, within, both or none (arXiv:2404.10518, fig. 4).

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        expand: Channels between the two 1x1 convolutions.
        kernels: Pixels of the depthwise convolutions before the first 1x1, which is linear, and after it; 0 for none.
        stride: Pixels, of the last depthwise convolution.
        activation: Name of the activation.
        norm: As of `norm_act`.
        drop_path: Rate of stochastic depth.
        name: Prefix of the layers' names.

    Returns:
        (rows, columns, filters).
    """
    before, within = kernels
    y = x
    if before:
        step = 1 if within else stride
        y = depthwise(y, before, stride=step, norm=norm, activation=None, name=f"{name}_start")
    y = conv(y, expand, 1, norm=norm, activation=activation, name=f"{name}_expand")
    if within:
        y = depthwise(y, within, stride=stride, norm=norm, activation=activation, name=f"{name}_depthwise")
    y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_project")
    return _add_where_shapes_allow(x, y, stride, drop_path, name)


def _add_where_shapes_allow(x, y, stride: int, drop_path: float, name: str):
    """The output `y` of a block's convolutions, added to the input where they keep its shape."""
    if decide_by_shapes(lambda a, b: a == b and compare_sizes(a, b, stride) == (1, 1), x, y):
        return residual_add(x, y, drop_path=drop_path, name=name)
    return y
