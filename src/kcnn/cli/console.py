"""Tables, numbers and errors on a terminal."""

import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import cleandoc
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.text import Text

from kcnn.atomic_io import parse_json
from kcnn.graph.formatting import format_size, format_table

PIPED = 160  # columns where the output is not a terminal
# Texts hold names of files, classes and layers: brackets and colons are printed as they are.
_LITERAL: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
out = Console(**_LITERAL, width=None if sys.stdout.isatty() else PIPED)
err = Console(**_LITERAL, stderr=True, width=None if sys.stderr.isatty() else PIPED)


class UsageError(ValueError):
    """Raised for an invalid argument of the command line."""


class JobStoppedError(Exception):
    """Raised where a job was interrupted or failed; the message tells how to resume it."""


@contextmanager
def resume_hint(folder: Path | None) -> Iterator[None]:
    """Convert Ctrl-C and errors of a job into JobStoppedError, with how to resume it.

    Args:
        folder: Folder of the job; None where the command finds it.
    """
    try:
        yield
    except KeyboardInterrupt:
        where = f" in {folder}" if folder else ""
        raise JobStoppedError(
            f"interrupted; run the same command to resume from the last completed epoch{where}"
        ) from None
    except (ArithmeticError, MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise JobStoppedError(str(error)) from error


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning in one line, without its position in the code: a warnings.showwarning."""
    err.print(Text.assemble(("note:", "yellow"), f" {message}"), soft_wrap=True)


def show_note(text: str) -> None:
    """Print a note on stderr, such as which run of a transfer is taken; nothing for an empty text."""
    if text:
        err.print(text, style="yellow", markup=False, soft_wrap=True)


def show_loading(what: object) -> None:
    """Print on stderr what a command loads: its first line, before the libraries that load it are imported."""
    err.print(f"loading {what}", soft_wrap=True)


@contextmanager
def show_spinner(text: str) -> Iterator[None]:
    """Show on a terminal what a command waits for."""
    with err.status(text) as status:
        status.update(spinner="dots")  # draw it now: what is loaded meanwhile may redirect stderr
        yield


@contextmanager
def show_status(text: str) -> Iterator[None]:
    """Show what a command does before its first result: a spinner, or a line on stderr where it is no terminal."""
    if not err.is_terminal:
        err.print(text, soft_wrap=True)
    with show_spinner(text):
        yield


def join_lines(docstring: str) -> str:
    """Return a docstring with each paragraph in one line, so that help is wrapped at the width of the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(docstring).split("\n\n"))


def fail(error: Any, code: int, debug: bool) -> NoReturn:
    """Print an error in one line on stderr and exit.

    Args:
        error: The error or its message.
        code: The exit code.
        debug: Whether to print the traceback before it.
    """
    if debug:
        traceback.print_exc()
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    err.print(Text.assemble(("error:", "bold red"), f" {message or type(error).__name__}"), soft_wrap=True)
    sys.exit(code)


COLORS = {1: "grayscale", 3: "color"}  # by the number of channels


def print_job(
    network: str, data: str, folder: Path | None, shape: tuple[int, int, int], console: Console = out
) -> None:
    """Print which network is trained on which data, as which images, and the folder unless it is None."""
    images = f"{COLORS.get(shape[2], '')} images of {format_size(shape)}".lstrip()
    into = f", into {folder}" if folder else ""
    console.print(Text.assemble((network, "bold"), " on ", (data, "bold"), f", {images}{into}"), soft_wrap=True)


def make_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str], wraps: Sequence[str] = ()
) -> Text:
    """Return a table without lines, as wide as the terminal; Rich would lay out hundreds of rows cell by cell.

    Args:
        columns: Headings.
        rows: Cells, one for each column.
        left: Columns to align to the left; the others are aligned to the right.
        wraps: Columns that may be wrapped.

    Returns:
        The table, to be printed.
    """
    head, *lines = format_table(columns, rows, left, wraps, out.width).split("\n")
    return Text.assemble((head, "bold"), *(f"\n{line}" for line in lines), no_wrap=True, overflow="ignore")


def per_class_table(rows: Mapping[str, Mapping[str, Any]]) -> Text:
    """Return the metrics of each class, from kcnn.classification.classification_report, as a table."""
    from kcnn.classification import tabulate_classes

    columns, cells = tabulate_classes(rows)
    return make_table(columns, cells, left=("class",))


def parse_count(text: str) -> float:
    """Return 5e6, 5M or 1.5G as a number. Raises UsageError for another text."""
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in units else (text, "")
    try:
        return float(digits) * units.get(unit, 1)
    except ValueError:
        raise UsageError(f"invalid number {text!r}; write 5000000, 5M or 1.5G") from None


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

    values = {}
    for text in texts or ():
        name, equals, literal = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} expects NAME=VALUE, got {text!r}")
        try:
            values[name] = parse_json(literal)
        except ValueError:
            try:
                values[name] = ast.literal_eval(literal)
            except (ValueError, SyntaxError):
                values[name] = literal
    return values
