"""The measures of a search: as scikit-learn's, the same in validation and on the test split."""

import csv

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_digits

from kcnn import data
from kcnn.distribute import make_strategy
from kcnn.search import rerun_trial
from kcnn.search.space import Space
from kcnn.training import devices, losses
from kcnn.training.evidence import read_evidence
from tests.runs import small  # noqa: F401 - makes two CPU devices, before TensorFlow starts
from tests.runs.searches import STACK, search_with

SPACE = Space(STACK, {"conv1.kernel": (3, 5)}, training={"label_smoothing": (0.0, 0.3)})


@pytest.fixture(scope="module")
def imbalanced():
    """Digits 0 to 2, of which 2 is rare."""
    digits = load_digits(n_class=3)
    kept = np.concatenate([np.flatnonzero(digits.target == n)[:count] for n, count in enumerate((150, 150, 40))])
    images = (digits.images[kept] * 15).astype("uint8")[..., None]
    return data.load((images, digits.target[kept]), input_shape=(8, 8, 1), batch_size=32)


def measure(name, labels, logits, **keywords):
    metric = losses.make_metrics(labels.ndim == 2, logits.shape[1], [name])[-1]
    for half in (slice(0, 150), slice(150, None)):
        metric.update_state(labels[half], logits[half], **{key: value[half] for key, value in keywords.items()})
    return float(metric.result())


def test_class_average_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=(0.6, 0.3, 0.1, 0.0))
    logits = rng.normal(size=(300, 5)).astype("float32")
    logits[:, 3:] -= 9  # the last two classes have no image, and none is predicted as one
    predicted, counted = logits.argmax(axis=-1), rng.random(300) < 0.8
    for weights, kept in (({}, slice(None)), ({"sample_weight": counted.astype("float32")}, counted)):
        expected = metrics.balanced_accuracy_score(labels[kept], predicted[kept])
        assert measure("balanced_accuracy", labels, logits, **weights) == pytest.approx(expected, abs=1e-6)
        expected = metrics.f1_score(labels[kept], predicted[kept], average="macro")
        assert measure("macro_f1", labels, logits, **weights) == pytest.approx(expected, abs=1e-6)
    several = rng.integers(0, 2, (300, 5))
    expected = metrics.f1_score(several, logits > 0, average="macro", zero_division=0)
    assert measure("macro_f1", several, logits) == pytest.approx(expected, abs=1e-6)


def score_balanced(labels, probabilities):
    return metrics.balanced_accuracy_score(labels, probabilities.argmax(axis=-1))


def test_search_of_imbalanced_classes_maximizes_and_tests_balanced_accuracy(imbalanced, tmp_path):
    found = search_with(SPACE, imbalanced, tmp_path, trials=1, epochs=1, final_seeds=1)
    assert str(found.objective) == "validation balanced accuracy"
    best = found.final.contenders[0]
    tested = read_evidence(tmp_path / best.folders[0])
    expected = metrics.balanced_accuracy_score(tested.truth, tested.logits.argmax(axis=-1))
    assert best.score == pytest.approx(expected, abs=1e-12)
    assert f"best: test balanced accuracy {best.score:.2%}" in str(found.final)
    with pytest.raises(ValueError, match=r"config\.objective 'balanced_accuracy', not 'accuracy'"):
        search_with(SPACE, imbalanced, tmp_path, trials=1, epochs=1, objective="accuracy")


@pytest.mark.every
@pytest.mark.parametrize("replicas", [1, 2])
def test_search_by_a_function_scores_like_the_same_measure_of_kcnn(imbalanced, tmp_path, monkeypatch, replicas):
    """Also on two devices, and with averaged weights."""
    if replicas > 1:
        on_two = make_strategy("mirrored", devices=["CPU:0", "CPU:1"])
        monkeypatch.setattr(devices, "make_strategy", lambda name: on_two)
    shared = {"trials": 2, "epochs": 2, "reduction_factor": 0, "recipe_overrides": {"ema_momentum": 0.9}}
    found, own = (
        search_with(SPACE, imbalanced, tmp_path / name, objective=objective, **shared)
        for name, objective in (("auto", "auto"), ("own", score_balanced))
    )
    assert str(own.objective) == "validation score balanced"
    assert [t.values for t in found.trials] == [t.values for t in own.trials]
    assert [t.scores for t in own.trials] == [pytest.approx(t.scores, abs=1e-6) for t in found.trials]
    with pytest.raises(ValueError, match=r"score_balanced; pass it: rerun_trial\(\.\.\., objective=\.\.\.\)"):
        rerun_trial(tmp_path / "own", 0, imbalanced)
    assert rerun_trial(tmp_path / "own", 0, imbalanced, objective=score_balanced).same


@pytest.mark.every
def test_search_by_loss_minimizes_the_cross_entropy_without_label_smoothing(imbalanced, tmp_path):
    found = search_with(SPACE, imbalanced, tmp_path, trials=4, epochs=1, reduction_factor=0, objective="loss", seed=1)
    by_number = {}
    for trial in found.trials:
        with (tmp_path / f"trials/{trial.number:04}/history.csv").open() as file:
            (row,) = csv.DictReader(file)
        by_number[trial.number] = float(row["val_cross_entropy"])
        assert trial.score == pytest.approx(-by_number[trial.number])
        smoothed = trial.values["label_smoothing"] > 0
        assert (abs(float(row["val_loss"]) - by_number[trial.number]) > 1e-3) == smoothed
    assert found.best.number == min(by_number, key=by_number.get)
    assert "validation loss" in repr(found)
