"""Single layers: convolutions with what follows them, pools, normalisation."""

from typing import Any

from kcnn.ops import Act, BatchNorm, Conv, Depthwise, Dropout, LocalResponseNorm, Padding, Pool, Size
from kcnn.sketch import apply

Norm = bool | Any


def finish(x, norm: Norm, act: str | None, name: str):
    """Normalisation where asked for, then activation where asked for."""
    if norm:
        x = apply(BatchNorm() if norm is True else norm, x, name=f"{name}_bn")
    return apply(Act(act), x, name=f"{name}_{act}") if act else x


def conv(
    x,
    filters: int,
    kernel: Size = 3,
    *,
    stride: Size = 1,
    padding: Padding = "same",
    dilation: Size = 1,
    groups: int = 1,
    fill: str = "zeros",
    bias: bool | None = None,
    norm: Norm = False,
    act: str | None = "relu",
    name: str,
):
    """Convolution, normalisation, activation; biased where not normalised, unless `bias` says else."""
    op = Conv(filters, kernel, stride, padding, dilation, groups, not norm if bias is None else bias, fill)
    return finish(apply(op, x, name=name), norm, act, name)


def depthwise(
    x,
    kernel: Size = 3,
    *,
    stride: Size = 1,
    padding: Padding = "same",
    norm: Norm = True,
    act: str | None = "relu6",
    name: str,
):
    """One convolution per channel, normalisation, activation."""
    op = Depthwise(kernel, stride, padding, bias=not norm)
    return finish(apply(op, x, name=name), norm, act, name)


def maxpool(x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", name: str):
    """The largest value of each window."""
    return apply(Pool(kernel, stride, padding, "max"), x, name=name)


def averagepool(
    x, kernel: Size = 2, *, stride: Size = 2, padding: Padding = "valid", count_padding: bool = False, name: str
):
    """The mean of each window."""
    return apply(Pool(kernel, stride, padding, "average", count_padding), x, name=name)


def lrn(x, *, name: str):
    """Local response normalisation across channels, with AlexNet's constants."""
    return apply(LocalResponseNorm(), x, name=name)


def dropped(x, rate: float, *, name: str):
    """Dropout where its rate is not zero."""
    return apply(Dropout(rate), x, name=name) if rate else x
