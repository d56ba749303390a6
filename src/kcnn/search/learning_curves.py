"""Learning curves of trials that were stopped after different numbers of epochs, made comparable."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kcnn.search.journal import Trial


def join_curves(trials: Sequence[Trial]) -> list[tuple[Mapping[str, Any], list[float]]]:
    """Return the values, and the scores from epoch 1 on, of each trial together with those that it continues.

    Args:
        trials: Trials that have ended; those without a score are left out.
    """
    curves: dict[int | None, tuple[Mapping[str, Any], list[float]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.score is None:
            continue
        earlier = curves[trial.promoted_from][1] if trial.promoted_from in curves else []
        scores = [*earlier[: trial.epochs - len(trial.scores)], *trial.scores]
        if scores and len(scores) == trial.epochs:
            curves.pop(trial.promoted_from, None)
            curves[trial.number] = trial.values, scores
    return list(curves.values())


def extrapolate(curves: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the score of each trial at the last epoch: its last score and the mean gains of the trials that continued.

    Args:
        curves: Scores of each trial from epoch 1 on.
    """
    final = np.array([scores[-1] for scores in curves])
    lengths = np.array([len(scores) for scores in curves])
    for shorter, longer in pairwise(np.unique(lengths)):
        final[lengths <= shorter] += np.mean([s[longer - 1] - s[shorter - 1] for s in curves if len(s) >= longer])
    return final
