"""The record of splits: each image with its split, label and content, restored as they were, or what differs."""

import csv
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.data.loading import load_as_is
from kcnn.training import load_run_data
from kcnn.training.evidence import TestEvidence
from kcnn.training.predicted_images import write_predictions
from kcnn.training.run_data import read_run_record
from kcnn.training.run_directory import FORMULA_SIGNS, read_metrics
from kcnn.training.split_record import (
    SplitRecord,
    compare_records,
    read_record,
    record_splits,
    restore_splits,
    write_record,
)
from tests.runs.noise import SMALL, move
from tests.runs.training import train_with as train


def test_record_splits_has_each_file_its_split_label_and_content(noise_run, noise):
    rows = [line.split(",") for line in (noise_run / "splits.csv").read_text().splitlines()]
    assert rows[0] == ["split", "file", "label", "hash"]
    assert [sum(row[0] == name for row in rows) for name in ("train", "validation", "test")] == [42, 6, 12]
    assert {row[1] for row in rows[1:]} == {path.relative_to(noise).as_posix() for path in noise.glob("*/*.png")}
    assert all(row[2] == str(int(row[1].startswith("dog"))) and len(row[3]) == 32 for row in rows[1:])


def test_load_run_data_counts_images_that_were_changed_removed_or_added(noise_run, noise_copy):
    record = read_run_record(noise_run)
    first, second, third = (record.files[i] for i in record.find_rows("test")[:3])
    Image.new("L", (8, 8), 9).save(noise_copy / first)
    (noise_copy / second).unlink()
    other = "dog" if third.startswith("cat") else "cat"
    (noise_copy / third).rename(noise_copy / other / "moved.png")
    shutil.copy(noise_copy / record.files[0], noise_copy / "cat" / "again.png")
    loaded = load_run_data(noise_run, noise_copy)
    assert loaded.differences.changed == (first,)
    assert loaded.differences.removed == (second,)
    assert loaded.differences.relabeled == (third,)
    assert loaded.differences.added == ("cat/again.png",)
    assert len(loaded.dataset.splits["test"]) == 10
    assert f"1 image changed ({first})" in loaded.notes[0]


def test_train_refuses_to_resume_on_changed_images_and_counts_them(noise_run, noise_copy, tmp_path):
    moved = move(noise_run, tmp_path / "run", noise_copy)
    assert train(data=str(noise_copy), out=moved, **SMALL).resumed_epochs == 1
    Image.new("L", (8, 8), 9).save(noise_copy / "dog" / "07.png")
    with pytest.raises(ValueError, match=r"\(other images or labels\): 1 image changed \(dog/07.png\); choose"):
        train(data=str(noise_copy), out=moved, **SMALL)


def test_read_record_refuses_a_record_that_was_edited(noise_run, tmp_path):
    other = shutil.copytree(noise_run, tmp_path / "run")
    text = (other / "splits.csv").read_text()
    (other / "splits.csv").write_text(text.replace("test,", "train,", 1))
    with pytest.raises(ValueError, match=r"splits.csv is damaged: it does not hold the images of the run"):
        load_run_data(other)
    (other / "splits.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"does not record which images were in which split"):
        load_run_data(other)


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


def test_load_as_is_cuts_nothing(noise):
    data = load_as_is(str(noise), input_shape=(8, 8, 1))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60}


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


def test_train_on_a_folder_named_as_a_formula_writes_no_formula(noise, tmp_path):
    for old, new in (("cat", "=1+1"), ("dog", "@dog")):
        shutil.copytree(noise / old, tmp_path / "data" / new)
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


def test_a_run_writes_the_file_label_and_prediction_of_each_test_image(noise_run):
    with (noise_run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    record, metrics = read_run_record(noise_run), read_metrics(noise_run)
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
