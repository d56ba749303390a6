"""Random numbers that depend only on a stateless seed and a number, so that another draw changes none of them."""

from typing import Any

import tensorflow as tf

from kcnn.augment.augmentation import MAX_ALPHA
from kcnn.graph.arguments import wrong_value


def fold_in(seed: tf.Tensor, number: Any) -> tf.Tensor:
    """Return another seed.

    Args:
        seed: int (2,).
        number: Of the draw.

    Returns:
        int (2,).
    """
    return tf.random.experimental.stateless_fold_in(seed, number)


def uniform(seed: tf.Tensor, number: Any, shape: Any, low: float, high: float) -> tf.Tensor:
    """Draw from a uniform distribution.

    Args:
        seed: int (2,).
        number: Of the draw.
        shape: Shape of the result.
        low: Lower end.
        high: Upper end.

    Returns:
        float32 of that shape.
    """
    return tf.random.stateless_uniform(shape, fold_in(seed, number), low, high)


def random_integers(seed: tf.Tensor, number: Any, shape: Any, low: int, high: int) -> tf.Tensor:
    """Draw integers uniformly.

    Args:
        seed: int (2,).
        number: Of the draw.
        shape: Shape of the result.
        low: Smallest integer.
        high: The integer after the largest.

    Returns:
        int32 of that shape.
    """
    return tf.random.stateless_uniform(shape, fold_in(seed, number), low, high, tf.int32)


def random_signs(seed: tf.Tensor, number: Any, shape: Any) -> tf.Tensor:
    """Draw -1 or 1 with equal probability.

    Args:
        seed: int (2,).
        number: Of the draw.
        shape: Shape of the result.

    Returns:
        float32 of that shape.
    """
    return 2.0 * tf.cast(random_integers(seed, number, shape, 0, 2), tf.float32) - 1.0


def beta(seed: tf.Tensor, shape: Any, alpha: float) -> tf.Tensor:
    """Draw from Beta(alpha, alpha), through logarithms: at a small alpha both gamma draws would be 0.

    Args:
        seed: int (2,).
        shape: Shape of the result.
        alpha: Parameter of the distribution.

    Returns:
        float32 of that shape.

    Raises:
        ValueError: Alpha is not above 0, or too large to be meant.
    """
    if not 0 < alpha <= MAX_ALPHA:
        raise wrong_value("alpha", f"above 0, and {MAX_ALPHA} at most", alpha)
    logs = []
    for part in (0, 1):
        gamma = tf.random.stateless_gamma(shape, fold_in(seed, 2 * part), alpha + 1.0)
        logs.append(tf.math.log(gamma) + tf.math.log(uniform(seed, 2 * part + 1, shape, 1e-30, 1.0)) / alpha)
    return tf.sigmoid(logs[0] - logs[1])
