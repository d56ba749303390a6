"""Confidence intervals of shares and means, 95 %."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def wilson_interval(count: int, of: int) -> tuple[float, float]:
    """Of a share, after Wilson."""
    found = stats.binomtest(count, of).proportion_ci(CONFIDENCE, "wilson")
    return float(found.low), float(found.high)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Of a mean, after Student; the mean twice where all values are the same."""
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if not error:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, mean, error)
    return float(low), float(high)
