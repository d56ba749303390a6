"""Shapes, costs and windows of ops. Integers only.

Shapes are (rows, columns, channels), or (features,) once flat; never a batch. Costs are
multiply-accumulates (1 MAC = 2 FLOPs) of convolutions and dense layers, for one image.
An op that is not in kcnn.graph.ops has methods of its own: see there.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

from kcnn.graph.arguments import wrong_value
from kcnn.graph.names import unknown
from kcnn.graph.ops import (
    Activation,
    AdaptivePool,
    Add,
    BatchNorm,
    ChannelShuffle,
    ChannelSlice,
    Concat,
    Conv,
    Crop,
    Dense,
    Depthwise,
    Dropout,
    DropPath,
    Flatten,
    GlobalPool,
    GlobalResponseNorm,
    GroupNorm,
    LayerNorm,
    LayerScale,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Pad,
    Pool,
    Rescale,
)
from kcnn.graph.windows import (
    WHOLE_INPUT,
    InputTooSmallError,
    Pair,
    Window,
    dilated_size,
    output_size,
    padding_amounts,
    to_pair,
)

Shape = tuple[int, ...]

PADDING_MODES = ("zeros", "reflect", "edge")
POOLING_MODES = ("max", "average")
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


def check_window(op: Any, x: Shape) -> None:
    """Check the kernel, stride, dilation and padding of an op that slides over an input.

    Args:
        op: A Conv, Depthwise or Pool.
        x: The input shape, (rows, columns, channels).

    Raises:
        ValueError: An attribute has a value that no such op takes, or the input is flat.
        InputTooSmallError: The input is too small to be reflected that far.
    """
    _check_map(op, x)
    dilation = getattr(op, "dilation", 1)
    _check_positive(op.kernel, "kernel")
    _check_positive(op.stride, "stride")
    _check_positive(dilation, "dilation")
    if op.padding == "ceil" and type(op) is not Pool:
        raise ValueError('padding "ceil" is for pools, not for convolutions')
    if type(op) is Conv and max(to_pair(op.stride)) > 1 and max(to_pair(dilation)) > 1:  # Keras has no such Conv2D
        raise ValueError(f"stride {op.stride} cannot be combined with dilation {dilation}; one of them must be 1")
    mode = getattr(op, "padding_mode", "zeros")
    if op.padding == "valid" or (op.padding == "same" and mode == "zeros"):
        return
    kernel, sides = _kernel_and_padding(op, x)
    if type(op) is Pool and op.padding != "same" and any(max(s) >= k for s, k in zip(sides, kernel, strict=True)):
        raise ValueError(f"padding {op.padding} must be less than the pool's kernel {op.kernel}")
    _check_padding_mode(mode, x, sides)


def call_cached(function: Any, op: Any, *shapes: Any) -> Any:
    """Call a function that has an lru_cache, without its cache for an op that has no hash.

    Args:
        function: The cached function.
        op: Its first argument.
        *shapes: The rest of its arguments.

    Returns:
        What the function returns.
    """
    try:
        return function(op, *shapes)
    except TypeError:
        return function.__wrapped__(op, *shapes)


def input_window(op: Any, x: Shape, *others: Shape) -> Window | str | None:
    """Return what one output position sees of an op's input.

    Args:
        op: The op. One from elsewhere may give the Conv, Depthwise or Pool that slides as it does.
        x: Shape of its first input.
        *others: Shapes of its further inputs.

    Returns:
        None (its own pixel), a Window, or WHOLE_INPUT.
    """
    kind = type(op)
    if kind in _WINDOWS:
        kernel, sides = _kernel_and_padding(op, x)
        return Window(kernel, to_pair(op.stride), (sides[0][0], sides[1][0]))
    if kind is Pad:
        above, left = (padding_amounts(x[axis], 1, 1, op.padding, axis)[0] for axis in (0, 1))
        return Window((1, 1), (1, 1), (above, left))
    if kind is Crop:
        (top, _), (left, _) = op.cropping
        return Window((1, 1), (1, 1), (-top, -left))
    if kind in _SEES_WHOLE_INPUT:
        return WHOLE_INPUT
    if kind is AdaptivePool:
        return _adaptive_window(op, x)
    if kind in SHAPE_RULES:
        return None
    own = call_method(op, "window", None, x, *others)
    return input_window(own, x, *others) if type(own) in _WINDOWS else own


def output_shape(op: Any, x: Shape, *others: Shape) -> Shape:
    """Return the output shape of an op.

    Args:
        op: The op.
        x: Shape of its first input, without the batch.
        *others: Shapes of its further inputs.

    Returns:
        The shape, without the batch.

    Raises:
        InputTooSmallError: A larger input might fit.
        ValueError: The op does not take these inputs.
    """
    rule = SHAPE_RULES.get(type(op))
    if not rule:
        return tuple(op.shape(x, *others))
    return rule(op, x, *others)


def call_method(op: Any, name: str, default: Any, *shapes: Shape) -> Any:
    """Return what a method of an op from elsewhere gives for inputs of these shapes, or the default without it."""
    method = getattr(op, name, None)
    return default if method is None else method(*shapes)


def _check_positive(value: Any, attribute: str) -> None:
    if type(value) is int and value >= 1:
        return
    values = value if isinstance(value, tuple) else (value,)
    if len(values) > 2 or not all(type(v) is int and v >= 1 for v in values):
        raise ValueError(f"{attribute} must be a positive integer or (rows, columns) of such, got {value!r}")


def _check_map(op: Any, x: Shape) -> None:
    if len(x) != 3:
        raise ValueError(f"{type(op).__name__} expects (rows, columns, channels), got {x}")


def _check_padding_mode(mode: str, x: Shape, sides: Sequence[Pair]) -> None:
    if mode not in (*PADDING_MODES, "lowest"):
        raise unknown("padding mode", mode, PADDING_MODES)
    if mode == "reflect" and any(max(side) >= size for side, size in zip(sides, x, strict=False)):
        raise InputTooSmallError(f"padding {sides} cannot be reflected from an input of {x[0]}x{x[1]} pixels")


def _kernel_and_padding(op: Any, x: Shape) -> tuple[Pair, tuple[Pair, Pair]]:
    """The dilated kernel of a sliding window, and its padding ((top, bottom), (left, right))."""
    size, stride, dilation = to_pair(op.kernel), to_pair(op.stride), to_pair(getattr(op, "dilation", 1))
    kernel = dilated_size(size[0], dilation[0]), dilated_size(size[1], dilation[1])
    vertical, horizontal = (padding_amounts(x[axis], kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1))
    return kernel, (vertical, horizontal)


@lru_cache(maxsize=65536)
def _window_positions(op: Any, x: Shape) -> Pair:
    """Output rows and columns of a sliding window."""
    check_window(op, x)
    size, stride, dilation = to_pair(op.kernel), to_pair(op.stride), to_pair(getattr(op, "dilation", 1))
    rows, columns = (
        output_size(x[axis], dilated_size(size[axis], dilation[axis]), stride[axis], op.padding, axis)
        for axis in (0, 1)
    )
    return rows, columns


def _conv(op: Conv, x: Shape) -> Shape:
    _check_positive(op.filters, "filters")
    _check_positive(op.groups, "groups")
    rows, columns = call_cached(_window_positions, op, x)
    if x[2] % op.groups or op.filters % op.groups:
        raise ValueError(f"{op.groups} groups do not divide {x[2]} input channels and {op.filters} filters")
    return rows, columns, op.filters


def _depthwise(op: Depthwise, x: Shape) -> Shape:
    return *call_cached(_window_positions, op, x), x[2]


def _pool(op: Pool, x: Shape) -> Shape:
    if op.mode not in POOLING_MODES:
        raise unknown("pooling mode", op.mode, POOLING_MODES)
    return *call_cached(_window_positions, op, x), x[2]


def _pad(op: Pad, x: Shape) -> Shape:
    vertical, horizontal = (padding_amounts(x[axis], 1, 1, op.padding, axis) for axis in (0, 1))
    _check_padding_mode(op.padding_mode, x, (vertical, horizontal))
    return x[0] + sum(vertical), x[1] + sum(horizontal), x[2] + sum(op.channels)


def _crop(op: Crop, x: Shape) -> Shape:
    _check_map(op, x)
    amounts = [amount for sides in op.cropping for amount in sides] if _is_pair_of_pairs(op.cropping) else [None]
    if not all(type(amount) is int and amount >= 0 for amount in amounts):
        raise wrong_value("cropping", "((top, bottom), (left, right)) in pixels, none negative", op.cropping)
    rows, columns = (size - sum(sides) for size, sides in zip(x[:2], op.cropping, strict=True))
    if min(rows, columns) < 1:
        raise InputTooSmallError(f"cropping {op.cropping} leaves nothing of an input of {x[0]}x{x[1]} pixels")
    return rows, columns, x[2]


def _is_pair_of_pairs(value: Any) -> bool:
    return isinstance(value, tuple) and [isinstance(v, tuple) and len(v) == 2 for v in value] == [True, True]


def _adaptive_pool(op: AdaptivePool, x: Shape) -> Shape:
    _check_positive(op.size, "size")
    _check_map(op, x)
    return *to_pair(op.size), x[2]


def _adaptive_window(op: AdaptivePool, x: Shape) -> Window:
    """The largest of its windows, and the mean step between them, at least one pixel."""
    steps = [(n, m) for n, m in zip(x[:2], to_pair(op.size), strict=True)]
    kernel = tuple(max(-(-(i + 1) * n // m) - i * n // m for i in range(m)) for n, m in steps)
    stride = tuple(max(1, n // m) for n, m in steps)
    return Window(kernel, stride, (0, 0))  # type: ignore[arg-type]


def _concat(op: Concat, x: Shape, *others: Shape) -> Shape:
    if any(other[:-1] != x[:-1] for other in others):
        raise ValueError(f"cannot concatenate {x} and {', '.join(map(str, others))}: rows and columns must be equal")
    return *x[:-1], x[-1] + sum(other[-1] for other in others)


def _channel_slice(op: ChannelSlice, x: Shape) -> Shape:
    stop = x[-1] if op.stop is None else op.stop
    if type(op.start) is not int or type(stop) is not int or not 0 <= op.start < stop <= x[-1]:
        channels = f"{op.start}:{'' if op.stop is None else op.stop}"
        raise ValueError(f"cannot take channels {channels} of the {x[-1]} channels of the input")
    return *x[:-1], stop - op.start


def _channel_shuffle(op: ChannelShuffle, x: Shape) -> Shape:
    _check_positive(op.groups, "groups")
    if x[-1] % op.groups:
        raise ValueError(f"{op.groups} groups do not divide {x[-1]} input channels")
    return x


def _add(op: Add, x: Shape, *others: Shape) -> Shape:
    if any(other != x for other in others):
        raise ValueError(f"cannot add {x} and {', '.join(map(str, others))}")
    return x


def _multiply(op: Multiply, x: Shape, *others: Shape) -> Shape:
    if any(other[-1] != x[-1] or other not in (x, (1, 1, x[-1])) for other in others):
        raise ValueError(f"cannot multiply {x} by {', '.join(map(str, others))}")
    return x


def _dense(op: Dense, x: Shape) -> Shape:
    _check_positive(op.units, "units")
    if len(x) != 1:
        raise ValueError(f"Dense expects a flat input, got {x}; add Flatten or global pooling")
    return (op.units,)


def _activation(op: Activation, x: Shape) -> Shape:
    if op.function not in ACTIVATIONS:
        raise unknown("activation", op.function, ACTIVATIONS)
    return x


def _leaky_relu(op: LeakyRelu, x: Shape) -> Shape:
    if op.negative_slope < 0:
        raise ValueError(f"negative_slope must be 0 or more, got {op.negative_slope!r}")
    return x


def _dropout(op: Dropout | DropPath, x: Shape) -> Shape:
    if not 0 <= op.rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {op.rate!r}")
    return x


def _group_norm(op: GroupNorm, x: Shape) -> Shape:
    _check_positive(op.groups, "groups")
    if x[-1] % op.groups:
        raise ValueError(f"{op.groups} groups do not divide {x[-1]} input channels")
    return x


def _global_response_norm(op: GlobalResponseNorm, x: Shape) -> Shape:
    _check_map(op, x)
    return x


def _unchanged(op: Any, x: Shape) -> Shape:
    return x


def _global_pool(op: GlobalPool, x: Shape) -> Shape:
    if op.mode not in POOLING_MODES:
        raise unknown("pooling mode", op.mode, POOLING_MODES)
    return (1, 1, x[2]) if op.keepdims else (x[2],)


def _flatten(op: Flatten, x: Shape) -> Shape:
    return (prod(x),)


_WINDOWS = (Conv, Depthwise, Pool)
_SEES_WHOLE_INPUT = (GlobalPool, Flatten, GroupNorm, GlobalResponseNorm)
SHAPE_RULES: dict[type, Callable[..., Shape]] = {
    Conv: _conv,
    Depthwise: _depthwise,
    Pool: _pool,
    AdaptivePool: _adaptive_pool,
    Pad: _pad,
    Crop: _crop,
    Concat: _concat,
    ChannelSlice: _channel_slice,
    ChannelShuffle: _channel_shuffle,
    Add: _add,
    Multiply: _multiply,
    Dense: _dense,
    Activation: _activation,
    LeakyRelu: _leaky_relu,
    BatchNorm: _unchanged,
    LayerNorm: _unchanged,
    GroupNorm: _group_norm,
    GlobalResponseNorm: _global_response_norm,
    LayerScale: _unchanged,
    LocalResponseNorm: _unchanged,
    Rescale: _unchanged,
    Dropout: _dropout,
    DropPath: _dropout,
    GlobalPool: _global_pool,
    Flatten: _flatten,
}
