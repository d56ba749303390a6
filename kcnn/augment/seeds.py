"""Draws that follow from a stateless seed and a number alone, so that one draw more moves no other."""

from typing import Any

import tensorflow as tf


def fold_in(seed: tf.Tensor, number: Any) -> tf.Tensor:
    """Another seed, int (2,), for the part of this number."""
    return tf.random.experimental.stateless_fold_in(seed, number)


def uniform(seed: tf.Tensor, number: Any, shape: Any, low: float, high: float) -> tf.Tensor:
    """Float32 of this shape, evenly from low to high."""
    return tf.random.stateless_uniform(shape, fold_in(seed, number), low, high)


def random_integers(seed: tf.Tensor, number: Any, shape: Any, low: int, high: int) -> tf.Tensor:
    """Int32 of this shape, evenly from low to high - 1."""
    return tf.random.stateless_uniform(shape, fold_in(seed, number), low, high, tf.int32)


def random_signs(seed: tf.Tensor, number: Any, shape: Any) -> tf.Tensor:
    """Float32 of this shape, -1 or 1, half and half."""
    return 2.0 * tf.cast(random_integers(seed, number, shape, 0, 2), tf.float32) - 1.0


def beta(seed: tf.Tensor, shape: Any, alpha: float) -> tf.Tensor:
    """Float32 from Beta(alpha, alpha), through logarithms: at a small alpha both gamma draws would be 0."""
    logs = []
    for part in (0, 1):
        gamma = tf.random.stateless_gamma(shape, fold_in(seed, 2 * part), alpha + 1.0)
        logs.append(tf.math.log(gamma) + tf.math.log(uniform(seed, 2 * part + 1, shape, 1e-30, 1.0)) / alpha)
    return tf.sigmoid(logs[0] - logs[1])
