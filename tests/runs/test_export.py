"""Exported files give in their own runtime what Keras gives, carry their classes, and are complete or absent."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kcnn
from kcnn.blocks import apply
from kcnn.export.formats import FORMATS, export_model
from kcnn.export.run_export import ExportResult, export_for_phones, export_run
from kcnn.export.runtimes import load_exported
from kcnn.graph import ops
from kcnn.statistics import compare_predictions
from kcnn.training.run_data import load_run_data
from tests.runs.training import train_with as train

RNG = np.random.default_rng(0)
CLASSES = ["bee", "ant", "fly"]


@pytest.fixture(scope="module")
def small():
    """A network of few layers, and pixels for it."""
    model = kcnn.build("resnet20", units=1, classes=3, input_shape=(16, 16, 3), seed=1)
    return model, RNG.integers(0, 256, (12, 16, 16, 3)).astype("uint8")


@pytest.mark.parametrize("format", FORMATS)
def test_export_model_gives_keras_probabilities_and_class_names(small, format, tmp_path):
    model, images = small
    path = export_model(model, tmp_path / "net", format, classes=CLASSES, calibration_images=images)
    exported = load_exported(path)
    assert path.suffix == FORMATS[format]
    assert exported.metadata["classes"] == CLASSES
    assert (exported.metadata["input_shape"], exported.metadata["pixels"]) == ([16, 16, 3], [0, 255])
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(images.astype("float32"))))
    tolerance = {"litert-float16": 3e-3, "litert-dynamic": 0.03, "litert-int8": 0.06}
    np.testing.assert_allclose(exported.run(images), expected, atol=tolerance.get(format, 1e-5))


@pytest.fixture(scope="module")
def normed():
    """A network of each norm, with GELU after one and within another layer, and pixels for it."""

    def backbone(x):
        x = apply(ops.Conv(8, 4, 4, "valid", standardized=True), x, name="stem")
        for norm in (ops.LayerNorm(), ops.GroupNorm(4), ops.GlobalResponseNorm()):
            name = type(norm).__name__.lower()
            x = apply(ops.Activation("gelu"), apply(norm, x, name=name), name=f"{name}_gelu")
        return apply(ops.LayerScale(0.5), x, name="scale")

    model = kcnn.build(
        kcnn.Architecture(backbone=backbone, reference="none", input_shape=(16, 16, 3)), classes=3, seed=1
    )
    for layer in model.layers:
        if hasattr(layer, "gamma"):
            layer.set_weights([RNG.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model, RNG.integers(0, 256, (4, 16, 16, 3)).astype("uint8")


@pytest.mark.parametrize("format", ["litert", "onnx", "saved_model"])
def test_export_model_computes_norms_and_exact_gelu(normed, format, tmp_path):
    model, images = normed
    exported = load_exported(export_model(model, tmp_path / "net", format, classes=CLASSES))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(images.astype("float32"))))
    np.testing.assert_allclose(exported.run(images), expected, atol=1e-5)


@pytest.mark.parametrize(("format", "invert"), [("onnx", False), ("onnx", True), ("keras", False)])
def test_export_model_computes_an_adapted_normalization(small, format, invert, tmp_path):
    _, images = small
    image, normalization = keras.Input((16, 16, 3)), keras.layers.Normalization(invert=invert)
    normalization.adapt(images.astype("float32"))
    x = keras.layers.Rescaling(0.001)(normalization(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    exported = load_exported(export_model(model, tmp_path / "net", format, classes=CLASSES))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(images.astype("float32"))))
    np.testing.assert_allclose(exported.run(images), expected, atol=1e-5)


def test_export_model_refuses_what_onnx_cannot_compute(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.ops.erfinv(image / 300.0)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    with pytest.raises(ValueError, match=r"cannot write net.onnx: ONNX has no Erfinv; choose another format"):
        export_model(model, tmp_path / "net", "onnx", classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_load_exported_runs_keras_without_the_overhead_of_predict(small, tmp_path, monkeypatch):
    path = export_model(small[0], tmp_path / "net", "keras", classes=CLASSES)
    exported = load_exported(path)
    monkeypatch.setattr(keras.Model, "predict", None)  # it starts a loop over a dataset for each image
    assert isinstance(exported.run(small[1]), np.ndarray)


def test_export_model_litert_int8_takes_and_gives_bytes(small, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model, images = small
    interpreter = Interpreter(str(export_model(model, tmp_path / "net", "litert-int8", calibration_images=images)))
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert [end["dtype"] for end in ends] == [np.uint8, np.uint8]


@pytest.mark.parametrize("format", ["litert", "litert-int8"])
def test_export_model_litert_has_the_standard_metadata(small, format, tmp_path):
    from flatbuffers.encode import Get
    from flatbuffers.packer import uoffset
    from flatbuffers.table import Table
    from tensorflow.lite.tools.flatbuffer_utils import read_model

    model, images = small
    path = export_model(model, tmp_path / "net", format, classes=CLASSES, calibration_images=images)
    content = read_model(str(path))
    (entry,) = [one for one in content.metadata if one.name == b"TFLITE_METADATA"]
    buffer = bytes(content.buffers[entry.buffer].data)
    assert buffer[4:8] == b"M001"
    root = Table(buffer, Get(uoffset, buffer, 0))
    assert [_text(root, slot) for slot in (0, 7)] == ["resnet20", "1.0.0"]
    (graph,) = _tables(root, 3)
    (image,), (scores,) = _tables(graph, 2), _tables(graph, 3)
    assert [_text(one, 0) for one in (image, scores)] == ["image", "probability"]
    (unit,) = _tables(image, 4)
    options = Table(buffer, unit.Indirect(unit.Offset(6) + unit.Pos))
    assert [_floats(options, slot) for slot in (0, 1)] == [[0.0], [1.0]]  # mean and deviation
    (labels,) = _tables(scores, 6)
    assert _text(labels, 0) == "labels.txt"


def _text(table, slot):
    return table.String(table.Offset(4 + 2 * slot) + table.Pos).decode()


def _tables(table, slot):
    from flatbuffers.table import Table

    field = table.Offset(4 + 2 * slot)
    start = table.Vector(field)
    return [Table(table.Bytes, table.Indirect(start + 4 * n)) for n in range(table.VectorLen(field))]


def _floats(table, slot):
    field = table.Offset(4 + 2 * slot)
    return np.frombuffer(table.Bytes, "<f4", table.VectorLen(field), table.Vector(field)).tolist()


def test_media_pipe_classifies_with_an_exported_file(small, tmp_path):
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    model, images = small
    path = export_model(model, tmp_path / "net", "litert", classes=CLASSES)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        result = classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=images[0]))
    scores = {one.category_name: one.score for one in result.classifications[0].categories}
    expected = load_exported(path).run(images[:1])[0]
    np.testing.assert_allclose([scores[name] for name in CLASSES], expected, atol=1e-5)


@pytest.mark.parametrize("format", ["litert", "litert-int8"])
def test_export_model_litert_takes_one_image_at_a_time(small, format, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model, images = small
    path = export_model(model, tmp_path / "net", format, calibration_images=images)
    interpreter = Interpreter(str(path))
    (image,) = interpreter.get_input_details()
    assert image["shape"].tolist() == image["shape_signature"].tolist() == [1, 16, 16, 3], "no size is open"
    interpreter.resize_tensor_input(image["index"], [1, 16, 16, 3], strict=True)
    with pytest.raises(RuntimeError, match="only allows mutating unknown dimensions"):
        interpreter.resize_tensor_input(image["index"], [2, 16, 16, 3], strict=True)
    exported = load_exported(path)
    rows = [exported.run(images[i : i + 1]) for i in range(3)]
    np.testing.assert_array_equal(exported.run(images[:3]), np.concatenate(rows))


def test_export_model_litert_has_labels_txt(small, tmp_path):
    import zipfile

    model, _ = small
    with zipfile.ZipFile(export_model(model, tmp_path / "net", classes=CLASSES)) as archive:
        assert archive.read("labels.txt").decode().split() == CLASSES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "unknown export format 'tflite'. Did you mean 'litert'"),
        ({"format": "litert-int8"}, "requires calibration_images="),
        ({"classes": ["one"]}, "expected 3 class names, one for each output, got 1"),
    ],
)
def test_export_model_refuses_before_anything_is_written(small, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_model(small[0], tmp_path / "net", **arguments)
    assert not any(tmp_path.iterdir())


def test_load_exported_refuses_foreign_and_damaged_files(small, tmp_path):
    for name in ("a.tflite", "a.onnx", "a.keras"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(ValueError, match=rf"(cannot run .*{name}|{name} was not exported)"):
            load_exported(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"file not found: .*b\.tflite"):
        load_exported(tmp_path / "b.tflite")
    truncated = export_model(small[0], tmp_path / "truncated")
    truncated.write_bytes(truncated.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"truncated\.tflite"):
        load_exported(truncated)


def test_export_model_replaces_a_saved_model_and_nothing_else(small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"photo")
    with pytest.raises(ValueError, match=r"mine exists and is not a SavedModel"):
        export_model(small[0], tmp_path / "mine", "saved_model")
    for classes in (["a", "b", "c"], CLASSES):
        path = export_model(small[0], tmp_path / "net", "saved_model", classes=classes)
    assert load_exported(path).metadata["classes"] == CLASSES
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine", "net"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return train("convnet", "digits", out=folder, recipe="auto", input_shape=(16, 16, 1), epochs=2).folder


def test_cli_export_runs_each_file_on_the_complete_test_split(run, command):
    done = command("export", run, "--format", "litert", "--format", "litert-int8", "--json")
    assert done.returncode == 0, done.stderr
    keras_row, litert, int8 = json.loads(done.stdout)
    assert [row["images"] for row in (keras_row, litert, int8)] == [359] * 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert keras_row["accuracy"] == metrics["accuracy"]
    assert litert["agreement"] == 1
    assert int8["agreement"] > 0.95
    assert keras_row["difference"] is None
    assert litert["difference"]["points"] == 0
    assert int8["difference"]["points"] == pytest.approx(100 * (int8["accuracy"] - keras_row["accuracy"]))
    assert int8["bytes"] < litert["bytes"] / 2
    assert sorted(one.name for one in (run / "export").iterdir()) == ["litert-int8.tflite", "litert.tflite"]


def test_cli_export_removes_a_file_that_loses_too_much_accuracy(run, tmp_path, monkeypatch):
    from kcnn.cli import export as command
    from kcnn.cli.console import JobStoppedError

    def load_worse(path, trust):
        exported = load_exported(path, trust=trust)
        return type(exported)(exported.metadata, lambda pixels: np.roll(exported.run(pixels), 1, axis=-1))

    monkeypatch.setattr("kcnn.export.verification.load_exported", load_worse)
    with pytest.raises(JobStoppedError, match=r"accuracy drop exceeds 2 points; not kept: litert -\d"):
        command.export(Path(run), ["litert"], tmp_path)
    assert not any(tmp_path.iterdir())
    command.export(Path(run), ["litert"], tmp_path, max_accuracy_drop=100.0)
    assert [one.name for one in tmp_path.iterdir()] == ["litert.tflite"]


def test_export_run_keeps_files_by_images_that_are_not_for_testing(run, tmp_path, monkeypatch):
    """A file that is wrong about the test images alone is kept: they report, and decide nothing."""
    known = {image.tobytes() for pixels, _ in load_run_data(run).dataset.test for image in np.uint8(np.round(pixels))}

    def load_worse(path, trust):
        exported = load_exported(path, trust=trust)

        def predict(pixels):
            is_test = np.array([image.tobytes() in known for image in pixels])
            return np.where(is_test[:, None], np.roll(exported.run(pixels), 1, axis=-1), exported.run(pixels))

        return type(exported)(exported.metadata, predict)

    monkeypatch.setattr("kcnn.export.verification.load_exported", load_worse)
    result = export_run(run, "keras", tmp_path)
    assert result.path.exists()
    assert result.checks[1].accuracy < 0.1 < result.checks[0].accuracy


def spoil_int8(fraction):
    """A load_exported whose 8-bit file is wrong about a fraction of each batch, and else predicts as the other one."""

    def load_spoiled(path, trust):
        exported = load_exported(str(path).replace("-int8", ""), trust=trust)

        def predict(pixels):
            is_spoiled = np.arange(len(pixels)) < fraction * len(pixels)
            return np.where(is_spoiled[:, None], np.roll(exported.run(pixels), 1, axis=-1), exported.run(pixels))

        return type(exported)(exported.metadata, predict if "int8" in path.name else exported.run)

    return load_spoiled


@pytest.mark.parametrize(("fraction", "name"), [(0, "phone-int8.tflite"), (0.5, "phone.tflite")])
def test_export_for_phones_recommends_the_smallest_file_that_keeps_its_accuracy(
    run, tmp_path, monkeypatch, fraction, name
):
    monkeypatch.setattr("kcnn.export.verification.load_exported", spoil_int8(fraction))
    data = load_run_data(run).dataset.subset(train=100, validation=100)
    result = export_for_phones(run, data, tmp_path)
    assert result.recommended == tmp_path / name
    assert result.validation_images == 100
    assert result.recommendation.startswith(f"recommended: {tmp_path / name}, the smallest file whose 95% interval ")
    assert f"phone-int8 {result.validation['phone-int8']}" in result.recommendation  # with its interval
    keras_row, litert, int8 = result.checks
    assert keras_row.difference is None
    assert (litert.difference.points, litert.difference.significant) == (0, False)
    assert int8.difference.points == pytest.approx(100 * (int8.accuracy - keras_row.accuracy))
    assert int8.difference.low <= int8.difference.points <= int8.difference.high
    assert f"{int8.difference.points:+.2f} ({int8.difference.low:+.2f} to" in str(result)
    loss = "phone-int8 is significantly less accurate than model.keras on the test images: -"
    assert [line.startswith(loss) for line in result.losses] == [True] * bool(fraction)


@pytest.mark.parametrize(
    ("images", "lost", "name"),
    [
        (1_000, 0, "int8"),
        (1_000, 8, "int8"),  # 0.8 points, and at most 1.4
        (1_000, 15, "litert"),  # 1.5 points, and perhaps 2.3
        (40, 0, "litert"),  # 0 points, and perhaps 4.7: too few images
    ],
)
def test_export_result_recommends_no_file_that_perhaps_loses_too_much(tmp_path, images, lost, name):
    files = {one: tmp_path / one for one in ("litert", "int8")}
    files["litert"].write_bytes(b"larger")
    files["int8"].write_bytes(b"less")
    correct = np.ones(images, bool)
    differences = {
        "litert": compare_predictions(correct, correct),
        "int8": compare_predictions(np.arange(images) >= lost, correct),
    }
    assert ExportResult(files, (), differences, images).recommended == files[name]
    assert ExportResult(files, ()).recommended == files["litert"]
    assert ExportResult(files, ()).recommendation == ""


def test_cli_export_removes_a_file_that_its_runtime_refuses(run, tmp_path, monkeypatch):
    from kcnn.cli import export as command
    from kcnn.cli.console import JobStoppedError

    def refuse(path, trust):
        raise ValueError(f"LiteRT cannot run {path}")

    monkeypatch.setattr("kcnn.export.verification.load_exported", refuse)
    with pytest.raises(JobStoppedError, match=r"LiteRT cannot run .*litert\.tflite; the exported files were removed"):
        command.export(Path(run), ["litert"], tmp_path)
    assert not any(tmp_path.iterdir())
