"""Batches as tf.data, augmented there. TensorFlow's alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kcnn.data.image_cache import bytes_per_image


@dataclass(frozen=True)
class BatchTransform:
    """An augmentation, and the seed by which a batch of this number is changed."""

    augmentation: Any  # kcnn.augment.Augmentation
    size: Sequence[int]
    classes: int
    chance: Callable[[int], np.ndarray]


def make_dataset(
    batches: Any,
    shape: tuple[int, int, int],
    rows: int | None,
    label: tuple[int, ...] = (),
    change: BatchTransform | None = None,
) -> tf.data.Dataset:
    """Numbered batches of uint8 pixels of this shape and int64 labels of that, in order, as float32 and labels.

    All are read by one function without state, or TensorFlow's determinism would have one wait for
    the other. `rows` is the size of every batch where all are alike.
    """

    dtype = tf.float32 if change is None else tf.uint8

    def read(number: np.int64) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = batches[int(number)]
        if dtype == tf.float32:  # here, where it costs a sixth of what tf.cast does
            found = bytes_per_image(pixels.shape, "float32")
            found[...] = pixels
            pixels = found
        return pixels, labels

    def picked(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(read, [number], (dtype, tf.int64), stateful=False)
        return tf.ensure_shape(pixels, (rows, *shape)), tf.ensure_shape(labels, (rows, *label))

    def changed(number: tf.Tensor, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        from kcnn.augment import augment

        assert change is not None
        seed = tf.numpy_function(lambda n: change.chance(int(n)), [number], tf.int64, stateful=False)
        seed = tf.ensure_shape(seed, (2,))
        return augment(change.augmentation, pixels, labels, size=change.size, classes=change.classes, seed=seed)

    numbers = tf.data.Dataset.range(len(batches))
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    if change is None:
        found = numbers.map(picked, **parallel)
    else:
        found = numbers.map(lambda n: (n, *picked(n)), **parallel).map(changed, **parallel)
    return found.prefetch(tf.data.AUTOTUNE).with_options(_options())


def _options() -> tf.data.Options:
    """Without autotuning, whose thread holds an iterator that ends until it wakes: up to as long as it was used."""
    found = tf.data.Options()
    found.autotune.enabled = False  # AUTOTUNE then means as many threads as there are, 16 at most
    return found
