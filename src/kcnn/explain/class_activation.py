"""Grad-CAM (arXiv:1610.02391): which regions of an image speak for a class."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.explain import model_access
from kcnn.explain.gradients import differentiate
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import find_origin, operation, output_activation, producers, replay


@check_arguments
def grad_cam(
    model: Any, images: Any, classes: int | Sequence[int] | None = None, layer: str | None = None
) -> np.ndarray:
    """Compute Grad-CAM heatmaps (arXiv:1610.02391): how much each region of an image speaks for a class.

    The gradient is that of the score before a softmax or sigmoid.

    Args:
        model: A flat Keras classifier.
        images: (n, rows, columns, channels), scaled as the model takes them.
        classes: One class index for all images or one for each; by default the predicted class.
        layer: The layer whose feature maps are weighted; by default the last with more than one position.

    Returns:
        float32 (n, rows, columns) from 0 to 1, resized to the images; all 0 where nothing speaks for the class.

    Raises:
        UnknownNameError: No layer has this name; the message has the nearest.
        TypeError: The model has no graph.
        ValueError: The model has no feature maps with more than one position, or `layer` makes none.
    """
    output, image = model_access.find_output(model), model_access.find_image_input(model)
    maps = _find_last_maps(model) if layer is None else model_access.find_layer(model, layer)
    if len(maps.shape) != 4:
        raise ValueError(
            f"layer {layer!r} of {model.name!r} gives {tuple(maps.shape)}, not maps (batch, rows, columns, channels)"
        )
    x = ops.convert_to_tensor(model_access.to_batch(model, images))
    (features,) = replay([maps], [(image, x)])

    def compute_scores(features: Any) -> Any:
        return ops.cast(_compute_scores(output, [(image, x), (maps, features)]), "float32")

    indices = model_access.choose_classes(ops.convert_to_numpy(compute_scores(features)), classes)
    of_class = ops.one_hot(indices.astype("int32"), output.shape[-1])
    (gradient,), _ = differentiate(lambda inputs: (ops.sum(compute_scores(inputs[0]) * of_class), ()))([features])
    if gradient is None:
        raise ValueError(f"the scores of {model.name!r} do not depend on layer {layer!r}")
    features, gradient = ops.cast(features, "float32"), ops.cast(gradient, "float32")
    weights = ops.mean(gradient, axis=(1, 2), keepdims=True)
    heatmap = ops.relu(ops.sum(weights * features, axis=-1, keepdims=True))
    highest = ops.max(heatmap, axis=(1, 2), keepdims=True)
    heatmap = heatmap / ops.where(highest > 0, highest, ops.ones_like(highest))
    return ops.convert_to_numpy(ops.image.resize(heatmap, x.shape[1:3], data_format="channels_last"))[..., 0]


def _find_last_maps(model: Any) -> Any:
    """The last feature maps with more than one position."""
    order = topological_order(model.outputs[0], sources=producers)
    maps = [one for one in order if len(one.shape) == 4 and one.shape[1:3] != (1, 1) and producers(one)]
    if not maps:
        hint = model_access.describe_nested_model(model_access.list_layers(model).values())
        raise ValueError(f"{model.name!r} has no feature maps with more than one position{hint}")
    return maps[-1]


def _compute_scores(output: Any, values: Sequence[tuple[Any, Any]]) -> Any:
    """A model's scores before any softmax or sigmoid, behind which a confident score has no gradient in float32."""
    origin = find_origin(output)
    last, sources = operation(origin), producers(origin)
    if output_activation(output) is None or isinstance(operation(output), keras.Model) or len(sources) != 1:
        return replay([output], values)[0]
    if isinstance(last, keras.layers.Dense):
        scores = ops.matmul(replay(sources, values)[0], last.kernel)
        return scores + last.bias if last.use_bias else scores
    if getattr(last, "weights", ()):
        return replay([output], values)[0]
    scores = replay(sources, values)[0]
    return ops.reshape(scores, (ops.shape(scores)[0], -1))
