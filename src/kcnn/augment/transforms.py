"""Augmentation of a batch, and each change of it as a function of its own."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kcnn.augment import color, geometry, mix
from kcnn.augment.augmentation import MAX_CROP, MAX_OPS, Augmentation
from kcnn.augment.batches import check_size, to_images, to_labels, to_seed
from kcnn.augment.random_changes import draw_changes
from kcnn.augment.seeds import make_generator
from kcnn.buffer_pool import allocate
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_number
from kcnn.parallel import map_parallel
from kcnn.resampling import resize_box

FLIP, CROP, AFFINE, JITTER, RANDOM, ERASE, MIX = range(7)  # numbers of draws

Seed = tuple[int, int]


@check_arguments
def augment(
    augmentation: Augmentation, images: Any, labels: Any, *, size: Sequence[int], classes: int, seed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a batch: geometry in one step, then color, erasing and mixing.

    Args:
        augmentation: What to change.
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: int64 (n,), or 0 and 1 (n, classes).
        size: (rows, columns) of the result.
        classes: Number of classes.
        seed: Two integers; the changes depend on them alone.

    Returns:
        Images float32 (n, *size, channels), and the labels, with MixUp or CutMix as float32 (n, classes).

    Raises:
        ValueError: The images have another shape or other values, or are no larger than the padding of a crop.
    """
    check_integer("classes", classes, 1, "a positive integer")
    images, seed, labels = to_images(images), to_seed(seed), to_labels(labels)
    a, changed = augmentation, _change(augmentation, images, check_size(size, images), seed)
    if not (a.mixup or a.cutmix):
        return mix.to_floats(changed), labels
    random = make_generator(seed, MIX)
    is_mixup = random.uniform() < 0.5 if a.mixup and a.cutmix else bool(a.mixup)
    mixing, alpha = (mix.mixup, a.mixup) if is_mixup else (mix.cutmix, a.cutmix)
    return mixing(changed, labels, random.integers(0, 1 << 63, 2), alpha=alpha, classes=classes)


@check_arguments
def flip(images: Any, seed: Any, *, vertical: bool = False) -> np.ndarray:
    """Mirror half of the images.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        vertical: Mirror top to bottom instead of left to right.

    Returns:
        float32 of the same shape.
    """
    return _same_size(Augmentation(flip=not vertical, flip_vertical=vertical), images, seed)


@check_arguments
def padded_crop(images: Any, seed: Any, *, margin: int) -> np.ndarray:
    """Pad images with black and crop windows of their original size (arXiv:1512.03385, section 4.2).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        margin: Pixels of padding on each side.

    Returns:
        float32 of the same shape.
    """
    check_integer("margin", margin, 0, f"an integer from 0 to {MAX_CROP:,}", maximum=MAX_CROP)
    return _same_size(Augmentation(crop=margin), images, seed)


@check_arguments
def resized_crop(images: Any, seed: Any, *, area: tuple[float, float], size: Sequence[int]) -> np.ndarray:
    """Crop boxes with an aspect ratio of 3/4 to 4/3 and resize them (arXiv:1409.4842, section 6).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        area: Smallest and largest fraction of the area.
        size: (rows, columns) of the result.

    Returns:
        float32 (n, *size, channels).
    """
    images = to_images(images)
    return mix.to_floats(_change(Augmentation(resized_crop=area), images, check_size(size, images), to_seed(seed)))


@check_arguments
def rotate(images: Any, seed: Any, *, shift: float = 0, rotate: float = 0, zoom: float = 0) -> np.ndarray:
    """Shift, rotate and zoom images in one step.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        shift: Largest shift, as a fraction of the side.
        rotate: Largest rotation in degrees.
        zoom: Largest change of scale, as a fraction.

    Returns:
        float32 of the same shape.
    """
    return _same_size(Augmentation(shift=shift, rotate=rotate, zoom=zoom), images, seed)


@check_arguments
def color_jitter(
    images: Any, seed: Any, *, brightness: float = 0, contrast: float = 0, saturation: float = 0
) -> np.ndarray:
    """Change saturation, brightness and contrast, in this order.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        brightness: Largest change, as a fraction of white.
        contrast: Largest change of the distance to the mean, as a fraction.
        saturation: Largest change of the distance to gray, as a fraction.

    Returns:
        float32 of the same shape.
    """
    return _same_size(Augmentation(brightness=brightness, contrast=contrast, saturation=saturation), images, seed)


@check_arguments
def rand_augment(images: Any, seed: Any, *, num_ops: int = 2, strength: float = 0.5) -> np.ndarray:
    """Apply random changes to each image, drawn from eleven kinds (RandAugment, arXiv:1909.13719).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: Two integers.
        num_ops: Number of changes per image.
        strength: 0 to 1.

    Returns:
        float32 of the same shape.
    """
    check_integer("num_ops", num_ops, 1, f"an integer from 1 to {MAX_OPS}", maximum=MAX_OPS)
    check_number("strength", strength, 0, 1)
    return _same_size(Augmentation(rand_augment=(num_ops, strength)), images, seed)


def _same_size(augmentation: Augmentation, images: Any, seed: Any) -> np.ndarray:
    images = to_images(images)
    return mix.to_floats(_change(augmentation, images, images.shape[1:3], to_seed(seed)))


def _change(a: Augmentation, images: np.ndarray, size: tuple[int, int], seed: Seed) -> np.ndarray:
    """All but mixing, of each image by itself: uint8 (n, *size, channels)."""
    a.check_size(size)
    n, channels = len(images), images.shape[3]
    drawn = draw_changes(make_generator(seed, RANDOM), n, size, *a.rand_augment) if a.rand_augment else None
    if a.rand_augment and not a.rand_augment[1]:
        drawn = None  # of no strength
    transform = _Geometry(a, images, size, seed, None if drawn is None else drawn.matrix)
    jitter = make_generator(seed, JITTER).uniform(-1, 1, (3, n))
    changed = allocate((n, *size, channels), "uint8")

    def change_one(i: int) -> None:
        image = transform.apply(i, moves=drawn is not None and bool(drawn.moves[i]))
        if a.saturation:
            image = color.saturation(image, a.saturation * jitter[0, i])
        tables = [("brightness", a.brightness * jitter[1, i])] if a.brightness else []
        tables += [("contrast", a.contrast * jitter[2, i])] if a.contrast else []
        if drawn is not None:
            if drawn.saturation[i]:
                image = color.saturation(image, drawn.saturation[i])
            if drawn.sharpness[i]:
                image = color.sharpness(image, drawn.sharpness[i])
            tables += drawn.tables[i]
        changed[i] = color.adjust_colors(image, tables) if tables else image

    map_parallel(change_one, range(n))
    if a.erase:
        mix.erase_in_place(changed, make_generator(seed, ERASE), a.erase)
    return changed


class _Geometry:
    """The geometry of each image: a box, mirrored and resized, or where that is not enough one warp.

    Args:
        a: What to change.
        images: uint8 (n, rows, columns, channels).
        size: (rows, columns) of the result.
        seed: Draws the changes.
        last: Matrices (n, 3, 3) of RandAugment, which come last; None without.
    """

    def __init__(self, a: Augmentation, images: np.ndarray, size: tuple[int, int], seed: Seed, last: np.ndarray | None):
        n, source = len(images), images.shape[1:3]
        flips, crops = make_generator(seed, FLIP), make_generator(seed, CROP)
        self.images, self.size = images, size
        self.x, self.y = geometry.draw_mask(flips, n, a.flip), geometry.draw_mask(flips, n, a.flip_vertical)
        affine = geometry.draw_affine(seed, AFFINE, n, size, a.shift, a.rotate, a.zoom)
        self.is_affine, self.margins = bool(affine), [0, 0]
        if a.resized_crop:
            self.boxes = geometry.draw_boxes(crops, n, source, a.resized_crop)
        else:
            self.boxes = np.tile([0, 0, *source], (n, 1))
        offsets = crops.integers(-a.crop, a.crop + 1, (n, 2)) if a.crop else np.zeros((n, 2), "int64")
        if a.crop:  # a window of the original size, in pixels of the source
            self.margins = [-(-a.crop * old // new) for old, new in zip(source, size, strict=True)]
            self.boxes[:, :2] += self.margins
            if source == size:
                self.boxes[:, :2] += offsets
        self.is_shifted = bool(a.crop) and source != size
        matrices = [geometry.crop_matrix(self.boxes, size)]
        if self.is_shifted:
            matrices.append(geometry.translation_matrix(-offsets[:, 1], -offsets[:, 0]))
        matrices.append(geometry.flip_matrix(self.x, self.y, size))
        self.matrices = geometry.compose([*matrices, *affine])
        self.all_matrices = self.matrices if last is None else self.matrices @ last

    def apply(self, i: int, *, moves: bool) -> np.ndarray:
        """Return an image uint8 (*size, channels), by the last matrix too if it moves."""
        image, (high, wide) = self.images[i], self.margins
        if high or wide:
            padded = cv2.copyMakeBorder(image, high, high, wide, wide, cv2.BORDER_CONSTANT)
            image = padded.reshape(*padded.shape[:2], image.shape[2])
        if moves or self.is_affine or self.is_shifted:
            return geometry.warp(image, self.all_matrices[i] if moves else self.matrices[i], self.size)
        top, left, rows, columns = self.boxes[i]
        box = resize_box(image[top : top + rows, left : left + columns], (*self.size, image.shape[2]))
        return box[:: -1 if self.y[i] else 1, :: -1 if self.x[i] else 1]
