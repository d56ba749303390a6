"""The importance of each choice of a search, out of sample and with a significance test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from kcnn.search.journal import Trial
from kcnn.search.learning_curves import extrapolate, join_curves
from kcnn.search.space import Choice, Range, Space
from kcnn.statistics import adjust_p_values

MIN_TRIALS = 8
LEVEL = 0.05
SHUFFLES = 1_999
PENALTIES = np.logspace(-3, 3, 13)[:, None]  # of the ridge regression on the other choices, the best of which is taken
PENALTY = 1.0  # of that on one choice: as if one more trial of each value had an average score


@dataclass(frozen=True)
class Importance:
    """What one choice explains of the score, out of sample.

    Attributes:
        name: The choice.
        importance: R2 that the choice adds, for trials left out, to what the other choices explain; about 0, or
            a little below, where it adds nothing.
        low: Lower end of the 95% interval of `importance`.
        high: Upper end of the interval.
        p_value: Of a permutation test, adjusted by Holm's method for the number of choices.
    """

    name: str
    importance: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the choice matters at the 5% level, over all choices together."""
        return self.p_value <= LEVEL


def compute_importances(space: Space, trials: Sequence[Trial], *, seed: int = 0) -> tuple[Importance, ...]:
    """Estimate what every choice that varied explains of the score, and test it.

    Each trial counts once; trials that continue each other are one. The last score of a trial that was stopped is
    extrapolated to the last epoch by the mean gains of the trials that continued. Every prediction is for a trial left
    out: a ridge regression predicts its score from the other choices, and a second one predicts the residual from the
    choice itself. The importance is the reduction of the squared error by the second, relative to that of the mean.

    The interval is a t interval for this ratio over trials: approximate, and too narrow for few trials. Early stopping
    lowers importances, since a short trial shows less of the effect of a choice. Judge by the p-value.

    The p-value is how often the choice does as well when its values are shuffled among trials, the distilled
    conditional randomization test (arXiv:2006.03980). It is exact where values are drawn independently, as by random
    search, and approximate where a tuner proposes by earlier scores or limits tie choices together. A choice under a
    condition is judged among the trials that have it.

    Args:
        space: The space of the trials.
        trials: Trials that have ended; those without a score are left out.
        seed: Seed of the shuffles.

    Returns:
        Importances, the highest first. Choices that fewer than eight trials have, or that did not vary, are left out.
    """
    curves = join_curves(trials)
    if len(curves) < MIN_TRIALS:
        return ()
    scores = extrapolate([scores for _, scores in curves])
    if np.ptp(scores) == 0:
        return ()
    columns = {}
    for choice in space.all_choices:
        has = np.array([choice.name in values for values, _ in curves])
        if has.sum() >= MIN_TRIALS:
            basis = _encode(choice, [values[choice.name] for values, _ in curves if choice.name in values])
            if basis.any():
                columns[choice.name] = has, basis
    random = np.random.default_rng(seed)
    records = []
    for name, (has, basis) in columns.items():
        others = [_fill(*column) for other, column in columns.items() if other != name]
        residuals = _subtract_prediction(others, scores)[has]
        constant = np.zeros((len(residuals), 1))
        total, before, after = (
            _leave_one_out(x, y, PENALTY) ** 2
            for x, y in ((constant, scores[has]), (constant, residuals), (basis, residuals))
        )
        shuffled = random.permuted(np.tile(residuals, (max(SHUFFLES, 100 * len(columns)), 1)), axis=1)
        errors = (_leave_one_out(basis, shuffled, PENALTY) ** 2).sum(axis=1)
        as_low = errors <= after.sum() + 1e-9 * before.sum()  # a sum of the same numbers in another order
        importance, width = _ratio(before - after, total)
        p_value = (1 + as_low.sum()) / (1 + len(shuffled))
        high = min(importance + width, max(importance, 1.0))  # no choice explains more than everything
        records.append((name, importance, importance - width, high, float(p_value)))
    adjusted = adjust_p_values([record[-1] for record in records])
    results = [Importance(*record[:-1], p_value) for record, p_value in zip(records, adjusted, strict=True)]
    return tuple(sorted(results, key=lambda result: -result.importance))


def _encode(choice: Choice, values: Sequence[Any]) -> np.ndarray:
    """Values as centered columns: one for each value that occurs; for a range, the number and its square."""
    if isinstance(choice.values, Range):
        scale = np.log if choice.values.log else np.asarray
        low, high, numbers = (scale(np.asarray(x, "float64")) for x in (choice.values.low, choice.values.high, values))
        position = 2 * (numbers - low) / (high - low) - 1
        columns = np.stack([position, position**2], axis=1)
    else:
        names = np.array([repr(value) for value in values])
        columns = (names[:, None] == np.unique(names)).astype("float64")
    return np.where(np.ptp(columns, axis=0) > 0, columns - columns.mean(axis=0), 0.0)


def _fill(has: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The columns of a choice over all trials: 0, its mean, where a trial does not have it."""
    columns = np.zeros((len(has), basis.shape[1]))
    columns[has] = basis
    return columns


def _subtract_prediction(others: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Each score minus its prediction by the other choices, fitted on the other trials."""
    if not others:
        return scores
    errors = _leave_one_out(np.concatenate(others, axis=1), scores, PENALTIES)
    return errors[np.argmin((errors**2).sum(axis=1))]


def _leave_one_out(basis: np.ndarray, scores: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
    """Errors of predicting each score from all others by ridge regression, a row for each penalty or row of scores."""
    left, singular, _ = np.linalg.svd(basis, full_matrices=False)
    shrinkage = singular**2 / (singular**2 + penalty)
    centered = scores - scores.mean(axis=-1, keepdims=True)
    leverage = 1 / len(basis) + shrinkage @ (left**2).T
    return (centered - ((centered @ left) * shrinkage) @ left.T) / (1 - leverage)


def _ratio(parts: np.ndarray, totals: np.ndarray) -> tuple[float, float]:
    """The ratio of two sums over trials, and half the width of its 95% t interval."""
    count, ratio = len(parts), parts.sum() / totals.sum()
    deviation = np.std(parts - ratio * totals, ddof=1) * np.sqrt(count) / totals.sum()
    return float(ratio), float(special.stdtrit(count - 1, 0.975) * deviation)
