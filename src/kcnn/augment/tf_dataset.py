"""Augmentation of every batch of a tf.data.Dataset. The only file of this room that needs TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kcnn.augment.augmentation import Augmentation
from kcnn.augment.batches import check_size
from kcnn.augment.transforms import augment
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_seed


@check_arguments
def augment_dataset(
    augmentation: Augmentation, *, classes: int, seed: int, size: Sequence[int] | None = None
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Return a function for `Dataset.apply` that augments batches of (images, labels).

    Each pass over the data gets other changes; two runs get the same. The seed of tf.random.set_seed counts too.

    Args:
        augmentation: What to change.
        classes: Number of classes.
        seed: Draws the changes.
        size: (rows, columns) of the result; by default those of the images.

    Returns:
        A function from dataset to dataset.

    Raises:
        ValueError: No size is given, and the dataset has none.
    """
    check_integer("classes", classes, 1, "a positive integer")
    check_seed(seed)
    if size is not None:
        check_size(size)

    def augment_batches(batches: tf.data.Dataset) -> tf.data.Dataset:
        of_images, of_labels = batches.element_spec
        target = tuple(size if size is not None else of_images.shape[1:3])
        if None in target:
            raise ValueError(f"the images of the dataset have no fixed size, got {target}; pass size=(rows, columns)")
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
        mixes = augmentation.mixup or augmentation.cutmix
        dtype, rows = (tf.float32 if mixes else of_labels.dtype), of_images.shape[0]
        shape = (rows, classes) if mixes else of_labels.shape

        def change(images: np.ndarray, labels: np.ndarray, batch_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return augment(augmentation, images, labels, size=target, classes=classes, seed=batch_seed)

        def change_batch(batch: tuple[Any, Any], batch_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = tf.numpy_function(change, [*batch, batch_seed], (tf.float32, dtype), stateful=False)
            return tf.ensure_shape(images, (rows, *target, of_images.shape[3])), tf.ensure_shape(labels, shape)

        pairs = tf.data.Dataset.zip(batches, seeds)
        return pairs.map(change_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return augment_batches
