"""Searches that really train: what they leave, and that nothing is lost whatever is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kcnn import data
from kcnn.search import rerun_trial, run, search, trial
from kcnn.search.journal import Journal
from kcnn.search.space import Space
from tests.runs import small  # makes two CPU devices, before TensorFlow starts
from tests.runs.browser import needs_chromium, opened
from tests.runs.searches import FEW, SPACE, rows


@pytest.fixture(scope="module")
def real(digits, tmp_path_factory):
    """A small search that really trains, retrains and tests."""
    folder = tmp_path_factory.mktemp("real")
    return search(
        SPACE, digits, out=folder, trials=4, epochs=2, final_seeds=2, keep_checkpoints=2, log=lambda text: None
    ), folder


def test_a_search_leaves_a_notebook_of_every_trial(real):
    found, folder = real
    with (folder / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(found.trials) == 4
    wanted = {"trial", "status", "score", "seed", "params", "macs", "receptive_field", "seconds", "epochs", "scores"}
    assert wanted | {choice.name for choice in SPACE.all_choices} <= set(table[0])
    assert all(len(row["scores"].split()) == int(row["epochs"]) for row in table)
    assert table[0]["params"] == "24058", "the network as it is"


def test_the_best_is_trained_on_train_and_validation_and_tested_once(real, digits):
    found, folder = real
    assert found.final.trial == found.best.number
    best = found.final.sides[0]
    metrics = json.loads((folder / best.folders[0] / "metrics.json").read_text())
    whole = len(digits.splits["train"]) + len(digits.splits["validation"])
    assert metrics["images"] == {"train": whole, "test": len(digits.splits["test"])}
    assert metrics["accuracy"] == best.accuracies[0]
    assert metrics["validation_accuracy"] is None
    assert len(best.accuracies) == 2
    assert len(list(folder.rglob("metrics.json"))) == 2 * len(found.final.sides), "no trial was tested"


def test_a_larger_budget_that_finds_another_best_tests_that_one(real, digits):
    from kcnn.search.final_evaluation import run_final_evaluation

    found, folder = real
    other = next(t for t in found.trials if t.number != found.best.number and t.score is not None)
    settled = run.prepare_search(SPACE, digits, out=folder, **FEW)
    again = run_final_evaluation(settled.space, settled.setting, other, 1)
    assert again.trial == other.number
    assert {side.name for side in again.contenders} <= {"best", "default"}


def test_where_the_network_as_it_is_wins_it_is_not_compared_with_itself(real, digits):
    from kcnn.search.final_evaluation import run_final_evaluation

    found, folder = real
    settled = run.prepare_search(SPACE, digits, out=folder, **FEW)
    first = run_final_evaluation(settled.space, settled.setting, found.trials[0], 1)
    assert [side.name for side in first.contenders] == ["best"]
    assert str(first).endswith("the best in validation is the network as it is")


def test_no_more_checkpoints_stay_than_were_asked_for(real):
    assert len(list(real[1].glob("trials/*/checkpoints"))) == 2


def test_a_trial_played_again_comes_to_the_same_score(real, digits):
    found, folder = real
    number = next(t.number for t in found.trials if t.epochs == 2)
    again = rerun_trial(folder, number, digits)
    assert again.same
    with pytest.raises(ValueError, match="no trial 99"):
        rerun_trial(folder, 99, digits)
    other = data.load("digits:0-4", input_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="10 classes"):
        rerun_trial(folder, number, other)


def test_the_command_searches_and_writes_a_page(tmp_path):
    words = [
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
    kcnn = [sys.executable, "-c", "from kcnn.cli import main; main()"]
    given = ["--choice", "conv1.kernel=3,5,3x5", "--recipe-choice", "learning_rate=1e-3..1e-2,log", "--out", str(tmp_path)]
    done = subprocess.run([*kcnn, *words, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 points, 3 feasible" in done.stdout
    assert "2 trials: 2 ok" in done.stdout
    done = subprocess.run([*kcnn, "report", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (tmp_path / "report.html").exists(), done.stderr
    done = subprocess.run([*kcnn, *words, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "holds another search" in done.stderr


def test_the_page_of_a_search_stands_by_itself(real):
    from kcnn.reports.search_page import write_search_report

    page = write_search_report(real[1]).read_text()
    assert "<script src" not in page
    assert "<link" not in page
    for words in ("Leaderboard", "Score by epoch", "Pareto front", "as it is", "parameters", "points, "):
        assert words in page


@needs_chromium
def test_the_page_of_a_search_fits_a_phone_and_the_dark(real):
    from kcnn.reports.search_page import write_search_report

    with opened(write_search_report(real[1]), 390, "dark") as tab:
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
        assert tab.locator(".figure svg").count() >= 4


def test_trials_that_die_are_told_apart_and_the_search_goes_on(digits, tmp_path, monkeypatch):
    made = trial.build_training_model
    calls = iter(range(100))

    def dying(job):
        number = next(calls)
        if number == 1:
            raise MemoryError
        if number == 2:
            raise RuntimeError("a bug in a plugin's layer")
        return made(job)

    monkeypatch.setattr("kcnn.search.trial.build_training_model", dying)
    space = Space("stack", {"conv1.kernel": (3, 5, 7)}, input_shape=(8, 8, 1), training={"learning_rate": (1e-3, 1e30)})
    found = search(
        space,
        digits,
        out=tmp_path,
        tuner="grid",
        trials=4,
        recipe_overrides={"optimizer": "sgd"},
        reduction_factor=0,
        **FEW,
    )
    by_number = {t.number: t for t in found.trials}
    assert [by_number[n].status for n in range(3)] == ["ok", "out_of_memory", "error"]
    assert by_number[3].status == "diverged", by_number[3].values
    assert "a bug in a plugin's layer" in (tmp_path / "trials" / "0002" / "traceback.txt").read_text()
    assert found.best.number == 0


SCRIPT = """
import sys
from kcnn.search import search
from tests.runs.searches import SPACE

if __name__ == "__main__":
    words = dict(word.split("=") for word in sys.argv[3:])
    search(SPACE, "digits", out=sys.argv[1], trials=4, epochs=3, seeds=0, batch_size=64, reduction_factor=0,
           workers=int(sys.argv[2]), process_per_trial="isolate" in words, chief=words.get("chief"),
           port=int(words["port"]) if "port" in words else None)
"""


def started(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", SCRIPT, str(folder), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def processes(folder):
    command = ["pgrep", "-f", f"kcnn.search.workers {folder}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def until(condition, process, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = started(folder, "1")
    assert process.wait() == 0, process.stderr.read()
    return rows(folder)


def test_a_search_that_is_killed_goes_on_to_the_same_result(undisturbed, tmp_path):
    for moment in (
        "trials/0000/checkpoints/epoch-00001.safetensors",
        "trials/0001/checkpoints/epoch-00002.safetensors",
    ):
        process = started(tmp_path, "1")
        until((tmp_path / moment).exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = started(tmp_path, "1")
    assert process.wait() == 0, process.stderr.read()
    assert rows(tmp_path) == undisturbed
    starts = [t.starts for t in Journal(tmp_path).trials]
    assert starts[2:] == [1, 1]


@pytest.mark.every
def test_two_workers_share_a_search_and_one_that_is_killed_costs_one_trial_at_most(undisturbed, tmp_path):
    process = started(tmp_path, "2")
    journal = tmp_path / "journal.jsonl"
    until(lambda: journal.exists() and journal.read_text().count('"start"') >= 2, process)
    workers = subprocess.run(
        ["pgrep", "-f", f"kcnn.search.workers {tmp_path}"], capture_output=True, text=True, check=True
    )
    for one in workers.stdout.split():
        with open(f"/proc/{one}/environ") as file:
            if "KERASTUNER_TUNER_ID=worker-0" in file.read():
                os.kill(int(one), signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    found = Journal(tmp_path).trials
    assert len({t.worker for t in found}) == 2
    assert sum(t.starts > 1 for t in found) <= 1
    by_number = sorted(rows(tmp_path), key=lambda row: row["trial"])
    assert [row["values"] for row in by_number] == [row["values"] for row in undisturbed]
    assert [row["score"] for row in by_number] == pytest.approx([row["score"] for row in undisturbed], abs=0.02)
    assert not processes(tmp_path), "chief and workers are gone"


@pytest.mark.every
def test_a_worker_of_another_machine_joins_by_the_chiefs_address(undisturbed, tmp_path):
    from kcnn.distribute.processes import find_free_addresses

    port = find_free_addresses(1)[0].rpartition(":")[2]
    first = started(tmp_path / "first", "1", f"port={port}")
    other = started(tmp_path / "other", "1", f"chief=127.0.0.1:{port}")
    assert other.wait() == 0, other.stderr.read()
    assert first.wait() == 0, first.stderr.read()
    found = Journal(tmp_path / "first").trials
    assert [row["values"] for row in rows(tmp_path / "first")] == [row["values"] for row in undisturbed]
    assert len(list(tmp_path.glob("*/trials/*/history.csv"))) == len(found)
    assert not (tmp_path / "other" / "trials.csv").exists(), "the chief has the notebook"


@pytest.mark.every
def test_a_process_for_each_trial_gives_the_same_search(undisturbed, tmp_path):
    process = started(tmp_path, "1", "isolate=yes")
    assert process.wait() == 0, process.stderr.read()
    assert rows(tmp_path) == undisturbed


@pytest.mark.every
def test_memory_does_not_grow_with_fifty_trials_in_one_process(digits, tmp_path):
    used = []
    search(
        SPACE,
        digits,
        out=tmp_path,
        trials=50,
        **{**FEW, "epochs": 1},
        on_trial_end=lambda t: used.append(psutil.Process().memory_info().rss),
    )
    assert len(used) == 50
    assert used[-1] - used[9] < 80e6, "a graph that stays in memory is 10 MB"


@pytest.mark.every
def test_replicas_inside_a_trial_come_to_the_scores_of_one_device(digits, mirrored, tmp_path, monkeypatch):
    from kcnn.training import devices

    assert small.BATCH  # it was imported in time
    own = devices.make_strategy
    monkeypatch.setattr(devices, "make_strategy", lambda word: mirrored if word == "mirrored" else own(word))
    scores = []
    for strategy in ("single", "mirrored"):
        found = search(SPACE, digits, out=tmp_path / strategy, trials=2, strategy=strategy, batch_size=64, **FEW)
        scores.append([t.score for t in found.trials])
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
