"""Random erasing, MixUp and CutMix."""

import math
from typing import Any

import tensorflow as tf

from kcnn.augment.batches import to_label_fractions, to_tensors
from kcnn.augment.masking import apply_where
from kcnn.augment.seeds import beta, fold_in, random_integers, uniform
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_number

AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)  # of an erased rectangle: arXiv:1708.04896, section 5.1


@check_arguments
def erase(images: tf.Tensor, seed: tf.Tensor, *, probability: float) -> tf.Tensor:
    """Replace a rectangle of some images by noise (arXiv:1708.04896).

    The noise is drawn once per batch: rectangles that overlap share it.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        probability: Of an image to get a rectangle.

    Returns:
        float32 of the same shape.
    """
    images, seed = to_tensors(images, seed)
    check_number("probability", probability, 0, 1)
    images = tf.cast(images, tf.float32)
    n, rows, columns = tf.unstack(tf.shape(images)[:3])
    high, wide = tf.cast(rows, tf.float32), tf.cast(columns, tf.float32)
    area = uniform(seed, 0, [n], *AREA) * high * wide
    ratio = tf.exp(uniform(seed, 1, [n], *map(math.log, RATIO)))
    sides = tf.minimum(tf.round(tf.sqrt(area * ratio)), high), tf.minimum(tf.round(tf.sqrt(area / ratio)), wide)
    corner = uniform(seed, 2, [n], 0, 1) * (high - sides[0] + 1), uniform(seed, 3, [n], 0, 1) * (wide - sides[1] + 1)
    noise = tf.cast(random_integers(seed, 5, tf.shape(images)[1:], 0, 256), tf.float32)
    box = tf.stack([tf.cast(v, tf.int32) for v in (*corner, *sides)], axis=1)

    def paint(images: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        return tf.where(box_mask(box, rows, columns), noise, images)

    return apply_where(uniform(seed, 4, [n], 0, 1) < probability, paint, images, box)


@check_arguments
def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, alpha: float, classes: int) -> tuple[Any, Any]:
    """Blend each image and its label with the previous one (MixUp, arXiv:1710.09412).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: Class numbers (n,), or 0 and 1 (n, classes).
        seed: int (2,).
        alpha: The weight is drawn from Beta(alpha, alpha).
        classes: Number of classes.

    Returns:
        Images float32 and labels float32 (n, classes).
    """
    images, seed = to_tensors(images, seed)
    images, targets = tf.cast(images, tf.float32), to_label_fractions(labels, classes)
    weight = beta(fold_in(seed, 0), tf.shape(images)[:1], alpha)
    mixed = images + weight[:, None, None, None] * (tf.roll(images, 1, 0) - images)
    return mixed, targets + weight[:, None] * (tf.roll(targets, 1, 0) - targets)


@check_arguments
def cutmix(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, alpha: float, classes: int) -> tuple[Any, Any]:
    """Paste a rectangle of the previous image into each image (CutMix, arXiv:1905.04899).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: Class numbers (n,), or 0 and 1 (n, classes).
        seed: int (2,).
        alpha: The area is drawn from Beta(alpha, alpha).
        classes: Number of classes.

    Returns:
        Images float32, and labels float32 (n, classes), weighted by the pixels that were pasted.
    """
    images, seed = to_tensors(images, seed)
    images, targets = tf.cast(images, tf.float32), to_label_fractions(labels, classes)
    n, rows, columns = tf.unstack(tf.shape(images)[:3])
    high, wide = tf.cast(rows, tf.float32), tf.cast(columns, tf.float32)
    side = tf.sqrt(beta(fold_in(seed, 0), [n], alpha))
    starts, lengths = [], []
    for number, length in ((1, high), (2, wide)):
        half, center = side * length / 2, uniform(seed, number, [n], 0, 1) * length
        first, last = (tf.clip_by_value(tf.round(v), 0, length) for v in (center - half, center + half))
        starts.append(first)
        lengths.append(last - first)
    box = tf.cast(tf.stack([*starts, *lengths], axis=1), tf.int32)
    fraction = (lengths[0] * lengths[1] / (high * wide))[:, None]
    pasted = tf.where(box_mask(box, rows, columns), tf.roll(images, 1, 0), images)
    return pasted, targets + fraction * (tf.roll(targets, 1, 0) - targets)


def box_mask(box: tf.Tensor, rows: Any, columns: Any) -> tf.Tensor:
    """Return masks of boxes.

    Args:
        box: Top, left, rows and columns, int32 (n, 4).
        rows: Of the images.
        columns: Of the images.

    Returns:
        bool (n, rows, columns, 1), True inside.
    """
    top, left, high, wide = tf.unstack(box[:, :, None], axis=1)
    row, column = tf.range(rows), tf.range(columns)
    vertical, horizontal = (row >= top) & (row < top + high), (column >= left) & (column < left + wide)
    return (vertical[:, :, None] & horizontal[:, None, :])[..., None]
