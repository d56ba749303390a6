"""The layers of a classifier run over a larger image, where that gives for every window what they give for it alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import keras
import numpy as np

from kcnn.export import optimize_for_inference
from kcnn.export.sliding.layers import PositionwiseModel
from kcnn.graph.tracing import topological_order
from kcnn.graph.windows import Pair, dilated_size, output_size, padding_amounts
from kcnn.keras_bridge.keras_graph import call_arguments, operation, producers, replay

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_GLOBAL = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_AVERAGE = (keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)
_POOLS = (keras.layers.MaxPooling2D, *_AVERAGE, keras.layers.GlobalMaxPooling2D)
_POINTWISE = (  # layers that compute each pixel from its own channels
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.Rescaling,
    keras.layers.Dense,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Concatenate,
)
_MERGES = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)
_OPS = {  # Keras ops that do so, by class name: some are not public
    *("Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum", "Negative", "Absolute", "Square", "Sqrt"),
    *("Exp", "Log", "Tanh", "Sigmoid", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Softplus"),
    *("HardSigmoid", "HardSilu", "Softsign", "Clip"),
}


class NotConvolutionalError(Exception):
    """Raised where windows have to be classified one by one; the message has the reason."""


@dataclass(frozen=True)
class _Map:
    """A tensor of the classifier, and the one of the sliding model that holds it for every window at once."""

    size: Pair  # rows and columns in one window
    step: Pair  # pixels of the image between its neighbors in one window; 0 where it has none
    grid: Pair  # pixels of the image between neighbors in the sliding model, a divisor of the step and the stride
    field: Pair  # receptive field of one position, in pixels of the image


def to_inference_model(model: Any) -> Any:
    """Return the model rebuilt from Keras' own layers, whose windows are known.

    Raises:
        NotConvolutionalError: A layer cannot be replaced by Keras' own.
    """
    try:
        return optimize_for_inference(model)
    except TypeError as error:
        raise NotConvolutionalError(str(error)) from None


def slide_convolutions(model: Any, image: Any, window: Pair, stride: Pair) -> Any:
    """Run a model's layers over a larger image.

    Args:
        model: An inference model, from `to_inference_model`.
        image: The Keras tensor of the larger image.
        window: Pixels (rows, columns) of the model's input.
        stride: Pixels (rows, columns) from window to window.

    Returns:
        The Keras tensor of the logits of every window.

    Raises:
        NotConvolutionalError: The result would differ from that of windows cut out.
    """
    order = topological_order(model.outputs[0], sources=producers)
    users = {id(one): [tensor for tensor in order if any(x is one for x in producers(tensor))] for one in order}
    maps = {id(model.inputs[0]): _Map(window, (1, 1), (1, 1), (1, 1))}
    flat = None
    for tensor in order:
        if id(tensor) in maps or len(tensor.shape) != 4:
            flat = flat if flat is not None or len(tensor.shape) == 4 else tensor
            continue
        maps[id(tensor)] = _place_map(tensor, maps, stride)
    assert flat is not None  # the logits are flat
    sources = producers(flat)
    if len(sources) != 1 or id(sources[0]) not in maps:
        raise NotConvolutionalError(f"layer {operation(flat).name!r} does not take exactly one map")
    end = _find_first_features(flat, maps[id(sources[0])], users)
    if end is not flat:
        maps[id(flat)] = maps[id(sources[0])]
    maps[id(end)] = last = _place_output(maps[id(sources[0])], operation(flat), stride)
    tail = _build_tail(end, model.outputs[0])

    margin = tuple((0, n - seen) for n, seen in zip(window, last.field, strict=True))
    x = keras.layers.Cropping2D(margin, name="unseen")(image) if any(after for _, after in margin) else image
    (x,) = replay([sources[0]], [(model.inputs[0], x)], partial(_rebuild_layer, maps))
    x = _compute_features(x, maps[id(sources[0])], last, operation(flat), operation(end))
    seen = {id(one) for one in topological_order(end, sources=producers)}
    rest = [tensor for tensor in order if id(tensor) not in seen]
    if not all(map(_takes_maps, rest)):
        return PositionwiseModel(tail, name="positionwise")(x)
    return replay([model.outputs[0]], [(end, x)])[0]


def _find_layer(tensor: Any) -> Any:
    """The layer that makes a tensor, with an activation of Keras' own: any other function may see anything."""
    layer = operation(tensor)
    if not _has_keras_activation(layer):
        raise NotConvolutionalError(f"layer {layer.name!r} has an activation that is not Keras' own")
    return layer


def _has_keras_activation(layer: Any) -> bool:
    module = getattr(getattr(layer, "activation", None), "__module__", "keras")
    return module.partition(".")[0] == "keras"


def _padding_error(layer: Any) -> NotConvolutionalError:
    return NotConvolutionalError(f"layer {layer.name!r} pads its input, where the image has pixels around a window")


def _place_map(tensor: Any, maps: dict[int, _Map], stride: Pair) -> _Map:
    """Where a layer's map lies, from where its sources lie."""
    layer, before = _find_layer(tensor), [maps.get(id(source)) for source in producers(tensor)]
    first = before[0] if before else None
    if first is None or None in before:
        raise NotConvolutionalError(f"layer {layer.name!r} makes a map from something else")
    if isinstance(layer, (*_CONVOLUTIONS, *_POOLS)):
        return _place_output(first, layer, stride)
    layer_type = type(layer).__name__
    if layer_type in ("ZeroPadding2D", "Pad"):
        raise _padding_error(layer)
    if not _is_pointwise(layer, tensor):
        raise NotConvolutionalError(
            f"layer {layer.name!r}, a {layer_type}, may not compute the same in a window as in the image"
        )
    if any(one != first for one in before[1:]):
        raise NotConvolutionalError(f"layer {layer.name!r} joins maps that see the image in different windows")
    return first


def _is_pointwise(layer: Any, tensor: Any) -> bool:
    """Whether a layer computes each pixel from its own channels alone."""
    if isinstance(layer, _MERGES):
        return True
    if isinstance(layer, _POINTWISE):
        return getattr(layer, "axis", -1) in (-1, 3, [-1], [3])
    if isinstance(layer, keras.layers.Layer) or type(layer).__name__ not in _OPS:
        return False
    values = call_arguments(tensor)
    return all(isinstance(one, keras.KerasTensor) or np.ndim(one) <= 1 for one in values)


def _geometry(layer: Any, size: Pair) -> tuple[Pair, Pair, Pair, str]:
    """Kernel, dilation, stride and padding of a layer on a map of that size; the kernel of a global pool is the map."""
    if isinstance(layer, _CONVOLUTIONS):
        return layer.kernel_size, layer.dilation_rate, layer.strides, layer.padding
    if isinstance(layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D):
        return layer.pool_size, (1, 1), layer.strides, layer.padding
    return size, (1, 1), (1, 1), "valid"


def _place_output(before: _Map, layer: Any, stride: Pair) -> _Map:
    """The map after a layer with a kernel."""
    kernel, dilation, strides, padding = _geometry(layer, before.size)
    axes = []
    for axis in (0, 1):
        size, span = before.size[axis], dilated_size(kernel[axis], dilation[axis])
        if any(padding_amounts(size, span, strides[axis], padding, axis)):
            raise _padding_error(layer)
        count = output_size(size, span, strides[axis], "valid", axis)
        step = before.step[axis] * strides[axis] if count > 1 else 0  # with one position there is no step to keep
        field = before.field[axis] + (span - 1) * before.step[axis]
        axes.append((count, step, gcd(stride[axis], step), field))
    sizes, steps, grids, fields = zip(*axes, strict=True)
    return _Map(sizes, steps, grids, fields)


def _find_first_features(flat: Any, before: _Map, users: dict[int, list[Any]]) -> Any:
    """The first features of a window; after a Flatten those of the dense layer that takes them."""
    layer, after = operation(flat), users[id(flat)]
    if isinstance(layer, _GLOBAL):
        return flat
    if not isinstance(layer, keras.layers.Flatten):
        raise NotConvolutionalError(
            f"layer {layer.name!r}, a {type(layer).__name__}, is neither global pooling nor Flatten"
        )
    if len(after) == 1 and isinstance(_find_layer(after[0]), keras.layers.Dense):
        return after[0]
    if before.size == (1, 1):
        return flat
    raise NotConvolutionalError(f"layer {layer.name!r} flattens a map for other layers than one dense layer")


def _takes_maps(tensor: Any) -> bool:
    """Whether a layer of features also takes maps of them; a batch norm is built for its number of axes."""
    layer = operation(tensor)
    return (
        _is_pointwise(layer, tensor)
        and _has_keras_activation(layer)
        and not isinstance(layer, keras.layers.BatchNormalization)
    )


def _build_tail(end: Any, logits: Any) -> Any:
    """What follows the first features, as a model; None where they are the logits."""
    if end is logits:
        return None
    try:
        return keras.Model(end, logits, name="tail")
    except ValueError:
        raise NotConvolutionalError(
            f"not everything after layer {operation(end).name!r} is computed from its output"
        ) from None


def _rebuild_layer(maps: dict[int, _Map], tensor: Any, args: Any, kwargs: Any) -> Any:
    """A layer of the classifier on the sliding model's tensors."""
    layer = operation(tensor)
    if not isinstance(layer, (*_CONVOLUTIONS, *_POOLS)):
        return layer(*args, **kwargs)
    before, after = maps[id(producers(tensor)[0])], maps[id(tensor)]
    if isinstance(layer, _POOLS):
        return _pool(args[0], before, after, layer)
    dilation = layer.dilation_rate

    def make(strides: Pair, holes: Pair) -> Any:
        config = {**layer.get_config(), "padding": "valid", "strides": strides, "dilation_rate": holes}
        return type(layer).from_config(config)

    return _convolve(make, layer.get_weights(), args[0], before, after, dilation)


def _compute_features(x: Any, before: _Map, after: _Map, layer: Any, dense: Any) -> Any:
    """The features of every window at its position: a global pool, or a dense layer as a convolution of its size."""
    if isinstance(layer, _POOLS):
        return _pool(x, before, after, layer)
    if layer is dense:  # a map of one pixel is flat already
        return x
    kernel, *bias = dense.get_weights()
    weights = [kernel.reshape(*before.size, -1, dense.units), *bias]

    def make(strides: Pair, holes: Pair) -> Any:
        own = {"activation": dense.activation, "use_bias": dense.use_bias, "dtype": "float32", "name": dense.name}
        return keras.layers.Conv2D(dense.units, before.size, strides, "valid", "channels_last", holes, **own)

    return _convolve(make, weights, x, before, after, (1, 1))


def _spread_taps(before: _Map, after: _Map, dilation: Pair) -> tuple[Pair, Pair]:
    """Distances between a layer's kernel taps, and between its positions, on the grid of its input."""
    holes = tuple(max(step * d // grid, 1) for step, d, grid in zip(before.step, dilation, before.grid, strict=True))
    skip = tuple(new // old for new, old in zip(after.grid, before.grid, strict=True))
    return holes, skip  # type: ignore[return-value]


def _convolve(
    make: Callable[[Pair, Pair], Any], weights: Sequence[np.ndarray], x: Any, before: _Map, after: _Map, dilation: Pair
) -> Any:
    holes, skip = _spread_taps(before, after, dilation)
    at_once = holes == (1, 1) and skip[0] == skip[1]  # no backend strides with dilation, some not by two numbers
    layer = make(skip if at_once else (1, 1), holes)
    result = layer(x)
    layer.set_weights(weights)
    return result if at_once else _subsample(result, skip, layer.name)


def _pool(x: Any, before: _Map, after: _Map, layer: Any) -> Any:
    """A pool, whose taps may be dilated: then the maximum or mean of the shifted map, by rows and by columns."""
    kernel = _geometry(layer, before.size)[0]
    holes, skip = _spread_taps(before, after, (1, 1))
    average = isinstance(layer, _AVERAGE)
    if holes == (1, 1):
        return (keras.layers.AveragePooling2D if average else keras.layers.MaxPooling2D)(
            kernel, skip, "valid", name=layer.name
        )(x)
    for axis, axis_name in enumerate(("rows", "columns")):
        if kernel[axis] > 1:
            far = (kernel[axis] - 1) * holes[axis]
            crops = ((shift, far - shift) for shift in range(0, far + 1, holes[axis]))
            shifted = [keras.layers.Cropping2D(((0, 0), crop) if axis else (crop, (0, 0)))(x) for crop in crops]
            x = (keras.layers.Average if average else keras.layers.Maximum)(name=f"{layer.name}_{axis_name}")(shifted)
    return _subsample(x, skip, layer.name)


def _subsample(x: Any, skip: Pair, name: str) -> Any:
    """The rows and columns at which windows begin."""
    return x if skip == (1, 1) else keras.layers.MaxPooling2D(1, skip, "valid", name=f"{name}_subsampled")(x)
