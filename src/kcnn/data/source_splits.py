"""Labeled images as they came, in their splits."""

import re
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
_FILLERS = re.compile(r"(set|data|images|\d+)?")  # tokens that say nothing about a split


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


def guess_split(name: str) -> str | None:
    """Return the split that the first or last word of a name stands for, which may also be part of a class name.

    Args:
        name: Such as "seg_train", "images-test" or "train2017"; also "test_tube".

    Returns:
        "train", "validation" or "test"; None for another name.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[-_.\s]+", name.casefold())]
    words = [word for word in words if not _FILLERS.fullmatch(word)]
    return find_split(name) or (find_split(words[0]) or find_split(words[-1]) if words else None)
