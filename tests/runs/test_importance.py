"""Importance of choices, on simulated searches of which it is known what decides the score."""

import numpy as np
import pytest

from kcnn.search.importance import _leave_one_out, compute_importances
from kcnn.search.journal import Trial
from kcnn.search.space import Range, Space, conditional
from kcnn.search.successive_halving import SuccessiveHalving

SPACE = Space(
    "stack",
    {
        "conv1.kernel": (3, 5, 7),
        "conv1.stride": (1, 2),
        "conv*.padding": ("same", "valid"),
        "depth": (2, 3),
        "conv3.kernel": (1, 3),  # where the depth is 3
    },
    training={
        "label_smoothing": Range(0.0, 0.5),
        "learning_rate": Range(1e-4, 1e-1, log=True),
        "momentum": conditional("conv1.stride", 2, Range(0.5, 0.9)),
    },
)
EPOCHS = 9


def simulate(seed, count, *, reduction_factor=0, effect=0.0, noise=0.02):
    """Trials whose final score is noise, plus an effect of the kernel alone."""
    from random import Random

    values, noises = Random(f"{seed}/{count}"), np.random.default_rng([seed, count, reduction_factor])
    halving, trials = SuccessiveHalving(reduction_factor, EPOCHS), []
    for number in range(count):
        point = SPACE.sample_point(values)
        final = 0.7 + effect * (point["conv1.kernel"] == 5) + noise * noises.normal()
        scores = []
        for epoch in range(1, EPOCHS + 1):
            scores.append(0.1 + (final - 0.1) * (1 - 0.5**epoch) + 0.005 * noises.normal())
            if not halving.should_continue(number, epoch, scores[-1]):
                break
        trials.append(make_trial(number, point, scores))
    return trials


def make_trial(number, values, scores, *, epochs=None, promoted_from=None):
    last = scores[-1] if scores else None
    fields = {"seed": 0, "params": 1, "macs": 1, "receptive_field": 1, "seconds": 1.0, "worker": ""}
    epochs = len(scores) if epochs is None else epochs
    return Trial(number, "ok", values, last, scores, epochs=epochs, promoted_from=promoted_from, **fields)


@pytest.mark.parametrize("reduction_factor", [0, 3])
@pytest.mark.parametrize("count", [12, 24, pytest.param(60, marks=pytest.mark.every)])
def test_compute_importances_of_noise_are_rarely_significant(count, reduction_factor):
    searches = [compute_importances(SPACE, simulate(s, count, reduction_factor=reduction_factor)) for s in range(200)]
    choices = [one for importances in searches for one in importances]
    assert np.mean([one.significant for one in choices]) <= 0.05
    found = sum(any(one.significant for one in importances) for importances in searches)
    assert found <= 20, "5% of 200 searches are 10; more than 20 have a probability of 0.1%"
    assert np.mean([one.importance for one in choices]) < 0.02


@pytest.mark.parametrize("reduction_factor", [0, 3])
def test_compute_importances_ranks_the_choice_that_decides_first(reduction_factor):
    trials = [simulate(s, 60, reduction_factor=reduction_factor, effect=0.1) for s in range(20)]
    searches = [compute_importances(SPACE, search) for search in trials]
    first = [importances[0] for importances in searches]
    assert sum(one.name == "conv1.kernel" and one.significant for one in first) >= 19
    others = sum(one.significant for importances in searches for one in importances[1:])
    assert others <= 5


def test_compute_importances_is_deterministic_and_ordered():
    trials = simulate(0, 30, effect=0.05)
    assert compute_importances(SPACE, trials) == compute_importances(SPACE, trials)
    values = [one.importance for one in compute_importances(SPACE, trials)]
    assert values == sorted(values, reverse=True)
    assert all(one.low <= one.importance <= one.high for one in compute_importances(SPACE, trials))


def test_compute_importances_needs_eight_trials_with_different_scores():
    assert compute_importances(SPACE, simulate(0, 7)) == ()
    assert compute_importances(SPACE, [make_trial(n, SPACE.default, [0.5]) for n in range(20)]) == ()


def test_compute_importances_counts_promoted_trials_once():
    trials = simulate(0, 20, effect=0.1)
    parts = [make_trial(t.number, t.values, t.scores[:3]) for t in trials]
    rest = [make_trial(100 + t.number, t.values, t.scores[3:], epochs=EPOCHS, promoted_from=t.number) for t in trials]
    assert compute_importances(SPACE, [*parts, *rest]) == compute_importances(SPACE, trials)


def test_compute_importances_ignores_failed_trials():
    trials = simulate(0, 20, effect=0.1)
    failed = make_trial(99, SPACE.default, [])
    assert compute_importances(SPACE, [*trials, failed]) == compute_importances(SPACE, trials)


def test_leave_one_out_errors_are_those_of_fits_without_each_trial():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 3)), random.normal(size=12)
    x -= x.mean(axis=0)
    errors = _leave_one_out(x, y, 1e-9)
    for n in range(12):
        keep = np.arange(12) != n
        design = np.column_stack([np.ones(11), x[keep]])
        weights, *_ = np.linalg.lstsq(design, y[keep], rcond=None)
        assert errors[n] == pytest.approx(y[n] - weights[0] - x[n] @ weights[1:], abs=1e-6)
