"""A Keras graph by its layers' names, and run from any tensor in it to any other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kcnn.graph.names import suggest
from kcnn.graph.tracing import compile_glob, topological_order
from kcnn.keras_bridge.from_keras import producers

PROBABLE = ("softmax", "sigmoid")


def keras_operation(tensor: Any) -> Any:
    """The layer, or the op of Keras', that makes a Keras tensor."""
    return tensor._keras_history.operation


def find_image_input(model: Any) -> Any:
    """The Keras tensor of a model's pictures, (batch, rows, columns, channels).

    TypeError where the model has no graph; ValueError where it takes anything but one batch of pictures.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"kcnn.explain takes a Keras model, not {model!r}")
    try:
        ins = model.inputs if model.outputs else None
    except (AttributeError, ValueError):
        ins = None
    if not ins:
        raise TypeError(f"{model.name!r} is a subclassed or unbuilt model: it has no graph to look into")
    if len(ins) != 1 or len(ins[0].shape) != 4:
        shapes = ", ".join(str(tuple(one.shape)) for one in ins)
        raise ValueError(f"{model.name!r} takes {shapes}, not one batch of pictures (batch, rows, columns, channels)")
    return ins[0]


def list_layers(model: Any) -> dict[str, Any]:
    """The Keras tensor that each layer gives, by the layer's name, inputs before outputs.

    A layer that is used twice, or gives two tensors, is there again as NAME_2.
    """
    find_image_input(model)
    found: dict[str, Any] = {}
    for tensor in topological_order(*model.outputs, sources=producers):
        if producers(tensor):
            name = keras_operation(tensor).name
            number, free = 2, name
            while free in found:
                free, number = f"{name}_{number}", number + 1
            found[free] = tensor
    return found


def match_layers(model: Any, glob: str) -> dict[str, Any]:
    """Those of `layers` that fit a glob with `*`, `?`, `[ab]` and `{a,b}`; LookupError with the nearest names."""
    there = list_layers(model)
    found = {name: tensor for name, tensor in there.items() if compile_glob(glob)(name)}
    if not found:
        raise LookupError(_unanswered(model, there, glob))
    return found


def find_layer(model: Any, name: str) -> Any:
    """The Keras tensor of one layer, by its name; LookupError with the nearest names."""
    there = list_layers(model)
    if name not in there:
        raise LookupError(_unanswered(model, there, name))
    return there[name]


def _unanswered(model: Any, there: Mapping[str, Any], glob: str) -> str:
    near = ", ".join(suggest(glob.replace("*", ""), there, 4))
    return f"no layer of {model.name!r} answers to {glob!r}; the nearest are {near}{find_nested(there.values())}"


def find_nested(tensors: Iterable[Any]) -> str:
    """What to do where a model stands in the place of one of the layers that make Keras tensors; nothing where none."""
    inner = next((keras_operation(one).name for one in tensors if isinstance(keras_operation(one), keras.Model)), None)
    return (
        f"; {inner!r} is a model inside it, whose layers kcnn.optimize_for_inference(model) brings into the open"
        if inner
        else ""
    )


def to_batch(model: Any, images: Any) -> np.ndarray:
    """`images` as float32 (n, rows, columns, channels), as the model takes them; ValueError where it does not."""
    wanted = tuple(find_image_input(model).shape)
    found = np.asarray(images, "float32")
    fits = found.ndim == 4 and len(found) and all(w in (None, n) for w, n in zip(wanted, found.shape, strict=True))
    if not fits:
        size = ", ".join("any" if n is None else str(n) for n in wanted[1:])
        raise ValueError(f"{model.name!r} takes pictures (n, {size}), at least one, not an array of {found.shape}")
    return found


def choose_classes(model: Any, scores: np.ndarray, classes: int | Sequence[int] | None) -> np.ndarray:
    """A class number for each row of scores (n, classes): the one asked for, else that of the highest score."""
    if classes is None:
        return scores.argmax(axis=-1)
    found = np.asarray(classes)
    count = scores.shape[-1]
    whole = found.dtype.kind in "iu" and found.shape in ((), (len(scores),))
    if not whole or found.min() < 0 or found.max() >= count:
        raise ValueError(
            f"classes are numbers from 0 to {count - 1}, one for each of {len(scores)} pictures or one for all, "
            f"not {classes!r}"
        )
    return np.broadcast_to(found, (len(scores),))


def find_output(model: Any) -> Any:
    """The Keras tensor of a model's scores, (batch, classes); ValueError where it ends in none."""
    find_image_input(model)
    found = model.outputs[0]
    if len(found.shape) != 2:
        raise ValueError(f"{model.name!r} ends in {tuple(found.shape)}, not in scores of classes (batch, classes)")
    return found


def output_activation(tensor: Any) -> str | None:
    """ "softmax" or "sigmoid" where that made a tensor, and so probabilities; None where its numbers are scores."""
    last = keras_operation(tensor)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    name = getattr(getattr(last, "activation", None), "__name__", None)
    return name if name in PROBABLE else None


def _called(layer: Any, args: Any, kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def replay(
    ends: Sequence[Any], given: Sequence[tuple[Any, Any]], call: Callable[[Any, Any, Any], Any] = _called
) -> list[Any]:
    """The values of Keras tensors `ends`, in inference, from those of other tensors of their graph.

    `given` are pairs of a Keras tensor and its value. `call(layer, args, kwargs)` may compute a layer otherwise.
    A keras.Model from a tensor in the middle would do so too, but leaves new nodes on the layers, by which
    `layer.output` is an error from then on.
    """
    made: dict[int, Any] = {id(tensor): value for tensor, value in given}
    known: Mapping[int, Any] = dict(made)
    for tensor in topological_order(*ends, sources=lambda one: () if id(one) in known else producers(one)):
        if id(tensor) in made:
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        results = call(history.operation, *node.arguments.fill_in(made))
        made.update(zip(map(id, node.output_tensors), keras.tree.flatten(results), strict=True))
    return [made[id(tensor)] for tensor in ends]
