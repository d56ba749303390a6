"""Single layers: convolutions with what follows them, pools, normalisation."""

from typing import Any

from kcnn.graph.ops import Activation, BatchNorm, Conv, Depthwise, Dropout, LocalResponseNorm, Padding, Pool, Size
from kcnn.graph.tracing import apply

Norm = bool | Any


def norm_act(x, norm: Norm, activation: str | None, name: str):
    """Normalisation where asked for, then activation where asked for."""
    if norm:
        x = apply(BatchNorm() if norm is True else norm, x, name=f"{name}_bn")
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
    """Convolution, normalisation, activation; biased where not normalised, unless `bias` says else."""
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
    """One convolution per channel, normalisation, activation."""
    op = Depthwise(kernel, stride, padding, bias=not norm)
    return norm_act(apply(op, x, name=name), norm, activation, name)


def max_pool(x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", name: str):
    """The largest value of each window."""
    return apply(Pool(kernel, stride, padding, "max"), x, name=name)


def average_pool(
    x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", count_include_pad: bool = False, name: str
):
    """The mean of each window."""
    return apply(Pool(kernel, stride, padding, "average", count_include_pad), x, name=name)


def lrn(x, *, name: str):
    """Local response normalisation across channels, with AlexNet's constants."""
    return apply(LocalResponseNorm(), x, name=name)


def dropout(x, rate: float, *, name: str):
    """Dropout where its rate is not zero."""
    return apply(Dropout(rate), x, name=name) if rate else x
