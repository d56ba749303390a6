"""Searches with trials that train: their files, their final evaluation, and trials that run again."""

import csv
import json
import shutil
import types

import numpy as np
import psutil
import pytest
from PIL import Image

import kcnn
from kcnn import data
from kcnn.reports import write_report
from kcnn.search import job, rerun_trial, trial
from kcnn.search.final_evaluation import run_final_evaluation
from kcnn.search.journal import Trial
from kcnn.search.result import read_final
from kcnn.search.space import Space
from kcnn.training import NonFiniteLossError
from tests.runs import small  # makes two CPU devices, before TensorFlow starts
from tests.runs.browser import needs_chromium, opened
from tests.runs.searches import SPACE, STACK, make_config, search_with


@pytest.fixture(scope="module")
def real(digits, tmp_path_factory):
    """A small search with its final evaluation."""
    folder = tmp_path_factory.mktemp("real")
    return search_with(SPACE, digits, folder, trials=4, final_seeds=2, keep_checkpoints=2), folder


def test_search_writes_a_table_of_every_trial(real):
    found, folder = real
    with (folder / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(found.trials) == 4
    columns = {"trial", "status", "score", "seed", "params", "macs", "receptive_field", "seconds", "epochs", "scores"}
    assert columns | {choice.name for choice in SPACE.all_choices} <= set(table[0])
    assert all(len(row["scores"].split()) == int(row["epochs"]) for row in table)
    assert table[0]["params"] == "24058", "the unchanged network"


def test_final_evaluation_trains_on_train_and_validation_and_tests_once(real, digits):
    found, folder = real
    assert found.final.trial == found.best.number
    best = found.final.contenders[0]
    metrics = json.loads((folder / best.folders[0] / "metrics.json").read_text())
    images = len(digits.splits["train"]) + len(digits.splits["validation"])
    assert metrics["images"] == {"train": images, "test": len(digits.splits["test"])}
    assert metrics["accuracy"] == best.scores[0]
    assert metrics["validation_accuracy"] is None
    assert len(best.scores) == 2
    assert len(list(folder.rglob("metrics.json"))) == 2 * len(found.final.contenders), "no trial was tested"


def test_final_evaluation_of_another_best_trial_tests_that_one(real, digits):
    found, folder = real
    other = next(t for t in found.trials if t.number != found.best.number and t.score is not None)
    prepared = job.prepare_search(SPACE, digits, make_config(), out=folder, log=lambda text: None)
    again = run_final_evaluation(prepared.space, prepared.settings, other, 1)
    assert again.trial == other.number
    assert {contender.name for contender in again.contenders} <= {
        "best",
        "default network",
        "default network and training",
    }


def test_final_evaluation_of_the_unchanged_network_compares_nothing(real, digits):
    found, folder = real
    prepared = job.prepare_search(SPACE, digits, make_config(), out=folder, log=lambda text: None)
    first = run_final_evaluation(prepared.space, prepared.settings, found.trials[0], 1)
    assert [contender.name for contender in first.contenders] == ["best"]
    assert str(first).endswith("the best network in validation is the default one")


def test_final_evaluation_changes_one_thing_at_a_time(digits, tmp_path, monkeypatch):
    """A gain of the tuned learning rate is not told as a gain of the kernel."""
    from kcnn.search import final_evaluation

    trained = []

    def pretend(spec, data, config, *, out, **keywords):
        tuned = config.resolved_recipe.learning_rate == 0.02
        trained.append((dict(spec.overrides), tuned))
        accuracy = 0.9 if tuned else 0.3
        return types.SimpleNamespace(metrics={"accuracy": accuracy, "params": 1, "macs": 1})

    monkeypatch.setattr(final_evaluation, "train", pretend)
    space = Space(STACK, {"conv1.kernel": (3, 5)}, training={"learning_rate": (1e-3, 0.02)})
    prepared = job.prepare_search(space, digits, make_config(), out=tmp_path, log=lambda text: None)
    prepared.folder.mkdir(exist_ok=True)
    values = {**space.default, "conv1.kernel": 5, "learning_rate": 0.02}
    best = Trial(1, "ok", values, 0.9, (0.9,), 1, 0, 1, 1, 1, 1.0, "w")
    final = final_evaluation.run_final_evaluation(prepared.space, prepared.settings, best, 1)
    assert [kernel.get("conv1.kernel") for kernel, _ in trained] == [5, None, None]
    assert [tuned for _, tuned in trained] == [True, True, False]
    network, training = final.comparisons
    assert str(network) == "best against default network, trained alike: +0.00 points"
    assert str(training) == "tuned against default training values, on the default network: +60.00 points"
    assert read_final(tmp_path) == final


def test_final_evaluation_survives_a_default_network_that_diverges(real, digits, tmp_path, monkeypatch):
    from kcnn.search import final_evaluation

    def pretend(spec, data, config, *, out, **keywords):
        if not spec.overrides:
            raise NonFiniteLossError(0, 3, float("nan"))
        return types.SimpleNamespace(metrics={"accuracy": 0.5, "params": 1, "macs": 1})

    monkeypatch.setattr(final_evaluation, "train", pretend)
    space = Space(STACK, {"conv1.kernel": (3, 5)})
    prepared = job.prepare_search(space, digits, make_config(), out=tmp_path, log=lambda text: None)
    prepared.folder.mkdir(exist_ok=True)
    best = Trial(1, "ok", {"conv1.kernel": 5}, 0.9, (0.9,), 1, 0, 1, 1, 1, 1.0, "w")
    final = final_evaluation.run_final_evaluation(prepared.space, prepared.settings, best, 2)
    assert [one.name for one in final.contenders] == ["best"]
    assert "default network: its training failed: the loss is nan" in str(final)


def test_search_keeps_only_the_checkpoints_of_the_best_trials(real):
    assert len(list(real[1].glob("trials/*/checkpoints"))) == 2


def test_rerun_trial_reproduces_the_score_whatever_the_splits_of_the_data_are(real):
    found, folder = real
    number = next(t.number for t in found.trials if t.epochs == 2)
    again = rerun_trial(folder, number, data.load("digits", input_shape=(8, 8, 1), seed=9, test_split=0.5))
    assert again.same
    with pytest.raises(ValueError, match="no trial 99"):
        rerun_trial(folder, 99)
    other = data.load("digits:0-4", input_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="10 classes"):
        rerun_trial(folder, number, other)


def test_rerun_trial_knows_the_data_of_its_search_but_for_arrays(real, tmp_path):
    found, folder = real
    number = next(t.number for t in found.trials if t.epochs == 2)
    assert rerun_trial(folder, number).same
    copy = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((copy / "search.json").read_text())
    record["request"]["data"] = "arrays"
    del record["checksum"]
    (copy / "search.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"arrays from Python, which are not on disk; pass them: kcnn\.search\."):
        rerun_trial(copy, number)


def test_cli_search_writes_a_folder_of_which_report_writes_a_page(tmp_path, command):
    arguments = [
        "search",
        "stack",
        "--data",
        "digits",
        "--input-size",
        "8x8x1",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--final-seeds",
        "0",
    ]
    given = [
        "--choice",
        "conv1.kernel=3,5,3x5",
        "--recipe-choice",
        "learning_rate=1e-3..1e-2,log",
        "--out",
        str(tmp_path),
    ]
    done = command(*arguments, *given)
    assert done.returncode == 0, done.stderr
    assert "3 points, 3 feasible" in done.stdout
    assert "2 trials: 2 ok" in done.stdout
    done = command("report", tmp_path)
    assert (tmp_path / "report.html").exists(), done.stderr
    done = command(*arguments, "--out", tmp_path)
    assert done.returncode == 2
    assert "holds another search" in done.stderr


def test_write_search_report_writes_a_self_contained_page(real):
    from kcnn.reports.search_page import write_search_report

    page = write_search_report(real[1]).read_text()
    assert "<script src" not in page
    assert "<link" not in page
    for text in ("Leaderboard", "Validation accuracy by epoch", "Pareto front", "default", "parameters", "points, "):
        assert text in page


@needs_chromium
def test_write_search_report_page_fits_a_phone_and_dark_mode(real):
    from kcnn.reports.search_page import write_search_report

    with opened(write_search_report(real[1]), 390, "dark") as tab:
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
        assert tab.locator(".chart svg").count() >= 4


def test_search_continues_after_failed_trials_and_records_their_status(digits, tmp_path, monkeypatch):
    build = trial.build_training_model
    calls = iter(range(100))

    def fail(job):
        number = next(calls)
        if number == 1:
            raise MemoryError
        if number == 2:
            raise RuntimeError("a bug in a plugin's layer")
        return build(job)

    monkeypatch.setattr("kcnn.search.trial.build_training_model", fail)
    space = Space(STACK, {"conv1.kernel": (3, 5, 7)}, training={"learning_rate": (1e-3, 1e30)})
    values = {"tuner": "grid", "trials": 4, "recipe_overrides": {"optimizer": "sgd"}, "reduction_factor": 0}
    found = search_with(space, digits, tmp_path, **values)
    by_number = {t.number: t for t in found.trials}
    assert [by_number[n].status for n in range(3)] == ["ok", "out_of_memory", "error"]
    assert by_number[3].status == "diverged", by_number[3].values
    assert "a bug in a plugin's layer" in (tmp_path / "trials" / "0002" / "traceback.txt").read_text()
    assert found.best.number == 0


@pytest.mark.every
def test_search_of_thirty_trials_does_not_grow_in_memory(digits, tmp_path):
    used = []
    record = lambda trial: used.append(psutil.Process().memory_info().rss)  # noqa: E731
    search_with(SPACE, digits, tmp_path, trials=30, epochs=1, on_trial_end=record)
    assert len(used) == 30
    assert used[-1] - used[9] < 80e6, "a graph that stays in memory is 10 MB"


@pytest.mark.every
def test_search_with_replicas_in_each_trial_has_the_scores_of_one_device(digits, mirrored, tmp_path, monkeypatch):
    from kcnn.training import devices

    assert small.BATCH  # imported before TensorFlow starts
    own = devices.make_strategy
    monkeypatch.setattr(devices, "make_strategy", lambda name: mirrored if name == "mirrored" else own(name))
    scores = []
    for strategy in ("single", "mirrored"):
        found = search_with(SPACE, digits, tmp_path / strategy, trials=2, strategy=strategy, batch_size=64)
        scores.append([t.score for t in found.trials])
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


@pytest.mark.every
def test_rerun_trial_and_the_same_search_find_data_of_a_relative_path_from_another_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8)).astype("uint8")).save(path)
    space = Space(kcnn.ModelSpec(network="mlp", input_shape=(8, 8, 1)), {}, training={"learning_rate": (1e-3, 1e-2)})
    values = {"trials": 1, "epochs": 1}
    monkeypatch.chdir(tmp_path)
    search_with(space, "photos", "search", **values)
    monkeypatch.chdir(tmp_path.parent)
    assert rerun_trial(tmp_path / "search", 0).same
    again = search_with(space, str(tmp_path / "photos"), tmp_path / "search", **values)
    assert len(again.trials) == 1


def test_search_and_rerun_trial_load_whole_photos_where_any_trial_crops_from_them(tmp_path, monkeypatch):
    rng, shapes, run_trial = np.random.default_rng(0), [], trial.run_trial
    for number in range(16):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 80)).astype("uint8")).save(path)

    def look(settings, *given, **values):
        shapes.append({image.shape for image in settings.data.splits["train"].read_batch(np.arange(8))[0]})
        return run_trial(settings, *given, **values)

    monkeypatch.setattr(trial, "run_trial", look)
    crops = (None, (0.25, 1.0))
    space = Space(kcnn.ModelSpec(network="mlp", input_shape=(8, 8, 1)), {}, training={"resized_crop": crops})
    values = {"tuner": "grid", "trials": 2, "epochs": 1, "batch_size": 8}
    found = search_with(space, str(tmp_path / "photos"), tmp_path / "search", **values)
    assert [one.values for one in found.trials] == [{"resized_crop": crop} for crop in crops]
    assert rerun_trial(tmp_path / "search", 1).same
    assert shapes == [{(16, 32, 1)}] * 3  # twice the input


def test_write_report_claims_no_choice_by_validation_of_a_run_without_a_validation_split(real):
    _, folder = real
    page = write_report(next((folder / "final").glob("*/seed-*"))).read_text()
    assert "(tested: epoch 2)" in page
