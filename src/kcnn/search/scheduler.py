"""The scheduler of a search: which trial a worker runs next, whether it goes on, and what is remembered.

It holds the journal, the budget, successive halving and the trials to be run again; a sampler proposes new ones. No
library for tuning here: keras-tuner and Optuna stand behind the samplers.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kcnn.architectures.spec import summary
from kcnn.graph.overrides import to_builtin
from kcnn.search.config import SearchConfig
from kcnn.search.journal import ERROR, FOLD, OK, OUT_OF_MEMORY, PRUNED, Journal, Trial, read_trial
from kcnn.search.objectives import Objective
from kcnn.search.pareto import collect_values
from kcnn.search.samplers.sampler import NoProposal, Proposal, Sampler
from kcnn.search.space import Space
from kcnn.search.successive_halving import SuccessiveHalving

MAX_STARTS = 2  # of a trial whose process was killed


class Scheduler:
    """Schedule the trials of a search among its workers, from where its journal ends.

    Args:
        space: The space.
        config: Tuner and budget.
        journal: The events so far, to which it appends.
        sampler: What proposes trials.
        halving: The rule by which trials are stopped.
        on_trial_end: Called with each trial that has ended.
        objectives: What trials are judged by.

    Attributes:
        proposals: The trials that were proposed, by number.
        running: Number of the trial that each worker runs, by name.
        waiting: Trials that were interrupted, and run again before others are proposed.
        identities: Identities of the candidates that were proposed.
        scores: Scores by trial, by epoch.

    Raises:
        ValueError: The journal is of a version whose sampler proposed other trials.
    """

    def __init__(
        self,
        space: Space,
        config: SearchConfig,
        journal: Journal,
        sampler: Sampler,
        halving: SuccessiveHalving,
        on_trial_end: Callable[[Trial], None] = lambda trial: None,
        objectives: Sequence[Objective] = (Objective(),),
    ):
        self.space, self.config, self.journal, self.sampler, self.halving = space, config, journal, sampler, halving
        self.on_trial_end, self.objectives = on_trial_end, objectives
        self.proposals: dict[int, Proposal] = {}
        self.running: dict[str, int] = {}
        self.waiting: list[int] = []
        self.identities: set[str] = set()
        self.scores: dict[int, dict[int, float]] = {}
        self.opened, self.elapsed_before = time.monotonic(), 0.0
        self._replay()

    @property
    def elapsed(self) -> float:
        """Seconds in which the search has run, over all its starts; those of parallel workers count once."""
        return self.elapsed_before + time.monotonic() - self.opened

    def is_spent(self, trials: int) -> bool:
        """Return whether the budget is spent.

        Args:
            trials: Number of trials that were proposed.
        """
        config = self.config
        epochs = sum(map(len, self.scores.values())) * (config.train.folds or 1)
        limits = ((config.max_trials, trials), (config.time_budget, self.elapsed), (config.total_epochs, epochs))
        return any(limit is not None and used >= limit for limit, used in limits)

    def ask(self, worker: str) -> Proposal | NoProposal:
        """Return the trial that a worker runs next: the one that it was running where its process was killed.

        Args:
            worker: Its name.
        """
        number = self.running.get(worker)
        if number is not None and self.journal.count_starts(number) >= MAX_STARTS:  # it kills its process each time
            self.end(number, OUT_OF_MEMORY, 0.0)
            number = None
        if number is None and self.waiting:
            number = self.waiting.pop(0)
        if number is None:
            if self.is_spent(len(self.proposals)):
                return NoProposal.STOP
            proposal = self.sampler.propose(len(self.proposals), self.identities)
            if isinstance(proposal, NoProposal):
                return proposal
            number = self._add(proposal)
        proposal = self.proposals[number]
        self.running[worker] = number
        self._record("start", trial=number, worker=worker, **_describe(proposal))
        return proposal

    def tell(self, number: int, epoch: int, score: float) -> bool:
        """Record the score of an epoch, and return whether the trial goes on.

        Args:
            number: Number of the trial.
            epoch: The epoch, from 1.
            score: Its score, the higher the better.
        """
        self.scores.setdefault(number, {})[epoch] = score
        continues = self.halving.should_continue(number, epoch, score)
        config = self.config
        if config.time_budget is not None:
            self._record("epoch", trial=number, epoch=epoch)  # the time: a kill forgets no more than an epoch
        if config.time_budget is not None or config.total_epochs is not None:
            continues = continues and not self.is_spent(0)
        return continues

    def end(
        self, number: int, status: str, seconds: float, measured: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Record how a trial ended.

        Args:
            number: Number of the trial.
            status: One of kcnn.search.journal.STATUSES.
            seconds: Seconds of work.
            measured: Values of the objectives beside the score that the worker has measured, and the scores of the
                folds, by key.
        """
        owner = next((name for name, other in self.running.items() if other == number), None)
        if owner is not None:
            del self.running[owner]
        elif number in self.waiting:  # its worker outlived the chief that gave it the trial
            self.waiting.remove(number)
        else:
            return  # reported twice: its worker was killed in between
        proposal, by_epoch = self.proposals[number], self.scores.get(number, {})
        network = summary(self.space.candidate(proposal.values).graph)
        scores = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        is_scored = status in (OK, PRUNED) and bool(scores)
        several = is_scored and len(self.objectives) > 1
        folds = [measured[FOLD.format(i + 1)] for i in range(self.config.train.folds or 0)] if is_scored else []
        self._record(
            "end",
            trial=number,
            status=status if is_scored or status not in (OK, PRUNED) else ERROR,
            values=proposal.values,
            score=scores[-1] if is_scored else None,
            scores=scores,
            epochs=max(by_epoch, default=0),
            seed=self.config.train.seed,
            params=network.params,
            macs=network.macs,
            receptive_field=min(network.receptive_field),
            seconds=round(seconds, 2),
            worker=self.journal.find_worker(number),
            promoted_from=proposal.promoted_from,
            starts=self.journal.count_starts(number),
            **({"objectives": collect_values(self.objectives, scores[-1], network, measured)} if several else {}),
            **({"fold_scores": folds} if folds else {}),
        )
        trial = read_trial(self.journal.events[-1])
        self.sampler.tell(trial)
        self.journal.write_tables()
        self.on_trial_end(trial)

    def _add(self, proposal: Proposal) -> int:
        identity = self.space.identity(proposal.values)
        assert identity is not None
        self.identities.add(identity)
        self.proposals[proposal.number] = proposal
        return proposal.number

    def _record(self, event: str, **values: Any) -> None:
        """Append an event to the journal, with the time."""
        self.journal.add({"event": event, **values, "elapsed": round(self.elapsed, 2)})

    def _replay(self) -> None:
        """Go to the end of the journal; trials that were not completed are run again."""
        for event in self.journal.events:
            self.elapsed_before = event["elapsed"]
            number = event["trial"]
            if event["event"] == "start" and number not in self.proposals:
                proposal = _read_proposal(event)
                is_known = self.space.identity(proposal.values) is not None
                if not is_known or not self.sampler.restore(proposal, self.identities):
                    raise ValueError(
                        f"{self.journal.path} was written by another version of kcnn or its tuner, which proposed "
                        f"another trial {number}; resume with that version, or choose another folder"
                    )
                self._add(proposal)
                self.waiting.append(number)
            elif event["event"] == "end":
                trial = read_trial(event)
                self.scores[number] = trial.scores_by_epoch
                self.halving.restore(number, self.scores[number])
                self.sampler.tell(trial)
                self.waiting.remove(number)


def _describe(proposal: Proposal) -> dict[str, Any]:
    """A proposal as JSON values, without its number and what it does not have."""
    rest = {"epochs": proposal.epochs, "promoted_from": proposal.promoted_from}
    return {"values": dict(proposal.values), **{name: value for name, value in rest.items() if value is not None}}


def _read_proposal(event: Mapping[str, Any]) -> Proposal:
    values = {name: to_builtin(value) for name, value in event["values"].items()}  # JSON has lists for tuples
    return Proposal(event["trial"], values, event.get("epochs"), event.get("promoted_from"))


def encode_proposal(proposal: Proposal) -> str:
    """Return a proposal as a line of JSON, as a worker receives it."""
    return json.dumps({"trial": proposal.number, **_describe(proposal)})


def decode_proposal(text: str) -> Proposal:
    """Return the proposal that `encode_proposal` wrote."""
    return _read_proposal(json.loads(text))
