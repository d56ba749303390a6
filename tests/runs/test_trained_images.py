"""What a run was trained on is never a test image: not in evaluate, nor for weights of another run."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.training import load_evaluation_data, load_run_data
from kcnn.training.run_data import add_pretraining, read_run_record
from kcnn.training.run_directory import read_config, read_metrics, write_config
from kcnn.training.split_record import TRAINED, write_record
from tests.runs.noise import SMALL, contents, evaluate, invoke, move, of, read_arrays
from tests.runs.training import train_with as train


def test_evaluate_of_a_run_uses_its_test_images_with_any_seed(noise_run):
    metrics = read_metrics(noise_run)
    for words in ((noise_run,), (noise_run, "--seed", "1"), (noise_run / "model.keras", "--seed", "2")):
        result, notes = evaluate(*words)
        assert (result["confusion"], result["images"]) == (metrics["confusion"], 12)
        assert ("which images are in its test split" in notes) == ("--seed" in words)


def test_evaluate_of_data_that_was_split_in_python_uses_its_test_images(noise, tmp_path):
    data = kcnn.data.load(str(noise), input_shape=(8, 8, 1), batch_size=8, test_split=0.5, seed=3)
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


def test_evaluate_of_a_folder_with_trained_images_leaves_them_out_and_counts_them(noise_run, noise_copy):
    for name in ("cat", "dog"):
        Image.new("L", (8, 8), 77 + len(name) * (name == "dog")).save(noise_copy / name / "new.png")
    (noise_copy / "cat" / "00.png").rename(noise_copy / "cat" / "renamed.png")
    result, notes = evaluate(noise_run, "--data", noise_copy)
    assert (result["images"], result["left_out"]) == (12 + 2, {"train": 42, "validation": 6})
    assert "of 62 images of" in notes
    assert "42 in the train split and 6 in the validation split" in notes
    images = load_evaluation_data(noise_run, noise_copy)
    assert of(noise_run, "test") < contents(images.dataset.splits["test"])
    assert not of(noise_run, *TRAINED) & contents(images.dataset.splits["test"])


def test_load_evaluation_data_refuses_data_that_was_all_trained_on(noise_run, noise_copy):
    record = read_run_record(noise_run)
    for i in record.find_rows("test"):
        (noise_copy / record.files[i]).unlink()
    with pytest.raises(ValueError, match="was trained on every image of"):
        load_evaluation_data(noise_run, noise_copy)


def test_load_evaluation_data_leaves_out_trained_images_of_another_cut_and_of_arrays(noise_run, noise):
    again = kcnn.data.load(str(noise), input_shape=(8, 8, 1), seed=5)
    images = load_evaluation_data(noise_run, again)
    left = contents(again.splits["test"]) & of(noise_run, *TRAINED)
    assert left
    assert sum(images.left_out.values()) == len(left)
    assert contents(images.dataset.splits["test"]) == contents(again.splits["test"]) - left
    arrays = load_evaluation_data(
        noise_run, kcnn.data.load(read_arrays(noise), classes=["cat", "dog"], input_shape=(8, 8, 1))
    )
    assert len(arrays.dataset.splits["test"]) + sum(arrays.left_out.values()) == 12
    pixels, labels = read_arrays(noise)
    every = {"train": (pixels[::6], labels[::6]), "test": (pixels, labels)}
    uncut = kcnn.data.load(every, classes=["cat", "dog"], input_shape=(8, 8, 1))
    assert load_evaluation_data(noise_run, uncut).left_out == {"train": 42, "validation": 6}


def test_load_evaluation_data_says_when_arrays_cannot_be_compared_with_files_that_are_gone(noise_run, noise, tmp_path):
    moved = move(noise_run, tmp_path / "run", tmp_path / "gone")
    data = kcnn.data.load(read_arrays(noise), classes=["cat", "dog"], input_shape=(8, 8, 1))
    (note,) = load_evaluation_data(moved, data).notes
    assert "is not known: arrays cannot be compared with the files of the run: folder not found" in note


def test_evaluate_of_a_run_on_arrays_recognizes_them_in_files(noise, tmp_path):
    data = kcnn.data.load(read_arrays(noise), classes=["cat", "dog"], input_shape=(12, 12, 1), seed=4)
    out = train(data=data, out=tmp_path / "run", **{**SMALL, "input_shape": (12, 12, 1)}).folder
    result, _ = evaluate(out, "--data", noise)
    assert (result["images"], result["left_out"]) == (12, {"train": 42, "validation": 6})
    with pytest.raises(ValueError, match="was trained on arrays from Python, which are not on disk; pass them"):
        load_evaluation_data(out)
    restored = load_run_data(out, kcnn.data.load(read_arrays(noise), classes=["cat", "dog"], input_shape=(12, 12, 1)))
    assert contents(restored.dataset.splits["test"]) == contents(data.splits["test"])


def test_train_refuses_weights_that_were_trained_on_its_test_images(noise_run, noise, tmp_path):
    with pytest.raises(ValueError, match=r"of 12 test images were in the train or validation split of .*run, whose"):
        train(data=str(noise), out=tmp_path / "other", seed=1, weights=noise_run / "model.keras", **SMALL)
    half = shutil.copytree(noise, tmp_path / "half")
    for file in half.glob("*/*.png"):
        if kcnn.data.readers.hash_image(str(file)) not in of(noise_run, "test"):
            file.write_bytes(file.read_bytes() + b"other")
    tuned = train(data=str(half), out=tmp_path / "tuned", weights=noise_run / "model.keras", **SMALL).folder
    assert of(tuned, "pretraining") == of(noise_run, "train", "validation")
    assert load_evaluation_data(tuned, noise).left_out["pretraining"] == 48


def test_train_refuses_weights_that_were_trained_on_the_files_of_its_test_arrays(noise_run, noise, tmp_path):
    files = sorted(noise.glob("*/*.png"))
    arrays = np.stack([np.asarray(Image.open(file)) for file in files]), [file.parent.name for file in files]
    with pytest.raises(ValueError, match=r"of 12 test images were in the train or validation split of .*run, whose"):
        train(data=arrays, out=tmp_path / "arrays", seed=1, weights=noise_run / "model.keras", **SMALL)


def test_add_pretraining_takes_duplicates_in_both_splits_of_the_same_data(noise_run, tmp_path):
    record = read_run_record(noise_run)
    hashes, image = record.hashes.copy(), record.find_rows("test")[0]
    hashes[image] = hashes[record.find_rows("train")[0]]
    doubled = replace(record, hashes=hashes)
    other = shutil.copytree(noise_run, tmp_path / "run")
    config = read_config(other)
    config["request"]["fingerprint"] = doubled.fingerprint
    write_config(other, config)
    write_record(other, doubled)
    double = load_run_data(noise_run).dataset.splits["train"].take(np.array([0]))
    assert len(add_pretraining(doubled, other / "model.keras", double).files) == len(record.files)
