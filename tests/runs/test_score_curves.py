"""ROC and precision-recall curves: hand-computed ones, ties, classes without images, and scores that never saturate."""

import numpy as np
import pytest
from scipy.special import softmax

from kcnn.reports import score_curves
from kcnn.reports.score_curves import compute_class_scores, compute_curves, render_curves


def log_odds(*p):
    """Logits of two classes whose second has these probabilities."""
    p = np.array(p)
    return np.stack([np.zeros_like(p), np.log(p / (1 - p))], axis=1)


def test_compute_curves_of_two_classes_are_those_computed_by_hand():
    logits, truth = log_odds(0.1, 0.4, 0.35, 0.8), np.array([0, 0, 1, 1])
    (_, one), means = compute_curves(logits, truth, ["no", "yes"])
    # By falling score: 0.8 (yes), 0.4 (no), 0.35 (yes), 0.1 (no): of 4 pairs (yes, no) 3 are in order.
    assert one.auc == pytest.approx(3 / 4)
    assert one.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert np.transpose(one.roc).tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    recall, precision = one.precision_recall
    assert recall.tolist() == [0, 0.5, 0.5, 1, 1]
    assert precision == pytest.approx([1, 1, 1 / 2, 2 / 3, 1 / 2])
    assert means["auc"] == pytest.approx(3 / 4), "the other class has the mirrored ranking"


def test_compute_curves_of_several_classes_are_one_against_the_rest():
    logits = np.log([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])
    curves, means = compute_curves(logits, np.array([0, 1, 2, 2]), "abc")
    a, b, c = curves
    assert a.auc == pytest.approx(2 / 3), "0.6 is above 0.5 and 0.2, below 0.7"
    assert b.auc == pytest.approx(1)
    assert c.auc == pytest.approx((2 + 2 * 0.5) / 4), "0.5 is above both others, 0.1 ties with both"
    assert means["auc"] == pytest.approx((a.auc + b.auc + c.auc) / 3)


def test_compute_curves_of_several_labels_rank_each_class_by_itself():
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    (a, b), means = compute_curves(np.array([[2.0, 0], [1.0, 0], [0.0, 0]]), truth, "ab")
    assert a.auc == pytest.approx(1 / 2)
    assert (b.auc, b.average_precision) == (None, None)
    assert means["auc"] == a.auc, "the mean leaves out what is not defined"


def test_compute_curves_agree_with_scikit_learn_on_random_scores_with_ties():
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(0)
    logits, truth = random.integers(0, 4, (5000, 3)).astype("float32"), random.integers(0, 3, 5000)
    curves, _ = compute_curves(logits, truth, "abc")
    p = softmax(logits.astype("float64"), axis=1)
    for n, one in enumerate(curves):
        scores = p[:, n].round(9)  # equal ones are equal in both
        assert one.auc == pytest.approx(roc_auc_score(truth == n, scores), rel=1e-9)
        assert one.average_precision == pytest.approx(average_precision_score(truth == n, scores), rel=1e-9)


def test_compute_curves_without_other_images_has_no_roc_curve():
    (a, b), means = compute_curves(np.zeros((2, 2)), np.array([0, 0]), "ab")
    assert (a.auc, a.average_precision, b.average_precision) == (None, 1.0, None)
    assert means == {"auc": None, "average_precision": 1.0}
    assert render_curves([a, b], multi_label=False)["roc"] is None
    assert render_curves([b], multi_label=False) is None


def test_compute_class_scores_do_not_tie_where_probabilities_round_to_one():
    logits = np.array([[0.0, 50.0, 0.0], [0.0, 60.0, 0.0], [0.0, 1.0, 0.0], [900.0, 0.0, 0.0]])
    scores = compute_class_scores(logits, multi_label=False)
    assert scores[1, 1] - scores[0, 1] == pytest.approx(10)
    p = np.exp(1) / (np.exp(1) + 2)
    assert scores[2, 1] == pytest.approx(np.log(p / (1 - p)))
    assert np.isfinite(scores).all()
    assert scores[3, 0] == pytest.approx(900 - np.log(2))


def test_render_curves_names_the_worst_of_many_classes_and_stays_small():
    random = np.random.default_rng(0)
    truth = np.arange(4000) % 120
    names = [f"a name of sixty characters with $ and & and < {n:014}" for n in range(120)]
    curves, _ = compute_curves(random.normal(size=(4000, 120)), truth, names)
    charts = render_curves(curves, multi_label=False)
    worst = sorted(curves, key=lambda one: one.auc)[: score_curves.MAX_CURVES]
    assert {name for _, name, _, _ in charts["legend"]} == {one.name for one in worst}
    assert charts["omitted"] == 120 - score_curves.MAX_CURVES
    assert len({color for color, *_ in charts["legend"]}) == score_curves.MAX_CURVES
    assert len(charts["roc"]) + len(charts["precision_recall"]) < 200_000
    assert names[0] not in charts["roc"], "names stand in the legend of the page, where they wrap"
