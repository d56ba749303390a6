"""Random numbers that depend only on a seed and a number, so that another draw changes none of them."""

from collections.abc import Sequence

import numpy as np

SEEDS = 1 << 64  # a NumPy seed is a number below


def make_generator(seed: Sequence[int], number: int) -> np.random.Generator:
    """Return a source of random numbers.

    Args:
        seed: Two integers.
        number: Of the draw.
    """
    return np.random.Generator(np.random.PCG64([*(int(part) % SEEDS for part in seed), number]))


def draw_signs(random: np.random.Generator, shape: int | Sequence[int]) -> np.ndarray:
    """Draw -1 or 1 with equal probability.

    Args:
        random: Source of random numbers.
        shape: Shape of the result.

    Returns:
        float64 of that shape.
    """
    return 2.0 * random.integers(0, 2, shape) - 1.0
