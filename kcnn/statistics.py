"""Confidence intervals, tests of significance, and the predictions and metrics of classifiers.

With one label per image, labels and predictions are class indices (images,). With several labels they are 0 and 1
(images, classes), and a class is predicted if its probability reaches its threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, softmax

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords, wrong_value

CONFIDENCE = 0.95
THRESHOLD = 0.5  # for a class without a measured one
MAX_CLASSES = 10_000  # of any confusion matrix, which then has 0.8 GB
CONFUSION_CLASSES = 200  # of a confusion matrix in metrics, at most


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
        low: Lower end of its 95% interval (Student's t).
        high: Upper end of the interval.
        p: Two-sided p-value of the paired t-test.
        significant: Whether the interval excludes zero.
    """

    points: float
    low: float
    high: float
    p: float
    significant: bool

    def __str__(self) -> str:
        verdict = "" if self.significant else ", not significant"
        return f"{self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f}){verdict}"


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
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


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
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if not error:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, mean, error)
    return float(low), float(high)


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
    return float(stats.ttest_1samp(values, 0).pvalue)


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
    margin = float(stats.norm.ppf((1 + CONFIDENCE) / 2) * variance**0.5)
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
    margin = float(stats.norm.ppf((1 + CONFIDENCE) / 2) * variance**0.5)
    difference = shares[0] - shares[1]
    return max(difference - margin, -1.0), min(difference + margin, 1.0)


@check_arguments
def to_probabilities(logits: np.ndarray, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return logits as probabilities: by softmax, or for several labels per image by sigmoid.

    Args:
        logits: (images, classes).
        metadata: Of the model.

    Returns:
        Probabilities (images, classes).
    """
    logits = np.asarray(logits, "float64")
    return expit(logits) if metadata.get("multi_label") else softmax(logits, axis=-1)


@check_arguments
def tabulate_classes(
    per_class: Mapping[str, Mapping[str, Any]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the metrics of each class as columns and cells of a table.

    Args:
        per_class: From classification_report.

    Returns:
        The headings, and a row for each class; – for what is not defined.

    Raises:
        ValueError: There is no class.
    """
    headings = {"average precision": "average_precision", "threshold": "threshold", "precision": "precision"}
    headings |= {"recall": "recall", "F1": "f1"}
    if not per_class:
        raise wrong_value("per_class", "metrics of at least one class", per_class)
    first = next(iter(per_class.values()))
    columns = {heading: key for heading, key in headings.items() if key in first}
    cells = [
        (name, str(row["images"]), *("–" if row[key] is None else f"{row[key]:.3f}" for key in columns.values()))
        for name, row in per_class.items()
    ]
    return ("class", "images", *columns), cells


@check_arguments
def predict_labels(probabilities: np.ndarray, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return the predicted labels: the most probable class, or the classes that reach their threshold.

    Args:
        probabilities: (images, classes), or (classes,) of one image.
        metadata: Of the model; it has the thresholds.

    Returns:
        Class indices (images,), or 0 and 1 (images, classes).

    Raises:
        ValueError: The probabilities are of another shape.
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim not in (1, 2):
        raise wrong_value("probabilities", "an array (images, classes), or (classes,)", probabilities)
    if not metadata.get("multi_label"):
        return probabilities.argmax(axis=-1)
    return (probabilities >= np.asarray(metadata.get("thresholds") or THRESHOLD)).astype("int64")


@check_arguments
def is_correct(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether each image is predicted correctly, with all its labels.

    Args:
        predictions: Class indices (images,), or 0 and 1 (images, classes).
        labels: The true ones, alike.

    Returns:
        bool (images,).

    Raises:
        ValueError: The arguments have different shapes.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape:
        raise wrong_value("labels", f"of the shape {predictions.shape} of the predictions", labels.shape)
    return (predictions == labels) if predictions.ndim == 1 else (predictions == labels).all(axis=-1)


@check_arguments
def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the threshold of the highest F1 for each class, midway between the scores around it.

    Args:
        probabilities: (images, classes).
        labels: 0 and 1 (images, classes).

    Returns:
        A threshold for each class; 0.5 for a class without images.

    Raises:
        ValueError: An argument is no table.
    """
    probabilities, labels = _to_table("probabilities", probabilities), _to_table("labels", labels)
    return [_threshold(scores, truth) for scores, truth in zip(probabilities.T, labels.T, strict=True)]


def _to_table(name: str, values: Any) -> np.ndarray:
    """An argument as an array (images, classes)."""
    array = np.asarray(values)
    if array.ndim != 2:
        raise wrong_value(name, "an array (images, classes)", values)
    return array


def _threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return THRESHOLD
    from sklearn.metrics import precision_recall_curve

    precision, recall, steps = precision_recall_curve(truth, scores)  # steps are scores, rising
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    below = steps[best - 1] if best else 0.0
    return float((steps[best] + below) / 2)


@check_arguments
def average_precision(scores: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Return the average precision of each class.

    Args:
        scores: (images, classes).
        labels: 0 and 1 (images, classes).

    Returns:
        A value for each class; None for a class without images.

    Raises:
        ValueError: An argument is no table.
    """
    from sklearn.metrics import average_precision_score

    scores, labels = _to_table("scores", scores), _to_table("labels", labels)
    pairs = zip(scores.T, labels.T, strict=True)
    return [float(average_precision_score(truth, values)) if truth.any() else None for values, truth in pairs]


@check_arguments
def count_confusions(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the confusion matrix: how many images of each true class were predicted as each class.

    Args:
        predictions: Class indices (images,).
        labels: The true ones, alike.
        classes: Number of classes.

    Returns:
        Counts (true, predicted).

    Raises:
        ValueError: An index is none of a class, or there are too many classes.
    """
    check_integer("classes", classes, 1, f"an integer from 1 to {MAX_CLASSES:,}", maximum=MAX_CLASSES)
    for name, indices in (("labels", labels), ("predictions", predictions)):
        if np.size(indices) and not 0 <= np.min(indices) <= np.max(indices) < classes:
            raise wrong_value(name, f"class indices from 0 to {classes - 1}", indices)
    matrix = np.zeros((classes, classes), "int64")
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


@check_arguments
def classification_report(
    predictions: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """Return precision, recall and F1 of each class, and the confusion matrix.

    Args:
        predictions: Class indices (images,), or 0 and 1 (images, classes).
        probabilities: (images, classes).
        labels: The true ones, like the predictions.
        classes: Class names.
        metadata: Of the model.

    Returns:
        "per_class" by name, and "confusion" (true, predicted) of up to 200 classes. What is not defined is None:
        precision of a class that was never predicted, recall and F1 of a class without images. For several labels per
        image, instead of
        confusion, average precision and threshold of each class, and "mean_average_precision" over the classes with
        images.

    Raises:
        ValueError: The arguments are of different numbers of images.
    """
    from sklearn.metrics import multilabel_confusion_matrix

    if not len(predictions) == len(labels) == len(probabilities):
        raise wrong_value("labels", f"of as many images as the {len(predictions)} predictions", len(labels))
    indices = range(len(classes))
    rows: dict[str, dict[str, Any]] = {}
    for name, counts in zip(classes, multilabel_confusion_matrix(labels, predictions, labels=indices), strict=True):
        (_, wrong), (missed, correct) = counts.tolist()
        rows[name] = {
            "precision": _divide(correct, correct + wrong),
            "recall": _divide(correct, correct + missed),
            "f1": _divide(2 * correct, 2 * correct + wrong + missed) if correct + missed else None,
            "images": correct + missed,
        }
    if not metadata.get("multi_label"):
        report: dict[str, Any] = {"per_class": rows}
        if len(classes) <= CONFUSION_CLASSES:  # it grows with their square
            report["confusion"] = count_confusions(predictions, labels, len(classes)).tolist()
        return report
    precisions = average_precision(probabilities, labels)
    thresholds = metadata.get("thresholds") or [THRESHOLD] * len(classes)
    for row, precision, threshold in zip(rows.values(), precisions, thresholds, strict=True):
        row.update(average_precision=precision, threshold=threshold)
    known = [precision for precision in precisions if precision is not None]
    return {
        "mean_average_precision": float(np.mean(known)) if known else None,
        "per_class": rows,
    }


@check_arguments
def format_mean_precision(metrics: Mapping[str, Any]) -> str:
    """Return the mean average precision as text, and over how many classes where some have no images.

    Args:
        metrics: From classification_report for several labels per image, or with its values.

    Returns:
        Such as "91.20%", or "91.20% over the 7 of 8 classes with images".

    Raises:
        ValueError: The metrics are not of several labels per image.
    """
    if "mean_average_precision" not in metrics:
        raise wrong_value("metrics", "those of several labels per image, with mean_average_precision", metrics)
    value, rows = metrics["mean_average_precision"], metrics["per_class"].values()
    known = sum(row["average_precision"] is not None for row in rows)
    if value is None:
        return "not defined, as no class has images"
    return f"{value:.2%}" + (f" over the {known} of {len(rows)} classes with images" if known < len(rows) else "")


def _divide(count: int, total: int) -> float | None:
    return count / total if total else None
