"""Where labelled pictures come from, before anything is resized or split."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.decoding import ENDINGS, to_uint8
from kcnn.data.multilabel import count_labels, merge_folders, read_csv
from kcnn.data.readers import FrameColumn, TfdsRecords
from kcnn.data.source_splits import SPLITS, TEST, TRAIN, VALIDATION, ImageSource, SourceSplit

RANDOM_ACCESS = "array_record"  # the file format of TensorFlow Datasets in which any record can be read alone


def find_source(source: Any, classes: Sequence[str] | None = None, multi_label: bool = False) -> ImageSource:
    """The source that a word, a folder, a CSV of labels or arrays stand for.

    "digits", or some as "digits:0-4"; "tfds:NAME"; a path; (images, labels); {"train": (images, labels), "test": ...}.
    Labels are class numbers, or with `multi_label` 0 and 1 for each class.
    """
    return count_labels(_found(source, classes, multi_label), multi_label)


def _found(source: Any, classes: Sequence[str] | None, multi_label: bool) -> ImageSource:
    if isinstance(source, Mapping):
        return _arrays(source, classes)
    if isinstance(source, tuple | list) and len(source) == 2:
        return _arrays({TRAIN: source}, classes)
    if classes is not None:
        raise ValueError("class names are given with arrays only; other data brings its own")
    if isinstance(source, str) and (source == "digits" or source.startswith("digits:")):
        return _digits(source.removeprefix("digits").removeprefix(":"))
    if isinstance(source, str) and source.startswith("tfds:"):
        return _tfds(source.removeprefix("tfds:"))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return read_csv(path) if path.suffix.lower() == ".csv" and path.is_file() else _folder(path, multi_label)
    raise TypeError(f'data is "digits", "tfds:NAME", a folder, a CSV or (images, labels), not {type(source).__name__}')


def _digits(some: str = "") -> ImageSource:
    """scikit-learn's handwritten digits, or those from one to another: "0-4"."""
    from sklearn.datasets import load_digits

    found = load_digits()
    first, dash, last = some.partition("-") if some else ("0", "-", "9")
    if not (dash and first.isdigit() and last.isdigit() and int(first) < int(last) <= 9):
        raise ValueError(f'"digits:{some}" is no range of digits such as "digits:0-4"')
    mine = np.flatnonzero((found.target >= int(first)) & (found.target <= int(last)))
    images = np.round(found.images[mine] * (255 / 16)).astype("uint8")[..., None]
    part = SourceSplit(images, found.target[mine].astype("int64") - int(first), [f"digits[{i}]" for i in mine])
    names = tuple(map(str, range(int(first), int(last) + 1)))
    return ImageSource(f"digits:{some}" if some else "digits", names, {TRAIN: part})


def _arrays(splits: Mapping[str, Any], classes: Sequence[str] | None) -> ImageSource:
    parts, largest, widths = {}, -1, set()
    for word, pair in splits.items():
        if word not in SPLITS:
            raise ValueError(f"a split is called {TRAIN}, {VALIDATION} or {TEST}, not {word!r}")
        images, labels = (np.asarray(one) for one in pair)
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
        many = labels.ndim == 2 and np.isin(labels, (0, 1)).all()
        if not (many or (labels.ndim == 1 and labels.dtype.kind in "iu")) or len(labels) != len(images):
            raise ValueError(
                f"{word}: labels are one whole number per image, or 0 and 1 for each class; these are {labels.dtype} "
                f"of shape {labels.shape} for {len(images)} images"
            )
        if len(labels) and labels.min() < 0:
            raise ValueError(f"{word}: labels count from 0; these begin at {labels.min()}")
        widths.add(labels.shape[1:])
        largest = max(largest, labels.shape[1] - 1 if many else int(labels.max(initial=-1)))
        parts[SPLITS[word]] = SourceSplit(to_uint8(images), labels.astype("int64"), _numbered(word, len(images)))
    if TRAIN not in parts:
        raise ValueError(f"there is no {TRAIN} split among {', '.join(splits)}")
    if len(widths) > 1:
        raise ValueError(f"the splits have labels of different kinds or numbers of classes: {sorted(widths)}")
    names = tuple(classes) if classes is not None else tuple(map(str, range(largest + 1)))
    if len(names) <= largest or (widths != {()} and len(names) != largest + 1):
        raise ValueError(f"labels go up to {largest}, but there are {len(names)} class names")
    return ImageSource("arrays", names, parts)


def _tfds(name: str) -> ImageSource:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError(
            f'"tfds:{name}" needs TensorFlow Datasets, which is not installed: pip install "kcnn[tfds]"'
        ) from None
    try:
        builder = tfds.builder(name)
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(f"TensorFlow Datasets has no data set {name!r}") from None
    if not builder.is_prepared():
        builder = tfds.builder(name, file_format=RANDOM_ACCESS)
    keys, features = builder.info.supervised_keys, builder.info.features
    label = features[keys[1]] if keys and len(keys) == 2 and keys[1] in features else None
    if not isinstance(label, tfds.features.ClassLabel) or not isinstance(features[keys[0]], tfds.features.Image):
        raise ValueError(f"tfds:{name} is not for image classification: it gives {keys}")
    builder.download_and_prepare()
    parts = {}
    for split in builder.info.splits:
        if split in SPLITS:
            if builder.info.file_format.value == "tfrecord":  # prepared by somebody else
                images = TfdsRecords(FrameColumn(builder.info.splits[split].filepaths), keys)
            else:
                plain = tfds.decode.DeserializeMethod.DESERIALIZE_NO_DECODE
                images = TfdsRecords(builder.as_data_source(split=split, deserialize_method=plain), keys)
            parts[SPLITS[split]] = SourceSplit(images, images.labels(), _numbered(split, len(images)))
    if TRAIN not in parts:
        raise ValueError(f"tfds:{name} has no train split; it has {', '.join(builder.info.splits)}")
    return ImageSource(f"tfds:{name}", tuple(label.names), parts)


def _numbered(word: str, count: int) -> list[str]:
    return [f"{word}[{i}]" for i in range(count)]


def _folder(root: Path, multi_label: bool) -> ImageSource:
    if not root.is_dir():
        raise FileNotFoundError(
            f'there is no folder {root}; data is "digits", "tfds:NAME", a folder of one folder of pictures per '
            "class, or a CSV of labels"
        )
    inside = _folders(root)
    split = {SPLITS[p.name.lower()]: p for p in inside if p.name.lower() in SPLITS}
    divided = TRAIN in split and len(split) == len(inside)
    roots = split if divided else {TRAIN: root}
    names = tuple(p.name for p in _folders(roots[TRAIN]))
    if not names:
        raise ValueError(f"{roots[TRAIN]} holds no folders; it should hold one folder of pictures per class")
    parts, notes = {}, []
    for word, where in roots.items():
        strange = [p.name for p in _folders(where) if p.name not in names]
        if strange:
            raise ValueError(f"{where} has the class {strange[0]!r}, which {roots[TRAIN]} has not ({', '.join(names)})")
        files, labels, ignored = [], [], []
        for number, name in enumerate(names):
            for path in _files(where / name) if (where / name).is_dir() else ():  # a test split may lack a class
                if path.lower().endswith(ENDINGS):
                    files.append(path)
                    labels.append(number)
                else:
                    ignored.append(path)
        if ignored:
            such = os.path.basename(ignored[0])
            notes.append(f"{len(ignored)} files under {where} are no pictures by their names, such as {such}")
        whole = SourceSplit(files, np.array(labels, "int64"), files)
        parts[word] = merge_folders(where, names, whole) if multi_label else whole
    return ImageSource(str(root), names, parts, tuple(notes))


def _files(root: Path | str) -> Iterator[str]:
    """Every file below a folder but for hidden ones, in the order of names; a folder that is a link is not entered."""
    with os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.name.startswith("."):
            continue
        elif os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():  # a link may lead in a circle
            yield entry.path


def _folders(root: Path) -> list[Path]:
    """The folders in a folder, but for hidden ones and links that lead back to it or above."""
    above = {root.resolve(), *root.resolve().parents}
    found = (p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return sorted(p for p in found if not (p.is_symlink() and p.resolve() in above))
