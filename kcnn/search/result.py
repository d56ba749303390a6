"""What a search left in its folder: what was asked, the best trial, and how the end came out. Keras is not loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.search.journal import Trial

CONFIG = "search.json"
BEST, DEFAULT = "best", "default"
RESULT = "final.json"


@dataclass(frozen=True)
class Contender:
    """Accuracies of one network on the test split, by seed; of several labels mean average precisions."""

    name: str
    accuracies: tuple[float, ...]
    accuracy: float  # their mean
    params: int
    macs: int
    folders: tuple[str, ...]


@dataclass(frozen=True)
class FinalEvaluation:
    """What a search brought: the best network against the network as it is, on the same seeds.

    `points` is the mean difference in percentage points, `low` and `high` its 95 % interval after Student over seeds;
    None with one seed. `shown` says whether the interval leaves out 0.
    """

    trial: int
    contenders: tuple[Contender, ...]  # the best, and the network as it is, unless that is the best or cannot be built
    unchanged: bool = False  # whether the best is the network as it is
    points: float | None = None
    low: float | None = None
    high: float | None = None
    significant: bool = False

    def __str__(self) -> str:
        """What a person wants to know: a line for each side, and what sets them apart."""
        said = [
            f"{side.name}: {side.accuracy:.2%} of the test split "
            f"({', '.join(f'{one:.2%}' for one in side.accuracies)}), {side.params:,} parameters, {side.macs:,} MACs"
            for side in self.contenders
        ]
        if self.unchanged:
            said.append("the best in validation is the network as it is")
        elif self.low is not None:
            verdict = "a difference" if self.significant else "no difference is shown"
            said.append(
                f"best against default {self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f}): {verdict}"
            )
        return "\n".join(said)


def find_best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest score, of those that were trained to their end where there are some."""
    scored = [trial for trial in trials if trial.score is not None]
    most = max((trial.epochs for trial in scored), default=0)
    return max((t for t in scored if t.epochs == most), key=lambda t: (t.score or 0, -t.number), default=None)


def read_result(folder: Path) -> FinalEvaluation | None:
    """The end of a search as its folder tells it; None where it has not come to it."""
    path = folder / RESULT
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    sides = tuple(
        Contender(**{**side, "accuracies": tuple(side["accuracies"]), "folders": tuple(side["folders"])})
        for side in told["sides"]
    )
    return FinalEvaluation(**{**told, "sides": sides})


def read_request(folder: Path) -> dict[str, Any]:
    """What was searched in a folder. FileNotFoundError, ValueError where it holds no search."""
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"there is no search in {folder}: it has no {CONFIG}")
    try:
        return json.loads(path.read_text())["request"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
