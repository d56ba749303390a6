"""The Pareto front of a search: computed by hand, printed, and on the page; and what is refused."""

import json

import pytest

from kcnn.reports.search_page import write_search_report
from kcnn.search import SearchConfig, SearchResult
from kcnn.search.journal import Journal, Trial
from kcnn.search.objectives import Objective, read_objectives, resolve_objectives
from kcnn.search.pareto import find_front
from kcnn.search.result import find_best_trial, read_request
from tests.paper.test_objectives import count_hits, make_data
from tests.paper.test_search_page import SPACE, read_text
from tests.paper.test_words import phrases_in

ACCURACY, MACS, PARAMS, LATENCY = map(Objective, ("accuracy", "-macs", "-params", "-latency"))
POINTS = [  # accuracy, MACs, parameters, milliseconds, status
    (0.80, 200, 10, 0.5, "ok"),
    (0.90, 300, 40, 0.5, "ok"),
    (0.90, 400, 20, 0.5, "ok"),  # as accurate as 1, and dearer in MACs only
    (0.70, 100, 30, 0.5, "ok"),
    (0.70, 100, 30, 0.5, "ok"),  # equal to 3: neither is better
    (0.75, 250, 50, 0.4, "ok"),  # less accurate than 0, and dearer but in time
    (0.99, 50, 5, 0.1, "pruned"),  # after fewer epochs
    (None, 10, 1, 0.1, "diverged"),
]


def make_trials():
    trials = []
    for number, (score, macs, params, latency, status) in enumerate(POINTS):
        values = {"accuracy": score, "macs": macs, "params": params, "latency_ms": latency}
        trials.append(
            Trial(
                number,
                status,
                {**SPACE.default, "conv1.kernel": 3 + 2 * (number % 2)},
                score,
                [] if score is None else [score],
                2 if status == "ok" else 1,
                seed=0,
                params=params,
                macs=macs,
                receptive_field=9,
                seconds=1.0,
                worker="0",
                objectives={} if score is None else values,
            )
        )
    return trials


@pytest.mark.parametrize(
    ("objectives", "numbers"),
    [
        ((ACCURACY,), [1, 2]),
        ((ACCURACY, MACS), [1, 0, 3, 4]),
        ((ACCURACY, PARAMS), [2, 0]),
        ((ACCURACY, MACS, PARAMS), [1, 2, 0, 3, 4]),
        ((ACCURACY, LATENCY), [1, 2, 5]),
        ((ACCURACY, MACS, PARAMS, LATENCY), [1, 2, 0, 5, 3, 4]),
    ],
)
def test_search_result_has_the_pareto_front_of_complete_trials_the_best_first(objectives, numbers, tmp_path):
    trials = make_trials()
    best = find_best_trial(trials, objectives)
    result = SearchResult(tmp_path, trials, best, None, objectives[0], objectives[1:])
    assert [trial.number for trial in result.pareto] == numbers
    assert best == result.pareto[0] == result.leaderboard[0], "also where several are as accurate"
    assert find_front([], objectives) == []


def test_find_front_minimizes_a_loss():
    losses = [Trial(**{**vars(t), "score": -t.score, "objectives": {}}) for t in make_trials()[:4]]
    assert [t.number for t in find_front(losses, (Objective("loss"), MACS))] == [3]


@pytest.fixture
def folder(tmp_path):
    """The journal and the request of a search with these trials."""
    config = SearchConfig(objective=["accuracy", "-macs", "-latency"]).describe()
    request = {"space": SPACE.to_json(), "config": config, "data": "digits", "images": {"train": 9}, "fingerprint": "f"}
    record = {"request": request, "command": "kcnn search", "versions": {"keras": "3"}}
    (tmp_path / "search.json").write_text(json.dumps(record))
    journal = Journal(tmp_path)
    for trial in make_trials():
        values = {name: value for name, value in vars(trial).items() if name != "number"}
        journal.add({"event": "end", "trial": trial.number, **values})
    journal.write_tables()
    return tmp_path


def test_search_result_prints_the_front_with_all_objectives(folder):
    trials = Journal(folder, read_only=True).trials
    first, *others = objectives = read_objectives(read_request(folder))
    assert objectives == (ACCURACY, MACS, LATENCY)
    result = SearchResult(folder, trials, find_best_trial(trials, objectives), None, first, others)
    title, heads, row, *_ = str(result).partition("Pareto front, ")[2].splitlines()
    assert title == "on the validation split: 5 trials"
    assert heads.split() == ["trial", "validation", "accuracy", "MACs", "latency", "(batch", "1)", "values"]
    assert row.split()[:5] == ["1", "90.00%", "300", "0.5", "ms"]
    assert result._repr_html_().count("on the Pareto front") == 5
    columns = (folder / "trials.csv").read_text().splitlines()[0].split(",")
    assert {"score", "accuracy", "macs", "latency_ms"} <= set(columns)
    assert len(columns) == len(set(columns))


def test_write_search_report_shows_the_front_as_a_table_and_against_each_cost(folder):
    page = write_search_report(folder).read_text()
    text = read_text(page)
    assert "5 of the trials that were trained to the last epoch: no other is as good in" in " ".join(text.split())
    assert "the final evaluation tests trial 1 alone, the best by validation accuracy" in " ".join(text.split())
    assert page.count("Validation accuracy against MACs of 6 trials; 5 are on the Pareto front") == 1
    assert page.count("Validation accuracy against latency (batch 1) of 6 trials; 5 are on the Pareto front") == 1
    assert page.count("Validation accuracy against parameters of 6 trials; 2 are on the Pareto front") == 1
    assert '<td class="number">0.4 ms</td>' in page
    assert list(phrases_in(text)) == []


def test_write_search_report_says_that_no_trial_is_complete(folder):
    lines = (folder / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    (folder / "journal.jsonl").unlink()
    journal = Journal(folder)
    journal.add({name: value for name, value in events[6].items() if name != "checksum"})
    assert "No trial was trained to the last epoch." in write_search_report(folder).read_text()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"tuner": "bayesian"},
            "the tuner bayesian takes one objective, got accuracy, -macs; for several choose from ran",
        ),
        ({"tuner": "hyperband"}, "the tuner hyperband takes one objective"),
        (
            {"reduction_factor": 2},
            "a cheap network that it stops may be on the Pareto front: remove reduction_factor 2",
        ),
        (
            {"objective": ["-macs", "accuracy"]},
            "the first objective must be a measure of validation.*got -macs; put one",
        ),
        ({"objective": "-macs"}, "the first objective must be a measure of validation"),
        ({"objective": ["accuracy", "macs"]}, "macs is a cost, and the lower the better: write -macs"),
        ({"objective": ["accuracy", "-mac"]}, "unknown objective '-mac'. Did you mean '-macs'"),
        ({"objective": ["accuracy", "auto"]}, "unknown objective 'auto'"),
        (
            {"objective": ["accuracy", "-macs", "accuracy"]},
            "each objective may be given once, got accuracy, -macs, acc",
        ),
        ({"objective": [count_hits, "-macs", len]}, "one objective can be a function, got several"),
        ({"objective": []}, "objective must name at least one measure"),
        ({"objective": ["accuracy", 3]}, "objective must be text, a function, or a sequence of these, got 3"),
        ({"objective": ["accuracy", "-latency"], "workers": 2}, "-latency is measured on this machine while no other"),
        ({"objective": ["accuracy", count_hits], "workers": 2}, "count_hits is a function of this process"),
    ],
)
def test_search_config_refuses_what_cannot_have_several_objectives(values, message):
    with pytest.raises((ValueError, LookupError), match=message):
        SearchConfig(**{"objective": ["accuracy", "-macs"], **values})


def test_search_config_takes_a_sequence_of_objectives_and_stops_no_trial_early():
    config = SearchConfig(objective=["auto", "-macs"])
    assert config.objectives == ("auto", "-macs")
    assert config.reduction_factor == 0
    assert config.describe()["objective"] == ["auto", "-macs"]
    assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    alone = SearchConfig(objective=["accuracy"])
    assert (alone.objective, alone.reduction_factor) == ("accuracy", 3)


def test_resolve_objectives_refuses_a_measure_that_auto_stands_for():
    data = make_data((20, 30, 41))
    resolved = resolve_objectives(("auto", "accuracy", "-macs"), data)
    assert [one.name for one in resolved] == ["balanced_accuracy", "accuracy", "-macs"]
    with pytest.raises(ValueError, match=r"the first objective is balanced_accuracy here .*: remove the second"):
        resolve_objectives(("auto", "balanced_accuracy"), data)
