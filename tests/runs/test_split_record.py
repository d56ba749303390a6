"""The record of splits: what a run was trained on is never a test image, whatever is asked later."""

import csv
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kcnn
from kcnn.cli import app
from kcnn.data.loading import load_as_is
from kcnn.data.sources import is_same_source
from kcnn.reports import compare_runs
from kcnn.run_folders import find_run
from kcnn.training import load_evaluation_data, load_run_data
from kcnn.training.evidence import TestEvidence
from kcnn.training.predicted_images import write_predictions
from kcnn.training.run_data import add_pretraining, read_run_record
from kcnn.training.run_directory import FORMULA_SIGNS, read_config, read_metrics, write_config
from kcnn.training.split_record import (
    TRAINED,
    SplitRecord,
    compare_records,
    read_record,
    record_splits,
    restore_splits,
    write_record,
)
from tests.runs.training import train_with as train

IMAGES = 30  # of each of two classes: 42 to train on, 6 to validate, 12 to test
SMALL = {"network": "mlp", "input_shape": (8, 8, 1), "epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of small images of noise, no two alike."""
    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(IMAGES):
            Image.fromarray(rng.integers(0, 256, (8, 8)).astype("uint8")).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return train(data=str(folder), out=tmp_path_factory.mktemp("runs") / "run", **SMALL).folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "photos")


def invoke(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, " ".join(done.stderr.split())


def evaluate(*words):
    """The metrics of `kcnn evaluate`, and its notes."""
    text, notes = invoke("evaluate", *words, "--json")
    return json.loads(text), notes


def contents(split):
    return set(split.hashes.tolist())


def of(run, *splits):
    """The contents that a run recorded in splits."""
    record = read_run_record(run)
    return {record.hashes[i] for split in splits for i in record.find_rows(split)}


def read_arrays(root):
    """The images of a folder as arrays, decoded elsewhere, and their labels."""
    files = sorted(root.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    return pixels, np.array([["cat", "dog"].index(file.parent.name) for file in files])


def test_record_splits_has_each_file_its_split_label_and_content(run, folder):
    rows = [line.split(",") for line in (run / "splits.csv").read_text().splitlines()]
    assert rows[0] == ["split", "file", "label", "hash"]
    assert [sum(row[0] == name for row in rows) for name in ("train", "validation", "test")] == [42, 6, 12]
    assert {row[1] for row in rows[1:]} == {path.relative_to(folder).as_posix() for path in folder.glob("*/*.png")}
    assert all(row[2] == str(int(row[1].startswith("dog"))) and len(row[3]) == 32 for row in rows[1:])


def test_evaluate_of_a_run_uses_its_test_images_with_any_seed(run):
    metrics = read_metrics(run)
    for words in ((run,), (run, "--seed", "1"), (run / "model.keras", "--seed", "2")):
        result, notes = evaluate(*words)
        assert (result["confusion"], result["images"]) == (metrics["confusion"], 12)
        assert ("which images are in its test split" in notes) == ("--seed" in words)


def test_evaluate_of_data_that_was_split_in_python_uses_its_test_images(folder, tmp_path):
    data = kcnn.data.load(str(folder), input_shape=(8, 8, 1), batch_size=8, test_split=0.5, seed=3)
    few = data.subset(train=20)
    out = train(data=few, out=tmp_path / "run", **SMALL).folder
    result, notes = evaluate(out)
    assert result["confusion"] == read_metrics(out)["confusion"]
    assert "images in no split of the run" in notes, "those that the subset left out"
    restored = load_run_data(out).dataset
    for name, split in few.splits.items():
        assert restored.splits[name].hashes.tolist() == split.hashes.tolist()
    text, _ = invoke("export", out, "--format", "keras", "--json")
    assert [row["images"] for row in json.loads(text)] == [30, 30]


def test_evaluate_of_a_folder_with_trained_images_leaves_them_out_and_counts_them(run, copy):
    for name in ("cat", "dog"):
        Image.new("L", (8, 8), 77 + len(name) * (name == "dog")).save(copy / name / "new.png")
    (copy / "cat" / "00.png").rename(copy / "cat" / "renamed.png")
    result, notes = evaluate(run, "--data", copy)
    assert (result["images"], result["left_out"]) == (12 + 2, {"train": 42, "validation": 6})
    assert "of 62 images of" in notes
    assert "42 in the train split and 6 in the validation split" in notes
    images = load_evaluation_data(run, copy)
    assert of(run, "test") < contents(images.dataset.splits["test"])
    assert not of(run, *TRAINED) & contents(images.dataset.splits["test"])


def test_load_evaluation_data_refuses_data_that_was_all_trained_on(run, copy):
    record = read_run_record(run)
    for i in record.find_rows("test"):
        (copy / record.files[i]).unlink()
    with pytest.raises(ValueError, match="was trained on every image of"):
        load_evaluation_data(run, copy)


def test_load_evaluation_data_leaves_out_trained_images_of_another_cut_and_of_arrays(run, folder):
    again = kcnn.data.load(str(folder), input_shape=(8, 8, 1), seed=5)
    images = load_evaluation_data(run, again)
    left = contents(again.splits["test"]) & of(run, *TRAINED)
    assert left
    assert sum(images.left_out.values()) == len(left)
    assert contents(images.dataset.splits["test"]) == contents(again.splits["test"]) - left
    arrays = load_evaluation_data(
        run, kcnn.data.load(read_arrays(folder), classes=["cat", "dog"], input_shape=(8, 8, 1))
    )
    assert len(arrays.dataset.splits["test"]) + sum(arrays.left_out.values()) == 12
    pixels, labels = read_arrays(folder)
    every = {"train": (pixels[::6], labels[::6]), "test": (pixels, labels)}
    uncut = kcnn.data.load(every, classes=["cat", "dog"], input_shape=(8, 8, 1))
    assert load_evaluation_data(run, uncut).left_out == {"train": 42, "validation": 6}


def move(run, out, data):
    """A copy of a run whose data is elsewhere."""
    config = read_config(shutil.copytree(run, out))
    config["request"]["data"] = config["data_path"] = str(data)
    write_config(out, config)
    return out


def test_load_evaluation_data_says_when_arrays_cannot_be_compared_with_files_that_are_gone(run, folder, tmp_path):
    moved = move(run, tmp_path / "run", tmp_path / "gone")
    data = kcnn.data.load(read_arrays(folder), classes=["cat", "dog"], input_shape=(8, 8, 1))
    (note,) = load_evaluation_data(moved, data).notes
    assert "is not known: arrays cannot be compared with the files of the run: folder not found" in note


def test_evaluate_of_a_run_on_arrays_recognizes_them_in_files(folder, tmp_path):
    data = kcnn.data.load(read_arrays(folder), classes=["cat", "dog"], input_shape=(12, 12, 1), seed=4)
    out = train(data=data, out=tmp_path / "run", **{**SMALL, "input_shape": (12, 12, 1)}).folder
    result, _ = evaluate(out, "--data", folder)
    assert (result["images"], result["left_out"]) == (12, {"train": 42, "validation": 6})
    with pytest.raises(ValueError, match="was trained on arrays from Python, which are not on disk; pass them"):
        load_evaluation_data(out)
    restored = load_run_data(out, kcnn.data.load(read_arrays(folder), classes=["cat", "dog"], input_shape=(12, 12, 1)))
    assert contents(restored.dataset.splits["test"]) == contents(data.splits["test"])


def test_load_run_data_counts_images_that_were_changed_removed_or_added(run, copy):
    record = read_run_record(run)
    first, second, third = (record.files[i] for i in record.find_rows("test")[:3])
    Image.new("L", (8, 8), 9).save(copy / first)
    (copy / second).unlink()
    other = "dog" if third.startswith("cat") else "cat"
    (copy / third).rename(copy / other / "moved.png")
    shutil.copy(copy / record.files[0], copy / "cat" / "again.png")
    loaded = load_run_data(run, copy)
    assert loaded.differences.changed == (first,)
    assert loaded.differences.removed == (second,)
    assert loaded.differences.relabeled == (third,)
    assert loaded.differences.added == ("cat/again.png",)
    assert len(loaded.dataset.splits["test"]) == 10
    assert f"1 image changed ({first})" in loaded.notes[0]


def test_train_refuses_to_resume_on_changed_images_and_counts_them(run, copy, tmp_path):
    moved = move(run, tmp_path / "run", copy)
    assert train(data=str(copy), out=moved, **SMALL).resumed_epochs == 1
    Image.new("L", (8, 8), 9).save(copy / "dog" / "07.png")
    with pytest.raises(ValueError, match=r"\(other images or labels\): 1 image changed \(dog/07.png\); choose"):
        train(data=str(copy), out=moved, **SMALL)


@pytest.fixture
def project(copy, tmp_path, monkeypatch):
    """A project with data and a run, both named relative to it, and another project with other data of that name."""
    project = tmp_path / "project"
    project.mkdir()
    copy.rename(project / "photos")
    monkeypatch.chdir(project)
    train(data="photos", out="run", **SMALL)
    for name in ("cat", "dog"):
        (tmp_path / "other" / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "other" / "photos" / name / "1.png")
    monkeypatch.chdir(tmp_path / "other")
    return project


def test_later_commands_find_data_of_a_relative_path_from_another_folder(project):
    result, _ = evaluate(project / "run")
    assert (result["images"], result["differences"]["changed"], result["left_out"]) == (12, [], {})
    again, _ = evaluate(project / "run", "--data", project / "photos")  # the same data, named otherwise
    assert (again["correct"], again["left_out"]) == (result["correct"], {})
    assert train(data=str(project / "photos"), out=project / "run", **SMALL).resumed_epochs == 1
    assert read_config(project / "run")["request"]["data"] == "photos"


def test_load_run_data_finds_data_that_was_moved_with_the_run(project, tmp_path, monkeypatch):
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"project.photos, the data of .*run; pass its new path \(--data\)"):
        load_run_data(tmp_path / "moved" / "run")
    monkeypatch.chdir(tmp_path / "moved")
    assert len(load_run_data("run").dataset.splits["test"]) == 12
    assert train(data=str(tmp_path / "moved" / "photos"), out="run", **SMALL).resumed_epochs == 1
    monkeypatch.chdir(tmp_path)  # the second start recorded the new place
    assert len(load_run_data("moved/run").dataset.splits["test"]) == 12


def test_a_folder_is_not_taken_for_arrays_by_its_name(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "arrays")
    monkeypatch.chdir(tmp_path)
    train(data="arrays", out="run", **SMALL)
    assert len(load_run_data("run").dataset.splits["test"]) == 12


def test_train_refuses_weights_that_were_trained_on_its_test_images(run, folder, tmp_path):
    with pytest.raises(ValueError, match=r"of 12 test images were in the train or validation split of .*run, whose"):
        train(data=str(folder), out=tmp_path / "other", seed=1, weights=run / "model.keras", **SMALL)
    half = shutil.copytree(folder, tmp_path / "half")
    for file in half.glob("*/*.png"):
        if kcnn.data.readers.hash_image(str(file)) not in of(run, "test"):
            file.write_bytes(file.read_bytes() + b"other")
    tuned = train(data=str(half), out=tmp_path / "tuned", weights=run / "model.keras", **SMALL).folder
    assert of(tuned, "pretraining") == of(run, "train", "validation")
    assert load_evaluation_data(tuned, folder).left_out["pretraining"] == 48


def test_train_refuses_weights_that_were_trained_on_the_files_of_its_test_arrays(run, folder, tmp_path):
    files = sorted(folder.glob("*/*.png"))
    arrays = np.stack([np.asarray(Image.open(file)) for file in files]), [file.parent.name for file in files]
    with pytest.raises(ValueError, match=r"of 12 test images were in the train or validation split of .*run, whose"):
        train(data=arrays, out=tmp_path / "arrays", seed=1, weights=run / "model.keras", **SMALL)


def test_add_pretraining_takes_duplicates_in_both_splits_of_the_same_data(run, tmp_path):
    record = read_run_record(run)
    hashes, image = record.hashes.copy(), record.find_rows("test")[0]
    hashes[image] = hashes[record.find_rows("train")[0]]
    doubled = replace(record, hashes=hashes)
    other = shutil.copytree(run, tmp_path / "run")
    config = read_config(other)
    config["request"]["fingerprint"] = doubled.fingerprint
    write_config(other, config)
    write_record(other, doubled)
    double = load_run_data(run).dataset.splits["train"].take(np.array([0]))
    assert len(add_pretraining(doubled, other / "model.keras", double).files) == len(record.files)


def test_read_record_refuses_a_record_that_was_edited(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "run")
    text = (other / "splits.csv").read_text()
    (other / "splits.csv").write_text(text.replace("test,", "train,", 1))
    with pytest.raises(ValueError, match=r"splits.csv is damaged: it does not hold the images of the run"):
        load_run_data(other)
    (other / "splits.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"does not record which images were in which split"):
        load_run_data(other)


def test_compare_runs_pairs_the_same_test_images_only(run, copy, tmp_path):
    for name in ("train", "test"):
        (copy / name).mkdir()
    record = read_run_record(run)
    for file, split in zip(record.files, record.splits, strict=True):
        target = copy / ("test" if split == "test" else "train") / file
        target.parent.mkdir(exist_ok=True)
        (copy / file).rename(target)
    for name in ("cat", "dog"):
        (copy / name).rmdir()
    first = train(data=str(copy), out=tmp_path / "a", seed=1, **{**SMALL, "input_shape": (10, 10, 1)}).folder
    (difference,) = compare_runs([run, first]).differences
    assert difference.paired
    file = next(copy.glob("test/*/*.png"))
    Image.new("L", (8, 8), 9).save(file)
    second = train(data=str(copy), out=tmp_path / "b", seed=1, **SMALL).folder
    (difference,) = compare_runs([first, second]).differences
    assert not difference.paired


def test_restore_splits_takes_images_from_any_splits_in_the_recorded_order(digits):
    record = record_splits(digits)
    pixels, labels = (np.concatenate(parts) for parts in zip(*map(read_all, digits.splits.values()), strict=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    thirds = np.array_split(order, 3)
    mixed = {name: (pixels[rows], labels[rows]) for name, rows in zip(digits.splits, thirds, strict=True)}
    restored, differences = restore_splits(record, kcnn.data.load(mixed, input_shape=(8, 8, 1)))
    assert not differences
    for name, split in digits.splits.items():
        ours, theirs = read_all(restored.splits[name]), read_all(split)
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def read_all(split):
    return split.read_batch(np.arange(len(split)))


def test_compare_records_names_copies_as_added_and_keeps_names_that_are_not_utf8(tmp_path):
    hashes = np.array([b"a" * 32, b"b" * 32, b"a" * 32], "S52")
    record = SplitRecord(("train", "test", "test"), ("x\udcff,\n.png", "=y.png", "z.png"), ("0", "1", "0"), hashes)
    write_record(tmp_path, record)
    again = read_record(tmp_path, record.fingerprint)
    assert (again.files, again.labels, again.hashes.tolist()) == (record.files, record.labels, hashes.tolist())
    more = record.add("train", [b"a" * 32])
    assert compare_records(record, replace(more, files=(*record.files, "copy.png"))).added == ("copy.png",)


def test_find_run_knows_files_in_the_folder_of_a_run(run, tmp_path):
    assert find_run(run) == find_run(run / "model.keras") == find_run(run / "export" / "litert.tflite") == run
    assert find_run(tmp_path / "model.keras") is None
    best = shutil.copytree(run, tmp_path / "transfer" / "seed-0" / "head-only")
    (tmp_path / "transfer" / "transfer.json").write_text('{"best": "seed-0/head-only"}')
    assert find_run(tmp_path / "transfer" / "phone" / "litert.tflite") == best


def test_load_as_is_cuts_nothing(folder):
    data = load_as_is(str(folder), input_shape=(8, 8, 1))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60}


def test_load_evaluation_data_knows_the_data_of_the_run_by_any_path(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = train(data="photos", out=tmp_path / "run", **SMALL).folder
    Image.new("L", (8, 8), 77).save(copy / "cat" / "new.png")
    os.symlink("photos", tmp_path / "link")
    for path in ("photos", "photos/", "./photos", "run/../photos", str(copy), copy, "link"):
        found = load_evaluation_data(out, path)
        assert (len(found.dataset.splits["test"]), found.left_out) == (12, {}), path
        assert found.differences.added == ("cat/new.png",), path


def test_is_same_source_tells_built_in_names_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("digits")
    assert is_same_source("digits", "digits")
    assert is_same_source("digits/", "./digits")
    assert is_same_source("gone/", os.path.abspath("gone"))
    assert not is_same_source("./digits", "digits")
    assert not is_same_source("digits", "./digits")
    assert not is_same_source((1, 2), "arrays")


def test_write_record_keeps_every_name_and_gives_a_spreadsheet_no_formula(tmp_path):
    names = ("=1+1/a.jpg", "'=1.jpg", "'a.jpg", "''", "-1/a.jpg", "@a", "+a", "\ta", "\ra", "\udcff.jpg", "", "a,b\n")
    rows = len(names)
    record = SplitRecord(("train",) * rows, names, ("0",) * rows, np.array([b"x"] * rows))
    write_record(tmp_path, record)
    assert read_record(tmp_path, record.fingerprint).files == names
    with open(tmp_path / "splits.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert not any(cell.startswith(FORMULA_SIGNS) for row in csv.reader(file) for cell in row)
    other = replace(record, files=("\ud800.jpg", *names[1:]))
    write_record(tmp_path, other)
    assert read_record(tmp_path, record.fingerprint).files == (r"\ud800.jpg", *names[1:])


def test_train_on_a_folder_named_as_a_formula_writes_no_formula(folder, tmp_path):
    for old, new in (("cat", "=1+1"), ("dog", "@dog")):
        shutil.copytree(folder / old, tmp_path / "data" / new)
    shutil.copy(tmp_path / "data" / "=1+1" / "00.png", tmp_path / "data" / "@dog" / "copy.png")
    out = train(data=str(tmp_path / "data"), out=tmp_path / "run", **SMALL).folder
    tables = sorted(out.rglob("*.csv"))
    assert {"splits.csv", "history.csv"} <= {path.name for path in tables}
    for path in tables:
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(FORMULA_SIGNS) and not is_number(cell)], path
    assert not load_run_data(out).differences


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_run_writes_the_file_label_and_prediction_of_each_test_image(run):
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    record, metrics = read_run_record(run), read_metrics(run)
    assert [row["file"] for row in rows] == [record.files[i] for i in record.find_rows("test")]
    assert [row["true"] for row in rows] == [row["file"].partition("/")[0] for row in rows]
    assert sum(row["true"] == row["predicted"] for row in rows) == metrics["correct"]
    for row in rows:
        values = {name: float(row[f"p({name})"]) for name in ("cat", "dog")}
        assert row["predicted"] == max(values, key=values.get)
        assert float(row["probability"]) == max(values.values())
        assert sum(values.values()) == pytest.approx(1, abs=2e-6)


def test_write_predictions_leaves_skipped_files_out_and_joins_several_labels(tmp_path):
    def write(truth, logits, names, **metadata):
        split = SimpleNamespace(names=names)
        skipped = [SimpleNamespace(file="broken.png")]
        data = SimpleNamespace(name="x", classes=("ant", "bee"), splits={"test": split}, skipped=skipped)
        write_predictions(tmp_path, data, TestEvidence(np.array(logits), np.array(truth)), metadata)
        return (tmp_path / "predictions.csv").read_text().splitlines()

    assert write([1, 0], [[0.0, 0.0], [0.0, 9.0]], ["=a.png", "broken.png", "b.png"]) == [
        "file,true,predicted,probability,p(ant),p(bee)",
        "'=a.png,bee,ant,0.5,0.5,0.5",
        "b.png,ant,bee,0.999877,0.000123,0.999877",
    ]
    several = write([[1, 1], [0, 0]], [[0.0, 1.0], [-1.0, -1.0]], ["a.png", "b.png"], multi_label=True)
    assert [line.split(",")[1:3] for line in several[1:]] == [["ant;bee", "ant;bee"], ["", ""]]
    with pytest.raises(ValueError, match="1 of 2 test images were read"):
        write([1], [[0.0, 0.0]], ["a.png", "b.png"])
