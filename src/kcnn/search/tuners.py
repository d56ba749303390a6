"""keras-tuner's tuners for a kcnn.search.HyperModel, with the same arguments, that propose feasible points only."""

from collections.abc import Mapping
from inspect import signature
from random import Random
from typing import Any

import numpy as np

from kcnn.search import hyperparameters
from kcnn.search.grid import NewPointsGrid
from kcnn.search.hypermodel import HyperModel
from kcnn.search.keras_tuner_api import Fixed, TrialStatus, keras_tuner
from kcnn.search.space import NoFeasiblePointError, Space

POOL = 300  # random points among which the Gaussian process chooses


class FeasibleSampling:
    """In front of an oracle of keras-tuner: random values are those of a feasible network that no trial had."""

    hypermodel: HyperModel
    _seed_state: int

    @property
    def space(self) -> Space:
        """The space, with what was registered for its choices by `hyperparameters=`."""
        return self.hypermodel.override_space(self.hyperparameters, tunes_others=self.tune_new_entries)  # type: ignore[attr-defined]

    def identify(self, values: Mapping[str, Any]) -> str | None:
        """Return the identity of the network of some values; None where it is infeasible."""
        return self.space.identity(hyperparameters.decode_values(self.space, values))

    def _list_known(self) -> set[str]:
        """The networks that are not proposed again: those of all trials, unless there are other hyperparameters."""
        entries = self.hyperparameters.space  # type: ignore[attr-defined]
        names = {choice.name for choice in self.space.all_choices}
        if any(one.name not in names and not isinstance(one, Fixed) for one in entries):
            return set()
        trials = self.trials.values()  # type: ignore[attr-defined]
        return {str(self.identify(trial.hyperparameters.values)) for trial in trials}

    def _complete(self, space: Space, point: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The values of a point of the space as keras-tuner's, with random ones of other hyperparameters."""
        names = {choice.name for choice in space.all_choices}
        own = hyperparameters.encode_values(space, point)
        hp = keras_tuner.HyperParameters()
        for one in self.hyperparameters.space:  # type: ignore[attr-defined]
            hp.merge([one])
            if one.name in own:
                hp.values[one.name] = own[one.name]
            elif one.name not in names and hp.is_active(one):
                hp.values[one.name] = one.random_sample(seed)
        return {**hp.values, **own}

    def _random_values(self) -> dict[str, Any] | None:
        space, known = self.space, self._list_known()
        for _ in range(self._max_collisions):  # type: ignore[attr-defined]
            self._seed_state += 1
            try:
                candidate = space.sample(self._seed_state, exclude=known)
            except NoFeasiblePointError:
                return None
            values = self._complete(space, candidate.values, self._seed_state)
            if not self._duplicate(values):  # type: ignore[attr-defined]
                return values
        return None


class RandomSearchOracle(FeasibleSampling, keras_tuner.oracles.RandomSearchOracle):
    """Random search among feasible points."""


class HyperbandOracle(FeasibleSampling, keras_tuner.oracles.HyperbandOracle):
    """Hyperband among feasible points."""


class BayesianOptimizationOracle(FeasibleSampling, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization: keras-tuner's confidence bound is minimized over random points, among feasible ones."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial."""
        completed = sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values())
        if completed < (self.num_initial_points or max(3 * len(self.hyperparameters.space), 3)):
            return self._random_populate_space()
        space, pool = self.space, []
        for _ in range(POOL):
            self._seed_state += 1
            point = space.sample_point(Random(f"pool {self._seed_state}"))
            pool.append(self._complete(space, point, self._seed_state))
        self.gpr.fit(*map(np.nan_to_num, self._vectorize_trials()))
        entries, known = self._nonfixed_space(), self._list_known()
        vectors = [[hp.value_to_prob(values.get(hp.name, hp.default)) for hp in entries] for values in pool]
        mean, deviation = self.gpr.predict(np.array(vectors), return_std=True)
        for index in np.argsort(mean - self.beta * deviation, kind="stable"):
            identity = self.identify(pool[index])  # of the best points only: for large networks it takes time
            if identity is not None and identity not in known and not self._duplicate(pool[index]):
                return {"status": TrialStatus.RUNNING, "values": pool[index]}
        return self._random_populate_space()


class GridSearchOracle(NewPointsGrid, FeasibleSampling, keras_tuner.oracles.GridSearchOracle):
    """Grid search over the feasible points, each network once."""

    def is_new(self, values: Mapping[str, Any]) -> bool:
        """Return whether a point is feasible, and no trial had its network and other hyperparameters."""
        identity = self.identify(values)
        if identity is None:
            return False
        names = {choice.name for choice in self.space.all_choices}
        others = {name: value for name, value in values.items() if name not in names}
        return not any(
            {**trial.hyperparameters.values, **others} == trial.hyperparameters.values
            and self.identify(trial.hyperparameters.values) == identity
            for trial in self.trials.values()
        )


def _start(tuner: Any, oracle_class: Any, stock: Any, args: Any, keywords: Mapping[str, Any]) -> None:
    """Start a tuner as keras-tuner's class does, with another class of oracle."""
    bound = signature(stock.__init__).bind(tuner, *args, **keywords)
    bound.apply_defaults()
    arguments = {name: value for name, value in bound.arguments.items() if name not in ("self", "kwargs")}
    hypermodel = arguments.pop("hypermodel")
    if not isinstance(hypermodel, HyperModel):
        raise TypeError(f"{type(tuner).__name__} takes a kcnn.search.HyperModel, got {hypermodel!r}; use keras_tuner's")
    oracle = oracle_class(**arguments)
    oracle.hypermodel = hypermodel
    keras_tuner.Tuner.__init__(tuner, oracle, hypermodel, **bound.arguments.get("kwargs", {}))


class RandomSearch(keras_tuner.RandomSearch):
    """keras_tuner.RandomSearch of a HyperModel, among feasible points.

    Args:
        *args: As of keras_tuner.RandomSearch.
        **kwargs: As of keras_tuner.RandomSearch.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _start(self, RandomSearchOracle, keras_tuner.RandomSearch, args, kwargs)


class BayesianOptimization(keras_tuner.BayesianOptimization):
    """keras_tuner.BayesianOptimization of a HyperModel, among feasible points.

    Args:
        *args: As of keras_tuner.BayesianOptimization.
        **kwargs: As of keras_tuner.BayesianOptimization.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _start(self, BayesianOptimizationOracle, keras_tuner.BayesianOptimization, args, kwargs)


class Hyperband(keras_tuner.Hyperband):
    """keras_tuner.Hyperband of a HyperModel, among feasible points.

    Args:
        *args: As of keras_tuner.Hyperband.
        **kwargs: As of keras_tuner.Hyperband.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _start(self, HyperbandOracle, keras_tuner.Hyperband, args, kwargs)


class GridSearch(keras_tuner.GridSearch):
    """keras_tuner.GridSearch of a HyperModel, over the feasible points, each network once.

    Args:
        *args: As of keras_tuner.GridSearch.
        **kwargs: As of keras_tuner.GridSearch.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _start(self, GridSearchOracle, keras_tuner.GridSearch, args, kwargs)
