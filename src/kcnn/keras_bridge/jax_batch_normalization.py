"""Batch normalization on JAX, with a gradient of its own: fewer passes over the images than by differentiation.

It has no forward-mode derivative (jax.jvp) in training.
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_batch(inputs, scale, offset, epsilon):
    """Normalize a batch by its own moments.

    Args:
        inputs: (..., channels), of 16 or 32 bits.
        scale: float32 (channels,).
        offset: float32 (channels,).
        epsilon: Added to the variance.

    Returns:
        The output, as the inputs; float32 mean and variance (channels,), through which no gradient flows.
    """
    outputs, _ = _normalize(inputs, scale, offset, epsilon)
    return outputs


def _normalize(inputs, scale, offset, epsilon):
    x, axes = inputs.astype("float32"), tuple(range(inputs.ndim - 1))
    # One pass sums values and squares, about a pixel of the batch: E[x^2] - E[x]^2 cancels the digits of a large mean.
    origin = x[(0,) * len(axes)]
    moved = x - origin
    mean = jnp.mean(moved, axes)
    variance = jnp.maximum(jnp.mean(jnp.square(moved), axes) - jnp.square(mean), 0)
    mean = mean + origin
    inverse = jax.lax.rsqrt(variance + epsilon)
    outputs = ((x - mean) * (inverse * scale) + offset).astype(inputs.dtype)
    return (outputs, mean, variance), (inputs, scale, mean, inverse)


def _differentiate(epsilon, kept, gradients):
    inputs, scale, mean, inverse = kept
    axes = tuple(range(inputs.ndim - 1))
    gradient = gradients[0].astype("float32")
    normalized = (inputs.astype("float32") - mean) * inverse
    by_offset, by_scale = jnp.sum(gradient, axes), jnp.sum(gradient * normalized, axes)
    count = inputs.size // inputs.shape[-1]
    by_inputs = scale * inverse * (gradient - (by_offset + normalized * by_scale) / count)
    return by_inputs.astype(inputs.dtype), by_scale, by_offset


normalize_batch.defvjp(_normalize, _differentiate)
