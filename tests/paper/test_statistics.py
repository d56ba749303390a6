"""Confidence intervals against values worked out by hand, from tables of quantiles."""

from math import atan, pi, sqrt

import numpy as np
import pytest
from scipy import special

from kcnn import classification, statistics
from kcnn.statistics import (
    MeanEstimate,
    PairedDifference,
    compare_paired,
    compare_predictions,
    difference_interval,
    estimate_fold_mean,
    estimate_mean,
    excludes_zero,
    paired_difference_interval,
    t_interval,
    t_test,
    wilson_interval,
)

T_95 = {1: 12.706205, 2: 4.302653, 4: 2.776445, 9: 2.262157}  # two-sided quantiles by degrees of freedom
Z_95 = 1.959964


def test_t_interval_of_two_values():
    low, high = t_interval([1.0, 3.0])  # mean 2, standard deviation sqrt(2), standard error 1
    assert low == pytest.approx(2 - T_95[1], abs=1e-5)
    assert high == pytest.approx(2 + T_95[1], abs=1e-5)


def test_t_interval_of_three_values():
    low, high = t_interval([0.90, 0.92, 0.94])  # standard deviation 0.02
    assert low == pytest.approx(0.92 - T_95[2] * 0.02 / sqrt(3), abs=1e-8)
    assert high == pytest.approx(0.92 + T_95[2] * 0.02 / sqrt(3), abs=1e-8)


def test_t_interval_of_ten_values():
    values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]  # mean 5.5, variance 55 / 6
    low, high = t_interval(values)
    assert (low + high) / 2 == pytest.approx(5.5)
    assert (high - low) / 2 == pytest.approx(T_95[9] * sqrt(55 / 6 / 10), abs=1e-5)


def test_t_interval_of_paired_differences_excludes_zero_or_not():
    low, _ = t_interval([0.02, 0.03, 0.04, 0.03, 0.03])  # mean 0.03, standard error sqrt(5e-5 / 5)
    assert low == pytest.approx(0.03 - T_95[4] * sqrt(1e-5), abs=1e-8)
    assert low > 0
    low, high = t_interval([-0.02, 0.05, 0.01, -0.03, 0.03])
    assert low < 0 < high


def test_t_interval_of_equal_values_is_their_mean():
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_t_interval_needs_two_values(values):
    with pytest.raises(ValueError, match=f"at least 2 values, got {len(values)}"):
        t_interval(values)


def test_t_test_by_hand():
    assert t_test([1.0, 3.0]) == pytest.approx(2 * (0.5 - atan(2.0) / pi))  # t = 2, one degree of freedom: Cauchy
    assert t_test([-1.0, 1.0]) == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "significant"), [(-1e-6, False), (1e-6, True)])
def test_t_test_is_significant_where_the_interval_excludes_zero(shift, significant):
    values = [T_95[2] * 0.02 / sqrt(3) + shift + deviation for deviation in (-0.02, 0.0, 0.02)]
    assert (t_interval(values)[0] > 0) is significant
    assert (t_test(values) < 0.05) is significant


@pytest.mark.parametrize(("value", "p"), [(0.5, 0.0), (0.0, 1.0)])
def test_t_test_of_equal_values(value, p):
    assert t_test([value] * 3) == p


@pytest.mark.parametrize(("count", "total"), [(0, 10), (5, 10), (9, 10), (10, 10), (970, 1000)])
def test_wilson_interval_is_its_formula(count, total):
    share, z2 = count / total, Z_95**2
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low, high = wilson_interval(count, total)
    assert low == pytest.approx(center - half, abs=1e-6)
    assert high == pytest.approx(center + half, abs=1e-6)


def test_wilson_interval_of_a_published_example():
    low, high = wilson_interval(81, 263)  # Newcombe 1998, Statistics in Medicine 17, table I: 0.2553, 0.3662
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2)])
def test_wilson_interval_needs_trials(count, total):
    with pytest.raises(ValueError, match="must"):
        wilson_interval(count, total)


def test_paired_difference_interval_is_agresti_and_mins():
    # b = 10, c = 2, n = 100: (10.5 - 2.5) / 102 with the variance of half a trial more in each of four outcomes
    low, high = paired_difference_interval(10, 2, 100)
    mean, error = 8 / 102, ((13 / 102 - (8 / 102) ** 2) / 102) ** 0.5
    assert (low, high) == pytest.approx((mean - 1.959964 * error, mean + 1.959964 * error), abs=1e-6)
    assert paired_difference_interval(2, 10, 100) == pytest.approx((-high, -low))


def test_difference_interval_is_agresti_and_caffos():
    # 45 of 50 against 30 of 50: 46/52 - 31/52, each with a success and a failure more
    low, high = difference_interval((45, 50), (30, 50))
    a, b = 46 / 52, 31 / 52
    error = (a * (1 - a) / 52 + b * (1 - b) / 52) ** 0.5
    assert (low, high) == pytest.approx((a - b - 1.959964 * error, a - b + 1.959964 * error), abs=1e-6)
    assert difference_interval((5, 5), (0, 5))[1] <= 1.0


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_excludes_zero(low, high, excludes):
    assert excludes_zero(low, high) is excludes


def test_estimate_mean_of_three_values():
    estimate = estimate_mean([0.90, 0.92, 0.94])  # standard deviation 0.02
    margin = T_95[2] * 0.02 / sqrt(3)
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.92, 0.92 - margin, 0.92 + margin), abs=1e-8)
    assert str(MeanEstimate(0.92, 0.8703, 0.9697)) == "92.00% (87.03% to 96.97%)"


def test_estimate_mean_of_two_fractions_stays_within_0_and_1():
    estimate = estimate_mean([0.95, 0.99])  # 0.97 with a margin of 12.7 times 0.02
    assert (estimate.low, estimate.high) == (pytest.approx(0.97 - T_95[1] * 0.02), 1.0)
    assert estimate_mean([0.01, 0.05]).low == 0.0


def test_compare_paired_stays_within_100_points_and_sums_of_differences_do_not():
    one = compare_paired([1.0, 0.2], [0.2, 0.6])  # +80 and -40 points: mean 20, standard error 60
    assert (one.points, one.low, one.high) == (pytest.approx(20), -100.0, 100.0)
    interaction = compare_paired([1.2, -0.4], 0)  # mean 40, standard error 80
    assert interaction.high == pytest.approx(40 + T_95[1] * 80, abs=1e-3)


def test_compare_paired_by_hand():
    one = compare_paired([0.90, 0.95], [0.89, 0.92])  # +1 and +3 points: mean 2, standard error 1
    assert (one.points, one.low, one.high) == pytest.approx((2, 2 - T_95[1], 2 + T_95[1]), abs=1e-5)
    assert one.p == pytest.approx(2 * (0.5 - atan(2.0) / pi))
    assert not one.significant


def test_compare_paired_ignores_the_variation_that_seeds_share():
    one = compare_paired([0.70, 0.80, 0.93], [0.68, 0.77, 0.89])  # +2, +3, +4 points: standard error 1 / sqrt(3)
    assert (one.low, one.high) == pytest.approx((3 - T_95[2] / sqrt(3), 3 + T_95[2] / sqrt(3)), abs=1e-5)
    assert one.significant


def test_compare_predictions_is_mcnemars_exact_test_by_hand():
    first, second = np.zeros(100, "bool"), np.zeros(100, "bool")
    first[:60], second[9:61] = True, True  # 9 images by the first alone, 1 by the second alone
    one = compare_predictions(first, second)
    assert one.points == 8
    assert one.p == pytest.approx(2 * (1 + 10) / 2**10)
    assert (one.low, one.high) == pytest.approx([100 * end for end in paired_difference_interval(9, 1, 100)])
    assert one.significant


def test_compare_predictions_of_equal_ones_has_an_interval_around_zero():
    one = compare_predictions(np.ones(179, "bool"), np.ones(179, "bool"))
    assert (one.points, one.p, one.significant) == (0, 1, False)
    assert one.low < 0 < one.high
    with pytest.raises(ValueError, match="as many images as values, 3, and at least 1, got 2"):
        compare_predictions(np.ones(3, "bool"), np.ones(2, "bool"))


def test_compare_paired_with_one_value_for_all():
    assert compare_paired([0.01, 0.03], 0) == compare_paired([0.01, 0.03], [0, 0])


def test_compare_paired_counts_images_that_only_one_predicts():
    one = compare_paired([True, True, True, False], [True, False, True, False])  # one of four images more
    assert one.points == 25
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        compare_paired([0.9], [0.8])


def test_paired_difference_prints_its_verdict():
    assert str(PairedDifference(1.234, 0.5, 1.968, 0.01, True)) == "+1.23 points (+0.50 to +1.97)"
    assert str(PairedDifference(-1, -2.5, 0.5, 0.1, False)) == "-1.00 points (-2.50 to +0.50), not significant"


def test_classification_report_leaves_undefined_what_has_no_images():
    predicted, truth = np.array([0, 0, 2]), np.array([0, 1, 0])
    report = classification.classification_report(predicted, np.eye(3)[predicted], truth, ("a", "b", "c"), {})
    rows = report["per_class"]
    assert rows == {
        "a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "images": 2},
        "b": {"precision": None, "recall": 0.0, "f1": 0.0, "images": 1},  # never predicted
        "c": {"precision": 0.0, "recall": None, "f1": None, "images": 0},
    }


def test_format_mean_precision_states_over_how_many_classes():
    scores, truth = np.array([[0.9, 0.2], [0.1, 0.3]]), np.array([[1, 0], [0, 0]])
    metadata = {"multi_label": True}
    report = classification.classification_report((scores > 0.5).astype(int), scores, truth, ("a", "b"), metadata)
    assert report["mean_average_precision"] == 1.0
    assert report["per_class"]["b"]["average_precision"] is report["per_class"]["b"]["recall"] is None
    assert classification.format_mean_precision(report) == "100.00% over the 1 of 2 classes with images"
    report["per_class"].pop("b")
    assert classification.format_mean_precision(report) == "100.00%"


def test_adjust_p_values_multiplies_by_the_number_of_hypotheses_that_are_left():
    assert statistics.adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.adjust_p_values([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.adjust_p_values([]) == []


def test_adjust_differences_leaves_significant_what_stays_below_the_level():
    clear, close = PairedDifference(9, 7, 11, 0.001, True), PairedDifference(2, 0.1, 4, 0.03, True)
    none = PairedDifference(0.5, -3, 4, 0.7, False)
    adjusted = statistics.adjust_differences([close, none, clear])
    assert [one.p for one in adjusted] == pytest.approx([0.06, 0.7, 0.003])  # times 2, 1 and 3
    assert [one.significant for one in adjusted] == [False, False, True]
    assert [(one.points, one.low, one.high) for one in adjusted] == [(2, 0.1, 4), (0.5, -3, 4), (9, 7, 11)]
    assert statistics.adjust_differences([close]) == [close]
    assert statistics.describe_adjustment(1) == ""
    assert "3 comparisons by Holm's method" in statistics.describe_adjustment(3)


def test_estimate_fold_mean_widens_the_interval_for_shared_training_images():
    estimate = estimate_fold_mean([0.90, 0.92, 0.94])  # standard deviation 0.02; 1/3 and 1/2 as many test as training
    assert estimate.mean == pytest.approx(0.92)
    assert estimate.high - estimate.mean == pytest.approx(T_95[2] * 0.02 * sqrt(1 / 3 + 1 / 2), abs=1e-8)
    assert estimate.mean - estimate.low == pytest.approx(estimate.high - estimate.mean)
    assert estimate_fold_mean([0.5, 0.5]) == MeanEstimate(0.5, 0.5, 0.5)
    assert estimate_fold_mean([0.1, 0.9]) == MeanEstimate(0.5, 0.0, 1.0)


def test_estimate_fold_mean_has_its_confidence_where_student_has_not():
    """Scores of folds as their covariance has it in the derivation: a correlation of 1/n with n folds."""
    folds, draws = 5, 4000
    shared, own = np.random.default_rng(0).normal(size=(2, draws, folds))
    scores = 0.5 + 0.02 * (np.sqrt(1 / folds) * shared[:, :1] + np.sqrt(1 - 1 / folds) * own)
    covered = {
        estimate.__name__: np.mean([(one := estimate(row)).low <= 0.5 <= one.high for row in scores])
        for estimate in (estimate_fold_mean, estimate_mean)
    }
    assert covered["estimate_fold_mean"] == pytest.approx(0.95, abs=0.01)
    assert covered["estimate_mean"] < 0.9


def test_sigmoid_equals_that_of_scipy_and_overflows_for_no_logit():
    logits = np.array([-np.inf, -1000.0, -30.0, -1.0, 0.0, 1.0, 30.0, 1000.0, np.inf])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_allclose(classification.sigmoid(logits), special.expit(logits), rtol=1e-12)
