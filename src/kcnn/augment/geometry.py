"""Changes of geometry: one matrix per image, and one warp.

A matrix (n, 3, 3) maps a column (x, y, 1) of the output to one of the input, in pixels from the center of the upper
left pixel; the first change is leftmost in a product.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kcnn.augment.seeds import draw_signs, make_generator

RATIO = (3 / 4, 4 / 3)  # of columns to rows of a resized crop, as in arXiv:1409.4842
ATTEMPTS = 10  # to draw a crop inside the image, before the largest one in the center is taken

Seed = tuple[int, int]


def _matrix(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> np.ndarray:
    """Rows (a, b, c) and (d, e, f) over (0, 0, 1), each a number or an array (n,)."""
    cells = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, "float64")) for v in (a, b, c, d, e, f, 0, 0, 1)))
    return np.stack(cells, axis=1).reshape(-1, 3, 3)


def shear_matrix(x: Any, y: Any) -> np.ndarray:
    """Return the matrices that shift columns by x times the row and rows by y times the column.

    Args:
        x: (n,), from the upper left pixel.
        y: (n,).

    Returns:
        (n, 3, 3).
    """
    return _matrix(1, x, 0, y, 1, 0)


def translation_matrix(x: Any, y: Any) -> np.ndarray:
    """Return the matrices that shift images right and down.

    Args:
        x: Pixels to the right, (n,).
        y: Pixels down, (n,).

    Returns:
        (n, 3, 3).
    """
    return _matrix(1, 0, -np.asarray(x), 0, 1, -np.asarray(y))


def rotation_matrix(degrees: Any, size: Sequence[int]) -> np.ndarray:
    """Return the matrices that rotate images counterclockwise about their center.

    Args:
        degrees: (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    y, x = _center(size)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _matrix(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)


def scale_matrix(factor: Any, size: Sequence[int]) -> np.ndarray:
    """Return the matrices that enlarge images about their center.

    Args:
        factor: (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    y, x = _center(size)
    shrink = 1 / np.asarray(factor)
    return _matrix(shrink, 0, x - x * shrink, 0, shrink, y - y * shrink)


def flip_matrix(x: Any, y: Any, size: Sequence[int]) -> np.ndarray:
    """Return the matrices that mirror images.

    Args:
        x: Whether left to right, bool (n,).
        y: Whether top to bottom, bool (n,).
        size: (rows, columns).

    Returns:
        (n, 3, 3).
    """
    (rows, columns), x, y = size, np.asarray(x, "float64"), np.asarray(y, "float64")
    return _matrix(1 - 2 * x, 0, x * (columns - 1), 0, 1 - 2 * y, y * (rows - 1))


def _center(size: Sequence[int]) -> tuple[float, float]:
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def draw_boxes(random: np.random.Generator, sources: np.ndarray, area: tuple[float, float]) -> np.ndarray:
    """Draw a box to crop of each image: the area uniformly, the aspect ratio uniformly in its logarithm.

    Args:
        random: Source of random numbers.
        sources: Rows and columns of the images, int (n, 2).
        area: Smallest and largest fraction of the area.

    Returns:
        Top, left, rows and columns, int64 (n, 4).
    """
    n, (rows, columns) = len(sources), sources.T
    fraction = random.uniform(*area, (n, ATTEMPTS)) * (rows * columns)[:, None]
    ratio = np.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1]), (n, ATTEMPTS)))
    high, wide = np.rint(np.sqrt(fraction / ratio)), np.rint(np.sqrt(fraction * ratio))
    fits = (high >= 1) & (high <= rows[:, None]) & (wide >= 1) & (wide <= columns[:, None])
    each, first = np.arange(n), np.argmax(fits, axis=1)
    any_fits = fits[each, first]
    nearest = np.clip(columns / rows, *RATIO)
    high = np.where(any_fits, high[each, first], np.minimum(rows, np.rint(columns / nearest)))
    wide = np.where(any_fits, wide[each, first], np.minimum(columns, np.rint(rows * nearest)))
    place = np.where(any_fits[:, None], random.uniform(0, 1, (n, 2)), 0.5)  # of the corner
    top = np.floor(place[:, 0] * (rows - high + any_fits))
    left = np.floor(place[:, 1] * (columns - wide + any_fits))
    return np.stack([top, left, high, wide], axis=1).astype("int64")


def warp(image: np.ndarray, matrix: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return an image transformed by a matrix, bilinearly, mirrored beyond the edge.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        matrix: (3, 3).
        size: (rows, columns) of the result.

    Returns:
        uint8 (*size, channels).
    """
    warped = cv2.warpAffine(
        image,
        matrix[:2],
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return warped.reshape(*size, image.shape[2])


def draw_affine(
    seed: Seed, number: int, n: int, size: Sequence[int], shift: float, rotate: float, zoom: float
) -> list[np.ndarray]:
    """Draw shifts, rotations and zooms uniformly.

    Args:
        seed: Two integers.
        number: Of the draw.
        n: Number of images.
        size: (rows, columns).
        shift: Largest shift, as a fraction of a side.
        rotate: Largest rotation in degrees.
        zoom: Largest change of scale, as a fraction.

    Returns:
        Matrices (n, 3, 3) of those that are not 0.
    """
    draws = make_generator(seed, number).uniform(-1, 1, (4, n))
    matrices = []
    if rotate:
        matrices.append(rotation_matrix(rotate * draws[0], size))
    if zoom:
        matrices.append(scale_matrix(1 + zoom * draws[1], size))
    if shift:
        matrices.append(translation_matrix(shift * size[1] * draws[2], shift * size[0] * draws[3]))
    return matrices


def draw_mask(random: np.random.Generator, n: int, on: bool) -> np.ndarray:
    """Draw True or False with equal probability.

    Args:
        random: Source of random numbers.
        n: How many.
        on: Whether any may be True.

    Returns:
        bool (n,).
    """
    return (draw_signs(random, n) > 0) & on


def compose(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply matrices in the order of their changes.

    Args:
        matrices: (n, 3, 3) each.

    Returns:
        (n, 3, 3).
    """
    return functools.reduce(np.matmul, matrices)
