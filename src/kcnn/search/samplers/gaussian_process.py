"""Bayesian optimization: a Gaussian process chooses among feasible candidates by expected improvement."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from kcnn.search.journal import Trial
from kcnn.search.learning_curves import extrapolate, join_curves
from kcnn.search.samplers.random_sampler import sample_values
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import Choice, NoFeasiblePointError, Range, Space

POOL = 300  # feasible candidates among which the process chooses


class BayesianSampler:
    """Propose the candidate of the highest expected improvement.

    Args:
        space: The space.
        default: Values of the unchanged network and its recipe.
        seed: The seed.
    """

    def __init__(self, space: Space, default: Mapping[str, Any], seed: int):
        self.space, self.default, self.seed = space, default, seed
        self.ended: list[Trial] = []

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial: random at first."""
        curves, choices = join_curves(self.ended), self.space.all_choices
        if len(curves) < max(3, min(10, 2 * len(choices))):
            values = sample_values(self.space, self.default, self.seed, number, identities)
            return NoProposal.STOP if values is None else Proposal(number, values)
        points = self._draw_points(number, identities)
        if not points:
            return NoProposal.STOP
        return Proposal(number, points[int(np.argmax(expect_improvements(choices, curves, points, self.seed)))])

    def _draw_points(self, number: int, identities: Collection[str]) -> list[Mapping[str, Any]]:
        """Random feasible points of networks that were not tried."""
        seen, points = set(identities), []
        for draw in range(POOL):
            try:
                candidate = self.space.sample(f"{self.seed}/{number}/{draw}", exclude=seen)
            except NoFeasiblePointError:
                break
            seen.add(str(self.space.identity(candidate.values)))
            points.append(candidate.values)
        return points

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial: all that is remembered is how trials ended."""
        return True

    def tell(self, trial: Trial) -> None:
        """Learn how a trial ended."""
        self.ended.append(trial)


@threadpool_limits.wrap(limits=1)  # fits of few trials are slower on several threads
def expect_improvements(
    choices: Sequence[Choice],
    curves: Sequence[tuple[Mapping[str, Any], Sequence[float]]],
    points: Sequence[Mapping[str, Any]],
    seed: int,
) -> np.ndarray:
    """Return the expected improvement of each point over the best trial.

    Args:
        choices: The choices of the space.
        curves: Values and scores from epoch 1 on of each trial.
        points: Values of the points.
        seed: Seed of the fit.
    """
    x = np.array([to_vector(choices, values) for values, _ in curves])
    y = extrapolate([scores for _, scores in curves])
    kernel = Matern(np.full(x.shape[1], 0.5), (0.1, 100.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=3, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few trials leave length scales at their bounds
        process.fit(x, y)
    mean, deviation = process.predict(np.array([to_vector(choices, values) for values in points]), return_std=True)
    gain, deviation = mean - np.max(y), np.maximum(deviation, 1e-9)
    return gain * stats.norm.cdf(gain / deviation) + deviation * stats.norm.pdf(gain / deviation)


def to_vector(choices: Sequence[Choice], values: Mapping[str, Any]) -> list[float]:
    """Return values as numbers from 0 to 1: ordered ones by rank, others with a number for each; 0.5 where inactive.

    Args:
        choices: The choices of the space.
        values: Values of the active ones, by name.
    """
    vector: list[float] = []
    for choice in choices:
        known = choice.values
        if isinstance(known, Range):
            scale = np.log if known.log else float
            low, high = scale(known.low), scale(known.high)
            vector.append((scale(values[choice.name]) - low) / (high - low) if choice.name in values else 0.5)
        elif all(type(value) in (int, float) for value in known) or len(known) <= 2:
            order = sorted(known) if type(known[0]) in (int, float) else list(known)
            place = order.index(values[choice.name]) / max(1, len(order) - 1) if choice.name in values else 0.5
            vector.append(place)
        else:
            has = choice.name in values
            vector.extend(float(value == values[choice.name]) if has else 0.5 for value in known)
    return vector
