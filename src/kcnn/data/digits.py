"""Small samples of scikit-learn's handwritten digits, for experiments in seconds."""

import numpy as np

from kcnn.data.dataset import ImageDataset
from kcnn.data.loading import load


def sample_digits(
    seed: int, images: int, *, validation: int = 100, input_shape: tuple[int, int, int] = (16, 16, 1)
) -> ImageDataset:
    """Return a stratified sample of scikit-learn's digits.

    Args:
        seed: Draws the sample, and the order of the training images.
        images: Number of training images.
        validation: Number of validation images; all others are the test split.
        input_shape: (rows, columns, 1) that the 8x8 pixels are resized to.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype("uint8")[..., None]
    sampled, test = train_test_split(
        np.arange(len(pixels)), train_size=images + validation, stratify=digits.target, random_state=seed
    )
    train, validate = train_test_split(sampled, train_size=images, stratify=digits.target[sampled], random_state=seed)
    splits = {"train": train, "validation": validate, "test": test}
    arrays = {split: (pixels[rows], digits.target[rows]) for split, rows in splits.items()}
    return load(arrays, input_shape=input_shape, seed=seed)
