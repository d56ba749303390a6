"""RandAugment (arXiv:1909.13719): the changes of each image as a matrix, saturation, sharpness and table changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from kcnn.augment import color, geometry
from kcnn.augment.seeds import random_integers, random_signs

KINDS = ("shear", "translation", "rotation", "saturation", "sharpness", *color.KINDS)
SHEAR, SHIFT, ROTATE, ENHANCE, BITS = 0.3, 150 / 331, 30.0, 0.9, 4.0  # at strength 1: arXiv:1805.09501, table 6
BRIGHTNESS = 0.5  # at strength 1; the paper multiplies by up to 1.9, Keras and kcnn add


@dataclass(frozen=True)
class RandomChanges:
    """Changes of n images, applied in this order; saturations of an image add up, and so do sharpnesses."""

    matrix: tf.Tensor  # (n, 3, 3)
    moves: tf.Tensor  # (n,), True where the matrix changes the image
    saturation: tf.Tensor  # (n,)
    sharpness: tf.Tensor  # (n,)
    tables: list[color.Change]


def draw_changes(seed: tf.Tensor, n: tf.Tensor, size: Sequence[int], changes: int, strength: float) -> RandomChanges:
    """Draw the kinds of changes uniformly, each with a random sign; shear and shift are along one side.

    Args:
        seed: int (2,).
        n: Number of images.
        size: (rows, columns).
        changes: Number of changes per image.
        strength: 0 to 1.

    Returns:
        The changes.
    """
    kinds = random_integers(seed, 0, [n, changes], 0, len(KINDS))
    sign, horizontal = random_signs(seed, 1, [n, changes]), random_signs(seed, 2, [n, changes]) > 0
    rows, columns = size

    def amount(name: str, most: float) -> tf.Tensor:
        return tf.where(kinds == KINDS.index(name), sign * most * strength, 0.0)

    matrices = []
    shear, shift, rotate = amount("shear", SHEAR), amount("translation", SHIFT), amount("rotation", ROTATE)
    for i in range(changes):
        across, down = (tf.where(side[:, i], 1.0, 0.0) for side in (horizontal, ~horizontal))
        matrices += [
            geometry.shear_matrix(shear[:, i] * across, shear[:, i] * down),
            geometry.translation_matrix(shift[:, i] * across * columns, shift[:, i] * down * rows),
            geometry.rotation_matrix(rotate[:, i], size),
        ]
    first = KINDS.index(color.KINDS[0])
    most = tf.constant([BRIGHTNESS, ENHANCE, BITS, 256.0, 0.0, 0.0]) * strength
    tables = []
    for i in range(changes):
        number = tf.maximum(kinds[:, i] - first, color.NONE)
        value = tf.gather(most, tf.maximum(number, 0)) * tf.where(number < 2, sign[:, i], 1.0)
        tables.append((number, tf.where(number == color.KINDS.index("posterize"), tf.round(value), value)))
    return RandomChanges(
        matrix=geometry.compose(matrices),
        moves=tf.reduce_any(kinds < 3, axis=1),
        saturation=tf.reduce_sum(amount("saturation", ENHANCE), axis=1),
        sharpness=tf.reduce_sum(amount("sharpness", ENHANCE), axis=1),
        tables=tables,
    )
