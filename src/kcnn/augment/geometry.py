"""Changes of geometry, composed into one matrix and one warp per image.

A matrix (n, 3, 3) maps a column (x, y, 1) of the output to one of the input, in pixels from the center of the upper
left pixel; the first change is leftmost in a product.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kcnn.augment.seeds import random_signs, uniform

RATIO = (3 / 4, 4 / 3)  # of columns to rows of a resized crop, as in arXiv:1409.4842
ATTEMPTS = 10  # to draw a crop inside the image, before the largest one in the center is taken


def _matrix(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tf.Tensor:
    """Rows (a, b, c) and (d, e, f) over (0, 0, 1), each a number or a tensor (n,)."""
    like = next(value for value in (a, b, c, d, e, f) if tf.is_tensor(value) and value.shape.rank)
    cells = [tf.broadcast_to(tf.cast(v, tf.float32), tf.shape(like)) for v in (a, b, c, d, e, f, 0, 0, 1)]
    return tf.reshape(tf.stack(cells, axis=1), [-1, 3, 3])


def shear_matrix(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return the matrices that shift columns by x times the row and rows by y times the column.

    Args:
        x: (n,), from the upper left pixel.
        y: (n,).

    Returns:
        (n, 3, 3).
    """
    return _matrix(1, x, 0, y, 1, 0)


def translation_matrix(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return the matrices that shift images right and down.

    Args:
        x: Pixels to the right, (n,).
        y: Pixels down, (n,).

    Returns:
        (n, 3, 3).
    """
    return _matrix(1, 0, -x, 0, 1, -y)


def rotation_matrix(degrees: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Return the matrices that rotate images counterclockwise about their center.

    Args:
        degrees: (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    y, x = _center(size)
    cos, sin = tf.cos(degrees * (math.pi / 180)), tf.sin(degrees * (math.pi / 180))
    return _matrix(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)


def scale_matrix(factor: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Return the matrices that enlarge images about their center.

    Args:
        factor: (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    y, x = _center(size)
    return _matrix(1 / factor, 0, x - x / factor, 0, 1 / factor, y - y / factor)


def flip_matrix(x: tf.Tensor, y: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Return the matrices that mirror images.

    Args:
        x: Whether left to right, bool (n,).
        y: Whether top to bottom, bool (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    rows, columns = (tf.cast(side, tf.float32) for side in size)
    x, y = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
    return _matrix(1 - 2 * x, 0, x * (columns - 1), 0, 1 - 2 * y, y * (rows - 1))


def crop_matrix(box: Sequence[tf.Tensor], size: Sequence[Any]) -> tf.Tensor:
    """Return the matrices that crop boxes and resize them.

    Args:
        box: Top, left, rows and columns, (n,) each.
        size: (rows, columns) of the result.

    Returns:
        (n, 3, 3).
    """
    top, left, rows, columns = box
    high, wide = (tf.cast(side, tf.float32) for side in size)
    y, x = rows / high, columns / wide
    return _matrix(x, 0, left + 0.5 * x - 0.5, 0, y, top + 0.5 * y - 0.5)


def _center(size: Sequence[Any]) -> tuple[tf.Tensor, tf.Tensor]:
    rows, columns = size
    return (tf.cast(rows, tf.float32) - 1) / 2, (tf.cast(columns, tf.float32) - 1) / 2


def crop_box(seed: tf.Tensor, n: Any, source: Sequence[Any], area: tuple[float, float]) -> tuple[tf.Tensor, ...]:
    """Draw boxes to crop: the area uniformly, the aspect ratio uniformly in its logarithm.

    Args:
        seed: int (2,).
        n: Number of boxes.
        source: (rows, columns) of the images.
        area: Smallest and largest fraction of the area.

    Returns:
        Top, left, rows and columns, (n,) each.
    """
    rows, columns = (tf.cast(side, tf.float32) for side in source)
    fraction = uniform(seed, 0, [n, ATTEMPTS], *area)
    ratio = tf.exp(uniform(seed, 1, [n, ATTEMPTS], *map(math.log, RATIO)))
    high = tf.round(tf.sqrt(fraction * rows * columns / ratio))
    wide = tf.round(tf.sqrt(fraction * rows * columns * ratio))
    fits = (high >= 1) & (high <= rows) & (wide >= 1) & (wide <= columns)
    first = tf.argmax(fits, axis=1)  # 0 where none fits
    nearest = tf.clip_by_value(columns / rows, *RATIO)
    fallback = (tf.minimum(rows, tf.round(columns / nearest)), tf.minimum(columns, tf.round(rows * nearest)))
    any_fits = tf.reduce_any(fits, axis=1)
    high = tf.where(any_fits, tf.gather(high, first, batch_dims=1), fallback[0])
    wide = tf.where(any_fits, tf.gather(wide, first, batch_dims=1), fallback[1])
    top, left = tf.floor((rows - high) / 2), tf.floor((columns - wide) / 2)
    top = tf.where(any_fits, tf.floor(uniform(seed, 2, [n], 0, 1) * (rows - high + 1)), top)
    left = tf.where(any_fits, tf.floor(uniform(seed, 3, [n], 0, 1) * (columns - wide + 1)), left)
    return top, left, high, wide


def warp(images: tf.Tensor, matrices: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Transform images by matrices, bilinearly, mirrored beyond the edge.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        matrices: (n, 3, 3).
        size: (rows, columns) of the result.

    Returns:
        float32 (n, *size, channels).
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.reshape(matrices, [-1, 9])[:, :8],
        output_shape=tf.stack(list(size)),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def shift_windows(images: tf.Tensor, offsets: tf.Tensor, x: tf.Tensor, y: tf.Tensor, size: Sequence[Any]) -> tf.Tensor:
    """Crop windows of images, without blending pixels.

    Args:
        images: (n, rows, columns, 1 or 3) of 0 to 255.
        offsets: Top and left in pixels, int (n, 2).
        x: Whether to mirror left to right, bool (n,).
        y: Whether to mirror top to bottom, bool (n,).
        size: (rows, columns) of the windows.

    Returns:
        (n, *size, channels).
    """
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
    """Draw shifts, rotations and zooms uniformly.

    Args:
        seed: int (2,).
        n: Number of images.
        size: (rows, columns).
        shift: Largest shift, as a fraction of a side.
        rotate: Largest rotation in degrees.
        zoom: Largest change of scale, as a fraction.

    Returns:
        Matrices (n, 3, 3) of those that are not 0.
    """
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
    """Draw True or False with equal probability.

    Args:
        seed: int (2,).
        number: Of the draw.
        n: How many.
        on: Whether to draw; otherwise all are False.

    Returns:
        bool (n,).
    """
    return random_signs(seed, number, [n]) > 0 if on else tf.zeros([n], tf.bool)


def compose(matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiply matrices in the order of their changes.

    Args:
        matrices: (n, 3, 3) each.

    Returns:
        (n, 3, 3).
    """
    return functools.reduce(tf.matmul, matrices)
