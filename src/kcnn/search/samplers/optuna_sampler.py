"""Optuna's samplers by ask and tell; only this file touches Optuna.

The study is in memory. The journal of the search is its storage: a sampler is seeded anew for each time it is asked, so
that it goes on after a restart as if there had been none.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kcnn.search.journal import PRUNED, Trial
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import Choice, NoFeasiblePointError, Range, Space, find_nearest
from kcnn.search.space.points import is_active

try:
    import optuna
    from optuna.trial import TrialState
except ModuleNotFoundError as error:
    raise ImportError(
        f'an optuna tuner needs {error.name}, which is not installed: pip install "kcnn[optuna]"'
    ) from None

ASKS = 10  # of Optuna for one trial, before what it proposes is repaired
TPE = "optuna:tpe"
POPULATION = 10  # of NSGA-II: Optuna's 50 are more than the trials of most searches
SAMPLERS: Mapping[str, Callable[[int], Any]] = {
    TPE: lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, multivariate=False),
    "optuna:nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION),
    "optuna:random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


class OptunaSampler:
    """Propose what a sampler of Optuna proposes.

    An infeasible proposal is told to Optuna as failed, and the next is asked for; the last of them is replaced by the
    nearest feasible point.

    Args:
        tuner: A key of SAMPLERS.
        space: The space.
        default: Values of the unchanged network and its recipe, those of the first trial.
        seed: The seed.
        measure: Returns the objectives of a trial, each the higher the better.
        objectives: Their number.
    """

    def __init__(
        self,
        tuner: str,
        space: Space,
        default: Mapping[str, Any],
        seed: int,
        measure: Callable[[Trial], list[float]],
        objectives: int = 1,
    ):
        self.tuner, self.make, self.measure = tuner, SAMPLERS[tuner], measure
        self.space, self.default, self.seed = space, default, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(directions=["maximize"] * objectives)
        self.asked: dict[int, Any] = {}

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial."""
        if number == 0 and self.space.has_default:
            return self._propose(number, self._ask(number, 0, self.default))
        for ask in range(ASKS):
            trial, values = self._ask(number, ask)
            identity = self.space.identity(values)
            if identity is not None and identity not in identities:
                return self._propose(number, (trial, values))
            self.study.tell(trial, state=TrialState.FAIL)
        try:
            nearest = find_nearest(self.space, values)
            if self.space.identity(nearest) in identities:
                nearest = dict(self.space.sample(f"{self.seed}/{number}", exclude=identities).values)
        except NoFeasiblePointError:
            return NoProposal.STOP
        return self._propose(number, self._ask(number, ASKS, nearest))

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial: as it was proposed, or by proposing it again where the sampler remembers more than that.

        TPE remembers no more, and to ask it again would take minutes for a few hundred trials.
        """
        if self.tuner != TPE:
            return self.propose(proposal.number, identities) == proposal
        by_name = {choice.name: choice for choice in self.space.all_choices}
        started = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: _encode(by_name[name], value) for name, value in proposal.values.items()},
            distributions={name: _make_distribution(by_name[name]) for name in proposal.values},
        )
        self.study.add_trial(started)
        added = self.study.get_trials(deepcopy=False)[-1]
        self.asked[proposal.number] = optuna.trial.Trial(self.study, added._trial_id)
        return True

    def tell(self, trial: Trial) -> None:
        """Learn how a trial ended."""
        asked = self.asked.pop(trial.number)
        if trial.score is None:
            self.study.tell(asked, state=TrialState.FAIL)
        elif trial.status == PRUNED:
            if len(self.study.directions) == 1:
                for epoch, score in trial.scores_by_epoch.items():
                    asked.report(score, epoch)
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, self.measure(trial))

    def _propose(self, number: int, asked: tuple[Any, dict[str, Any]]) -> Proposal:
        self.asked[number], values = asked
        return Proposal(number, values)

    def _ask(self, number: int, ask: int, values: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return a trial of Optuna and its values: those that are given, or those that its sampler suggests."""
        self.study.sampler = self.make((self.seed * 1_000_003 + number * (ASKS + 1) + ask) % 2**32)
        if values is not None:
            by_name = {choice.name: choice for choice in self.space.all_choices}
            self.study.enqueue_trial({name: _encode(by_name[name], value) for name, value in values.items()})
        trial = self.study.ask()
        suggested: dict[str, Any] = {}
        for choice in self.space.all_choices:
            if is_active(choice, suggested):
                suggested[choice.name] = _suggest(trial, choice)
        return trial, suggested


def _suggest(trial: Any, choice: Choice) -> Any:
    """The value of a choice that Optuna suggests; it takes no tuples, so that all but ranges are text."""
    values = choice.values
    if isinstance(values, Range):
        suggest = trial.suggest_int if values.is_integer else trial.suggest_float
        return suggest(choice.name, values.low, values.high, log=values.log)
    by_name = {json.dumps(value): value for value in values}
    return by_name[trial.suggest_categorical(choice.name, list(by_name))]


def _make_distribution(choice: Choice) -> Any:
    """What `_suggest` has a value suggested from."""
    values = choice.values
    if isinstance(values, Range):
        if values.is_integer:
            return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
        return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)
    return optuna.distributions.CategoricalDistribution([json.dumps(value) for value in values])


def _encode(choice: Choice, value: Any) -> Any:
    return value if isinstance(choice.values, Range) else json.dumps(value)
