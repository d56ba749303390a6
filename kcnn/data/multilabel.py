"""Pictures with more than one label: from a CSV, or from class folders that share pictures. No TensorFlow here."""

import csv
import filecmp
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kcnn.data.source_splits import SPLITS, TRAIN, ImageSource, SourceSplit

SEPARATORS = (";", "|", ",", " ")  # between labels in one field: the first of them that occurs anywhere counts
YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")


def read_csv(path: Path) -> ImageSource:
    """The pictures that a CSV names, with their labels, int64 (images, classes).

    Its first column has files, relative to the CSV's folder. Labels are one column of names, several
    in a field separated by ";", "|", "," or a space, or one column for each class of 0 or 1. A column
    "split" may say train, validation or test. A file that stands in several rows has the labels of all.
    ValueError where the table is none of that, or names no picture that is there.
    """
    rows = _rows(path)
    header, rows = rows[0], rows[1:]
    split = next((i for i, name in enumerate(header) if name.strip().lower() == "split"), None)
    columns = [i for i in range(1, len(header)) if i != split]
    if not columns or not rows:
        raise ValueError(f"{path} has no {'labels' if rows else 'pictures'}: {_WANTED}")
    if (path.parent / header[0]).is_file():
        raise ValueError(f"{path} has no header: its first row, {', '.join(header)}, is of a picture; {_WANTED}")
    named = len(columns) == 1
    names, hits = _named(rows, columns[0]) if named else _ticked(path, header, rows, columns)
    words = [SPLITS.get(row[split].strip().lower(), "") if split is not None else TRAIN for row in rows]
    if "" in words:
        wrong = words.index("")
        raise ValueError(f"{path}, row {wrong + 2}: a split is called train, validation or test, not {rows[wrong]}")
    found: dict[str, dict[str, np.ndarray]] = {}
    for row, word, hit in zip(rows, words, hits, strict=True):
        file = str(path.parent / row[0].strip())
        labels = found.setdefault(word, {}).setdefault(file, np.zeros(len(names), "int64"))
        labels[hit] = 1
    files = [file for part in found.values() for file in part]
    if not any(map(os.path.isfile, files)):
        raise ValueError(f"{path} names {len(files)} pictures, and none is there, such as {files[0]}")
    if TRAIN not in found:
        raise ValueError(f"{path} has no train split, only {', '.join(found)}")
    parts = {word: SourceSplit(list(part), np.stack(list(part.values())), list(part)) for word, part in found.items()}
    return ImageSource(str(path), names, parts)


_WANTED = (
    "a CSV of labels has a header, files in its first column, and behind it labels, or a column of 0 and 1 a class"
)


def _rows(path: Path) -> list[list[str]]:
    """The rows that are not empty, the header first, all of one length."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{path} is empty; {_WANTED}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(f"{path}, row {number}: {len(row)} fields, and the header has {len(rows[0])}")
    return rows


def _named(rows: Sequence[Sequence[str]], column: int) -> tuple[tuple[str, ...], list[list[int]]]:
    """The names in a column in order, and which of them each row has."""
    fields = [row[column].strip() for row in rows]
    between = next((one for one in SEPARATORS if any(one in field for field in fields)), None)
    each = [[name.strip() for name in field.split(between) if name.strip()] for field in fields]
    names = tuple(sorted({name for some in each for name in some}))
    place = {name: i for i, name in enumerate(names)}
    return names, [[place[name] for name in some] for some in each]


def _ticked(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The headers of the columns, and in which of them each row has a 1."""
    hits = []
    for number, row in enumerate(rows, 2):
        cells = [row[i].strip().lower() for i in columns]
        for i, cell in zip(columns, cells, strict=True):
            if cell not in YES + NO:
                raise ValueError(f"{path}, row {number}: {row[i]!r} under {header[i]!r} is not 0 or 1; {_WANTED}")
        hits.append([place for place, cell in enumerate(cells) if cell in YES])
    return tuple(header[i].strip() for i in columns), hits


def merge_folders(root: Path, classes: Sequence[str], part: SourceSplit) -> SourceSplit:
    """Pictures of class folders, those of one name as one picture with the labels of all; ValueError where they differ.

    A picture's name is its path below the folder of its class.
    """
    first: dict[str, str] = {}
    found: dict[str, np.ndarray] = {}
    for file, label in zip(part.images, part.labels, strict=True):
        name = os.path.relpath(file, root / classes[label])
        there = first.setdefault(name, file)
        if there != file and not filecmp.cmp(there, file, shallow=False):
            raise ValueError(
                f"{there} and {file} are different pictures: with several labels, the same name in two class folders "
                "says that both show one picture; rename one of them, or give a CSV of labels"
            )
        found.setdefault(there, np.zeros(len(classes), "int64"))[label] = 1
    return SourceSplit(list(found), np.array(list(found.values())).reshape(-1, len(classes)), list(found))


def count_labels(source: ImageSource, multi_label: bool) -> ImageSource:
    """The source with labels as asked: rows of 0 and 1 (images, classes), or class numbers (images,).

    ValueError where a picture has not exactly one label, and one is wanted.
    """
    parts: Mapping[str, SourceSplit] = source.splits
    if multi_label:
        eye = np.eye(len(source.classes), dtype="int64")
        parts = {w: p if p.labels.ndim == 2 else replace(p, labels=eye[p.labels]) for w, p in parts.items()}
        most = max((int(part.labels.sum(axis=1).max(initial=0)) for part in parts.values()), default=0)
        notes = (*source.warnings, "no picture has more than one label") if most < 2 else source.warnings
        return replace(source, splits=parts, warnings=notes)
    return replace(source, splits={word: _single(source, part) for word, part in parts.items()})


def _single(source: ImageSource, part: SourceSplit) -> SourceSplit:
    if part.labels.ndim == 1:
        return part
    odd = np.flatnonzero(part.labels.sum(axis=1) != 1)
    if len(odd):
        has = [source.classes[i] for i in np.flatnonzero(part.labels[odd[0]])]
        said = f"the labels {', '.join(has)}" if has else "no label"
        raise ValueError(
            f"{source.name}: {part.names[odd[0]]} has {said}, not one; "
            "for any number of labels a picture, give --multi-label (multi_label=True)"
        )
    return replace(part, labels=part.labels.argmax(axis=1))
