"""Searches that are stopped, damaged and asked for again: the same result, and another request is refused."""

import errno
import json
import os

import pytest

import kcnn
from kcnn.search import job
from kcnn.search.config import TUNERS
from kcnn.search.journal import Journal
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.samplers.sampler import NoProposal
from kcnn.search.space import (
    Space,
)
from kcnn.training.run_directory import lock_folder
from tests.runs.searches import SPACE, STACK, make_config, read_rows, search_with


@pytest.mark.parametrize("tuner", TUNERS)
def test_search_killed_after_any_event_resumes_to_the_same_result(tuner, digits, pretended, tmp_path):
    values = {"epochs": 3, "tuner": tuner, "trials": 12}
    search_with(SPACE, digits, tmp_path / "complete", **values)
    lines = (tmp_path / "complete" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number in (1, 2, 3, 8, 13, 18, len(lines) - 1):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        (folder / "search.json").write_bytes((tmp_path / "complete" / "search.json").read_bytes())
        (folder / "journal.jsonl").write_bytes(
            b"".join(lines[:number]) + lines[number][:20]
        )  # the next line is truncated
        ended = {t.number for t in Journal(folder, read_only=True).trials}
        pretended.clear()
        search_with(SPACE, digits, folder, **values)
        assert not ended & {number for number, _, _ in pretended}, "no completed trial is repeated"
        assert read_rows(folder) == read_rows(tmp_path / "complete")


@pytest.mark.parametrize("change", ["deleted", "repeated", "exchanged"])
def test_journal_takes_a_missing_or_repeated_line_for_damaged(change, digits, pretended, tmp_path):
    search_with(SPACE, digits, tmp_path / "complete", trials=5)
    lines = (tmp_path / "complete" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    changed = {
        "deleted": lines[:2] + lines[3:],
        "repeated": [*lines[:2], lines[1], *lines[2:]],
        "exchanged": [*lines[:2], lines[3], lines[2], *lines[4:]],
    }[change]
    folder = tmp_path / change
    folder.mkdir()
    (folder / "search.json").write_bytes((tmp_path / "complete" / "search.json").read_bytes())
    (folder / "journal.jsonl").write_bytes(b"".join(changed))
    with pytest.warns(UserWarning, match=rf"line 3 of {len(changed)} is damaged; the search resumes after the events"):
        search_with(SPACE, digits, folder, trials=5)
    assert read_rows(folder) == read_rows(tmp_path / "complete")
    assert (folder / "journal-damaged.jsonl").read_bytes() == b"".join(changed)


@pytest.mark.parametrize("tuner", ["hyperband", "optuna:tpe", "optuna:nsga2"])
def test_search_replays_a_tuner_up_to_a_damaged_line(tuner, digits, pretended, tmp_path):
    values = {"tuner": tuner, "trials": 12, "epochs": 3}
    search_with(SPACE, digits, tmp_path / "complete", **values)
    lines = (tmp_path / "complete" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "search.json").write_bytes((tmp_path / "complete" / "search.json").read_bytes())
    (folder / "journal.jsonl").write_bytes(b"".join([*lines[:15], lines[15][:9] + b"x" + lines[15][10:], *lines[16:]]))
    with pytest.warns(UserWarning, match="line 16 of 24 is damaged; the search resumes after the events"):
        search_with(SPACE, digits, folder, **values)
    assert read_rows(folder) == read_rows(tmp_path / "complete")


def test_optuna_sampler_restores_trials_of_tpe_without_asking_for_them_again(digits, pretended, tmp_path, monkeypatch):
    """To ask again would take a minute for 300 trials; that the sampler goes on alike is tested above."""
    search_with(SPACE, digits, tmp_path, tuner="optuna:tpe", trials=8)
    config = make_config(tuner="optuna:tpe", trials=8)
    space = job.prepare_search(SPACE, digits, config, out=tmp_path).space
    monkeypatch.delattr("optuna.study.Study.ask")
    restored = open_scheduler(space, config, tmp_path).sampler.study.trials
    told = [(one.state.name, one.params["conv1.kernel"], one.params["learning_rate"]) for one in restored]
    assert told == [
        ("COMPLETE" if t.status == "ok" else "PRUNED", json.dumps(t.values["conv1.kernel"]), t.values["learning_rate"])
        for t in Journal(tmp_path).trials
    ]


@pytest.mark.parametrize("tuner", ["random", "optuna:tpe"])
def test_scheduler_on_a_full_disk_loses_no_event_before_it(tuner, digits, pretended, tmp_path, monkeypatch):
    values = {"tuner": tuner, "trials": 8}
    search_with(SPACE, digits, tmp_path / "complete", **values)
    fsync, calls = os.fsync, iter(range(1000))

    def fill(descriptor):
        if next(calls) == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("kcnn.search.journal.os.fsync", fill)
        with pytest.raises(OSError, match="No space left"):
            search_with(SPACE, digits, tmp_path / "full", **values)
    assert len(Journal(tmp_path / "full", read_only=True).events) == 9
    search_with(SPACE, digits, tmp_path / "full", **values)
    assert read_rows(tmp_path / "full") == read_rows(tmp_path / "complete")


def test_scheduler_gives_a_trial_again_to_the_worker_that_was_killed_and_then_to_none(digits, tmp_path):
    config = make_config(tuner="optuna:tpe", trials=3)
    prepared = job.prepare_search(SPACE, digits, config, out=tmp_path)
    scheduler = open_scheduler(prepared.space, config, tmp_path)
    first, other = scheduler.ask("a"), scheduler.ask("b")
    assert scheduler.ask("a") == first
    again = scheduler.ask("a")  # it kills its process each time
    assert again.number == 2
    assert scheduler.journal.trials[0].status == "out_of_memory"
    assert scheduler.tell(other.number, 1, 0.5)
    scheduler.end(other.number, "ok", 1.0)
    scheduler.end(other.number, "ok", 1.0)  # reported twice
    assert scheduler.ask("b") is NoProposal.STOP
    assert [t.number for t in scheduler.journal.trials] == [0, 1]


def test_scheduler_takes_the_end_of_a_trial_whose_worker_outlived_the_chief(digits, tmp_path):
    config = make_config(tuner="optuna:tpe", trials=2)
    prepared = job.prepare_search(SPACE, digits, config, out=tmp_path)
    first = open_scheduler(prepared.space, config, tmp_path).ask("a")
    again = open_scheduler(prepared.space, config, tmp_path)
    again.tell(first.number, 1, 0.5)
    again.end(first.number, "ok", 1.0)
    assert again.ask("a").number == 1
    assert again.journal.trials[0].worker == "a"


def test_search_continues_with_a_larger_budget_and_rejects_another_space_with_the_difference(
    digits, pretended, tmp_path
):
    search_with(SPACE, digits, tmp_path, trials=4)
    first = read_rows(tmp_path)
    assert len(search_with(SPACE, digits, tmp_path, trials=6).trials) == 6
    assert read_rows(tmp_path)[:4] == first
    other = Space(STACK, {**SPACE.choices, "depth": (2, 4)}, training=SPACE.training)
    with pytest.raises(ValueError, match=r"holds another search \(.*depth.*\[2, 3\], not \[2, 4\]"):
        search_with(other, digits, tmp_path, trials=6)
    with pytest.raises(ValueError, match=r"config\.train\.recipe\.batch_size 32, not 16"):
        search_with(SPACE, digits, tmp_path, trials=6, batch_size=16)


OTHERS = {
    "objective": ({"objective": "loss"}, r"config.objective 'accuracy', not 'loss'"),
    "objectives": ({"objective": ["auto", "-macs"]}, r"config.objective 'accuracy', not \['auto', '-macs'\]"),
    "folds": ({"folds": 5}, "config.train.folds None, not 5"),
    "tuner": ({"tuner": "grid"}, "config.tuner 'random', not 'grid'"),
    "precision": ({"precision": "mixed_bfloat16"}, "config.train.precision 'float32', not 'mixed_bfloat16'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_search_refuses_another_request_in_its_folder_before_the_data_is_loaded(name, pretended, tmp_path, monkeypatch):
    values, difference = OTHERS[name]
    search_with(SPACE, "digits", tmp_path, trials=1)
    monkeypatch.delattr("kcnn.search.job.load")
    with pytest.raises(ValueError, match=rf"holds another search \({difference}"):
        search_with(SPACE, "digits", tmp_path, trials=2, **{"reduction_factor": 3, **values})


def test_search_refuses_another_space_in_its_folder_before_the_data_is_loaded(pretended, tmp_path, monkeypatch):
    """The classes and the input shape are those of the data, and are no difference."""
    choices, network = {"conv1.kernel": (3, 5)}, kcnn.ModelSpec(network="stack")
    values = {"training": {"learning_rate": (1e-3, 1e-2)}}
    search_with(Space(network, choices, **values), "digits", tmp_path, trials=1)
    found = search_with(Space(network, choices, **values), "digits", tmp_path, trials=2)
    assert len(found.trials) == 2
    monkeypatch.delattr("kcnn.search.job.load")
    other = Space(network, {"conv1.kernel": (3, 7)}, **values)
    with pytest.raises(ValueError, match=r"\(space.choices.conv1.kernel.*\[3, 5\], not \[3, 7\]\); choose another"):
        search_with(other, "digits", tmp_path, trials=2)
    other = Space(network, {f"conv{n}.{name}": (1, 2) for n in (1, 2, 3) for name in ("kernel", "stride", "groups")})
    with pytest.raises(ValueError, match=r"holds another search \(space[^;]*(; space[^;]*){7}; and 2 more\); choose"):
        search_with(other, "digits", tmp_path, trials=2)
    other = Space(kcnn.ModelSpec(network="lenet5"), {"c1.kernel": (3, 5)})
    with pytest.raises(ValueError, match=r"space.spec.network 'stack', not 'lenet5'"):
        search_with(other, "digits", tmp_path, trials=2)


def test_search_rejects_a_folder_of_an_older_version(digits, pretended, tmp_path):
    (tmp_path / "search.json").write_text('{"request": {"space": {"network": "stack"}, "data": "digits"}}')
    with pytest.raises(ValueError, match="was not written by this version of kcnn; choose another folder"):
        search_with(SPACE, digits, tmp_path, trials=1)
    assert not pretended


@pytest.mark.parametrize("workers", [1, 2])
def test_search_says_who_searches_into_its_folder(digits, tmp_path, workers):
    expected = rf"another process trains into .* \(process {os.getpid()} on .*, since "
    with lock_folder(tmp_path), pytest.raises(ValueError, match=expected):
        search_with(SPACE, digits if workers == 1 else "digits", tmp_path, workers=workers)
    assert not (tmp_path / "workers.json").exists()
