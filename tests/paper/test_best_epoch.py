"""Which epoch's weights count: the last one within a standard error of the best in validation."""

import random
from itertools import pairwise

import pytest

from kcnn.training.best_epoch import find_best_epoch, is_out_of_patience


def make_rows(*accuracies):
    return [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("accuracies", "images", "expected"),
    [
        ((0.5, 0.9, 0.88, 0.86), 100, 3),  # the standard error of 0.9 is 0.03
        ((0.5, 0.9, 0.88, 0.86), 25, 4),  # and 0.06 of 25 images
        ((0.5, 0.9, 0.88, 0.86), 10_000, 2),
        ((0.5, 0.9, 0.9, 0.4), 100, 3),
        ((0.9, 0.8, 1.0, 0.99, 0.98), 100, 4),  # one image is chance, also where none is wrong
        ((178 / 180, 179 / 180, 1.0, 178 / 180, 0.99444443), 180, 5),  # in float32
        ((0.5,), 10, 1),
    ],
)
def test_find_best_epoch_takes_the_last_that_is_as_good_as_the_best(accuracies, images, expected):
    assert find_best_epoch(make_rows(*accuracies), images) == expected


def test_find_best_epoch_goes_by_average_precision_of_several_labels():
    rows = [{"val_accuracy": 0.9, "val_average_precision": p, "val_loss": 1.0} for p in (0.3, 0.8, 0.2)]
    assert find_best_epoch(rows, 100) == 2


def test_find_best_epoch_is_the_last_without_validation():
    assert find_best_epoch([{"loss": 1.0}, {"loss": 2.0}], 0) == 2


@pytest.mark.parametrize("images", [3, 10, 36, 180, 5_000])
def test_find_best_epoch_never_returns_to_an_epoch_that_did_not_count_before(images):
    """A run keeps the weights of the newest epoch or of the one before that counted."""
    generator = random.Random(images)
    for _ in range(50):
        rows = make_rows(*(generator.randint(0, images) / images for _ in range(12)))
        counted = [find_best_epoch(rows[:n], images) for n in range(1, 13)]
        assert all(now in (before, n) for n, (before, now) in enumerate(pairwise(counted), 2))


def test_is_out_of_patience_goes_by_the_highest_accuracy_then_the_lowest_loss():
    rows = make_rows(0.5, 0.9, 0.9, 0.89)
    assert is_out_of_patience(rows, 2)
    assert not is_out_of_patience(rows, 3)
    assert not is_out_of_patience(rows, 0)
    rows[2]["val_loss"] = 0.5
    assert not is_out_of_patience(rows, 2)
    assert not is_out_of_patience([{"loss": 1.0}] * 5, 2)
