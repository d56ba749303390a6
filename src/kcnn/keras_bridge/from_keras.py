"""From a Keras model back to a graph: kcnn's models, those of keras.applications, any functional model.

A layer of a plugin returns its op from a method `to_op()`. A layer without an op stays opaque: its shape and
parameters are Keras', its MACs are those of its kernels where they are known, and summaries name the layers that they
do not count. Nested models are flattened. Padding layers are folded into the window after them; activations inside a
layer and separable convolutions become layers of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import keras

from kcnn.graph import ops
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, wrong_value
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import Shape
from kcnn.graph.tracing import SymbolicTensor, TraceContext, apply, topological_order
from kcnn.keras_bridge.foreign_ops import Opaque, Shared
from kcnn.keras_bridge.keras_graph import operation, outputs_of_call, producers, unique_name
from kcnn.keras_bridge.layer_ops import find_inner_activation, has_channels_first, to_ops

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
        converted = to_ops(layer, before[0].shape) or (_opaque(layer, tensor, before),)
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
        activation = None if isinstance(converted[-1], Opaque) else find_inner_activation(layer)
        if not activation:
            return x
        return apply(ops.Activation(activation), x, name=unique_name(f"{name}_{activation}", layers))


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
        return prod(positions[1:] if has_channels_first(layer) else positions[:-1]) * sum(kernels)
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
