"""Searches: what is proposed and what is refused, with trials that only pretend to train."""

import numpy as np
import pytest

import kcnn
from kcnn.search import run, search
from kcnn.search.journal import Journal
from kcnn.search.space import NoFeasiblePointError, Space, analyze_feasibility, default_space, per_layer, stack_space
from tests.runs.searches import FEW, SPACE, at_once, rows


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_every_tuner_proposes_feasible_networks_alone_and_none_twice(tuner, digits, pretended, tmp_path):
    found = search(SPACE, digits, out=tmp_path, tuner=tuner, trials=25, **{**FEW, "epochs": 9})
    assert len(found.trials) == 25
    space = run.prepare_search(SPACE, digits, out=tmp_path, **FEW).space
    new = [space.identity(values) for _, values, after in pretended if after is None]
    assert None not in new
    assert len(set(new)) == len(new)
    if tuner == "hyperband":
        promoted = [(number, after) for number, _, after in pretended if after is not None]
        assert promoted, "the best of a round go on"
        assert all(found.trials[number].values == found.trials[after].values for number, after in promoted)
    else:
        assert found.trials[0].values == {**space.default, "learning_rate": 1e-3}, "the network as it is comes first"


def test_bayesian_search_comes_nearer_to_the_best_than_its_first_random_points(digits, pretended, tmp_path):
    found = search(SPACE, digits, out=tmp_path, tuner="bayesian", trials=30, reduction_factor=0, **FEW)
    scores = [t.score for t in found.trials]
    assert np.median(scores[15:]) > np.median(scores[:10]) + 0.02


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_a_search_killed_after_any_event_ends_as_one_that_was_not(tuner, digits, pretended, tmp_path):
    asked = {**FEW, "epochs": 3, "tuner": tuner, "trials": 12}
    search(SPACE, digits, out=tmp_path / "whole", **asked)
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number in (1, 2, 3, 8, 13, 18, len(lines) - 1):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        (folder / "search.json").write_bytes((tmp_path / "whole" / "search.json").read_bytes())
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:number]) + lines[number][:20])  # the next line is torn
        ended = {t.number for t in Journal(folder, writes=False).trials}
        pretended.clear()
        search(SPACE, digits, out=folder, **asked)
        assert not ended & {number for number, _, _ in pretended}, "no trial that has ended is repeated"
        assert rows(folder) == rows(tmp_path / "whole")


def test_a_larger_budget_goes_on_and_another_space_is_refused_with_the_difference(digits, pretended, tmp_path):
    search(SPACE, digits, out=tmp_path, trials=4, **FEW)
    first = rows(tmp_path)
    assert len(search(SPACE, digits, out=tmp_path, trials=6, **FEW).trials) == 6
    assert rows(tmp_path)[:4] == first
    other = Space("stack", {**SPACE.choices, "depth": (2, 4)}, input_shape=(8, 8, 1), training=SPACE.training)
    with pytest.raises(ValueError, match=r"holds another search \(.*depth.*\[2, 3\], not \[2, 4\]"):
        search(other, digits, out=tmp_path, trials=6, **FEW)
    with pytest.raises(ValueError, match=r"recipe\.batch_size 32, not 16"):
        search(SPACE, digits, out=tmp_path, trials=6, batch_size=16, **FEW)


def test_a_search_ends_when_its_trials_epochs_or_seconds_are_spent(digits, pretended, tmp_path, monkeypatch):
    found = search(SPACE, digits, out=tmp_path / "epochs", total_epochs=7, reduction_factor=0, **FEW)
    assert sum(t.epochs for t in found.trials) == 7
    assert found.trials[-1].status == "pruned", "it was stopped in its middle"
    found = search(SPACE, digits, out=tmp_path / "seconds", seconds=3.5, reduction_factor=0, **FEW)
    assert len(found.trials) == 4, "of a second each"
    small = Space("stack", {"conv1.kernel": (3, 5)}, input_shape=(8, 8, 1))
    monkeypatch.setattr("kcnn.search.tuner.trial.run_trial", at_once)
    assert len(search(small, digits, out=tmp_path / "all", trials=10, **FEW).trials) == 2, "there are no more"


def test_a_large_space_is_estimated_with_an_interval_that_holds_the_exact_share():
    choices = {"conv1_1.stride": (1, 2), "pool1.padding": ("same", "valid"), "pool*.kernel": (2, 3)}
    exact = analyze_feasibility(Space("vgg11", choices, 10, (48, 48, 3)))
    known = Space("vgg11", {**choices, "conv*.bias": per_layer(True, False)}, 10, (48, 48, 3))  # 256 times as many
    found = analyze_feasibility(known, samples=200)
    assert not found.exact
    assert found.combinations == 256 * exact.combinations
    assert found.low <= exact.feasible_fraction <= found.high


def test_a_space_without_a_feasible_point_trains_nothing(digits, pretended, tmp_path):
    space = Space("stack", {"conv1.kernel": (3, 5)}, max_params=10, input_shape=(8, 8, 1))
    with pytest.raises(NoFeasiblePointError, match="max_params"):
        search(space, digits, out=tmp_path / "none", **FEW)
    assert not pretended
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tuner": "best"}, "a tuner is one of"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"reduction_factor": 1}, "reduction_factor is the factor"),
        ({"recipe_overrides": {"patience": 3}}, "set patience to 0"),
        ({"workers": 2}, "by a word"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_written(asked, words, digits, tmp_path):
    with pytest.raises(ValueError, match=words):
        search(SPACE, digits, out=tmp_path / "none", **{**FEW, **asked})
    assert not (tmp_path / "none").exists()


def test_the_first_trial_is_the_network_and_the_training_as_they_are(digits, pretended, tmp_path):
    search(SPACE, digits, out=tmp_path, trials=1, learning_rate=2e-3, **FEW)
    assert pretended[0][1] == {
        "depth": 3,
        "conv1.kernel": 3,
        "conv1.stride": 1,
        "conv*.padding": "same",
        "conv3.kernel": 3,
        "learning_rate": 2e-3,
    }


def test_values_of_the_training_are_checked_like_a_recipes(digits, tmp_path):
    for training, words in (
        ({"learning_rate": (0.0, 0.1)}, "learning_rate must be above 0"),
        ({"optimiser": ("sgd", "adamw")}, "no 'optimiser'"),
        ({"epochs": (1, 2)}, "cannot be searched"),
    ):
        space = Space("stack", {"conv1.kernel": (3, 5)}, input_shape=(8, 8, 1), training=training)
        with pytest.raises((ValueError, LookupError), match=words):
            search(space, digits, out=tmp_path, **FEW)


def test_the_importance_of_choices_is_that_of_what_made_the_scores(digits, pretended, tmp_path):
    from kcnn.reports.search_page import write_search_report
    from kcnn.search.importance import importances

    found = search(SPACE, digits, out=tmp_path, trials=40, **FEW)
    weighed = importances(SPACE, found.trials)
    assert {one.name for one in weighed[:2]} == {"conv1.kernel", "learning_rate"}, "what `pretended` goes by"
    assert all(one.low <= one.share <= one.high for one in weighed)
    assert weighed[1].low > weighed[2].high
    assert importances(SPACE, found.trials[:7]) == ()
    assert "Importance of each choice" in write_search_report(tmp_path).read_text()


def good_default_space(network):
    space = default_space(network)
    assert space.has_default
    most = {"kernel": 0, "stride": 0, "padding": 0}
    for choice in space.all_choices:
        feasible = [v for v in choice.values if space.judge({**space.default, choice.name: v}).identity is not None]
        kind = choice.name.rpartition(".")[2]
        most[kind] = max(most[kind], len(feasible))
    assert min(most.values()) >= 2, most
    assert analyze_feasibility(space, samples=200).feasible_fraction >= 0.2


WINDOWED = [name for name in kcnn.list_models() if name != "mlp"]  # which has no window to slide
FAMILIES = ["alexnet", "googlenet", "inception_v3", "mobilenet_v2", "resnet18", "resnet20", "vgg11", "stack"]


@pytest.mark.parametrize("network", FAMILIES)
def test_a_default_space_has_kernels_strides_and_paddings_to_choose_and_is_feasible_to_a_fifth(network):
    good_default_space(network)


@pytest.mark.every
@pytest.mark.parametrize("network", [name for name in WINDOWED if name not in FAMILIES])
def test_every_default_space_has_kernels_strides_and_paddings_and_is_feasible_to_a_fifth(network):
    good_default_space(network)


def test_a_stack_is_searched_from_nothing(digits, pretended, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.search.tuner.trial.run_trial", at_once)
    found = search(stack_space(input_shape=(8, 8, 1), depth=(1, 2)), digits, out=tmp_path, trials=10, **FEW)
    assert {t.values["depth"] for t in found.trials} == {1, 2}
