"""What happened in a search, event by event, as it happened: all that a search needs to go on after it was killed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcnn.atomic_io import write_text
from kcnn.graph.overrides import to_builtin
from kcnn.training.run_directory import to_csv

JOURNAL, CSV, LINES = "journal.jsonl", "trials.csv", "trials.jsonl"
OK, PRUNED, OUT_OF_MEMORY, DIVERGED, ERROR = "ok", "pruned", "out_of_memory", "diverged", "error"
STATUSES = (OK, PRUNED, OUT_OF_MEMORY, DIVERGED, ERROR)


@dataclass(frozen=True)
class Trial:
    """One trial that has ended. `score` is that of its last epoch; None where it died."""

    number: int
    status: str
    values: Mapping[str, Any]
    score: float | None
    scores: Sequence[float]  # of each epoch
    epochs: int
    seed: int
    params: int
    macs: int
    receptive_field: int  # pixels of its shorter side, of the features
    seconds: float
    worker: str
    continues: int | None = None  # the trial whose training it goes on with, under Hyperband
    starts: int = 1  # how often it was begun

    @property
    def row(self) -> dict[str, Any]:
        """The trial as a row of a table: every value has a column."""
        values = {
            name: value if isinstance(value, int | float | str) else json.dumps(value)
            for name, value in self.values.items()
        }
        own = {name: value for name, value in vars(self).items() if name not in ("values", "scores")}
        own["trial"] = own.pop("number")
        by_epoch = " ".join(f"{score:.6g}" for score in self.scores)
        first = ("trial", "status", "score")
        return {**{name: own[name] for name in first}, **values, **own, "scores": by_epoch}


@dataclass
class Journal:
    """The events of a search in a file that only grows; who writes it cuts off a line that was torn by a kill."""

    folder: Path
    writes: bool = True
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = self.folder / JOURNAL
        if self.path.exists():
            text = self.path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            if len(whole) < len(text) and self.writes:
                os.truncate(self.path, len(whole))
            try:
                self.events = [json.loads(line) for line in whole.splitlines()]
            except ValueError as error:
                raise ValueError(
                    f"{self.path} is damaged ({error}); remove {self.folder}, or search into another"
                ) from None

    def add(self, **event: Any) -> None:
        """Write an event to the disk, wholly or not at all. OSError where there is no room."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(event).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if self.path.exists():
                os.truncate(self.path, size)
            raise
        self.events.append(event)

    @property
    def trials(self) -> list[Trial]:
        """Those that have ended, in the order of their numbers."""
        ended = {event["trial"]: event for event in self.events if event["event"] == "end"}
        return [_trial(ended[number]) for number in sorted(ended)]

    def starts(self, number: int) -> int:
        return sum(event["event"] == "start" and event["trial"] == number for event in self.events)

    def write_tables(self) -> None:
        """trials.csv and trials.jsonl, for people and other programs."""
        trials = self.trials
        write_text(self.folder / CSV, to_csv([trial.row for trial in trials]) if trials else "")
        lines = [
            json.dumps({"trial": trial.number, **{k: v for k, v in vars(trial).items() if k != "number"}})
            for trial in trials
        ]
        write_text(self.folder / LINES, "".join(line + "\n" for line in lines))


def _trial(event: Mapping[str, Any]) -> Trial:
    told = {name: value for name, value in event.items() if name not in ("event", "trial", "values")}
    values = {name: to_builtin(value) for name, value in event["values"].items()}  # JSON has lists for tuples
    return Trial(number=event["trial"], values=values, **told)
