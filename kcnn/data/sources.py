"""Sources of labeled images, before anything is resized or split."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.decoding import ENDINGS, to_uint8
from kcnn.data.multilabel import check_labels, merge_folders, read_csv
from kcnn.data.readers import TfdsRecords, TFRecordFiles
from kcnn.data.source_splits import SPLITS, TRAIN, ImageSource, SourceSplit
from kcnn.graph.names import unknown

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
    return check_labels(_read_source(source, classes, multi_label), multi_label)


def _read_source(source: Any, classes: Sequence[str] | None, multi_label: bool) -> ImageSource:
    if isinstance(source, Mapping):
        return _read_arrays(source, classes)
    if isinstance(source, tuple | list) and len(source) == 2:
        return _read_arrays({TRAIN: source}, classes)
    if classes is not None:
        raise ValueError("class names are given with arrays only; other data has its own")
    if isinstance(source, str) and (source == "digits" or source.startswith("digits:")):
        return _read_digits(source.removeprefix("digits").removeprefix(":"))
    if isinstance(source, str) and source.startswith("tfds:"):
        return _read_tfds(source.removeprefix("tfds:"))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return read_csv(path) if path.suffix.lower() == ".csv" and path.is_file() else _read_folder(path, multi_label)
    raise TypeError(f'data is "digits", "tfds:NAME", a folder, a CSV or (images, labels), got {type(source).__name__}')


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


def _read_arrays(splits: Mapping[str, Any], classes: Sequence[str] | None) -> ImageSource:
    parts, largest, widths = {}, -1, set()
    for name, pair in splits.items():
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        images, labels = (np.asarray(one) for one in pair)
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
        several = labels.ndim == 2 and np.isin(labels, (0, 1)).all()
        if not (several or (labels.ndim == 1 and labels.dtype.kind in "iu")) or len(labels) != len(images):
            raise ValueError(
                f"{name}: labels are one integer per image, or 0 and 1 for each class; got {labels.dtype} "
                f"of shape {labels.shape} for {len(images)} images"
            )
        if len(labels) and labels.min() < 0:
            raise ValueError(f"{name}: labels count from 0, got {labels.min()}")
        widths.add(labels.shape[1:])
        largest = max(largest, labels.shape[1] - 1 if several else int(labels.max(initial=-1)))
        parts[SPLITS[name]] = SourceSplit(to_uint8(images), labels.astype("int64"), _number_images(name, len(images)))
    if TRAIN not in parts:
        raise ValueError(f"{TRAIN} split is missing; got {', '.join(splits)}")
    if len(widths) > 1:
        raise ValueError(f"the splits have labels of different kinds or numbers of classes: {sorted(widths)}")
    names = tuple(classes) if classes is not None else tuple(map(str, range(largest + 1)))
    if len(names) <= largest or (widths != {()} and len(names) != largest + 1):
        raise ValueError(f"labels go up to {largest}, but there are {len(names)} class names")
    return ImageSource("arrays", names, parts)


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
    parts = {}
    for split in builder.info.splits:
        if split in SPLITS:
            if builder.info.file_format.value == "tfrecord":  # prepared by other code
                images = TfdsRecords(TFRecordFiles(builder.info.splits[split].filepaths), keys)
            else:
                encoded = tfds.decode.DeserializeMethod.DESERIALIZE_NO_DECODE
                images = TfdsRecords(builder.as_data_source(split=split, deserialize_method=encoded), keys)
            parts[SPLITS[split]] = SourceSplit(images, images.labels(), _number_images(split, len(images)))
    if TRAIN not in parts:
        raise ValueError(f"tfds:{name} has no train split, only {', '.join(builder.info.splits)}")
    return ImageSource(f"tfds:{name}", tuple(label.names), parts)


def _number_images(split: str, count: int) -> list[str]:
    return [f"{split}[{i}]" for i in range(count)]


def _read_folder(root: Path, multi_label: bool) -> ImageSource:
    if not root.is_dir():
        raise FileNotFoundError(
            f'folder not found: {root}; data is "digits", "tfds:NAME", a folder with one folder of images per '
            "class, or a CSV of labels"
        )
    inside = _list_folders(root)
    split_folders = {SPLITS[p.name.lower()]: p for p in inside if p.name.lower() in SPLITS}
    has_splits = TRAIN in split_folders and len(split_folders) == len(inside)
    roots = split_folders if has_splits else {TRAIN: root}
    names = tuple(p.name for p in _list_folders(roots[TRAIN]))
    if not names:
        raise ValueError(f"{roots[TRAIN]} contains no folders; expected one folder of images per class")
    parts, warnings = {}, []
    for split, folder in roots.items():
        extra = [p.name for p in _list_folders(folder) if p.name not in names]
        if extra:
            raise ValueError(f"{folder} has the class {extra[0]!r}, which {roots[TRAIN]} lacks ({', '.join(names)})")
        files, labels, ignored = [], [], []
        for number, name in enumerate(names):
            # a test split may lack a class
            for path in _list_files(folder / name) if (folder / name).is_dir() else ():
                if path.lower().endswith(ENDINGS):
                    files.append(path)
                    labels.append(number)
                else:
                    ignored.append(path)
        if ignored:
            example = os.path.basename(ignored[0])
            warnings.append(
                f"ignored {len(ignored)} files under {folder} that are not named as images, such as {example}"
            )
        part = SourceSplit(files, np.array(labels, "int64"), files)
        parts[split] = merge_folders(folder, names, part) if multi_label else part
    return ImageSource(str(root), names, parts, tuple(warnings))


def _list_files(root: Path | str) -> Iterator[str]:
    """Every file below a folder but for hidden ones, in the order of names; a folder that is a link is not entered."""
    with os.scandir(root) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _list_files(entry.path)
        elif entry.name.startswith("."):
            continue
        elif os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():  # a link may lead in a circle
            yield entry.path


def _list_folders(root: Path) -> list[Path]:
    """The folders in a folder, but for hidden ones and links that lead back to it or above."""
    above = {root.resolve(), *root.resolve().parents}
    folders = (p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return sorted(p for p in folders if not (p.is_symlink() and p.resolve() in above))
