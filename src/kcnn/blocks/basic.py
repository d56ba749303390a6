"""Single layers: convolutions with what follows them, pools, normalization."""

from typing import Any

from kcnn.graph.ops import Activation, BatchNorm, Conv, Depthwise, Dropout, LocalResponseNorm, Padding, Pool, Size
from kcnn.graph.tracing import apply

Norm = bool | Any  # False, True for batch normalization, or the op to normalize with
BATCH_NORM = BatchNorm()  # ops are values: one serves all layers


def norm_act(x, norm: Norm, activation: str | None, name: str):
    """Normalize, then activate, each where it is requested.

    Args:
        x: The tensor.
        norm: False, True for batch normalization, or the op to normalize with.
        activation: Name of the activation, or None.
        name: Name of the layer before; the new layers are `name_bn`, or `name_norm` where the op is no batch
            normalization, and `name_activation`.

    Returns:
        A tensor of the same shape.
    """
    if norm:
        op = BATCH_NORM if norm is True else norm
        x = apply(op, x, name=f"{name}_{'bn' if type(op) is BatchNorm else 'norm'}")
    return apply(Activation(activation), x, name=f"{name}_{activation}") if activation else x


def conv(
    x,
    filters: int,
    kernel: Size = 3,
    *,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    bias: bool | None = None,
    norm: Norm = False,
    activation: str | None = "relu",
    name: str,
):
    """Apply a convolution, normalization and an activation.

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        kernel: Pixels, or (rows, columns).
        stride: Pixels, or (rows, columns).
        padding: As of kcnn.graph.ops.Conv.
        dilation: Pixels between kernel taps, or (rows, columns).
        groups: Number of groups of channels.
        padding_mode: "zeros", "reflect" or "edge".
        bias: Whether there is a bias; None for one exactly where there is no normalization.
        norm: As of `norm_act`.
        activation: Name of the activation, or None.
        name: Name of the convolution.

    Returns:
        (rows, columns, filters).
    """
    op = Conv(filters, kernel, stride, padding, dilation, groups, not norm if bias is None else bias, padding_mode)
    return norm_act(apply(op, x, name=name), norm, activation, name)


def depthwise(
    x,
    kernel: Size = 3,
    *,
    stride: Size = 1,
    padding: Padding = "same",
    norm: Norm = True,
    activation: str | None = "relu6",
    name: str,
):
    """Apply one convolution to each channel, normalization and an activation.

    Args:
        x: (rows, columns, channels).
        kernel: Pixels, or (rows, columns).
        stride: Pixels, or (rows, columns).
        padding: As of kcnn.graph.ops.Depthwise.
        norm: As of `norm_act`; without it there is a bias.
        activation: Name of the activation, or None.
        name: Name of the convolution.

    Returns:
        (rows, columns, channels).
    """
    op = Depthwise(kernel, stride, padding, bias=not norm)
    return norm_act(apply(op, x, name=name), norm, activation, name)


def max_pool(x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", name: str):
    """Take the largest value of each window.

    Args:
        x: (rows, columns, channels).
        kernel: Pixels, or (rows, columns).
        stride: Pixels, or (rows, columns).
        padding: As of kcnn.graph.ops.Pool.
        name: Name of the layer.

    Returns:
        (rows, columns, channels).
    """
    return apply(Pool(kernel, stride, padding, "max"), x, name=name)


def average_pool(
    x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", count_include_pad: bool = False, name: str
):
    """Take the mean of each window.

    Args:
        x: (rows, columns, channels).
        kernel: Pixels, or (rows, columns).
        stride: Pixels, or (rows, columns).
        padding: As of kcnn.graph.ops.Pool.
        count_include_pad: Whether padding counts in the mean.
        name: Name of the layer.

    Returns:
        (rows, columns, channels).
    """
    return apply(Pool(kernel, stride, padding, "average", count_include_pad), x, name=name)


def lrn(x, *, name: str):
    """Apply local response normalization across channels, with AlexNet's constants (NIPS 2012, section 3.3).

    Args:
        x: (rows, columns, channels).
        name: Name of the layer.

    Returns:
        A tensor of the same shape.
    """
    return apply(LocalResponseNorm(), x, name=name)


def dropout(x, rate: float, *, name: str):
    """Apply dropout; nothing where the rate is 0.

    Args:
        x: The tensor.
        rate: Fraction of values to drop.
        name: Name of the layer.

    Returns:
        A tensor of the same shape.
    """
    return apply(Dropout(rate), x, name=name) if rate else x
