"""kcnn.train: the files of a run, and that a seed fixes it to the last digit."""

import csv
import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn import data
from kcnn.blocks import apply, conv
from kcnn.blocks.heads import head
from kcnn.graph.ops import Activation
from kcnn.training import Recipe, TrainConfig, load_run_data
from kcnn.training.best_epoch import find_best_epoch
from kcnn.training.evidence import compute_scores
from kcnn.training.run_directory import UNLIKE
from kcnn.training.run_summaries import list_runs
from tests import hidden
from tests.runs.training import train_with as train

REQUEST = {"input_shape": (28, 28, 1), "epochs": 4, "seed": 3, "learning_rate": 1e-3}


def history(folder):
    """What a seed fixes of a history, as it is written."""
    with (folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in UNLIKE} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("convnet", "digits", out=tmp_path_factory.mktemp("run") / "out", **REQUEST)


def test_train_learns_and_writes_model_history_metrics_and_plots(run):
    assert run.metrics["accuracy"] > 0.9
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json",
        "model.keras",
        "history.csv",
        "metrics.json",
        "curves.png",
        "confusion.png",
        "predictions.csv",
        "test.npz",
        "splits.csv",
    }
    assert len(history(run.folder)) == 4
    found = json.loads((run.folder / "metrics.json").read_text())
    assert found["accuracy"] == found["correct"] / 359
    assert np.trace(found["confusion"]) == found["correct"]
    assert set(found["per_class"]) == set("0123456789")
    assert found["request"]["config"]["seed"] == 3
    assert found["request"]["config"]["recipe"]["optimizer"] == "adamw"
    assert {"keras", "tensorflow", "kcnn"} <= set(found["versions"])
    assert found["command"]
    for name in ("curves.png", "confusion.png"):
        assert min(Image.open(run.folder / name).size) > 200


def test_train_history_has_learning_rate_time_throughput_and_memory(run):
    first, last = run.history[0], run.history[-1]
    assert first["images_per_second"] > 1
    assert 0 < first["seconds"] < 120
    assert 100 < first["peak_memory_mb"] < 100_000
    assert last["learning_rate"] < first["learning_rate"] <= 1e-3


def test_train_config_json_holds_the_complete_request(run):
    found = json.loads((run.folder / "config.json").read_text())
    assert found["request"]["config"]["recipe"] == {
        **json.loads(json.dumps(Recipe().to_json())),
        "epochs": 4,
        "learning_rate": 1e-3,
    }
    assert found["request"]["images"] == {"train": 1258, "test": 359, "validation": 180}
    assert found["versions"]["keras"]
    assert found["command"]


def test_train_saves_a_model_that_scores_its_metrics(run):
    from kcnn import data

    model = kcnn.load_model(run.folder / "model.keras")
    found = data.load("digits", input_shape=(28, 28, 1), seed=3)
    predicted = model.predict(found.test, verbose=0).argmax(-1)
    assert int((predicted == found.splits["test"].labels).sum()) == run.metrics["correct"]
    assert model.metadata["classes"] == list("0123456789")


def test_train_with_the_same_seed_repeats_to_the_last_digit(run, tmp_path):
    again = train("convnet", "digits", out=tmp_path / "out", **REQUEST)
    assert history(again.folder) == history(run.folder)
    assert again.metrics["confusion"] == run.metrics["confusion"]
    assert again.metrics["loss"] == run.metrics["loss"]


def test_train_augmentation_dropout_and_averages_follow_from_the_seed(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 20, 20, 3), "uint8")
    request = {
        "recipe": "strong",
        "input_shape": (20, 20, 3),
        "epochs": 2,
        "batch_size": 8,
        "options": {"dropout": 0.3},
        "recipe_overrides": {"class_weights": "balanced"},
    }
    runs = [train("convnet", (x, np.arange(60) % 3), out=tmp_path / word, **request) for word in ("a", "b")]
    assert history(runs[0].folder) == history(runs[1].folder)
    other = train("convnet", (x, np.arange(60) % 3), out=tmp_path / "c", seed=1, **request)
    assert history(other.folder) != history(runs[0].folder)


def test_train_returns_a_finished_run_unchanged(run):
    again = train("convnet", "digits", out=run.folder, **REQUEST)
    assert again.resumed_epochs == 4
    assert again.metrics == run.metrics


def test_train_result_prints_a_table_and_shows_curves_in_a_notebook(run):
    title, *rows = repr(run).splitlines()
    assert title == f"convnet on digits: {run.folder}"
    assert any(row.startswith("test accuracy") and f"{run.metrics['correct']} of 359 images" in row for row in rows)
    assert max(map(len, rows)) < 120
    html = run._repr_html_()
    assert html.count("<svg") == 2
    assert "Accuracy over 4 epochs" in html
    assert f"{run.metrics['params']:,}" in html


@pytest.fixture
def traces(monkeypatch):
    """The specs that are traced."""
    specs, trace = [], kcnn.ModelSpec.trace
    monkeypatch.setattr(kcnn.ModelSpec, "trace", lambda spec: (specs.append(spec), trace(spec))[1])
    return specs


def test_train_traces_the_network_once(traces, tmp_path):
    train("mlp", "digits", out=tmp_path / "out", input_shape=(8, 8, 1), epochs=1)
    assert [(spec.input_shape, spec.classes) for spec in traces] == [((8, 8, 1), 10)]


def test_cli_train_traces_the_network_once(traces, tmp_path, monkeypatch):
    from kcnn.cli import app

    monkeypatch.setattr("kcnn.reports.write_report", lambda folder: folder)  # a report traces the network it plots
    words = ("train", "mlp", "--data", "digits", "--input-size", "8x8x1", "--epochs", "1", "--out")
    app([*words, str(tmp_path / "out")], standalone_mode=False)
    assert [(spec.input_shape, spec.classes) for spec in traces] == [((8, 8, 1), 10)]


def test_train_refuses_the_folder_of_another_run(run):
    with pytest.raises(ValueError, match=r"holds another run \(config.seed 3, not 4\)"):
        train("convnet", "digits", out=run.folder, **{**REQUEST, "seed": 4})
    with pytest.raises(ValueError, match=r"holds another run \(config.recipe.ema_momentum 0.0, not 0.9\)"):
        train("convnet", "digits", out=run.folder, **REQUEST, recipe_overrides={"ema_momentum": 0.9})


def test_train_applies_every_recipe_override(tmp_path):
    from kcnn import data

    found = data.load("digits", input_shape=(8, 8, 1), batch_size=64)
    run = train(
        "mlp", found, out=tmp_path / "out", recipe_overrides={"epochs": 1, "batch_size": 16, "learning_rate": 0.5}
    )
    assert len(run.history) == 1
    assert run.metrics["batch_size"] == 16
    assert run.metrics["request"]["config"]["recipe"]["learning_rate"] == 0.5
    with pytest.raises(ValueError, match=r"loaded with input_shape \(8, 8, 1\), not \(9, 9, 1\)"):
        train("mlp", found, out=tmp_path / "other", input_shape=(9, 9, 1))


def test_train_reports_mistakes_before_data_is_read(tmp_path):
    with pytest.raises(ValueError, match="smallest input that fits"):
        train("convnet", "nowhere", out=tmp_path / "out", epochs=1, input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="learning_rate"):
        train("convnet", "nowhere", out=tmp_path / "out", epochs=1, learning_rate=0)
    with pytest.raises(ValueError, match="unknown precision"):
        train("convnet", "nowhere", out=tmp_path / "out", precision="float64")
    assert not (tmp_path / "out").exists()


@pytest.mark.every
def test_train_trains_auxiliary_classifiers(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 65, 65, 1), "uint8")
    found = train("googlenet.bn", (x, np.arange(40) % 2), out=tmp_path / "out", epochs=1, aux=True)
    assert "aux2_loss" in found.history[0]


def test_train_patience_stops_early_and_keeps_the_epoch_that_counts(tmp_path):
    """Random labels: validation does not get better for long."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (80, 12, 12, 1), "uint8"), rng.integers(0, 2, 80)
    found = train(
        "mlp", (x, y), out=tmp_path / "out", input_shape=(12, 12, 1), epochs=50, recipe_overrides={"patience": 2}
    )
    ranks = [(row["val_accuracy"], -row["val_loss"]) for row in found.history]
    assert len(found.history) == ranks.index(max(ranks)) + 1 + 2 < 50
    images = found.metrics["images"]["validation"]
    assert found.metrics["best_epoch"] == find_best_epoch(found.history, images)


def test_train_tests_and_saves_the_epoch_that_validation_chooses(tmp_path):
    """Random labels: more training makes validation worse, by chance better, and the last epoch does not count."""
    rng = np.random.default_rng(1)
    data_ = (rng.integers(0, 256, (120, 12, 12, 1), "uint8"), rng.integers(0, 2, 120))
    found = train("mlp", data_, out=tmp_path / "out", input_shape=(12, 12, 1), epochs=6)
    best = found.metrics["best_epoch"]
    assert best == find_best_epoch(found.history, found.metrics["images"]["validation"]) < 6
    validation = load_run_data(found.folder, data_).dataset.validation
    logits, truth = compute_scores(kcnn.load_model(found.folder / "model.keras"), validation)
    assert (logits.argmax(-1) == truth).mean() == pytest.approx(found.history[best - 1]["val_accuracy"])
    assert found.metrics["validation_accuracy"] == found.history[best - 1]["val_accuracy"]
    (listed,) = list_runs(found.folder)
    assert listed.validation == found.metrics["validation_accuracy"]
    assert not (found.folder / "checkpoints").exists()


def test_train_auto_chooses_from_the_data_says_what_and_resumes(tmp_path):
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (60, 12, 12, 3), "uint8"), np.arange(60) % 2)
    request = {
        "input_shape": (12, 12, 3),
        "recipe": "auto",
        "epochs": 1,
        "options": {"depth": 1},
        "overrides": {"conv1_bn.momentum": 0.99},
    }
    lines: list[str] = []
    found = train("stack", images, out=tmp_path / "out", **request, log=lines.append)
    training_images = found.metrics["images"]["train"]
    assert lines[0].startswith(f"{training_images} training, ")
    assert lines[1].startswith(f"recipe auto for {training_images} training images: epochs 1, batch_size 10, optimizer")
    assert "augmentation: flip true, resized_crop (0.5, 1)" in lines[1]
    config = TrainConfig.from_json(found.metrics["request"]["config"])
    assert config.recipe_name == "auto"
    assert config.resolved_recipe.norm_momentum == 0.9
    assert kcnn.load_model(found.folder / "model.keras").get_layer("conv1_bn").momentum == 0.99
    assert train("stack", images, out=tmp_path / "out", **request).resumed_epochs == 1


def test_train_adapts_a_named_recipe_to_few_images_and_writes_what_changed(tmp_path):
    images = (np.random.default_rng(0).integers(0, 256, (60, 12, 12, 1), "uint8"), np.arange(60) % 2)
    request = {
        "input_shape": (12, 12, 1),
        "recipe": "paper",
        "epochs": 1,
        "options": {"depth": 1},
        "overrides": {"conv1_bn.momentum": 0.99},
        "recipe_overrides": {"crop": 0},
    }
    lines: list[str] = []
    found = train("stack", images, out=tmp_path / "out", **request, log=lines.append)
    count = found.metrics["images"]["train"]
    changes = "batch_size 32, learning_rate 0.025, norm_momentum 0.9"
    assert f"recipe paper adapted to {count} training images: {changes}" in lines
    written = TrainConfig.from_json(found.metrics["request"]["config"]).resolved_recipe
    assert (written.batch_size, written.learning_rate, written.norm_momentum) == (32, 0.025, 0.9)
    assert train("stack", images, out=tmp_path / "out", **request).resumed_epochs == 1


def test_train_auto_takes_data_without_a_validation_split(tmp_path):
    images = data.load("digits", input_shape=(8, 8, 1))
    images = dataclasses.replace(images, splits={name: images.splits[name] for name in ("train", "test")})
    found = train("mlp", images, out=tmp_path, input_shape=(8, 8, 1), recipe="auto", epochs=1)
    assert found.metrics["request"]["config"]["recipe"]["patience"] == 0
    assert found.metrics["best_epoch"] == 1
    with pytest.raises(ValueError, match="needs a validation split"):  # where it was asked for
        train("mlp", images, out=tmp_path, input_shape=(8, 8, 1), recipe="auto", recipe_overrides={"patience": 3})


@pytest.mark.parametrize(("limit", "momentum"), [(0.9, 0.9), (0.999, 0.99), (None, 0.99)])
def test_train_norm_momentum_bounds_that_of_the_network(limit, momentum, tmp_path):
    seen = set()

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.add(self.model.get_layer("conv1_bn").momentum)

    images = (np.random.default_rng(0).integers(0, 256, (40, 12, 12, 1), "uint8"), np.arange(40) % 2)
    request = {
        "input_shape": (12, 12, 1),
        "epochs": 1,
        "options": {"depth": 1},
        "overrides": {"conv1_bn.momentum": 0.99},
    }
    train("stack", images, out=tmp_path, **request, recipe_overrides={"norm_momentum": limit}, callbacks=[Look()])
    assert seen == {momentum}


@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.every), "mixed_float16"])
def test_train_in_mixed_precision_learns_and_saves_a_float32_model(precision, tmp_path):
    found = train(
        *("convnet", "digits"),
        out=tmp_path / "out",
        input_shape=(16, 16, 1),
        epochs=3,
        learning_rate=3e-3,
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


def test_list_runs_lists_runs_without_tensorflow(run, tmp_path):
    from kcnn.training.run_summaries import list_runs

    (one,) = list_runs(run.folder)
    assert (one.network, one.data, one.recipe, one.seed) == ("convnet", "digits", "quick", 3)
    assert (one.completed, one.epochs, one.finished) == (4, 4, True)
    assert one.test == run.metrics["accuracy"]
    code = (
        "import sys; from kcnn.cli import app; app(['runs', sys.argv[1], '--json'], standalone_mode=False);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.folder)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["params"] == run.metrics["params"]
    with pytest.raises(ValueError, match="no run in"):
        list_runs(tmp_path)


def kcnn_command(*words, cwd):
    code = "from kcnn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_cli_train_and_predict_print_no_messages_of_libraries(tmp_path):
    done = kcnn_command("train", "convnet", "--data", "digits", "--epochs", "2", "--out", "out", cwd=tmp_path)
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
    done = kcnn_command("predict", "out", "broken.png", cwd=tmp_path)
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


def test_train_refuses_a_network_that_ends_in_a_softmax(tmp_path):
    def with_softmax(x, classes):
        return apply(Activation("softmax"), head(x, classes), name="probabilities")

    network = kcnn.Architecture(
        backbone=lambda x: conv(x, 4, 3, name="conv"),
        head=with_softmax,
        reference="none",
        input_shape=(8, 8, 1),
        classes=10,
    )
    with pytest.raises(ValueError, match="ends in a softmax; training needs logits"):
        train(network, "digits", out=tmp_path)


def test_train_refuses_a_run_of_a_file_that_imports_other_code_now(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "neighbor_net.py").write_text("FILTERS = 4\n")
    (tmp_path / "importing_net.py").write_text(
        "from kcnn import Architecture\nfrom kcnn.blocks import conv\nfrom neighbor_net import FILTERS\n"
        "def backbone(x):\n    return conv(x, FILTERS, 3, name='one')\n"
        "net = Architecture(backbone=backbone, reference='none', input_shape=(8, 8, 1), classes=10)\n"
    )
    network, digits = f"{tmp_path}/importing_net.py:net", data.load("digits", input_shape=(8, 8, 1), batch_size=128)
    train(network, digits, out=tmp_path / "run", epochs=1)
    (tmp_path / "neighbor_net.py").write_text("FILTERS = 16\n")
    for name in [name for name in sys.modules if "importing_net" in name]:
        monkeypatch.delitem(sys.modules, name)  # as in another process
    with pytest.raises(ValueError, match=r"holds another run \(graph_hash '\w+', not '\w+'\)"):
        train(network, digits, out=tmp_path / "run", epochs=1)


def test_train_morphs_weights_for_a_network_with_overrides(run, tmp_path):
    lines = []
    overrides = {"conv1.kernel": 7, "conv1.padding": 1}
    other = {"weights": run.folder, "overrides": overrides, **REQUEST, "learning_rate": 1e-6, "epochs": 1}
    morphed = train("convnet", "digits", out=tmp_path / "morphed", log=lines.append, **other)
    assert sum("1 morphed" in line and "computes what it did" in line for line in lines) == 1
    assert morphed.metrics["accuracy"] > run.metrics["accuracy"] - 0.02  # hardly trained at this rate
    lines.clear()
    train("convnet", "digits", out=tmp_path / "cut", log=lines.append, **{**other, "overrides": {"conv1.kernel": 1}})
    assert any("another function" in line for line in lines)
