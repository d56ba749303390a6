"""Where a pixel of the output comes from: changes of geometry, composed into one matrix and one warp per image.

A matrix (n, 3, 3) takes a column (x, y, 1) of the output to that of the input, in pixels from the upper left pixel's
centre; what is done first stands leftmost in a product.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kcnn.augment.seeds import random_signs, uniform

RATIO = (3 / 4, 4 / 3)  # of columns to rows of a resized crop, as in arXiv:1409.4842
ATTEMPTS = 10  # to draw a crop that lies in the image, before the largest one in the middle is taken


def _matrix(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tf.Tensor:
    """Rows (a, b, c) and (d, e, f) over (0, 0, 1), each a number or a tensor (n,)."""
    like = next(value for value in (a, b, c, d, e, f) if tf.is_tensor(value) and value.shape.rank)
    cells = [tf.broadcast_to(tf.cast(v, tf.float32), tf.shape(like)) for v in (a, b, c, d, e, f, 0, 0, 1)]
    return tf.reshape(tf.stack(cells, axis=1), [-1, 3, 3])


def shear_matrix(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Columns moved by x times the row, rows by y times the column, about the upper left pixel."""
    return _matrix(1, x, 0, y, 1, 0)


def translation_matrix(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Moved right by x and down by y pixels."""
    return _matrix(1, 0, -x, 0, 1, -y)


def rotation_matrix(degrees: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Turned counterclockwise about the middle of an image of size (rows, columns)."""
    y, x = _middle(size)
    cos, sin = tf.cos(degrees * (math.pi / 180)), tf.sin(degrees * (math.pi / 180))
    return _matrix(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)


def scale_matrix(factor: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Enlarged by the factor about the middle of an image of size (rows, columns)."""
    y, x = _middle(size)
    return _matrix(1 / factor, 0, x - x / factor, 0, 1 / factor, y - y / factor)


def flip_matrix(x: tf.Tensor, y: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Mirrored left to right where x, top to bottom where y, in an image of size (rows, columns)."""
    rows, columns = (tf.cast(side, tf.float32) for side in size)
    x, y = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
    return _matrix(1 - 2 * x, 0, x * (columns - 1), 0, 1 - 2 * y, y * (rows - 1))


def crop_matrix(box: Sequence[tf.Tensor], size: Sequence[Any]) -> tf.Tensor:
    """The box of top, left, rows and columns, (n,) each, resized to size (rows, columns)."""
    top, left, rows, columns = box
    high, wide = (tf.cast(side, tf.float32) for side in size)
    y, x = rows / high, columns / wide
    return _matrix(x, 0, left + 0.5 * x - 0.5, 0, y, top + 0.5 * y - 0.5)


def _middle(size: Sequence[Any]) -> tuple[tf.Tensor, tf.Tensor]:
    rows, columns = size
    return (tf.cast(rows, tf.float32) - 1) / 2, (tf.cast(columns, tf.float32) - 1) / 2


def crop_box(seed: tf.Tensor, n: Any, source: Sequence[Any], area: tuple[float, float]) -> tuple[tf.Tensor, ...]:
    """Top, left, rows, columns, each (n,), of boxes: the area is drawn evenly, the ratio evenly in its logarithm."""
    rows, columns = (tf.cast(side, tf.float32) for side in source)
    share = uniform(seed, 0, [n, ATTEMPTS], *area)
    ratio = tf.exp(uniform(seed, 1, [n, ATTEMPTS], *map(math.log, RATIO)))
    high = tf.round(tf.sqrt(share * rows * columns / ratio))
    wide = tf.round(tf.sqrt(share * rows * columns * ratio))
    fits = (high >= 1) & (high <= rows) & (wide >= 1) & (wide <= columns)
    first = tf.argmax(fits, axis=1)  # 0 where none fits
    whole = tf.clip_by_value(columns / rows, *RATIO)
    fallback = (tf.minimum(rows, tf.round(columns / whole)), tf.minimum(columns, tf.round(rows * whole)))
    found = tf.reduce_any(fits, axis=1)
    high = tf.where(found, tf.gather(high, first, batch_dims=1), fallback[0])
    wide = tf.where(found, tf.gather(wide, first, batch_dims=1), fallback[1])
    top, left = tf.floor((rows - high) / 2), tf.floor((columns - wide) / 2)
    top = tf.where(found, tf.floor(uniform(seed, 2, [n], 0, 1) * (rows - high + 1)), top)
    left = tf.where(found, tf.floor(uniform(seed, 3, [n], 0, 1) * (columns - wide + 1)), left)
    return top, left, high, wide


def warp(images: tf.Tensor, matrices: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Float32 images (n, *size, channels) seen through matrices (n, 3, 3), bilinear, mirrored beyond the edge."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.reshape(matrices, [-1, 9])[:, :8],
        output_shape=tf.stack(list(size)),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def shift_windows(images: tf.Tensor, offsets: tf.Tensor, x: tf.Tensor, y: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Windows of size (rows, columns) at offsets (n, 2) in pixels, mirrored where x and y: no pixel is blended."""
    rows, columns = size
    wide, channels = images.shape[2], images.shape[3]
    row = tf.where(y[:, None], rows - 1 - tf.range(rows), tf.range(rows)) + offsets[:, :1]
    column = tf.where(x[:, None], columns - 1 - tf.range(columns), tf.range(columns)) + offsets[:, 1:]
    index = tf.reshape(row[:, :, None] * wide + column[:, None, :], [-1, rows * columns])
    flat = tf.reshape(images, [-1, images.shape[1] * wide, channels])
    return tf.reshape(tf.gather(flat, index, batch_dims=1), [-1, rows, columns, channels])


def random_affine(
    seed: tf.Tensor, n: Any, size: Sequence[Any], shift: float, rotate: float, zoom: float
) -> list[tf.Tensor]:
    """Matrices (n, 3, 3) of shift (share of a side), rotation (degrees) and zoom, drawn evenly up to these."""
    matrices = []
    if rotate:
        matrices.append(rotation_matrix(uniform(seed, 0, [n], -rotate, rotate), size))
    if zoom:
        matrices.append(scale_matrix(uniform(seed, 1, [n], 1 - zoom, 1 + zoom), size))
    if shift:
        high, wide = (tf.cast(side, tf.float32) for side in size)
        x, y = uniform(seed, 2, [n], -shift, shift), uniform(seed, 3, [n], -shift, shift)
        matrices.append(translation_matrix(x * wide, y * high))
    return matrices


def random_mask(seed: tf.Tensor, number: int, n: Any, on: bool) -> tf.Tensor:
    """(n,) of True and False, half and half, or all False where it is off."""
    return random_signs(seed, number, [n]) > 0 if on else tf.zeros([n], tf.bool)


def compose(matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Matrices multiplied in the order in which their changes are done."""
    return functools.reduce(tf.matmul, matrices)
