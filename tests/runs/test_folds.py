"""Cross-validation: folds that hold each image once, and a run that resumes inside a fold to the last digit."""

import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import kcnn
from kcnn import data
from kcnn.data.folds import split_folds
from kcnn.training import OutOfMemoryError, TrainConfig, load_evaluation_data, train
from kcnn.training.run_directory import UNLIKE, read_history
from kcnn.training.run_summaries import list_runs

FOLDS, EPOCHS, DIGITS = 3, 3, "digits:0-2"
SPEC = kcnn.ModelSpec(network="stack", input_shape=(8, 8, 1))
CONFIG = TrainConfig(recipe="quick", epochs=EPOCHS, folds=FOLDS, seed=1, recipe_overrides={"ema_momentum": 0.9})


def run_folds(out, **keywords):
    return train(SPEC, DIGITS, CONFIG, out=out, verbose=0, **keywords)


def read_rows(folder):
    """What a seed fixes of a history."""
    return [{name: value for name, value in row.items() if name not in UNLIKE} for row in read_history(folder)]


def read_all(folder):
    """The histories of the final training and of all folds, and the scores and the weights."""
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = [read_rows(one) for one in (folder, *(folder / "folds" / str(i + 1) for i in range(FOLDS)))]
    weights = [w.tolist() for w in kcnn.load_model(folder / "model.keras").get_weights()]
    return rows, metrics["cross_validation"], metrics["accuracy"], metrics["loss"], weights


class Stop(keras.callbacks.Callback):
    """End a run at a step of one of its trainings, counted from 0."""

    def __init__(self, training, epoch, stop):
        super().__init__()
        self.training, self.at, self.stop, self.count = training, epoch, stop, -1

    def on_train_begin(self, logs=None):
        self.count += 1

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.count, self.epoch, batch) == (self.training, self.at, 1):
            self.stop()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    lines = []
    result = run_folds(tmp_path_factory.mktemp("folds") / "out", log=lines.append)
    return result, lines


def test_split_folds_validates_each_image_once_and_leaves_out_the_test_split():
    images = data.load(DIGITS, input_shape=(8, 8, 1), seed=5)
    parts = split_folds(images, 4)
    names = [name for part in parts for name in part.splits["validation"].names]
    expected = {*images.splits["train"].names, *images.splits["validation"].names}
    assert (len(names), {*names}) == (len(expected), expected)
    for part in parts:
        assert set(part.splits) == {"train", "validation"}
        train_names, validation_names = ({*part.splits[name].names} for name in ("train", "validation"))
        assert train_names | validation_names == expected
        assert not train_names & validation_names
    counts = np.array([np.bincount(part.splits["validation"].labels) for part in parts])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1  # of each class
    same = split_folds(data.load(DIGITS, input_shape=(8, 8, 1), seed=5), 4)
    assert [part.splits["validation"].names for part in same] == [part.splits["validation"].names for part in parts]


def test_split_folds_reads_training_images_larger_than_validation_images():
    images = data.load(DIGITS, input_shape=(4, 4, 1), resize_factor=1.5)
    part = split_folds(images, 2)[0]
    assert [image.shape for image in part.splits["train"].read_batch(np.array([0, 1]))[0]] == [(6, 6, 1)] * 2
    assert part.splits["validation"].read_batch(np.array([0]))[0].shape == (1, 4, 4, 1)


def test_train_with_folds_says_the_folds_before_they_are_trained(run):
    _, lines = run
    (line,) = (line for line in lines if line.startswith("cross-validation: 3 folds"))
    assert "3 folds of 144, 143, 143 images, stratified by class, drawn by seed 1" in line
    assert "from the initial weights of seed 1" in line
    assert "trained on all 430 images, and tested once on the 107 test images, which are in no fold" in line
    assert lines.index(line) < lines.index("fold 1 of 3: training on 286 images, validating on 144")


def test_train_with_folds_scores_the_mean_and_trains_on_all_images_up_to_its_epoch(run):
    result, _ = run
    folds = result.cross_validation
    scores = [read_history(result.folder / "folds" / str(i + 1))[folds.epoch - 1]["val_accuracy"] for i in range(FOLDS)]
    assert folds.scores == tuple(scores)
    assert folds.mean == pytest.approx(np.mean(scores))
    assert folds.low < folds.mean < folds.high
    assert result.metrics["validation_accuracy"] == folds.mean
    assert len(result.history) == result.metrics["best_epoch"] == folds.epoch
    assert not any(name.startswith("val_") for name in result.history[0])
    assert result.metrics["images"] == {"train": 430, "test": 107}
    assert f"cross-validation  {folds}" in repr(result)
    assert not [*result.folder.glob("**/checkpoints")]


def test_train_with_folds_keeps_test_images_out_of_all_folds(run):
    result, _ = run
    tested = {*load_evaluation_data(result.folder).dataset.splits["test"].names}
    texts = [(result.folder / "folds" / str(i + 1) / "splits.csv").read_text() for i in range(FOLDS)]
    files = {line.split(",")[1] for text in texts for line in text.splitlines()[1:]}
    assert (len(tested), len(files), tested & files) == (107, 430, set())
    assert tested == {*data.load(DIGITS, input_shape=(8, 8, 1), seed=1).splits["test"].names}  # as without folds


def test_train_with_folds_stopped_inside_a_fold_resumes_to_the_last_digit(run, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    result, _ = run
    with pytest.raises(KeyboardInterrupt):
        run_folds(tmp_path / "out", callbacks=[Stop(1, 2, interrupt)])  # in the third epoch of the second fold
    assert not (tmp_path / "out" / "folds" / "3").exists()
    (unfinished,) = list_runs(tmp_path / "out")
    assert (unfinished.finished, unfinished.problem) == (False, None)
    lines = []
    resumed = run_folds(tmp_path / "out", log=lines.append)
    assert "resuming from epoch 2 of 3" in lines
    assert read_all(resumed.folder) == read_all(result.folder)


def test_train_with_folds_refuses_another_number_of_folds_and_shows_it(run, tmp_path, command):
    result, _ = run
    with pytest.raises(ValueError, match=r"holds another run \(config.folds 3, not 4"):
        train(SPEC, DIGITS, CONFIG, folds=4, out=result.folder, verbose=0)
    out = tmp_path / "begun"  # a fold has completed an epoch, and the run none
    shutil.copytree(result.folder, out)
    for name in ("metrics.json", "history.csv", "model.keras"):
        (out / name).unlink()
    done = command("train", "stack", "--data", DIGITS, "--input-size", "8x8x1", "--recipe", "quick", "--epochs", "3",
                   "--seed", "1", "--recipe-option", "ema_momentum=0.9", "--folds", "2", "--out", str(out))  # fmt: skip
    assert done.returncode == 2
    assert "holds another run (config.folds 3, not 2)" in done.stderr
    assert (out / "folds" / "3" / "history.csv").exists()


def test_train_with_folds_that_do_not_fit_in_memory_says_which_batch_size_to_try(tmp_path, monkeypatch):
    def run_out(*_, **__):
        raise MemoryError

    monkeypatch.setattr("kcnn.training.cross_validation.fit_epochs", run_out)
    with pytest.raises(
        OutOfMemoryError, match=r"^a batch of 32 images of 8x8x1 does not fit in memory; use --batch-size 16$"
    ):
        run_folds(tmp_path / "out")


def test_train_refuses_folds_of_images_that_its_weights_were_trained_on(run, tmp_path):
    result, _ = run
    spec = kcnn.ModelSpec(network="stack", input_shape=(8, 8, 1), weights=result.folder)
    with pytest.raises(ValueError, match="430 of the 430 images of the folds were in the train or validation split of"):
        train(spec, DIGITS, CONFIG, out=tmp_path / "out", verbose=0)
    assert not (tmp_path / "out").exists()


def test_commands_take_a_run_with_folds_as_any_other(run, command):
    folder = str(run[0].folder)
    evaluated = command("evaluate", folder, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["accuracy"] == run[0].metrics["accuracy"]
    listed = json.loads(command("runs", folder, "--json").stdout)
    assert [(one["finished"], one["validation"]) for one in listed] == [(True, run[0].cross_validation.mean)]
    assert len(json.loads(command("runs", f"{folder}/folds", "--json").stdout)) == FOLDS
    assert command("report", folder).returncode == 0
    assert str(run[0].cross_validation) in (run[0].folder / "report.html").read_text()
    refused = command("evaluate", f"{folder}/folds/1")
    assert (refused.returncode, "a fold of a cross-validation" in refused.stderr) == (2, True)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.runs.test_folds import Stop, run_folds

training, epoch = map(int, sys.argv[2:])
kill = Stop(training, epoch, lambda: os.kill(os.getpid(), signal.SIGKILL))
run_folds(Path(sys.argv[1]), callbacks=[kill])
"""


@pytest.mark.every
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_train_with_folds_killed_again_and_again_ends_with_the_same_digits(run, tmp_path):
    for training, epoch, code in ((0, 1, -9), (1, 0, -9), (1, 2, -9), (0, 9, 0)):  # the last is not killed
        words = [sys.executable, "-c", KILLED, str(tmp_path / "out"), str(training), str(epoch)]
        done = subprocess.run(words, cwd=os.getcwd(), capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr[-2000:]
    assert read_all(tmp_path / "out") == read_all(run[0].folder)
