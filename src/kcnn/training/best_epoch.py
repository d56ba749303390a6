"""Which epoch's weights count, by validation, and when a training stops early. No Keras here."""

import math
from collections.abc import Mapping, Sequence

ROUNDING = 1e-6  # of accuracies in float32
Rows = Sequence[Mapping[str, float]]


def find_best_epoch(rows: Rows, images: int) -> int:
    """Return the epoch whose weights count: the last one that is as good in validation as the best one.

    As good is a validation accuracy at most one standard error below the highest, and at least one image: by the
    one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3) a smaller lead is
    chance. Of epochs that are as good the last one counts, which has seen most and ends the learning-rate schedule.

    Args:
        rows: The history.
        images: Number of validation images.

    Returns:
        The epoch, counted from 1. For multi-label data average precision takes the place of accuracy; the last epoch
        without validation.
    """
    scores = _list_scores(rows)
    if not scores:
        return len(rows)
    highest = max(scores)
    margin = max(1 / images, math.sqrt(highest * (1 - highest) / images)) + ROUNDING
    return max(i for i, score in enumerate(scores, 1) if highest - score <= margin)


def is_out_of_patience(rows: Rows, patience: int) -> bool:
    """Return whether the last `patience` epochs brought no new best validation accuracy; never if patience is 0.

    Of epochs of the same accuracy the one of the lowest validation loss is the new best.

    Args:
        rows: The history.
        patience: Number of epochs.
    """
    if not patience or not rows:
        return False
    scores = _list_scores(rows)
    newest = max(range(len(rows)), key=lambda i: (scores[i], -rows[i]["val_loss"])) + 1 if scores else len(rows)
    return len(rows) - newest >= patience


def _list_scores(rows: Rows) -> list[float]:
    """Validation accuracy, or average precision of multi-label data, by epoch; none without validation."""
    measure = "val_average_precision" if "val_average_precision" in rows[0] else "val_accuracy"
    return [row[measure] for row in rows] if measure in rows[0] else []
