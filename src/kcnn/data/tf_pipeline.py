"""Batches as tf.data, augmented there. The only file of this room that needs TensorFlow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kcnn.data.buffer_pool import allocate


@dataclass(frozen=True)
class BatchTransform:
    """An augmentation, and the seed of each batch by its number."""

    augmentation: Any  # kcnn.augment.Augmentation
    size: Sequence[int]
    classes: int
    seed: Callable[[int], np.ndarray]


def make_dataset(
    batches: Any,
    shape: tuple[int, int, int],
    rows: int | None,
    label_shape: tuple[int, ...] = (),
    transform: BatchTransform | None = None,
) -> tf.data.Dataset:
    """Return batches as a tf.data.Dataset, in order, with float32 pixels.

    One stateless function reads all of them: with stateful ones TensorFlow's determinism would serialize the reads.

    Args:
        batches: Sequence of uint8 (images, rows, columns, channels) and int64 labels.
        shape: (rows, columns, channels).
        rows: Images of every batch if all have the same number.
        label_shape: Shape of the label of an image.
        transform: Augmentation of the batches.

    Returns:
        The dataset, with options for prefetching.
    """
    dtype = tf.float32 if transform is None else tf.uint8

    def read(number: np.int64) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = batches[int(number)]
        if dtype == tf.float32:  # here, where it costs a sixth of what tf.cast does
            converted = allocate(pixels.shape, "float32")
            converted[...] = pixels
            pixels = converted
        return pixels, labels

    def read_batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(read, [number], (dtype, tf.int64), stateful=False)
        return tf.ensure_shape(pixels, (rows, *shape)), tf.ensure_shape(labels, (rows, *label_shape))

    def augment_batch(number: tf.Tensor, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        from kcnn.augment import augment

        assert transform is not None
        seed = tf.numpy_function(lambda n: transform.seed(int(n)), [number], tf.int64, stateful=False)
        seed = tf.ensure_shape(seed, (2,))
        return augment(
            transform.augmentation, pixels, labels, size=transform.size, classes=transform.classes, seed=seed
        )

    numbers = tf.data.Dataset.range(len(batches))
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    if transform is None:
        dataset = numbers.map(read_batch, **parallel)
    else:
        dataset = numbers.map(lambda n: (n, *read_batch(n)), **parallel).map(augment_batch, **parallel)
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_make_options())


def _make_options() -> tf.data.Options:
    """Without autotuning, whose thread holds an iterator that ends until it wakes: up to as long as it was used."""
    options = tf.data.Options()
    options.autotune.enabled = False  # AUTOTUNE then means as many threads as there are, 16 at most
    return options
