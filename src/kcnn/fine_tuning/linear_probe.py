"""Linear probes: logistic regression on the features of a frozen network."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from kcnn.data.stratification import fold_indices

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of LogisticRegression: the smaller, the stronger the regularization
INNER_FOLDS, OUTER_FOLDS = 3, 5
STEPS = 300  # of L-BFGS


@dataclass(frozen=True, eq=False)
class ProbePredictions:
    """The predictions of a probe for images that it was not fitted on.

    Attributes:
        is_correct: Whether each image is predicted correctly, bool (images,).
        loss: Mean cross-entropy.
    """

    is_correct: np.ndarray
    loss: float


@threadpool_limits.wrap(limits=1)  # so small problems are slower on several threads
def probe_split(
    train: np.ndarray, train_labels: np.ndarray, validation: np.ndarray, labels: np.ndarray, seed: int
) -> ProbePredictions:
    """Fit a probe on the training split, and predict the validation split.

    Args:
        train: Features (images, features).
        train_labels: Class numbers (images,).
        validation: Features (images, features).
        labels: Class numbers (images,).
        seed: Draws the folds that choose the regularization.

    Returns:
        The predictions for the validation split, which takes no part in the choice of the regularization.
    """
    return _predict(_fit_best(train, train_labels, seed), validation, labels)


@threadpool_limits.wrap(limits=1)
def probe_folds(features: np.ndarray, labels: np.ndarray, seed: int) -> ProbePredictions:
    """Predict each image by a probe fitted on the other folds, in which its regularization is chosen, too.

    Args:
        features: Features (images, features).
        labels: Class numbers (images,).
        seed: Draws the folds.

    Returns:
        The predictions for all images.
    """
    is_correct, losses = np.zeros(len(labels), "bool"), np.zeros(len(labels))
    for inside, outside in _split(labels, OUTER_FOLDS, seed):
        probe = _fit_best(features[inside], labels[inside], seed)
        part = _predict(probe, features[outside], labels[outside])
        is_correct[outside], losses[outside] = part.is_correct, part.loss
    return ProbePredictions(is_correct, float(losses.mean()))


def _fit_best(features: np.ndarray, labels: np.ndarray, seed: int) -> Pipeline:
    """A probe whose regularization has the lowest cross-entropy over folds of its training images."""
    folds = [fold for fold in _split(labels, INNER_FOLDS, seed) if len(np.unique(labels[fold[0]])) > 1]
    losses = [
        sum(
            len(outside)
            * _predict(_fit(features[inside], labels[inside], strength), features[outside], labels[outside]).loss
            for inside, outside in folds
        )
        for strength in STRENGTHS
    ]
    return _fit(features, labels, STRENGTHS[int(np.argmin(losses))])


def _split(labels: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = min(folds, max(2, int(np.unique(labels, return_counts=True)[1].min())))
    for outside in fold_indices(labels, count, seed):
        yield np.setdiff1d(np.arange(len(labels)), outside), outside


def _fit(features: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a solution stopped early competes like the others
        return probe.fit(features, labels)


def _predict(probe: Pipeline, features: np.ndarray, labels: np.ndarray) -> ProbePredictions:
    probabilities = probe.predict_proba(features)
    is_label = probe.classes_[None] == labels[:, None]
    chosen = np.where(is_label.any(1), (probabilities * is_label).sum(1), 0)  # 0 for a class without training images
    losses = -np.log(np.maximum(chosen, 1e-12))
    return ProbePredictions(probe.classes_[probabilities.argmax(1)] == labels, float(losses.mean()))
