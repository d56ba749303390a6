"""Augmentation of a batch, and each change of it as a function of its own."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kcnn.augment import color, geometry, mix
from kcnn.augment.augmentation import MAX_CROP, MAX_OPS, Augmentation
from kcnn.augment.batches import check_size, count_channels, to_images, to_images_of_any_size, to_labels, to_seed
from kcnn.augment.random_changes import draw_changes
from kcnn.augment.seeds import make_generator
from kcnn.buffer_pool import allocate
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_number
from kcnn.parallel import map_parallel
from kcnn.resampling import crop_box, resize_box

FLIP, CROP, AFFINE, JITTER, RANDOM, ERASE, MIX = range(7)  # numbers of draws

Seed = tuple[int, int]
Images = np.ndarray | list[np.ndarray]


@check_arguments
def augment(
    augmentation: Augmentation, images: Any, labels: Any, *, size: Sequence[int], classes: int, seed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a batch: geometry in one step, then color, erasing and mixing.

    Args:
        augmentation: What to change.
        images: (n, rows, columns, 1 or 3) of 0 to 255, or a list of images of different sizes. Without `resized_crop`
            the largest central box with the proportions of the result is taken of each.
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
    images, seed, labels = to_images_of_any_size(images), to_seed(seed), to_labels(labels)
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
        images: (n, rows, columns, 1 or 3) of 0 to 255, or a list of images of different sizes.
        seed: Two integers.
        area: Smallest and largest fraction of the area.
        size: (rows, columns) of the result.

    Returns:
        float32 (n, *size, channels).
    """
    images = to_images_of_any_size(images)
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


def _change(a: Augmentation, images: Images, size: tuple[int, int], seed: Seed) -> np.ndarray:
    """All but mixing, of each image by itself: uint8 (n, *size, channels)."""
    a.check_size(size)
    n, channels = len(images), count_channels(images)
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
    """The geometry of each image: a box, resized, padded and cropped, then mirrored or, for more than that, warped.

    Args:
        a: What to change.
        images: n of uint8 (rows, columns, channels).
        size: (rows, columns) of the result.
        seed: Draws the changes.
        last: Matrices (n, 3, 3) of RandAugment, which come last; None without.
    """

    def __init__(self, a: Augmentation, images: Images, size: tuple[int, int], seed: Seed, last: np.ndarray | None):
        n, sources = len(images), np.array([image.shape[:2] for image in images], "int64").reshape(-1, 2)
        flips, crops = make_generator(seed, FLIP), make_generator(seed, CROP)
        self.images, self.size, self.margin = images, size, a.crop
        self.x, self.y = geometry.draw_mask(flips, n, a.flip), geometry.draw_mask(flips, n, a.flip_vertical)
        affine = geometry.draw_affine(seed, AFFINE, n, size, a.shift, a.rotate, a.zoom)
        self.is_affine = bool(affine)
        if a.resized_crop:
            self.boxes = geometry.draw_boxes(crops, sources, a.resized_crop)
        else:  # as in evaluation
            edges = [crop_box(rows, columns, *size) for rows, columns in sources.tolist()]
            corners = np.array(edges, "int64").reshape(-1, 4)
            self.boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        self.corners = crops.integers(0, 2 * a.crop + 1, (n, 2))
        self.matrices = geometry.compose([geometry.flip_matrix(self.x, self.y, size), *affine])
        self.all_matrices = self.matrices if last is None else self.matrices @ last

    def apply(self, i: int, *, moves: bool) -> np.ndarray:
        """Return an image uint8 (*size, channels), by the last matrix too if it moves."""
        (top, left, rows, columns), image = self.boxes[i], self.images[i]
        shape = (*self.size, image.shape[2])
        image = resize_box(image[top : top + rows, left : left + columns], shape)
        if self.margin:
            padded = cv2.copyMakeBorder(image, *(4 * (self.margin,)), cv2.BORDER_CONSTANT)
            top, left = self.corners[i]
            image = padded[top : top + shape[0], left : left + shape[1]].reshape(shape)
        if moves or self.is_affine:
            return geometry.warp(image, self.all_matrices[i] if moves else self.matrices[i], self.size)
        if not (self.x[i] or self.y[i]):
            return image
        around = -1 if self.x[i] and self.y[i] else int(self.x[i])  # both axes, the vertical one or the horizontal one
        return cv2.flip(image, around).reshape(shape)  # NumPy copies mirrored pixels slowly
