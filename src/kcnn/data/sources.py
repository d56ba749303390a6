"""Sources of labeled images, before anything is resized or split."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.arrays import ARRAYS, number_images, read_arrays
from kcnn.data.folders import check_root, read_folder
from kcnn.data.label_csv import read_csv
from kcnn.data.multilabel import check_labels
from kcnn.data.readers import TfdsRecords, TFRecordFiles
from kcnn.data.source_splits import SPLITS, TEST, TRAIN, ImageSource, SourceSplit

RANDOM_ACCESS = "array_record"  # the file format of TensorFlow Datasets in which any record can be read by itself


def find_source(source: Any, classes: Sequence[str] | None = None, multi_label: bool = False) -> ImageSource:
    """Return the labeled images of a name, a folder, a CSV of labels or arrays.

    Args:
        source: "digits", or some of them as "digits:0-4"; "tfds:NAME"; a path; (images, labels);
            {"train": (images, labels), "test": ...}.
        classes: Class names, for arrays only.
        multi_label: Labels are 0 and 1 for each class instead of class numbers.

    Raises:
        FileNotFoundError: The folder does not exist.
        ImportError: TensorFlow Datasets is not installed.
        ValueError: The data has another form, or an image does not have exactly one label where it must.
        TypeError: The source has another type.
    """
    return check_labels(_check_classes(_read_source(source, classes, multi_label)), multi_label)


def _read_source(source: Any, classes: Sequence[str] | None, multi_label: bool) -> ImageSource:
    if isinstance(source, Mapping):
        return read_arrays(source, classes)
    if isinstance(source, tuple | list) and len(source) == 2:
        return read_arrays({TRAIN: source[0], TEST: source[1]} if _are_pairs(source) else {TRAIN: source}, classes)
    if classes is not None:
        raise ValueError("class names are given with arrays only; other data has its own")
    if isinstance(source, str) and _is_built_in(source) and source != ARRAYS:
        kind, _, name = source.partition(":")
        data = _read_digits(name) if kind == "digits" else _read_tfds(name)
        if not os.path.exists(source):
            return data
        folder = os.path.join(os.curdir, source)
        return replace(data, warnings=(*data.warnings, f'"{source}" is a built-in name; {folder} reads what is there'))
    if isinstance(source, str | os.PathLike) and source != "":
        return _read_path(os.fspath(source), multi_label)
    got = repr(source) if isinstance(source, str) else type(source).__name__
    raise TypeError(f'data is "digits", "tfds:NAME", a folder, a CSV or (images, labels), got {got}')


def is_same_source(first: Any, second: str) -> bool:
    """Return whether two names of data are of the same folder, file or built-in data.

    Args:
        first: A source as for find_source; arrays are never the same.
        second: Name of a source.
    """
    if not isinstance(first, str | os.PathLike):
        return False
    if (isinstance(first, str) and _is_built_in(first)) or _is_built_in(second):
        return isinstance(first, str) and first == second
    if os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return os.path.abspath(os.fspath(first)) == os.path.abspath(second)


def find_location(name: str) -> str | None:
    """Return the absolute path of the folder or the file that data is named after; None for built-in data and arrays.

    Args:
        name: Name of an ImageDataset.
    """
    return os.path.abspath(name) if not _is_built_in(name) and os.path.exists(name) else None


def locate_source(name: str, location: str | None) -> str:
    """Return where recorded data is now, as a source.

    Args:
        name: The name of the data, which may be relative to the working directory of that time.
        location: From `find_location` of that time.

    Returns:
        The location. The name where data was moved with the working directory, or means the same.
    """
    if location is None or os.path.abspath(name) == location:
        return name
    return location if os.path.exists(location) or not os.path.exists(name) else name


def check_source(source: str) -> None:
    """Refuse a source whose folder or file does not exist, without reading it.

    Args:
        source: As for find_source.

    Raises:
        FileNotFoundError: It does not exist.
    """
    if not _is_built_in(source) and not os.path.isfile(source):
        check_root(source)


def _is_built_in(source: str) -> bool:
    """Whether a run records data by this name that is no folder and no file."""
    return source in ("digits", ARRAYS) or source.startswith(("digits:", "tfds:"))


def _are_pairs(source: Sequence[Any]) -> bool:
    """Whether these are the two pairs that keras.datasets gives, and not images and labels."""
    return all(isinstance(pair, tuple) and len(pair) == 2 for pair in source) and np.ndim(source[1][0]) > 2


def _read_path(path: str, multi_label: bool) -> ImageSource:
    path = str(Path(path))
    path = os.path.join(os.curdir, path) if _is_built_in(path) else path  # a run records it by this name
    if not os.path.isfile(path):
        return read_folder(path, multi_label)
    if path.lower().endswith((".csv", ".tsv")):
        return read_csv(path, multi_label)
    raise ValueError(f"{path} is a file; data is a folder with one folder of images per class, or a .csv of labels")


def _check_classes(source: ImageSource) -> ImageSource:
    """Refuse two classes of one name, and warn of names that look alike."""
    double = [name for name, count in Counter(source.classes).items() if count > 1]
    if double:
        raise ValueError(f"{source.name} has two classes {double[0]!r}; class names must differ")
    folded = Counter(map(_fold_name, source.classes))
    alike = [name for name in source.classes if folded[_fold_name(name)] > 1]
    if not alike:
        return source
    differences = "case" if len(set(map(str.casefold, alike))) < len(alike) else "how their letters are encoded"
    return replace(
        source, warnings=(*source.warnings, f"classes that differ by {differences} alone: {', '.join(alike)}")
    )


def _fold_name(name: str) -> str:
    """A name without what no reader sees: its case, and whether accents are letters of their own."""
    return unicodedata.normalize("NFC", name).casefold()


def _read_digits(some: str = "") -> ImageSource:
    """scikit-learn's handwritten digits, or a range of them: "0-4"."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    first, dash, last = some.partition("-") if some else ("0", "-", "9")
    if not (dash and first.isdigit() and last.isdigit() and int(first) < int(last) <= 9):
        raise ValueError(f'"digits:{some}" is not a range of digits such as "digits:0-4"')
    chosen = np.flatnonzero((digits.target >= int(first)) & (digits.target <= int(last)))
    images = np.round(digits.images[chosen] * (255 / 16)).astype("uint8")[..., None]
    part = SourceSplit(images, digits.target[chosen].astype("int64") - int(first), [f"digits[{i}]" for i in chosen])
    names = tuple(map(str, range(int(first), int(last) + 1)))
    return ImageSource(f"digits:{some}" if some else "digits", names, {TRAIN: part})


def _read_tfds(name: str) -> ImageSource:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError(
            f'"tfds:{name}" requires TensorFlow Datasets, which is not installed: pip install "kcnn[tfds]"'
        ) from None
    try:
        builder = tfds.builder(name)
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(f"TensorFlow Datasets has no dataset {name!r}") from None
    if not builder.is_prepared():
        builder = tfds.builder(name, file_format=RANDOM_ACCESS)
    keys, features = builder.info.supervised_keys, builder.info.features
    label = features[keys[1]] if keys and len(keys) == 2 and keys[1] in features else None
    if not isinstance(label, tfds.features.ClassLabel) or not isinstance(features[keys[0]], tfds.features.Image):
        raise ValueError(f"tfds:{name} is not a dataset for image classification: its supervised keys are {keys}")
    builder.download_and_prepare()
    parts: dict[str, SourceSplit] = {}
    left_out = []
    for split in builder.info.splits:
        if split not in SPLITS or SPLITS[split] in parts:
            left_out.append(split)
        else:
            if builder.info.file_format.value == "tfrecord":  # prepared by other code
                images = TfdsRecords(TFRecordFiles(builder.info.splits[split].filepaths), keys)
            else:
                encoded = tfds.decode.DeserializeMethod.DESERIALIZE_NO_DECODE
                images = TfdsRecords(builder.as_data_source(split=split, deserialize_method=encoded), keys)
            parts[SPLITS[split]] = SourceSplit(images, images.labels(), number_images(split, len(images)))
    if TRAIN not in parts:
        raise ValueError(f"tfds:{name} has no train split, only {', '.join(builder.info.splits)}")
    warnings = (f"left out the splits {', '.join(left_out)} of tfds:{name}",) if left_out else ()
    return ImageSource(f"tfds:{name}", tuple(label.names), parts, warnings)
