"""kcnn predict and kcnn evaluate: the same predictions and metrics from a run and its exported files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.export import evaluate
from kcnn.export.formats import export_model
from kcnn.export.opened_model import open_model, prepare_image
from tests.runs.training import train_with as train


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A run, its exported files, and an image."""
    folder = tmp_path_factory.mktemp("used")
    run = train("convnet", "digits", out=folder / "run", input_shape=(28, 28, 1), epochs=2, learning_rate=3e-3)
    model = kcnn.load_model(run.folder / "model.keras")
    for name in ("litert", "onnx", "keras"):
        export_model(model, folder / name, name)
    digits = kcnn.data.load("digits", input_shape=(8, 8, 1))
    Image.fromarray(digits.splits["test"].read_batch(np.array([0]))[0][0, ..., 0]).save(folder / "a digit.png")
    return folder


def test_cli_predict_of_a_run_and_its_exported_files_agree(used, command, monkeypatch):
    monkeypatch.chdir(used)
    predictions = {}
    for name in ("run", "litert.tflite", "onnx.onnx", "keras.keras"):
        done = command("predict", name, "a digit.png", "--top", "2", "--json")
        assert done.returncode == 0, done.stderr
        predictions[name] = json.loads(done.stdout)["a digit.png"]
    expected = predictions.pop("run")
    assert len(expected) == 2
    for best in predictions.values():
        assert list(best) == list(expected)
        assert list(best.values()) == pytest.approx(list(expected.values()), abs=1e-5)


def test_cli_predict_of_an_exported_file_needs_neither_tensorflow_nor_keras(used):
    code = (
        "import sys; from kcnn.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'heavy'"
    )
    words = [sys.executable, "-c", code, "predict", "litert.tflite", "a digit.png"]
    done = subprocess.run(words, cwd=used, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cli_evaluate_of_a_run_or_its_file_prints_the_metrics_of_the_run(used, command, monkeypatch):
    monkeypatch.chdir(used)
    metrics = json.loads((used / "run" / "metrics.json").read_text())
    for words in (("run",), ("litert.tflite", "--data", "digits")):
        done = command("evaluate", *words, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["accuracy"], result["images"]) == (metrics["accuracy"], metrics["test_images"])
        assert result["confusion"] == metrics["confusion"]
        assert result["interval"][0] < result["accuracy"] < result["interval"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nothing.tflite", "a digit.png"), "file not found: nothing.tflite"),
        (("predict", "broken.tflite", "a digit.png"), "broken.tflite was not exported by kcnn, or is damaged"),
        (("predict", "litert.tflite", "none.png"), "file not found: none.png"),
        (("evaluate", "litert.tflite"), "missing option --data: litert.tflite does not record its dataset"),
        (
            ("evaluate", "litert.tflite", "--data", "digits:0-4"),
            "has the classes 0, 1, 2, 3, 4; expected those of the model: 0, 1, 2",
        ),
        (("evaluate", "run", "--split", "all"), "unknown split 'all'; choose from train, validation, test"),
    ],
)
def test_cli_predict_and_evaluate_report_errors_in_one_line(used, arguments, message, command, monkeypatch):
    monkeypatch.chdir(used)
    (used / "broken.tflite").write_bytes(b"TFL3")
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if not line.startswith(("loading ", "device: ")))
    assert error.startswith("error: ")


@pytest.mark.parametrize("crop_mode", [{}, {"crop_mode": "squash"}])
def test_evaluate_crops_images_like_predict_where_weights_were_published_with_a_crop(crop_mode, tmp_path):
    model = kcnn.build("mlp", input_shape=(8, 8, 1), classes=2, seed=0)
    crop = {"resize": 16, "crop": 8, "interpolation": "bilinear", **crop_mode}
    model.update_metadata(classes=["a", "b"], preprocessing=crop)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 12, 16), "uint8")
    *_, bias = model.get_layer("logits").weights
    probabilities = kcnn.predict(model, list(pixels)).probabilities
    bias.assign([0, np.median(np.log(probabilities[:, 0] / probabilities[:, 1]))])  # half of them are of each class
    labels = np.array([label for (label,) in kcnn.predict(model, list(pixels)).labels])
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / label / f"{number}.png")
    (tmp_path / "a" / "broken.png").write_text("no image")
    for data, skipped in ((tmp_path, 1), ((pixels, labels), 0)):
        result = evaluate(model, data, "train")
        assert (result.accuracy, result.metrics["skipped"]) == (1, skipped)
        assert result.metrics["images"] > 40
    model.update_metadata(preprocessing=None)
    assert evaluate(model, tmp_path, "train").accuracy < 0.9


def test_prepare_image_takes_the_content_of_a_file(used):
    opened, file = open_model(str(used / "run")), used / "a digit.png"
    np.testing.assert_array_equal(prepare_image(file.read_bytes(), opened), prepare_image(file, opened))
