"""Searches in several processes, and killed ones: nothing is lost, and the result is that of one process."""

import os
import signal

import pytest

from kcnn.search.journal import Journal
from tests.runs.search_processes import list_processes, start, wait_until
from tests.runs.searches import read_rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    assert process.wait() == 0, process.stderr.read()
    return read_rows(folder)


@pytest.mark.every
def test_search_killed_in_a_trial_resumes_to_the_same_result(undisturbed, tmp_path):
    for moment in (
        "trials/0000/checkpoints/epoch-00001.safetensors",
        "trials/0001/checkpoints/epoch-00002.safetensors",
    ):
        process = start(tmp_path)
        wait_until((tmp_path / moment).exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(tmp_path)
    assert process.wait() == 0, process.stderr.read()
    assert read_rows(tmp_path) == undisturbed
    starts = [t.starts for t in Journal(tmp_path).trials]
    assert starts[2:] == [1, 1]


@pytest.fixture(scope="module")
def undisturbed_tpe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed_tpe")
    process = start(folder, tuner="optuna:tpe", trials=7)
    assert process.wait() == 0, process.stderr.read()
    return read_rows(folder)


@pytest.mark.every
def test_search_with_optuna_killed_in_a_trial_resumes_to_the_same_result(undisturbed_tpe, tmp_path):
    for moment in (
        "trials/0001/checkpoints/epoch-00001.safetensors",
        "trials/0006/checkpoints/epoch-00002.safetensors",  # the first that TPE proposes is 5
    ):
        process = start(tmp_path, tuner="optuna:tpe", trials=7)
        wait_until((tmp_path / moment).exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(tmp_path, tuner="optuna:tpe", trials=7)
    assert process.wait() == 0, process.stderr.read()
    assert read_rows(tmp_path) == undisturbed_tpe


@pytest.mark.every
def test_search_with_optuna_and_two_workers_resumes_after_chief_and_worker_are_killed(tmp_path):
    process = start(tmp_path, tuner="optuna:tpe", trials=7, workers=2)
    journal = tmp_path / "journal.jsonl"
    for name, starts in (("KERASTUNER_TUNER_ID=worker-0", 2), ("KERASTUNER_TUNER_ID=chief", 4)):
        wait_until(lambda least=starts: journal.exists() and journal.read_text().count('"start"') >= least, process)
        for one in list_processes(tmp_path):
            with open(f"/proc/{one}/environ") as file:
                if name in file.read():
                    os.kill(int(one), signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    found = Journal(tmp_path).trials
    assert [t.number for t in found] == list(range(7))
    assert {t.status for t in found} == {"ok"}
    assert not list_processes(tmp_path), "chief and workers are gone"


@pytest.mark.every
def test_search_with_two_workers_of_which_one_is_killed_restarts_one_trial_at_most(undisturbed, tmp_path):
    process = start(tmp_path, workers=2)
    journal = tmp_path / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_text().count('"start"') >= 2, process)
    for one in list_processes(tmp_path):
        with open(f"/proc/{one}/environ") as file:
            if "KERASTUNER_TUNER_ID=worker-0" in file.read():
                os.kill(int(one), signal.SIGKILL)
    assert process.wait() == 0, process.stderr.read()
    found = Journal(tmp_path).trials
    assert len({t.worker for t in found}) == 2
    assert sum(t.starts > 1 for t in found) <= 1
    by_number = sorted(read_rows(tmp_path), key=lambda row: row["trial"])
    assert [row["values"] for row in by_number] == [row["values"] for row in undisturbed]
    assert [row["score"] for row in by_number] == pytest.approx([row["score"] for row in undisturbed], abs=0.02)
    assert not list_processes(tmp_path), "chief and workers are gone"


@pytest.mark.every
def test_search_joins_a_search_on_another_machine_by_the_address_of_its_chief(undisturbed, tmp_path):
    from kcnn.distribute.processes import find_free_addresses

    port = int(find_free_addresses(1)[0].rpartition(":")[2])
    first = start(tmp_path / "first", port=port)
    other = start(tmp_path / "other", chief=f"127.0.0.1:{port}")
    assert other.wait() == 0, other.stderr.read()
    assert first.wait() == 0, first.stderr.read()
    found = Journal(tmp_path / "first").trials
    assert [row["values"] for row in read_rows(tmp_path / "first")] == [row["values"] for row in undisturbed]
    assert len(list(tmp_path.glob("*/trials/*/history.csv"))) == len(found)
    assert not (tmp_path / "other" / "trials.csv").exists(), "the chief writes the tables"


@pytest.mark.every
def test_search_with_a_process_per_trial_has_the_same_result(undisturbed, tmp_path):
    process = start(tmp_path, process_per_trial=True)
    assert process.wait() == 0, process.stderr.read()
    assert read_rows(tmp_path) == undisturbed
