"""Splits have at least one image of every class, for any number of images of each, or say which class has too few."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcnn.data.stratification import check_folds, fold_indices, sample_indices, split_indices

NAMES = [f"c{number}" for number in range(40)]


@settings(max_examples=60)
@given(
    counts=st.lists(st.one_of(st.integers(2, 4), st.integers(2, 60)), min_size=2, max_size=12),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**32 - 1),
    keep=st.integers(1, 2),
)
def test_split_indices_gives_both_parts_every_class(counts, share, seed, keep):
    counts = [max(count, keep + 1) for count in counts]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    size = round(share * len(labels))
    first, second = split_indices(labels, size, seed, NAMES[: len(counts)], keep)
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert np.bincount(labels[first], minlength=len(counts)).min() >= keep
    assert np.bincount(labels[second], minlength=len(counts)).min() >= 1
    assert len(second) == min(max(size, len(counts)), len(labels) - keep * len(counts))
    assert (split_indices(labels, size, seed, NAMES[: len(counts)], keep)[1] == second).all()


@settings(max_examples=40)
@given(images=st.integers(20, 120), classes=st.integers(2, 12), mean=st.integers(3, 9), seed=st.integers(0, 999))
def test_split_indices_of_several_labels_gives_both_parts_every_class_or_names_it(images, classes, mean, seed):
    labels = (np.random.default_rng(seed).random((images, classes)) < mean / images).astype("int64")
    labels = labels[:, labels.sum(axis=0) > 2]
    if not labels.shape[1]:
        return
    names = NAMES[: labels.shape[1]]
    try:
        first, second = split_indices(labels, round(0.2 * images), seed, names, keep=2)
    except ValueError as error:
        assert "no division was found" in str(error)  # noqa: PT017
        assert labels.sum(axis=0).min() <= 4
    else:
        assert labels[first].sum(axis=0).min() >= 2
        assert labels[second].sum(axis=0).min() >= 1


def test_split_indices_names_every_class_with_too_few_images():
    labels = np.repeat([0, 1, 2, 3], [30, 2, 1, 3])
    with pytest.raises(
        ValueError, match=r"class 'c2' has too few images \(1 left\); .* of every class; so have c1 2; add"
    ):
        split_indices(labels, 7, 0, NAMES[:4], keep=2)


def test_split_indices_names_a_class_that_cannot_be_divided_from_others():
    triangle = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], *[[0, 0, 0]] * 5])  # each class has two images
    with pytest.raises(ValueError, match=r"no division was found .* every class in each split: c\d, whose images also"):
        split_indices(triangle, 2, 0, NAMES[:3])


def test_split_indices_divides_as_before_where_every_class_has_enough_images():
    labels = np.random.default_rng(0).integers(0, 10, 1797)
    digests = [
        hashlib.sha256(split_indices(labels, 359, seed, NAMES[:10])[1].tobytes()).hexdigest()[:12] for seed in (0, 1)
    ]
    assert digests == ["162fcd2761d5", "57e6fe1d34dc"]


def test_sample_indices_has_each_class_that_has_images():
    labels = np.repeat([0, 1, 3], [40, 1, 5])
    chosen = sample_indices(labels, 10, 0, NAMES[:4])
    assert len(chosen) == 10
    assert (np.bincount(labels[chosen], minlength=4) > 0).tolist() == [True, True, False, True]
    assert sample_indices(np.array([0, 1]), 1, 0, NAMES[:3]).tolist() == [0, 1]


def test_fold_indices_divides_each_class_evenly():
    labels = np.array([0, 1, 0, 0, 1, 0, 2, 0, 2, 0, 1, 2])  # six, three and three: two, one and one in each fold
    folds = fold_indices(labels, 3, seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(12))
    assert [np.bincount(labels[fold]).tolist() for fold in folds] == [[2, 1, 1]] * 3
    assert all((np.diff(fold) > 0).all() for fold in folds)
    others = fold_indices(labels, 3, seed=1)
    assert [fold.tolist() for fold in others] != [fold.tolist() for fold in folds]


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=8), folds=st.integers(2, 9), seed=st.integers(0, 2**32 - 1)
)
def test_fold_indices_has_each_image_once_and_each_share_of_a_class_within_one_image(counts, folds, seed):
    counts = [max(count, folds) for count in counts]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = fold_indices(labels, folds, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for number, count in enumerate(counts):
        shares = [int((labels[part] == number).sum()) for part in parts]
        assert {*shares} <= {count // folds, -(-count // folds)}
    assert all((a == b).all() for a, b in zip(parts, fold_indices(labels, folds, seed), strict=True))


def test_fold_indices_of_several_labels_spreads_the_rarest_class():
    labels = np.zeros((30, 3), "int64")
    labels[:, 0] = 1
    labels[:10, 1] = 1
    labels[:5, 2] = 1  # one for each fold
    parts = fold_indices(labels, 5, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    assert [labels[part].sum(axis=0).tolist() for part in parts] == [[6, 2, 1]] * 5


def test_check_folds_names_the_rarest_class_and_how_many_folds_it_allows():
    labels = np.repeat([0, 1, 2], [5, 3, 4])
    check_folds(labels, 3, NAMES[:3])
    with pytest.raises(
        ValueError, match=r"^4 folds need at least 4 images .* class 'c1' has 3; use at most 3 folds, add"
    ):
        check_folds(labels, 4, NAMES[:3])
    with pytest.raises(ValueError, match="class 'c2' has 1; add images of it"):
        check_folds(np.repeat([0, 1, 2], [5, 3, 1]), 2, NAMES[:3])
