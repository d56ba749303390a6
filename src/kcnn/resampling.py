"""The central box of an image, and pixels of a box, resized."""

import cv2
import numpy as np


def crop_box(rows: int, columns: int, to_rows: int, to_columns: int) -> tuple[int, int, int, int]:
    """Return the largest central box with the proportions of a target.

    Args:
        rows: Height of the image.
        columns: Width of the image.
        to_rows: Height of the target.
        to_columns: Width of the target.

    Returns:
        (top, left, bottom, right).
    """
    if rows * to_columns > columns * to_rows:
        height, width = max(1, round(columns * to_rows / to_columns)), columns
    else:
        height, width = rows, max(1, round(rows * to_columns / to_rows))
    top, left = (rows - height) // 2, (columns - width) // 2
    return top, left, top + height, left + width


def resize_box(box: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return pixels resized bilinearly, whatever their proportions.

    Every pixel of a box that shrinks counts: to less than half by its area, else by the variance that
    Pillow's triangle filter has above a bilinear sample's, (shrinks² - 1) / 6, as three weights along each side.

    Args:
        box: uint8 (rows, columns) or (rows, columns, channels).
        shape: (rows, columns, channels), with as many channels.

    Returns:
        uint8 of that shape.
    """
    rows, columns, _ = shape
    if box.shape[:2] == (rows, columns):
        return np.ascontiguousarray(box).reshape(shape)
    shrinks = max(box.shape[0] / rows, box.shape[1] / columns)
    if 1 < shrinks < 2:
        neighbor = (shrinks**2 - 1) / 12
        weights = np.array([neighbor, 1 - 2 * neighbor, neighbor])
        box = cv2.sepFilter2D(box, -1, weights, weights)
    elif shrinks >= 2 and (box.shape[0] < rows or box.shape[1] < columns):  # OpenCV would average nothing
        smaller = min(box.shape[1], columns), min(box.shape[0], rows)
        box, shrinks = cv2.resize(box, smaller, interpolation=cv2.INTER_AREA), 1
    box = cv2.resize(box, (columns, rows), interpolation=cv2.INTER_LINEAR if shrinks < 2 else cv2.INTER_AREA)
    return box.reshape(shape)
