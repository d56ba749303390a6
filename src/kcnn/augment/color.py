"""Changes of color: those of single values compose into one table of 256 per image and channel, and one look-up.

What a table change needs to know of its image (mean, darkest value, histogram) follows from the histogram of the image
and the table so far, so that it sees the result of the changes before it. Values are first rounded to 256 levels.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

GRAY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
KINDS = ("brightness", "contrast", "posterize", "solarize", "auto_contrast", "equalize")  # by number, those of tables
NONE = -1  # the number of no change
MEASURED = (1, 4, 5)  # the kinds that need the histogram

Change = tuple[tf.Tensor, tf.Tensor]  # numbers of kinds and amounts, both (n,)


def brightness(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """Add a fraction of white to every value.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        amount: The fraction, a number or a tensor (n,).

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("brightness", images, amount)


def contrast(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """Multiply the distance to the channel's mean by 1 + amount.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        amount: A number or a tensor (n,).

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("contrast", images, amount)


def posterize(images: tf.Tensor, bits: Any) -> tf.Tensor:
    """Keep only the highest bits of every value.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        bits: 0 to 8, a number or a tensor (n,).

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("posterize", images, 8.0 - tf.cast(bits, tf.float32))


def solarize(images: tf.Tensor, threshold: Any) -> tf.Tensor:
    """Invert the values from a threshold up.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        threshold: 0 to 256, a number or a tensor (n,).

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("solarize", images, 256.0 - tf.cast(threshold, tf.float32))


def auto_contrast(images: tf.Tensor) -> tf.Tensor:
    """Stretch each channel from its darkest and brightest value to 0 and 255.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("auto_contrast", images, 0.0)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Equalize the histogram of each channel.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.

    Returns:
        float32 of the same shape.
    """
    return _apply_kind("equalize", images, 0.0)


def saturation(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """Multiply the distance to gray by 1 + amount; images of one channel stay the same.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        amount: A number or a tensor (n,); -1 is gray.

    Returns:
        float32 of the same shape.
    """
    images = tf.cast(images, tf.float32)
    if images.shape[-1] == 1:
        return images
    amount = _broadcast(images, amount)[:, None, None, None]
    gray = tf.tensordot(images, tf.constant(GRAY), 1)[..., None]
    return tf.clip_by_value(images + amount * (images - gray), 0.0, 255.0)


def sharpness(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """Multiply the distance to the image smoothed over 3x3 pixels by 1 + amount; pixels at the edge stay the same.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        amount: A number or a tensor (n,); -1 is smooth.

    Returns:
        float32 of the same shape.
    """
    images = tf.cast(images, tf.float32)
    amount = _broadcast(images, amount)[:, None, None, None]
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    boxes = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = images[:, 1:-1, 1:-1]
    rough = tf.pad((9 / 13) * inner - boxes / 13, [[0, 0], [1, 1], [1, 1], [0, 0]])  # the center weighs 5, neighbors 1
    return tf.clip_by_value(images + amount * rough, 0.0, 255.0)


def adjust_colors(images: tf.Tensor, changes: Sequence[Change]) -> tf.Tensor:
    """Apply table changes in their order, each image its own kind or NONE.

    Args:
        images: float32 (n, rows, columns, channels) of 0 to 255.
        changes: Numbers of kinds and amounts, both (n,), of each change.

    Returns:
        float32 of the same shape.
    """
    n, (rows, columns, channels) = tf.shape(images)[0], images.shape[1:]
    first = 256 * tf.range(n * channels)  # of the bins of each image and channel
    bins = tf.cast(images + (tf.reshape(tf.cast(first, tf.float32), [n, 1, 1, channels]) + 0.5), tf.int32)
    measured = tf.reduce_any([tf.equal(kind, m) for kind, _ in changes for m in MEASURED], axis=0)
    levels = tf.reshape(tf.boolean_mask(bins, measured), [-1])
    counts = tf.raw_ops.Bincount(arr=levels, size=256 * n * channels, weights=tf.constant([], tf.int32))
    counts = tf.cast(tf.reshape(counts, [n, channels, 256]), tf.float32)
    table = tf.broadcast_to(tf.range(256.0), [n, channels, 256])
    for kind, amount in changes:
        table = _compose_table(table, counts, kind[:, None, None], amount[:, None, None])
    return tf.reshape(tf.gather(tf.reshape(table, [-1]), bins), [n, rows, columns, channels])


def _compose_table(table: tf.Tensor, counts: tf.Tensor, kind: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """The table (n, channels, 256) after one more change, of the image with these counts."""
    total = tf.maximum(tf.reduce_sum(counts, -1, keepdims=True), 1.0)
    mean = tf.reduce_sum(table * counts, -1, keepdims=True) / total
    darkest = tf.reduce_min(tf.where(counts > 0, table, 255.0), -1, keepdims=True)
    brightest = tf.reduce_max(tf.where(counts > 0, table, 0.0), -1, keepdims=True)
    stretched = (table - darkest) * tf.math.divide_no_nan(255.0, brightest - darkest)
    step = tf.pow(2.0, amount)
    after = {
        "brightness": table + 255.0 * amount,
        "contrast": mean + (1.0 + amount) * (table - mean),
        "posterize": tf.floor(table / step) * step,
        "solarize": tf.where(table < 256.0 - amount, table, 255.0 - table),
        "auto_contrast": tf.where(brightest > darkest, stretched, table),
        "equalize": _equalize_table(table, counts, total),
    }
    for number, name in enumerate(KINDS):
        table = tf.where(kind == number, tf.clip_by_value(after[name], 0.0, 255.0), table)
    return table


def _equalize_table(table: tf.Tensor, counts: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """The table after equalizing the histogram that it makes of the counts."""
    shape = tf.shape(table)
    levels = tf.cast(table + 0.5, tf.int32)
    bins = tf.reshape(levels, [-1, 256]) + 256 * tf.range(shape[0] * shape[1])[:, None]
    now = tf.reshape(
        tf.math.unsorted_segment_sum(tf.reshape(counts, [-1]), tf.reshape(bins, [-1]), tf.size(table)), shape
    )
    below = tf.cumsum(now, axis=-1)
    lowest = tf.reduce_min(tf.where(below > 0, below, total), -1, keepdims=True)
    spread = tf.round((below - lowest) * 255.0 / tf.maximum(total - lowest, 1.0))
    return tf.where(total > lowest, tf.gather(spread, levels, batch_dims=2), table)


def _broadcast(images: tf.Tensor, amount: Any) -> tf.Tensor:
    return tf.broadcast_to(tf.cast(amount, tf.float32), tf.shape(images)[:1])


def _apply_kind(name: str, images: tf.Tensor, amount: Any) -> tf.Tensor:
    images = tf.cast(images, tf.float32)
    amount = _broadcast(images, amount)
    return adjust_colors(images, [(tf.fill(tf.shape(amount), KINDS.index(name)), amount)])
