"""What the functions of data augmentation take: checked before anything is allocated."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import psutil

from kcnn.graph.arguments import check_integer, wrong_kind, wrong_value
from kcnn.graph.formatting import join_names


def to_images(images: Any) -> np.ndarray:
    """Return a batch of images with their values rounded to 256 levels.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255, an array or what converts to one.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: They have another shape or other values; a TypeError too where they are no numbers.
    """
    expected = "a batch (n, rows, columns, 1 or 3) of numbers"
    array = _to_array("images", images, expected, ": in a pipeline of tf.data, use kcnn.augment.augment_dataset")
    if array.dtype.kind not in "iuf" or array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise wrong_value("images", expected, array.shape if array.ndim else images)
    if array.dtype == np.uint8:
        return array
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise wrong_value("images", "values of 0 to 255", f"{low:g} to {high:g}")
    levels = np.rint(array)
    if 0 < high <= 1 and (levels != array).any():
        raise wrong_value("images", "values of 0 to 255 (multiply by 255)", f"{low:g} to {high:g}")
    return levels.astype("uint8")


def to_images_of_any_size(images: Any) -> np.ndarray | list[np.ndarray]:
    """Return images with their values rounded to 256 levels.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255, or a list of images (rows, columns, channels), with as many
            channels each.

    Returns:
        uint8 of the same shape, or such a list.

    Raises:
        ValueError: They have another shape or other values; a TypeError too where they are no numbers.
    """
    if not (isinstance(images, list) and images and all(isinstance(image, np.ndarray) for image in images)):
        return to_images(images)
    if any(image.ndim != 3 or image.shape[2] != images[0].shape[2] or not image.size for image in images):
        shapes = join_names({str(image.shape) for image in images})
        raise wrong_value("images", "images (rows, columns, 1 or 3), with as many channels each", shapes)
    return [to_images(image[None])[0] for image in images]


def count_channels(images: np.ndarray | list[np.ndarray]) -> int:
    """Return the number of channels of images (n, rows, columns, channels), or of a list of them."""
    return images.shape[3] if isinstance(images, np.ndarray) else images[0].shape[2]


def to_labels(labels: Any) -> np.ndarray:
    """Return the labels of a batch.

    Args:
        labels: Class numbers (n,), or numbers (n, classes).

    Returns:
        An array of the same shape.

    Raises:
        ValueError: They have another shape; a TypeError too where they are no numbers.
    """
    expected = "class numbers (n,), or numbers (n, classes)"
    array = _to_array("labels", labels, expected)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or (array.ndim == 1 and array.dtype.kind not in "iu"):
        raise wrong_value("labels", expected, array.shape if array.ndim else labels)
    return array


def to_seed(seed: Any) -> tuple[int, int]:
    """Return a seed.

    Args:
        seed: Two integers, or an array of them.

    Raises:
        ValueError: They are something else; a TypeError too where they are no integers.
    """
    expected = "two integers"
    array = _to_array("seed", seed, expected)
    if array.dtype.kind not in "iu" or array.shape != (2,):
        raise wrong_value("seed", expected, seed)
    return int(array[0]), int(array[1])


def check_size(size: Sequence[Any], images: np.ndarray | list[np.ndarray] | None = None) -> tuple[int, int]:
    """Return (rows, columns) of the images to make of others.

    Args:
        size: The argument.
        images: (n, rows, columns, channels), or a list of images, for how many there are; None for one.

    Returns:
        The size.

    Raises:
        ValueError: It is something else, or such images do not fit in memory.
    """
    expected = "two positive integers, (rows, columns)"
    if len(size) != 2:
        raise wrong_value("size", expected, size)
    rows, columns = (check_integer("size", one, 1, expected) for one in size)
    count, channels = (1, 1) if images is None else (len(images) or 1, count_channels(images))
    _check_memory("size", size, (count, rows, columns, channels))
    return rows, columns


def to_label_fractions(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return labels as float32 (n, classes).

    Args:
        labels: Class numbers (n,), or (n, classes).
        classes: Number of classes.

    Raises:
        ValueError: The number of classes is not positive, the labels do not fit in memory, or one is no class.
    """
    check_integer("classes", classes, 1, "a positive integer")
    if labels.ndim == 2:
        return labels.astype("float32")
    _check_memory("classes", classes, (len(labels) or 1, classes))
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise wrong_value("labels", f"class numbers of 0 to {classes - 1}", f"{labels.min()} to {labels.max()}")
    fractions = np.zeros((len(labels), classes), "float32")
    fractions[np.arange(len(labels)), labels] = 1
    return fractions


def _to_array(name: str, value: Any, expected: str, advice: str = "") -> np.ndarray:
    """An argument as an array; `advice` is for a tensor of TensorFlow inside a graph, which has no values yet."""
    try:
        return np.asarray(value)
    except NotImplementedError:
        raise wrong_kind(name, expected + advice, value) from None
    except (ValueError, TypeError):
        raise wrong_kind(name, expected, value) from None


def _check_memory(name: str, value: Any, shape: Sequence[int]) -> None:
    """Refuse an argument by which a float32 array would be larger than the memory of this machine."""
    needed, memory = 4 * prod(shape), psutil.virtual_memory().total
    if needed > memory:
        raise wrong_value(name, f"small enough for {memory / 1e9:,.0f} GB of memory", value)
