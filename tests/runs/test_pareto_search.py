"""Searches with several objectives: each tuner, what the journal holds, resumption, and refusals."""

import csv
import json
import re
import signal
import subprocess
import sys

import pytest

from kcnn.data import load
from kcnn.search import job, rerun_trial, trial
from kcnn.search.config import PARETO_TUNERS, TUNERS
from kcnn.search.journal import Journal
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.space import Space
from kcnn.search.trial_folders import trial_folder
from tests.runs.search_processes import start, wait_until
from tests.runs.searches import SPACE, STACK, make_config, read_rows, search_with

TWO = ["accuracy", "-macs"]


@pytest.mark.parametrize("tuner", PARETO_TUNERS)
def test_search_by_several_objectives_killed_after_any_event_resumes_to_the_same_result(
    tuner, digits, pretended, tmp_path
):
    values = {"epochs": 3, "tuner": tuner, "trials": 16, "objective": [*TWO, "-params"]}
    complete = search_with(SPACE, digits, tmp_path / "complete", **values)
    assert {t.status for t in complete.trials} == {"ok"}, "none is stopped early"
    for one in complete.trials:
        assert one.objectives == {"accuracy": one.score, "macs": one.macs, "params": one.params}
    lines = (tmp_path / "complete" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number in (1, 8, 21, len(lines) - 1):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        (folder / "search.json").write_bytes((tmp_path / "complete" / "search.json").read_bytes())
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:number]) + lines[number][:20])
        again = search_with(SPACE, digits, folder, **values)
        assert read_rows(folder) == read_rows(tmp_path / "complete")
        assert [t.number for t in again.pareto] == [t.number for t in complete.pareto]


@pytest.mark.parametrize("tuner", ["optuna:tpe", "optuna:nsga2"])
def test_optuna_sampler_learns_all_objectives(tuner, digits, pretended, tmp_path):
    config = make_config(tuner=tuner, trials=20, objective=TWO)
    search_with(SPACE, digits, tmp_path, tuner=tuner, trials=20, objective=TWO)
    settings = job.prepare_search(SPACE, digits, config, out=tmp_path, log=lambda text: None).settings
    space = job.prepare_search(SPACE, digits, config, out=tmp_path, log=lambda text: None).space
    scheduler = open_scheduler(space, config, tmp_path, objectives=settings.objectives)
    told = [t.values for t in scheduler.sampler.study.trials if t.values is not None]
    assert told == [[t.score, -t.macs] for t in scheduler.journal.trials]
    alone = search_with(SPACE, digits, tmp_path / "alone", tuner=tuner, trials=20, reduction_factor=0)
    assert sum(t.macs for t in alone.trials) > sum(t.macs for t in scheduler.journal.trials), "costs are minimized"


@pytest.mark.parametrize("tuner", sorted(set(TUNERS) - set(PARETO_TUNERS)))
def test_search_refuses_a_tuner_of_one_objective_before_the_folder_is_touched(tuner, digits, tmp_path):
    with pytest.raises(ValueError, match=f"the tuner {tuner} takes one objective"):
        search_with(SPACE, digits, tmp_path / "none", tuner=tuner, objective=TWO)
    assert not (tmp_path / "none").exists()


def test_search_refuses_latency_without_litert_before_the_folder_is_touched(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.search.latency.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'objective -latency runs each network in LiteRT: pip install "kcnn\[litert'):
        search_with(SPACE, digits, tmp_path / "none", objective=["accuracy", "-latency"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("other", ["accuracy", ["accuracy", "-params"], ["accuracy", "-macs", "-params"]])
def test_search_refuses_other_objectives_in_its_folder_with_the_difference(other, digits, pretended, tmp_path):
    search_with(SPACE, digits, tmp_path, trials=2, objective=TWO)
    expected = re.escape(f"config.objective {TWO!r}, not {other!r}")
    with pytest.raises(ValueError, match=rf"holds another search \({expected}"):
        search_with(SPACE, digits, tmp_path, trials=2, objective=other, reduction_factor=0)
    assert len(search_with(SPACE, digits, tmp_path, trials=3, objective=TWO).trials) == 3


@pytest.mark.parametrize("keep", [0, 1])
def test_search_by_several_objectives_keeps_the_checkpoints_of_the_whole_front(
    keep, digits, pretended, tmp_path, monkeypatch
):
    pretend = trial.run_trial

    def save_and_pretend(settings, number, candidate, **values):
        (trial_folder(settings.out, number) / "checkpoints").mkdir(parents=True)
        return pretend(settings, number, candidate, **values)

    monkeypatch.setattr("kcnn.search.trial.run_trial", save_and_pretend)
    found = search_with(SPACE, digits, tmp_path, trials=16, objective=TWO, keep_checkpoints=keep)
    kept = {int(path.parent.name) for path in tmp_path.glob("trials/*/checkpoints")}
    front, best = ({one.number for one in trials} for trials in (found.pareto, found.leaderboard[:keep]))
    assert len(front) > 1
    assert kept == (front | best if keep else set())


def take_negative_class(labels, probabilities):
    return -float(probabilities.argmax(axis=-1).mean())


def test_search_measures_a_second_measure_a_function_and_the_latency(tmp_path):
    """Each with its value after the last epoch, in the process of the trial."""
    data = load("digits:0-4", input_shape=(8, 8, 1), batch_size=64)
    names = ["accuracy", "loss", take_negative_class, "-latency"]
    space = Space(STACK, {"conv1.kernel": (3, 5)})
    found = search_with(space, data, tmp_path, trials=2, epochs=2, objective=names)
    for number, one in enumerate(found.trials):
        with (tmp_path / f"trials/{number:04}/history.csv").open() as file:
            row = list(csv.DictReader(file))[-1]
        accuracy, loss, own, latency = one.objectives.values()
        assert (accuracy, loss, own) == tuple(
            float(row[name]) for name in ("val_accuracy", "val_cross_entropy", "val_objective")
        )
        assert 0.0 < latency < 100.0
    assert found.best in found.pareto
    assert rerun_trial(tmp_path, 1, data).same


@pytest.mark.every
def test_search_with_a_process_per_trial_passes_all_objectives_to_the_journal(tmp_path):
    values = {"trials": 2, "epochs": 2, "objective": ["accuracy", "macro_f1", "-macs"]}
    rows = []
    for name, apart in (("here", False), ("apart", True)):
        process = start(tmp_path / name, process_per_trial=apart, **values)
        assert process.wait() == 0, process.stderr.read()
        rows.append(read_rows(tmp_path / name))
    assert rows[0] == rows[1]
    assert all(set(row["objectives"]) == {"accuracy", "macro_f1", "macs"} for row in rows[0])


@pytest.mark.every
def test_search_by_several_objectives_killed_in_a_trial_resumes_to_the_same_result(tmp_path):
    values = {"tuner": "optuna:nsga2", "trials": 12, "epochs": 2, "objective": TWO}
    process = start(tmp_path / "undisturbed", **values)
    assert process.wait() == 0, process.stderr.read()
    for moment in ("trials/0001/checkpoints/epoch-00001.safetensors", "trials/0011/history.csv"):
        process = start(tmp_path / "killed", **values)
        wait_until((tmp_path / "killed" / moment).exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(tmp_path / "killed", **values)
    assert process.wait() == 0, process.stderr.read()
    assert read_rows(tmp_path / "killed") == read_rows(tmp_path / "undisturbed")


@pytest.mark.every
def test_cli_search_by_accuracy_and_costs_prints_the_front_and_tests_its_first(tmp_path):
    command = [sys.executable, "-c", "from kcnn.cli import main; main()", "search", "stack", "--data", "digits"]
    command += ["--input-size", "8x8x1", "--epochs", "1", "--final-seeds", "1", "--out", str(tmp_path)]
    command += ["--choice", "conv1.filters=8,16", "--trials", "3", "--tuner", "optuna:nsga2"]
    given = ["--objective", "accuracy", "--objective", "-macs", "--objective", "-latency"]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "objectives: validation accuracy, MACs, latency (batch 1); no trial is stopped early" in done.stdout
    assert "Pareto front, on the validation split: " in done.stdout
    trials = Journal(tmp_path).trials
    best = max(trials, key=lambda trial: (trial.score, -trial.macs))
    assert f"best of the front, by validation accuracy: trial {best.number}, validation accuracy" in done.stdout
    assert json.loads((tmp_path / "final.json").read_text())["trial"] == best.number
    assert "the final evaluation tests trial" in (tmp_path / "report.html").read_text()
