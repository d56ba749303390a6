"""Searches: proposals, results and refusals, with trials that do not train."""

import json
import sys
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from threadpoolctl import threadpool_info, threadpool_limits

import kcnn
from kcnn.search import SearchConfig, job, search
from kcnn.search.config import TUNERS
from kcnn.search.samplers.gaussian_process import expect_improvements
from kcnn.search.space import Space
from tests.runs.searches import SPACE, STACK, make_config, search_with


@pytest.mark.parametrize("tuner", TUNERS)
def test_search_proposes_feasible_networks_only_and_none_twice(tuner, digits, pretended, tmp_path):
    found = search_with(SPACE, digits, tmp_path, tuner=tuner, trials=25, epochs=9)
    assert len(found.trials) == 25
    space = job.prepare_search(SPACE, digits, make_config(), out=tmp_path).space
    new = [space.identity(values) for _, values, after in pretended if after is None]
    assert None not in new
    assert len(set(new)) == len(new)
    if tuner == "hyperband":
        promoted = [(number, after) for number, _, after in pretended if after is not None]
        assert promoted, "the best of a round continue"
        assert all(found.trials[number].values == found.trials[after].values for number, after in promoted)
    else:
        assert found.trials[0].values == {**space.default, "learning_rate": 1e-3}, "the unchanged network comes first"


def test_search_with_bayesian_tuner_improves_on_its_first_random_points(digits, pretended, tmp_path):
    found = search_with(SPACE, digits, tmp_path, tuner="bayesian", trials=30, reduction_factor=0)
    scores = [t.score for t in found.trials]
    assert np.median(scores[15:]) > np.median(scores[:10]) + 0.02


def test_expect_improvements_fits_on_one_thread(monkeypatch):
    """On the kernels of a few trials, threads cost seven times the processor time."""
    fit, threads = GaussianProcessRegressor.fit, []

    def look(process, x, y):
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return fit(process, x, y)

    monkeypatch.setattr(GaussianProcessRegressor, "fit", look)
    with threadpool_limits(2):
        curves = [({"conv1.kernel": kernel}, [0.1 * kernel, 0.2 * kernel]) for kernel in (3, 5)]
        space = Space(STACK, {"conv1.kernel": (3, 5)})
        assert len(expect_improvements(space.all_choices, curves, [curves[0][0]], seed=0)) == 1
    assert set(threads) == {1}


def test_make_sampler_names_the_extra_of_optuna(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "kcnn.search.samplers.optuna_sampler", raising=False)
    with pytest.raises(ImportError, match=r'optuna tuner needs optuna.*pip install "kcnn\[optuna\]"'):
        search_with(SPACE, digits, tmp_path, tuner="optuna:tpe", trials=1)


def test_search_config_is_equal_after_a_round_trip_through_json():
    config = make_config(tuner="grid", trials=3, workers=2, recipe="strong", batch_size=16, seed=5)
    again = SearchConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert config.diff(make_config(tuner="grid", trials=3, workers=2, recipe="strong", batch_size=16)) == [
        ("train.seed", 5, 0)
    ]
    described = SearchConfig.from_json(json.loads(json.dumps(config.describe())))
    assert described.train.resolved_recipe == config.train.resolved_recipe
    with pytest.raises(kcnn.UnknownNameError, match="Did you mean 'trials'"):
        SearchConfig.from_json({"trails": 3})


def test_search_result_is_a_leaderboard(digits, pretended, tmp_path):
    result = search_with(SPACE, digits, tmp_path, trials=3, reduction_factor=0)
    assert repr(result).startswith(f"<SearchResult {tmp_path}: 3 ok; best trial ")
    assert str(result).count("epochs") == 3
    page = ElementTree.fromstring(f"<page>{result._repr_html_()}</page>")
    assert page.find("./table/tbody/tr/td").text == str(result.best.number)
    assert len(page.findall("./table/tbody/tr")) == 3


def test_search_in_several_processes_refuses_callbacks_that_would_see_no_trial(tmp_path):
    callbacks = [keras.callbacks.EarlyStopping()]
    with pytest.raises(
        ValueError, match="EarlyStopping would see no trial; remove them, or run trials in this process"
    ):
        search(SPACE, "digits", make_config(process_per_trial=True), out=tmp_path / "out", callbacks=callbacks)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tuner": "best"}, "unknown tuner 'best'; choose from random"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"reduction_factor": 1}, "reduction_factor must be 2 to 10"),
        ({"recipe_overrides": {"patience": 3}}, "set patience to 0"),
        ({"workers": 2}, "give a folder or a name"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"chief": "somewhere"}, "chief must be HOST:PORT"),
        ({"chief": "host:1", "port": 2}, "set one of them"),
        ({"tensorboard": True}, "tensorboard has no meaning in a search"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_search_rejects_invalid_values_before_anything_is_written(values, message, digits, tmp_path):
    with pytest.raises(ValueError, match=message):
        search_with(SPACE, digits, tmp_path / "none", **values)
    assert not (tmp_path / "none").exists()


def test_search_begins_with_the_unchanged_network_and_recipe(digits, pretended, tmp_path):
    search_with(SPACE, digits, tmp_path, trials=1, learning_rate=2e-3)
    assert pretended[0][1] == {
        "depth": 3,
        "conv1.kernel": 3,
        "conv1.stride": 1,
        "conv*.padding": "same",
        "conv3.kernel": 3,
        "learning_rate": 2e-3,
    }


def test_search_checks_values_of_the_training_like_those_of_a_recipe(digits, tmp_path):
    for training, message in (
        ({"learning_rate": (0.0, 0.1)}, "learning_rate must be above 0"),
        ({"optimiser": ("sgd", "adamw")}, "unknown recipe option 'optimiser'. Did you mean 'optimizer'"),
        ({"epochs": (1, 2)}, "cannot be searched"),
    ):
        space = Space(STACK, {"conv1.kernel": (3, 5)}, training=training)
        with pytest.raises((ValueError, LookupError), match=message):
            search_with(space, digits, tmp_path)


def test_compute_importances_ranks_the_choices_that_make_the_scores(digits, pretended, tmp_path):
    from kcnn.reports.search_page import write_search_report
    from kcnn.search.importance import compute_importances

    found = search_with(SPACE, digits, tmp_path, trials=40)
    importances = compute_importances(SPACE, found.trials)
    assert {one.name for one in importances[:2]} == {"conv1.kernel", "learning_rate"}, "what `pretended` goes by"
    assert all(one.low <= one.importance <= one.high for one in importances)
    assert [one.significant for one in importances[:3]] == [True, True, False]
    assert compute_importances(SPACE, found.trials[:7]) == ()
    assert "Importance of choices" in write_search_report(tmp_path).read_text()
