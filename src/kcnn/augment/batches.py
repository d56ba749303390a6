"""What the functions of data augmentation take: checked before anything is allocated."""

from collections.abc import Sequence
from math import prod
from typing import Any

import psutil
import tensorflow as tf

from kcnn.graph.arguments import check_integer, wrong_kind, wrong_value


def to_tensors(images: Any, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a batch of images and a seed as tensors.

    Args:
        images: (n, rows, columns, 1 or 3).
        seed: int (2,).

    Raises:
        ValueError: They are something else; a TypeError too where they are no numbers.
    """
    tensors = []
    for name, value, expected, fits in (
        ("images", images, "a batch (n, rows, columns, 1 or 3) of numbers", _is_batch),
        ("seed", seed, "two integers", _is_seed),
    ):
        try:
            tensor = tf.convert_to_tensor(value)
        except (ValueError, TypeError):
            raise wrong_kind(name, expected, value) from None
        if not fits(tensor):
            raise wrong_value(name, expected, tensor.shape if tensor.shape.rank else value)
        tensors.append(tensor)
    return tensors[0], tensors[1]


def _is_batch(images: tf.Tensor) -> bool:
    is_number = images.dtype.is_integer or images.dtype.is_floating
    return is_number and images.shape.rank == 4 and images.shape[-1] in (1, 3)


def _is_seed(seed: tf.Tensor) -> bool:
    return seed.dtype.is_integer and seed.shape.is_compatible_with([2])


def check_size(size: Sequence[Any], images: tf.Tensor | None = None) -> tuple[int, int]:
    """Return (rows, columns) of the images to make of others.

    Args:
        size: The argument.
        images: (n, rows, columns, channels), for how many there are; None for one.

    Returns:
        The size.

    Raises:
        ValueError: It is something else, or such images do not fit in memory.
    """
    expected = "two positive integers, (rows, columns)"
    if len(size) != 2:
        raise wrong_value("size", expected, size)
    rows, columns = (check_integer("size", one, 1, expected) for one in size)
    count, channels = (1, 1) if images is None else (images.shape[0] or 1, images.shape[3])
    _check_memory("size", size, (count, rows, columns, channels))
    return rows, columns


def to_label_fractions(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Return labels as float32 (n, classes).

    Args:
        labels: Class numbers (n,), or (n, classes).
        classes: Number of classes.

    Raises:
        ValueError: The number of classes is not positive, or the labels do not fit in memory.
    """
    check_integer("classes", classes, 1, "a positive integer")
    labels = tf.convert_to_tensor(labels)
    if len(labels.shape) == 2:
        return tf.cast(labels, tf.float32)
    _check_memory("classes", classes, (labels.shape[0] or 1, classes))
    return tf.one_hot(labels, classes)


def _check_memory(name: str, value: Any, shape: Sequence[int]) -> None:
    """Refuse an argument by which a float32 tensor would be larger than the memory of this machine."""
    needed, memory = 4 * prod(shape), psutil.virtual_memory().total
    if needed > memory:
        raise wrong_value(name, f"small enough for {memory / 1e9:,.0f} GB of memory", value)
