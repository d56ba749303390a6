"""The page of a search, from its files alone."""

import json
import re

import pytest
from markupsafe import escape

import kcnn
from kcnn.reports import search_charts
from kcnn.reports.search_page import write_search_report
from kcnn.search import SearchConfig
from kcnn.search.journal import Journal, Trial
from kcnn.search.objectives import Objective
from kcnn.search.result import SearchResult, find_best_trial, read_record, write_record
from kcnn.search.space import Choice, Space
from kcnn.training.run_directory import write_values
from tests.paper.test_words import phrases_in

SPACE = Space(
    kcnn.ModelSpec(network="stack", classes=10, input_shape=(16, 16, 1)),
    {"conv1.kernel": (3, 5), "pool1.mode": ("max", "average"), **{f"conv{n}.filters": (8, 16, 32) for n in (1, 2)}},
)
COMMAND = "kcnn search stack --choice 'conv1.kernel=3,5'"


def write_search(folder):
    """Write a search of two trials, of which the second is the unchanged network."""
    train = kcnn.TrainConfig(epochs=1).describe()
    config = {**SearchConfig().describe(), "train": train}
    request = {"space": SPACE.to_json(), "config": config, "data": "digits", "images": {"train": 9}, "fingerprint": "f"}
    record = {"request": request, "command": COMMAND, "versions": {"keras": "3"}}
    (folder / "search.json").write_text(json.dumps(record))
    journal = Journal(folder)
    for number, (values, score) in enumerate([({**SPACE.default, "conv1.kernel": 5}, 0.5), (SPACE.default, 0.875)]):
        trial = {"status": "ok", "values": values, "score": score, "scores": [score], "epochs": 1, "seed": 0}
        costs = {"params": 10 + number, "macs": 100 + number, "receptive_field": 9, "seconds": 1.0, "worker": "0"}
        journal.add({"event": "end", "trial": number, **trial, **costs})
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_search(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_search_report(write_search(tmp_path_factory.mktemp("search"))).read_text()


def read_text(page):
    return re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", "", page, flags=re.DOTALL)


def test_write_search_report_names_the_objective_and_the_command(page):
    assert f'<h2 id="h-again">Reproduce</h2>\n<pre class="wrap">{escape(COMMAND)}</pre>' in page
    assert '<td class="number">87.50%</td>' in page
    text = read_text(page)
    assert "Validation accuracy by epoch" in text
    assert "score" not in text.lower()


def change(record, address, value):
    *path, last = address.split(".")
    for name in path:
        record = record[int(name) if name.isdigit() else name]
    record[last] = value


EDITS = [
    ("request.config.train.recipe.batch_size", 33),
    ("request.config.train.recipe.batch_size", True),
    ("request.config.train.seed", "x"),
    ("request.config", []),
    ("request.config.train", None),
    ("request.data", 3),
    ("request.images", "abc"),
    ("versions", 3),
    ("data_path", 5),
]


@pytest.mark.parametrize(("address", "value"), EDITS)
def test_read_record_refuses_a_search_that_was_edited(folder, address, value):
    write_record(folder, read_record(folder))
    record = json.loads((folder / "search.json").read_text())
    change(record, address, value)
    (folder / "search.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"search\.json was changed after kcnn wrote it: it does not match"):
        write_search_report(folder)
    del record["checksum"]  # as of an earlier version
    (folder / "search.json").write_text(json.dumps(record))
    if value != 33:
        with pytest.raises(ValueError, match=rf"search\.json is damaged: {re.escape(address)} is "):
            write_search_report(folder)


CONTENDER = {"name": "best", "scores": [0.5], "score": 0.5, "params": 1, "macs": 2, "folders": ["final/a"]}


def test_read_final_refuses_an_evaluation_that_was_edited(folder):
    final = {"trial": 1, "contenders": [CONTENDER], "comparisons": [], "unchanged": True, "problems": {}}
    write_values(folder / "final.json", final)
    assert "50.00%" in write_search_report(folder).read_text()
    written = (folder / "final.json").read_text()
    for address, value in (
        ("trial", "x"),
        ("contenders.0.scores", ["a"]),
        ("contenders.0.score", "x"),
        ("contenders.0.params", None),
        ("problems", [1]),
        ("contenders.0.score", 0.75),
    ):
        record = json.loads(written)
        change(record, address, value)
        (folder / "final.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"final\.json (is damaged \(|was changed after kcnn wrote it: )"):
            write_search_report(folder)


def end_in_failure(folder, numbers):
    """Let trials fail in their third epoch."""
    journal, events = Journal(folder), Journal(folder).events
    journal.path.unlink()
    journal = Journal(folder)
    for event in events:
        if event["trial"] in numbers:
            event = {**event, "status": "diverged", "score": None, "scores": [0.1, 0.2], "epochs": 2}
        journal.add(event)


@pytest.mark.parametrize("failed", [pytest.param({0}, marks=pytest.mark.every), {1}, {0, 1}])
def test_write_search_report_tells_of_trials_that_failed_after_more_epochs_than_any_other(folder, failed):
    end_in_failure(folder, failed)
    text = read_text(write_search_report(folder).read_text())
    assert f"{len(failed)} diverged" in text
    assert ("Train the best network" in text) == (len(failed) < 2)


def test_write_search_report_says_that_the_best_network_is_the_default_one(page):
    assert "<p>The networks are identical: " in page
    assert "layer by layer" not in page
    assert '<th scope="row">conv1</th>' not in page


def test_write_search_report_compares_networks_that_differ_layer_by_layer(folder):
    lines = (folder / "journal.jsonl").read_text().splitlines()
    (folder / "journal.jsonl").write_text(lines[0] + "\n")
    page = write_search_report(folder).read_text()
    assert "identical" not in page
    assert '<th scope="row">conv1</th>' in page


def test_select_axes_names_the_choices_without_an_axis(folder, monkeypatch):
    monkeypatch.setattr(search_charts, "MAX_AXES", 2)
    trials = Journal(folder, read_only=True).trials
    selected, omitted = search_charts.select_axes(trials, SPACE.all_choices)
    names = [choice.name for choice in SPACE.all_choices]
    assert ([choice.name for choice in selected], omitted) == (names[:2], names[2:])
    assert f"Without an axis: {', '.join(names[2:])}." in write_search_report(folder).read_text()


def test_render_parallel_coordinates_sorts_numbers_as_numbers():
    """Not as text, and not in the order in which they were given."""
    choice = Choice("filters", (128, 16, 9))
    costs = {"seed": 0, "params": 1, "macs": 1, "receptive_field": 1, "seconds": 1.0, "worker": "0"}
    trials = [
        Trial(number=value, status="ok", values={"filters": value}, score=0.5, scores=[0.5], epochs=1, **costs)
        for value in (9, 16, 128)
    ]
    svg = search_charts.render_parallel_coordinates(trials, [choice], Objective())
    assert re.findall(r'data-heights="(\S+) ', svg) == ["0.0000", "0.5000", "1.0000"]


def test_search_result_shows_the_objective_in_percent(folder):
    trials = Journal(folder, read_only=True).trials
    result = SearchResult(folder, trials, find_best_trial(trials), None)
    assert "best trial 1: validation accuracy 87.50%" in repr(result)
    html = result._repr_html_()
    assert "<th>validation accuracy</th>" in html
    assert "<td>87.50%</td>" in html


def test_write_search_report_has_no_retired_word(page):
    assert list(phrases_in(read_text(page))) == []
