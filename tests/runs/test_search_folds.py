"""Searches whose trials are scored by the mean over folds, and that resume inside a fold to the last digit."""

import gc
import json
import os
import signal
import subprocess
import sys
import weakref
from statistics import fmean

import keras
import pytest

from kcnn.reports.search_page import write_search_report
from kcnn.search import rerun_trial, search, trial
from kcnn.search.journal import Journal
from kcnn.training.job import build_training_model
from kcnn.training.run_directory import UNLIKE, read_history
from tests.runs import small  # makes two CPU devices, before TensorFlow starts
from tests.runs.searches import SPACE, make_config, read_rows, search_with

FOLDS, EPOCHS, DIGITS = 2, 3, "digits:0-2"
VALUES = {
    "folds": FOLDS,
    "epochs": EPOCHS,
    "trials": 2,
    "reduction_factor": 2,
    "recipe_overrides": {"ema_momentum": 0.9},
}


def run_search(out, callbacks=(), strategy="auto"):
    return search(
        SPACE, DIGITS, make_config(**VALUES, strategy=strategy), out=out, callbacks=callbacks, log=lambda text: None
    )


def read_folds(folder, number):
    """What a seed fixes of the histories of a trial's folds."""
    folders = [folder / "trials" / f"{number:04}" / "folds" / str(i + 1) for i in range(FOLDS)]
    return [[{k: v for k, v in row.items() if k not in UNLIKE} for row in read_history(one)] for one in folders]


def read_all(folder):
    return read_rows(folder), [read_folds(folder, number) for number in range(VALUES["trials"])]


class Stop(keras.callbacks.Callback):
    """End a search at the second step of an epoch of a fold, both counted over all trials."""

    def __init__(self, number, stop):
        super().__init__()
        self.number, self.stop, self.count = number, stop, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.count += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.count == self.number and batch == 1:
            self.stop()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run_search(tmp_path_factory.mktemp("search") / "out")


def test_search_with_folds_scores_a_trial_by_the_mean_of_each_epoch(done):
    for one in done.trials:
        rows = read_folds(done.folder, one.number)
        assert {len(fold) for fold in rows} == {one.epochs}
        means = [fmean(fold[epoch]["val_accuracy"] for fold in rows) for epoch in range(one.epochs)]
        assert one.scores == means
        assert one.fold_scores == [fold[-1]["val_accuracy"] for fold in rows]
        assert one.score == fmean(one.fold_scores)
    ends = [event for event in Journal(done.folder, read_only=True).events if event["event"] == "end"]
    assert [event["fold_scores"] for event in ends] == [one.fold_scores for one in done.trials]
    assert (done.folder / "trials.csv").read_text().startswith("trial,status,score,fold 1,fold 2,")


def test_search_with_folds_reports_that_scores_are_means_and_how_to_train_the_best(done):
    page = write_search_report(done.folder).read_text()
    assert "The score of a trial is the mean over 2 folds of the train and validation images." in page
    assert "--folds 2" in page


@pytest.mark.every
def test_rerun_trial_with_folds_reproduces_the_mean(done):
    assert rerun_trial(done.folder, 0, log=lambda text: None).same


def test_search_with_folds_refuses_another_number_of_folds_and_shows_it(done):
    with pytest.raises(ValueError, match=r"holds another search \(config.train.folds 2, not 3\)"):
        search(SPACE, DIGITS, make_config(**VALUES), folds=3, out=done.folder, log=lambda text: None)


@pytest.mark.every
def test_search_with_folds_stopped_inside_a_fold_resumes_to_the_last_digit(done, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(tmp_path / "out", [Stop(4, interrupt)])  # the second epoch of the second fold of the first trial
    assert [len(fold) for fold in read_folds(tmp_path / "out", 0)] == [2, 1]
    run_search(tmp_path / "out")
    assert read_all(tmp_path / "out") == read_all(done.folder)


class CountModels(keras.callbacks.Callback):
    """Count the training models in memory whenever a fold begins an epoch."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.built, self.counts = [], []
        monkeypatch.setattr("kcnn.search.trial.build_training_model", self.build)

    def build(self, job):
        model = build_training_model(job)
        self.built.append(weakref.ref(model))
        return model

    def on_epoch_begin(self, epoch, logs=None):
        gc.collect()
        self.counts.append(sum(one() is not None for one in self.built))


def test_search_with_folds_has_one_model_in_memory_and_builds_it_once_per_fold(done, tmp_path, monkeypatch):
    counted = CountModels(monkeypatch)
    run_search(tmp_path / "out", [counted])
    assert set(counted.counts) == {1}
    assert len(counted.built) == FOLDS * VALUES["trials"]
    assert read_all(tmp_path / "out") == read_all(done.folder)


@pytest.mark.every
def test_search_with_folds_that_are_compiled_apart_has_the_same_scores(done, tmp_path, monkeypatch):
    """As where they differ in steps or class weights: a fold then has a new model in every epoch."""
    monkeypatch.setattr(trial, "_describe_compilation", lambda job: job.out)
    counted = CountModels(monkeypatch)
    run_search(tmp_path / "out", [counted])
    assert set(counted.counts) == {1}
    assert len(counted.built) == FOLDS * sum(one.epochs for one in done.trials)
    assert read_all(tmp_path / "out") == read_all(done.folder)


@pytest.mark.every
def test_search_with_folds_on_two_devices_scores_like_one_and_resumes_alike(done, mirrored, tmp_path, monkeypatch):
    from kcnn.training import devices

    assert small.BATCH  # imported before TensorFlow starts
    monkeypatch.setattr(devices, "make_strategy", lambda name: mirrored)
    complete = run_search(tmp_path / "complete", strategy="mirrored")
    for one, other in zip(complete.trials, done.trials, strict=True):
        assert one.fold_scores == pytest.approx(other.fold_scores, abs=0.05)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(tmp_path / "out", [Stop(4, interrupt)], strategy="mirrored")
    assert [len(fold) for fold in read_folds(tmp_path / "out", 0)] == [2, 1]
    run_search(tmp_path / "out", strategy="mirrored")
    assert read_all(tmp_path / "out") == read_all(complete.folder)


def test_search_counts_the_epochs_of_every_fold_in_its_budget(tmp_path, monkeypatch):
    def run_at_once(settings, number, candidate, *, epochs, should_continue, resume_from=None):
        for epoch in range(1, epochs + 1):
            should_continue(epoch, 0.5)
        return trial.Outcome("ok", 1.0, {"fold 1": 0.4, "fold 2": 0.6})

    monkeypatch.setattr("kcnn.search.trial.run_trial", run_at_once)
    budget = {"total_epochs": 12, "epochs": 3, "reduction_factor": 0}
    assert len(search_with(SPACE, DIGITS, tmp_path / "one", **budget).trials) == 4
    assert len(search_with(SPACE, DIGITS, tmp_path / "two", **budget, folds=2).trials) == 2


@pytest.mark.every
def test_search_with_folds_continues_each_fold_of_a_promoted_trial(tmp_path):
    result = search_with(SPACE, DIGITS, tmp_path, tuner="hyperband", folds=FOLDS, epochs=3, trials=4)
    promoted = next(one for one in result.trials if one.promoted_from is not None)
    before = read_folds(tmp_path, promoted.promoted_from)
    assert [
        fold[: len(rows)] for fold, rows in zip(read_folds(tmp_path, promoted.number), before, strict=True)
    ] == before
    assert promoted.epochs == 3 > len(before[0])


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.runs.test_search_folds import Stop, run_search

kill = Stop(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL))
run_search(Path(sys.argv[1]), [kill])
"""


@pytest.mark.every
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_search_with_folds_killed_again_and_again_ends_with_the_same_digits(done, tmp_path):
    for number, code in ((2, -9), (4, -9), (99, 0)):  # the last is not killed
        words = [sys.executable, "-c", KILLED, str(tmp_path / "out"), str(number)]
        ended = subprocess.run(words, cwd=os.getcwd(), capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr[-2000:]
    assert read_all(tmp_path / "out") == read_all(done.folder)


@pytest.mark.every
def test_search_with_folds_in_a_process_per_trial_has_the_same_scores(done, tmp_path):
    config = make_config(**VALUES, process_per_trial=True)
    result = search(SPACE, DIGITS, config, out=tmp_path / "out", log=lambda text: None)
    assert [one.fold_scores for one in result.trials] == [one.fold_scores for one in done.trials]
    assert json.loads((tmp_path / "out" / "search.json").read_text())["request"]["config"]["train"]["folds"] == FOLDS
