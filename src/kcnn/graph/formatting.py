"""Ops, sizes, counts, values and tables as plain text."""

import dataclasses
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any
from unicodedata import east_asian_width

MAX_VALUE = 40  # characters of an attribute's value
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
UNNAMED = ("filters", "units", "mode", "function")  # attributes whose value speaks for itself
ALWAYS = ("kernel", "stride", "mode", "function", "scale", "offset", "rate")  # also with their default values


def describe_op(op: Any, times: str = "x") -> str:
    """Return an op in one line: Conv 64, kernel 3, stride 1; other attributes only where they are not the default.

    Args:
        op: The op; None is the input.
        times: Sign between the numbers of a size.

    Returns:
        The text.
    """
    if op is None:
        return "input"
    first, texts = [], []
    for field in dataclasses.fields(op) if dataclasses.is_dataclass(op) else ():
        value = getattr(op, field.name)
        is_shown = value != field.default or (field.name in ALWAYS and not isinstance(value, bool))
        if is_shown and field.name != "kernel_initializer":
            text = value if isinstance(value, str) else format_value(value, times)
            text = text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."
            if field.name in UNNAMED:
                first.append(text)
            else:
                texts.append(f"{field.name} {text}")
    return f"{type(op).__name__} {', '.join([*first, *texts])}".strip()


def format_size(sizes: Sequence[int | None], times: str = "x") -> str:
    """Return (28, 28, 192) as 28x28x192; an open size is a question mark."""
    return times.join("?" if size is None else str(size) for size in sizes)


def format_pair(pair: tuple[int, int], times: str = "x") -> str:
    """Return (3, 3) as 3, and (3, 5) as 3x5."""
    return str(pair[0]) if pair[0] == pair[1] else format_size(pair, times)


def format_count(number: float) -> str:
    """Return 4230000 as 4.23 M."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= least:
            return f"{number / least:.3g} {unit}"
    return f"{number:.0f}"


def format_number(number: int, noun: str) -> str:
    """Return a number of things: 1 epoch, 2 epochs, 1,500 images."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_duration(seconds: float) -> str:
    """Return 45 s, 12 min, or 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def join_names(names: Iterable[str], limit: int = 6) -> str:
    """Return the first names of many: a, b, c and 4 more."""
    listed = list(names)
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def format_value(value: Any, times: str = "x") -> str:
    """Return a value as text: 3x5, 'valid', 0.01."""
    if isinstance(value, tuple | list) and all(type(item) is int for item in value):
        return format_size(value, times)
    if isinstance(value, tuple) and value and all(isinstance(item, float) for item in value):
        return f"({', '.join(f'{item:.4g}' for item in value)})"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def format_values(values: Mapping[str, Any]) -> str:
    """Return values by name as one line."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def to_printable(text: str) -> str:
    r"""Return text that every file and screen can show: what is no character is written as an escape, such as \x07.

    Escaped are control characters but line feeds and tabs, marks that turn the direction of writing, and bytes of a
    file's name that are not UTF-8.
    """
    return UNPRINTABLE.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    code = ord(match[0])
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # Python's stand-ins for bytes that are not UTF-8
    return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{byte:04x}"


def shorten_names(names: Sequence[str], width: int) -> list[str]:
    """Return names that fit into a plot: of a longer one the middle is left out; those that look alike get a number.

    Args:
        names: The names.
        width: Characters of each, at least 8.
    """
    tail = (width - 1) // 2
    texts = [name if len(name) <= width else f"{name[: width - 1 - tail]}…{name[-tail:]}" for name in names]
    repeated = {text for text, count in Counter(texts).items() if count > 1}
    return [f"{text} ({n})" if text in repeated else text for n, text in enumerate(texts, 1)]


def format_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[str],
    wraps: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """Return a table without lines.

    Args:
        columns: Headings.
        rows: Cells, one for each column.
        left: Columns to align to the left; the others are aligned to the right.
        wraps: Columns whose cells are wrapped where the table is too wide.
        width: Characters of a line; None for as many as the cells take.

    Returns:
        A line for the headings, and one or, where cells are wrapped, more for each row.
    """
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(map(_measure, cells)) for cells in zip(*lines, strict=True)]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        flexible = [i for i, column in enumerate(columns) if column in wraps]
        free = width - 2 * (len(widths) - 1) - sum(widths[i] for i in range(len(widths)) if i not in flexible)
        for place, i in enumerate(sorted(flexible, key=lambda i: widths[i])):  # the narrowest first: they take less
            fair = free // (len(flexible) - place)
            widths[i] = min(widths[i], max(fair, len(columns[i])))
            free -= widths[i]
        lines = [part for line in lines for part in _wrap_cells(line, widths)]
    is_left = [column in left for column in columns]
    padded = (
        [
            cell + " " * (width - _measure(cell)) if at_left else " " * (width - _measure(cell)) + cell
            for cell, width, at_left in zip(line, widths, is_left, strict=True)
        ]
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _measure(text: str) -> int:
    """Columns of a terminal that a text takes: two for each wide character, such as a Chinese one."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def _wrap_cells(cells: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The lines of a row."""
    pairs = zip(cells, widths, strict=True)
    parts = [textwrap.wrap(cell, width) if _measure(cell) > width else [cell] for cell, width in pairs]
    return zip_longest(*parts, fillvalue="")
