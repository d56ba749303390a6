"""Batches as tf.data. The only file of this room that needs TensorFlow."""

from typing import Any

import numpy as np
import tensorflow as tf

from kcnn.buffer_pool import allocate


def make_dataset(
    batches: Any,
    shape: tuple[int, int, int],
    rows: int | None,
    label_shape: tuple[int, ...] = (),
    label_dtype: str = "int64",
) -> tf.data.Dataset:
    """Return batches as a tf.data.Dataset, in order, with float32 pixels.

    One stateless function reads all of them: with stateful ones TensorFlow's determinism would serialize the reads.

    Args:
        batches: Sequence of uint8 or float32 (images, rows, columns, channels) and labels.
        shape: (rows, columns, channels).
        rows: Images of every batch if all have the same number.
        label_shape: Shape of the label of an image.
        label_dtype: Type of the labels.

    Returns:
        The dataset, with options for prefetching.
    """

    def read(number: np.int64) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = batches[int(number)]
        if pixels.dtype != np.float32:  # here, where it costs a sixth of what tf.cast does
            converted = allocate(pixels.shape, "float32")
            converted[...] = pixels
            pixels = converted
        return pixels, labels

    def read_batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(read, [number], (tf.float32, label_dtype), stateful=False)
        return tf.ensure_shape(pixels, (rows, *shape)), tf.ensure_shape(labels, (rows, *label_shape))

    numbers = tf.data.Dataset.range(len(batches))
    dataset = numbers.map(read_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_make_options())


def _make_options() -> tf.data.Options:
    """Without autotuning, whose thread holds an iterator that ends until it wakes: up to as long as it was used."""
    options = tf.data.Options()
    options.autotune.enabled = False  # AUTOTUNE then means as many threads as there are, 16 at most
    return options
