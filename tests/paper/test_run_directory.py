"""The files of a run's folder: they are believed only as they were written."""

import json
import time

import pytest

import kcnn
from kcnn.run_folders import RunNotFoundError, check_reportable, resolve_run
from kcnn.training import TrainConfig, TrainingPhase
from kcnn.training import run_directory as runs
from kcnn.training.run_summaries import list_runs

REQUEST = {
    "spec": {"network": "mlp"},
    "config": {"recipe": {"batch_size": 32, "epochs": 2}, "recipe_name": "quick", "seed": 0},
    "data": "digits",
    "multi_label": False,
}


def write(folder):
    folder.mkdir()
    runs.write_config(folder, {"request": REQUEST, "batch_size": 32, "command": "kcnn train", "versions": {}})
    return folder


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("size", [33, True, -1, "32"])
def test_read_config_refuses_a_file_that_was_edited(size, tmp_path):
    folder = write(tmp_path / "run")
    assert runs.read_config(folder)["batch_size"] == 32
    change(folder, batch_size=size)
    with pytest.raises(ValueError, match=r"config.json was changed after kcnn wrote it: .* its checksum"):
        runs.read_config(folder)


def test_record_batch_size_keeps_the_checksum_right(tmp_path):
    folder = write(tmp_path / "run")
    runs.record_batch_size(folder, 16)
    assert runs.read_config(folder)["batch_size"] == 16


def test_list_runs_lists_a_damaged_run_beside_the_others(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / name)
    change(tmp_path / "a", command="rm")
    (tmp_path / "b" / "history.csv").write_text("epoch;seconds;loss\n1;2,5;0,3\n")
    a, b, c = list_runs(tmp_path)
    assert "a/config.json was changed" in a.problem
    assert "b/history.csv is not as kcnn wrote it, perhaps saved by a spreadsheet" in b.problem
    assert (c.problem, c.network, c.epochs) == (None, "mlp", 2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "config.json is damaged: it is not JSON"),
        (b"", "config.json is damaged: it is not JSON"),
        (b"\xff\x00", "config.json is damaged: it is not JSON"),
        (b"[" * 10**5, "config.json is damaged: it is not JSON"),
        (b"[]", "config.json is damaged, or of another version of kcnn"),
        (b'{"request": {}}', "config.json is damaged, or of another version of kcnn"),
    ],
)
def test_list_runs_names_a_config_that_cannot_be_read(content, says, tmp_path):
    for name in ("a", "b"):
        (write(tmp_path / name) / "history.csv").write_text(runs.to_csv([dict.fromkeys(runs.COLUMNS, 1)]))
    (tmp_path / "a" / "config.json").write_bytes(content)
    a, b = list_runs(tmp_path)
    assert (a.name, b.name, b.problem, b.completed) == ("a", "b", None, 1)
    assert str(tmp_path / "a") in a.problem
    assert says in a.problem
    assert len(a.problem.splitlines()) == 1
    with pytest.raises(
        FileNotFoundError, match=r"is damaged: it is not JSON|not write its config\.json|holds no finis"
    ):
        resolve_run(tmp_path / "a")


def test_list_runs_leaves_out_folders_of_other_programs(tmp_path):
    write(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": []}')
    assert [run.name for run in list_runs(tmp_path)] == ["run"]


def test_to_csv_gives_a_spreadsheet_no_formula():
    rows = [{"file": "=cmd|' /C calc'!A0", "loss": -0.5}, {"file": "+1", "loss": 1}, {"file": "a", "loss": 2}]
    assert runs.to_csv(rows).splitlines() == ["file,loss", "'=cmd|' /C calc'!A0,-0.5", "'+1,1", "a,2"]


@pytest.mark.parametrize("year", [1970, 2108])
def test_lock_folder_refuses_a_clock_that_no_model_file_can_hold(year, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.time, "localtime", lambda: time.struct_time((year, 1, 1, 0, 0, 0, 0, 1, 0)))
    with (
        pytest.raises(ValueError, match=f"the clock of this machine shows the year {year}; set it"),
        runs.lock_folder(tmp_path),
    ):
        pass


def test_log_failure_names_the_cause_and_goes_on():
    messages = []
    with runs.log_failure("plots", messages.append):
        raise ValueError("no such font")
    assert messages == ["cannot make the plots (ValueError: no such font); the results are complete without them"]


METRICS = {
    "request": REQUEST,
    **dict.fromkeys(("accuracy", "training_seconds", "images_per_second", "peak_memory_mb"), 0.5),
    **dict.fromkeys(("correct", "test_images", "epochs", "best_epoch", "params", "macs", "skipped", "duplicates"), 1),
    "per_class": {"a": {"precision": None, "recall": 0.5, "f1": 0.5, "images": 1}},
    "confusion": [[1]],
    "warnings": [],
    "command": "kcnn train",
    "versions": {"keras": "3"},
}


def finish(folder, **values):
    runs.write_metrics(folder, {**METRICS, **values})
    row = dict.fromkeys(("epoch", *runs.COLUMNS[1:], "accuracy", "val_loss", "val_accuracy"), 1)
    (folder / "history.csv").write_text(runs.to_csv([row]))
    return folder


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"accuracy": {}}, "accuracy is {}"),
        ({"correct": True}, "correct is True"),
        ({"test_images": -1}, "test_images is -1"),
        ({"macs": float("nan")}, "macs is nan"),
        ({"per_class": {"a": {"precision": 0, "images": "1"}}}, "per_class.a.images is '1'"),
        ({"confusion": [[1], None]}, r"confusion\[1\] is None"),
        ({"request": {**REQUEST, "spec": {}}}, "request.spec.network is missing"),
        ({"request": {**REQUEST, "input_shape": [8, "8", 1]}}, r"request.input_shape\[1\] is '8'"),
        ({"warnings": True}, "warnings is True"),
        ({"epochs": 2}, "history.csv has 1 of 2 epochs"),
        ({"best_epoch": 7}, "best_epoch is 7"),
    ],
)
def test_read_results_names_a_value_of_another_type(values, problem, tmp_path):
    folder = finish(write(tmp_path / "run"))
    assert runs.read_results(folder)[0] == METRICS
    finish(folder, **values)
    with pytest.raises(ValueError, match=rf"run/.*{problem}"):
        runs.read_results(folder)


def test_read_results_refuses_metrics_that_were_changed(tmp_path):
    folder = finish(write(tmp_path / "run"))
    path = folder / "metrics.json"
    text = path.read_text()
    for changed in (text.replace('"accuracy": 0.5', '"accuracy": 0.9'), text.replace('"recall": 0.5', '"recall": 1')):
        path.write_text(changed)
        with pytest.raises(
            ValueError, match=r"metrics.json was changed after kcnn wrote it: .* train again into another"
        ):
            runs.read_results(folder)
    path.write_text(json.dumps(METRICS))
    assert runs.read_results(folder)[0] == METRICS, "earlier versions wrote no checksum"


@pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
def test_read_history_refuses_a_changed_heading(name, tmp_path):
    path = finish(write(tmp_path / "run")) / "history.csv"
    path.write_text(path.read_text().replace(name, name[:-1]))
    with pytest.raises(ValueError, match=f"history.csv is not as kcnn wrote it.*{name}'"):
        runs.read_history(path.parent)


def test_read_metrics_refuses_json_that_nests_too_deep(tmp_path):
    folder = finish(write(tmp_path / "run"))
    (folder / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"metrics\.json is damaged .*nested too deep"):
        runs.read_metrics(folder)
    (row,) = list_runs(tmp_path)
    assert "nested too deep" in row.problem


def test_read_history_refuses_epochs_without_a_column(tmp_path):
    folder = finish(write(tmp_path / "run"))
    path = folder / "history.csv"
    for name in ("loss", "val_accuracy"):
        text = path.read_text()
        path.write_text(
            text + text.splitlines()[1].rpartition(",")[0] + "\n" if name != "loss" else text.replace(name, "x")
        )
        with pytest.raises(ValueError, match=f"history.csv is not as kcnn wrote it.*{name}"):
            runs.read_history(folder)
        path.write_text(text)


def test_read_config_refuses_signed_values_of_another_type(tmp_path):
    folder = write(tmp_path / "run")
    runs.write_config(folder, {**runs.read_config(folder), "batch_size": "32"})
    with pytest.raises(ValueError, match=r"run/config.json is damaged: batch_size is '32'"):
        runs.read_config(folder)


def test_list_runs_lists_a_run_whose_config_is_no_json(tmp_path):
    for name in ("a", "b"):
        finish(write(tmp_path / name))
    (tmp_path / "a" / "config.json").write_bytes(b"\xff{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "of another program"}')
    a, b = list_runs(tmp_path)
    assert "a/config.json is damaged" in a.problem
    assert (b.name, b.problem) == ("b", None)


@pytest.mark.parametrize(
    ("network", "config", "says"),
    [
        ("mlp", {}, None),
        ("mlp", {"epochs": 2, "batch_size": 32}, None),
        ("lenet5", {}, "spec.network 'mlp', not 'lenet5'"),
        ("mlp", {"seed": 4}, "config.seed 0, not 4"),
        ("mlp", {"epochs": 3}, "config.recipe.epochs 2, not 3"),
        ("mlp", {"recipe": "strong"}, "config.recipe_name 'quick', not 'strong'"),
    ],
)
def test_check_settings_refuses_the_folder_of_another_run_before_its_data_is_read(network, config, says, tmp_path):
    folder = write(tmp_path / "run")
    spec = kcnn.ModelSpec(network=network, input_shape=(8, 8, 1))
    train = TrainConfig(**{"recipe": "quick", **config})
    runs.check_settings(folder, spec, train)  # no epoch was completed: it is replaced
    (folder / runs.HISTORY).write_text("epoch\n1\n")
    if says is None:
        runs.check_settings(folder, spec, train)
        return
    with pytest.raises(ValueError, match=rf"run holds another run \({says}\); choose another folder"):
        runs.check_settings(folder, spec, train)


def test_check_settings_refuses_a_run_of_another_phase(tmp_path):
    spec = kcnn.ModelSpec(network="mlp", input_shape=(8, 8, 1))
    one, two = (TrainConfig(recipe="quick", phase=TrainingPhase(epochs, "all", 1e-4)) for epochs in (1, 2))
    folder = tmp_path / "run"
    folder.mkdir()
    request = {**REQUEST, "config": one.describe()}
    runs.write_config(folder, {"request": request, "batch_size": 32, "command": "kcnn transfer", "versions": {}})
    (folder / runs.HISTORY).write_text("epoch\n1\n")
    runs.check_settings(folder, spec, one)
    with pytest.raises(ValueError, match=r"run holds another run \(config\.phase\.epochs 1, not 2\)"):
        runs.check_settings(folder, spec, two)


def test_check_reportable_refuses_a_folder_without_results(tmp_path):
    write(tmp_path / "run")
    with pytest.raises(RunNotFoundError, match=r"holds no finished run: it contains 1 run \(run\); choose one"):
        check_reportable(tmp_path)
    (tmp_path / "run" / "metrics.json").write_text("{}")
    check_reportable(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "experiment.json").write_text("{}")
    check_reportable(tmp_path / "experiment")
