"""Changes of colour: those of a value by itself compose into one table of 256 per image and channel, and one look-up.

What a table change wants to know of its image (mean, darkest, histogram) follows from the histogram of the image and
the table so far, so that changes see what those before them made. Values go to the nearest of 256 levels first.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

GRAY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
KINDS = ("brightness", "contrast", "posterise", "solarise", "auto_contrast", "equalise")  # by number, those of tables
NONE = -1  # the number of no change
MEASURED = (1, 4, 5)  # the kinds that want the histogram

Change = tuple[tf.Tensor, tf.Tensor]  # numbers of kinds and amounts, both (n,)


def brightness(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """A share of white added to every value; amount, as everywhere here, is a number or a tensor (n,)."""
    return _alone("brightness", images, amount)


def contrast(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """The distance to the channel's mean times 1 + amount."""
    return _alone("contrast", images, amount)


def posterize(images: tf.Tensor, bits: Any) -> tf.Tensor:
    """Only the highest bits, 0 to 8, of a value kept."""
    return _alone("posterise", images, 8.0 - tf.cast(bits, tf.float32))


def solarize(images: tf.Tensor, threshold: Any) -> tf.Tensor:
    """Values from the threshold on inverted."""
    return _alone("solarise", images, 256.0 - tf.cast(threshold, tf.float32))


def auto_contrast(images: tf.Tensor) -> tf.Tensor:
    """Each channel stretched from its darkest and brightest value to 0 and 255."""
    return _alone("auto_contrast", images, 0.0)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Each channel's values spread so that all are about as frequent."""
    return _alone("equalise", images, 0.0)


def saturation(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """The distance to grey times 1 + amount, -1 being grey; images of one channel stay."""
    images = tf.cast(images, tf.float32)
    if images.shape[-1] == 1:
        return images
    amount = _each(images, amount)[:, None, None, None]
    grey = tf.tensordot(images, tf.constant(GRAY), 1)[..., None]
    return tf.clip_by_value(images + amount * (images - grey), 0.0, 255.0)


def sharpness(images: tf.Tensor, amount: Any) -> tf.Tensor:
    """The distance to the image smoothed over 3x3 pixels times 1 + amount, -1 being smooth; pixels at the edge stay."""
    images = tf.cast(images, tf.float32)
    amount = _each(images, amount)[:, None, None, None]
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    boxes = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = images[:, 1:-1, 1:-1]
    rough = tf.pad((9 / 13) * inner - boxes / 13, [[0, 0], [1, 1], [1, 1], [0, 0]])  # centre weighs 5, neighbours 1
    return tf.clip_by_value(images + amount * rough, 0.0, 255.0)


def adjust_colors(images: tf.Tensor, changes: Sequence[Change]) -> tf.Tensor:
    """Table changes done in their order to float32 images of 0 to 255, each image its own kind or NONE."""
    n, (rows, columns, channels) = tf.shape(images)[0], images.shape[1:]
    first = 256 * tf.range(n * channels)  # of the bins of each image and channel
    bins = tf.cast(images + (tf.reshape(tf.cast(first, tf.float32), [n, 1, 1, channels]) + 0.5), tf.int32)
    measured = tf.reduce_any([tf.equal(kind, m) for kind, _ in changes for m in MEASURED], axis=0)
    seen = tf.reshape(tf.boolean_mask(bins, measured), [-1])
    counts = tf.raw_ops.Bincount(arr=seen, size=256 * n * channels, weights=tf.constant([], tf.int32))
    counts = tf.cast(tf.reshape(counts, [n, channels, 256]), tf.float32)
    table = tf.broadcast_to(tf.range(256.0), [n, channels, 256])
    for kind, amount in changes:
        table = _next(table, counts, kind[:, None, None], amount[:, None, None])
    return tf.reshape(tf.gather(tf.reshape(table, [-1]), bins), [n, rows, columns, channels])


def _next(table: tf.Tensor, counts: tf.Tensor, kind: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """The table (n, channels, 256) after one more change."""
    total = tf.maximum(tf.reduce_sum(counts, -1, keepdims=True), 1.0)
    mean = tf.reduce_sum(table * counts, -1, keepdims=True) / total
    darkest = tf.reduce_min(tf.where(counts > 0, table, 255.0), -1, keepdims=True)
    brightest = tf.reduce_max(tf.where(counts > 0, table, 0.0), -1, keepdims=True)
    stretched = (table - darkest) * tf.math.divide_no_nan(255.0, brightest - darkest)
    step = tf.pow(2.0, amount)
    after = {
        "brightness": table + 255.0 * amount,
        "contrast": mean + (1.0 + amount) * (table - mean),
        "posterise": tf.floor(table / step) * step,
        "solarise": tf.where(table < 256.0 - amount, table, 255.0 - table),
        "auto_contrast": tf.where(brightest > darkest, stretched, table),
        "equalise": _equalised(table, counts, total),
    }
    for number, name in enumerate(KINDS):
        table = tf.where(kind == number, tf.clip_by_value(after[name], 0.0, 255.0), table)
    return table


def _equalised(table: tf.Tensor, counts: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """The table after equalisation of the histogram that it makes of the counts."""
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


def _each(images: tf.Tensor, amount: Any) -> tf.Tensor:
    return tf.broadcast_to(tf.cast(amount, tf.float32), tf.shape(images)[:1])


def _alone(name: str, images: tf.Tensor, amount: Any) -> tf.Tensor:
    images = tf.cast(images, tf.float32)
    amount = _each(images, amount)
    return adjust_colors(images, [(tf.fill(tf.shape(amount), KINDS.index(name)), amount)])
