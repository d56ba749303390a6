"""The ops of Keras' own layers."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kcnn.graph import ops
from kcnn.graph.shape_inference import ACTIVATIONS, Shape
from kcnn.keras_bridge import layers, normalization


def to_ops(layer: Any, x: Shape) -> tuple[Any, ...] | None:
    """Return the ops of a layer, the last with its name; None where there are none."""
    if hasattr(layer, "to_op"):
        return (layer.to_op(),)
    convert = _CONVERTERS.get(type(layer))
    return convert(layer, x) if convert else None


def _size(value: Sequence[int]) -> Any:
    """One int where rows and columns agree."""
    return value[0] if len(set(value)) == 1 else tuple(value)


def _shortest_padding(padding: Any) -> Any:
    """The shortest way to write ((top, bottom), (left, right))."""
    sides = tuple(map(tuple, padding))
    if all(before == after for before, after in sides):
        return _size([before for before, _ in sides])
    return sides


def find_inner_activation(layer: Any) -> str | None:
    """Return the activation inside a layer that is not itself one."""
    name = _activation_name(getattr(layer, "activation", None))
    return None if name == "linear" or isinstance(layer, keras.layers.Activation) or name not in ACTIVATIONS else name


def _activation_name(function: Any) -> str:
    """An activation function by kcnn's name for it."""
    name = getattr(function, "__name__", "linear" if function is None else "")
    return {"hard_silu": "hard_swish", "swish": "silu"}.get(name, name)


def _window(layer: Any) -> dict[str, Any]:
    return {
        "kernel": _size(layer.kernel_size),
        "stride": _size(layer.strides),
        "padding": layer.padding,
        "dilation": _size(layer.dilation_rate),
        "bias": layer.use_bias,
        "kernel_initializer": _initializer_name(layer),
    }


def _initializer_name(layer: Any) -> str:
    """The initializer of a layer's kernel by its Keras name; kcnn scales He's for depthwise kernels."""
    kernel = getattr(layer, "kernel_initializer", None) or layer.depthwise_initializer
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(kernel).__name__).lower()
    return "he_uniform" if name == "variance_scaling" and kernel.scale > 1 else name


def has_channels_first(layer: Any) -> bool:
    """Return whether a layer has the channels before rows and columns."""
    return layer.data_format == "channels_first"


def _conv(layer: Any, x: Shape) -> Any:
    return None if has_channels_first(layer) else (ops.Conv(layer.filters, groups=layer.groups, **_window(layer)),)


def _standardized_conv(layer: Any, x: Shape) -> Any:
    return (ops.Conv(layer.filters, groups=layer.groups, standardized=True, **_window(layer)),)


def _depthwise(layer: Any, x: Shape) -> Any:
    return None if has_channels_first(layer) else (_multiply_channels(layer, x, **_window(layer)),)


def _multiply_channels(layer: Any, x: Shape, **window: Any) -> Any:
    """A depthwise convolution, which with several kernels per channel is a grouped one."""
    if layer.depth_multiplier == 1:
        return ops.Depthwise(**window)
    return ops.Conv(x[2] * layer.depth_multiplier, groups=x[2], **window)


def _separable(layer: Any, x: Shape) -> Any:
    if has_channels_first(layer):
        return None
    return (
        _multiply_channels(layer, x, **{**_window(layer), "bias": False}),
        ops.Conv(layer.filters, 1, bias=layer.use_bias, kernel_initializer="glorot_uniform"),
    )


def _pool(mode: str) -> Callable[[Any, Shape], Any]:
    def convert(layer: Any, x: Shape) -> Any:
        if has_channels_first(layer):
            return None
        return (ops.Pool(_size(layer.pool_size), _size(layer.strides), layer.padding, mode),)

    return convert


def _global_pool(mode: str) -> Callable[[Any, Shape], Any]:
    return lambda layer, x: None if has_channels_first(layer) else (ops.GlobalPool(mode, layer.keepdims),)


def _batch_norm(layer: Any, x: Shape) -> Any:
    if layer.axis not in (-1, len(x)) or layer.renorm:
        return None
    return (ops.BatchNorm(layer.epsilon, layer.momentum, layer.scale, layer.center),)


def _layer_norm(layer: Any, x: Shape) -> Any:
    if layer.rms_scaling or list(layer.axis) not in ([-1], [len(x)]):
        return None
    return (ops.LayerNorm(layer.epsilon, layer.scale, layer.center),)


def _group_norm(layer: Any, x: Shape) -> Any:
    if layer.axis not in (-1, len(x)):
        return None
    return (ops.GroupNorm(layer.groups, layer.epsilon, layer.scale, layer.center),)


def _rescale(layer: Any, x: Shape) -> Any:
    scale, offset = (tuple(v) if isinstance(v, list | tuple) else v for v in (layer.scale, layer.offset))
    return (ops.Rescale(scale, offset),) if all(isinstance(v, int | float | tuple) for v in (scale, offset)) else None


def _activation(layer: Any, x: Shape) -> Any:
    name = _activation_name(layer.activation)
    return (ops.Activation(name),) if name in ACTIVATIONS else None


def _relu(layer: Any, x: Shape) -> Any:
    if layer.threshold or layer.max_value not in (None, 6, 6.0) or (layer.negative_slope and layer.max_value):
        return None
    if layer.negative_slope:
        return (ops.LeakyRelu(float(layer.negative_slope)),)
    return (ops.Activation("relu6" if layer.max_value else "relu"),)


def _dense(layer: Any, x: Shape) -> Any:
    """A dense layer; on maps it is a 1x1 convolution."""
    if len(x) == 3:
        initializer = _initializer_name(layer)
        return (ops.Conv(layer.units, 1, bias=layer.use_bias, kernel_initializer=initializer),)
    return (ops.Dense(layer.units, layer.use_bias, _initializer_name(layer)),) if len(x) == 1 else None


def _padding(layer: Any, x: Shape) -> Any:
    return None if has_channels_first(layer) else (ops.Pad(_shortest_padding(layer.padding)),)


def _cropping(layer: Any, x: Shape) -> Any:
    rows, columns = layer.cropping
    return None if has_channels_first(layer) else (ops.Crop((tuple(rows), tuple(columns))),)


def _dropout(layer: Any, x: Shape) -> Any:
    if not layer.noise_shape:
        return (ops.Dropout(layer.rate),)
    return (ops.DropPath(layer.rate),) if tuple(layer.noise_shape[1:]) == (1,) * len(x) else None


_CONVERTERS: dict[type, Callable[[Any, Shape], Any]] = {
    keras.layers.Conv2D: _conv,
    layers.SubsampledConv2D: _conv,
    normalization.StandardizedConv2D: _standardized_conv,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.SeparableConv2D: _separable,
    keras.layers.MaxPooling2D: _pool("max"),
    keras.layers.AveragePooling2D: _pool("average"),
    keras.layers.GlobalMaxPooling2D: _global_pool("max"),
    keras.layers.GlobalAveragePooling2D: _global_pool("average"),
    keras.layers.BatchNormalization: _batch_norm,
    layers.BatchNormalization: _batch_norm,
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.GroupNormalization: _group_norm,
    normalization.GlobalResponseNormalization: lambda layer, x: (ops.GlobalResponseNorm(layer.epsilon),),
    normalization.LayerScale: lambda layer, x: (ops.LayerScale(layer.initial_value),),
    layers.LocalResponseNormalization: lambda layer, x: (
        ops.LocalResponseNorm(layer.size, layer.bias, layer.alpha, layer.beta),
    ),
    layers.AveragePooling2D: lambda layer, x: (
        ops.Pool(_size(layer.pool_size), _size(layer.strides), _shortest_padding(layer.padding), "average"),
    ),
    layers.AdaptiveAveragePooling2D: lambda layer, x: (ops.AdaptivePool(_size(layer.output_size)),),
    layers.ChannelSlice: lambda layer, x: (ops.ChannelSlice(layer.start, layer.stop),),
    layers.ChannelShuffle: lambda layer, x: (ops.ChannelShuffle(layer.groups),),
    layers.Pad2D: lambda layer, x: (ops.Pad(_shortest_padding(layer.padding), layer.padding_mode, layer.channels),),
    keras.layers.ZeroPadding2D: _padding,
    keras.layers.Cropping2D: _cropping,
    keras.layers.Rescaling: _rescale,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: lambda layer, x: (ops.LeakyRelu(float(layer.negative_slope)),),
    keras.layers.Dropout: _dropout,
    keras.layers.AdaptiveAveragePooling2D: lambda layer, x: (
        None if has_channels_first(layer) else (ops.AdaptivePool(_size(layer.output_size)),)
    ),
    keras.layers.Dense: _dense,
    keras.layers.Flatten: lambda layer, x: None if has_channels_first(layer) else (ops.Flatten(),),
    keras.layers.Concatenate: lambda layer, x: (ops.Concat(),) if layer.axis in (-1, len(x)) else None,
    keras.layers.Add: lambda layer, x: (ops.Add(),),
    keras.layers.Multiply: lambda layer, x: (ops.Multiply(),),
}
