"""From a Keras model back to a graph: kcnn's models, those of keras.applications, any functional model.

A layer of a plugin returns its op from a method `to_op()`. A layer without an op stays opaque: its shape and
parameters are Keras', its MACs are those of its kernels where they are known, and summaries name the layers that they
do not count. Nested models are flattened. Padding layers are folded into the window after them; activations inside a
layer and separable convolutions become layers of their own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import keras

from kcnn.graph import ops
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, wrong_value
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import ACTIVATIONS, Shape
from kcnn.graph.tracing import SymbolicTensor, TraceContext, apply, topological_order
from kcnn.keras_bridge import layers, normalization
from kcnn.keras_bridge.foreign_ops import Opaque, Shared
from kcnn.keras_bridge.keras_graph import operation, outputs_of_call, producers, unique_name

_MULTIPLYING_OPS = (
    *("Matmul", "Dot", "Einsum", "Tensordot", "Inner", "Outer", "Vdot", "DotProductAttention"),
    *("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv"),
)
_MULTIPLYING_LAYERS = ("Dot", "Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention")


@check_arguments
def from_keras(model: Any, input_shape: Sequence[int] | None = None) -> Graph:
    """Return the graph of a functional or sequential Keras model, to summarize, compare or plot.

    Args:
        model: A Keras model, kcnn's or from elsewhere.
        input_shape: (rows, columns, channels), needed where the model's own input has open sizes.

    Returns:
        The graph; no spec traces it again.

    Raises:
        TypeError: The argument is not a Keras model, or the model has no graph.
        ValueError: The input has open sizes and `input_shape` is missing.
    """
    return read_graph(model, input_shape)[0]


def read_graph(model: Any, input_shape: Sequence[int] | None = None) -> tuple[Graph, dict[str, Any]]:
    """Return the graph of a Keras model, and the Keras tensor of each of its layers.

    Args:
        model: As of `from_keras`.
        input_shape: As of `from_keras`.

    Returns:
        The graph, and Keras tensors by the names of its layers, without those inside nested models.

    Raises:
        TypeError, ValueError: As from `from_keras`.
    """
    inputs, outputs = _find_ends(model)
    reader = _Reader()
    images = []
    for tensor in inputs:
        shape = tuple(tensor.shape[1:])
        if input_shape is not None and tensor is inputs[0]:
            shape = _check_shape(input_shape, shape)
        if None in shape:
            raise ValueError(f"{model.name!r} has an open input {shape}; pass kcnn.from_keras an input_shape")
        images.append(SymbolicTensor(shape, operation(tensor).name, context=reader.context))
    symbolic = reader.read(inputs, outputs, images)
    named: dict[str, SymbolicTensor] = {}
    for tensor in outputs:
        named[unique_name(operation(tensor).name, named)] = symbolic[id(tensor)]
    order = topological_order(*outputs, sources=producers)
    tensors = {symbolic[id(tensor)].name: tensor for tensor in (*inputs, *order)}
    return Graph(name=model.name, input=images[0], outputs=named, input_shape=images[0].shape), tensors


def _check_shape(input_shape: Sequence[int], own: Shape) -> Shape:
    """An input shape in place of a model's own, of as many positive sizes and the same channels."""
    expected = f"{len(own)} positive integers such as {tuple(size or 32 for size in own)}"
    if len(input_shape) != len(own) or own[-1] not in (None, input_shape[-1]):
        raise wrong_value("input_shape", expected, input_shape)
    return tuple(check_integer("input_shape", size, 1, expected) for size in input_shape)


def _find_ends(model: Any) -> tuple[list[Any], list[Any]]:
    """Input and output tensors of a Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"kcnn.from_keras expects a Keras model, got {model!r}")
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise TypeError(f"{model.name!r} is a subclassed or unbuilt model without a graph; build a functional model")
    return inputs, outputs


class _Reader:
    """Reads Keras tensors as symbolic ones; holds the layers so far, to find those that are called again."""

    def __init__(self) -> None:
        self.context = TraceContext()
        self.layers: set[int] = set()

    def read(
        self, inputs: Sequence[Any], outputs: Sequence[Any], values: Sequence[SymbolicTensor]
    ) -> dict[int, SymbolicTensor]:
        """The symbolic tensors of `outputs` and of all that leads to them from `inputs`, by the Keras tensors' ids."""
        symbolic = dict(zip(map(id, inputs), values, strict=True))
        known = set(symbolic)
        walked = topological_order(*outputs, sources=lambda one: () if id(one) in known else producers(one))
        order = [tensor for tensor in walked if id(tensor) not in known]
        uses: dict[int, int] = {}
        for tensor in order:
            for source in producers(tensor):
                uses[id(source)] = uses.get(id(source), 0) + 1
        for tensor in outputs:
            uses[id(tensor)] = 2  # an output is never folded away
        for tensor in order:
            if id(tensor) in symbolic:  # another output of one nested model
                continue
            before, layer = tuple(symbolic[id(source)] for source in producers(tensor)), operation(tensor)
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                inner = self.read(layer.inputs, layer.outputs, before)
                symbolic.update(
                    {id(ours): inner[id(own)] for ours, own in zip(outputs_of_call(tensor), layer.outputs, strict=True)}
                )
                continue
            is_only_use = len(before) == 1 and uses[id(producers(tensor)[0])] == 1
            symbolic[id(tensor)] = self._apply_layer(tensor, before, is_only_use)
        return symbolic

    def _apply_layer(self, tensor: Any, before: tuple[SymbolicTensor, ...], is_only_use: bool) -> SymbolicTensor:
        """Apply the ops of the layer that computes `tensor` to what it is computed from."""
        layer, layers = operation(tensor), self.context.layers
        name, is_shared = unique_name(layer.name, layers), id(layer) in self.layers
        self.layers.add(id(layer))
        converted = _to_ops(layer, before[0].shape) or (_opaque(layer, tensor, before),)
        if is_shared:
            converted = tuple(map(Shared, converted))
        elif is_only_use and type(before[0].op) is ops.Pad:
            folded = _fold(before[0].op, converted[-1])
            if folded and len(converted) == 1:
                converted, before = (folded,), before[0].inputs
        x: Any = before
        for op in converted[:-1]:
            x = (apply(op, *x, name=unique_name(f"{name}_depthwise", layers)),)
        x = apply(converted[-1], *x, name=name)
        activation = None if isinstance(converted[-1], Opaque) else _inner_activation(layer)
        if not activation:
            return x
        return apply(ops.Activation(activation), x, name=unique_name(f"{name}_{activation}", layers))


def _to_ops(layer: Any, x: Shape) -> tuple[Any, ...] | None:
    """The ops of a layer, the last with its name; None where there are none."""
    if hasattr(layer, "to_op"):
        return (layer.to_op(),)
    convert = _CONVERTERS.get(type(layer))
    return convert(layer, x) if convert else None


def _opaque(layer: Any, tensor: Any, before: tuple[SymbolicTensor, ...]) -> Opaque:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        shapes = [(1, *source.shape) for source in before]
        shape = tuple(layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes))[1:]
    kind, x = type(layer).__name__, before[0].shape
    cost, has_kernel = _count_kernel_macs(layer, x, shape), hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")
    weights = layer.weights if isinstance(layer, keras.layers.Layer) else []
    is_frozen = not getattr(layer, "trainable", True)
    trainable = sum(prod(w.shape) for w in weights if w.trainable or is_frozen)
    return Opaque(
        kind,
        shape,
        trainable,
        sum(prod(w.shape) for w in weights) - trainable,
        cost,
        is_global=kind.startswith("Global") or kind == "GroupNormalization",
        window_known=cost is not None and not has_kernel and (len(x) != 3 or len(shape) != 3 or x[:2] == shape[:2]),
    )


def _count_kernel_macs(layer: Any, x: Shape, out: Shape) -> int | None:
    """The multiply-accumulates of a layer's kernels for one image; None where they are unknown.

    A transposed convolution multiplies its kernel with each of its input positions.
    """
    name, module = type(layer).__name__, type(layer).__module__.partition(".")[0]
    if module != "keras" or isinstance(layer, keras.layers.Lambda):
        return None
    if not isinstance(layer, keras.layers.Layer):
        return None if name in _MULTIPLYING_OPS else 0
    kernels = [
        prod(getattr(layer, kernel).shape)
        for kernel in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if getattr(layer, kernel, None) is not None
    ]
    if isinstance(layer, keras.layers.Dense):
        return prod(x[:-1]) * kernels[0]
    if hasattr(layer, "kernel_size") and hasattr(layer, "data_format") and kernels:
        positions = x if "Transpose" in name else out
        return prod(positions[1:] if _has_channels_first(layer) else positions[:-1]) * sum(kernels)
    is_norm = name.endswith("Normalization") or name in ("Embedding", "PReLU")
    has_kernel = any(len(weight.shape) > 1 for weight in layer.weights)
    return None if name in _MULTIPLYING_LAYERS or (has_kernel and not is_norm) else 0


def _fold(pad: ops.Pad, op: Any) -> Any:
    """The window with the padding before it as its own, or None where that would differ."""
    if getattr(op, "padding", None) != "valid" or any(pad.channels):
        return None
    if type(op) is ops.Pool:
        if op.mode == "average" and pad.padding_mode == "zeros":
            return replace(op, padding=pad.padding, count_include_pad=True)
        return replace(op, padding=pad.padding) if op.mode == "max" and pad.padding_mode == "lowest" else None
    return replace(op, padding=pad.padding, padding_mode=pad.padding_mode) if pad.padding_mode != "lowest" else None


def _size(value: Sequence[int]) -> Any:
    """One int where rows and columns agree."""
    return value[0] if len(set(value)) == 1 else tuple(value)


def _shortest_padding(padding: Any) -> Any:
    """The shortest way to write ((top, bottom), (left, right))."""
    sides = tuple(map(tuple, padding))
    if all(before == after for before, after in sides):
        return _size([before for before, _ in sides])
    return sides


def _inner_activation(layer: Any) -> str | None:
    """The activation inside a layer that is not itself one."""
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


def _has_channels_first(layer: Any) -> bool:
    return layer.data_format == "channels_first"


def _conv(layer: Any, x: Shape) -> Any:
    return None if _has_channels_first(layer) else (ops.Conv(layer.filters, groups=layer.groups, **_window(layer)),)


def _standardized_conv(layer: Any, x: Shape) -> Any:
    return (ops.Conv(layer.filters, groups=layer.groups, standardized=True, **_window(layer)),)


def _depthwise(layer: Any, x: Shape) -> Any:
    return None if _has_channels_first(layer) else (_multiply_channels(layer, x, **_window(layer)),)


def _multiply_channels(layer: Any, x: Shape, **window: Any) -> Any:
    """A depthwise convolution, which with several kernels per channel is a grouped one."""
    if layer.depth_multiplier == 1:
        return ops.Depthwise(**window)
    return ops.Conv(x[2] * layer.depth_multiplier, groups=x[2], **window)


def _separable(layer: Any, x: Shape) -> Any:
    if _has_channels_first(layer):
        return None
    return (
        _multiply_channels(layer, x, **{**_window(layer), "bias": False}),
        ops.Conv(layer.filters, 1, bias=layer.use_bias, kernel_initializer="glorot_uniform"),
    )


def _pool(mode: str) -> Callable[[Any, Shape], Any]:
    def convert(layer: Any, x: Shape) -> Any:
        if _has_channels_first(layer):
            return None
        return (ops.Pool(_size(layer.pool_size), _size(layer.strides), layer.padding, mode),)

    return convert


def _global_pool(mode: str) -> Callable[[Any, Shape], Any]:
    return lambda layer, x: None if _has_channels_first(layer) else (ops.GlobalPool(mode, layer.keepdims),)


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
    return None if _has_channels_first(layer) else (ops.Pad(_shortest_padding(layer.padding)),)


def _cropping(layer: Any, x: Shape) -> Any:
    rows, columns = layer.cropping
    return None if _has_channels_first(layer) else (ops.Crop((tuple(rows), tuple(columns))),)


def _dropout(layer: Any, x: Shape) -> Any:
    if not layer.noise_shape:
        return (ops.Dropout(layer.rate),)
    return (ops.DropPath(layer.rate),) if tuple(layer.noise_shape[1:]) == (1,) * len(x) else None


_CONVERTERS: dict[type, Callable[[Any, Shape], Any]] = {
    keras.layers.Conv2D: _conv,
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
        None if _has_channels_first(layer) else (ops.AdaptivePool(_size(layer.output_size)),)
    ),
    keras.layers.Dense: _dense,
    keras.layers.Flatten: lambda layer, x: None if _has_channels_first(layer) else (ops.Flatten(),),
    keras.layers.Concatenate: lambda layer, x: (ops.Concat(),) if layer.axis in (-1, len(x)) else None,
    keras.layers.Add: lambda layer, x: (ops.Add(),),
    keras.layers.Multiply: lambda layer, x: (ops.Multiply(),),
}
