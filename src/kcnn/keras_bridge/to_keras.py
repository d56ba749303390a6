"""From a graph to Keras layers: one op, one layer, on any of Keras' backends."""

from collections.abc import Callable, Container
from typing import Any

import keras

from kcnn.graph import ops
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order
from kcnn.graph.windows import Pair, dilated_size, padding_amounts, to_pair
from kcnn.keras_bridge import layers, normalization
from kcnn.keras_bridge.keras_graph import unique_name

FLOAT32_OUTPUTS = ("logits", "probabilities")
CHANNELS_LAST = {"data_format": "channels_last"}


def make_layer(op: Any, name: str, dtype: Any = None, taken: Container[str] = ()) -> Callable[..., Any]:
    """Return the function from Keras tensors to a Keras tensor that an op describes.

    Args:
        op: An op of kcnn.graph.ops, or of a plugin, with a method `layer(name)`.
        name: Name of the Keras layer.
        dtype: Its dtype or policy; None for Keras' global one.
        taken: Names that a layer for padding cannot have.

    Returns:
        The function. Called, it makes the layer, and one for explicit padding where Keras needs it.
    """
    common = {"name": name, "dtype": dtype}
    match op:
        case ops.Conv() | ops.Depthwise():
            return lambda x: _convolution(op, x, common, unique_name(f"{name}_pad", taken))
        case ops.Pool():
            return lambda x: _pool(op, x, common, unique_name(f"{name}_pad", taken))
        case ops.Concat():
            return lambda *xs: keras.layers.Concatenate(**common)(list(xs))
        case ops.Add():
            return lambda *xs: keras.layers.Add(**common)(list(xs))
        case ops.Multiply():
            return lambda *xs: keras.layers.Multiply(**common)(list(xs))
    make = _SIMPLE.get(type(op))
    if make:
        return make(op, common)
    layer = op.layer(name)  # an op of a plugin makes its own Keras layer
    if dtype is not None:
        layer.dtype_policy = keras.dtype_policies.get(dtype)
    return lambda *xs: layer(*xs) if len(xs) == 1 else layer(list(xs))


def _rescale(op: ops.Rescale, common: dict[str, Any]) -> Callable[..., Any]:
    def rescale(x: Any) -> Any:
        own = op.per_channel(x.shape[-1])
        scale, offset = (list(v) if isinstance(v, tuple) else v for v in (own.scale, own.offset))
        is_half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
        if is_half and common["dtype"] is None and x.dtype == "float32":  # or the rounded scale alone is 0.4% off
            return keras.layers.Rescaling(scale, offset, **{**common, "dtype": "float32"})(x)
        return keras.layers.Rescaling(scale, offset, **common)(x)

    return rescale


_SIMPLE: dict[type, Callable[[Any, dict[str, Any]], Callable[..., Any]]] = {
    ops.Rescale: _rescale,
    ops.BatchNorm: lambda op, common: layers.BatchNormalization(
        epsilon=op.epsilon, momentum=op.momentum, scale=op.scale, center=op.center, **common
    ),
    ops.LayerNorm: lambda op, common: keras.layers.LayerNormalization(
        epsilon=op.epsilon, scale=op.scale, center=op.center, **common
    ),
    ops.GroupNorm: lambda op, common: keras.layers.GroupNormalization(
        op.groups, epsilon=op.epsilon, scale=op.scale, center=op.center, **common
    ),
    ops.GlobalResponseNorm: lambda op, common: normalization.GlobalResponseNormalization(op.epsilon, **common),
    ops.LayerScale: lambda op, common: normalization.LayerScale(op.initial_value, **common),
    ops.LocalResponseNorm: lambda op, common: layers.LocalResponseNormalization(
        op.size, op.bias, op.alpha, op.beta, **common
    ),
    ops.ChannelSlice: lambda op, common: layers.ChannelSlice(op.start, op.stop, **common),
    ops.ChannelShuffle: lambda op, common: layers.ChannelShuffle(op.groups, **common),
    ops.Activation: lambda op, common: keras.layers.Activation(op.function, **common),
    ops.LeakyRelu: lambda op, common: keras.layers.LeakyReLU(op.negative_slope, **common),
    ops.Dropout: lambda op, common: keras.layers.Dropout(op.rate, **common),
    ops.DropPath: lambda op, common: keras.layers.Dropout(op.rate, noise_shape=(None, 1, 1, 1), **common),
    ops.AdaptivePool: lambda op, common: layers.AdaptiveAveragePooling2D(to_pair(op.size), **common),
    ops.Dense: lambda op, common: keras.layers.Dense(
        op.units, use_bias=op.bias, kernel_initializer=op.kernel_initializer, **common
    ),
    ops.GlobalPool: lambda op, common: (
        keras.layers.GlobalAveragePooling2D if op.mode == "average" else keras.layers.GlobalMaxPooling2D
    )(keepdims=op.keepdims, **CHANNELS_LAST, **common),
    ops.Flatten: lambda op, common: keras.layers.Flatten(**CHANNELS_LAST, **common),
    ops.Crop: lambda op, common: keras.layers.Cropping2D(op.cropping, **CHANNELS_LAST, **common),
    ops.Pad: lambda op, common: _padding_layer(
        tuple(padding_amounts(1, 1, 1, op.padding, axis) for axis in (0, 1)),
        op.padding_mode,
        common,
        op.channels,
    ),
}


def _sides(op: Any, x: Any) -> tuple[Pair, Pair] | str:
    """Keras' "same" or "valid" where that equals the op's padding, else explicit pixels per side."""
    padding_mode = getattr(op, "padding_mode", "zeros")
    dilation = to_pair(getattr(op, "dilation", 1))
    kernel = tuple(map(dilated_size, to_pair(op.kernel), dilation))
    stride = to_pair(op.stride)
    is_keras_padding = padding_mode == "zeros" and not getattr(op, "count_include_pad", False)
    if op.padding == "valid" or (op.padding == "same" and is_keras_padding):
        return op.padding
    if op.padding == "half" and is_keras_padding and stride == (1, 1) and all(k % 2 for k in kernel):
        return "same"  # the same pixels, without a layer of padding
    rows, columns = x.shape[1:3]
    if op.padding == "same" and stride != (1, 1) and None in (rows, columns):
        raise ValueError(
            f'padding "same" with stride {op.stride} and padding_mode or count_include_pad depends on the image size; '
            "pass a fixed input_shape"
        )
    top, left = (
        padding_amounts(size or 1, k, s, op.padding, axis)
        for axis, (size, k, s) in enumerate(zip((rows, columns), kernel, stride, strict=True))
    )
    return (top, left) if any(top) or any(left) else "valid"


def _padding_layer(sides: tuple[Pair, ...], padding_mode: str, common: dict[str, Any], channels: Pair = (0, 0)) -> Any:
    if padding_mode == "zeros" and not any(channels):
        return keras.layers.ZeroPadding2D(sides, **CHANNELS_LAST, **common)
    return layers.Pad2D(sides, padding_mode, channels, **common)


def _pad(op: Any, x: Any, padding_mode: str, common: dict[str, Any], name: str) -> tuple[Any, str]:
    """The input with its explicit padding, if any, and Keras' name of the padding that is left to the layer."""
    sides = _sides(op, x)
    if isinstance(sides, str):
        return x, sides
    return _padding_layer(sides, padding_mode, {**common, "name": name})(x), "valid"


def _convolution(op: ops.Conv | ops.Depthwise, x: Any, common: dict[str, Any], pad_name: str) -> Any:
    x, padding = _pad(op, x, op.padding_mode, common, pad_name)
    window = {"strides": to_pair(op.stride), "padding": padding, "dilation_rate": to_pair(op.dilation), **CHANNELS_LAST}
    kernel = to_pair(op.kernel)
    if isinstance(op, ops.Conv):
        make = keras.layers.Conv2D
        if op.standardized:
            make = normalization.StandardizedConv2D
        elif layers.needs_subsampling(kernel, to_pair(op.stride), op.groups, x.shape[-1]):
            make = layers.SubsampledConv2D
        return make(
            op.filters,
            kernel,
            groups=op.groups,
            use_bias=op.bias,
            kernel_initializer=op.kernel_initializer,
            **window,
            **common,
        )(x)
    initializer: Any = op.kernel_initializer
    if initializer == "he_uniform":  # Keras counts all channels as inputs of each filter; here each sees one
        initializer = keras.initializers.VarianceScaling(2.0 * x.shape[-1], "fan_in", "uniform")
    return keras.layers.DepthwiseConv2D(
        kernel, use_bias=op.bias, depthwise_initializer=initializer, **window, **common
    )(x)


def _pool(op: ops.Pool, x: Any, common: dict[str, Any], pad_name: str) -> Any:
    size, stride = to_pair(op.kernel), to_pair(op.stride)
    if op.mode == "max":
        x, padding = _pad(op, x, "lowest", common, pad_name)
        return keras.layers.MaxPooling2D(size, stride, padding, **CHANNELS_LAST, **common)(x)
    sides = _sides(op, x)
    if isinstance(sides, str) or (op.count_include_pad and op.padding != "ceil"):
        x, padding = _pad(op, x, "zeros", common, pad_name)
        return keras.layers.AveragePooling2D(size, stride, padding, **CHANNELS_LAST, **common)(x)
    return layers.AveragePooling2D(size, stride, sides, **common)(x)


def build_tensors(graph: Graph) -> tuple[Any, dict[str, Any]]:
    """Build the Keras layers of a graph.

    Args:
        graph: A graph from kcnn.trace.

    Returns:
        The Keras tensor of the images, and the output tensors by name. Logits and probabilities are float32 whatever
        the dtype policy.
    """
    logits = {id(x) for name, x in graph.outputs.items() if name in FLOAT32_OUTPUTS or name.startswith("aux")}
    if "probabilities" in graph.outputs:
        logits.add(id(graph.outputs["probabilities"].inputs[0]))
    image = keras.Input(graph.input_shape, name=graph.input.name)
    tensors = {id(graph.input): image}
    order = topological_order(*graph.outputs.values())
    names = {x.name for x in order}
    for x in order:
        if x.op is not None:
            sources = (tensors[id(source)] for source in x.inputs)
            tensors[id(x)] = make_layer(x.op, x.name, "float32" if id(x) in logits else None, names)(*sources)
    return image, {name: tensors[id(x)] for name, x in graph.outputs.items()}
