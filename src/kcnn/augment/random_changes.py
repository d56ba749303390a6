"""RandAugment (arXiv:1909.13719): the changes of each image as a matrix, saturation, sharpness and table changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.augment import color, geometry
from kcnn.augment.seeds import draw_signs

KINDS = ("shear", "translation", "rotation", "saturation", "sharpness", *color.KINDS)
SHEAR, SHIFT, ROTATE, ENHANCE, BITS = 0.3, 150 / 331, 30.0, 0.9, 4.0  # at strength 1: arXiv:1805.09501, table 6
BRIGHTNESS = 0.5  # at strength 1; the paper multiplies by up to 1.9, Keras and kcnn add
LARGEST = {"brightness": BRIGHTNESS, "contrast": ENHANCE, "posterize": BITS, "solarize": 256.0}  # at strength 1
SIGNED = ("brightness", "contrast")  # of the table changes


@dataclass(frozen=True)
class RandomChanges:
    """Changes of n images, applied in this order; saturations of an image add up, and so do sharpnesses."""

    matrix: np.ndarray  # (n, 3, 3)
    moves: np.ndarray  # (n,), True where the matrix changes the image
    saturation: np.ndarray  # (n,)
    sharpness: np.ndarray  # (n,)
    tables: list[list[color.Change]]  # of each image


def draw_changes(
    random: np.random.Generator, n: int, size: Sequence[int], changes: int, strength: float
) -> RandomChanges:
    """Draw the kinds of changes uniformly, each with a random sign; shear and shift are along one side.

    Args:
        random: Source of random numbers.
        n: Number of images.
        size: (rows, columns).
        changes: Number of changes per image.
        strength: 0 to 1.

    Returns:
        The changes.
    """
    numbers = random.integers(0, len(KINDS), (n, changes))
    signs, is_horizontal = draw_signs(random, (n, changes)), draw_signs(random, (n, changes)) > 0
    rows, columns = size

    def amount(kind: str, most: float) -> np.ndarray:
        return np.where(numbers == KINDS.index(kind), signs * most * strength, 0.0)

    shear, shift, rotate = amount("shear", SHEAR), amount("translation", SHIFT), amount("rotation", ROTATE)
    matrices = []
    for i in range(changes):
        across, down = is_horizontal[:, i], ~is_horizontal[:, i]
        matrices += [
            geometry.shear_matrix(shear[:, i] * across, shear[:, i] * down),
            geometry.translation_matrix(shift[:, i] * across * columns, shift[:, i] * down * rows),
            geometry.rotation_matrix(rotate[:, i], size),
        ]
    return RandomChanges(
        matrix=geometry.compose(matrices),
        moves=np.isin(numbers, (0, 1, 2)).sum(axis=1) > 0,
        saturation=amount("saturation", ENHANCE).sum(axis=1),
        sharpness=amount("sharpness", ENHANCE).sum(axis=1),
        tables=[
            [_make_change(KINDS[number], sign, strength) for number, sign in zip(*row, strict=True) if number >= 5]
            for row in zip(numbers.tolist(), signs.tolist(), strict=True)
        ],
    )


def _make_change(kind: str, sign: float, strength: float) -> color.Change:
    """A table change of a strength, where it has one."""
    amount = LARGEST.get(kind, 0.0) * strength * (sign if kind in SIGNED else 1)
    return kind, round(amount) if kind == "posterize" else amount
