"""Builders: each takes a tensor, drawn or Keras, and returns one of the same kind.

`norm` is False, True (batch normalisation), or the op to normalise with; a normalised
convolution has no bias. `act` is the name of an activation, or None.
"""

from typing import Any

from kcnn.ops import (
    Act,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    GlobalPool,
    LocalResponseNorm,
    Padding,
    Pool,
    Size,
)
from kcnn.sketch import apply

__all__ = [
    "Norm",
    "apply",
    "auxiliary",
    "averagepool",
    "bottleneck",
    "conv",
    "depthwise",
    "head",
    "inception",
    "inverted_residual",
    "lenet_head",
    "lrn",
    "maxpool",
    "residual",
    "separable",
    "wide_head",
]

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


def inception(x, c1: int, r3: int, c3: int, r5: int, c5: int, proj: int, *, norm: Norm = False, name: str):
    """Four branches, 1x1, 3x3, 5x5 and pooled, joined on channels (arXiv:1409.4842, figure 2b).

    (rows, columns, any) -> (rows, columns, c1 + c3 + c5 + proj); r3 and r5 are the 1x1 reductions.
    """
    pooled = maxpool(x, 3, stride=1, padding="same", name=f"{name}_pool")
    return apply(
        Concat(),
        conv(x, c1, 1, norm=norm, name=f"{name}_1x1"),
        conv(conv(x, r3, 1, norm=norm, name=f"{name}_3x3_reduce"), c3, 3, norm=norm, name=f"{name}_3x3"),
        conv(conv(x, r5, 1, norm=norm, name=f"{name}_5x5_reduce"), c5, 5, norm=norm, name=f"{name}_5x5"),
        conv(pooled, proj, 1, norm=norm, name=f"{name}_proj"),
        name=name,
    )


def _step(before: int | None, after: int | None, stride: int) -> int:
    """The stride with which a 1x1 takes `before` positions to `after`: `stride` where it does."""
    if before is None or after is None or (before - 1) // stride + 1 == after:
        return stride
    return next((s for s in range(1, before + 1) if (before - 1) // s + 1 == after), stride)


def _steps(x, y, stride: int) -> tuple[int, int]:
    """Strides on rows and columns of a 1x1 from `x` to `y`, which follow from the shapes, not from the code."""
    rows, columns = (_step(n, m, stride) for n, m in zip(x.shape[-3:-1], y.shape[-3:-1], strict=True))
    return rows, columns


def _skip(x, y, stride: int, norm: Norm, bias: bool | None, name: str):
    """`x` itself where it fits `y`, else a 1x1 projection."""
    steps = _steps(x, y, stride)
    if steps == (1, 1) and x.shape[-1] == y.shape[-1]:
        return x
    step: Size = steps[0] if steps[0] == steps[1] else steps
    return conv(x, y.shape[-1], 1, stride=step, padding="valid", bias=bias, norm=norm, act=None, name=name)


def residual(x, filters: int, *, stride: int = 1, norm: Norm = True, name: str):
    """Two 3x3 convolutions and the way round them (arXiv:1512.03385, figure 5 left)."""
    y = conv(x, filters, 3, stride=stride, padding="half", norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, padding="half", norm=norm, act=None, name=f"{name}_b")
    y = apply(Add(), _skip(x, y, stride, norm, None, f"{name}_skip"), y, name=f"{name}_add")
    return apply(Act("relu"), y, name=name)


def bottleneck(
    x,
    filters: int,
    *,
    stride: int = 1,
    stride_on: str = "1x1",
    norm: Norm = True,
    bias: bool | None = None,
    name: str,
):
    """1x1 down, 3x3, 1x1 up to 4 * `filters`, and the way round them (arXiv:1512.03385, figure 5 right).

    The paper's stride is on the first 1x1; `stride_on="3x3"` moves it, as torchvision does.
    """
    if stride_on not in ("1x1", "3x3"):
        raise ValueError(f'stride_on is "1x1" (the paper\'s) or "3x3", not {stride_on!r}')
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    y = conv(x, filters, 1, stride=first, padding="half", bias=bias, norm=norm, name=f"{name}_a")
    y = conv(y, filters, 3, stride=second, padding="half", bias=bias, norm=norm, name=f"{name}_b")
    y = conv(y, 4 * filters, 1, padding="half", bias=bias, norm=norm, act=None, name=f"{name}_c")
    y = apply(Add(), _skip(x, y, stride, norm, bias, f"{name}_skip"), y, name=f"{name}_add")
    return apply(Act("relu"), y, name=name)


def inverted_residual(x, filters: int, expand: int, *, stride: int = 1, norm: Norm = True, name: str):
    """1x1 up by `expand`, depthwise 3x3, linear 1x1 down; added back where shapes allow (arXiv:1801.04381)."""
    y = x
    if expand > 1:
        y = conv(y, expand * x.shape[-1], 1, norm=norm, act="relu6", name=f"{name}_expand")
    y = depthwise(y, 3, stride=stride, norm=norm, name=f"{name}_depthwise")
    y = conv(y, filters, 1, norm=norm, act=None, name=f"{name}_project")
    if _steps(x, y, stride) == (1, 1) and x.shape == y.shape:
        y = apply(Add(), x, y, name=f"{name}_add")
    return y


def separable(x, filters: int, kernel: Size = 3, *, stride: int = 1, norm: Norm = True, act="relu", name: str):
    """Depthwise, then pointwise, each normalised and activated (arXiv:1704.04861, figure 3)."""
    x = depthwise(x, kernel, stride=stride, norm=norm, act=act, name=f"{name}_depthwise")
    return conv(x, filters, 1, norm=norm, act=act, name=f"{name}_pointwise")


def head(x, classes: int, *, dropout: float = 0.0):
    """Average every channel over the map, then one dense layer of logits."""
    x = apply(GlobalPool(), x, name="pool")
    if dropout:
        x = apply(Dropout(dropout), x, name="dropout")
    return apply(Dense(classes), x, name="logits")


def wide_head(x, classes: int, *, units: int = 4096, dropout: float = 0.5):
    """Flatten, two dense layers with dropout, then logits: the head of AlexNet and VGG."""
    x = apply(Flatten(), x, name="flatten")
    for name in ("fc6", "fc7"):
        x = apply(Act("relu"), apply(Dense(units, init="he_uniform"), x, name=name), name=f"{name}_relu")
        if dropout:
            x = apply(Dropout(dropout), x, name=f"{name}_dropout")
    return apply(Dense(classes), x, name="logits")


def lenet_head(x, classes: int, *, units: tuple[int, ...] = (84,), act: str = "tanh"):
    """Flatten, a dense layer per entry of `units`, then logits: the head of small early networks."""
    x = apply(Flatten(), x, name="flatten")
    for number, width in enumerate(units, 6):
        x = apply(Act(act), apply(Dense(width), x, name=f"f{number}"), name=f"f{number}_{act}")
    return apply(Dense(classes), x, name="logits")


def auxiliary(x, classes: int, *, norm: Norm = False, dropout: float = 0.7, name: str):
    """A classifier on the side: 5x5 average pool of stride 3, 1x1 to 128, 1024 units (arXiv:1409.4842, section 5)."""
    x = averagepool(x, 5, stride=3, name=f"{name}_pool")
    x = conv(x, 128, 1, norm=norm, name=f"{name}_conv")
    x = apply(Flatten(), x, name=f"{name}_flatten")
    x = apply(Act("relu"), apply(Dense(1024, init="he_uniform"), x, name=f"{name}_fc"), name=f"{name}_relu")
    if dropout:
        x = apply(Dropout(dropout), x, name=f"{name}_dropout")
    return apply(Dense(classes), x, name=f"{name}_logits")
