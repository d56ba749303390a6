"""From one op to one Keras layer, and from a drawing to its tensors: the door to keras.

Everything here uses Keras' own layers and works on each of its backends.
"""

from collections.abc import Callable
from typing import Any

import keras

from kcnn.graph import ops, shape_inference
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import Pair, to_pair
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge import layers

LAST = {"data_format": "channels_last"}


def make_layer(op: Any, name: str, dtype: Any = None) -> Callable[..., Any]:
    """The function from Keras tensors to a Keras tensor that an op stands for; it makes layer `name`."""
    given = {"name": name, "dtype": dtype}
    match op:
        case ops.Conv() | ops.Depthwise():
            return lambda x: _convolution(op, x, given)
        case ops.Pool():
            return lambda x: _pool(op, x, given)
        case ops.Concat():
            return lambda *xs: keras.layers.Concatenate(**given)(list(xs))
        case ops.Add():
            return lambda *xs: keras.layers.Add(**given)(list(xs))
        case ops.Multiply():
            return lambda *xs: keras.layers.Multiply(**given)(list(xs))
    make = _SIMPLE.get(type(op))
    if make:
        return make(op, given)
    own = op.layer(name)  # an op from elsewhere brings its own Keras layer
    if dtype is not None:
        own.dtype_policy = keras.dtype_policies.get(dtype)
    return lambda *xs: own(*xs) if len(xs) == 1 else own(list(xs))


def _rescale(op: ops.Rescale, given: dict[str, Any]) -> Callable[..., Any]:
    def rescaled(x: Any) -> Any:
        channels = x.shape[-1]
        scale, offset = (_per_channel(value, channels) for value in (op.scale, op.offset))
        return keras.layers.Rescaling(scale, offset, **given)(x)

    return rescaled


def _per_channel(value: float | tuple[float, ...], channels: int) -> float | list[float]:
    if not isinstance(value, tuple):
        return value
    return list(value) if len(value) == channels else sum(value) / len(value)


_SIMPLE: dict[type, Callable[[Any, dict[str, Any]], Callable[..., Any]]] = {
    ops.Rescale: _rescale,
    ops.BatchNorm: lambda op, given: layers.BatchNormalization(
        epsilon=op.epsilon, momentum=op.momentum, scale=op.scale, center=op.center, **given
    ),
    ops.LocalResponseNorm: lambda op, given: layers.LocalResponseNormalization(
        op.size, op.bias, op.alpha, op.beta, **given
    ),
    ops.Activation: lambda op, given: keras.layers.Activation(op.kind, **given),
    ops.Dropout: lambda op, given: keras.layers.Dropout(op.rate, **given),
    ops.DropPath: lambda op, given: keras.layers.Dropout(op.rate, noise_shape=(None, 1, 1, 1), **given),
    ops.AdaptivePool: lambda op, given: layers.AdaptiveAveragePooling2D(to_pair(op.size), **given),
    ops.Dense: lambda op, given: keras.layers.Dense(op.units, use_bias=op.bias, kernel_initializer=op.init, **given),
    ops.GlobalPool: lambda op, given: (
        keras.layers.GlobalAveragePooling2D if op.kind == "average" else keras.layers.GlobalMaxPooling2D
    )(keepdims=op.keepdims, **LAST, **given),
    ops.Flatten: lambda op, given: keras.layers.Flatten(**LAST, **given),
    ops.Pad: lambda op, given: _margin(
        tuple(shape_inference.padding_amounts(1, 1, 1, op.padding, axis) for axis in (0, 1)),
        op.fill,
        given,
        op.channels,
    ),
}


def _sides(op: Any, x: Any) -> tuple[Pair, Pair] | str:
    """ "same" or "valid" where Keras' own word does as the op says, else explicit pixels per side."""
    fill = getattr(op, "padding_mode", "zeros")
    dilation = to_pair(getattr(op, "dilation", 1))
    kernel = tuple(map(shape_inference.dilated_size, to_pair(op.kernel), dilation))
    stride = to_pair(op.stride)
    plain = fill == "zeros" and not getattr(op, "count_include_pad", False)
    if op.padding == "valid" or (op.padding == "same" and plain):
        return op.padding
    if op.padding == "half" and plain and stride == (1, 1) and all(k % 2 for k in kernel):
        return "same"  # the same pixels, without a layer of padding
    rows, columns = x.shape[1:3]
    if op.padding == "same" and stride != (1, 1) and None in (rows, columns):
        raise ValueError(
            f'padding "same" with stride {op.stride} and {fill if fill != "zeros" else "counted"} padding depends on '
            "the image's size; give a fixed input_shape"
        )
    top, left = (
        shape_inference.padding_amounts(size or 1, k, s, op.padding, axis)
        for axis, (size, k, s) in enumerate(zip((rows, columns), kernel, stride, strict=True))
    )
    return (top, left) if any(top) or any(left) else "valid"


def _margin(sides: tuple[Pair, ...], fill: str, given: dict[str, Any], channels: Pair = (0, 0)) -> Any:
    if fill == "zeros" and not any(channels):
        return keras.layers.ZeroPadding2D(sides, **LAST, **given)
    return layers.Pad2D(sides, fill, channels, **given)


def _padded(op: Any, x: Any, fill: str, given: dict[str, Any]) -> tuple[Any, str]:
    """The input with its explicit margin, if there is one, and Keras' word for what padding is left."""
    sides = _sides(op, x)
    if isinstance(sides, str):
        return x, sides
    return _margin(sides, fill, {**given, "name": f"{given['name']}_pad"})(x), "valid"


def _convolution(op: ops.Conv | ops.Depthwise, x: Any, given: dict[str, Any]) -> Any:
    x, padding = _padded(op, x, op.padding_mode, given)
    window = {"strides": to_pair(op.stride), "padding": padding, "dilation_rate": to_pair(op.dilation), **LAST}
    kernel = to_pair(op.kernel)
    if isinstance(op, ops.Conv):
        return keras.layers.Conv2D(
            op.filters,
            kernel,
            groups=op.groups,
            use_bias=op.bias,
            kernel_initializer=op.kernel_initializer,
            **window,
            **given,
        )(x)
    init: Any = op.kernel_initializer
    if init == "he_uniform":  # Keras counts all channels as inputs of each filter; here each sees one
        init = keras.initializers.VarianceScaling(2.0 * x.shape[-1], "fan_in", "uniform")
    return keras.layers.DepthwiseConv2D(kernel, use_bias=op.bias, depthwise_initializer=init, **window, **given)(x)


def _pool(op: ops.Pool, x: Any, given: dict[str, Any]) -> Any:
    size, stride = to_pair(op.kernel), to_pair(op.stride)
    if op.mode == "max":
        x, padding = _padded(op, x, "lowest", given)
        return keras.layers.MaxPooling2D(size, stride, padding, **LAST, **given)(x)
    sides = _sides(op, x)
    if isinstance(sides, str) or (op.count_include_pad and op.padding != "ceil"):
        x, padding = _padded(op, x, "zeros", given)
        return keras.layers.AveragePooling2D(size, stride, padding, **LAST, **given)(x)
    return layers.AveragePooling2D(size, stride, sides, **given)(x)


def build_tensors(drawing: Graph) -> tuple[Any, dict[str, Any]]:
    """The Keras image tensor of a drawing, and its end tensors by name.

    Ends that are logits compute in float32 whatever the dtype policy.
    """
    logits = {id(x) for name, x in drawing.outputs.items() if name == "logits" or name.startswith("aux")}
    image = keras.Input(drawing.input_shape, name=drawing.input.name)
    made = {id(drawing.input): image}
    for x in topological_order(*drawing.outputs.values()):
        if x.op is not None:
            sources = (made[id(source)] for source in x.inputs)
            made[id(x)] = make_layer(x.op, x.name, "float32" if id(x) in logits else None)(*sources)
    return image, {name: made[id(x)] for name, x in drawing.outputs.items()}
