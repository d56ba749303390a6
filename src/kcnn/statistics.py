"""Confidence intervals and tests of significance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import numpy as np
from scipy import special  # scipy.stats takes a second to import

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords, wrong_value

CONFIDENCE = 0.95


@check_keywords
@dataclass(frozen=True)
class MeanEstimate:
    """The mean of repeated measurements, such as accuracies over seeds; it prints in percent.

    Attributes:
        mean: The mean.
        low: Lower end of its 95% interval (Student's t).
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2%} ({self.low:.2%} to {self.high:.2%})"


@check_keywords
@dataclass(frozen=True)
class PairedDifference:
    """The mean of paired differences, in percentage points.

    Attributes:
        points: The mean.
        low: Lower end of its 95% interval: Student's t of `compare_paired`, Agresti and Min's of `compare_predictions`.
        high: Upper end of the interval.
        p: Two-sided p-value of the paired t-test or McNemar's; of several that were tested together, adjusted for their
            number.
        significant: Whether p is below 0.05.
    """

    points: float
    low: float
    high: float
    p: float
    significant: bool

    def __str__(self) -> str:
        verdict = "" if self.significant else ", not significant"
        return f"{self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f}){verdict}"


Difference = TypeVar("Difference", bound=PairedDifference)


@check_arguments
def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a proportion (Wilson 1927, JASA 22).

    Args:
        count: Number of successes.
        total: Number of trials, at least 1.

    Returns:
        (low, high).

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    check_integer("total", total, 1, "a positive integer")
    check_integer("count", count, 0, f"an integer from 0 to {total}", maximum=total)
    share, z = count / total, float(special.ndtri((1 + CONFIDENCE) / 2))
    scale = 1 + z**2 / total
    center = (share + z**2 / (2 * total)) / scale
    margin = z / scale * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return (center - margin if count else 0.0), (center + margin if count < total else 1.0)


@check_arguments
def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of a mean by Student's t distribution.

    Args:
        values: Independent measurements, at least two.

    Returns:
        (low, high); the mean twice if all values are equal.

    Raises:
        ValueError: There are fewer than two values, which have no spread to estimate.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 values, got {len(values)}")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    if not error:
        return mean, mean
    low, high = _find_unit_interval(len(values) - 1)
    return low * error + mean, high * error + mean


@cache  # SciPy takes a quarter of a millisecond
def _find_unit_interval(degrees: int) -> tuple[float, float]:
    """The interval of a mean of 0 whose standard error is 1."""
    margin = float(special.stdtrit(degrees, (1 + CONFIDENCE) / 2))
    return -margin, margin


@check_arguments
def t_test(values: Sequence[float]) -> float:
    """Return the two-sided p-value of a mean being zero, by Student's t-test; of differences it is the paired test.

    Args:
        values: Independent measurements, at least two.

    Returns:
        The p-value, below 0.05 exactly where `t_interval` does not contain zero.

    Raises:
        ValueError: There are fewer than two values.
    """
    low, high = t_interval(values)
    if low == high:  # no spread
        return 0.0 if low else 1.0
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(2 * special.stdtr(len(values) - 1, -abs(float(np.mean(values))) / error))


@check_arguments
def excludes_zero(low: float, high: float) -> bool:
    """Return whether an interval excludes zero: the difference is significant.

    Args:
        low: Lower end.
        high: Upper end.

    Returns:
        Whether both ends are on one side of zero.
    """
    return low > 0 or high < 0


@check_arguments
def estimate_mean(values: Sequence[float] | np.ndarray) -> MeanEstimate:
    """Return the mean of fractions, such as accuracies over seeds, with its 95% interval by Student's t distribution.

    The interval is clipped to 0..1, where the mean of fractions must lie: its coverage stays the same. With two values
    Student's interval is 13 times as wide as the values are apart, and often ends at 0 or 1.

    Args:
        values: Independent measurements, 0 to 1, at least two.

    Returns:
        Mean and interval.

    Raises:
        ValueError: There are fewer than two values.
    """
    low, high = t_interval(np.asarray(values).tolist())
    return MeanEstimate(float(np.mean(values)), max(low, 0.0), min(high, 1.0))


@check_arguments
def estimate_fold_mean(values: Sequence[float] | np.ndarray) -> MeanEstimate:
    """Return the mean of fractions over the folds of a cross-validation, with its corrected 95% interval.

    Folds share training images, so their scores are not independent, and `estimate_mean` of them is too narrow. The
    variance of the mean is that of the corrected resampled t-test (Nadeau and Bengio 2003, Machine Learning 52,
    doi:10.1023/A:1024068626366): the variance of n scores times 1/n + 1/(n - 1), where 1/(n - 1) is the number of
    images of a fold by that of its training images. The interval is clipped to 0..1.

    Args:
        values: Accuracies of the folds, 0 to 1, at least two.

    Returns:
        Mean and interval.

    Raises:
        ValueError: There are fewer than two values.
    """
    low, high = t_interval(np.asarray(values).tolist())
    mean, folds = float(np.mean(values)), len(values)
    margin = (high - low) / 2 * (1 + folds / (folds - 1)) ** 0.5
    return MeanEstimate(mean, max(mean - margin, 0.0), min(mean + margin, 1.0))


@check_arguments
def compare_paired(
    values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray | float
) -> PairedDifference:
    """Return by how many percentage points values exceed a baseline that was measured with the same seeds.

    The interval of a difference of fractions is clipped to -100..100 points, where it must lie. That of sums and
    differences of several fractions, which may be below 0 or above 1, is not.

    Args:
        values: Fractions, such as the accuracy of each seed; at least two.
        baseline: Those of the baseline, in the same order, or one value for all.

    Returns:
        The mean difference in points, its 95% interval and the p-value.

    Raises:
        ValueError: There are fewer than two values.
    """
    points = (100 * np.subtract(values, baseline, dtype="float64")).tolist()
    low, high = t_interval(points)
    if all(np.min(one) >= 0 and np.max(one) <= 1 for one in (values, baseline)):
        low, high = max(low, -100.0), min(high, 100.0)
    return PairedDifference(float(np.mean(points)), low, high, t_test(points), excludes_zero(low, high))


@check_arguments
def compare_predictions(values: np.ndarray, baseline: np.ndarray) -> PairedDifference:
    """Return by how many percentage points one model is more accurate than another on the same images.

    The test is McNemar's exact one, over the images that only one of them predicts correctly, and the interval that of
    `paired_difference_interval`.

    Args:
        values: Whether each image is predicted correctly, bool (images,).
        baseline: Likewise by the other model, in the same order.

    Returns:
        The difference in points, its 95% interval and the p-value.

    Raises:
        ValueError: There are no images, or different numbers of them.
    """
    if values.shape != baseline.shape or not len(values):
        raise wrong_value("baseline", f"as many images as values, {len(values)}, and at least 1", len(baseline))
    only_first, only_second = int(np.sum(values & ~baseline)), int(np.sum(baseline & ~values))
    p = min(1.0, float(2 * special.bdtr(min(only_first, only_second), only_first + only_second, 0.5)))
    low, high = paired_difference_interval(only_first, only_second, len(values))
    points = 100 * (only_first - only_second) / len(values)
    return PairedDifference(points, 100 * low, 100 * high, p, p < 1 - CONFIDENCE)


@check_arguments
def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method (Holm 1979, Scandinavian Journal of Statistics 6).

    Where nothing differs, one or more of them are at most 0.05 in at most 5% of cases.

    Args:
        p_values: Of several tests, in any order.

    Returns:
        The adjusted ones, in the same order.
    """
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


@check_arguments
def adjust_differences(differences: Sequence[Difference]) -> list[Difference]:
    """Return differences that were tested together, with p-values adjusted for their number by Holm's method.

    Args:
        differences: The differences, in any order.

    Returns:
        The same with adjusted p-values, in the same order; significant are those that stay below 0.05. Each interval
        keeps a confidence of 95% by itself.
    """
    p_values = adjust_p_values([one.p for one in differences])
    return [
        replace(one, p=p, significant=one.significant and p < 1 - CONFIDENCE)
        for one, p in zip(differences, p_values, strict=True)
    ]


@check_arguments
def describe_adjustment(count: int) -> str:
    """Return what a person should know about the p-values and intervals of several differences.

    Args:
        count: Number of differences that were tested together.

    Returns:
        A sentence without a period; empty for fewer than two differences.
    """
    if count < 2:
        return ""
    return (
        f"p-values are adjusted for {count} comparisons by Holm's method; each interval has a confidence of 95% by "
        "itself"
    )


@check_arguments
def paired_difference_interval(only_first: int, only_second: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two proportions measured on the same images.

    It is Wald's with half an observation more in each of the four cells (Agresti and Min 2005,
    doi:10.1002/sim.1781).

    Args:
        only_first: Images that only the first predicts correctly.
        only_second: Images that only the second predicts correctly.
        total: Number of images.

    Returns:
        (low, high).

    Raises:
        ValueError: A number of images is below 0, or above their total.
    """
    check_integer("total", total, 1, "a positive integer")
    for name, count in (("only_first", only_first), ("only_second", only_second)):
        check_integer(name, count, 0, f"an integer from 0 to {total}", maximum=total)
    size = total + 2
    difference = (only_first - only_second) / size
    variance = (only_first + only_second + 1 - size * difference**2) / size**2
    margin = float(special.ndtri((1 + CONFIDENCE) / 2) * variance**0.5)
    return max(difference - margin, -1.0), min(difference + margin, 1.0)


@check_arguments
def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Return the 95% interval of the difference of two independent proportions.

    It is Wald's with one success and one failure more in each sample (Agresti and Caffo 2000,
    doi:10.1080/00031305.2000.10474560).

    Args:
        first: Number of successes, and of trials.
        second: Likewise.

    Returns:
        (low, high).

    Raises:
        ValueError: There are more successes than trials.
    """
    for name, (count, total) in (("first", first), ("second", second)):
        if not 0 <= count <= total:
            raise wrong_value(name, "successes, and at least as many trials", (count, total))
    shares = [(count + 1) / (total + 2) for count, total in (first, second)]
    variance = sum(share * (1 - share) / (total + 2) for share, (_, total) in zip(shares, (first, second), strict=True))
    margin = float(special.ndtri((1 + CONFIDENCE) / 2) * variance**0.5)
    difference = shares[0] - shares[1]
    return max(difference - margin, -1.0), min(difference + margin, 1.0)
