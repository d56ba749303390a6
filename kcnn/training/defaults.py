"""Hyperparameters that follow from the data: what the recipe "auto" leaves open. No Keras here."""

import math
from typing import Any

EPOCHS = (15, 100)  # fewest and most
BATCH_SIZES = ((500, 16), (20_000, 32), (math.inf, 64))  # up to so many training images
NORM_MOMENTUM = (0.9, 0.99)


def choose_regularization(channels: int) -> dict[str, Any]:
    """Return augmentation and label smoothing for images of 1 or 3 channels, as recipe options.

    Photos may be mirrored and cropped. Gray images are often characters or scans, whose class may depend on orientation
    and position: they stay as they are.

    Args:
        channels: Channels of an image.

    Returns:
        Options by name.
    """
    return {"flip": True, "resized_crop": (0.5, 1.0), "label_smoothing": 0.1} if channels == 3 else {}


def choose_schedule(
    images: int, *, replicas: int = 1, epochs: int | None = None, has_validation: bool = True
) -> dict[str, Any]:
    """Return batch size, epochs, early stopping and the momentum of batch normalization, as recipe options.

    Few images need more epochs for as many steps: epochs fall with the square root of the number of images. Moving
    averages of batch normalization cover a fifth of an epoch, so that validation does not lag behind.

    Args:
        images: Number of training images.
        replicas: Of a distribution strategy; the batch size is a multiple of it.
        epochs: Number of epochs where it is given.
        has_validation: Whether there are validation images, without which nothing can stop early.

    Returns:
        Options by name.
    """
    batch_size = next(size for limit, size in BATCH_SIZES if images <= limit)
    batch_size = replicas * max(1, min(batch_size, images // 4) // replicas)
    epochs = epochs or min(EPOCHS[1], max(EPOCHS[0], round(2_000 / math.sqrt(images))))
    momentum = 1 - 5 / max(5, images // batch_size)
    return {
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": max(10, epochs // 3) if has_validation else 0,
        "norm_momentum": round(min(NORM_MOMENTUM[1], max(NORM_MOMENTUM[0], momentum)), 3),
    }
