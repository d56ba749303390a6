"""Gradients on each of Keras' backends: the one place that asks which."""

from collections.abc import Callable
from typing import Any

import keras


def compute_gradient(function: Callable[[list[Any]], tuple[Any, Any]], at: list[Any]) -> tuple[list[Any], Any]:
    """The gradients of a function of tensors at `at`, None or zeros where it does not depend on one, and its extra.

    `function` takes the tensors and gives a scalar and anything else made of tensors, which is handed on.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(at)
                value, extra = function(at)
            return tape.gradient(value, at), extra
        case "jax":
            import jax

            return jax.grad(function, has_aux=True)(at)
        case "torch":
            import torch

            at = [one.detach().requires_grad_(True) for one in at]
            value, extra = function(at)
            return list(torch.autograd.grad(value, at, allow_unused=True)), extra
        case other:
            raise ValueError(f"Keras' backend {other} has no gradients; take tensorflow, jax or torch")
