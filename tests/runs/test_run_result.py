"""A run in Python: train, load again, predict, evaluate, export, report."""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn import data
from kcnn.export import ExportRejectedError, SkippedImagesWarning
from kcnn.training import TrainResult
from kcnn.training.progress import describe_data, resolve_verbosity
from kcnn.training.request import choose_folder
from kcnn.training.result import describe_failure
from kcnn.training.run_directory import lock_folder, read_config, write_config

SPEC = kcnn.ModelSpec(network="mlp", input_shape=(8, 8, 1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return kcnn.train(SPEC, "digits", out=tmp_path_factory.mktemp("runs") / "digits", epochs=2)


@pytest.fixture(scope="module")
def run(trained):
    return kcnn.load_run(trained.folder)


def test_load_run_returns_what_train_returned(run, trained):
    assert isinstance(run, TrainResult)
    assert (run.folder, run.metrics, run.history) == (trained.folder, trained.metrics, trained.history)
    assert run.model is run.model
    assert len(run.model.metadata["classes"]) == 10


def test_load_run_refuses_a_folder_without_a_finished_run(tmp_path, trained):
    with pytest.raises(FileNotFoundError, match=r"holds no finished run: it is empty"):
        kcnn.load_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="it contains 1 run"):
        kcnn.load_run(trained.folder.parent)


def test_a_run_predicts_images_and_folders(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), "uint8")
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    expected = kcnn.predict(run.folder, images).probabilities
    np.testing.assert_allclose(run.predict(images).probabilities, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(run.predict(tmp_path, top=1).probabilities, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(kcnn.predict(run, images).probabilities, expected, rtol=1e-5, atol=1e-7)


def test_a_run_warns_of_files_left_out_at_the_line_of_the_caller(run, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    for predict in (run.predict, functools.partial(kcnn.predict, run)):
        with pytest.warns(SkippedImagesWarning) as caught:
            predict(tmp_path)
        assert [one.filename for one in caught if one.category is SkippedImagesWarning] == [__file__]


def test_a_run_is_evaluated_on_its_own_splits_and_without_its_images_on_others(run):
    result = run.evaluate()
    assert (result.accuracy, result.metrics["images"]) == (run.metrics["accuracy"], 359)
    assert f"accuracy {result.accuracy:.2%} ({run.metrics['correct']} of 359 test images of digits" in str(result)
    assert result.metrics["per_class"] == run.metrics["per_class"]
    assert run.evaluate(split="validation").metrics["images"] == run.metrics["images"]["validation"]
    with pytest.raises(kcnn.UnknownNameError, match="unknown split 'tests'"):
        run.evaluate(split="tests")


def test_evaluate_takes_a_model_in_memory_and_data(run):
    from kcnn.export import evaluate

    notes = []
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8), "uint8")
    labels = np.array([str(n % 10) for n in range(300)])
    assert evaluate(run.model, (images, labels), log=notes.append).metrics["images"] > 0
    assert notes == []
    with pytest.raises(ValueError, match="does not record its dataset"):
        evaluate(run.model)


def test_evaluate_refuses_data_of_other_classes_before_it_is_decoded(run, monkeypatch):
    from kcnn.export import evaluate

    monkeypatch.setattr("kcnn.export.evaluation.load", lambda *_, **__: pytest.fail("the classes are compared first"))
    with pytest.raises(ValueError, match="digits:0-4 has the classes 0, 1, 2, 3, 4; expected those of the model: 0, 1"):
        evaluate(run.model, "digits:0-4")


def test_a_run_exports_verified_files_and_removes_those_that_lose_accuracy(run, tmp_path, monkeypatch):
    result = run.export("keras", tmp_path)
    assert result.path == tmp_path / "keras.keras"
    assert "keras.keras; 359 test images" in repr(result)
    assert result.checks[1].agreement == 1
    with pytest.raises(ExportRejectedError, match=r"accuracy drop exceeds -1 points; not kept: keras \+0\.00 points"):
        run.export("keras", tmp_path, max_accuracy_drop=-1)
    assert not result.path.exists()
    with pytest.raises(kcnn.UnknownNameError, match="unknown export format 'kers'"):
        run.export("kers")


def test_a_run_writes_its_report(run, tmp_path):
    assert "Confusion matrix" in run.report(tmp_path / "page.html").read_text()
    assert run.report() == run.folder / "report.html"


def test_train_without_a_folder_numbers_runs_and_finds_its_own_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mlp-2").mkdir(parents=True)
    (tmp_path / "runs" / "mlp-2" / "search.json").write_text("{}")  # of something else
    messages = []
    results = [
        kcnn.train(SPEC, "digits", kcnn.TrainConfig(epochs=1, seed=seed), log=messages.append) for seed in (0, 1, 0)
    ]
    assert [str(result.folder) for result in results] == ["runs/mlp", "runs/mlp-3", "runs/mlp"]
    assert [result.resumed_epochs for result in results] == [0, 0, 1]
    assert messages.count("the folder of this run is runs/mlp") == 2


def test_choose_folder_leaves_a_folder_in_training_to_its_process(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = trained.metrics["request"]
    other = {**request, "config": {**request["config"], "seed": 5}}
    folder = Path("runs/mlp")
    with lock_folder(folder):
        write_config(folder, read_config(trained.folder))
        assert choose_folder(SPEC, other) == Path("runs/mlp-2")
        assert choose_folder(SPEC, request) == folder, "the same request waits for its own process"
    assert choose_folder(SPEC, other) == folder, "it completed no epoch"


def test_describe_data_repeats_no_warning_that_loading_logged():
    images, labels = np.zeros((60, 8, 8, 1), "uint8"), np.arange(60) % 2
    dataset = data.load((images, labels), input_shape=(8, 8, 1))
    dataset = dataclasses.replace(dataset, warnings=("no test split",))
    assert not any("no test split" in line for line in describe_data(dataset))


def test_train_shows_progress_as_keras_does_and_none_where_nobody_watches(tmp_path, capsys):
    config = kcnn.TrainConfig(epochs=1)
    kcnn.train(SPEC, "digits", config, out=tmp_path / "a", verbose=1)
    shown = capsys.readouterr().out
    assert "1797/1797" in shown, "images that are read"
    assert "val_accuracy: " in shown
    kcnn.train(SPEC, "digits", config, out=tmp_path / "b")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match='verbose must be "auto", 0, 1 or 2, got 3'):
        kcnn.train(SPEC, "digits", config, out=tmp_path / "c", verbose=3)


def test_resolve_verbosity_is_1_on_a_terminal_and_in_a_notebook(monkeypatch):
    assert [resolve_verbosity(level) for level in ("auto", 0, 1, 2)] == [0, 0, 1, 2]
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert resolve_verbosity("auto") == 1
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert resolve_verbosity("auto") == 1


@pytest.mark.parametrize(
    ("correct", "images", "warns"),
    [  # the lower bounds of 60, 59 and 40 of 100 are 50.2%, 49.2% and 30.9%
        (60, {"cat": 50, "dog": 50}, False),
        (59, {"cat": 50, "dog": 50}, True),
        (40, {"cat": 50, "dog": 50}, True),
        (40, {"cat": 30, "dog": 30, "owl": 40}, True),
        (40, {"cat": 25, "dog": 25, "owl": 25, "rat": 25}, False),
        (100, {"cat": 100}, False),
    ],
)
def test_describe_failure_warns_of_accuracy_at_the_most_frequent_class(correct, images, warns):
    metrics = {"correct": correct, "test_images": 100, "per_class": {k: {"images": n} for k, n in images.items()}}
    warning = describe_failure(metrics)
    assert bool(warning) == warns
    if warns:
        assert f"always predicting {max(images, key=images.get)!r} ({max(images.values())}.00%)" in warning
    assert describe_failure({**metrics, "mean_average_precision": 0.5}) is None
