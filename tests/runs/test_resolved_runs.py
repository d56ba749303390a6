"""Every command and function that takes a run takes a transfer and a search, and says which run it took."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kcnn
from kcnn.cli import app
from kcnn.fine_tuning.demo import load_demo_data
from kcnn.reports import compare_runs
from kcnn.training import load_evaluation_data
from tests.runs.training import train_with as train

SMALL = {"input_shape": (8, 8, 1), "epochs": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("mlp", "digits", out=tmp_path_factory.mktemp("runs") / "run", **SMALL).folder


@pytest.fixture(params=["transfer", "search"])
def folder(request, run, tmp_path):
    """The folder of a transfer or a search, whose best run is in its folder "best"."""
    root = tmp_path / request.param
    shutil.copytree(run, root / "best")
    if request.param == "transfer":
        (root / "transfer.json").write_text('{"best": "best"}')
    else:
        (root / "search.json").write_text("{}")
        (root / "final.json").write_text(json.dumps({"contenders": [{"name": "best", "folders": ["best"]}]}))
    return root


def test_commands_take_the_best_run_of_a_folder_and_say_which(folder, run, tmp_path):
    def invoke(*words):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception}"
        assert f"using its best run, {folder / 'best'}" in " ".join(done.stderr.split()), words
        return done.stdout

    image = tmp_path / "digit.png"
    Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8)).save(image)
    assert "digit.png" in invoke("predict", folder, image)
    assert json.loads(invoke("evaluate", folder, "--json"))["images"] == 359
    assert "test images" in invoke("export", folder, "--format", "keras")
    assert (folder / "best" / "export" / "keras.keras").exists()
    assert "grad_cam.png" in invoke("inspect", folder, image)
    assert "not significant" in invoke("compare", folder, run)


def test_functions_take_the_best_run_of_a_folder(folder, run):
    expected = kcnn.load_model(run / "model.keras").get_weights()
    for model in (
        kcnn.load_model(folder),
        kcnn.build("mlp", classes=10, input_shape=(8, 8, 1), weights=folder),
        kcnn.build("mlp", classes=10, input_shape=(8, 8, 1), weights=str(run)),
    ):
        for ours, theirs in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(load_evaluation_data(folder).dataset.splits["test"]) == 359
    assert compare_runs([folder, run]).runs[0].folder == str(folder / "best")
    assert len(kcnn.predict(folder, np.zeros((1, 8, 8), "uint8"))) == 1


def test_train_starts_from_the_best_run_of_a_folder_and_keeps_its_images_apart(folder, tmp_path):
    with pytest.raises(ValueError, match="test images were in the train or validation split"):
        train("mlp", "digits", weights=str(folder), seed=1, out=tmp_path / "other", **SMALL)
    assert train("mlp", "digits", weights=str(folder), out=tmp_path / "same", **SMALL).metrics["accuracy"] > 0.5


def test_load_evaluation_data_knows_the_data_of_the_demo(tmp_path):
    folder = train("mlp", load_demo_data(1), out=tmp_path / "demo", epochs=1).folder
    found = load_evaluation_data(folder)
    assert not found.notes
    assert {name: len(split) for name, split in found.dataset.splits.items()} == {
        "train": 100, "validation": 50, "test": 746
    }  # fmt: skip
