"""The demo: a small network pretrained on the digits 0 to 4 is fine-tuned on 5 to 9, with few images of each."""

from dataclasses import replace

import numpy as np

from kcnn.architectures.spec import ModelSpec
from kcnn.data import ImageDataset, load
from kcnn.data.sources import find_source

DATA = "digits:5-9"
SHAPE = (32, 32, 1)
NETWORK = ModelSpec(network="convnet", options={"activation": "relu"}, input_shape=SHAPE, weights="demo")
TRAIN_IMAGES, VALIDATION_IMAGES = 20, 10  # per class


def load_demo_data(seed: int, images: int = TRAIN_IMAGES) -> ImageDataset:
    """Return the digits 5 to 9, with few images to train on.

    Args:
        seed: Draws the images.
        images: Training images per class; 10 more are for validation, and the rest is the test split.

    Returns:
        Images of 32x32 pixels, in batches of 16.
    """
    source = find_source(DATA)
    pixels, labels = source.splits["train"].images, source.splits["train"].labels
    bits = np.random.PCG64(seed).random_raw(len(labels))
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for number in range(len(source.classes)):
        rows = np.flatnonzero(labels == number)
        rows = rows[np.argsort(bits[rows], kind="stable")]
        for part, chosen in zip(parts.values(), np.split(rows, [images, images + VALIDATION_IMAGES]), strict=True):
            part.append(chosen)
    splits = {split: np.sort(np.concatenate(part)) for split, part in parts.items()}
    data = load(
        {split: (pixels[rows], labels[rows]) for split, rows in splits.items()},
        classes=source.classes,
        input_shape=SHAPE,
        batch_size=16,
        seed=seed,
    )
    return replace(data, name=DATA)  # later commands load it, and splits.csv has the split of each image
