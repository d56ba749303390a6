"""A trained network used: the same answers and figures from a run and its exported files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.export.formats import export_model
from kcnn.training import train

CODE = "from kcnn.cli import main; main()"


def kcnn_command(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", CODE, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A run, its exported files, and a picture."""
    folder = tmp_path_factory.mktemp("used")
    run = train("convnet", "digits", out=folder / "run", input_shape=(28, 28, 1), epochs=2, learning_rate=3e-3)
    model = kcnn.load_model(run.folder / "model.keras")
    for name in ("litert", "onnx", "keras"):
        export_model(model, folder / name, name)
    digits = kcnn.data.load("digits", input_shape=(8, 8, 1))
    Image.fromarray(digits.splits["test"].full(np.array([0]))[0][0, ..., 0]).save(folder / "a digit.png")
    return folder


def test_a_run_and_its_files_say_the_same_of_a_picture(used):
    said = {}
    for name in ("run", "litert.tflite", "onnx.onnx", "keras.keras"):
        done = kcnn_command("predict", name, "a digit.png", "--top", "2", "--json", cwd=used)
        assert done.returncode == 0, done.stderr
        said[name] = json.loads(done.stdout)["a digit.png"]
    wanted = said.pop("run")
    assert len(wanted) == 2
    for best in said.values():
        assert list(best) == list(wanted)
        assert list(best.values()) == pytest.approx(list(wanted.values()), abs=1e-5)


def test_an_exported_file_runs_without_tensorflow_and_keras(used):
    code = (
        "import sys; from kcnn.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'heavy'"
    )
    command = [sys.executable, "-c", code, "predict", "litert.tflite", "a digit.png"]
    done = subprocess.run(command, cwd=used, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_evaluating_a_run_or_its_file_gives_the_runs_own_figures(used):
    metrics = json.loads((used / "run" / "metrics.json").read_text())
    for words in (("run",), ("litert.tflite", "--data", "digits")):
        done = kcnn_command("evaluate", *words, "--json", cwd=used)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["accuracy"], told["images"]) == (metrics["accuracy"], metrics["test_images"])
        assert told["confusion"] == metrics["confusion"]
        assert told["interval"][0] < told["accuracy"] < told["interval"][1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "nothing.tflite", "a digit.png"), "there is no file nothing.tflite"),
        (("predict", "broken.tflite", "a digit.png"), "broken.tflite was not exported by kcnn, or is damaged"),
        (("predict", "litert.tflite", "none.png"), "there is no file none.png"),
        (("evaluate", "litert.tflite"), "litert.tflite does not say what it learned on; give --data"),
        (("evaluate", "litert.tflite", "--data", "digits:0-4"), "has the classes 0, 1, 2, 3, 4, and the model 0, 1, 2"),
        (("evaluate", "run", "--split", "all"), "a split is train, validation or test, not 'all'"),
    ],
)
def test_a_wrong_use_is_one_line(used, words, said):
    (used / "broken.tflite").write_bytes(b"TFL3")
    done = kcnn_command(*words, cwd=used)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
