"""The data of a run is found from any folder, by any path, and after it was moved."""

import os
import shutil

import pytest
from PIL import Image

from kcnn.data.sources import is_same_source
from kcnn.run_folders import find_run
from kcnn.training import load_evaluation_data, load_run_data
from kcnn.training.run_directory import read_config
from tests.runs.noise import SMALL, evaluate
from tests.runs.training import train_with as train


@pytest.fixture
def project(noise_copy, tmp_path, monkeypatch):
    """A project with data and a run, both named relative to it, and another project with other data of that name."""
    project = tmp_path / "project"
    project.mkdir()
    noise_copy.rename(project / "photos")
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


def test_a_folder_is_not_taken_for_arrays_by_its_name(noise, tmp_path, monkeypatch):
    shutil.copytree(noise, tmp_path / "arrays")
    monkeypatch.chdir(tmp_path)
    train(data="arrays", out="run", **SMALL)
    assert len(load_run_data("run").dataset.splits["test"]) == 12


def test_find_run_knows_files_in_the_folder_of_a_run(noise_run, tmp_path):
    assert (
        find_run(noise_run)
        == find_run(noise_run / "model.keras")
        == find_run(noise_run / "export" / "litert.tflite")
        == noise_run
    )
    assert find_run(tmp_path / "model.keras") is None
    best = shutil.copytree(noise_run, tmp_path / "transfer" / "seed-0" / "head-only")
    (tmp_path / "transfer" / "transfer.json").write_text('{"best": "seed-0/head-only"}')
    assert find_run(tmp_path / "transfer" / "phone" / "litert.tflite") == best


def test_load_evaluation_data_knows_the_data_of_the_run_by_any_path(noise_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = train(data="photos", out=tmp_path / "run", **SMALL).folder
    Image.new("L", (8, 8), 77).save(noise_copy / "cat" / "new.png")
    os.symlink("photos", tmp_path / "link")
    for path in ("photos", "photos/", "./photos", "run/../photos", str(noise_copy), noise_copy, "link"):
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
