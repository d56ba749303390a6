"""keras-tuner's loop over trials, in one process or as one of several workers with a chief."""

import gc
import shutil
import time
from pathlib import Path
from typing import Any

from kcnn.search import hyperparameters, trial
from kcnn.search.journal import STATUSES, Trial
from kcnn.search.keras_tuner_api import BaseTuner, TrialStatus, grpc
from kcnn.search.oracles import OUTCOME, SCORE, SECONDS
from kcnn.search.space import Space
from kcnn.search.trial import TrialSettings
from kcnn.training import run_directory

WAIT = 0.5  # seconds before a chief without a trial to give is asked again


class Chief(BaseTuner):
    """keras-tuner's tuner as the chief of others: it proposes, and writes the journal."""

    def __init__(self, oracle: Any, out: Path):
        super().__init__(oracle, directory=str(out), project_name=".")

    def save(self, *_: Any) -> None:
        """Nothing: the journal has everything."""

    reload = save


class Tuner(Chief):
    """keras-tuner's search, each of whose trials is a training of kcnn's."""

    def __init__(self, oracle: Any, space: Space, setting: TrialSettings, *, once: bool = False):
        super().__init__(oracle, setting.out)
        self.space, self.setting, self.once = space, setting, once
        self.asked = False

    def on_search_begin(self) -> None:
        gc.collect()
        gc.freeze()  # libraries and data stay: looking through them after each trial would take a second

    def pre_create_trial(self) -> None:
        if self.asked:  # and had no trial to begin: the oracle waits for others
            time.sleep(WAIT)
        self.asked = True

    def on_trial_begin(self, trial: Any) -> None:
        self.asked = False

    def run_trial(self, proposed: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Run one trial, and tell the oracle what became of it."""
        values = proposed.hyperparameters.values
        if values.get("kcnn/search") != self.setting.identity:
            raise SearchMismatchError(
                "the chief searches another space, or with other data, recipe or seed, than this worker was started "
                "for; give the same command to all"
            )
        number = int(proposed.trial_id)
        after = values.get("tuner/trial_id")

        def goes_on(epoch: int, score: float) -> bool:
            try:
                told = self.oracle.update_trial(proposed.trial_id, {SCORE: score}, step=epoch)
            except grpc.RpcError as error:
                raise ConnectionError(f"the chief of this search is gone: {error}") from None
            return told.status != TrialStatus.STOPPED

        outcome = trial.run_trial(
            self.setting,
            number,
            self.space.candidate(hyperparameters.decode_values(self.space, values)),
            epochs=values.get("tuner/epochs") or self.setting.recipe.epochs,
            goes_on=goes_on,
            after=None if after is None else int(after),
        )
        told = {OUTCOME: float(STATUSES.index(outcome.status)), SECONDS: outcome.seconds}
        self.oracle.update_trial(proposed.trial_id, told)
        return told

    def _try_run_and_update_trial(self, proposed: Any, *args: Any, **kwargs: Any) -> None:
        """As keras-tuner's, which takes every error for the trial's: what comes through here is none of a trial's."""
        self.run_trial(proposed)

    def on_trial_end(self, trial: Any) -> None:
        """The oracle was told; a worker of one trial has done its work."""
        if self.once:
            raise TrialDone


class TrialDone(Exception):
    """A worker that was started for one trial has ended it."""


class SearchMismatchError(ValueError):
    """A worker whose chief searches something else."""


def prune_checkpoints(out: Any, trials: list[Trial], keep: int) -> None:
    """Keep the checkpoints of the best `keep` trials that have ended, and no others."""
    scored = sorted((t for t in trials if t.score is not None), key=lambda t: (-(t.score or 0), t.number))
    for one in [*scored[keep:], *(t for t in trials if t.score is None)]:
        shutil.rmtree(trial.trial_folder(out, one.number) / run_directory.CHECKPOINTS, ignore_errors=True)
