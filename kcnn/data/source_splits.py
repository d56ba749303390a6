"""Labeled images as they came, in their splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_WORDS = {
    TRAIN: (TRAIN, "training"),
    VALIDATION: ("val", "valid", VALIDATION, "dev", "eval", "evaluation"),
    TEST: (TEST, "testing"),
}
SPLITS = {
    word + ending: split
    for ending in ("", "_set", "set", "_data", "_images")
    for split, words in _WORDS.items()
    for word in words
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


def find_split(name: str) -> str | None:
    """Return the split that a folder or a cell of a CSV names.

    Args:
        name: Such as "train", "Training_Set", "val", "dev" or "test-images"; see SPLITS.

    Returns:
        "train", "validation" or "test"; None for another name.
    """
    return SPLITS.get(name.strip().casefold().replace("-", "_").replace(" ", "_"))
