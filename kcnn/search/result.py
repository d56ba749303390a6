"""Results of a search in its folder: the request, the best trial, the final evaluation. No Keras here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from kcnn.graph.formatting import format_value, format_values
from kcnn.search.journal import Trial

CONFIG = "search.json"
BEST, DEFAULT = "best", "default"
FINAL = "final.json"
MAX_ROWS = 20  # of a leaderboard


def name_objective(*, multi_label: bool) -> str:
    """Return what the score of a trial measures.

    Args:
        multi_label: Whether images have any number of labels.
    """
    return "validation average precision" if multi_label else "validation accuracy"


@dataclass(frozen=True)
class Contender:
    """Test results of one network of the final evaluation.

    Attributes:
        name: "best" or "default".
        accuracies: Test accuracy of each seed; mean average precision of multi-label data.
        accuracy: Their mean.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
        folders: Folders of the runs, relative to that of the search.
    """

    name: str
    accuracies: tuple[float, ...]
    accuracy: float
    params: int
    macs: int
    folders: tuple[str, ...]


@dataclass(frozen=True)
class FinalEvaluation:
    """Test results of the best network and the default one, trained from scratch with the same seeds.

    Attributes:
        trial: Number of the best trial.
        contenders: The best network, and the default one unless that is the best or cannot be built.
        unchanged: Whether the best network is the default one.
        points: Mean difference in percentage points; None with one contender.
        low: Lower end of its 95 % interval (Student) over seeds; None with one seed.
        high: Upper end of the interval.
        p: p-value of the paired t-test over seeds; None with one seed.
        significant: Whether the interval does not contain zero.
    """

    trial: int
    contenders: tuple[Contender, ...]
    unchanged: bool = False
    points: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    significant: bool = False

    def __str__(self) -> str:
        lines = [
            f"{one.name}: test {one.accuracy:.2%} ({', '.join(f'{value:.2%}' for value in one.accuracies)}), "
            f"{one.params:,} parameters, {one.macs:,} MACs"
            for one in self.contenders
        ]
        if self.unchanged:
            lines.append("the best network in validation is the default one")
        elif self.points is not None:
            lines.append(f"best against default: {self.difference}")
        return "\n".join(lines)

    @property
    def difference(self) -> str:
        """The difference of the best network to the default one as text; empty with one contender."""
        if self.points is None:
            return ""
        if self.p is None:
            return f"{self.points:+.2f} points"
        verdict = "significant" if self.significant else "not significant"
        return f"{self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f}), {verdict} (p = {self.p:.2g})"


@dataclass(frozen=True, repr=False)
class SearchResult:
    """Result of a search.

    Attributes:
        folder: Folder of the search.
        trials: The trials that have ended, by number.
        best: The best trial; None where all failed.
        final: The final evaluation; None where it was skipped.
        objective: What the score of a trial measures.
    """

    folder: Path
    trials: Sequence[Trial]
    best: Trial | None
    final: FinalEvaluation | None
    objective: str = name_objective(multi_label=False)

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by status."""
        return {status: sum(t.status == status for t in self.trials) for status in {t.status for t in self.trials}}

    @property
    def leaderboard(self) -> list[Trial]:
        """The trials with a score, the best first: more epochs come before a higher score."""
        return rank_trials(self.trials)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items())) or "no trials"
        best = f"; best trial {self.best.number}: {self.objective} {self.best.score:.2%}" if self.best else ""
        return f"<SearchResult {self.folder}: {counts}{best}>"

    def __str__(self) -> str:
        lines = [repr(self)]
        lines += [
            f"{t.number:>4} {t.status:<7} {t.score or 0:>8.2%} {t.epochs:>4} epochs  {format_values(t.values)}"
            for t in self.leaderboard[:MAX_ROWS]
        ]
        return "\n".join([*lines, *([str(self.final)] if self.final else [])])

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.values))
        heads = ("trial", "status", self.objective, "epochs", "params", "MACs", *names)
        rows = []
        for t in self.leaderboard[:MAX_ROWS]:
            values = [format_value(t.values[name]) if name in t.values else "" for name in names]
            rows.append([t.number, t.status, f"{t.score:.2%}", t.epochs, f"{t.params:,}", f"{t.macs:,}", *values])
        head = "".join(f"<th>{escape(name)}</th>" for name in heads)
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        final = "".join(f"<br>{escape(line)}" for line in str(self.final).splitlines()) if self.final else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<p>{escape(repr(self))}{final}</p>{table}"


def rank_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with a score, the best first: more epochs come before a higher score."""
    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=lambda t: (-t.epochs, -(t.score or 0), t.number))


def find_best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest score among those with the most epochs; None where all failed."""
    return next(iter(rank_trials(trials)), None)


def read_final(folder: Path) -> FinalEvaluation | None:
    """Return the final evaluation of a search; None before it.

    Args:
        folder: Folder of the search.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / FINAL
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        contenders = tuple(
            Contender(**{**one, "accuracies": tuple(one["accuracies"]), "folders": tuple(one["folders"])})
            for one in record["contenders"]
        )
        return FinalEvaluation(**{**record, "contenders": contenders})
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged, or of another version of kcnn; run the search again") from None


def read_request(folder: Path) -> Mapping[str, Any]:
    """Return the request of a search: space, config, and facts of the data.

    Args:
        folder: Folder of the search.

    Raises:
        FileNotFoundError: The folder holds no search.
        ValueError: The file is damaged, or an older version of kcnn wrote it.
    """
    return read_record(folder)["request"]


def read_record(folder: Path) -> Mapping[str, Any]:
    """Return the record of a search: its request, command, and versions of libraries.

    Args:
        folder: Folder of the search.

    Raises:
        FileNotFoundError: The folder holds no search.
        ValueError: The file is damaged, or an older version of kcnn wrote it.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no search: {CONFIG} is missing")
    try:
        record = json.loads(path.read_text())
        request = record["request"]
        is_complete = {"space", "config", "data"} <= set(request) and "spec" in request["space"]
        is_complete = is_complete and {"command", "versions"} <= set(record)
    except (ValueError, KeyError, TypeError):
        is_complete = False
    if not is_complete:
        raise ValueError(f"{path} was not written by this version of kcnn; choose another folder, or remove {folder}")
    return record
