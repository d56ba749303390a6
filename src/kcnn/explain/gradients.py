"""Gradients on each of Keras' backends: the one module that asks which."""

from collections.abc import Callable
from typing import Any

import keras

Differentiated = Callable[[list[Any]], tuple[list[Any], Any]]


def differentiate(function: Callable[[list[Any]], tuple[Any, Any]]) -> Differentiated:
    """Differentiate a scalar function of tensors.

    On TensorFlow the gradient is a compiled function. Run eagerly, oneDNN writes past the end of the gradient of a 1x1
    convolution with a stride and fewer than 16 input channels (TensorFlow 2.21), which ends the process.

    Args:
        function: Takes the tensors and returns a scalar and an extra: a list or tuple of tensors.

    Returns:
        A function of the tensors that returns the gradients, None or zeros for a tensor that the scalar does not depend
        on, and the extra.

    Raises:
        ValueError: Keras' backend has no gradients.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            def compute(inputs: list[Any]) -> tuple[list[Any], Any]:
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    value, extra = function(inputs)
                return tape.gradient(value, inputs), extra

            return tf.function(compute, autograph=False)
        case "jax":
            import jax

            return jax.grad(function, has_aux=True)
        case "torch":
            import torch

            def compute_torch(inputs: list[Any]) -> tuple[list[Any], Any]:
                inputs = [tensor.detach().requires_grad_(True) for tensor in inputs]
                value, extra = function(inputs)
                return list(torch.autograd.grad(value, inputs, allow_unused=True)), extra

            return compute_torch
        case other:
            raise ValueError(f"Keras backend {other!r} has no gradients; choose from tensorflow, jax, torch")
