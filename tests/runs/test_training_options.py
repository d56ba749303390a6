"""Options of a training: mixed precision, auxiliary classifiers, TensorBoard, JAX, and the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kcnn
from tests import hidden
from tests.runs.training import train_with as train


@pytest.mark.every
def test_train_trains_auxiliary_classifiers(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 65, 65, 1), "uint8")
    found = train("googlenet.bn", (x, np.arange(40) % 2), out=tmp_path / "out", epochs=1, aux=True)
    assert "aux2_loss" in found.history[0]


@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.every), "mixed_float16"])
def test_train_in_mixed_precision_learns_and_saves_a_float32_model(precision, tmp_path):
    found = train(
        *("stack", "digits"),
        out=tmp_path / "out",
        input_shape=(8, 8, 1),
        epochs=3,
        learning_rate=3e-3,
        options={"depth": 2},
        precision=precision,
    )
    assert found.metrics["accuracy"] > 0.8
    assert found.metrics["request"]["config"]["precision"] == precision
    model = kcnn.load_model(found.folder / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    import keras

    assert keras.config.dtype_policy().name == "float32"


def test_train_writes_events_for_tensorboard(tmp_path):
    train("mlp", "digits", out=tmp_path / "out", input_shape=(8, 8, 1), epochs=1, tensorboard=True)
    assert list((tmp_path / "out" / "tensorboard").rglob("events.out.*"))


def kcnn_command(*words, cwd):
    code = "from kcnn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_cli_train_and_predict_print_no_messages_of_libraries(tmp_path, command, monkeypatch):
    done = kcnn_command(
        *("train", "convnet", "--data", "digits", "--input-size", "16x16x1", "--epochs", "2", "--out", "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert "recipe auto for 1,258 training images: epochs 2, batch_size 32, optimizer adamw, " in done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert any(line.startswith("device: ") for line in lines)
    lines = [line for line in lines if not line.startswith("device: ")]
    assert not [
        line for line in lines if any(word in line for word in ("I0000", "WARNING", "cuda", "oneDNN", "Warning"))
    ]
    assert sum(line.startswith("epoch") for line in lines) >= 2
    seven = 255 - np.kron(np.array([[0, 255, 255, 0], [0, 0, 255, 0], [0, 255, 0, 0], [0, 255, 0, 0]]), np.ones((7, 7)))
    Image.fromarray(seven.astype("uint8")).save(tmp_path / "a.png")
    done = kcnn_command("predict", "out", "a.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["a.png"]
    assert len(best) == 3
    assert set(best) <= set("0123456789")
    (tmp_path / "broken.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    done = command("predict", "out", "broken.png")
    assert done.returncode == 2
    assert "cannot decode broken.png: not an image file" in done.stderr
    assert "Traceback" not in done.stderr


JAX = """
import sys
from pathlib import Path
import keras
from sklearn.datasets import load_digits
from kcnn import ModelSpec
from kcnn.training import TrainConfig, train

assert keras.backend.backend() == "jax"
digits = load_digits()
data = (digits.images * (255 / 16)).astype("uint8"), digits.target
spec = ModelSpec(network="convnet", input_shape=(16, 16, 1))
config = TrainConfig(recipe="quick", epochs=3, learning_rate=3e-3, recipe_overrides={"ema_momentum": 0.9})

class Stopped(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

whole = train(spec, data, config, out="whole")
assert whole.metrics["accuracy"] > 0.8, whole.metrics["accuracy"]
try:
    train(spec, data, config, out="halves", callbacks=[Stopped()])
except KeyboardInterrupt:
    resumed = train(spec, data, config, out="halves")
assert resumed.resumed_epochs == 2
assert [row["val_loss"] for row in resumed.history] == [row["val_loss"] for row in whole.history]
mixed = TrainConfig(recipe="quick", epochs=2, recipe_overrides={"flip": True, "rand_augment": (1, 0.5), "mixup": 0.2})
assert train(spec, data, mixed, out="mixed").history[1]["loss"] < 2.3
for words, said in (
    ({"strategy": "mirrored"}, "needs TensorFlow, and the backend of Keras is jax"),
    ({"tensorboard": True}, "TensorBoard output needs TensorFlow"),
):
    try:
        train("convnet", data, TrainConfig(**words), out="other")
    except (ImportError, RuntimeError) as error:
        assert said in str(error), error
    else:
        raise AssertionError(words)
assert not Path("other").exists() and "tensorflow" not in sys.modules
"""


@pytest.mark.every
def test_train_on_jax_from_arrays_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    hidden.run(JAX, backend="jax", cwd=tmp_path)
