"""Losses and what they expect: logits, in which kcnn's models end, or the probabilities of a softmax or sigmoid."""

from collections.abc import Iterator
from typing import Any

import keras

from kcnn.keras_bridge.keras_graph import output_activation

FROM_LOGITS = {  # losses that take logits with from_logits=True: their functions
    "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
    "CategoricalCrossentropy": "categorical_crossentropy",
    "CategoricalFocalCrossentropy": "categorical_focal_crossentropy",
    "BinaryCrossentropy": "binary_crossentropy",
    "BinaryFocalCrossentropy": "binary_focal_crossentropy",
}
OF_PROBABILITIES = {  # losses that have no from_logits
    "CategoricalGeneralizedCrossEntropy": "categorical_generalized_cross_entropy",
    "KLDivergence": "kl_divergence",
    "Poisson": "poisson",
    "Dice": "dice",
    "Tversky": "tversky",
}


class LogitsWarning(UserWarning):
    """Warns of a loss that takes logits for probabilities: the model would hardly learn."""


def find_misread_logits(model: Any, loss: Any) -> str | None:
    """Return what to write in place of a loss that would take a model's logits for probabilities.

    Args:
        model: A functional Keras model whose outputs are class scores.
        loss: What `compile` takes: a name, a function, a keras.losses.Loss, or a list or dictionary of them.

    Returns:
        The advice; None where outputs and losses fit, or the loss is of the user's own.
    """
    if all(output_activation(output) for output in model.outputs):
        return None
    for one in _iterate_losses(loss):
        name = _name_loss(one)
        softmax = f'build the network with activation="{"sigmoid" if "Binary" in (name or "") else "softmax"}"'
        if name in OF_PROBABILITIES:
            return f"keras.losses.{name} expects probabilities, but the model ends in logits; {softmax}"
        if name in FROM_LOGITS and not expects_logits(one):
            line = f"loss=keras.losses.{name}(from_logits=True)"
            return f"the loss expects probabilities, but the model ends in logits; write {line}, or {softmax}"
    return None


def expects_logits(loss: Any) -> bool:
    """Return whether a loss, or a functools.partial of one, takes logits by its `from_logits`."""
    return bool(getattr(loss, "from_logits", False) or getattr(loss, "keywords", {}).get("from_logits", False))


def _iterate_losses(loss: Any) -> Iterator[Any]:
    """Each loss of a list or dictionary of losses, resolved by name as Keras does."""
    if isinstance(loss, dict) and "class_name" not in loss:
        loss = list(loss.values())
    for one in loss if isinstance(loss, list | tuple) else [loss]:
        if isinstance(one, list | tuple) or (isinstance(one, dict) and "class_name" not in one):
            yield from _iterate_losses(one)
        elif one is not None:
            yield keras.losses.get(one) if isinstance(one, str | dict) else one


def _name_loss(loss: Any) -> str | None:
    """The name of the class of one of Keras' losses of probabilities, given as its object or its function."""
    function = getattr(loss, "func", loss)  # of a functools.partial; getattr: not every class has a public function
    for name, function_name in {**FROM_LOGITS, **OF_PROBABILITIES}.items():
        if isinstance(loss, getattr(keras.losses, name)) or function is getattr(keras.losses, function_name, None):
            return name
    return None
