"""Grad-CAM (arXiv:1610.02391): where in a picture a network finds its answer."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.explain import model_access
from kcnn.explain.gradients import compute_gradient
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.from_keras import producers


def grad_cam(
    model: Any, images: Any, classes: int | Sequence[int] | None = None, layer: str | None = None
) -> np.ndarray:
    """How much each place speaks for a class: float32 (n, rows, columns) from 0 to 1, in the size of the images.

    `images` are pictures (n, rows, columns, channels) as the model takes them; `classes` one number for all or for
    each, by default what the model takes it for. The maps are those of `layer`, by default the last one with more
    than one place, and the score that of before a softmax or sigmoid. Where nothing speaks for the class all is 0.

    LookupError, with the nearest names, for a layer that is not there; TypeError where the model has no graph;
    ValueError where it has no maps with more than one place, or `layer` is none.
    """
    end, image = model_access.find_output(model), model_access.find_image_input(model)
    maps = _last(model) if layer is None else model_access.find_layer(model, layer)
    if len(maps.shape) != 4:
        raise ValueError(f"layer {layer!r} of {model.name!r} gives {tuple(maps.shape)}, no maps of rows and columns")
    x = ops.convert_to_tensor(model_access.to_batch(model, images))
    (features,) = model_access.replay([maps], [(image, x)])

    def scores(features: Any) -> Any:
        return ops.cast(_scores(end, [(image, x), (maps, features)]), "float32")

    wanted = model_access.choose_classes(model, ops.convert_to_numpy(scores(features)), classes)
    of_class = ops.one_hot(wanted.astype("int32"), end.shape[-1])
    (slope,), _ = compute_gradient(lambda at: (ops.sum(scores(at[0]) * of_class), ()), [features])
    if slope is None:
        raise ValueError(f"the scores of {model.name!r} do not depend on layer {layer!r}")
    features, slope = ops.cast(features, "float32"), ops.cast(slope, "float32")
    weights = ops.mean(slope, axis=(1, 2), keepdims=True)
    found = ops.relu(ops.sum(weights * features, axis=-1, keepdims=True))
    most = ops.max(found, axis=(1, 2), keepdims=True)
    found = found / ops.where(most > 0, most, ops.ones_like(most))
    return ops.convert_to_numpy(ops.image.resize(found, x.shape[1:3], data_format="channels_last"))[..., 0]


def _last(model: Any) -> Any:
    """The last feature maps with more than one place."""
    order = topological_order(model.outputs[0], sources=producers)
    found = [one for one in order if len(one.shape) == 4 and one.shape[1:3] != (1, 1) and producers(one)]
    if not found:
        hint = model_access.find_nested(model_access.list_layers(model).values())
        raise ValueError(f"{model.name!r} has no feature maps with more than one place{hint}")
    return found[-1]


def _scores(end: Any, given: Sequence[tuple[Any, Any]]) -> Any:
    """A model's scores before the softmax or sigmoid, if any: behind one a sure answer has no slope in float32."""
    last = model_access.keras_operation(end)
    if model_access.output_activation(end) is None:
        return model_access.replay([end], given)[0]
    if isinstance(last, keras.layers.Activation | keras.layers.Softmax):
        return model_access.replay(producers(end), given)[0]
    if isinstance(last, keras.layers.Dense):
        found = ops.matmul(model_access.replay(producers(end), given)[0], last.kernel)
        return found + last.bias if last.use_bias else found
    return model_access.replay([end], given)[0]
