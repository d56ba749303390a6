"""Images with more than one label, and images that must have one. No TensorFlow here."""

import filecmp
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kcnn.data.source_splits import ImageSource, SourceSplit


def merge_folders(root: str, classes: Sequence[str], part: SourceSplit) -> SourceSplit:
    """Merge the images that several class folders have under the same name into one image with several labels.

    Args:
        root: Folder of the class folders; an image's name is its path below its class folder.
        classes: Class names.
        part: Files and their class numbers.

    Returns:
        Files and labels int64 (files, classes).

    Raises:
        ValueError: Files of the same name differ.
    """
    first: dict[str, str] = {}
    labels: dict[str, np.ndarray] = {}
    for file, label in zip(part.images, part.labels, strict=True):
        known = first.setdefault(os.path.relpath(file, os.path.join(root, classes[label])), file)
        if known != file and not filecmp.cmp(known, file, shallow=False):
            raise ValueError(
                f"{known} and {file} are different images: with several labels, the same name in two class folders "
                "means the same image; rename one of them, or use a CSV of labels"
            )
        labels.setdefault(known, np.zeros(len(classes), "int64"))[label] = 1
    return SourceSplit(list(labels), np.array(list(labels.values())).reshape(-1, len(classes)), list(labels))


def check_labels(source: ImageSource, multi_label: bool) -> ImageSource:
    """Return a source with labels of the requested kind.

    Args:
        source: Labels of either kind.
        multi_label: Return 0 and 1 (images, classes), else class numbers (images,).

    Raises:
        ValueError: An image has several labels or none, and one is required.
    """
    parts: Mapping[str, SourceSplit] = source.splits
    if multi_label:
        eye = np.eye(len(source.classes), dtype="int64")
        parts = {name: p if p.labels.ndim == 2 else replace(p, labels=eye[p.labels]) for name, p in parts.items()}
        most = max((int(part.labels.sum(axis=1).max(initial=0)) for part in parts.values()), default=0)
        warnings = (*source.warnings, "no image has more than one label") if most < 2 else source.warnings
        return replace(source, splits=parts, warnings=warnings)
    return replace(source, splits={name: _require_one_label(source, part) for name, part in parts.items()})


def _require_one_label(source: ImageSource, part: SourceSplit) -> SourceSplit:
    if part.labels.ndim == 1:
        return part
    odd = np.flatnonzero(part.labels.sum(axis=1) != 1)
    if len(odd):
        names = [source.classes[i] for i in np.flatnonzero(part.labels[odd[0]])]
        labels = f"the labels {', '.join(names)}" if names else "no label"
        raise ValueError(
            f"{source.name}: expected one label per image, but {part.names[odd[0]]} has {labels}; "
            "for any number of labels per image, use --multi-label (multi_label=True)"
        )
    return replace(part, labels=part.labels.argmax(axis=1))
