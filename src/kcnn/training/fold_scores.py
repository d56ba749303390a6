"""The result of a cross-validation: the epoch that the mean over folds chooses, and the scores there. No Keras here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.graph.arguments import check_keywords
from kcnn.statistics import estimate_fold_mean
from kcnn.training.best_epoch import Rows, find_best_epoch

METRICS = ("average_precision", "accuracy")  # of multi-label data, and of other data


@check_keywords
@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The validation scores of the folds of a run; it prints as their mean with its interval.

    Attributes:
        epoch: The epoch that the mean over the folds chooses: that of all scores, and the last of the final training.
        metric: "accuracy"; "average_precision" for multi-label data.
        scores: Of each fold at that epoch.
        images: Number of images of each fold.
        mean: Mean of the scores.
        low: Lower end of its 95% interval, corrected for training images that folds share (Nadeau and Bengio 2003).
        high: Upper end of the interval.
    """

    epoch: int
    metric: str
    scores: tuple[float, ...]
    images: tuple[int, ...]
    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("scores", "images"):  # lists in JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __str__(self) -> str:
        metric = self.metric.replace("_", " ")
        interval = f"95% interval {self.low:.2%} to {self.high:.2%}"
        if self.low == self.high:  # which no interval of the mean shows, whatever the number of images
            interval = "the same in all folds, so their spread gives no interval"
        return f"{self.mean:.2%} {metric} ({interval}), mean of {len(self.scores)} folds at epoch {self.epoch}"


def summarize_folds(histories: Sequence[Rows], images: Sequence[int]) -> CrossValidation:
    """Return the result of a cross-validation from the histories of its folds.

    The epoch is chosen as by a validation split of all images, each of which validates once: by the rule of
    `find_best_epoch`, on the mean over the folds.

    Args:
        histories: A row for each epoch, of each fold; all have the same epochs.
        images: Number of images of each fold.
    """
    metric = next(name for name in METRICS if f"val_{name}" in histories[0][0])
    column = f"val_{metric}"
    scores = np.array([[row[column] for row in rows] for rows in histories])
    epoch = find_best_epoch([{column: mean} for mean in scores.mean(axis=0).tolist()], sum(images))
    chosen = scores[:, epoch - 1].tolist()
    estimate = estimate_fold_mean(chosen)
    return CrossValidation(
        epoch=epoch,
        metric=metric,
        scores=tuple(chosen),
        images=tuple(images),
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
    )
