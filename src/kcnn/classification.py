"""Predictions of classifiers, and their metrics.

With one label per image, labels and predictions are class indices (images,). With several labels they are 0 and 1
(images, classes), and a class is predicted if its probability reaches its threshold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, wrong_value

THRESHOLD = 0.5  # for a class without a measured one
MAX_CLASSES = 10_000  # of any confusion matrix, which then has 0.8 GB
CONFUSION_CLASSES = 200  # of a confusion matrix in metrics, at most


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
    if metadata.get("multi_label"):
        return sigmoid(logits)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@check_arguments
def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logits)), which overflows for no logits; SciPy's would be loaded for every prediction.

    Args:
        logits: Of any shape.

    Returns:
        Probabilities of the same shape.
    """
    return np.exp(-np.logaddexp(0, -logits))


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

    for name, values in (("labels", labels), ("probabilities", probabilities)):
        if len(values) != len(predictions):
            raise wrong_value(name, f"of as many images as the {len(predictions)} predictions", len(values))
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
