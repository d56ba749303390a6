"""Augmentation of a batch, or of every batch of a tf.data.Dataset."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kcnn.augment import color, geometry, mix
from kcnn.augment.augmentation import MAX_CROP, MAX_OPS, Augmentation
from kcnn.augment.batches import check_size, to_tensors
from kcnn.augment.masking import apply_where
from kcnn.augment.random_changes import RandomChanges, draw_changes
from kcnn.augment.seeds import fold_in, uniform
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_number, check_seed

FLIP, CROP, AFFINE, JITTER, RANDOM, ERASE, MIX, EITHER = range(8)  # numbers of seeds


@check_arguments
@tf.autograph.experimental.do_not_convert  # no Python branch depends on a tensor, and tracing is faster
def augment(
    augmentation: Augmentation, images: Any, labels: tf.Tensor, *, size: Sequence[int], classes: int, seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augment a batch: geometry in one warp, then color, erasing and mixing.

    Args:
        augmentation: What to change.
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        labels: int64 (n,), or 0 and 1 (n, classes).
        size: (rows, columns) of the result.
        classes: Number of classes.
        seed: int (2,); the changes depend on it alone.

    Returns:
        Images float32 (n, *size, channels), and the labels, with MixUp or CutMix as float32 (n, classes).

    Raises:
        ValueError: The images have another shape, or are no larger than the padding of a crop.
    """
    check_integer("classes", classes, 1, "a positive integer")
    images, seed = to_tensors(images, seed)
    images = _change(augmentation, images, check_size(size, images), seed)
    labels = tf.convert_to_tensor(labels)
    a, mixing = augmentation, fold_in(seed, MIX)
    if a.mixup and a.cutmix:
        return tf.cond(
            uniform(seed, EITHER, [], 0, 1) < 0.5,
            lambda: mix.mixup(images, labels, mixing, alpha=a.mixup, classes=classes),
            lambda: mix.cutmix(images, labels, mixing, alpha=a.cutmix, classes=classes),
        )
    if a.mixup:
        return mix.mixup(images, labels, mixing, alpha=a.mixup, classes=classes)
    if a.cutmix:
        return mix.cutmix(images, labels, mixing, alpha=a.cutmix, classes=classes)
    return images, labels


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
        target = tuple(size if size is not None else batches.element_spec[0].shape[1:3])
        if None in target:
            raise ValueError(f"the images of the dataset have no fixed size, got {target}; pass size=(rows, columns)")
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

        def change(batch: tuple[Any, Any], batch_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return augment(augmentation, *batch, size=target, classes=classes, seed=batch_seed)

        return tf.data.Dataset.zip(batches, seeds).map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return augment_batches


@check_arguments
def flip(images: Any, seed: Any, *, vertical: bool = False) -> tf.Tensor:
    """Mirror half of the images.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        vertical: Mirror top to bottom instead of left to right.

    Returns:
        float32 of the same shape.
    """
    return _same_size(Augmentation(flip=not vertical, flip_vertical=vertical), images, seed)


@check_arguments
def padded_crop(images: Any, seed: Any, *, margin: int) -> tf.Tensor:
    """Pad images with black and crop windows of their original size (arXiv:1512.03385, section 4.2).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        margin: Pixels of padding on each side.

    Returns:
        float32 of the same shape.
    """
    check_integer("margin", margin, 0, f"an integer from 0 to {MAX_CROP:,}", maximum=MAX_CROP)
    return _same_size(Augmentation(crop=margin), images, seed)


@check_arguments
def resized_crop(images: Any, seed: Any, *, area: tuple[float, float], size: Sequence[int]) -> tf.Tensor:
    """Crop boxes with an aspect ratio of 3/4 to 4/3 and resize them (arXiv:1409.4842, section 6).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        area: Smallest and largest fraction of the area.
        size: (rows, columns) of the result.

    Returns:
        float32 (n, *size, channels).
    """
    images, seed = to_tensors(images, seed)
    return _change(Augmentation(resized_crop=area), images, check_size(size, images), seed)


@check_arguments
def rotate(images: Any, seed: Any, *, shift: float = 0, rotate: float = 0, zoom: float = 0) -> tf.Tensor:
    """Shift, rotate and zoom images in one warp.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
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
) -> tf.Tensor:
    """Change saturation, brightness and contrast, in this order.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        brightness: Largest change, as a fraction of white.
        contrast: Largest change of the distance to the mean, as a fraction.
        saturation: Largest change of the distance to gray, as a fraction.

    Returns:
        float32 of the same shape.
    """
    return _same_size(Augmentation(brightness=brightness, contrast=contrast, saturation=saturation), images, seed)


@check_arguments
def rand_augment(images: Any, seed: Any, *, num_ops: int = 2, strength: float = 0.5) -> tf.Tensor:
    """Apply random changes to each image, drawn from eleven kinds (RandAugment, arXiv:1909.13719).

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        seed: int (2,).
        num_ops: Number of changes per image.
        strength: 0 to 1.

    Returns:
        float32 of the same shape.
    """
    check_integer("num_ops", num_ops, 1, f"an integer from 1 to {MAX_OPS}", maximum=MAX_OPS)
    check_number("strength", strength, 0, 1)
    return _same_size(Augmentation(rand_augment=(num_ops, strength)), images, seed)


def _same_size(augmentation: Augmentation, images: Any, seed: Any) -> tf.Tensor:
    images, seed = to_tensors(images, seed)
    return _change(augmentation, images, tuple(images.shape[1:3]), seed)


@tf.autograph.experimental.do_not_convert
def _change(a: Augmentation, images: tf.Tensor, size: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """All but mixing: each image by itself."""
    a.check_size(size)
    n, *sides = tf.unstack(tf.shape(images)[:3])
    source = tuple(now if (known := images.shape[i]) is None else known for i, now in enumerate(sides, 1))
    drawn = (
        draw_changes(fold_in(seed, RANDOM), n, size, *a.rand_augment) if a.rand_augment and a.rand_augment[1] else None
    )
    images = _change_geometry(a, images, n, source, size, seed, drawn)
    images = _change_color(a, images, n, seed, drawn)
    return mix.erase(images, fold_in(seed, ERASE), probability=a.erase) if a.erase else images


def _change_geometry(
    a: Augmentation, images: Any, n: Any, source: Any, size: Any, seed: Any, drawn: RandomChanges | None
) -> tf.Tensor:
    """Geometry: windows without blending if these are enough, else one warp."""
    x, y = (
        geometry.random_mask(fold_in(seed, FLIP), number, n, on) for number, on in ((0, a.flip), (1, a.flip_vertical))
    )
    affine = geometry.random_affine(fold_in(seed, AFFINE), n, size, a.shift, a.rotate, a.zoom)
    crop_seed = fold_in(seed, CROP)
    offsets = tf.random.stateless_uniform([n, 2], crop_seed, 0, 2 * a.crop + 1, tf.int32)
    if tuple(images.shape[1:3]) == size and not (affine or a.resized_crop):
        if a.crop:
            images = tf.pad(images, [[0, 0], [a.crop, a.crop], [a.crop, a.crop], [0, 0]])
        if a.crop or a.flip or a.flip_vertical:
            images = geometry.shift_windows(images, offsets, x, y, size)
        images = tf.cast(images, tf.float32)
        if drawn is None:
            return images
        return apply_where(drawn.moves, lambda i, m: geometry.warp(i, m, size), images, drawn.matrix)
    if a.resized_crop:
        box = list(geometry.crop_box(crop_seed, n, source, a.resized_crop))
    else:
        box = [tf.fill([n], tf.cast(v, tf.float32)) for v in (0, 0, *source)]
    matrices = [geometry.crop_matrix(box, size)]
    if a.crop:
        margins = [-(-a.crop * old // new) for old, new in zip(source, size, strict=True)]  # in pixels of the source
        images = tf.pad(images, [[0, 0], *([m, m] for m in margins), [0, 0]])
        high, wide = (tf.fill([n], tf.cast(m, tf.float32)) for m in margins)
        top, left = tf.unstack(tf.cast(offsets - a.crop, tf.float32), axis=1)
        matrices = [geometry.translation_matrix(-wide, -high), *matrices, geometry.translation_matrix(-left, -top)]
    if a.flip or a.flip_vertical:
        matrices.append(geometry.flip_matrix(x, y, size))
    matrices += affine
    if drawn is not None:
        matrices.append(drawn.matrix)
    return geometry.warp(images, geometry.compose(matrices), size)


def _change_color(a: Augmentation, images: Any, n: Any, seed: Any, drawn: RandomChanges | None) -> tf.Tensor:
    """Color: saturation and sharpness, which need channels and neighbors, before the changes by table."""
    jitter, changes = fold_in(seed, JITTER), []
    if a.saturation:
        images = color.saturation(images, uniform(jitter, 0, [n], -a.saturation, a.saturation))
    for number, name in ((1, "brightness"), (2, "contrast")):
        if strength := getattr(a, name):
            kind = tf.fill([n], color.KINDS.index(name))
            changes.append((kind, uniform(jitter, number, [n], -strength, strength)))
    if drawn is not None:
        images = apply_where(drawn.saturation != 0, color.saturation, images, drawn.saturation)
        images = apply_where(drawn.sharpness != 0, color.sharpness, images, drawn.sharpness)
        changes += drawn.tables
    if not changes:
        return images
    kinds, amounts = (tf.stack(part, axis=1) for part in zip(*changes, strict=True))
    slots = len(changes)

    def recolor(images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        return color.adjust_colors(images, [(kinds[:, i], amounts[:, i]) for i in range(slots)])

    return apply_where(tf.reduce_any(kinds != color.NONE, axis=1), recolor, images, kinds, amounts)
