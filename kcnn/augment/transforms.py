"""An augmentation done to a batch, or to every batch of a tf.data.Dataset."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kcnn.augment import color, geometry, mix
from kcnn.augment.augmentation import Augmentation
from kcnn.augment.masking import apply_where
from kcnn.augment.random_changes import RandomChanges, draw_changes
from kcnn.augment.seeds import fold_in, uniform

FLIP, CUT, TURN, JITTER, RANDOM, ERASE, MIX, EITHER = range(8)  # numbers of seeds


@tf.autograph.experimental.do_not_convert  # no Python branch asks a tensor, and tracing is quicker
def augment(
    augmentation: Augmentation, images: Any, labels: Any, *, size: Sequence[int], classes: int, seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """A batch after the augmentation, which follows from the seed, int (2,), alone.

    Images (n, rows, columns, 1 or 3) of 0 to 255 become float32 (n, *size, channels); labels int64 (n,) stay, or become
    float32 (n, classes) where MixUp or CutMix is on. First comes geometry in one warp, then colour, erasing, mixing.
    """
    seed = tf.convert_to_tensor(seed)
    images = _change(augmentation, tf.convert_to_tensor(images), tuple(size), seed)
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


def augment_dataset(
    augmentation: Augmentation, *, classes: int, seed: int, size: Sequence[int] | None = None
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """For `Dataset.apply`: augments batches of (images, labels), each pass over the data anew, each run the same.

    What tf.random.set_seed was given counts too.

    Args:
        size: rows and columns that come out; without it those that come in.

    Raises:
        ValueError: no size is given, and the data set has none.
    """

    def augmented(batches: tf.data.Dataset) -> tf.data.Dataset:
        found = size if size is not None else batches.element_spec[0].shape[1:3]
        if None in tuple(found):
            raise ValueError(f"over: images of the data set have no fixed size ({found}); give size=(rows, columns)")
        drawn = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

        def change(batch: tuple[Any, Any], own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return augment(augmentation, *batch, size=tuple(found), classes=classes, seed=own)

        return tf.data.Dataset.zip(batches, drawn).map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return augmented


def flip(images: Any, seed: Any, *, vertical: bool = False) -> tf.Tensor:
    """Half of the images mirrored left to right, or top to bottom where vertical."""
    return _same_size(Augmentation(flip=not vertical, flip_vertical=vertical), images, seed)


def padded_crop(images: Any, seed: Any, *, margin: int) -> tf.Tensor:
    """Windows of the old size out of images with a black margin, in pixels, all around (arXiv:1512.03385, 4.2)."""
    return _same_size(Augmentation(crop=margin), images, seed)


def resized_crop(images: Any, seed: Any, *, area: tuple[float, float], size: Sequence[int]) -> tf.Tensor:
    """Boxes of a share of the area and sides of 3/4 to 4/3, resized to size (arXiv:1409.4842, section 6)."""
    return _change(
        Augmentation(resized_crop=area), tf.convert_to_tensor(images), tuple(size), tf.convert_to_tensor(seed)
    )


def rotate(images: Any, seed: Any, *, shift: float = 0, rotate: float = 0, zoom: float = 0) -> tf.Tensor:
    """Shifted up to a share of the side, rotated up to degrees, zoomed up to a share: one warp."""
    return _same_size(Augmentation(shift=shift, rotate=rotate, zoom=zoom), images, seed)


def color_jitter(
    images: Any, seed: Any, *, brightness: float = 0, contrast: float = 0, saturation: float = 0
) -> tf.Tensor:
    """Saturation, brightness and contrast changed, in this order, each up to its share."""
    return _same_size(Augmentation(brightness=brightness, contrast=contrast, saturation=saturation), images, seed)


def rand_augment(images: Any, seed: Any, *, changes: int = 2, strength: float = 0.5) -> tf.Tensor:
    """Each image changed in so many ways, drawn from eleven, of a strength from 0 to 1 (arXiv:1909.13719)."""
    return _same_size(Augmentation(rand_augment=(changes, strength)), images, seed)


def _same_size(augmentation: Augmentation, images: Any, seed: Any) -> tf.Tensor:
    images = tf.convert_to_tensor(images)
    return _change(augmentation, images, tuple(images.shape[1:3]), tf.convert_to_tensor(seed))


@tf.autograph.experimental.do_not_convert
def _change(a: Augmentation, images: tf.Tensor, size: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """All but the mixing: pixels of each image by itself."""
    if images.shape.rank != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"augment: images are a batch (n, rows, columns, 1 or 3), not of shape {images.shape}")
    n, *sides = tf.unstack(tf.shape(images)[:3])
    source = tuple(now if (known := images.shape[i]) is None else known for i, now in enumerate(sides, 1))
    drawn = (
        draw_changes(fold_in(seed, RANDOM), n, size, *a.rand_augment) if a.rand_augment and a.rand_augment[1] else None
    )
    images = _moved(a, images, n, source, size, seed, drawn)
    images = _coloured(a, images, n, seed, drawn)
    return mix.erase(images, fold_in(seed, ERASE), probability=a.erase) if a.erase else images


def _moved(
    a: Augmentation, images: Any, n: Any, source: Any, size: Any, seed: Any, drawn: RandomChanges | None
) -> tf.Tensor:
    """Geometry: whole windows where that is all, else one warp."""
    x, y = (
        geometry.random_mask(fold_in(seed, FLIP), number, n, on) for number, on in ((0, a.flip), (1, a.flip_vertical))
    )
    turns = geometry.random_affine(fold_in(seed, TURN), n, size, a.shift, a.rotate, a.zoom)
    cut = fold_in(seed, CUT)
    offsets = tf.random.stateless_uniform([n, 2], cut, 0, 2 * a.crop + 1, tf.int32)
    if tuple(images.shape[1:3]) == size and not (turns or a.resized_crop):
        if a.crop:
            images = tf.pad(images, [[0, 0], [a.crop, a.crop], [a.crop, a.crop], [0, 0]])
        if a.crop or a.flip or a.flip_vertical:
            images = geometry.shift_windows(images, offsets, x, y, size)
        images = tf.cast(images, tf.float32)
        if drawn is None:
            return images
        return apply_where(drawn.moves, lambda i, m: geometry.warp(i, m, size), images, drawn.matrix)
    if a.resized_crop:
        box = list(geometry.crop_box(cut, n, source, a.resized_crop))
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
    matrices += turns
    if drawn is not None:
        matrices.append(drawn.matrix)
    return geometry.warp(images, geometry.compose(matrices), size)


def _coloured(a: Augmentation, images: Any, n: Any, seed: Any, drawn: RandomChanges | None) -> tf.Tensor:
    """Colour: saturation and sharpness, which want the neighbours, before all that tables do."""
    own, changes = fold_in(seed, JITTER), []
    if a.saturation:
        images = color.saturation(images, uniform(own, 0, [n], -a.saturation, a.saturation))
    for number, name in ((1, "brightness"), (2, "contrast")):
        if strength := getattr(a, name):
            kind = tf.fill([n], color.KINDS.index(name))
            changes.append((kind, uniform(own, number, [n], -strength, strength)))
    if drawn is not None:
        images = apply_where(drawn.saturation != 0, color.saturation, images, drawn.saturation)
        images = apply_where(drawn.sharpness != 0, color.sharpness, images, drawn.sharpness)
        changes += drawn.tables
    if not changes:
        return images
    kinds, amounts = (tf.stack(part, axis=1) for part in zip(*changes, strict=True))
    slots = len(changes)

    def recolour(images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        return color.adjust_colors(images, [(kinds[:, i], amounts[:, i]) for i in range(slots)])

    return apply_where(tf.reduce_any(kinds != color.NONE, axis=1), recolour, images, kinds, amounts)
