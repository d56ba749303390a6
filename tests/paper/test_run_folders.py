"""Which run a folder stands for, and what is said of folders that hold none."""

import json

import pytest

from kcnn.cli.console import JobStoppedError
from kcnn.run_folders import (
    RunNotFoundError,
    check_output_folder,
    find_run,
    is_run_folder,
    locate_model,
    resolve_model,
    resolve_run,
)

REQUEST = {"spec": {}, "config": {}, "data": "digits"}


def make_run(folder, *, finished=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"request": REQUEST, "command": "kcnn train mlp"}))
    if finished:
        (folder / "model.keras").touch()
    return folder


@pytest.fixture
def transfer(tmp_path):
    folder = tmp_path / "transfer"
    make_run(folder / "seed-0" / "head-only")
    make_run(folder / "seed-0" / "fine-tuned")
    (folder / "transfer.json").write_text('{"best": "seed-0/fine-tuned"}')
    return folder


@pytest.fixture
def search(tmp_path):
    folder = tmp_path / "search"
    best = make_run(folder / "final" / "trial-0003" / "seed-0")
    other = make_run(folder / "final" / "default" / "seed-0")
    (folder / "trials" / "0003").mkdir(parents=True)
    (folder / "search.json").write_text("{}")
    pairs = (("default network", other), ("best", best))
    contenders = [{"name": name, "folders": [str(run.relative_to(folder))]} for name, run in pairs]
    (folder / "final.json").write_text(json.dumps({"contenders": contenders}))
    return folder


def test_resolve_run_returns_a_run_itself_without_a_note(tmp_path):
    run = make_run(tmp_path / "run")
    assert (resolve_run(run).path, resolve_run(str(run)).note) == (run, "")
    assert resolve_model(run) == (run / "model.keras", "")
    assert resolve_model(run / "best.keras") == (run / "best.keras", "")


def test_resolve_run_takes_the_best_run_of_a_transfer_and_says_so(transfer):
    run = resolve_run(transfer)
    assert run.path == transfer / "seed-0" / "fine-tuned"
    assert run.note == f"{transfer} is the folder of a transfer: using its best run, {run.path}"
    assert resolve_model(transfer) == (run.path / "model.keras", run.note)
    assert find_run(transfer / "phone" / "litert.tflite") == run.path


def test_resolve_run_takes_the_best_network_of_a_search_and_says_so(search):
    run = resolve_run(search)
    assert run.path == search / "final" / "trial-0003" / "seed-0"
    assert run.note == f"{search} is the folder of a search: using its best run, {run.path}"
    assert find_run(search) == run.path


def test_resolve_run_takes_no_run_outside_the_folder(transfer, search, tmp_path):
    make_run(tmp_path / "other")
    for outside in ("../other", str(tmp_path / "other"), "seed-0/../../other"):
        (transfer / "transfer.json").write_text(json.dumps({"best": outside}))
        (search / "final.json").write_text(json.dumps({"contenders": [{"name": "best", "folders": [outside]}]}))
        for folder in (transfer, search):
            with pytest.raises(RunNotFoundError):
                resolve_run(folder)


def test_is_run_folder_knows_runs_transfers_and_searches_and_no_other_folder(transfer, search, tmp_path):
    (search / "final.json").unlink()
    assert all(map(is_run_folder, (transfer, search, search / "final" / "default" / "seed-0")))
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')  # of another library
    assert not is_run_folder(tmp_path)


def test_resolve_run_says_what_a_folder_without_a_run_is(transfer, search, tmp_path):
    def message(folder, name=None, content="{}"):
        if name:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(content)
        with pytest.raises(RunNotFoundError) as error:
            resolve_run(folder)
        return str(error.value).replace(f"{tmp_path}/", "")

    expected = "expected the folder of a run, a transfer or a search"
    assert message(tmp_path / "x") == "folder not found: x"
    no_run = "holds no finished run: it"
    assert message(transfer / "transfer.json") == f"transfer/transfer.json {no_run} is a file; {expected}"
    assert message(search / "trials" / "0003") == (
        f"search/trials/0003 {no_run} is a trial of a search, which keeps no model; use the folder of the search"
    )
    assert message(transfer, "transfer.json") == (
        f"transfer {no_run} is the folder of a transfer whose best run is gone; run the same command again"
    )
    assert message(search, "final.json") == (
        f"search {no_run} is the folder of a search, and final.json names no trained network; run the same command "
        "again with --final-seeds 1, or more"
    )
    assert message(tmp_path / "saved", "saved_model.pb") == f"saved {no_run} is a SavedModel; {expected}"
    assert "this version of kcnn did not write its config.json" in message(tmp_path / "old", "config.json")
    assert message(tmp_path / "photos", "a.jpg") == f"photos {no_run} contains a.jpg; {expected}"


def test_resolve_run_names_the_runs_of_a_folder_of_runs(transfer):
    (transfer / "transfer.json").unlink()
    with pytest.raises(RunNotFoundError, match=r"it contains 2 runs \(seed-0/fine-tuned, seed-0/head-only\); choose"):
        resolve_run(transfer)


def test_resolve_model_tells_how_an_unfinished_run_is_resumed(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    with pytest.raises(RunNotFoundError, match=r"holds no finished run: it has no model.keras; .* it: kcnn train mlp"):
        resolve_model(run)
    assert resolve_run(run).path == run


def test_check_output_folder_refuses_that_of_another_kind(transfer, search, tmp_path):
    folders = {"run": make_run(tmp_path / "run"), "transfer": transfer, "search": search}
    for kind, folder in folders.items():
        for other in folders:
            if other == kind:
                check_output_folder(folder, other)
            else:
                with pytest.raises(FileExistsError, match=f"is the folder of a {kind}; choose another folder"):
                    check_output_folder(folder, other)
    check_output_folder(tmp_path / "new", "run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "stack", "--data", "nowhere"), 'folder not found: nowhere; data is "digits", "tfds:NAME"'),
        (("train", "stack", "--data", "digits", "--out", "search"), "search is the folder of a search; choose another"),
        (("search", "stack", "--data", "nowhere"), "folder not found: nowhere;"),
        (("search", "stack", "--data", "digits", "--out", "transfer"), "transfer is the folder of a transfer; choose"),
        (("transfer", "--data", "nowhere"), "folder not found: nowhere;"),
        (("transfer", "--data", "digits", "--out", "search"), "search is the folder of a search; choose another"),
        (("choose", "--data", "nowhere"), "folder not found: nowhere;"),
        (("rerun-trial", "transfer", "0"), "transfer holds no search: search.json is missing"),
    ],
)
def test_commands_refuse_folders_before_keras_is_loaded(words, says, transfer, search, tmp_path, monkeypatch, command):
    def load(*_):
        raise AssertionError("Keras is loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"kcnn.cli.{words[0].partition('-')[0].replace('rerun', 'search')}.start_backend", load)
    done = command(*words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {says}")


def test_locate_model_returns_the_folder_of_a_saved_model_unless_it_is_a_run(tmp_path, transfer):
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").touch()
    assert locate_model(saved) == (saved, "")
    run = make_run(tmp_path / "run")
    (run / "saved_model.pb").touch()
    assert locate_model(run) == (run / "model.keras", "")
    assert locate_model(transfer) == resolve_model(transfer)


@pytest.mark.parametrize(
    ("words", "loaded", "says"),
    [
        (("predict", "transfer", "a.png"), "kcnn.export.opened_model.open_model", "{run}/model.keras"),
        (("predict", "a.tflite", "a.png"), "kcnn.export.opened_model.open_model", "a.tflite"),
        (("predict", "lenet5", "a.png"), "kcnn.export.opened_model.open_model", "lenet5 with weights imagenet"),
        (("evaluate", "transfer"), "kcnn.export.opened_model.open_model", "{run}/model.keras"),
        (("export", "transfer"), "kcnn.cli.export.start_backend", "{run}/model.keras"),
        (("report", "transfer"), "kcnn.reports.pages.needs_keras", "transfer"),
        (("compare", "transfer", "{run}"), "kcnn.reports.significance.compare_runs", "transfer, {run}"),
        (("rerun-trial", "search", "0"), "kcnn.search.result.read_record", "search"),
        (("choose", "--data", "digits"), "kcnn.cli.choose.start_backend", "digits"),
    ],
)
def test_commands_print_what_they_load_before_what_loads_it(
    words, loaded, says, transfer, search, tmp_path, monkeypatch, command
):
    def stop(*_, **__):
        raise JobStoppedError("stopped here")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tflite").touch()
    monkeypatch.setattr(loaded, stop)
    monkeypatch.setattr("kcnn.keras_bridge.saved_models.read_metadata", lambda _: {})
    run = "transfer/seed-0/fine-tuned"
    done = command(*(word.format(run=run) for word in words))
    note = f"transfer is the folder of a transfer: using its best run, {run}"
    notes = [note] if "transfer" in words and words[0] != "report" else []
    assert done.stderr.splitlines() == [*notes, f"loading {says.format(run=run)}", "error: stopped here"]


@pytest.mark.parametrize("name", ["nowhere.keras", "nowhere/run", "resnet51"])
def test_commands_load_nothing_that_is_not_there(name, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for words in (("predict", name, "a.png"), ("evaluate", name)):
        done = command(*words)
        assert done.returncode == 2
        assert "loading" not in done.stderr


@pytest.mark.parametrize("name", ["a.tflite", "lenet5"])
def test_evaluate_misses_data_before_it_opens_a_model(name, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tflite").touch()  # not a model
    done = command("evaluate", name)
    assert done.stderr.splitlines() == [f"error: missing option --data: {name} does not record its dataset"]
