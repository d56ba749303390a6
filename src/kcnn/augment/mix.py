"""Random erasing, MixUp and CutMix."""

import math
from typing import Any

import cv2
import numpy as np

from kcnn.augment.augmentation import MAX_ALPHA
from kcnn.augment.batches import to_images, to_label_fractions, to_labels, to_seed
from kcnn.augment.seeds import make_generator
from kcnn.buffer_pool import allocate
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_number, wrong_value
from kcnn.parallel import map_parallel

AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)  # of an erased rectangle: arXiv:1708.04896, section 5.1


@check_arguments
def erase(images: Any, seed: Any, *, probability: float) -> np.ndarray:
    """Replace a rectangle of some images by noise (arXiv:1708.04896).

    The noise is drawn once per batch: rectangles that overlap share it.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        probability: Of an image to get a rectangle.

    Returns:
        float32 of the same shape.
    """
    images, random = to_images(images), make_generator(to_seed(seed), 0)
    check_number("probability", probability, 0, 1)
    images = images.copy()
    erase_in_place(images, random, probability)
    return to_floats(images)


def erase_in_place(images: np.ndarray, random: np.random.Generator, probability: float) -> None:
    """Replace a rectangle of some images by noise.

    Args:
        images: uint8 (n, rows, columns, channels); they are changed.
        random: Source of random numbers.
        probability: Of an image to get a rectangle.
    """
    n, rows, columns, channels = images.shape
    area = random.uniform(*AREA, n) * rows * columns
    ratio = np.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1]), n))
    lengths = np.array([[rows], [columns]])
    sides = np.minimum(np.rint(np.sqrt(area * np.stack([ratio, 1 / ratio]))), lengths)
    corners = random.uniform(0, 1, (2, n)) * (lengths - sides + 1)
    chosen = np.flatnonzero(random.uniform(0, 1, n) < probability)
    noise = random.integers(0, 256, (rows, columns, channels), "uint8") if len(chosen) else images[:0]
    for i in chosen:
        (top, left), (high, wide) = corners[:, i].astype("int64"), sides[:, i].astype("int64")
        images[i, top : top + high, left : left + wide] = noise[top : top + high, left : left + wide]


@check_arguments
def mixup(images: Any, labels: Any, seed: Any, *, alpha: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Blend each image and its label with the previous one (MixUp, arXiv:1710.09412).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: Class numbers (n,), or 0 and 1 (n, classes).
        seed: Two integers.
        alpha: The weight is drawn from Beta(alpha, alpha).
        classes: Number of classes.

    Returns:
        Images float32 and labels float32 (n, classes).
    """
    images, random = to_images(images), make_generator(to_seed(seed), 0)
    targets = to_label_fractions(to_labels(labels), classes)
    weights = _draw_beta(random, len(images), alpha)
    mixed = allocate(images.shape, "float32")

    def blend(i: int) -> None:
        cv2.addWeighted(images[i], 1 - weights[i], images[i - 1], weights[i], 0, mixed[i], cv2.CV_32F)

    map_parallel(blend, range(len(images)))
    return mixed, _mix_labels(targets, weights)


@check_arguments
def cutmix(images: Any, labels: Any, seed: Any, *, alpha: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Paste a rectangle of the previous image into each image (CutMix, arXiv:1905.04899).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: Class numbers (n,), or 0 and 1 (n, classes).
        seed: Two integers.
        alpha: The area is drawn from Beta(alpha, alpha).
        classes: Number of classes.

    Returns:
        Images float32, and labels float32 (n, classes), weighted by the pixels that were pasted.
    """
    images, random = to_images(images), make_generator(to_seed(seed), 0)
    targets = to_label_fractions(to_labels(labels), classes)
    n, *size = images.shape[:3]
    halves, lengths = np.sqrt(_draw_beta(random, n, alpha)) / 2, np.array(size)[:, None]
    centers = random.uniform(0, 1, (2, n)) * lengths
    first, last = (np.clip(np.rint(centers + sign * halves * lengths), 0, lengths).astype("int64") for sign in (-1, 1))
    mixed = to_floats(images)
    for i in range(n):
        (top, left), (bottom, right) = first[:, i], last[:, i]
        mixed[i, top:bottom, left:right] = images[i - 1, top:bottom, left:right]
    return mixed, _mix_labels(targets, (last - first).prod(axis=0) / math.prod(size))


def to_floats(images: np.ndarray) -> np.ndarray:
    """Return images as float32.

    Args:
        images: uint8 (n, rows, columns, channels).
    """
    floats = allocate(images.shape, "float32")
    floats[...] = images
    return floats


def _mix_labels(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Labels (n, classes) with those of the previous image, of weights (n,)."""
    return targets + weights.astype("float32")[:, None] * (np.roll(targets, 1, 0) - targets)


def _draw_beta(random: np.random.Generator, n: int, alpha: float) -> np.ndarray:
    if not 0 < alpha <= MAX_ALPHA:
        raise wrong_value("alpha", f"above 0, and {MAX_ALPHA} at most", alpha)
    return random.beta(alpha, alpha, n)
