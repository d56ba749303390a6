"""The result of a cross-validation, worked out by hand."""

import pytest

from kcnn.statistics import estimate_fold_mean
from kcnn.training.fold_scores import CrossValidation, summarize_folds


def _make_rows(*scores, name="val_accuracy"):
    return [{name: score, "val_loss": 1.0} for score in scores]


def test_summarize_folds_chooses_one_epoch_by_the_mean_over_folds():
    first, second = _make_rows(0.5, 0.9, 0.7), _make_rows(0.5, 0.7, 0.8)  # means 0.5, 0.8 and 0.75
    result = summarize_folds([first, second], [5000, 5000])
    assert (result.epoch, result.scores, result.metric) == (2, (0.9, 0.7), "accuracy")
    assert result.mean == pytest.approx(0.8)
    estimate = estimate_fold_mean([0.9, 0.7])
    assert (result.low, result.high) == (estimate.low, estimate.high)


def test_summarize_folds_prefers_the_last_of_epochs_that_are_as_good():
    first, second = _make_rows(0.5, 0.9, 0.7), _make_rows(0.5, 0.7, 0.8)
    result = summarize_folds([first, second], [20, 20])  # of 40 images, 0.75 is within one standard error of 0.8
    assert (result.epoch, result.scores) == (3, (0.7, 0.8))


def test_summarize_folds_of_several_labels_takes_the_average_precision():
    rows = [{**row, "val_accuracy": 0.1} for row in _make_rows(0.6, name="val_average_precision")]
    result = summarize_folds([rows, rows], [10, 10])
    assert (result.metric, result.mean) == ("average_precision", 0.6)


def test_cross_validation_prints_the_mean_with_its_interval():
    values = {"epoch": 4, "metric": "accuracy", "scores": [0.9, 0.7], "images": [5, 5]}
    result = CrossValidation(**values, mean=0.8, low=0.1, high=1.0)
    assert str(result) == "80.00% accuracy (95% interval 10.00% to 100.00%), mean of 2 folds at epoch 4"
    assert result.scores == (0.9, 0.7)


def test_cross_validation_of_equal_scores_prints_no_interval():
    result = summarize_folds([_make_rows(1.0), _make_rows(1.0)], [10, 10])
    assert str(result) == (
        "100.00% accuracy (the same in all folds, so their spread gives no interval), mean of 2 folds at epoch 1"
    )
