"""ROC and precision-recall curves of a run, one class against the rest, as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import logsumexp

from kcnn.reports.charts import CHART_STYLE, INK, PALETTE, to_svg

MAX_POINTS = 200  # of a curve on the page
MAX_CURVES = len(PALETTE)
DIGITS = 9  # of scores: what differs by rounding alone is a tie
IMAGES = 2048  # whose scores are computed at once


@dataclass(frozen=True)
class ClassCurves:
    """Hold the curves of one class against the rest, and the areas below them.

    Attributes:
        name: The class.
        auc: Area under the ROC curve; None without images of the class, or without others.
        average_precision: None without images of the class.
        roc: (false positive rate, true positive rate) of at most MAX_POINTS thresholds.
        precision_recall: (recall, precision), likewise.
    """

    name: str
    auc: float | None
    average_precision: float | None
    roc: tuple[np.ndarray, np.ndarray]
    precision_recall: tuple[np.ndarray, np.ndarray]


def compute_curves(
    logits: np.ndarray, truth: np.ndarray, classes: Sequence[str]
) -> tuple[list[ClassCurves], dict[str, Any]]:
    """Return the curves of each class against the rest, and their means.

    Args:
        logits: (images, classes).
        truth: Class numbers (images,), or 0 and 1 (images, classes).
        classes: Class names.

    Returns:
        The curves, and "auc" and "average_precision": means over the classes where they are defined, or None.
    """
    scores = compute_class_scores(logits, multi_label=truth.ndim == 2)
    curves = []
    for number, name in enumerate(classes):
        is_class = truth[:, number] == 1 if truth.ndim == 2 else truth == number
        curves.append(_compute_curves(name, scores[:, number], is_class))
    means = {}
    for area in ("auc", "average_precision"):
        known = [value for one in curves if (value := getattr(one, area)) is not None]
        means[area] = float(np.mean(known)) if known else None
    return curves, means


def compute_class_scores(logits: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """Return the log odds of each class, which rank images as its probability does, but never tie at 1.

    Args:
        logits: (images, classes).
        multi_label: Whether each logit is of a sigmoid of its own, not of a softmax.

    Returns:
        float64 (images, classes).
    """
    logits = np.asarray(logits, "float64")
    if multi_label or logits.shape[1] == 1:
        return logits
    scores = np.empty_like(logits)
    for first in range(0, len(logits), IMAGES):
        part = logits[first : first + IMAGES]
        log_p = part - logsumexp(part, axis=1, keepdims=True)
        rows, top = np.arange(len(part)), part.argmax(axis=1)
        others = part.copy()
        others[rows, top] = -np.inf
        log_p[rows, top] = -np.inf  # replaced below: exact where the probability rounds to 1
        scores[first : first + IMAGES] = log_p - np.log1p(-np.exp(log_p))
        scores[first + rows, top] = part[rows, top] - logsumexp(others, axis=1)
    return scores.round(DIGITS)


def _compute_curves(name: str, scores: np.ndarray, is_class: np.ndarray) -> ClassCurves:
    none = np.zeros(0), np.zeros(0)
    if not is_class.any():
        return ClassCurves(name, None, None, none, none)
    hits, misses = _count_above_thresholds(scores, is_class)
    recall, precision = hits / hits[-1], np.ones(len(hits))
    precision[1:] = hits[1:] / (hits + misses)[1:]  # by convention 1 where nothing is found
    average_precision = float(np.sum(np.diff(recall) * precision[1:]))
    area, roc = None, none
    if misses[-1]:
        rate = misses / misses[-1]
        area, roc = float(np.sum(np.diff(rate) * (recall[1:] + recall[:-1])) / 2), _thin(rate, recall)
    return ClassCurves(name, area, average_precision, roc, _thin(recall, precision))


def _count_above_thresholds(scores: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of the class, and others, with a score of at least a threshold: none, then each score, falling.

    NumPy's, since the import of sklearn.metrics takes longer than the rest of a report.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of runs of equal scores
    hits = np.cumsum(is_class[order])[ends]
    return np.append(0, hits), np.append(0, ends + 1 - hits)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS points of a curve, its ends included."""
    chosen = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
    return x[chosen], y[chosen]


def render_curves(curves: Sequence[ClassCurves], *, multi_label: bool) -> Mapping[str, Any] | None:
    """Return the curves as charts, and their legend, which the page shows as text since names may be long.

    Args:
        curves: Of all classes; of more than MAX_CURVES those with the smallest areas are drawn.
        multi_label: Whether classes are independent; else, of two, one has the ROC curve of both.

    Returns:
        "roc" and "precision_recall": charts as SVG; "legend": (color, class, AUC, average precision); "omitted": number
        of classes that are not drawn. None where no class has images.
    """
    known = [one for one in curves if one.average_precision is not None]
    if not known:
        return None
    ranked = sorted(known, key=lambda one: (1.0 if one.auc is None else one.auc, one.average_precision))
    names = {one.name for one in ranked[:MAX_CURVES]}
    shown = [one for one in known if one.name in names]
    colors = dict(zip((one.name for one in shown), PALETTE, strict=False))
    is_binary = len(curves) == 2 and not multi_label
    roc = [one for one in (curves[1:] if is_binary else shown) if one.auc is not None]
    return {
        "roc": _render(
            [(one.roc, colors[one.name]) for one in roc],
            ("false positive rate", "true positive rate"),
            f"ROC curves of {len(roc)} classes",
            is_diagonal_shown=True,
        )
        if roc
        else None,
        "precision_recall": _render(
            [(one.precision_recall, colors[one.name]) for one in shown],
            ("recall", "precision"),
            f"Precision-recall curves of {len(shown)} classes",
        ),
        "legend": [(colors[one.name], one.name, one.auc, one.average_precision) for one in shown],
        "omitted": len(known) - len(shown),
        "positive": curves[1].name if is_binary else None,
    }


def _render(
    lines: Sequence[tuple[tuple[np.ndarray, np.ndarray], str]],
    labels: tuple[str, str],
    alt: str,
    *,
    is_diagonal_shown: bool = False,
) -> str:
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(4, 3.4), layout="constrained")
        axes = figure.subplots()
        if is_diagonal_shown:
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for (x, y), color in lines:
            # Between two thresholds the precision of the higher recall holds, as in average precision.
            axes.plot(x, y, color=color, linewidth=1.4, drawstyle="default" if is_diagonal_shown else "steps-pre")
        axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        return to_svg(figure, alt)
