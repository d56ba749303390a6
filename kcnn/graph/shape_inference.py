"""Verbs: what each op makes of its inputs' shapes, and what that costs. Integers only.

Shapes are (rows, columns, channels), or (features,) once flat; never a batch. Costs are
multiply-accumulates (1 MAC = 2 FLOPs) of convolutions and dense layers, for one image.
An op that is not in kcnn.graph.ops answers for itself, by methods of the same names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from kcnn.graph.ops import (
    Activation,
    AdaptivePool,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    DropPath,
    Flatten,
    GlobalPool,
    LocalResponseNorm,
    Multiply,
    Pad,
    Padding,
    Pool,
    Rescale,
    Size,
)

Shape = tuple[int, ...]
Pair = tuple[int, int]

PADDING_MODES = ("zeros", "reflect", "edge")
ACTIVATIONS = (  # Keras', each by one of its names: silu is swish, hard_swish is hard_silu
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "tanh",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "hard_sigmoid",
    "hard_swish",
    "exponential",
)


class InputTooSmallError(ValueError):
    """A window is larger than what it should slide over: a larger input may fit."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one output position sees of the op's input, by (row, column)."""

    kernel: Pair  # pixels from the first to the last one seen, dilation included
    stride: Pair
    pad_before: Pair  # padding above and to the left


WHOLE_INPUT = "whole"  # a window as large as the image, wherever it stands


def to_pair(value: Size) -> Pair:
    """(rows, columns) of a size given as an int or as two."""
    if isinstance(value, tuple):
        rows, columns = value
        return rows, columns
    return value, value


def dilated_size(kernel: int, dilation: int) -> int:
    """Pixels from the first to the last tap of a dilated kernel."""
    return (kernel - 1) * dilation + 1


def padding_amounts(size: int, kernel: int, stride: int, padding: Padding, axis: int) -> Pair:
    """Pixels of padding before and after one axis; `kernel` is the reach."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return missing // 2, missing - missing // 2
    if padding == "half":
        return kernel // 2, kernel // 2
    if padding == "ceil":  # lets the last window begin inside the image and hang over its end
        return 0, min(kernel, stride) - 1
    if isinstance(padding, int) and padding >= 0:
        return padding, padding
    if isinstance(padding, tuple) and len(padding) == 2:
        side = padding[axis]
        before, after = side if isinstance(side, tuple) else (side, side)
        if min(before, after) >= 0:
            return before, after
    raise ValueError(
        'padding must be "same", "valid", "half", "ceil" (pools), pixels, (rows, columns) or '
        f"((top, bottom), (left, right)), not {padding!r}"
    )


def output_size(size: int, kernel: int, stride: int, padding: Padding, axis: int = 0) -> int:
    """Positions a window of `kernel` pixels takes along one axis of `size` pixels."""
    if padding == "same":
        return -(-size // stride)
    before, after = padding_amounts(size, kernel, stride, padding, axis)
    if kernel > size + before + after:
        along = "columns" if axis else "rows"
        room = f"{size} + {before} + {after}" if before or after else f"{size}"
        raise InputTooSmallError(f"a window of {kernel} does not fit in {room} {along}")
    return (size + before + after - kernel) // stride + 1


def call_cached(asked: Any, op: Any, *shapes: Any) -> Any:
    """The answer of a function with an lru_cache; worked out anew for an op that has no hash."""
    try:
        return asked(op, *shapes)
    except TypeError:
        return asked.__wrapped__(op, *shapes)


def input_window(op: Any, x: Shape, *others: Shape) -> Window | str | None:
    """What one output position sees of the input: None (its own pixel), a Window, or WHOLE.

    An op from elsewhere may also answer with the Conv, Depthwise or Pool that slides as it does.
    """
    kind = type(op)
    if kind in _WINDOWS:
        dilation = to_pair(getattr(op, "dilation", 1))
        kernel = tuple(map(dilated_size, to_pair(op.kernel), dilation))
        stride = to_pair(op.stride)
        before = tuple(padding_amounts(x[axis], kernel[axis], stride[axis], op.padding, axis)[0] for axis in (0, 1))
        return Window(kernel, stride, before)  # type: ignore[arg-type]
    if kind is Pad:
        return Window(
            (1, 1),
            (1, 1),
            (padding_amounts(x[0], 1, 1, op.padding, 0)[0], padding_amounts(x[1], 1, 1, op.padding, 1)[0]),
        )
    if kind is GlobalPool or kind is Flatten:
        return WHOLE_INPUT
    if kind is AdaptivePool:
        return _adaptive_window(op, x)
    if kind in SHAPE_RULES:
        return None
    own = _ask(op, "window", None, x, *others)
    return input_window(own, x, *others) if type(own) in _WINDOWS else own


def output_shape(op: Any, x: Shape, *others: Shape) -> Shape:
    """The output shape; ValueError where the op cannot stand there, DoesNotFit where it is too large."""
    rule = SHAPE_RULES.get(type(op))
    return rule(op, x, *others) if rule else tuple(op.shape(x, *others))


def count_params(op: Any, x: Shape, *others: Shape) -> int:
    """Trainable numbers."""
    match op:
        case Conv():
            return (prod(to_pair(op.kernel)) * (x[2] // op.groups) + op.bias) * op.filters
        case Depthwise():
            return (prod(to_pair(op.kernel)) + op.bias) * x[2]
        case BatchNorm():
            return (op.scale + op.center) * x[-1]
        case Dense():
            return (x[0] + op.bias) * op.units
    return 0 if type(op) in SHAPE_RULES else _ask(op, "params", 0, x, *others)


def count_non_trainable_params(op: Any, x: Shape, *others: Shape) -> int:
    """Numbers that move in training but are not trained: moving statistics."""
    if type(op) is BatchNorm:
        return 2 * x[-1]
    return 0 if type(op) in SHAPE_RULES else _ask(op, "non_trainable_params", 0, x, *others)


def count_macs(op: Any, x: Shape, *others: Shape, out: Shape) -> int:
    """Multiply-accumulates for one image; `out` is the op's output shape."""
    match op:
        case Conv():
            return prod(to_pair(op.kernel)) * (x[2] // op.groups) * prod(out)
        case Depthwise():
            return prod(to_pair(op.kernel)) * prod(out)
        case Dense():
            return x[0] * op.units
    return 0 if type(op) in SHAPE_RULES else _ask(op, "macs", 0, x, *others)


def _ask(op: Any, question: str, otherwise: Any, *shapes: Shape) -> Any:
    answer = getattr(op, question, None)
    return otherwise if answer is None else answer(*shapes)


def _positive(value: Any, what: str) -> None:
    if type(value) is int and value >= 1:
        return
    values = value if isinstance(value, tuple) else (value,)
    if len(values) > 2 or not all(type(v) is int and v >= 1 for v in values):
        raise ValueError(f"{what} must be a whole number of at least 1, or (rows, columns) of such, not {value!r}")


def _plane(op: Any, x: Shape) -> Pair:
    """Output rows and columns of a sliding window, once its sizes are checked."""
    return call_cached(_slid, op, x)


@lru_cache(maxsize=65536)
def _slid(op: Any, x: Shape) -> Pair:
    if len(x) != 3:
        raise ValueError(f"a window slides over (rows, columns, channels), not over {x}")
    dilation = getattr(op, "dilation", 1)
    _positive(op.kernel, "kernel")
    _positive(op.stride, "stride")
    _positive(dilation, "dilation")
    if op.padding == "ceil" and type(op) is not Pool:
        raise ValueError('padding "ceil" is for pools')
    stride, dilation = to_pair(op.stride), to_pair(dilation)
    if max(stride) > 1 and max(dilation) > 1:
        raise ValueError(f"stride {op.stride} together with dilation {op.dilation} is not possible")
    kernel = tuple(map(dilated_size, to_pair(op.kernel), dilation))
    rows, columns = (output_size(x[axis], kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1))
    if op.padding not in ("valid", "same"):
        sides = [padding_amounts(x[axis], kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1)]
        if type(op) is Pool and any(max(side) >= k for side, k in zip(sides, kernel, strict=True)):
            raise ValueError(
                f"a pool of {op.kernel} cannot have {op.padding} pixels of padding: some window sees only that"
            )
        _fill_fits(getattr(op, "padding_mode", "zeros"), x, sides)
    elif op.padding == "same" and getattr(op, "padding_mode", "zeros") != "zeros":
        _fill_fits(op.fill, x, [padding_amounts(x[axis], kernel[axis], stride[axis], "same", axis) for axis in (0, 1)])
    return rows, columns


def _fill_fits(fill: str, x: Shape, sides: list[Pair]) -> None:
    if fill not in (*PADDING_MODES, "lowest"):
        raise ValueError(f"fill must be one of {', '.join(PADDING_MODES)}, not {fill!r}")
    if fill == "reflect" and any(max(side) >= size for side, size in zip(sides, x, strict=False)):
        raise InputTooSmallError(f"{x[0]}x{x[1]} pixels cannot be reflected {sides} pixels beyond their edge")


def _conv(op: Conv, x: Shape) -> Shape:
    _positive(op.filters, "filters")
    _positive(op.groups, "groups")
    rows, columns = _plane(op, x)
    if x[2] % op.groups or op.filters % op.groups:
        raise ValueError(f"{op.groups} groups do not divide {x[2]} -> {op.filters} channels")
    return rows, columns, op.filters


def _depthwise(op: Depthwise, x: Shape) -> Shape:
    rows, columns = _plane(op, x)
    if len(set(to_pair(op.stride))) > 1:
        raise ValueError(f"a depthwise convolution strides alike on rows and columns, not {op.stride}")
    return rows, columns, x[2]


def _pool(op: Pool, x: Shape) -> Shape:
    if op.mode not in ("max", "average"):
        raise ValueError(f'a pool is "max" or "average", not {op.mode!r}')
    return *_plane(op, x), x[2]


def _pad(op: Pad, x: Shape) -> Shape:
    sides = [padding_amounts(x[axis], 1, 1, op.padding, axis) for axis in (0, 1)]
    _fill_fits(op.padding_mode, x, sides)
    return x[0] + sum(sides[0]), x[1] + sum(sides[1]), x[2] + sum(op.channels)


def _adaptive_pool(op: AdaptivePool, x: Shape) -> Shape:
    _positive(op.size, "size")
    if len(x) != 3:
        raise ValueError(f"a window slides over (rows, columns, channels), not over {x}")
    return *to_pair(op.size), x[2]


def _adaptive_window(op: AdaptivePool, x: Shape) -> Window:
    """The largest of its windows, and the mean step between them, at least one pixel."""
    steps = [(n, m) for n, m in zip(x[:2], to_pair(op.size), strict=True)]
    kernel = tuple(max(-(-(i + 1) * n // m) - i * n // m for i in range(m)) for n, m in steps)
    stride = tuple(max(1, n // m) for n, m in steps)
    return Window(kernel, stride, (0, 0))  # type: ignore[arg-type]


def _concat(op: Concat, x: Shape, *others: Shape) -> Shape:
    if any(other[:-1] != x[:-1] for other in others):
        raise ValueError(f"branches disagree in size: {x}, {', '.join(map(str, others))}")
    return *x[:-1], x[-1] + sum(other[-1] for other in others)


def _add(op: Add, x: Shape, *others: Shape) -> Shape:
    if any(other != x for other in others):
        raise ValueError(f"cannot add {x} and {', '.join(map(str, others))}")
    return x


def _multiply(op: Multiply, x: Shape, *others: Shape) -> Shape:
    if any(other[-1] != x[-1] or other not in (x, (1, 1, x[-1])) for other in others):
        raise ValueError(f"cannot multiply {x} by {', '.join(map(str, others))}")
    return x


def _dense(op: Dense, x: Shape) -> Shape:
    _positive(op.units, "units")
    if len(x) != 1:
        raise ValueError(f"a dense layer stands on a flat tensor, not on {x}; flatten or pool first")
    return (op.units,)


def _act(op: Activation, x: Shape) -> Shape:
    if op.function not in ACTIVATIONS:
        raise ValueError(f"no activation {op.function!r}; there are {', '.join(ACTIVATIONS)}")
    return x


def _dropout(op: Dropout | DropPath, x: Shape) -> Shape:
    if not 0 <= op.rate < 1:
        raise ValueError(f"a dropout rate lies in [0, 1), not {op.rate!r}")
    return x


def _unchanged(op: Any, x: Shape) -> Shape:
    return x


def _global_pool(op: GlobalPool, x: Shape) -> Shape:
    if op.mode not in ("max", "average"):
        raise ValueError(f'a pool is "max" or "average", not {op.mode!r}')
    return (1, 1, x[2]) if op.keepdims else (x[2],)


def _flatten(op: Flatten, x: Shape) -> Shape:
    return (prod(x),)


_WINDOWS = (Conv, Depthwise, Pool)
SHAPE_RULES: dict[type, Callable[..., Shape]] = {
    Conv: _conv,
    Depthwise: _depthwise,
    Pool: _pool,
    AdaptivePool: _adaptive_pool,
    Pad: _pad,
    Concat: _concat,
    Add: _add,
    Multiply: _multiply,
    Dense: _dense,
    Activation: _act,
    BatchNorm: _unchanged,
    LocalResponseNorm: _unchanged,
    Rescale: _unchanged,
    Dropout: _dropout,
    DropPath: _dropout,
    GlobalPool: _global_pool,
    Flatten: _flatten,
}
