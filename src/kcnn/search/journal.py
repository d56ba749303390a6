"""The journal of a search: its events, from which an interrupted search is resumed.

The checksum of each line covers the one before it, so that a line that is missing or repeated counts as damaged.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcnn.atomic_io import parse_json, write_text
from kcnn.graph.arguments import check_keywords
from kcnn.graph.callers import warn_caller
from kcnn.graph.overrides import to_builtin
from kcnn.training.run_directory import hash_request, to_csv

JOURNAL, CSV, LINES = "journal.jsonl", "trials.csv", "trials.jsonl"
DAMAGED = "journal-damaged.jsonl"  # a damaged journal, as it was
CHECKSUM, PREVIOUS = "checksum", "previous"  # of an event and the checksum of the event before it
OK, PRUNED, OUT_OF_MEMORY, DIVERGED, ERROR = "ok", "pruned", "out_of_memory", "diverged", "error"
FOLD = "fold {}"  # key of the score of a fold, by its number
STATUSES = (OK, PRUNED, OUT_OF_MEMORY, DIVERGED, ERROR)


@check_keywords
@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: Its number.
        status: "ok", "pruned", "out_of_memory", "diverged" or "error".
        values: Values of the active choices, by name.
        score: Validation score of the last epoch; None where the trial failed.
        scores: Score of each epoch that this trial trained.
        epochs: Epochs of training, those of `promoted_from` included.
        seed: Seed of the search.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
        receptive_field: Receptive field of the features, in pixels of the shorter side.
        seconds: Training time.
        worker: Name of the process.
        promoted_from: Number of the trial whose training it continues (Hyperband).
        starts: How many times it was started.
        objectives: Value of each objective by key, such as "accuracy", "macs" or "latency_ms", where the search has
            several; a loss or cost is not negated. Empty where the trial failed.
        fold_scores: Score of the last epoch of each fold, of which `score` is the mean; empty without folds.
    """

    number: int
    status: str
    values: Mapping[str, Any]
    score: float | None
    scores: Sequence[float]
    epochs: int
    seed: int
    params: int
    macs: int
    receptive_field: int
    seconds: float
    worker: str
    promoted_from: int | None = None
    starts: int = 1
    objectives: Mapping[str, float] = field(default_factory=dict)
    fold_scores: Sequence[float] = ()

    @property
    def scores_by_epoch(self) -> dict[int, float]:
        """The scores of this trial, by epoch from 1."""
        return dict(enumerate(self.scores, self.epochs - len(self.scores) + 1))

    @property
    def row(self) -> dict[str, Any]:
        """The trial as a row of a table, with a column for each value."""
        values = {
            name: value if isinstance(value, int | float | str) else json.dumps(value)
            for name, value in self.values.items()
        }
        apart = ("values", "scores", "objectives", "fold_scores")
        fields = {name: value for name, value in vars(self).items() if name not in apart}
        fields["trial"] = fields.pop("number")
        by_epoch = " ".join(f"{score:.6g}" for score in self.scores)
        first = {name: fields[name] for name in ("trial", "status", "score")}
        folds = {FOLD.format(number): score for number, score in enumerate(self.fold_scores, 1)}
        return {**first, **folds, **values, **self.objectives, **fields, "scores": by_epoch}


@dataclass
class Journal:
    """The events of a search in a file to which lines are appended.

    Args:
        folder: Folder of the search.
        read_only: Whether another process writes the file; else a line that was truncated by a kill is cut off, and
            with a warning all from the first damaged line on, so that the search resumes after the events before it.
            The damaged journal is kept beside it.

    Raises:
        ValueError: The file is no journal of this version of kcnn.
    """

    folder: Path
    read_only: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path, self.checksum = self.folder / JOURNAL, ""  # of the last event
        if self.path.exists():
            text = self.path.read_bytes()
            complete = text[: text.rfind(b"\n") + 1]
            if len(complete) < len(text) and not self.read_only:
                os.truncate(self.path, len(complete))
            self._read(complete)

    def _read(self, content: bytes) -> None:
        """Read the events up to the first damaged line."""
        lines = content.splitlines(keepends=True)
        intact = 0
        for line in lines:
            event = _read_event(line, self.checksum)
            if event is None:
                break
            self.checksum = event.pop(CHECKSUM)
            self.events.append(event)
            intact += len(line)
        if intact == len(content):
            return
        if not self.events:
            raise ValueError(
                f"{self.path} is damaged from its first line on, or was written by another version of kcnn; remove "
                f"{self.folder}, or choose another folder"
            )
        text = f"{self.path}: line {len(self.events) + 1} of {len(lines)} is damaged"
        if self.read_only:
            warn_caller(f"{text}; the events before it are read")
            return
        shutil.copyfile(self.path, self.folder / DAMAGED)
        os.truncate(self.path, intact)
        warn_caller(
            f"{text}; the search resumes after the events before it, {len(self.trials)} trials; the damaged journal is "
            f"kept as {DAMAGED}",
        )

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event to the file; all of it, or nothing where the disk is full.

        Args:
            event: JSON values by name: "event" is "start", "epoch" or "end", "elapsed" the seconds of the search.

        Raises:
            OSError: The disk is full.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        checksum = _checksum(event, self.checksum)
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps({**event, CHECKSUM: checksum}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if self.path.exists():
                os.truncate(self.path, size)
            raise
        self.events.append(dict(event))
        self.checksum = checksum

    @property
    def trials(self) -> list[Trial]:
        """The trials that have ended, by number."""
        ended = {event["trial"]: event for event in self.events if event["event"] == "end"}
        return [read_trial(ended[number]) for number in sorted(ended)]

    def find_worker(self, number: int) -> str:
        """Return the name of the process that started a trial last."""
        starts = (event for event in reversed(self.events) if event["event"] == "start" and event["trial"] == number)
        return str(next(starts)["worker"])

    def count_starts(self, number: int) -> int:
        """Return how many times a trial was started."""
        return sum(event["event"] == "start" and event["trial"] == number for event in self.events)

    def write_tables(self) -> None:
        """Write trials.csv and trials.jsonl, for people and other programs."""
        trials = self.trials
        write_text(self.folder / CSV, to_csv([trial.row for trial in trials]) if trials else "")
        lines = [
            json.dumps({"trial": trial.number, **{k: v for k, v in vars(trial).items() if k != "number"}})
            for trial in trials
        ]
        write_text(self.folder / LINES, "".join(line + "\n" for line in lines))


def _checksum(event: Mapping[str, Any], previous: str) -> str:
    return hash_request({**event, PREVIOUS: previous})


def _read_event(line: bytes, previous: str) -> dict[str, Any] | None:
    """The event of a line with its checksum; None where the line is damaged, or does not follow the one before."""
    try:
        event = parse_json(line)
        rest = {name: value for name, value in event.items() if name != CHECKSUM}
        return event if event[CHECKSUM] == _checksum(rest, previous) else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def read_trial(event: Mapping[str, Any]) -> Trial:
    """Return the trial of an event "end".

    Args:
        event: The event.
    """
    fields = {name: value for name, value in event.items() if name not in ("event", "trial", "values", "elapsed")}
    values = {name: to_builtin(value) for name, value in event["values"].items()}  # JSON has lists for tuples
    return Trial(number=event["trial"], values=values, **fields)
