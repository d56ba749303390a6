"""Labeled images as they came, in their splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = {
    TRAIN: TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    TEST: TEST,
    "testing": TEST,
}


@dataclass(frozen=True, eq=False)
class SourceSplit:
    """One split as it came: images (arrays, files or encoded bytes), labels, and names for messages.

    Labels are class numbers (images,), or 0 and 1 for each class (images, classes).
    """

    images: Any  # see kcnn.data.readers
    labels: np.ndarray
    names: Sequence[str]


@dataclass(frozen=True)
class ImageSource:
    """Labeled images in the splits they came in; "train" is always among them."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, SourceSplit]
    warnings: tuple[str, ...] = field(default=())
