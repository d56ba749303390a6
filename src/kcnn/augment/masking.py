"""Changes of some images of a batch."""

from collections.abc import Callable

import tensorflow as tf


def apply_where(where: tf.Tensor, change: Callable[..., tf.Tensor], images: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
    """Change some images of a batch.

    Args:
        where: bool (n,).
        change: Function of images and values.
        images: (n, rows, columns, channels).
        *values: (n, ...); the change gets those of its images.

    Returns:
        Images of the same shape.
    """
    chosen = tf.where(where)
    selected = [tf.gather_nd(value, chosen) for value in (images, *values)]
    return tf.tensor_scatter_nd_update(images, chosen, change(*selected))
