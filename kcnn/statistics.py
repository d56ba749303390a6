"""Confidence intervals, and what a classifier's scores say: predictions, thresholds, metrics per class.

With one class an image, labels and predictions are class indices (images,). With several labels they are 0 and 1
(images, classes), and a class is predicted where its probability reaches its threshold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, softmax

CONFIDENCE = 0.95
THRESHOLD = 0.5  # where none was measured


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (Wilson 1927, JASA 22).

    Args:
        count: Number of successes.
        total: Number of trials, at least 1.

    Returns:
        (low, high).

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean by Student's t distribution.

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


def to_probabilities(logits: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
    """Logits (images, classes) as probabilities: of one class among all, or of each class by itself."""
    logits = np.asarray(logits, "float64")
    return expit(logits) if card.get("multi_label") else softmax(logits, axis=-1)


def predict_labels(found: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
    """What probabilities (images, classes) say, by the thresholds on the model's card."""
    if not card.get("multi_label"):
        return found.argmax(axis=-1)
    return (found >= np.asarray(card.get("thresholds") or THRESHOLD)).astype("int64")


def is_correct(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether each picture's answer is all right, bool (images,)."""
    return (said == truth) if said.ndim == 1 else (said == truth).all(axis=-1)


def choose_thresholds(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """For each class the threshold of the highest F1, midway between the scores around it; 0.5 for a class not there.

    `found` are probabilities (images, classes).
    """
    return [_threshold(scores, there) for scores, there in zip(found.T, truth.T, strict=True)]


def _threshold(scores: np.ndarray, there: np.ndarray) -> float:
    if not there.any():
        return THRESHOLD
    from sklearn.metrics import precision_recall_curve

    precision, recall, steps = precision_recall_curve(there, scores)  # steps are scores, rising
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    below = steps[best - 1] if best else 0.0
    return float((steps[best] + below) / 2)


def average_precision(found: np.ndarray, truth: np.ndarray) -> list[float | None]:
    """Of each class, from its scores (images, classes); None for a class that no picture has."""
    from sklearn.metrics import average_precision_score

    pairs = zip(found.T, truth.T, strict=True)
    return [float(average_precision_score(there, scores)) if there.any() else None for scores, there in pairs]


def classification_report(
    said: np.ndarray, found: np.ndarray, truth: np.ndarray, classes: Sequence[str], card: Mapping[str, Any]
) -> dict[str, Any]:
    """By class precision, recall and F1 of answers and the images it has; and the confusion of classes (true, said).

    Instead of confusion, with any number of labels, each class's average precision and threshold, and the
    mean_average_precision of the classes that some picture has.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = range(len(classes))
    each = precision_recall_fscore_support(truth, said, labels=numbers, zero_division=0.0)
    rows: dict[str, dict[str, Any]] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "images": int(n)}
        for name, p, r, f, n in zip(classes, *each, strict=True)
    }
    if not card.get("multi_label"):
        return {"per_class": rows, "confusion": confusion_matrix(truth, said, labels=numbers).tolist()}
    precisions = average_precision(found, truth)
    steps = card.get("thresholds") or [THRESHOLD] * len(classes)
    for row, precision, step in zip(rows.values(), precisions, steps, strict=True):
        row.update(average_precision=precision, threshold=step)
    there = [one for one in precisions if one is not None]
    return {"mean_average_precision": float(np.mean(there)) if there else None, "per_class": rows}
