"""From a Keras graph back to a sketch: kcnn's models, keras.applications', anybody's.

A layer from elsewhere may answer with its op, by a method `to_op()`. One without an op stays
opaque: its shape and parameters are Keras', its MACs count as none, and it is taken to see one
pixel (the whole image where it is a global pool). Padding layers are folded into the window behind
them; activations inside a layer and separable convolutions are unfolded into layers of their own.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import keras
from keras.src.backend.common import global_state  # Keras has no public word for its counts of names alone

from kcnn.architectures.architecture import Architecture
from kcnn.graph import ops
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import ACTIVATIONS, WHOLE_INPUT, Pair, Shape, Window
from kcnn.graph.tracing import SymbolicTensor, TraceContext, apply, topological_order
from kcnn.keras_bridge import layers


@dataclass(frozen=True, slots=True)
class Opaque:
    """A Keras layer that no op of kcnn's stands for."""

    kind: str
    output: Shape
    trainable_params: int = 0
    moving_params: int = 0

    def shape(self, *shapes: Shape) -> Shape:
        return self.output

    def params(self, *shapes: Shape) -> int:
        return self.trainable_params

    def non_trainable_params(self, *shapes: Shape) -> int:
        return self.moving_params

    def window(self, *shapes: Shape) -> str | None:
        return WHOLE_INPUT if self.kind.startswith("Global") else None


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels off the edges: ((top, bottom), (left, right))."""

    cropping: tuple[Pair, Pair]

    def shape(self, x: Shape) -> Shape:
        rows, columns = (size - sum(off) for size, off in zip(x[:2], self.cropping, strict=True))
        return rows, columns, x[2]

    def window(self, x: Shape) -> Window:
        (top, _), (left, _) = self.cropping
        return Window((1, 1), (1, 1), (-top, -left))


def from_keras(model: Any, input_shape: Sequence[int] | None = None) -> Graph:
    """The sketch of a functional or sequential Keras model, as a drawing that can be measured and compared.

    `input_shape` (rows, columns, channels) is needed where the model's own is open.
    TypeError where `model` has no graph; ValueError where its size is open and none was given.
    """
    return read_graph(model, input_shape)[0]


def read_graph(model: Any, input_shape: Sequence[int] | None = None) -> tuple[Graph, dict[str, Any]]:
    """`read`, and the Keras tensor that each layer of the drawing stands for, by name."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"kcnn.keras_bridge.from_keras takes a Keras model, not {model!r}")
    try:
        ins, outs = model.inputs, model.outputs
    except (AttributeError, ValueError):
        ins = outs = None
    if not ins or not outs:
        raise TypeError(f"{model.name!r} is a subclassed or unbuilt model: it has no graph to read")
    paper = TraceContext()
    drawn: dict[int, SymbolicTensor] = {}
    for tensor in ins:
        shape = tuple(input_shape) if input_shape and tensor is ins[0] else tuple(tensor.shape[1:])
        if None in shape:
            raise ValueError(
                f"the input of {model.name!r} is open, {shape}; give kcnn.keras_bridge.from_keras an input_shape"
            )
        drawn[id(tensor)] = SymbolicTensor(shape, tensor._keras_history.operation.name, context=paper)
    order = [tensor for tensor in topological_order(*outs, sources=producers) if id(tensor) not in drawn]
    uses: dict[int, int] = {}
    for tensor in order:
        for source in producers(tensor):
            uses[id(source)] = uses.get(id(source), 0) + 1
    for tensor in outs:
        uses[id(tensor)] = 2  # an output is never folded away
    for tensor in order:
        before = tuple(drawn[id(source)] for source in producers(tensor))
        single = len(before) == 1 and uses[id(producers(tensor)[0])] == 1
        drawn[id(tensor)] = _sketch(tensor, before, single, paper)
    ends: dict[str, SymbolicTensor] = {}
    for tensor in outs:
        ends[_free(tensor._keras_history.operation.name, ends)] = drawn[id(tensor)]
    image = drawn[id(ins[0])]
    tensors = {drawn[id(tensor)].name: tensor for tensor in (*ins, *order)}
    return Graph(name=model.name, input=image, outputs=ends, input_shape=image.shape), tensors


def call_keras_builder(name: str, plan: Architecture, shape: Any, classes: int, options: Mapping[str, Any]) -> Any:
    """The model that a network's own Keras code makes; ValueError or TypeError where that is none as published."""
    assert plan.keras is not None
    try:
        with _numbered_anew():
            model = plan.keras(tuple(shape), classes, **options)
    except Exception as error:
        size = "x".join(map(str, shape))
        said = " ".join(str(error).split())
        raise ValueError(f"its Keras code makes no model of {size} with {classes} classes: {said}") from error
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        raise TypeError(f"{name}: its Keras code gives {model!r}, not a functional keras.Model of one input and output")
    if tuple(model.output.shape) != (None, classes):
        raise ValueError(f"its Keras code gives {tuple(model.output.shape)}, not logits (None, {classes})")
    return model


@contextmanager
def _numbered_anew() -> Iterator[None]:
    """Layers without a name count from the first: "conv2d", "conv2d_1", whatever was built before."""
    counts = "object_name_uids"
    before = global_state.get_global_attribute(counts)
    global_state.set_global_attribute(counts, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(counts, before)


def to_keras_tensors(drawing: Graph) -> tuple[Any, dict[str, Any]]:
    """The image and end tensors of a drawing that was read from a network's own Keras code, made again.

    Logits are float32 whatever the dtype policy.
    """
    plan = drawing.architecture
    assert plan is not None
    assert drawing.spec is not None
    options = {**plan.options, **drawing.spec.options}
    model = call_keras_builder(drawing.name, plan, drawing.input_shape, drawing.spec.classes or plan.classes, options)
    made = read_graph(model, drawing.input.shape)[1]
    found = {end: model.output if end == "logits" else made[x.name] for end, x in drawing.outputs.items()}
    if "logits" in found and found["logits"].dtype != "float32":
        found["logits"] = keras.layers.Activation("linear", dtype="float32", name="logits_float32")(found["logits"])
    return model.inputs[0], found


def producers(tensor: Any) -> list[Any]:
    """The tensors that a Keras tensor was made from."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors


def _free(name: str, taken: Any) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _sketch(tensor: Any, before: tuple[SymbolicTensor, ...], single: bool, paper: TraceContext) -> SymbolicTensor:
    """The layer that makes `tensor`, drawn on what it was made from."""
    layer = tensor._keras_history.operation
    name = _free(layer.name, paper.layers)
    again = name != layer.name  # a layer used twice has its parameters once
    found = None if again else _ops(layer, before[0].shape)
    if not found:
        return apply(_opaque(layer, tensor, before, again), *before, name=name)
    if single and type(before[0].op) is ops.Pad:
        folded = _fold(before[0].op, found[-1])
        if folded and len(found) == 1:
            found, before = (folded,), before[0].inputs
    x: Any = before
    for op in found[:-1]:
        x = (apply(op, *x, name=f"{name}_depthwise"),)
    x = apply(found[-1], *x, name=name)
    act = _activation(layer)
    return apply(ops.Activation(act), x, name=_free(f"{name}_{act}", paper.layers)) if act else x


def _ops(layer: Any, x: Shape) -> tuple[Any, ...] | None:
    """The ops that a layer stands for, the last of its name; None where kcnn knows none."""
    if hasattr(layer, "to_op"):
        return (layer.to_op(),)
    known = _KNOWN.get(type(layer))
    return known(layer, x) if known else None


def _opaque(layer: Any, tensor: Any, before: tuple[SymbolicTensor, ...], again: bool) -> Opaque:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        given = [(1, *source.shape) for source in before]
        shape = tuple(layer.compute_output_shape(given[0] if len(given) == 1 else given))[1:]
    if again or not isinstance(layer, keras.layers.Layer):
        return Opaque(type(layer).__name__, shape)
    frozen = not layer.trainable
    trained = sum(prod(w.shape) for w in layer.weights if w.trainable or frozen)
    return Opaque(type(layer).__name__, shape, trained, sum(prod(w.shape) for w in layer.weights) - trained)


def _fold(pad: ops.Pad, op: Any) -> Any:
    """The window with the margin before it as its own padding, or None where that is not the same."""
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


def _margin(padding: Any) -> Any:
    """The shortest way to write ((top, bottom), (left, right))."""
    sides = tuple(map(tuple, padding))
    if all(before == after for before, after in sides):
        return _size([before for before, _ in sides])
    return sides


def _activation(layer: Any) -> str | None:
    """The activation inside a layer that is not itself one."""
    name = _word(getattr(layer, "activation", None))
    return None if name == "linear" or isinstance(layer, keras.layers.Activation) or name not in ACTIVATIONS else name


def _word(function: Any) -> str:
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
        "kernel_initializer": _init(layer),
    }


def _init(layer: Any) -> str:
    """The initialiser of a layer's kernel by its Keras name; He for depthwise kernels is a scaling of kcnn's."""
    kernel = getattr(layer, "kernel_initializer", None) or layer.depthwise_initializer
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(kernel).__name__).lower()
    return "he_uniform" if name == "variance_scaling" and kernel.scale > 1 else name


def _first(layer: Any) -> bool:
    return layer.data_format == "channels_first"


def _conv(layer: Any, x: Shape) -> Any:
    return None if _first(layer) else (ops.Conv(layer.filters, groups=layer.groups, **_window(layer)),)


def _depthwise(layer: Any, x: Shape) -> Any:
    return None if _first(layer) or layer.depth_multiplier != 1 else (ops.Depthwise(**_window(layer)),)


def _separable(layer: Any, x: Shape) -> Any:
    if _first(layer) or layer.depth_multiplier != 1:
        return None
    return (
        ops.Depthwise(**{**_window(layer), "bias": False}),
        ops.Conv(layer.filters, 1, bias=layer.use_bias, kernel_initializer="glorot_uniform"),
    )


def _pool(kind: str) -> Callable[[Any, Shape], Any]:
    def found(layer: Any, x: Shape) -> Any:
        if _first(layer):
            return None
        return (ops.Pool(_size(layer.pool_size), _size(layer.strides), layer.padding, kind),)

    return found


def _global(kind: str) -> Callable[[Any, Shape], Any]:
    return lambda layer, x: None if _first(layer) else (ops.GlobalPool(kind, layer.keepdims),)


def _batch_norm(layer: Any, x: Shape) -> Any:
    if layer.axis not in (-1, len(x)) or layer.renorm:
        return None
    return (ops.BatchNorm(layer.epsilon, layer.momentum, layer.scale, layer.center),)


def _rescale(layer: Any, x: Shape) -> Any:
    scale, offset = (tuple(v) if isinstance(v, list | tuple) else v for v in (layer.scale, layer.offset))
    return (ops.Rescale(scale, offset),) if all(isinstance(v, int | float | tuple) for v in (scale, offset)) else None


def _named(layer: Any, x: Shape) -> Any:
    name = _word(layer.activation)
    return (ops.Activation(name),) if name in ACTIVATIONS else None


def _relu(layer: Any, x: Shape) -> Any:
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6, 6.0):
        return None
    return (ops.Activation("relu6" if layer.max_value else "relu"),)


def _padding(layer: Any, x: Shape) -> Any:
    return None if _first(layer) else (ops.Pad(_margin(layer.padding)),)


def _cropping(layer: Any, x: Shape) -> Any:
    rows, columns = layer.cropping
    return None if _first(layer) else (Crop((tuple(rows), tuple(columns))),)


def _dropout(layer: Any, x: Shape) -> Any:
    if not layer.noise_shape:
        return (ops.Dropout(layer.rate),)
    return (ops.DropPath(layer.rate),) if tuple(layer.noise_shape[1:]) == (1,) * len(x) else None


_LAYERS = keras.layers
_KNOWN: dict[type, Callable[[Any, Shape], Any]] = {
    _LAYERS.Conv2D: _conv,
    _LAYERS.DepthwiseConv2D: _depthwise,
    _LAYERS.SeparableConv2D: _separable,
    _LAYERS.MaxPooling2D: _pool("max"),
    _LAYERS.AveragePooling2D: _pool("average"),
    _LAYERS.GlobalMaxPooling2D: _global("max"),
    _LAYERS.GlobalAveragePooling2D: _global("average"),
    _LAYERS.BatchNormalization: _batch_norm,
    layers.BatchNormalization: _batch_norm,
    layers.LocalResponseNormalization: lambda layer, x: (
        ops.LocalResponseNorm(layer.size, layer.bias, layer.alpha, layer.beta),
    ),
    layers.AveragePooling2D: lambda layer, x: (
        ops.Pool(_size(layer.pool_size), _size(layer.strides), _margin(layer.padding), "average"),
    ),
    layers.AdaptiveAveragePooling2D: lambda layer, x: (ops.AdaptivePool(_size(layer.output_size)),),
    layers.Pad2D: lambda layer, x: (ops.Pad(_margin(layer.padding), layer.fill, layer.channels),),
    _LAYERS.ZeroPadding2D: _padding,
    _LAYERS.Cropping2D: _cropping,
    _LAYERS.Rescaling: _rescale,
    _LAYERS.Activation: _named,
    _LAYERS.ReLU: _relu,
    _LAYERS.Dropout: _dropout,
    _LAYERS.AdaptiveAveragePooling2D: lambda layer, x: (
        None if _first(layer) else (ops.AdaptivePool(_size(layer.output_size)),)
    ),
    _LAYERS.Dense: lambda layer, x: (ops.Dense(layer.units, layer.use_bias, _init(layer)),) if len(x) == 1 else None,
    _LAYERS.Flatten: lambda layer, x: None if _first(layer) else (ops.Flatten(),),
    _LAYERS.Concatenate: lambda layer, x: (ops.Concat(),) if layer.axis in (-1, len(x)) else None,
    _LAYERS.Add: lambda layer, x: (ops.Add(),),
    _LAYERS.Multiply: lambda layer, x: (ops.Multiply(),),
}
