"""Work on those images of a batch that want it, and on no others."""

from collections.abc import Callable

import tensorflow as tf


def apply_where(where: tf.Tensor, change: Callable[..., tf.Tensor], images: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
    """The change done to the images of a batch where it is True, with their own of the values (n, ...)."""
    chosen = tf.where(where)
    mine = [tf.gather_nd(value, chosen) for value in (images, *values)]
    return tf.tensor_scatter_nd_update(images, chosen, change(*mine))
