"""How much each choice matters to the score, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.search.journal import Trial
from kcnn.search.space import Range, Space

LEAST = 8  # trials
DRAWS, TREES = 20, 50


@dataclass(frozen=True)
class Importance:
    """What a forest's R2 for the score loses when a choice is shuffled, and its 95 % interval."""

    name: str
    share: float
    low: float
    high: float


def importances(space: Space, trials: Sequence[Trial], *, seed: int = 0) -> tuple[Importance, ...]:
    """Of every choice that varied, the most important first; none where there are fewer than eight trials.

    Scores are those of the last epoch that all trials with a score have come to, since they compare. A random
    forest learns them from the values of trials drawn with replacement, 20 times; a choice's importance is by how much
    R2 on all trials falls when its values are shuffled, and the interval is that of the draws.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scored = [trial for trial in trials if trial.scores and trial.score is not None]
    scored = [trial for trial in scored if trial.epochs == len(trial.scores)]  # from their first epoch on
    if len(scored) < LEAST:
        return ()
    epoch = min(len(trial.scores) for trial in scored)
    y = np.array([trial.scores[epoch - 1] for trial in scored])
    columns, names = [], []
    for choice in space.all_choices:
        values = [trial.values.get(choice.name) for trial in scored]
        if isinstance(choice.values, Range):
            numbers = [choice.values.middle if value is None else value for value in values]
            column = np.log(numbers) if choice.values.log else np.array(numbers, "float64")
        else:
            known = list(choice.values)
            column = np.array([-1 if value is None else known.index(value) for value in values], "float64")
        if len(set(column.tolist())) > 1:
            columns.append(column)
            names.append(choice.name)
    if not columns or np.ptp(y) == 0:
        return ()
    x, random, drawn = np.stack(columns, axis=1), np.random.default_rng(seed), []
    for number in range(DRAWS):
        rows = random.integers(0, len(y), len(y))
        forest = RandomForestRegressor(TREES, random_state=number).fit(x[rows], y[rows])
        drawn.append(permutation_importance(forest, x, y, n_repeats=3, random_state=number).importances_mean)
    lows, highs = np.quantile(drawn, (0.025, 0.975), axis=0)
    means = np.mean(drawn, axis=0)
    found = [Importance(*one) for one in zip(names, means.tolist(), lows.tolist(), highs.tolist(), strict=True)]
    return tuple(sorted(found, key=lambda one: -one.share))
