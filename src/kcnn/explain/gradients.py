"""Gradients on each of Keras' backends: the one module that asks which."""

from collections.abc import Callable
from typing import Any

import keras


def compute_gradient(function: Callable[[list[Any]], tuple[Any, Any]], inputs: list[Any]) -> tuple[list[Any], Any]:
    """Differentiate a scalar function of tensors.

    Args:
        function: Takes the tensors and returns a scalar and an extra: anything made of tensors.
        inputs: The tensors at which to differentiate.

    Returns:
        The gradients, None or zeros for a tensor that the scalar does not depend on; and the extra.

    Raises:
        ValueError: Keras' backend has no gradients.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value, extra = function(inputs)
            return tape.gradient(value, inputs), extra
        case "jax":
            import jax

            return jax.grad(function, has_aux=True)(inputs)
        case "torch":
            import torch

            inputs = [tensor.detach().requires_grad_(True) for tensor in inputs]
            value, extra = function(inputs)
            return list(torch.autograd.grad(value, inputs, allow_unused=True)), extra
        case other:
            raise ValueError(f"Keras backend {other!r} has no gradients; choose from tensorflow, jax, torch")
