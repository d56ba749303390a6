"""A Keras graph by its layers' names, and run from any tensor in it to any other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kcnn.graph.arguments import wrong_kind
from kcnn.graph.names import UnknownNameError, unknown_layer
from kcnn.graph.overrides import compile_glob
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import operation, producers


def find_image_input(model: Any) -> Any:
    """Return the Keras tensor of a model's images, (batch, rows, columns, channels).

    Raises:
        TypeError: The model has no graph.
        ValueError: The model takes anything but one batch of images.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"kcnn.explain expects a Keras model, got {model!r}")
    try:
        inputs = model.inputs if model.outputs else None
    except (AttributeError, ValueError):
        inputs = None
    if not inputs:
        raise TypeError(f"{model.name!r} is a subclassed or unbuilt model without a graph; build a functional model")
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise ValueError(
            f"{model.name!r} takes {shapes}; expected one batch of images (batch, rows, columns, channels)"
        )
    return inputs[0]


def find_output(model: Any) -> Any:
    """Return the Keras tensor of a model's scores, (batch, classes).

    Raises:
        TypeError: The model has no graph.
        ValueError: The model ends in something else.
    """
    find_image_input(model)
    output = model.outputs[0]
    if len(output.shape) != 2:
        raise ValueError(f"{model.name!r} ends in {tuple(output.shape)}; expected class scores (batch, classes)")
    return output


def list_layers(model: Any) -> dict[str, Any]:
    """Return the Keras tensor that each layer makes, by the layer's name, inputs before outputs.

    A layer that is used twice, or makes two tensors, is listed again as NAME_2.
    """
    find_image_input(model)
    layers: dict[str, Any] = {}
    for tensor in topological_order(*model.outputs, sources=producers):
        if producers(tensor):
            name = operation(tensor).name
            number, free = 2, name
            while free in layers:
                free, number = f"{name}_{number}", number + 1
            layers[free] = tensor
    return layers


def match_layers(model: Any, glob: str) -> dict[str, Any]:
    """Return the layers whose names match a glob.

    Args:
        model: A flat Keras model.
        glob: May have `*`, `?`, `[ab]` and `{a,b}`.

    Returns:
        Keras tensors by the layer's name, as from `list_layers`.

    Raises:
        UnknownNameError: No layer matches; the message has the nearest names.
    """
    layers = list_layers(model)
    matching = {name: tensor for name, tensor in layers.items() if compile_glob(glob)(name)}
    if not matching:
        raise _unknown_layer(model, layers, glob)
    return matching


def find_layer(model: Any, name: str) -> Any:
    """Return the Keras tensor of one layer, by its name.

    Raises:
        UnknownNameError: No layer has this name; the message has the nearest.
    """
    layers = list_layers(model)
    if name not in layers:
        raise _unknown_layer(model, layers, name)
    return layers[name]


def _unknown_layer(model: Any, layers: Mapping[str, Any], pattern: str) -> UnknownNameError:
    hint = describe_nested_model(layers.values())
    return UnknownNameError(f"{unknown_layer(pattern, layers, model.name)}{hint}")


def describe_nested_model(tensors: Iterable[Any]) -> str:
    """Return what to do about a model nested in the place of a layer that makes one of the tensors; "" without one."""
    inner = next((operation(one).name for one in tensors if isinstance(operation(one), keras.Model)), None)
    return f" ({inner!r} is a nested model; flatten it with kcnn.optimize_for_inference)" if inner else ""


def to_batch(model: Any, images: Any) -> np.ndarray:
    """Return images as a float32 array (n, rows, columns, channels) that the model takes.

    Raises:
        ValueError: The model takes images of another shape, or there are none.
    """
    expected = tuple(find_image_input(model).shape)
    try:
        batch = np.asarray(images, "float32")
    except (TypeError, ValueError):
        raise wrong_kind("images", "an array of numbers (n, rows, columns, channels)", images) from None
    if batch.ndim != 4 or not len(batch) or any(e not in (None, n) for e, n in zip(expected, batch.shape, strict=True)):
        size = ", ".join("any" if n is None else str(n) for n in expected[1:])
        raise ValueError(f"{model.name!r} expects images (n, {size}), at least one, got an array of {batch.shape}")
    return batch


def choose_classes(scores: np.ndarray, classes: int | Sequence[int] | None) -> np.ndarray:
    """Return a class index for each row of scores.

    Args:
        scores: (n, classes).
        classes: One index for all rows, one for each, or None for the class of the highest score.

    Raises:
        ValueError: An index that no class has, or too few or too many of them.
    """
    if classes is None:
        return scores.argmax(axis=-1)
    indices = np.asarray(classes)
    count = scores.shape[-1]
    fits = indices.dtype.kind in "iu" and indices.shape in ((), (len(scores),))
    if not fits or indices.min() < 0 or indices.max() >= count:
        raise ValueError(
            f"classes must be indices from 0 to {count - 1}, one for each of {len(scores)} images or one for all, "
            f"got {classes!r}"
        )
    return np.broadcast_to(indices, (len(scores),))
