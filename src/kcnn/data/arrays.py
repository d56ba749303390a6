"""Images and labels in arrays. No TensorFlow here."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from kcnn.data.color_modes import to_uint8
from kcnn.data.source_splits import SPLITS, TEST, TRAIN, VALIDATION, ImageSource, SourceSplit
from kcnn.graph.names import unknown

ARRAYS = "arrays"  # name of data that was passed from Python
LABELS = "labels are one integer per image, one class name per image, or 0 and 1 for each class"


def read_arrays(splits: Mapping[str, Any], classes: Sequence[str] | None = None) -> ImageSource:
    """Return images and labels as a source.

    Args:
        splits: (images, labels) by the name of the split. Images are 0..255 (images, rows, columns) or (images, rows,
            columns, channels). Labels are class numbers of any integer type or class names, (images,) or (images, 1);
            or 0 and 1 for each class (images, classes), one-hot or with several labels per image.
        classes: Class names; by default the names among the labels in order, or the class numbers.

    Returns:
        The source.

    Raises:
        UnknownNameError: There is no such split, or class.
        ValueError: Images or labels have another form.
    """
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for name, pair in splits.items():
        if name not in SPLITS:
            raise unknown("split", name, (TRAIN, VALIDATION, TEST))
        split = SPLITS[name]
        if split in images:
            raise ValueError(f"{name}: the {split} split is given twice, as {', '.join(splits)}")
        images[split], labels[split] = _to_array(name, "images", pair[0]), _to_labels(name, pair[1])
        if len(images[split]) != len(labels[split]):
            raise ValueError(
                f"{name}: {LABELS}; got {labels[split].dtype} of shape {labels[split].shape} for "
                f"{len(images[split])} images"
            )
    if TRAIN not in images:
        raise ValueError(f"{TRAIN} split is missing; got {', '.join(splits)}")
    forms = {(array.shape[1:], array.dtype.kind == "U") for array in labels.values()}
    if len(forms) > 1:
        raise ValueError(
            "the splits have labels of different kinds or numbers of classes: "
            + ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in labels.items())
        )
    if labels[TRAIN].dtype.kind == "U":
        names, labels = _number_names(labels, classes)
    else:
        names = _name_classes(labels, classes)
    parts = {
        split: SourceSplit(to_uint8(images[split]), labels[split], number_images(name, len(images[split])))
        for name, split in ((name, SPLITS[name]) for name in splits)
    }
    return ImageSource(ARRAYS, names, parts)


def number_images(split: str, count: int) -> list[str]:
    """Return names for images without files.

    Args:
        split: As it is called in the data.
        count: Number of images.
    """
    return [f"{split}[{i}]" for i in range(count)]


def _to_array(split: str, kind: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{split}: {kind} are arrays of one shape, got a sequence of several shapes") from None


def _to_labels(split: str, values: Any) -> np.ndarray:
    """Labels as class numbers int64 (images,), names (images,), or 0 and 1 int64 (images, classes)."""
    labels = _to_array(split, "labels", values)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.dtype == object and labels.size and all(isinstance(item, Integral) for item in labels.flat):
        if min(labels.flat) < 0 or max(labels.flat) >= 1 << 31:
            raise ValueError(f"{split}: labels count the classes from 0, got {min(labels.flat)} to {max(labels.flat)}")
        labels = labels.astype("int64")
    if labels.dtype.kind in "OU" and labels.ndim == 1 and all(isinstance(label, str) for label in labels.tolist()):
        return labels.astype(str)
    if labels.dtype.kind == "S" and labels.ndim == 1:
        return np.char.decode(labels, "utf-8")
    if labels.ndim == 2 and labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all():
        return labels.astype("int64")
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        cure = "; convert them by labels.astype(int)" if labels.ndim == 1 and labels.dtype.kind == "f" else ""
        raise ValueError(f"{split}: {LABELS}; got {labels.dtype} of shape {labels.shape}{cure}")
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{split}: labels count from 0, got {labels.min()}")
    if len(labels) and int(labels.max()) >= 1 << 31:
        raise ValueError(f"{split}: labels count the classes from 0, got {labels.max()}")
    return labels.astype("int64")


def _number_names(
    labels: Mapping[str, np.ndarray], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and labels that are names as their numbers."""
    known = np.unique(np.concatenate(list(labels.values())))
    names = tuple(classes) if classes is not None else tuple(known.tolist())
    numbers = {name: number for number, name in enumerate(names)}
    for name in known.tolist():
        if name not in numbers:
            raise unknown("class", name, names, "labels")
    return names, {
        split: np.array([numbers[name] for name in array.tolist()], "int64") for split, array in labels.items()
    }


def _name_classes(labels: Mapping[str, np.ndarray], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Class names for labels that are numbers, or 0 and 1 for each class."""
    is_indicator = labels[TRAIN].ndim == 2
    largest = labels[TRAIN].shape[1] - 1 if is_indicator else max(int(a.max(initial=-1)) for a in labels.values())
    if classes is None and not is_indicator and largest >= max(2, len(labels[TRAIN])):
        raise ValueError(
            f"labels go up to {largest}, but there are only {len(labels[TRAIN])} training images: class numbers count "
            "from 0 without gaps"
        )
    names = tuple(classes) if classes is not None else tuple(map(str, range(largest + 1)))
    if len(names) <= largest or (is_indicator and len(names) != largest + 1):
        raise ValueError(f"labels go up to {largest}, but there are {len(names)} class names")
    return names
