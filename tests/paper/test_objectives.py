"""What a search maximizes: chosen by the data or by the caller, and its text."""

import json
import types

import numpy as np
import pytest

from kcnn.reports.search_page import write_search_report
from kcnn.search import SearchConfig, SearchResult
from kcnn.search.journal import Journal
from kcnn.search.objectives import Objective, read_objectives, resolve_objective
from kcnn.search.result import Contender, FinalComparison, FinalEvaluation, find_best_trial
from tests.paper.test_search_page import SPACE

RESULTS = [({**SPACE.default, "conv1.kernel": 5}, -0.25), (SPACE.default, -1.5)]


def make_data(counts, *, multi_label=False):
    """Labels of a data set with so many training images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    if multi_label:
        labels = np.eye(len(counts), dtype="int64")[labels]
    classes = tuple("abcdefgh"[: len(counts)])
    splits = {name: types.SimpleNamespace(labels=labels) for name in ("train", "validation")}
    return types.SimpleNamespace(multi_label=multi_label, classes=classes, splits=splits)


@pytest.mark.parametrize(
    ("counts", "multi_label", "name", "reason"),
    [
        ((20, 30, 40), False, "accuracy", "classes are balanced"),
        ((20, 30, 41), False, "balanced_accuracy", "'c' has 41 training images, 'a' has 20 training images"),
        ((20, 30, 41), True, "average_precision", "images have several labels"),
    ],
)
def test_resolve_objective_chooses_by_the_data(counts, multi_label, name, reason):
    objective = resolve_objective("auto", make_data(counts, multi_label=multi_label))
    assert objective.name == name
    assert reason in objective.reason
    assert resolve_objective("accuracy", make_data(counts, multi_label=multi_label)) == Objective("accuracy")


def test_resolve_objective_refuses_a_measure_that_the_data_has_not():
    with pytest.raises(ValueError, match="average_precision needs several labels per image; choose from accuracy, bal"):
        resolve_objective("average_precision", make_data((2, 2)))
    with pytest.raises(ValueError, match="balanced_accuracy needs one label per image"):
        resolve_objective("balanced_accuracy", make_data((2, 2), multi_label=True))


def count_hits(labels, probabilities):
    return (probabilities.argmax(axis=-1) == labels).mean()


@pytest.mark.parametrize("value", [None, "high", float("nan"), [1, 2]])
def test_resolve_objective_calls_a_function_before_any_trial(value):
    assert resolve_objective(count_hits, make_data((4, 4))).title == "count hits"
    with pytest.raises(ValueError, match=r"must return a finite number for labels \(8,\) and probabilities \(8, 2\)"):
        resolve_objective(lambda labels, probabilities: value, make_data((4, 4)))


def test_search_config_refuses_a_function_in_other_processes():
    assert SearchConfig(objective=count_hits).describe()["objective"].endswith("test_objectives.count_hits")
    with pytest.raises(ValueError, match="count_hits is a function of this process, and trials run in others"):
        SearchConfig(objective=count_hits, workers=2)
    with pytest.raises(LookupError, match="unknown objective 'balanced'"):
        SearchConfig(objective="balanced")


def test_objective_shows_a_loss_as_it_is_and_its_score_negated():
    loss = Objective("loss")
    assert loss.read_score({"val_cross_entropy": 0.25, "val_loss": 0.5}) == -0.25
    assert (loss.format_score(-0.25), loss.format_value(0.25), str(loss)) == ("0.2500", "0.2500", "validation loss")
    assert Objective("macro_f1").format_score(0.5) == "50.00%"
    contenders = tuple(Contender(name, (score,), score, 1, 1, ()) for name, score in (("best", 0.25), ("default", 1.5)))
    final = FinalEvaluation(1, contenders, (FinalComparison("network", "best", "default", -1.25, objective="loss"),))
    text = str(FinalEvaluation(**{**vars(final), "objective": "loss"}))
    assert "best: test loss 0.2500," in text
    assert "trained alike: -1.25 loss" in text
    assert "%" not in text


@pytest.fixture
def folder(tmp_path):
    """A search of two trials by the loss."""
    config = SearchConfig(objective="loss").describe()
    request = {"space": SPACE.to_json(), "config": config, "data": "digits", "images": {"train": 9}, "fingerprint": "f"}
    record = {"request": request, "command": "kcnn search", "versions": {"keras": "3"}}
    (tmp_path / "search.json").write_text(json.dumps(record))
    journal = Journal(tmp_path)
    for number, (values, score) in enumerate(RESULTS):
        trial = {"status": "ok", "values": values, "score": score, "scores": [score], "epochs": 1, "seed": 0}
        costs = {"params": 10 + number, "macs": 100 + number, "receptive_field": 9, "seconds": 1.0, "worker": "0"}
        journal.add({"event": "end", "trial": number, **trial, **costs})
    return tmp_path


def test_write_search_report_shows_the_loss_of_each_trial(folder):
    page = write_search_report(folder).read_text()
    assert '<th scope="col" class="number">validation loss</th>' in page
    assert '<td class="number">0.2500</td>' in page
    assert "validation accuracy" not in page
    assert ", %" not in page
    assert "-0.25" not in page
    trials = Journal(folder, read_only=True).trials
    (objective,) = read_objectives(json.loads((folder / "search.json").read_text())["request"])
    result = SearchResult(folder, trials, find_best_trial(trials), None, objective)
    assert "best trial 0: validation loss 0.2500" in repr(result)
    assert "<td>1.500</td>" in result._repr_html_()
