"""Probabilities of what a Keras model gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kcnn.classification import sigmoid, to_probabilities
from kcnn.keras_bridge.keras_graph import SIGNED_ACTIVATIONS, find_probability_activation, output_activation


def compute_probabilities(model: Any, outputs: Any, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return what a model gives as probabilities, also where it ends in a softmax or sigmoid of its own.

    Args:
        model: The Keras model.
        outputs: What it gives, (images, classes).
        metadata: The model's metadata.

    Returns:
        Probabilities (images, classes), of two classes where the model has one output.

    Raises:
        ValueError: The model ends in a softmax over one output.
    """
    is_single = model.outputs[0].shape[-1] == 1
    is_built = "spec" in metadata and not is_single  # by kcnn: its activation need not be measured
    ends_in = output_activation(model.outputs[0]) if is_built else find_probability_activation(model)
    values = np.asarray(outputs, "float64")
    if is_single and not metadata.get("multi_label"):
        second = (values + 1) / 2 if ends_in in SIGNED_ACTIVATIONS else values if ends_in else sigmoid(values)
        return np.concatenate([1 - second, second], axis=-1)
    return values if ends_in else to_probabilities(values, metadata)
