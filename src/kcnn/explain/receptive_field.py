"""The receptive field of a layer, measured by gradients and computed by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.architectures.spec import summary
from kcnn.explain import model_access
from kcnn.explain.gradients import differentiate
from kcnn.graph import shape_inference
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords, check_seed
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.graph.windows import WHOLE_INPUT, Pair
from kcnn.keras_bridge import layers as kcnn_layers
from kcnn.keras_bridge import normalization
from kcnn.keras_bridge.from_keras import read_graph
from kcnn.keras_bridge.keras_graph import operation, producers, replay

MAX_DRAWS = 1_000  # each is a pass through the network; the measured range settles after a few
_FLOATS = ("float", "bfl")
_POINTWISE = (  # no pixel sees another by these; skipped, for they may hide a pixel or saturate
    keras.layers.BatchNormalization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
    kcnn_layers.LocalResponseNormalization,
    keras.layers.LayerNormalization,
    normalization.LayerScale,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
)
_OVER_THE_IMAGE = (keras.layers.GroupNormalization, normalization.GlobalResponseNormalization)
_WITH_ACTIVATION = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


@check_keywords
@dataclass(frozen=True, eq=False)
class MeasuredReceptiveField:
    """The receptive field of one position of a layer, within the image. Ranges are (first pixel, pixel after the last).

    Where arithmetic does not know a layer (see kcnn.from_keras), it takes it to see one pixel, and the two may differ.

    Attributes:
        layer: The layer's name.
        position: (row, column) in the layer's output.
        rows: Range of image rows, measured.
        columns: Range of image columns, measured.
        gradient: float32 (rows, columns) of the image: how much each pixel counts, 1 at most.
        theory_rows: Range of image rows by arithmetic, cut at the image's edges.
        theory_columns: Range of image columns by arithmetic, cut at the image's edges.
        size: (rows, columns) of the receptive field of a position far from every edge, as in kcnn.summary.
    """

    layer: str
    position: Pair
    rows: Pair
    columns: Pair
    gradient: np.ndarray
    theory_rows: Pair
    theory_columns: Pair
    size: Pair

    @property
    def agrees(self) -> bool:
        """Return whether the measured ranges equal those by arithmetic."""
        return (self.rows, self.columns) == (self.theory_rows, self.theory_columns)


@check_arguments
def measure_receptive_field(
    model: Any,
    layer: str,
    position: Pair | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    draws: int = 3,
    seed: int = 0,
) -> MeasuredReceptiveField:
    """Measure the pixels on which one position of a layer depends, beside those known by arithmetic.

    The model's own layers compute the gradient of the position, summed over channels, with respect to the image, with
    random positive weights; max pools average, gates add and pointwise functions are skipped, so that none hides a
    pixel. The model keeps its weights. How far a trained network effectively looks, which is less (arXiv:1701.04128),
    is not measured.

    Args:
        model: A flat Keras model.
        layer: A layer with rows and columns.
        position: (row, column) in the layer's output; by default the middle.
        input_shape: (rows, columns, channels); required where the model's input size is open.
        draws: Random weights to average over.
        seed: Fixes the random weights.

    Returns:
        Both receptive fields, and the gradient.

    Raises:
        UnknownNameError: No layer has this name; the message has the nearest.
        TypeError: The model has no graph.
        ValueError: The layer has no rows and columns, `position` is outside of it, a nested model leads to it, or the
            input size is open.
    """
    check_integer("draws", draws, 1, f"an integer from 1 to {MAX_DRAWS:,}", maximum=MAX_DRAWS)
    check_seed(seed)
    image, tensor = model_access.find_image_input(model), model_access.find_layer(model, layer)
    if hint := model_access.describe_nested_model(topological_order(tensor, sources=producers)):
        raise ValueError(f"cannot compute the receptive field of layer {layer!r} of {model.name!r}{hint}")
    graph, tensors = read_graph(model, input_shape)
    symbols = graph.input.context.layers
    symbol = next(symbols[name] for name, one in tensors.items() if one is tensor)
    if len(symbol.shape) != 3:
        raise ValueError(f"layer {layer!r} of {model.name!r} gives {symbol.shape}, which has no rows and columns")
    rows, columns = symbol.shape[:2]
    at = (rows // 2, columns // 2) if position is None else (int(position[0]), int(position[1]))
    if not (0 <= at[0] < rows and 0 <= at[1] < columns):
        raise ValueError(f"position {at} is outside of layer {layer!r}, which has {rows}x{columns} positions")
    rng = np.random.default_rng(seed)
    x = ops.full((1, *graph.input.shape), 1e-12)  # so that what is not skipped is far from saturated
    weights = {id(one): (layer, one) for layer in model.layers for one in layer.weights}.values()

    def sum_position(inputs: list[Any]) -> tuple[Any, tuple[()]]:
        output = replay([tensor], [(image, inputs[0])], _call_positive)[0]
        return ops.sum(ops.cast(output, "float32")[0, at[0], at[1]]), ()

    total = np.zeros(graph.input.shape[:2])
    for _ in range(draws):
        mapping = [(one, _draw_weight(layer, one, rng)) for layer, one in weights if one.dtype.startswith(_FLOATS)]
        with keras.StatelessScope(mapping):
            (gradient,), _ = differentiate(sum_position)([x])
        if gradient is not None:
            pixels = ops.convert_to_numpy(ops.cast(gradient, "float32"))[0].astype("float64").sum(axis=-1)
            total += pixels / max(pixels.max(), np.finfo("float64").tiny) / draws
    theory_rows, theory_columns = _compute_theory(symbol, at, graph.input)
    return MeasuredReceptiveField(
        layer=layer,
        position=at,
        rows=_find_range(total.sum(axis=1)),
        columns=_find_range(total.sum(axis=0)),
        gradient=(total / (total.max() or 1)).astype("float32"),
        theory_rows=theory_rows,
        theory_columns=theory_columns,
        size=summary(symbol)[-1].receptive_field,
    )


def _call_positive(tensor: Any, args: Any, kwargs: Any) -> Any:
    """Compute a layer by its geometry alone: pointwise functions left out, maxima as means, products as sums."""
    layer = operation(tensor)
    if isinstance(layer, _POINTWISE):
        return args[0]
    if type(layer).__name__ == "Multiply":  # Keras' layer or its op: a gate's product of small numbers vanishes
        return sum(keras.tree.flatten(args))
    if isinstance(layer, keras.layers.MaxPooling2D):
        return ops.average_pool(args[0], layer.pool_size, layer.strides, layer.padding, data_format=layer.data_format)
    if isinstance(layer, _OVER_THE_IMAGE):
        return args[0] + ops.mean(args[0], axis=(1, 2), keepdims=True)
    if isinstance(layer, keras.layers.GlobalMaxPooling2D):
        return ops.mean(args[0], axis=(1, 2), keepdims=layer.keepdims)
    if isinstance(layer, kcnn_layers.Pad2D) and layer.padding_mode == "lowest":
        return kcnn_layers.Pad2D(layer.padding, "zeros", layer.channels)(args[0])
    if not isinstance(layer, _WITH_ACTIVATION):
        return layer(*args, **kwargs)
    function, layer.activation = layer.activation, keras.activations.linear
    try:
        if isinstance(layer, normalization.StandardizedConv2D):  # half of its taps are negative
            return keras.layers.Conv2D.convolution_op(layer, args[0], layer.kernel)
        return layer(*args, **kwargs)
    finally:
        layer.activation = function


def _draw_weight(layer: Any, weight: Any, rng: np.random.Generator) -> np.ndarray:
    """A positive value of a weight that makes the layer average: values neither grow nor vanish with depth."""
    shape = tuple(weight.shape)
    if len(shape) < 2:
        return np.full(shape, 0.0 if weight.name in ("bias", "beta", "moving_mean") else 1.0)
    depthwise = "depthwise" in weight.name or isinstance(layer, keras.layers.DepthwiseConv2D)
    fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
    return rng.uniform(0.5, 1.5, shape) / fan_in


def _compute_theory(output: SymbolicTensor, at: Pair, image: SymbolicTensor) -> tuple[Pair, Pair]:
    """The rows and columns of the image on which a position can depend, cut at the edge of every map between."""
    first, last = {id(output): at}, {id(output): at}  # of each map, both inside
    for x in reversed(topological_order(output)):
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


def _find_range(counts: np.ndarray) -> Pair:
    """(first, after the last) of the values that are not zero; (0, 0) where all are."""
    nonzero = np.flatnonzero(counts)
    return (int(nonzero[0]), int(nonzero[-1]) + 1) if len(nonzero) else (0, 0)
