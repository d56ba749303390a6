"""What a person reads: tables, numbers and errors on a terminal."""

import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.graph.formatting import format_count as format_count  # what every command writes large numbers with

PIPED = 160  # columns where no terminal says how many it has
out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPED)


class UsageError(ValueError):
    """An argument of the command line that cannot be read."""


class JobStopped(Exception):
    """A job that a person stopped, and how it goes on."""


@contextmanager
def resume_hint(folder: Path) -> Iterator[None]:
    """Around a training: Ctrl-C and what fails in it as one line, with how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise JobStopped(f"stopped; the same command goes on after the last whole epoch in {folder}") from None
    except (ArithmeticError, MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise JobStopped(str(error)) from error


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as a line for a person, without the place in the code: what warnings.showwarning takes."""
    err.print("[yellow]note:[/]", end=" ")
    err.print(str(message), markup=False, soft_wrap=True)


def fail(error: Any, code: int, debug: bool) -> NoReturn:
    """One line on stderr, with the traceback before it where it was asked for, and the exit code."""
    if debug:
        traceback.print_exc()
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    err.print("[bold red]error:[/]", end=" ")
    err.print(message or type(error).__name__, markup=False, soft_wrap=True)
    sys.exit(code)


def make_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str], wraps: Sequence[str] = ()
) -> Table:
    """A table without lines; numbers stand to the right, the `left` columns to the left, `wraps` may be folded.

    The gaps are part of the texts: Rich's padding makes every cell an object of its own, at twice the time.
    """
    made = Table(box=None, header_style="bold", padding=0)
    for name in columns:
        if name in left and made.columns:
            made.add_column(width=2)
        header = Text(name if name in left else f"  {name}")
        made.add_column(header, justify="left" if name in left else "right", no_wrap=name not in wraps)
    for row in rows:
        cells: list[Text | str] = []
        for name, text in zip(columns, row, strict=True):
            if name in left and cells:
                cells.append("")
            cells.append(Text(text if name in left else f"  {text}"))
        made.add_row(*cells)
    return made


def per_class_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """The figures of each class, by kcnn.predictions.report."""
    columns = {"average precision": "average_precision", "threshold": "threshold", "precision": "precision"}
    columns |= {"recall": "recall", "F1": "f1"}
    first = next(iter(rows.values()))
    columns = {header: word for header, word in columns.items() if word in first}
    cells = (
        [name, str(row["images"]), *("" if row[word] is None else f"{row[word]:.3f}" for word in columns.values())]
        for name, row in rows.items()
    )
    return make_table(("class", "images", *columns), cells, left=("class",))


def format_shape(shape: Any) -> str:
    """(224, 224, 3) as 224x224x3."""
    return "x".join("?" if n is None else str(n) for n in shape)


def parse_count(text: str) -> float:
    """5e6, 5M or 1.5G as a number."""
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in units else (text, "")
    try:
        return float(digits) * units.get(unit, 1)
    except ValueError:
        raise UsageError(f"{text!r} is not a number such as 5000000, 5M or 1.5G") from None


def parse_shape(text: str) -> tuple[int, int, int]:
    """96x96x1 as (96, 96, 1); 96x96 has three channels."""
    try:
        sizes = [int(part) for part in text.lower().split("x")]
        if len(sizes) == 2:
            sizes.append(3)
        rows, columns, channels = sizes
    except ValueError:
        raise UsageError(f"{text!r} is no input size such as 224x224 or 96x96x1 (rows x columns x channels)") from None
    return rows, columns, channels


def parse_assignments(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Parse the values of an option that may be repeated.

    Args:
        texts: Such as ["width=0.5", "repeats=[2,2]", "norm=False"]; values are JSON, Python literals, or text.
        option: The option, such as "--override"; it opens the message of an error.

    Returns:
        Values by name.

    Raises:
        UsageError: A text is not NAME=VALUE.
    """
    import ast
    import json

    values = {}
    for text in texts or ():
        name, equals, literal = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} expects NAME=VALUE, got {text!r}")
        try:
            values[name] = json.loads(literal)
        except ValueError:
            try:
                values[name] = ast.literal_eval(literal)
            except (ValueError, SyntaxError):
                values[name] = literal
    return values
