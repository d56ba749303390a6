"""JPEG photos to measure with, cropped from the two of scikit-learn."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(root: Path, size: tuple[int, int] = (500, 375), count: int = 6 * 64) -> Path:
    """Write photos of a size (columns, rows) in class folders, the crops enlarged if necessary.

    Args:
        root: Folder to write train/ and test/ in, an eighth of the photos for testing.
        size: Of each photo.
        count: Number of photos.

    Returns:
        The folder.
    """
    from sklearn.datasets import load_sample_images

    rng, (columns, rows) = np.random.default_rng(0), size
    images = [Image.fromarray(one) for one in load_sample_images().images]
    scale = max(1.0, *(side / most for side, most in zip(size, images[0].size, strict=True)))
    images = [one.resize((round(one.width * scale), round(one.height * scale))) for one in images]
    for i in range(count):
        image = images[i % 2]
        left, top = rng.integers(image.width - columns + 1), rng.integers(image.height - rows + 1)
        folder = root / ("train" if i % 16 > 1 else "test") / ("china", "flower")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, left + columns, top + rows)).save(folder / f"{i}.jpg", quality=90)
    return root
