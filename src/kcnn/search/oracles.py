"""keras-tuner's oracles, restricted to feasible candidates and a budget, and resumed from the journal.

keras-tuner keeps a search's state in files that a kill can truncate, and proposes what cannot be built.
`FeasibleOracle` replaces that by the journal and the space, as a mixin of keras-tuner's classes; only this file uses
their private attributes.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from kcnn.architectures.spec import summary
from kcnn.search import grid_order, hyperparameters
from kcnn.search.config import SearchConfig
from kcnn.search.environment import is_worker
from kcnn.search.journal import ERROR, OK, OUT_OF_MEMORY, PRUNED, STATUSES, Journal, Trial
from kcnn.search.keras_tuner_api import Proposal, TrialStatus, keras_tuner
from kcnn.search.space import NoFeasiblePointError, Space
from kcnn.search.successive_halving import SuccessiveHalving
from kcnn.search.trial_folders import prune_checkpoints

POOL = 300  # feasible candidates among which the Gaussian process chooses
MAX_STARTS = 2  # of a trial whose process was killed
BANDS = 3  # Hyperband's reduction factor
SCORE, OUTCOME, SECONDS = "score", "outcome", "seconds"  # metrics that a worker reports


@dataclass
class SearchState:
    """State of a search beside keras-tuner's.

    Attributes:
        space: The space.
        config: Tuner and budget.
        journal: The events so far.
        halving: The rule by which trials are stopped.
        recipe_values: The recipe's own values of the choices of the training.
        on_trial_end: Called with each trial that has ended.
        identities: Identities of the candidates that were proposed.
        scores: Scores by trial, by epoch.
        opened: Time at which this process opened the search.
        elapsed_before: Seconds in which the search ran before.
        replaying: The event of the journal that is replayed; None afterwards.
    """

    space: Space
    config: SearchConfig
    journal: Journal
    halving: SuccessiveHalving
    recipe_values: Mapping[str, Any] = field(default_factory=dict)
    on_trial_end: Callable[[Trial], None] = lambda trial: None
    identities: set[str] = field(default_factory=set)
    scores: dict[int, dict[int, float]] = field(default_factory=dict)
    opened: float = field(default_factory=lambda: time.monotonic())
    elapsed_before: float = 0.0
    replaying: Mapping[str, Any] | None = None

    @property
    def seed(self) -> int:
        """The seed of proposals."""
        return self.config.train.seed

    @property
    def default(self) -> dict[str, Any]:
        """The values of the unchanged network and its recipe."""
        values = self.space.default
        return {**values, **{name: value for name, value in self.recipe_values.items() if name in values}}

    @property
    def elapsed(self) -> float:
        """Seconds in which the search has run, over all its starts; those of parallel workers count once."""
        return self.elapsed_before + time.monotonic() - self.opened

    def record(self, event: str, **values: Any) -> None:
        """Append an event to the journal, with the time."""
        self.journal.add({"event": event, **values, "elapsed": round(self.elapsed, 2)})

    def is_spent(self, trials: int) -> bool:
        """Return whether the budget is spent.

        Args:
            trials: Number of trials that were proposed.
        """
        epochs = sum(map(len, self.scores.values()))
        config = self.config
        limits = ((config.max_trials, trials), (config.time_budget, self.elapsed), (config.total_epochs, epochs))
        return any(limit is not None and used >= limit for limit, used in limits)


class FeasibleOracle:
    """What the four oracles share, in front of keras-tuner's class: they propose feasible candidates only."""

    state: SearchState

    def _random_values(self) -> dict[str, Any] | None:
        """The unchanged network first, then candidates fixed by seed and number; None where none is left."""
        number = len(self.trials)  # type: ignore[attr-defined]
        space, state = self.state.space, self.state
        if number == 0 and space.has_default:
            return hyperparameters.encode_values(space, state.default)
        try:
            candidate = space.sample(f"{state.seed}/{number}", exclude=state.identities)
        except NoFeasiblePointError:
            return None
        return hyperparameters.encode_values(space, candidate.values)

    def create_trial(self, tuner_id: str) -> Any:
        """Propose a trial to a worker; its status tells the worker to wait or to stop where there is none."""
        state = self.state
        ongoing = self.ongoing_trials.get(tuner_id)  # type: ignore[attr-defined]
        if ongoing is not None and not state.replaying:
            number = int(ongoing.trial_id)
            if state.journal.count_starts(number) >= MAX_STARTS:  # it kills its process each time
                self._end(number, OUT_OF_MEMORY, tuner_id)
        is_waiting = tuner_id in self.ongoing_trials or self._retry_queue  # type: ignore[attr-defined]
        is_over = not state.replaying and not is_waiting and state.is_spent(len(self.trials))  # type: ignore[attr-defined]
        self.max_trials = len(self.trials) or -1 if is_over else None  # type: ignore[attr-defined]
        known = set(self.trials)  # type: ignore[attr-defined]
        proposal = super().create_trial(tuner_id)  # type: ignore[misc]
        if proposal.status != TrialStatus.RUNNING:
            return proposal
        number, encoded = int(proposal.trial_id), proposal.hyperparameters.values
        if proposal.trial_id not in known:
            identity = state.space.identity(hyperparameters.decode_values(state.space, encoded))
            assert identity is not None
            state.identities.add(identity)
        if not state.replaying:
            state.record("start", trial=number, worker=tuner_id, values=encoded)
        return proposal

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Record the score of an epoch, or how a trial ended; the status of the result tells whether it continues."""
        state, number = self.state, int(trial_id)
        values = self.trials[trial_id].hyperparameters  # type: ignore[attr-defined]
        if OUTCOME in metrics:
            self._end(number, STATUSES[int(metrics[OUTCOME])], "", seconds=metrics[SECONDS])
            return Proposal(hyperparameters=values, trial_id=trial_id, status=TrialStatus.COMPLETED)
        state.scores.setdefault(number, {})[step] = metrics[SCORE]
        continues = state.halving.should_continue(number, step, metrics[SCORE])
        if state.config.time_budget is not None:
            state.record("epoch", trial=number, epoch=step)  # the time: a kill forgets no more than an epoch
        if state.config.time_budget is not None or state.config.total_epochs is not None:
            continues = continues and not state.is_spent(0)
        status = TrialStatus.RUNNING if continues else TrialStatus.STOPPED
        return Proposal(hyperparameters=values, trial_id=trial_id, status=status)

    def end_trial(self, trial: Any) -> None:
        """Do nothing: `update_trial` has recorded the end."""

    def _find(self, number: int) -> Any:
        return next(t for t in self.trials.values() if int(t.trial_id) == number)  # type: ignore[attr-defined]

    def _end(self, number: int, status: str, worker: str, seconds: float = 0.0) -> None:
        state = self.state
        proposal = self._find(number)
        if proposal.status != TrialStatus.RUNNING:
            return  # reported twice: its worker was killed in between
        ongoing = self.ongoing_trials.items()  # type: ignore[attr-defined]
        owner = next((name for name, trial in ongoing if trial is proposal), worker)
        by_epoch = state.scores.get(number, {})
        values = hyperparameters.decode_values(state.space, proposal.hyperparameters.values)
        network = summary(state.space.candidate(values).graph)
        scores = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        is_scored = status in (OK, PRUNED) and bool(scores)
        score = scores[-1] if is_scored else None
        promoted_from = proposal.hyperparameters.values.get("tuner/trial_id")
        state.record(
            "end",
            trial=number,
            status=status if is_scored or status not in (OK, PRUNED) else ERROR,
            values=values,
            score=score,
            scores=scores,
            epochs=max(by_epoch, default=0),
            seed=state.seed,
            params=network.params,
            macs=network.macs,
            receptive_field=min(network.receptive_field),
            seconds=round(seconds, 2),
            worker=owner,
            promoted_from=None if promoted_from is None else int(promoted_from),
            starts=state.journal.count_starts(number),
        )
        self._close(proposal, score, max(by_epoch, default=0))
        state.journal.write_tables()
        state.on_trial_end(state.journal.trials[-1])

    def _close(self, proposal: Any, score: float | None, epochs: int) -> None:
        """Report to keras-tuner how a trial ended."""
        if score is None:
            proposal.status = TrialStatus.FAILED
        else:
            super().update_trial(proposal.trial_id, {self.objective.name: score}, step=epochs)  # type: ignore[misc,attr-defined]
            proposal.status = TrialStatus.COMPLETED
        super().end_trial(proposal)  # type: ignore[misc]

    def replay(self, journal: Journal) -> None:
        """Bring a new oracle to the end of a journal; trials that were not completed are proposed again.

        Args:
            journal: The journal of the search.

        Raises:
            ValueError: The journal is of another version of kcnn or keras-tuner, which proposed other trials.
        """
        state = self.state
        for event in journal.events:
            state.elapsed_before = event["elapsed"]
            if event["event"] == "epoch":
                continue
            state.replaying = event
            number = event["trial"]
            if event["event"] == "end":
                first = event["epochs"] - len(event["scores"]) + 1
                state.scores[number] = dict(enumerate(event["scores"], first))
                state.halving.restore(number, state.scores[number])
                self._close(self._find(number), event["score"], event["epochs"])
            elif not any(int(t) == number for t in self.trials):  # type: ignore[attr-defined]
                proposal = self.create_trial(event["worker"])
                if proposal.hyperparameters.values != event["values"]:
                    raise ValueError(
                        f"{journal.path} was written by another version of kcnn or keras-tuner, which proposed another "
                        f"trial {number}; resume with that version, or choose another folder"
                    )
        state.replaying = None
        self._retry_queue.extend(t.trial_id for t in self.ongoing_trials.values())  # type: ignore[attr-defined]
        self.ongoing_trials.clear()  # type: ignore[attr-defined]
        self.tuner_ids.clear()  # type: ignore[attr-defined]

    def save(self, *_: Any) -> None:
        """Do nothing: the journal holds everything, and is complete whenever a process is killed."""

    reload = save
    _save_trial = save


class Random(FeasibleOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class Bayesian(FeasibleOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization: a Gaussian process chooses among feasible candidates by expected improvement.

    keras-tuner's process has one length scale for all choices and no noise, and minimizes mean - 2.6 deviations over a
    cube of all numbers; this one has a length scale for each choice, and noise.
    """

    def _make_gpr(self) -> Any:
        dimensions = max(1, len(self._nonfixed_space()))
        kernel = Matern(np.full(dimensions, 0.5), (0.1, 100.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
        return GaussianProcessRegressor(kernel, n_restarts_optimizer=3, normalize_y=True, random_state=self.seed)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial: random at first, then those of highest expected improvement."""
        if self.state.replaying:
            return {"status": TrialStatus.RUNNING, "values": dict(self.state.replaying["values"])}
        completed = sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values())
        if completed < (self.num_initial_points or 0):
            return self._random_populate_space()
        space, state = self.state.space, self.state
        pool: list[dict[str, Any]] = []
        seen = set(state.identities)
        for number in range(POOL):
            try:
                candidate = space.sample(f"{state.seed}/{trial_id}/{number}", exclude=seen)
            except NoFeasiblePointError:
                break
            seen.add(str(space.identity(candidate.values)))
            pool.append(hyperparameters.encode_values(space, candidate.values))
        if not pool:
            return {"status": TrialStatus.STOPPED, "values": None}
        x, y = self._vectorize_trials()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few trials leave length scales at their bounds
            self.gpr.fit(x, y)
        mean, deviation = self.gpr.predict(np.array([to_vector(self, values) for values in pool]), return_std=True)
        gain = np.min(y) - mean  # scores that are maximized have their sign changed
        deviation = np.maximum(deviation, 1e-9)
        expected = gain * stats.norm.cdf(gain / deviation) + deviation * stats.norm.pdf(gain / deviation)
        return {"status": TrialStatus.RUNNING, "values": pool[int(np.argmax(expected))]}


def to_vector(oracle: Any, values: Mapping[str, Any]) -> list[float]:
    """Return encoded values as keras-tuner's Gaussian process takes them, from 0 to 1; inactive ones are the default.

    Args:
        oracle: A BayesianOptimizationOracle of keras-tuner.
        values: Encoded values, by name.
    """
    return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in oracle._nonfixed_space()]


class Hyperband(FeasibleOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (arXiv:1603.06560); a promoted trial resumes with its weights and its optimizer's state."""


class Grid(FeasibleOracle, keras_tuner.oracles.GridSearchOracle):
    """Grid search: the unchanged network, then every feasible point, each network once, spread over the space."""

    @cached_property
    def points(self) -> Iterator[dict[str, Any]]:
        """The points to visit; after a restart from the first on, of which those of the journal are not new."""
        space = self.state.space
        return chain([self.state.default] if space.has_default else [], grid_order.Grid(space))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial."""
        space, state = self.state.space, self.state
        if state.replaying:
            return {"status": TrialStatus.RUNNING, "values": dict(state.replaying["values"])}
        for values in self.points:
            identity = space.identity(values)
            if identity is not None and identity not in state.identities:
                return {"status": TrialStatus.RUNNING, "values": hyperparameters.encode_values(space, values)}
        return {"status": TrialStatus.STOPPED, "values": None}


def make_oracle(state: SearchState, identity: str) -> Any:
    """Return the oracle of a search, ready to propose. A grid has ten values of a Range.

    Args:
        state: The state of the search.
        identity: Hash of the request.
    """
    tuner = state.config.tuner
    shared: dict[str, Any] = {
        "objective": keras_tuner.Objective("val_score", "max"),
        "hyperparameters": hyperparameters.to_hyperparameters(state.space, identity, state.default),
        "tune_new_entries": False,
        "allow_new_entries": False,
        "seed": state.seed + 1,  # keras-tuner takes 0 for no seed
        "max_consecutive_failed_trials": None,  # only the budget ends a search
    }
    oracle: Any
    if tuner == "bayesian":
        oracle = Bayesian(num_initial_points=max(3, min(10, 2 * len(state.space.all_choices))), **shared)
    elif tuner == "hyperband":
        oracle = Hyperband(max_epochs=state.halving.epochs, factor=BANDS, hyperband_iterations=None, **shared)
    elif tuner == "grid":
        oracle = Grid(**shared)
    else:
        oracle = Random(**shared)
    oracle.state = state
    oracle.verbose = 0
    return oracle


def open_oracle(
    space: Space,
    config: SearchConfig,
    identity: str,
    out: Path,
    on_trial_end: Callable[[Trial], None] = lambda trial: None,
) -> Any:
    """Return the oracle of a search at the end of its journal, to which it appends from now on.

    Args:
        space: The space, with the classes and the input shape of the data.
        config: Tuner and budget.
        identity: Hash of the request.
        out: Folder of the search.
        on_trial_end: Called with each trial that has ended.
    """
    recipe, journal = config.train.resolved_recipe, Journal(out, read_only=is_worker())
    fields = recipe.to_json()
    fields = {**fields, **fields["augmentation"]}
    own = {c.name: fields[c.name] for c in space.all_choices if c.name in space.training and fields[c.name] in c}
    is_hyperband = config.tuner == "hyperband"
    keep = config.keep_checkpoints
    if is_hyperband:  # a band promotes from its best trials
        keep = max(keep, 2 * BANDS ** int(log(recipe.epochs, BANDS)))

    def record_end(trial: Trial) -> None:
        prune_checkpoints(out, journal.trials, keep)
        on_trial_end(trial)

    state = SearchState(
        space=space,
        config=config,
        journal=journal,
        halving=SuccessiveHalving(0 if is_hyperband else config.reduction_factor, recipe.epochs),
        recipe_values=own,
        on_trial_end=record_end,
    )
    oracle = make_oracle(state, identity)
    if not is_worker():  # a worker's proposals are the chief's
        oracle.replay(journal)
    return oracle
