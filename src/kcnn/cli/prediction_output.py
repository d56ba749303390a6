"""What `kcnn predict` reads and writes: lists of images, and predictions as lines, JSON, CSV or sorted folders."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcnn.atomic_io import replace_atomically
from kcnn.cli.console import UsageError, err, out
from kcnn.data.image_lists import NamedImage, expand_path
from kcnn.export.predictions import UNSURE, Predictions
from kcnn.export.sorting import check_folder_names, sort_image
from kcnn.graph.formatting import format_number, to_printable
from kcnn.training.run_directory import to_csv

STANDARD_INPUT = "-"


@dataclass
class ReadErrors:
    """Name images that cannot be read on stderr, and count them.

    Attributes:
        is_single: Whether one image was requested alone, whose error ends the command.
        count: Their number.
    """

    is_single: bool
    count: int = 0

    def add(self, image: NamedImage | None, error: Exception) -> None:
        """Count an image that cannot be read."""
        if self.is_single:
            raise UsageError(str(error)) from None
        err.print(str(error), style="yellow", soft_wrap=True)
        self.count += 1


def list_images(
    names: Sequence[str], sort_into: Path | None, errors: ReadErrors
) -> tuple[Iterator[NamedImage], int | None]:
    """Return the images of the command line, and their number where it is known.

    Args:
        names: Files, folders, globs, or "-" for names from standard input, which are read as they come.
        sort_into: The folder into which images are sorted; it is left out of folders.
        errors: Takes names that are none of images.
    """
    root = os.path.join(os.path.abspath(sort_into), "") if sort_into else None

    def expand(name: str) -> list[NamedImage]:
        try:
            images = expand_path(name)
        except FileNotFoundError as error:
            errors.add(None, error)
            return []
        return [one for one in images if one.is_listed or not (root and os.path.abspath(one.name).startswith(root))]

    if STANDARD_INPUT not in names:
        images = [image for name in names for image in expand(name)]
        errors.is_single = len(images) == 1 and not errors.count
        return iter(images), len(images)

    def stream() -> Iterator[NamedImage]:
        for name in names:
            for line in _read_lines() if name == STANDARD_INPUT else (name,):
                yield from expand(line)

    return stream(), None


def _read_lines() -> Iterator[str]:
    """The lines of standard input that are not empty; bytes of a file's name that are not UTF-8 are kept."""
    for line in sys.stdin.buffer:
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield name


@dataclass
class PredictionOutput:
    """Write predictions as they come.

    Attributes:
        csv: File of a CSV.
        as_json: Whether one JSON value is printed at the end.
        as_jsonl: Whether a line of JSON is printed for each image.
        sort_into: Folder of sorted images.
        link: Whether these are links.
        classes: Names of the classes.
        count: Number of images so far.
    """

    csv: Path | None
    as_json: bool
    as_jsonl: bool
    sort_into: Path | None
    link: bool
    classes: Sequence[str]
    count: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sort_into:
            check_folder_names(self.classes)

    @contextmanager
    def write(self, total: int | None) -> Iterator[Callable[[Predictions], None]]:
        """Give a function that writes a batch of predictions, with a progress bar meanwhile."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        is_hidden = not err.is_terminal or (sys.stdout.isatty() and not self.is_quiet and not self.as_json)
        with ExitStack() as stack:
            bar = stack.enter_context(Progress(*columns, console=err, transient=True, disable=is_hidden))
            task = bar.add_task("predicting", total=total)
            file = None
            if self.csv:
                temporary = stack.enter_context(replace_atomically(self.csv))
                file = stack.enter_context(temporary.open("w", encoding="utf-8", errors="backslashreplace", newline=""))

            def write_batch(predictions: Predictions) -> None:
                if file:
                    file.write(to_csv(predictions.rows(), header=not self.count))
                for number in range(len(predictions)):
                    self._write_one(predictions, number)
                self.count += len(predictions)
                bar.update(task, completed=self.count)

            yield write_batch
        if self.as_json:
            print(json.dumps(self.results, indent=1))

    @property
    def is_quiet(self) -> bool:
        """Whether no line is printed for each image."""
        return bool(self.csv or self.sort_into) and not self.as_jsonl

    def _write_one(self, predictions: Predictions, number: int) -> None:
        one = predictions[number]
        self.labels.update(one.labels or ((UNSURE,) if not predictions.multi_label else ()))
        if self.sort_into:
            sort_image(one.path, self.sort_into / one.label, link=self.link)
        if self.as_json:
            self.results[one.path] = _to_json(predictions, number)
        elif self.as_jsonl:
            labels = {"labels": list(one.labels)} if predictions.multi_label else {}
            print(json.dumps({**one.to_json(), **labels}), flush=True)
        elif not self.is_quiet:
            out.print(f"{to_printable(one.path)}: {predictions.describe(number)}", soft_wrap=True)

    def print_summary(self) -> None:
        """Print how many images have each label, and where they are, where no line was printed for each image."""
        if not self.is_quiet or self.as_json:
            return
        labels = ", ".join(f"{name} {count:,}" for name, count in self.labels.most_common())
        written = [f"into {self.sort_into}"] if self.sort_into else []
        written += [f"in {self.csv}"] if self.csv else []
        out.print(f"{format_number(self.count, 'image')}: {labels}; {', '.join(written)}", soft_wrap=True)


def _to_json(predictions: Predictions, number: int) -> Any:
    """Probabilities by class, beside the labels where these do not follow from them."""
    one = predictions[number]
    best = dict(one)
    if predictions.multi_label:
        return {"labels": list(one.labels), "probabilities": best}
    return best if predictions.threshold is None else {"label": one.label, "probabilities": best}
