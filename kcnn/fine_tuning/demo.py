"""The demonstration: what a small network learned on the digits 0 to 4 moved to 5 to 9, with few images of each."""

from dataclasses import replace

import numpy as np

from kcnn.data import ImageDataset, load
from kcnn.data.sources import find_source

NETWORK, OPTIONS = "convnet", {"act": "relu"}
IMAGES = 20  # of each class to train on
CHOOSING = 10  # of each class for validation
SIZE = 32  # pixels a side


def sample_digits(seed: int, images: int = IMAGES) -> ImageDataset:
    """Digits 5 to 9: so many of each class to train on and 10 to choose by, drawn by the seed; the rest is the test."""
    source = find_source("digits:5-9")
    pixels, labels = source.splits["train"].images, source.splits["train"].labels
    bits = np.random.PCG64(seed).random_raw(len(labels))
    chosen: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for number in range(len(source.classes)):
        mine = np.flatnonzero(labels == number)
        mine = mine[np.argsort(bits[mine], kind="stable")]
        for word, some in zip(chosen, np.split(mine, [images, images + CHOOSING]), strict=True):
            chosen[word].append(some)
    places = {word: np.sort(np.concatenate(some)) for word, some in chosen.items()}
    few = load(
        {word: (pixels[at], labels[at]) for word, at in places.items()},
        classes=source.classes,
        input_shape=(SIZE, SIZE, 1),
        batch_size=16,
        seed=seed,
    )
    return replace(few, name=f"digits:5-9, {images} of each")
