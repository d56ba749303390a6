"""Labels in a CSV. No TensorFlow here."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kcnn.data.decoding import ENDINGS
from kcnn.data.source_splits import TRAIN, ImageSource, SourceSplit, find_split

DELIMITERS = (",", ";", "\t")  # between cells
SEPARATORS = (";", "|", ",", " ")  # between several labels in a cell: the first that occurs in any cell counts
YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")
UNNAMED = re.compile(r"(unnamed(: [\d.]+)?)?", re.IGNORECASE)  # header of an index that a spreadsheet or pandas wrote
INDEX = re.compile(r"index|level_\d+", re.IGNORECASE)  # header that reset_index of pandas writes
EXPECTED = (
    "a CSV of labels has a header, files in its first column, then one column of labels, or a column of 0 and 1 for "
    "each class"
)
Rows = list[tuple[int, list[str]]]  # number of the row in a spreadsheet, and its cells


def read_csv(path: str, multi_label: bool = False) -> ImageSource:
    """Read the images that a CSV names, and their labels.

    The file is UTF-8, or UTF-16 with its mark, as a spreadsheet's Unicode text. Cells are separated by commas,
    semicolons or tabs. The first column has files, relative to the folder of the CSV.
    Labels are one column of names, or a column of 0 and 1 for each class. A column "split" may contain train,
    validation or test.

    Without `multi_label` a cell is one label, which may have spaces and commas; ";" and "|" separate several. With it,
    labels are separated by ";", "|", "," or a space, the first that occurs in any cell. A file in several rows has the
    labels of all of them; such labels are not separated at spaces.

    Args:
        path: The CSV.
        multi_label: An image may have any number of labels.

    Returns:
        The images with labels int64 (images, classes).

    Raises:
        ValueError: The CSV has another form, no file exists, or an image does not have one label where it must.
    """
    header, rows, warnings = _drop_index(path, *_read_rows(path))
    folder = os.path.dirname(path)
    split = next((i for i, name in enumerate(header) if name.strip().lower() == "split"), None)
    columns = [i for i in range(1, len(header)) if i != split]
    if not columns or not rows:
        raise ValueError(f"{path} has no {'labels' if rows else 'images'}: {EXPECTED}")
    if os.path.isfile(os.path.join(folder, header[0])) or header[0].strip().lower().endswith(ENDINGS):
        raise ValueError(f"{path} has no header: its first row is {', '.join(header)}; {EXPECTED}")
    _check_files(path, header, rows)
    by_name = len(columns) == 1 and not (multi_label and _is_indicator(rows, columns[0]))
    names, labels_of_rows = (
        _read_names(path, rows, columns[0], multi_label, warnings)
        if by_name
        else _read_indicators(path, header, rows, columns)
    )
    parts: dict[str, dict[str, np.ndarray]] = {}
    row_of: dict[tuple[str, str], int] = {}
    for (number, row), classes in zip(rows, labels_of_rows, strict=True):
        name = find_split(row[split]) if split is not None else TRAIN
        if name is None:
            raise ValueError(f"{path}, row {number}: a split is train, validation or test, got {row[split or 0]!r}")
        file = os.path.normpath(os.path.join(folder, row[0].strip()))  # ./a.png is a.png
        labels = parts.setdefault(name, {}).setdefault(file, np.zeros(len(names), "int64"))
        labels[classes] = 1
        first = row_of.setdefault((name, file), number)
        if not multi_label and labels.sum() != 1:
            count = ", ".join(names[i] for i in np.flatnonzero(labels))
            raise ValueError(
                f"{path}, row {number}: expected one label per image, but {file} has "
                f"{f'the labels {count}' if count else 'no label'}{f' (see row {first})' if first != number else ''}; "
                "for any number of labels per image, use --multi-label (multi_label=True)"
            )
    if TRAIN not in parts:
        raise ValueError(f"{path} has no train split, only {', '.join(parts)}")
    splits = {name: SourceSplit(list(part), np.stack(list(part.values())), list(part)) for name, part in parts.items()}
    return ImageSource(path, names, splits, tuple(warnings))


def _read_rows(path: str) -> tuple[list[str], Rows]:
    """The header, and the rows that are not empty, all of one length."""
    content = Path(path).read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        name = encoding.upper().removesuffix("-SIG")
        raise ValueError(f"{path}, line {line}: not in {name} ({error.reason}); save it as a CSV in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path} is not in UTF-8: it has zero bytes, as UTF-16 and UTF-32; save it as a CSV in UTF-8")
    delimiter, start = None, 0
    if match := re.match(r"sep=(.)\r?\n", text):  # a line for Excel
        delimiter, start, text = match[1], 1, text[match.end() :]
    try:
        rows = list(_parse(text, delimiter or _find_delimiter(path, text)))
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV: {error}") from None
    numbered = [(number, row) for number, row in enumerate(rows, start + 1) if any(cell.strip() for cell in row)]
    if not numbered:
        raise ValueError(f"{path} is empty; {EXPECTED}")
    header = numbered[0][1]
    for number, row in numbered:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, row {number}: {len(row)} cells, but the header has {len(header)} ({', '.join(header)}); put "
                "quotes around a cell that contains the delimiter"
            )
    return header, numbered[1:]


def _parse(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _find_delimiter(path: str, text: str) -> str:
    """What divides the header into cells; if several do, what divides all rows alike."""
    headers = {mark: next((row for row in _parse(text, mark) if any(row)), []) for mark in DELIMITERS}
    dividing = [mark for mark in DELIMITERS if len(headers[mark]) > 1]
    if len(dividing) < 2:
        return dividing[0] if dividing else DELIMITERS[0]
    even = [mark for mark in dividing if len({len(row) for row in _parse(text, mark) if any(row)}) == 1]
    if len(even) != 1:
        marks = " or ".join(map(repr, dividing))
        raise ValueError(
            f"{path}, row 1: it is not clear whether {marks} separates the cells; put quotes around cells that "
            "contain one"
        )
    return even[0]


def _drop_index(path: str, header: list[str], rows: Rows) -> tuple[list[str], Rows, list[str]]:
    """Header and rows without empty columns that have no name, and without the first columns if they are an index."""
    dropped, warnings, may_be_index = set(), [], len(rows) > 0
    for i, name in enumerate(map(str.strip, header)):
        cells = [row[i].strip() for _, row in rows]
        is_unnamed = bool(UNNAMED.fullmatch(name))
        if is_unnamed and not any(cells):
            dropped.add(i)
            continue
        may_be_index = may_be_index and len(header) - len(dropped) > 2 and all(cell.isdigit() for cell in cells)
        if may_be_index and (is_unnamed or INDEX.fullmatch(name)):
            dropped.add(i)
            warnings.append(f"{path}: left out column {i + 1}, {f'the index {name!r}' if name else 'an index'}")
        elif is_unnamed:
            raise ValueError(f"{path}, row 1: column {i + 1} has no name; name it, or remove it; {EXPECTED}")
        else:
            may_be_index = False  # an index comes before the files
    kept = [i for i in range(len(header)) if i not in dropped]
    return [header[i] for i in kept], [(number, [row[i] for i in kept]) for number, row in rows], warnings


def _check_files(path: str, header: Sequence[str], rows: Rows) -> None:
    """Refuse a CSV none of whose files exists."""
    folder = os.path.dirname(path)

    def has_files(column: int) -> bool:
        return any(os.path.isfile(os.path.join(folder, row[column].strip())) for _, row in rows)

    if has_files(0):
        return
    number, first = rows[0]
    for column, name in enumerate(header):
        if column and has_files(column):
            raise ValueError(
                f"{path}, row {number}: files belong in the first column, which is {header[0]!r}; they are in "
                f"{name!r}: move that column to the front, or remove what is before it"
            )
    raise ValueError(
        f"{path} names {len({row[0] for _, row in rows})} images, and none of them exists, such as "
        f"{os.path.join(folder, first[0].strip())} in row {number}; paths are relative to the folder of the CSV, with "
        "their ending"
    )


def _read_names(
    path: str, rows: Rows, column: int, multi_label: bool, warnings: list[str]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The names in a column in order, and the classes of each row."""
    cells = [row[column].strip() for _, row in rows]
    marks = SEPARATORS if multi_label else SEPARATORS[:2]
    separator = next((mark for mark in marks if any(mark in cell for cell in cells)), None)
    if separator == " ":
        if len({row[0].strip() for _, row in rows}) < len(rows):  # a row for each label
            separator = None
        else:
            example = next(cell for cell in cells if " " in cell)
            warnings.append(
                f"{path}: labels are separated at spaces, such as {', '.join(example.split())}; write ; between labels "
                "that contain spaces"
            )
    labels = [[name.strip() for name in (cell.split(separator) if separator else [cell])] for cell in cells]
    labels = [[name for name in row if name] for row in labels]
    names = tuple(sorted({name for row in labels for name in row}))
    index = {name: i for i, name in enumerate(names)}
    return names, [[index[name] for name in row] for row in labels]


def _is_indicator(rows: Rows, column: int) -> bool:
    """Whether a column says by 0 and 1 which images have the label in its header; not if files are in several rows."""
    cells = {row[column].strip().lower() for _, row in rows}
    has_both = bool(cells & {*YES}) and bool(cells & {*NO} - {""})
    return has_both and cells <= {*YES, *NO} and len({row[0].strip() for _, row in rows}) == len(rows)


def _read_indicators(
    path: str, header: Sequence[str], rows: Rows, columns: Sequence[int]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """The headers of the columns, and in which of them each row has a 1."""
    labels = []
    for number, row in rows:
        cells = [row[i].strip().lower() for i in columns]
        for i, cell in zip(columns, cells, strict=True):
            if cell not in YES + NO:
                raise ValueError(
                    f"{path}, row {number}: expected 0 or 1 in {header[i]!r}, got {row[i]!r}; {EXPECTED}; remove other "
                    "columns"
                )
        labels.append([index for index, cell in enumerate(cells) if cell in YES])
    return tuple(header[i].strip() for i in columns), labels
