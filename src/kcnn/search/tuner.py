"""keras-tuner's loop over trials, in one process or as one of several workers with a chief."""

import gc
import time
from pathlib import Path
from typing import Any

from kcnn.search import hyperparameters, trial
from kcnn.search.journal import STATUSES
from kcnn.search.keras_tuner_api import BaseTuner, TrialStatus, grpc
from kcnn.search.oracles import OUTCOME, SCORE, SECONDS
from kcnn.search.space import Space
from kcnn.search.trial import TrialSettings

WAIT = 0.5  # seconds before a worker asks a chief without a trial again


class SearchMismatchError(ValueError):
    """Raised in a worker whose chief runs another search."""


class TrialCompletedError(Exception):
    """Raised in a worker of one trial that has completed it."""


class Chief(BaseTuner):
    """keras-tuner's tuner as the chief of others: it proposes, and writes the journal.

    Args:
        oracle: The oracle.
        out: Folder of the search.
    """

    def __init__(self, oracle: Any, out: Path):
        super().__init__(oracle, directory=str(out), project_name=".")

    def save(self, *_: Any) -> None:
        """Do nothing: the journal holds everything."""

    reload = save


class Tuner(Chief):
    """keras-tuner's search with kcnn's trials.

    Args:
        oracle: The oracle, or in a worker what stands for the chief's.
        space: The space.
        settings: What all trials share.
        single_trial: Whether to raise TrialCompletedError after one trial.
    """

    def __init__(self, oracle: Any, space: Space, settings: TrialSettings, *, single_trial: bool = False):
        super().__init__(oracle, settings.out)
        self.space, self.settings, self.single_trial = space, settings, single_trial
        self.is_waiting = False

    def on_search_begin(self) -> None:
        """Exclude libraries and data from garbage collection, which would take a second after each trial."""
        gc.collect()
        gc.freeze()

    def pre_create_trial(self) -> None:
        """Wait where the oracle had no trial to propose: it waits for other workers."""
        if self.is_waiting:
            time.sleep(WAIT)
        self.is_waiting = True

    def on_trial_begin(self, trial: Any) -> None:
        """Record that the oracle proposed a trial."""
        self.is_waiting = False

    def run_trial(self, proposal: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Run one trial, and report its end to the oracle.

        Args:
            proposal: keras-tuner's trial.
            *args: keras-tuner's, unused.
            **kwargs: keras-tuner's, unused.

        Returns:
            What was reported.

        Raises:
            SearchMismatchError: The chief runs another search.
            ConnectionError: The chief is gone.
        """
        values = proposal.hyperparameters.values
        if values.get(hyperparameters.IDENTITY) != self.settings.identity:
            raise SearchMismatchError(
                "the chief runs another search: its space, data, recipe or seed differ from this worker's; "
                "run the same command on all machines"
            )
        number = int(proposal.trial_id)
        promoted_from = values.get("tuner/trial_id")

        def should_continue(epoch: int, score: float) -> bool:
            try:
                answer = self.oracle.update_trial(proposal.trial_id, {SCORE: score}, step=epoch)
            except grpc.RpcError as error:
                raise ConnectionError(f"the chief of this search is gone: {error}") from None
            return answer.status != TrialStatus.STOPPED

        outcome = trial.run_trial(
            self.settings,
            number,
            self.space.candidate(hyperparameters.decode_values(self.space, values)),
            epochs=values.get("tuner/epochs") or self.settings.train.resolved_recipe.epochs,
            should_continue=should_continue,
            resume_from=None if promoted_from is None else int(promoted_from),
        )
        report = {OUTCOME: float(STATUSES.index(outcome.status)), SECONDS: outcome.seconds}
        self.oracle.update_trial(proposal.trial_id, report)
        return report

    def _try_run_and_update_trial(self, proposal: Any, *args: Any, **kwargs: Any) -> None:
        """Run a trial; keras-tuner's version takes every error for the trial's, but those that get here are not."""
        self.run_trial(proposal)

    def on_trial_end(self, trial: Any) -> None:
        """Do nothing, since the end was reported; in a worker of one trial, end it."""
        if self.single_trial:
            raise TrialCompletedError
