"""Folds of a dataset for cross-validation: train and validation images divided anew, the test split left out."""

import dataclasses

import numpy as np

from kcnn.data.dataset import ImageDataset
from kcnn.data.source_splits import TRAIN, VALIDATION
from kcnn.data.splits import resize_split
from kcnn.data.stratification import check_folds, fold_indices


def join_for_folds(data: ImageDataset) -> ImageDataset:
    """Return a dataset whose train split has the validation images too: the images that folds divide.

    Args:
        data: The data; it may have no validation split.
    """
    return data.train_and_validation if VALIDATION in data.splits else data


def split_folds(data: ImageDataset, folds: int) -> tuple[ImageDataset, ...]:
    """Return a dataset for each fold, stratified by class: the fold is its validation split, all others train.

    Each image validates exactly once. The datasets have no test split.

    Args:
        data: The data; its seed draws the folds from its train and validation splits.
        folds: Number of folds, at least 2.

    Returns:
        The datasets, over the same images.

    Raises:
        ValueError: A class has fewer images than there are folds.
    """
    images = join_for_folds(data).splits[TRAIN]
    check_folds(images.labels, folds, data.classes)
    parts = []
    for fold in fold_indices(images.labels, folds, data.seed):
        others = np.setdiff1d(np.arange(len(images)), fold)
        validation = resize_split(images.take(fold), data.input_shape)
        parts.append(dataclasses.replace(data, splits={TRAIN: images.take(others), VALIDATION: validation}))
    return tuple(parts)
