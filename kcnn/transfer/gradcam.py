"""Grad-CAM (arXiv:1610.02391): where in a picture a network finds its answer. On TensorFlow, JAX and PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.read import sources
from kcnn.sketch import walk


def grad_cam(model: Any, images: np.ndarray, classes: Sequence[int] | None = None, layer: str | None = None) -> Any:
    """How much each place speaks for a class: (images, rows, columns) from 0 to 1, in the size of the images.

    `images` are pixels (images, rows, columns, channels), `classes` one number an image, by default
    what the model takes it for. The maps are those of `layer`, by default the last one with more
    than one place. ValueError where there is none.
    """
    maps = model.get_layer(layer).output if layer else _last(model)
    x = ops.convert_to_tensor(np.asarray(images, "float32"))
    features = keras.Model(model.inputs[0], maps)(x, training=False)
    behind = keras.Model(maps, model.outputs[0])
    if classes is None:
        classes = ops.convert_to_numpy(ops.argmax(behind(features, training=False), axis=-1)).tolist()
    chosen = ops.one_hot(np.asarray(classes), model.outputs[0].shape[-1])
    slope = _gradient(lambda at: ops.sum(behind(at, training=False) * chosen), features)
    weights = ops.mean(slope, axis=(1, 2), keepdims=True)
    found = ops.relu(ops.sum(weights * features, axis=-1, keepdims=True))
    found = found / ops.maximum(ops.max(found, axis=(1, 2), keepdims=True), 1e-12)
    return ops.convert_to_numpy(ops.image.resize(found, x.shape[1:3], data_format="channels_last"))[..., 0]


def _last(model: Any) -> Any:
    """The last feature maps with more than one place."""
    found = [one for one in walk(model.outputs[0], sources=sources) if len(one.shape) == 4 and one.shape[1:3] != (1, 1)]
    found = [one for one in found if sources(one)]
    if not found:
        raise ValueError(f"{model.name!r} has no feature maps with more than one place")
    return found[-1]


def _gradient(function: Callable[[Any], Any], at: Any) -> Any:
    """The gradient of a scalar function at a tensor."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(at)
                value = function(at)
            return tape.gradient(value, at)
        case "jax":
            import jax

            return jax.grad(function)(at)
        case _:
            at = at.detach().requires_grad_(True)
            function(at).backward()
            return at.grad
