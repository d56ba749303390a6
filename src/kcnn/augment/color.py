"""Changes of the color of an image: those of single values compose into one table of 256 per channel, and one look-up.

What a table change needs to know of its image (mean, darkest value, histogram) follows from the histogram of the image
and the table so far, so that it sees the result of the changes before it. An image is uint8 (rows, columns, 1 or 3).
"""

from collections.abc import Sequence

import cv2
import numpy as np

GRAY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
KINDS = ("brightness", "contrast", "posterize", "solarize", "auto_contrast", "equalize")  # those of tables
MEASURED = ("contrast", "auto_contrast", "equalize")  # which need the histogram

Change = tuple[str, float]  # kind and amount


def brightness(image: np.ndarray, amount: float) -> np.ndarray:
    """Return an image with a fraction of white added to every value."""
    return adjust_colors(image, [("brightness", amount)])


def contrast(image: np.ndarray, amount: float) -> np.ndarray:
    """Return an image with the distance to the channel's mean multiplied by 1 + amount."""
    return adjust_colors(image, [("contrast", amount)])


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Return an image with only the highest 0 to 8 bits of every value."""
    return adjust_colors(image, [("posterize", 8 - bits)])


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Return an image with the values from a threshold of 0 to 256 up inverted."""
    return adjust_colors(image, [("solarize", 256 - threshold)])


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Return an image with each channel stretched from its darkest and brightest value to 0 and 255."""
    return adjust_colors(image, [("auto_contrast", 0)])


def equalize(image: np.ndarray) -> np.ndarray:
    """Return an image with the histogram of each channel equalized."""
    return adjust_colors(image, [("equalize", 0)])


def saturation(image: np.ndarray, amount: float) -> np.ndarray:
    """Return an image with the distance to gray multiplied by 1 + amount; one channel stays the same.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        amount: -1 is gray.

    Returns:
        uint8 of the same shape.
    """
    if image.shape[2] == 1:
        return image
    return cv2.transform(image, (1 + amount) * np.eye(3) - amount * np.tile(GRAY, (3, 1)))


def sharpness(image: np.ndarray, amount: float) -> np.ndarray:
    """Return an image with the distance to itself smoothed over 3x3 pixels multiplied by 1 + amount.

    In the smoothed image the center weighs 5 and neighbors 1. Pixels at the edge stay the same.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        amount: -1 is smooth.

    Returns:
        uint8 of the same shape.
    """
    weights = np.full((3, 3), -amount / 13)
    weights[1, 1] = 1 + amount * 8 / 13
    filtered = cv2.filter2D(image, -1, weights).reshape(image.shape)
    filtered[[0, -1]], filtered[:, [0, -1]] = image[[0, -1]], image[:, [0, -1]]
    return filtered


def adjust_colors(image: np.ndarray, changes: Sequence[Change]) -> np.ndarray:
    """Apply table changes in their order.

    Args:
        image: uint8 (rows, columns, 1 or 3).
        changes: Kind and amount of each.

    Returns:
        uint8 of the same shape.
    """
    channels = image.shape[2]
    counts = np.zeros((channels, 256))
    if any(kind in MEASURED for kind, _ in changes):
        for i in range(channels):
            counts[i] = np.ravel(cv2.calcHist([image], [i], None, [256], [0, 256]))
    table = np.tile(np.arange(256.0), (channels, 1))
    for kind, amount in changes:
        table = np.clip(_compose_table(table, counts, kind, amount), 0, 255)
    levels = np.rint(table).astype("uint8")
    if (levels == levels[0]).all():
        return cv2.LUT(image, levels[0]).reshape(image.shape)
    return cv2.LUT(image, np.ascontiguousarray(levels.T)[None])


def _compose_table(table: np.ndarray, counts: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """The table (channels, 256) after one more change, of the image with these counts."""
    match kind:
        case "brightness":
            return table + 255 * amount
        case "contrast":
            mean = (table * counts).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
            return mean + (1 + amount) * (table - mean)
        case "posterize":
            step = 2.0**amount
            return np.floor(table / step) * step
        case "solarize":
            return np.where(table < 256 - amount, table, 255 - table)
        case "auto_contrast":
            darkest = np.where(counts > 0, table, 255).min(axis=1, keepdims=True)
            brightest = np.where(counts > 0, table, 0).max(axis=1, keepdims=True)
            width = np.maximum(brightest - darkest, 1e-9)
            return np.where(brightest > darkest, (table - darkest) * (255 / width), table)
    return np.stack([_equalize_table(*one) for one in zip(table, counts, strict=True)])


def _equalize_table(table: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The table (256,) after equalizing the histogram that it makes of the counts."""
    levels, total = np.floor(table + 0.5).astype("int64"), counts.sum()
    below = np.bincount(levels, counts, 256).cumsum()
    lowest = below[below > 0].min()
    return np.rint((below - lowest) * (255 / (total - lowest)))[levels] if total > lowest else table
