"""Images with more than one label: from a CSV, or from class folders that share images. No TensorFlow here."""

import csv
import filecmp
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kcnn.data.source_splits import SPLITS, TRAIN, ImageSource, SourceSplit

SEPARATORS = (";", "|", ",", " ")  # between labels in one cell: the first that occurs in any cell counts
YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")


def read_csv(path: Path) -> ImageSource:
    """Read the images that a CSV names, and their labels.

    The first column has files, relative to the folder of the CSV. Labels are one column of names, several in a cell
    separated by ";", "|", "," or a space, or a column of 0 and 1 for each class. A column "split" may contain train,
    validation or test. A file in several rows has the labels of all of them.

    Args:
        path: The CSV.

    Returns:
        The images with labels int64 (images, classes).

    Raises:
        ValueError: The CSV has another form, or none of its files exists.
    """
    rows = _read_rows(path)
    header, rows = rows[0], rows[1:]
    split = next((i for i, name in enumerate(header) if name.strip().lower() == "split"), None)
    columns = [i for i in range(1, len(header)) if i != split]
    if not columns or not rows:
        raise ValueError(f"{path} has no {'labels' if rows else 'images'}: {_EXPECTED}")
    if (path.parent / header[0]).is_file():
        raise ValueError(f"{path} has no header: its first row is {', '.join(header)}; {_EXPECTED}")
    by_name = len(columns) == 1
    names, labels_of_rows = _read_names(rows, columns[0]) if by_name else _read_indicators(path, header, rows, columns)
    split_of_rows = [SPLITS.get(row[split].strip().lower(), "") if split is not None else TRAIN for row in rows]
    if "" in split_of_rows:
        wrong = split_of_rows.index("")
        raise ValueError(f"{path}, row {wrong + 2}: a split is train, validation or test, got {rows[wrong]}")
    parts: dict[str, dict[str, np.ndarray]] = {}
    for row, name, classes in zip(rows, split_of_rows, labels_of_rows, strict=True):
        file = str(path.parent / row[0].strip())
        labels = parts.setdefault(name, {}).setdefault(file, np.zeros(len(names), "int64"))
        labels[classes] = 1
    files = [file for part in parts.values() for file in part]
    if not any(map(os.path.isfile, files)):
        raise ValueError(f"{path} names {len(files)} images, and none of them exists, such as {files[0]}")
    if TRAIN not in parts:
        raise ValueError(f"{path} has no train split, only {', '.join(parts)}")
    splits = {name: SourceSplit(list(part), np.stack(list(part.values())), list(part)) for name, part in parts.items()}
    return ImageSource(str(path), names, splits)


_EXPECTED = (
    "a CSV of labels has a header, files in its first column, then labels, or a column of 0 and 1 for each class"
)


def _read_rows(path: Path) -> list[list[str]]:
    """The rows that are not empty, the header first, all of one length."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{path} is empty; {_EXPECTED}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(f"{path}, row {number}: {len(row)} cells, but the header has {len(rows[0])}")
    return rows


def _read_names(rows: Sequence[Sequence[str]], column: int) -> tuple[tuple[str, ...], list[list[int]]]:
    """The names in a column in order, and the classes of each row."""
    cells = [row[column].strip() for row in rows]
    separator = next((one for one in SEPARATORS if any(one in cell for cell in cells)), None)
    labels = [[name.strip() for name in cell.split(separator) if name.strip()] for cell in cells]
    names = tuple(sorted({name for row in labels for name in row}))
    index = {name: i for i, name in enumerate(names)}
    return names, [[index[name] for name in row] for row in labels]


def _read_indicators(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The headers of the columns, and in which of them each row has a 1."""
    labels = []
    for number, row in enumerate(rows, 2):
        cells = [row[i].strip().lower() for i in columns]
        for i, cell in zip(columns, cells, strict=True):
            if cell not in YES + NO:
                raise ValueError(f"{path}, row {number}: expected 0 or 1 in {header[i]!r}, got {row[i]!r}; {_EXPECTED}")
        labels.append([index for index, cell in enumerate(cells) if cell in YES])
    return tuple(header[i].strip() for i in columns), labels


def merge_folders(root: Path, classes: Sequence[str], part: SourceSplit) -> SourceSplit:
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
        known = first.setdefault(os.path.relpath(file, root / classes[label]), file)
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
