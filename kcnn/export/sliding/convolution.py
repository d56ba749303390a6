"""The layers of a classifier run over a whole image, where that gives for every window what they give for it alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import keras
import numpy as np

from kcnn.export import optimize_for_inference
from kcnn.export.sliding.layers import WholeInput
from kcnn.graph.shape_inference import Pair, dilated_size, output_size, padding_amounts
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.from_keras import producers

_OWN = keras.layers
_CONVOLUTIONS = (_OWN.Conv2D, _OWN.DepthwiseConv2D)
_GLOBAL = (_OWN.GlobalAveragePooling2D, _OWN.GlobalMaxPooling2D)
_AVERAGE = (_OWN.AveragePooling2D, _OWN.GlobalAveragePooling2D)
_POOLS = (_OWN.MaxPooling2D, *_AVERAGE, _OWN.GlobalMaxPooling2D)
_POINTWISE = (  # layers that make each pixel of that pixel's channels alone
    *(_OWN.Activation, _OWN.ReLU, _OWN.LeakyReLU, _OWN.ELU, _OWN.Softmax, _OWN.Rescaling, _OWN.Dense),
    *(_OWN.BatchNormalization, _OWN.Concatenate),
)
_MERGES = (_OWN.Add, _OWN.Subtract, _OWN.Multiply, _OWN.Average, _OWN.Maximum, _OWN.Minimum)
_OPS = {  # Keras' operations that do so, by the names of their classes, of which some are not public
    *("Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum", "Negative", "Absolute", "Square", "Sqrt"),
    *("Exp", "Log", "Tanh", "Sigmoid", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Softplus"),
    *("HardSigmoid", "HardSilu", "Softsign", "Clip"),
}


class NotConvolutionalError(Exception):
    """Why windows have to be classified apart."""


@dataclass(frozen=True)
class _Map:
    """A tensor of the classifier, and the one of the sliding model that holds it for every window at once."""

    size: Pair  # rows and columns in one window
    step: Pair  # pixels of the image between its neighbours in one window; 0 where it has none
    grid: Pair  # pixels of the image between neighbours in the sliding model, a divisor of the step and the stride
    field: Pair  # pixels of the image that one position sees


def to_inference_layers(model: Any) -> Any:
    """The model of Keras' own layers, whose windows are known."""
    try:
        return optimize_for_inference(model)
    except TypeError as error:
        raise NotConvolutionalError(str(error)) from None


def slide_convolutions(plain: Any, image: Any, window: Pair, stride: Pair) -> Any:
    """The logits of every window, of the layers of a plain model run over the whole image; Apart with a reason."""
    order = topological_order(plain.outputs[0], sources=producers)
    users = {id(one): [tensor for tensor in order if any(x is one for x in producers(tensor))] for one in order}
    maps = {id(plain.inputs[0]): _Map(window, (1, 1), (1, 1), (1, 1))}
    flat = None
    for tensor in order:
        if id(tensor) in maps or len(tensor.shape) != 4:
            flat = flat if flat is not None or len(tensor.shape) == 4 else tensor
            continue
        maps[id(tensor)] = _mapped(tensor, maps, stride)
    assert flat is not None  # the logits are
    above = producers(flat)
    if len(above) != 1 or id(above[0]) not in maps:
        raise NotConvolutionalError(f"layer {_operation(flat).name!r} does not make features of one map")
    end = _end(flat, maps[id(above[0])], users)
    if end is not flat:
        maps[id(flat)] = maps[id(above[0])]
    maps[id(end)] = last = _behind(maps[id(above[0])], _operation(flat), stride)
    tail = _tail(end, plain.outputs[0])

    spare = tuple((0, n - seen) for n, seen in zip(window, last.field, strict=True))
    x = _OWN.Cropping2D(spare, name="unseen")(image) if any(after for _, after in spare) else image
    made = {id(plain.inputs[0]): x}
    for tensor in topological_order(above[0], sources=producers):
        if id(tensor) not in made:
            made[id(tensor)] = _again(tensor, made, maps)
    x = _collapsed(made[id(above[0])], maps[id(above[0])], last, _operation(flat), _operation(end))
    seen = {id(one) for one in topological_order(end, sources=producers)}
    rest = [tensor for tensor in order if id(tensor) not in seen]
    if not all(map(_of_maps, rest)):
        return WholeInput(tail, name="everywhere")(x)
    made = {id(end): x}
    for tensor in rest:
        args, kwargs = _node(tensor).arguments.fill_in(made)
        made[id(tensor)] = _operation(tensor)(*args, **kwargs)
    return made[id(plain.outputs[0])]


def _operation(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _known(tensor: Any) -> Any:
    """The layer behind a tensor; Apart where its activation is a function of somebody's, which may see anything."""
    layer = _operation(tensor)
    if not _own_activation(layer):
        raise NotConvolutionalError(f"layer {layer.name!r} has an activation that is not Keras' own")
    return layer


def _own_activation(layer: Any) -> bool:
    home = getattr(getattr(layer, "activation", None), "__module__", "keras")
    return home.partition(".")[0] == "keras"


def _padding(layer: Any) -> NotConvolutionalError:
    return NotConvolutionalError(f"layer {layer.name!r} pads its input, where the image has pixels around a window")


def _mapped(tensor: Any, maps: dict[int, _Map], stride: Pair) -> _Map:
    """Where a layer's map lies, from where its sources lie."""
    layer, before = _known(tensor), [maps.get(id(source)) for source in producers(tensor)]
    first = before[0] if before else None
    if first is None or None in before:
        raise NotConvolutionalError(f"layer {layer.name!r} makes a map of what is none")
    if isinstance(layer, (*_CONVOLUTIONS, *_POOLS)):
        return _behind(first, layer, stride)
    kind = type(layer).__name__
    if kind in ("ZeroPadding2D", "Pad"):
        raise _padding(layer)
    if not _pointwise(layer, tensor):
        raise NotConvolutionalError(
            f"layer {layer.name!r}, a {kind}, is not known to see the same in a window as in the image"
        )
    if any(one != first for one in before[1:]):
        raise NotConvolutionalError(f"layer {layer.name!r} joins maps that see the image in different windows")
    return first


def _pointwise(layer: Any, tensor: Any) -> bool:
    """Whether a layer makes each pixel of that pixel's channels alone."""
    if isinstance(layer, _MERGES):
        return True
    if isinstance(layer, _POINTWISE):
        return getattr(layer, "axis", -1) in (-1, 3)
    if isinstance(layer, _OWN.Layer) or type(layer).__name__ not in _OPS:
        return False
    node = _node(tensor)
    given = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return all(isinstance(one, keras.KerasTensor) or np.ndim(one) <= 1 for one in given)


def _node(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _geometry(layer: Any, size: Pair) -> tuple[Pair, Pair, Pair, str]:
    """Kernel, dilation, stride and padding of a layer on a map of that size; the whole of it under a global one."""
    if isinstance(layer, _CONVOLUTIONS):
        return layer.kernel_size, layer.dilation_rate, layer.strides, layer.padding
    if isinstance(layer, _OWN.MaxPooling2D | _OWN.AveragePooling2D):
        return layer.pool_size, (1, 1), layer.strides, layer.padding
    return size, (1, 1), (1, 1), "valid"


def _behind(before: _Map, layer: Any, stride: Pair) -> _Map:
    """The map behind a layer with a window; Apart where it pads."""
    kernel, dilation, strides, padding = _geometry(layer, before.size)
    found = []
    for axis in (0, 1):
        size, span = before.size[axis], dilated_size(kernel[axis], dilation[axis])
        if any(padding_amounts(size, span, strides[axis], padding, axis)):
            raise _padding(layer)
        count = output_size(size, span, strides[axis], "valid", axis)
        step = before.step[axis] * strides[axis] if count > 1 else 0  # with one position there is no step to keep
        field = before.field[axis] + (span - 1) * before.step[axis]
        found.append((count, step, gcd(stride[axis], step), field))
    sizes, steps, grids, fields = zip(*found, strict=True)
    return _Map(sizes, steps, grids, fields)


def _end(flat: Any, before: _Map, users: dict[int, list[Any]]) -> Any:
    """The first features of a window: behind a Flatten those of the dense layer that takes them."""
    layer, after = _operation(flat), users[id(flat)]
    if isinstance(layer, _GLOBAL):
        return flat
    if not isinstance(layer, _OWN.Flatten):
        raise NotConvolutionalError(
            f"layer {layer.name!r}, a {type(layer).__name__}, makes features of a map in a way of its own"
        )
    if len(after) == 1 and isinstance(_known(after[0]), _OWN.Dense):
        return after[0]
    if before.size == (1, 1):
        return flat
    raise NotConvolutionalError(f"layer {layer.name!r} flattens a map for something else than one dense layer")


def _of_maps(tensor: Any) -> bool:
    """Whether a layer of features takes maps of them as well; a norm was built for its number of axes."""
    layer = _operation(tensor)
    return _pointwise(layer, tensor) and _own_activation(layer) and not isinstance(layer, _OWN.BatchNormalization)


def _tail(end: Any, logits: Any) -> Any:
    """What follows the first features, as a model of its own; None where they are the logits."""
    if end is logits:
        return None
    try:
        return keras.Model(end, logits, name="tail")
    except ValueError:
        raise NotConvolutionalError(
            f"not all that follows layer {_operation(end).name!r} is made of its features"
        ) from None


def _again(tensor: Any, made: dict[int, Any], maps: dict[int, _Map]) -> Any:
    """A layer of the classifier on the sliding model's tensors."""
    layer, node = _operation(tensor), _node(tensor)
    args, kwargs = node.arguments.fill_in(made)
    if not isinstance(layer, (*_CONVOLUTIONS, *_POOLS)):
        return layer(*args, **kwargs)
    before, after = maps[id(producers(tensor)[0])], maps[id(tensor)]
    if isinstance(layer, _POOLS):
        return _pooled(args[0], before, after, layer)
    dilation = layer.dilation_rate

    def make(strides: Pair, holes: Pair) -> Any:
        config = {**layer.get_config(), "padding": "valid", "strides": strides, "dilation_rate": holes}
        return type(layer).from_config(config)

    return _convolution(make, layer.get_weights(), args[0], before, after, dilation)


def _collapsed(x: Any, before: _Map, after: _Map, layer: Any, dense: Any) -> Any:
    """The features of every window at its position: a global pool, or a dense layer as a convolution of its size."""
    if isinstance(layer, _POOLS):
        return _pooled(x, before, after, layer)
    if layer is dense:  # a map of one pixel is flat already
        return x
    kernel, *bias = dense.get_weights()
    weights = [kernel.reshape(*before.size, -1, dense.units), *bias]

    def make(strides: Pair, holes: Pair) -> Any:
        own = {"activation": dense.activation, "use_bias": dense.use_bias, "dtype": "float32", "name": dense.name}
        return _OWN.Conv2D(dense.units, before.size, strides, "valid", "channels_last", holes, **own)

    return _convolution(make, weights, x, before, after, (1, 1))


def _apart(before: _Map, after: _Map, dilation: Pair) -> tuple[Pair, Pair]:
    """Between a layer's taps, and between its positions, on the grid of what it reads."""
    holes = tuple(max(step * d // grid, 1) for step, d, grid in zip(before.step, dilation, before.grid, strict=True))
    skip = tuple(new // old for new, old in zip(after.grid, before.grid, strict=True))
    return holes, skip  # type: ignore[return-value]


def _convolution(
    make: Callable[[Pair, Pair], Any], weights: Sequence[np.ndarray], x: Any, before: _Map, after: _Map, dilation: Pair
) -> Any:
    holes, skip = _apart(before, after, dilation)
    at_once = holes == (1, 1) and skip[0] == skip[1]  # no backend strides with holes, some not by two numbers
    layer = make(skip if at_once else (1, 1), holes)
    found = layer(x)
    layer.set_weights(weights)
    return found if at_once else _thinned(found, skip, layer.name)


def _pooled(x: Any, before: _Map, after: _Map, layer: Any) -> Any:
    """A pool, whose taps may be apart: then the maximum or mean of the map shifted, by rows and by columns."""
    kernel = _geometry(layer, before.size)[0]
    holes, skip = _apart(before, after, (1, 1))
    average = isinstance(layer, _AVERAGE)
    if holes == (1, 1):
        return (_OWN.AveragePooling2D if average else _OWN.MaxPooling2D)(kernel, skip, "valid", name=layer.name)(x)
    for axis, word in enumerate(("rows", "columns")):
        if kernel[axis] > 1:
            far = (kernel[axis] - 1) * holes[axis]
            sides = ((shift, far - shift) for shift in range(0, far + 1, holes[axis]))
            shifted = [_OWN.Cropping2D(((0, 0), side) if axis else (side, (0, 0)))(x) for side in sides]
            x = (_OWN.Average if average else _OWN.Maximum)(name=f"{layer.name}_{word}")(shifted)
    return _thinned(x, skip, layer.name)


def _thinned(x: Any, skip: Pair, name: str) -> Any:
    """The rows and columns that windows of the stride begin at."""
    return x if skip == (1, 1) else _OWN.MaxPooling2D(1, skip, "valid", name=f"{name}_thinned")(x)
