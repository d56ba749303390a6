"""The receptive field of a layer, measured on the model and known by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.architectures.spec import summary
from kcnn.explain import model_access
from kcnn.explain.gradients import compute_gradient
from kcnn.graph import shape_inference
from kcnn.graph.shape_inference import WHOLE_INPUT, Pair
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.keras_bridge import layers as own
from kcnn.keras_bridge.from_keras import producers
from kcnn.keras_bridge.from_keras import read_graph as drawn

_LAYERS = keras.layers
_POINTWISE = (  # by which no pixel sees another; skipped, for they may hide one or move numbers out of range
    *(_LAYERS.BatchNormalization, _LAYERS.Rescaling, _LAYERS.Normalization, own.LocalResponseNormalization),
    *(_LAYERS.LayerNormalization, _LAYERS.Activation, _LAYERS.ReLU, _LAYERS.LeakyReLU, _LAYERS.PReLU, _LAYERS.ELU),
    *(_LAYERS.Softmax, _LAYERS.Dropout, _LAYERS.SpatialDropout2D, _LAYERS.GaussianNoise, _LAYERS.GaussianDropout),
)
_WITH_FUNCTION = (_LAYERS.Conv2D, _LAYERS.DepthwiseConv2D, _LAYERS.SeparableConv2D, _LAYERS.Dense)


@dataclass(frozen=True, eq=False)
class MeasuredReceptiveField:
    """What one position of a layer sees of the picture. Ranges are (first pixel, pixel behind the last).

    Where arithmetic does not know a layer (see kcnn.keras_bridge.from_keras), it takes it to see one pixel, and the two may differ.
    """

    layer: str
    position: Pair  # (row, column) in the layer's output
    rows: Pair  # measured
    columns: Pair
    gradient: np.ndarray  # (rows, columns) of the picture: how much each pixel counts, 1 at the most
    theory_rows: Pair  # by arithmetic, within the picture
    theory_columns: Pair
    size: Pair  # by kcnn.measure: (rows, columns) of the field of a position far from every edge

    @property
    def agrees(self) -> bool:
        """Whether what was measured is what arithmetic says."""
        return (self.rows, self.columns) == (self.theory_rows, self.theory_columns)


def measure_receptive_field(
    model: Any,
    layer: str,
    position: Pair | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    draws: int = 3,
    seed: int = 0,
) -> MeasuredReceptiveField:
    """The pixels on which one position of a layer depends, measured by gradients, beside those known by arithmetic.

    `position` is (row, column) in the layer's output, by default the middle. The gradient of its sum over channels
    with respect to the picture is computed by the model's own layers with random positive weights, and averaged over
    `draws` of them; max pools average, gates add and pointwise functions are skipped, so that none hides a pixel. The
    model keeps its weights. `input_shape` is needed where the model's size is open.

    How far a trained network really looks, which is less (arXiv:1701.04128), is not measured by this.
    LookupError, with the nearest names; TypeError where the model has no graph; ValueError where the layer has no
    rows and columns, `position` is outside of it, a whole model is on the way to it, or the size is open.
    """
    image, tensor = model_access.find_image_input(model), model_access.find_layer(model, layer)
    if hint := model_access.find_nested(topological_order(tensor, sources=producers)):
        raise ValueError(f"arithmetic does not see through all that leads to layer {layer!r} of {model.name!r}{hint}")
    drawing, named = drawn(model, input_shape)
    paper = drawing.input.context.layers
    sketch = next(paper[name] for name, one in named.items() if one is tensor)
    if len(sketch.shape) != 3:
        raise ValueError(f"layer {layer!r} of {model.name!r} gives {sketch.shape}, which has no rows and columns")
    rows, columns = sketch.shape[:2]
    at = (rows // 2, columns // 2) if position is None else (int(position[0]), int(position[1]))
    if not (0 <= at[0] < rows and 0 <= at[1] < columns):
        raise ValueError(f"position {at} is outside of layer {layer!r}, which has {rows}x{columns} positions")
    rng = np.random.default_rng(seed)
    x = ops.full((1, *drawing.input.shape), 1e-12)  # so that what is not skipped is far from saturated
    weights = {id(one): (layer, one) for layer in model.layers for one in layer.weights}.values()

    def seen(given: list[Any]) -> tuple[Any, tuple[()]]:
        found = model_access.replay([tensor], [(image, given[0])], _positive)[0]
        return ops.sum(ops.cast(found, "float32")[0, at[0], at[1]]), ()

    total = np.zeros(drawing.input.shape[:2])
    for _ in range(draws):
        mapping = [(one, _drawn(layer, one, rng)) for layer, one in weights if one.dtype.startswith(("float", "bfl"))]
        with keras.StatelessScope(mapping):
            (slope,), _ = compute_gradient(seen, [x])
        if slope is not None:
            found = ops.convert_to_numpy(ops.cast(slope, "float32"))[0].astype("float64").sum(axis=-1)
            total += found / max(found.max(), np.finfo("float64").tiny) / draws
    theory = _theory(sketch, at, drawing.input)
    return MeasuredReceptiveField(
        layer,
        at,
        _range(total.sum(axis=1)),
        _range(total.sum(axis=0)),
        (total / (total.max() or 1)).astype("float32"),
        *theory,
        summary(sketch)[-1].receptive_field,
    )


def _positive(layer: Any, args: Any, kwargs: Any) -> Any:
    """A layer with its geometry alone: pointwise functions left out, maxima as means, products as sums."""
    if isinstance(layer, _POINTWISE):
        return args[0]
    if type(layer).__name__ == "Multiply":  # Keras' layer or its op: a gate's product of small numbers vanishes
        return sum(keras.tree.flatten(args))
    if isinstance(layer, _LAYERS.MaxPooling2D):
        return ops.average_pool(args[0], layer.pool_size, layer.strides, layer.padding, data_format=layer.data_format)
    if isinstance(layer, _LAYERS.GlobalMaxPooling2D):
        return ops.mean(args[0], axis=(1, 2), keepdims=layer.keepdims)
    if isinstance(layer, own.Pad2D) and layer.fill == "lowest":
        return own.Pad2D(layer.padding, "zeros", layer.channels)(args[0])
    if not isinstance(layer, _WITH_FUNCTION):
        return layer(*args, **kwargs)
    function, layer.activation = layer.activation, keras.activations.linear
    try:
        return layer(*args, **kwargs)
    finally:
        layer.activation = function


def _drawn(layer: Any, weight: Any, rng: np.random.Generator) -> np.ndarray:
    """A positive value of a weight by which a layer gives means: numbers neither grow nor vanish with depth."""
    shape = tuple(weight.shape)
    if len(shape) < 2:
        return np.full(shape, 0.0 if weight.name in ("bias", "beta", "moving_mean") else 1.0)
    depthwise = "depthwise" in weight.name or isinstance(layer, _LAYERS.DepthwiseConv2D)
    many = np.prod(shape[:2] if depthwise else shape[:-1])
    return rng.uniform(0.5, 1.5, shape) / many


def _theory(end: SymbolicTensor, at: Pair, image: SymbolicTensor) -> tuple[Pair, Pair]:
    """The rows and columns of the image of which a position can depend, cut at the edge of every map between."""
    first, last = {id(end): at}, {id(end): at}  # of each map, both inside
    for x in reversed(topological_order(end)):
        if id(x) not in first or not x.inputs:
            continue
        window = shape_inference.input_window(x.op, *(source.shape for source in x.inputs))
        for source in x.inputs:
            size = source.shape[:2] if len(source.shape) == 3 else (1, 1)
            low, high = [0, 0], [size[0] - 1, size[1] - 1]
            if window != WHOLE_INPUT and len(x.shape) == len(source.shape) == 3:
                for axis in (0, 1):
                    low[axis], high[axis] = first[id(x)][axis], last[id(x)][axis]
                    if window is not None:
                        kernel, step, before = (
                            pair[axis]
                            for pair in (window.kernel, window.stride, window.pad_before)  # type: ignore[union-attr]
                        )
                        low[axis] = low[axis] * step - before
                        high[axis] = high[axis] * step - before + kernel - 1
                    low[axis] = min(max(low[axis], 0), size[axis] - 1)
                    high[axis] = min(max(high[axis], 0), size[axis] - 1)
            known = first.get(id(source), (low[0], low[1])), last.get(id(source), (high[0], high[1]))
            first[id(source)] = min(known[0][0], low[0]), min(known[0][1], low[1])
            last[id(source)] = max(known[1][0], high[0]), max(known[1][1], high[1])
    (top, left), (bottom, right) = first[id(image)], last[id(image)]
    return (top, bottom + 1), (left, right + 1)


def _range(counts: np.ndarray) -> Pair:
    """(first, behind the last) of what is not zero; (0, 0) where all is."""
    found = np.flatnonzero(counts)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
