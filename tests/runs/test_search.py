"""Searches: proposals, budgets, resumption and refusals, with trials that do not train."""

import errno
import json
import os
import sys
from random import Random
from xml.etree import ElementTree

import keras
import keras_tuner
import numpy as np
import pytest

import kcnn
from kcnn.search import SearchConfig, hyperparameters, job, search
from kcnn.search.config import TUNERS
from kcnn.search.journal import Journal
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.samplers.sampler import NoProposal
from kcnn.search.space import (
    Limits,
    NoFeasiblePointError,
    Space,
    analyze_feasibility,
    default_space,
    per_layer,
    stack_space,
)
from kcnn.training.run_directory import lock_folder
from tests.catalogue import ONE_PER_FAMILY
from tests.paper.test_space import BITS, OPTIONAL
from tests.runs.searches import SPACE, STACK, make_config, read_rows, run_at_once, search_with


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


def test_make_sampler_names_the_extra_of_optuna(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "kcnn.search.samplers.optuna_sampler", raising=False)
    with pytest.raises(ImportError, match=r'optuna tuner needs optuna.*pip install "kcnn\[optuna\]"'):
        search_with(SPACE, digits, tmp_path, tuner="optuna:tpe", trials=1)


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


class Clock:
    """A clock that goes on by a number of seconds with each event of a journal."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, add = 1000.0, seconds, Journal.add
        monkeypatch.setattr("kcnn.search.scheduler.time", self)
        monkeypatch.setattr(Journal, "add", lambda journal, event: (self.tick(), add(journal, event)))

    def tick(self):
        self.now += self.seconds

    def monotonic(self):
        return self.now


def test_search_adds_up_the_time_in_which_it_ran_over_its_starts(digits, pretended, tmp_path, monkeypatch):
    Clock(monkeypatch, 1.0)  # a trial of two epochs has four events
    found = search_with(SPACE, digits, tmp_path, time_budget=11, reduction_factor=0)
    assert [t.epochs for t in found.trials] == [2, 2, 2]
    assert len(search_with(SPACE, digits, tmp_path, time_budget=11, reduction_factor=0).trials) == 3
    found = search_with(SPACE, digits, tmp_path, time_budget=13, reduction_factor=0)
    assert [t.epochs for t in found.trials] == [2, 2, 2, 1], "two seconds are left, for its start and an epoch"
    assert found.trials[-1].status == "pruned"


def test_search_counts_the_time_of_parallel_trials_once_and_remembers_it_after_a_kill(digits, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, 0.0)
    config = make_config(time_budget=100, reduction_factor=0)
    prepared = job.prepare_search(SPACE, digits, config, out=tmp_path)
    scheduler = open_scheduler(prepared.space, config, tmp_path)
    proposals = [scheduler.ask(worker) for worker in ("a", "b")]
    clock.now += 60
    for proposal in proposals:
        assert scheduler.tell(proposal.number, 1, 0.5), "60 s, not 120 s"
    clock.now += 1000  # killed, and started again later
    again = open_scheduler(prepared.space, config, tmp_path)
    again.ask("a")
    clock.now += 30
    assert not again.is_spent(2)
    clock.now += 20
    assert again.is_spent(2)


def test_search_ends_when_its_budget_of_trials_or_epochs_is_spent(digits, pretended, tmp_path, monkeypatch):
    found = search_with(SPACE, digits, tmp_path / "epochs", total_epochs=7, reduction_factor=0)
    assert sum(t.epochs for t in found.trials) == 7
    assert found.trials[-1].status == "pruned", "it was stopped early"
    small = Space(STACK, {"conv1.kernel": (3, 5)})
    monkeypatch.setattr("kcnn.search.trial.run_trial", run_at_once)
    assert len(search_with(small, digits, tmp_path / "all", trials=10).trials) == 2, "there are no more"


def test_search_in_several_processes_refuses_callbacks_that_would_see_no_trial(tmp_path):
    callbacks = [keras.callbacks.EarlyStopping()]
    with pytest.raises(
        ValueError, match="EarlyStopping would see no trial; remove them, or run trials in this process"
    ):
        search(SPACE, "digits", make_config(process_per_trial=True), out=tmp_path / "out", callbacks=callbacks)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_search_says_who_searches_into_its_folder(digits, tmp_path, workers):
    expected = rf"another process trains into .* \(process {os.getpid()} on .*, since "
    with lock_folder(tmp_path), pytest.raises(ValueError, match=expected):
        search_with(SPACE, digits if workers == 1 else "digits", tmp_path, workers=workers)
    assert not (tmp_path / "workers.json").exists()


def test_analyze_feasibility_estimates_a_large_space_with_an_interval_that_contains_the_fraction():
    choices = {"conv1_1.stride": (1, 2), "pool1.padding": ("same", "valid"), "pool*.kernel": (2, 3)}
    spec = kcnn.ModelSpec(network="vgg11", classes=10, input_shape=(48, 48, 3))
    exact = analyze_feasibility(Space(spec, choices))
    known = Space(spec, {**choices, "conv*.bias": per_layer(True, False)})  # 256 times as many
    found = analyze_feasibility(known, samples=200)
    assert not found.exact
    assert found.combinations == 256 * exact.combinations
    assert found.low <= exact.feasible_fraction <= found.high


def test_search_of_a_space_without_a_feasible_point_trains_nothing(digits, pretended, tmp_path):
    space = Space(STACK, {"conv1.kernel": (3, 5)}, limits=Limits(max_params=10))
    with pytest.raises(NoFeasiblePointError, match="max_params"):
        search_with(space, digits, tmp_path / "none")
    assert not pretended
    assert not (tmp_path / "none").exists()


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


def check_default_space(network):
    space = default_space(network)
    assert space.has_default
    random = Random(0)
    points = [space.sample_point(random) for _ in range(200)]
    most = {"kernel": 0, "stride": 0}  # padding is left out where all that fits computes the same
    for choice in space.network_choices:
        feasible = {point[choice.name] for point in points if space.check(point).identity is not None}
        kind = choice.name.rpartition(".")[2]
        most[kind] = max(most.get(kind, 0), len(feasible))
    assert min(most.values()) >= 2, most
    assert analyze_feasibility(space, samples=200).feasible_fraction >= 0.2


WINDOWED = [name for name in ONE_PER_FAMILY if name != "mlp"]  # which has no windows
FAMILIES = ["alexnet", "googlenet", "inception_v3", "mobilenet_v2", "resnet18", "resnet20", "vgg11", "stack"]


@pytest.mark.parametrize("network", FAMILIES)
def test_default_space_has_kernels_and_strides_and_is_feasible_to_a_fifth(network):
    check_default_space(network)


@pytest.mark.every
@pytest.mark.parametrize("network", [name for name in WINDOWED if name not in FAMILIES])
def test_default_space_of_every_family_has_kernels_and_strides_and_is_feasible_to_a_fifth(network):
    check_default_space(network)


def test_stack_space_is_searched_in_its_depth(digits, pretended, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.search.trial.run_trial", run_at_once)
    found = search_with(stack_space(STACK, depth=(1, 2)), digits, tmp_path, trials=10)
    assert {t.values["depth"] for t in found.trials} == {1, 2}


def test_hyperparameters_keep_choices_that_need_several_options():
    space = Space(OPTIONAL, {**BITS, "both.kernel": (1, 3)})
    hp = keras_tuner.HyperParameters()
    hyperparameters.register(hp, space, space.default)
    assert {one.name for one in hp.space} >= {"a", "b", "both.kernel"}
    for a, b in ((0, 1), (1, 0), (1, 1)):
        values = {"a": a, "b": b, "both.kernel": 3}
        assert ("both.kernel" in hyperparameters.decode_values(space, values)) == (a == b == 1)
