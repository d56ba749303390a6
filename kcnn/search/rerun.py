"""One trial of a search again: the same candidate, seed and epochs, and so, on a CPU, the same score."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.search import trial as one
from kcnn.search.journal import ERROR, OK, PRUNED, Journal
from kcnn.search.result import read_request
from kcnn.search.run import prepare_search
from kcnn.search.space import Space
from kcnn.training import Recipe


@dataclass(frozen=True)
class RerunResult:
    """What a trial came to now, and in the journal; the score of its last epoch."""

    score: float
    recorded: float

    @property
    def same(self) -> bool:
        return self.score == self.recorded


def rerun_trial(folder: str | Path, number: int, data: Any, *, log: Callable[[str], None] = print) -> RerunResult:
    """Rebuild a trial of a search by its number, and train it again on the data of the search.

    ValueError where there is no such trial, it came to no score, or the data is other data; RuntimeError where it
    dies this time.
    """
    where = Path(folder)
    told = read_request(where)
    trials = {trial.number: trial for trial in Journal(where, writes=False).trials}
    if number not in trials:
        raise ValueError(f"{where} has no trial {number} that has ended; there are {', '.join(map(str, trials))}")
    there = trials[number]
    if there.score is None:
        raise ValueError(f"trial {number} of {where} is {there.status}: it came to no score")
    with tempfile.TemporaryDirectory() as out:
        found = prepare_search(
            Space.from_json(told["space"]),
            data,
            out=out,
            tuner=told["tuner"],
            recipe=Recipe.fromdict(told["recipe"]),
            multi_label=told.get("multi_label", False),
            reduction_factor=told["halving"],
            seed=told["seed"],
            precision=told["precision"],
            strategy=told["strategy"],
            log=log,
        )
        if found.request["fingerprint"] != told["fingerprint"]:
            raise ValueError(f"{found.setting.data.name} is other data than that of the search, {told['data']}")
        scores: list[float] = []

        def goes_on(epoch: int, score: float) -> bool:
            scores.append(score)
            return epoch < there.epochs

        outcome = one.run_trial(
            found.setting,
            number,
            found.space.candidate(there.values),
            epochs=there.epochs,
            goes_on=goes_on,
        )
        if outcome.status not in (OK, PRUNED):
            trace = one.trial_folder(Path(out), number) / one.TRACEBACK
            text = trace.read_text() if trace.exists() else ERROR
            raise RuntimeError(f"trial {number} died this time ({outcome.status}): {text.strip().splitlines()[-1]}")
    return RerunResult(scores[-1], there.score)
