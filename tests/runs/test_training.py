"""kcnn.train: the files of a run, and that a seed fixes it to the last digit."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn import data
from kcnn.blocks import apply, conv
from kcnn.blocks.heads import head
from kcnn.graph.ops import Activation
from kcnn.training import Recipe
from tests.runs.training import REQUEST, history
from tests.runs.training import train_with as train


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


def test_train_reports_mistakes_before_data_is_read(tmp_path):
    with pytest.raises(ValueError, match="smallest input that fits"):
        train("convnet", "nowhere", out=tmp_path / "out", epochs=1, input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="learning_rate"):
        train("convnet", "nowhere", out=tmp_path / "out", epochs=1, learning_rate=0)
    with pytest.raises(ValueError, match="unknown precision"):
        train("convnet", "nowhere", out=tmp_path / "out", precision="float64")
    assert not (tmp_path / "out").exists()


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


def test_train_from_weights_with_their_head_predicts_images_cropped_as_in_training(tmp_path):
    shape, crop = (8, 8, 1), {"resize": 16, "crop": 8, "interpolation": "bilinear"}
    weights = kcnn.build("mlp", input_shape=shape, classes=10)
    weights.update_metadata(classes=list("0123456789"), preprocessing=crop)
    weights.save(tmp_path / "weights.keras")
    fields = {"input_shape": shape, "weights": tmp_path / "weights.keras", "epochs": 1}
    run = train("mlp", "digits", out=tmp_path / "out", **fields)
    image = data.load("digits", input_shape=shape).splits["test"].read_batch(np.array([0]))[0]
    logits = run.model.predict(image.astype("float32"), verbose=0)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(kcnn.predict(run.folder, image[0]).probabilities, expected, atol=1e-5)
