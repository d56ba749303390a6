"""The loop of a worker: it asks a scheduler for a trial, runs it, and tells how it went."""

import gc
import time
from collections.abc import Mapping
from typing import Protocol

from kcnn.search import trial
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import Space
from kcnn.search.trial import TrialSettings

WAIT = 0.5  # seconds before a worker asks again where there was no trial yet


class Schedule(Protocol):
    """What a worker needs of a scheduler: that of its own process, or one that stands for the chief's."""

    def ask(self, worker: str) -> Proposal | NoProposal:
        """Return the trial that a worker runs next."""
        ...

    def tell(self, number: int, epoch: int, score: float) -> bool:
        """Record the score of an epoch, and return whether the trial goes on."""
        ...

    def end(self, number: int, status: str, seconds: float, measured: Mapping[str, float]) -> None:
        """Record how a trial ended."""
        ...


def run_trials(
    scheduler: Schedule, worker: str, space: Space, settings: TrialSettings, *, single_trial: bool = False
) -> bool:
    """Run trials until there is none.

    Args:
        scheduler: What proposes them.
        worker: Name of this process.
        space: The space.
        settings: What all trials share.
        single_trial: Whether to return after one trial.

    Returns:
        Whether the search has ended; False after a single trial.
    """
    gc.collect()
    gc.freeze()  # libraries and data: collecting them would take a second after each trial
    while (proposal := scheduler.ask(worker)) is not NoProposal.STOP:
        if not isinstance(proposal, Proposal):
            time.sleep(WAIT)
            continue
        number = proposal.number
        outcome = trial.run_trial(
            settings,
            number,
            space.candidate(proposal.values),
            epochs=proposal.epochs or settings.train.resolved_recipe.epochs,
            should_continue=lambda epoch, score, number=number: scheduler.tell(number, epoch, score),  # type: ignore[misc]
            resume_from=proposal.promoted_from,
        )
        scheduler.end(number, outcome.status, outcome.seconds, outcome.measured)
        if single_trial:
            return False
    return True
