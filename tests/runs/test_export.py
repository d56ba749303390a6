"""Exported files say by their own runtime what Keras says, carry their classes, and are whole or not there."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

import kcnn
from kcnn.export.formats import FORMATS, export_model
from kcnn.export.runtimes import load_exported

RNG = np.random.default_rng(0)
CLASSES = ["bee", "ant", "fly"]


@pytest.fixture(scope="module")
def small():
    """A network of few layers, and pixels for it."""
    model = kcnn.build("resnet20", units=1, classes=3, input_shape=(16, 16, 3), seed=1)
    return model, RNG.integers(0, 256, (12, 16, 16, 3)).astype("uint8")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_gives_keras_probabilities_and_the_names_of_its_classes(small, format, tmp_path):
    model, images = small
    path = export_model(model, tmp_path / "net", format, classes=CLASSES, examples=images)
    served = load_exported(path)
    assert path.suffix == FORMATS[format]
    assert served.metadata["classes"] == CLASSES
    assert (served.metadata["input_shape"], served.metadata["pixels"]) == ([16, 16, 3], [0, 255])
    wanted = keras.ops.convert_to_numpy(keras.ops.softmax(model(images.astype("float32"))))
    exact = {"litert-float16": 3e-3, "litert-dynamic": 0.03, "litert-int8": 0.06}
    np.testing.assert_allclose(served.run(images), wanted, atol=exact.get(format, 1e-5))


def test_whole_int8_takes_and_gives_bytes(small, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model, images = small
    interpreter = Interpreter(str(export_model(model, tmp_path / "net", "litert-int8", examples=images)))
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert [end["dtype"] for end in ends] == [np.uint8, np.uint8]


def test_labels_lie_in_the_file_as_litert_has_them(small, tmp_path):
    import zipfile

    model, _ = small
    with zipfile.ZipFile(export_model(model, tmp_path / "net", classes=CLASSES)) as archive:
        assert archive.read("labels.txt").decode().split() == CLASSES


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"format": "tflite"}, "format is one of litert, .*, not 'tflite'"),
        ({"format": "litert-int8"}, "ranges of its numbers from images"),
        ({"classes": ["one"]}, "1 names of classes for 3 outputs"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_is_written(small, asked, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        export_model(small[0], tmp_path / "net", **asked)
    assert not any(tmp_path.iterdir())


def test_a_file_that_was_not_exported_or_is_damaged_is_refused_by_name(small, tmp_path):
    for name in ("a.tflite", "a.onnx", "a.keras"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(ValueError, match=rf"{name} (was not exported|is no model)"):
            load_exported(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.tflite"):
        load_exported(tmp_path / "b.tflite")
    torn = export_model(small[0], tmp_path / "torn")
    torn.write_bytes(torn.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"torn\.tflite"):
        load_exported(torn)


def test_a_saved_model_takes_the_place_of_one_and_of_nothing_else(small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"photo")
    with pytest.raises(ValueError, match=r"mine is there already and is no SavedModel"):
        export_model(small[0], tmp_path / "mine", "saved_model")
    for classes in (["a", "b", "c"], CLASSES):
        path = export_model(small[0], tmp_path / "net", "saved_model", classes=classes)
    assert load_exported(path).metadata["classes"] == CLASSES
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine", "net"]


def kcnn_command(*words):
    code = "from kcnn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = kcnn_command("train", "convnet", "--data", "digits", "--input", "16x16x1", "--epochs", 2, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_is_exported_and_each_file_tried_on_the_whole_test_split(run):
    done = kcnn_command("export", run, "--format", "litert", "--format", "litert-int8", "--json")
    assert done.returncode == 0, done.stderr
    keras_row, litert, int8 = json.loads(done.stdout)
    assert [row["images"] for row in (keras_row, litert, int8)] == [359] * 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert keras_row["accuracy"] == metrics["accuracy"]
    assert litert["agreement"] == 1
    assert int8["agreement"] > 0.95
    assert int8["bytes"] < litert["bytes"] / 2
    assert sorted(one.name for one in (run / "export").iterdir()) == ["litert-int8.tflite", "litert.tflite"]


def test_a_command_in_a_process_with_tensorflow_does_not_have_its_children_compute_otherwise(monkeypatch):
    from kcnn.cli.backend import start_backend

    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    start_backend()
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


def test_a_file_that_loses_more_than_is_allowed_is_not_left_behind(run, tmp_path, monkeypatch):
    from kcnn.cli import export as command
    from kcnn.cli.console import JobStopped

    check = import_module("kcnn.export.verification")
    real = check.serve

    def worse(path):
        served = real(path)
        return type(served)(served.metadata, lambda pixels: np.roll(served.run(pixels), 1, axis=-1))

    monkeypatch.setattr(check, "serve", worse)
    with pytest.raises(JobStopped, match=r"more points of accuracy lost than --allow-loss 2, and not kept: litert \d"):
        command.export(Path(run), ["litert"], tmp_path)
    assert not any(tmp_path.iterdir())
    command.export(Path(run), ["litert"], tmp_path, allow=100.0)
    assert [one.name for one in tmp_path.iterdir()] == ["litert.tflite"]


def test_a_file_that_its_runtime_refuses_is_not_left_behind(run, tmp_path, monkeypatch):
    from kcnn.cli import export as command
    from kcnn.cli.console import JobStopped

    def refused(path):
        raise ValueError(f"{path} is no model that LiteRT runs")

    monkeypatch.setattr(import_module("kcnn.export.verification"), "serve", refused)
    with pytest.raises(JobStopped, match=r"litert\.tflite is no model that LiteRT runs; what was written is removed"):
        command.export(Path(run), ["litert"], tmp_path)
    assert not any(tmp_path.iterdir())
