"""keras-tuner's oracles, which propose feasible networks alone, keep to a budget, and can be played back."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from kcnn.architectures.spec import summary
from kcnn.search import hyperparameters
from kcnn.search.journal import ERROR, OK, OUT_OF_MEMORY, PRUNED, STATUSES, Journal
from kcnn.search.keras_tuner_api import Proposed, TrialStatus, keras_tuner
from kcnn.search.space import NoFeasiblePointError, Space
from kcnn.search.successive_halving import SuccessiveHalving

TUNERS = ("random", "bayesian", "hyperband", "grid")
POOL = 300  # feasible candidates among which the Gaussian process chooses
STARTS = 2  # times that a trial is begun whose process was killed
SCORE, OUTCOME, SECONDS = "score", "outcome", "seconds"  # what a worker tells


@dataclass(frozen=True)
class Budget:
    """What a search may spend; None where nothing is said."""

    trials: int | None = None
    seconds: float | None = None  # of trials, added up over restarts
    epochs: int | None = None  # of all trials together

    def spent(self, trials: int, seconds: float, epochs: int) -> bool:
        limits = ((self.trials, trials), (self.seconds, seconds), (self.epochs, epochs))
        return any(limit is not None and used >= limit for limit, used in limits)


@dataclass
class SearchState:
    """What an oracle of kcnn's knows beside keras-tuner's: the space, the journal, what was spent."""

    space: Space
    journal: Journal
    budget: Budget
    halving: SuccessiveHalving
    seed: int
    usual: Mapping[str, Any] = field(default_factory=dict)  # the recipe's own, where its fields are searched
    identities: set[str] = field(default_factory=set)
    scores: dict[int, dict[int, float]] = field(default_factory=dict)  # by trial, by epoch
    begun: dict[int, float] = field(default_factory=dict)  # when a trial was given out
    seconds: float = 0.0  # of the trials that have ended
    playing: Mapping[str, Any] | None = None  # the event that is played back
    tell: Callable[[Any], None] = lambda trial: None

    @property
    def first(self) -> dict[str, Any]:
        """The network and its training as they are, as values of the choices."""
        here = self.space.default
        return {**here, **{name: value for name, value in self.usual.items() if name in here}}

    @property
    def epochs(self) -> int:
        return sum(map(len, self.scores.values()))

    def spent(self, trials: int) -> bool:
        running = sum(time.monotonic() - begun for begun in self.begun.values())
        return self.budget.spent(trials, self.seconds + running, self.epochs)


class _Judging:
    """What the four have in common, in front of keras-tuner's class: only what arithmetic allows is proposed."""

    book: SearchState

    def _random_values(self) -> dict[str, Any] | None:
        """The network as it is first, then candidates that seed and number fix; None where none is left."""
        number = len(self.trials)  # type: ignore[attr-defined]
        space, book = self.book.space, self.book
        if number == 0 and space.has_default:
            return hyperparameters.encode_values(space, book.first)
        try:
            found = space.sample(f"{book.seed}/{number}", apart_from=book.identities)
        except NoFeasiblePointError:
            return None
        return hyperparameters.encode_values(space, found.values)

    def create_trial(self, tuner_id: str) -> Any:
        book = self.book
        mine = self.ongoing_trials.get(tuner_id)  # type: ignore[attr-defined]
        if mine is not None and not book.playing and book.journal.starts(int(mine.trial_id)) >= STARTS:
            self._ended(int(mine.trial_id), OUT_OF_MEMORY, tuner_id)  # it kills whoever tries it
        waiting = tuner_id in self.ongoing_trials or self._retry_queue  # type: ignore[attr-defined]
        over = not book.playing and not waiting and book.spent(len(self.trials))  # type: ignore[attr-defined]
        self.max_trials = len(self.trials) or -1 if over else None  # type: ignore[attr-defined]
        known = set(self.trials)  # type: ignore[attr-defined]
        trial = super().create_trial(tuner_id)  # type: ignore[misc]
        if trial.status != TrialStatus.RUNNING:
            return trial
        number = int(trial.trial_id)
        values = hyperparameters.decode_values(book.space, trial.hyperparameters.values)
        if trial.trial_id not in known:
            identity = book.space.identity(values)
            assert identity is not None
            book.identities.add(identity)
        if not book.playing:
            book.begun[number] = time.monotonic()
            book.journal.add(event="start", trial=number, worker=tuner_id, values=trial.hyperparameters.values)
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Take down the score of an epoch, or how a trial ended; the answer's status says whether it goes on."""
        book, number = self.book, int(trial_id)
        values = self.trials[trial_id].hyperparameters  # type: ignore[attr-defined]
        if OUTCOME in metrics:
            self._ended(number, STATUSES[int(metrics[OUTCOME])], "", seconds=metrics[SECONDS])
            return Proposed(hyperparameters=values, trial_id=trial_id, status=TrialStatus.COMPLETED)
        book.scores.setdefault(number, {})[step] = metrics[SCORE]
        on = book.halving.should_continue(number, step, metrics[SCORE])
        if book.budget.seconds is not None or book.budget.epochs is not None:
            on = on and not book.spent(0)
        status = TrialStatus.RUNNING if on else TrialStatus.STOPPED
        return Proposed(hyperparameters=values, trial_id=trial_id, status=status)

    def end_trial(self, trial: Any) -> None:
        """Nothing: `update_trial` has taken down how it ended."""

    def _ended(self, number: int, status: str, worker: str, seconds: float = 0.0) -> None:
        book = self.book
        trial = next(t for t in self.trials.values() if int(t.trial_id) == number)  # type: ignore[attr-defined]
        if trial.status != TrialStatus.RUNNING:
            return  # told twice: its worker was killed in between
        owner = next((name for name, t in self.ongoing_trials.items() if t is trial), worker)  # type: ignore[attr-defined]
        kept = book.scores.get(number, {})
        values = hyperparameters.decode_values(book.space, trial.hyperparameters.values)
        paper = summary(book.space.candidate(values).graph)
        scores = [kept[epoch] for epoch in sorted(kept)]
        alive = status in (OK, PRUNED) and bool(scores)
        book.begun.pop(number, None)
        book.seconds += seconds
        after = trial.hyperparameters.values.get("tuner/trial_id")
        book.journal.add(
            event="end",
            trial=number,
            status=status if alive or status not in (OK, PRUNED) else ERROR,
            values=values,
            score=scores[-1] if alive else None,
            scores=scores,
            epochs=max(kept, default=0),
            seed=book.seed,
            params=paper.params,
            macs=paper.macs,
            receptive_field=min(paper.receptive_field),
            seconds=round(seconds, 2),
            worker=owner,
            continues=None if after is None else int(after),
            starts=book.journal.starts(number),
        )
        self.closed(trial, scores[-1] if alive else None, max(kept, default=0))
        book.journal.write_tables()
        book.tell(book.journal.trials[-1])

    def closed(self, trial: Any, score: float | None, epochs: int) -> None:
        """Let keras-tuner know how a trial ended."""
        if score is None:
            trial.status = TrialStatus.FAILED
        else:
            super().update_trial(trial.trial_id, {self.objective.name: score}, step=epochs)  # type: ignore[misc,attr-defined]
            trial.status = TrialStatus.COMPLETED
        super().end_trial(trial)  # type: ignore[misc]

    def play(self, journal: Journal) -> None:
        """Bring a new oracle to where the journal ends; trials without an end are given out again."""
        book = self.book
        for event in journal.events:
            book.playing = event
            number = event["trial"]
            if event["event"] == "end":
                trial = next(t for t in self.trials.values() if int(t.trial_id) == number)  # type: ignore[attr-defined]
                book.scores[number] = dict(enumerate(event["scores"], event["epochs"] - len(event["scores"]) + 1))
                book.halving.remember(number, book.scores[number])
                book.seconds += event["seconds"]
                self.closed(trial, event["score"], event["epochs"])
            elif not any(int(t) == number for t in self.trials):  # type: ignore[attr-defined]
                trial = self.create_trial(event["worker"])
                if trial.hyperparameters.values != event["values"]:
                    raise ValueError(
                        f"{journal.path} was written by another version of kcnn or keras-tuner: its trial {number} "
                        "would be another one now; go on with that version, or search into another folder"
                    )
        book.playing = None
        self._retry_queue.extend(t.trial_id for t in self.ongoing_trials.values())  # type: ignore[attr-defined]
        self.ongoing_trials.clear()  # type: ignore[attr-defined]
        self.tuner_ids.clear()  # type: ignore[attr-defined]

    def save(self, *_: Any) -> None:
        """Nothing: the journal has everything, and is whole whenever a process is killed."""

    reload = save
    _save_trial = save


class Random(_Judging, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class Bayesian(_Judging, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation: a Gaussian process chooses among feasible candidates, by expected improvement.

    keras-tuner's process has one length for all choices and no noise, and it looks for the least of mean - 2.6
    deviations in a cube of all numbers; this one has a length for each choice, and noise.
    """

    def _make_gpr(self) -> Any:
        dimensions = max(1, len(self._nonfixed_space()))
        kernel = Matern(np.full(dimensions, 0.5), (0.1, 100.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
        return GaussianProcessRegressor(kernel, n_restarts_optimizer=3, normalize_y=True, random_state=self.seed)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.book.playing:
            return {"status": TrialStatus.RUNNING, "values": dict(self.book.playing["values"])}
        done = sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values())
        if done < (self.num_initial_points or 0):
            return self._random_populate_space()
        space, book = self.book.space, self.book
        pool: list[dict[str, Any]] = []
        seen = set(book.identities)
        for number in range(POOL):
            try:
                found = space.sample(f"{book.seed}/{trial_id}/{number}", apart_from=seen)
            except NoFeasiblePointError:
                break
            seen.add(str(space.identity(found.values)))
            pool.append(hyperparameters.encode_values(space, found.values))
        if not pool:
            return {"status": TrialStatus.STOPPED, "values": None}
        x, y = self._vectorize_trials()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few trials leave length scales at their bounds
            self.gpr.fit(x, y)
        mean, deviation = self.gpr.predict(np.array([self._vector(values) for values in pool]), return_std=True)
        gain = np.min(y) - mean  # scores to be maximised have their sign turned
        deviation = np.maximum(deviation, 1e-9)
        expected = gain * stats.norm.cdf(gain / deviation) + deviation * stats.norm.pdf(gain / deviation)
        return {"status": TrialStatus.RUNNING, "values": pool[int(np.argmax(expected))]}

    def _vector(self, values: Mapping[str, Any]) -> list[float]:
        return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in self._nonfixed_space()]


class Hyperband(_Judging, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (arXiv:1603.06560); what is promoted goes on with its weights and its optimizer's state."""


class Grid(_Judging, keras_tuner.oracles.GridSearchOracle):
    """Every feasible combination in order, each network once."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        found = super().populate_space(trial_id)
        if found["status"] == TrialStatus.RUNNING and not self._new(found["values"]):
            # the first point of all, which keras-tuner takes as it is
            values = self._get_next_combination(found["values"])
            return {"status": TrialStatus.RUNNING if values else TrialStatus.STOPPED, "values": values}
        return found

    def _get_next_combination(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        found = super()._get_next_combination(values)
        while found is not None and not self._new(found):
            found = super()._get_next_combination(found)
        return found

    def _new(self, values: Mapping[str, Any]) -> bool:
        identity = self.book.space.identity(hyperparameters.decode_values(self.book.space, values))
        return identity is not None and identity not in self.book.identities


def make_oracle(tuner: str, book: SearchState, identity: str) -> Any:
    """One of TUNERS, ready to propose. A grid takes ten values of a range. ValueError for another word."""
    if tuner not in TUNERS:
        raise ValueError(f"a tuner is one of {', '.join(TUNERS)}, not {tuner!r}")
    shared: dict[str, Any] = {
        "objective": keras_tuner.Objective("val_score", "max"),
        "hyperparameters": hyperparameters.to_hyperparameters(book.space, identity, book.first),
        "tune_new_entries": False,
        "allow_new_entries": False,
        "seed": book.seed + 1,  # keras-tuner takes 0 for none
        "max_consecutive_failed_trials": None,  # the budget ends a search, not bad luck
    }
    found: Any
    if tuner == "bayesian":
        found = Bayesian(num_initial_points=max(3, min(10, 2 * len(book.space.all_choices))), **shared)
    elif tuner == "hyperband":
        found = Hyperband(max_epochs=book.halving.epochs, factor=3, hyperband_iterations=None, **shared)
    elif tuner == "grid":
        found = Grid(**shared)
    else:
        found = Random(**shared)
    found.book = book
    found.verbose = 0
    return found
