"""Fine-tuning: phases, cached features, comparison of protocols, and kcnn transfer."""

import csv
import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

import kcnn
from kcnn.explain import grad_cam
from kcnn.export.runtimes import load_exported
from kcnn.fine_tuning import Protocol, compare_protocols, default_protocols
from kcnn.fine_tuning.comparison import ProtocolResult
from kcnn.fine_tuning.demo import NETWORK, load_demo_data
from kcnn.fine_tuning.protocols import find_best
from kcnn.graph.names import UnknownNameError
from kcnn.reports import write_report
from kcnn.training import FrozenWeightChangedError, Recipe, TrainConfig, TrainingPhase, get_recipe, train
from kcnn.training.request import identify_weights
from kcnn.weights import packaged
from tests.paper.test_words import phrases_in_page

SMALL = kcnn.ModelSpec(network="resnet20", input_shape=(16, 16, 1), options={"units": 1})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run on the digits 0 to 4."""
    config = TrainConfig(recipe="quick", seed=1, epochs=1)
    return train(SMALL, "digits:0-4", config, out=tmp_path_factory.mktemp("pretrained") / "out")


def fine_tune(pretrained, out, phase, callbacks=(), log=print, **config):
    spec = replace(SMALL, weights=pretrained.folder / "model.keras")
    config = TrainConfig(recipe="quick", seed=1, load_head=False, phase=phase, **config)
    return train(spec, "digits:5-9", config, out=out, callbacks=callbacks, log=log)


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(TrainingPhase(2, "head", 1e-2), id="head"),
        pytest.param(TrainingPhase(2, 1, 1e-3, {"stage3_*": 0.5}), id="a stage", marks=pytest.mark.every),
    ],
)
def test_train_on_cached_features_equals_training_without(pretrained, tmp_path, phase):
    lines = []
    cached = fine_tune(pretrained, tmp_path / "cached", phase, log=lines.append)
    uncached = fine_tune(pretrained, tmp_path / "uncached", phase, cache_features=False)
    assert "instead of in each of 2 epochs" in lines[1]
    for ours, theirs in zip(cached.history, uncached.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)
    mine, others = (kcnn.load_model(run.folder / "model.keras").get_weights() for run in (cached, uncached))
    for a, b in zip(mine, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert cached.metrics["accuracy"] == uncached.metrics["accuracy"]


def test_train_writes_an_audit_in_which_only_the_head_changed(pretrained, tmp_path):
    run = fine_tune(pretrained, tmp_path / "out", TrainingPhase(1, "head", 1e-2))
    with (run.folder / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["tensor"] for row in rows if row["changed"] == "True"} == {"logits/kernel", "logits/bias"}
    before, after = (kcnn.load_model(one.folder / "model.keras") for one in (pretrained, run))
    assert all(layer.trainable for layer in after.layers)
    for layer in before.layers[:-1]:
        for old, new in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True):
            assert (old == new).all()


def test_train_fails_where_a_frozen_weight_changes(pretrained, tmp_path):
    class Nudge(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = self.model.get_layer("stem")
            layer.set_weights([layer.get_weights()[0] + 1e-7])

    with pytest.raises(FrozenWeightChangedError, match="1 frozen weights changed in training: stem/kernel"):
        fine_tune(
            pretrained, tmp_path / "out", TrainingPhase(1, "head", 1e-2), cache_features=False, callbacks=[Nudge()]
        )
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_train_resumes_a_phase_to_the_identical_result(pretrained, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    phase = TrainingPhase(2, 1, 1e-3)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(pretrained, tmp_path / "cut", phase, callbacks=[Stop()])
    resumed = fine_tune(pretrained, tmp_path / "cut", phase)
    uninterrupted = fine_tune(pretrained, tmp_path / "uninterrupted", phase)
    assert resumed.resumed_epochs == 1
    assert [row["val_loss"] for row in resumed.history] == [row["val_loss"] for row in uninterrupted.history]


def test_train_refuses_the_folder_of_another_phase(pretrained, tmp_path):
    fine_tune(pretrained, tmp_path / "out", TrainingPhase(1, "head", 1e-2))
    with pytest.raises(ValueError, match=r"holds another run \(config.phase.trainable 'head', not 1\)"):
        fine_tune(pretrained, tmp_path / "out", TrainingPhase(1, 1, 1e-2))
    with pytest.raises(ValueError, match="a training phase has its own epochs and learning rate"):
        fine_tune(pretrained, tmp_path / "new", TrainingPhase(1), epochs=3)


def test_compare_protocols_trains_three_and_pairs_them_by_seed(tmp_path):
    head, fine = (TrainConfig(recipe="quick", phase=TrainingPhase(1, *one)) for one in (("head", 1e-2), ("all", 1e-3)))
    request = {
        "protocols": default_protocols("demo", head, fine, scratch=True),
        "out": tmp_path,
        "log": lambda text: None,
    }
    comparison = compare_protocols(NETWORK, load_demo_data, seeds=(0, 1), **request)
    assert [result.protocol for result in comparison.results] == ["from scratch", "head only", "fine-tuned"]
    for result in comparison.results:
        assert result.accuracy == pytest.approx(np.mean(result.accuracies))
        assert 0 <= result.low <= result.accuracy <= result.high <= 1
    scratch, head, tuned = comparison.results
    assert tuned.seconds >= head.seconds
    assert scratch.parameters == tuned.parameters > head.parameters
    names = ("fine-tuned", "head only")
    pair = next(one for one in comparison.differences if (one.protocol, one.baseline) == names)
    points = 100 * np.subtract(tuned.accuracies, head.accuracies)
    assert pair.points == pytest.approx(points.mean())
    half = 12.706 * points.std(ddof=1) / np.sqrt(2)  # Student's t, 97.5%, one degree of freedom
    assert (pair.low, pair.high) == pytest.approx((points.mean() - half, points.mean() + half), abs=1e-2)
    assert pair.significant == (pair.p < 0.05)
    assert f"{'significant' if pair.significant else 'not significant'} (p = {pair.p:.2g})" in str(comparison)
    assert "adjusted for 3 comparisons" in str(comparison)
    assert "<td>fine-tuned</td>" in comparison._repr_html_()
    assert comparison.best == max((head, tuned), key=lambda one: (one.validation, -one.validation_loss)).protocol
    written = json.loads((tmp_path / "transfer.json").read_text())
    assert kcnn.ModelSpec.from_json(written["network"]) == replace(NETWORK, weights=None)
    configs = [TrainConfig.from_json(one["config"]) for one in written["protocols"]]
    assert configs == [protocol.config for protocol in request["protocols"]]
    single = compare_protocols(NETWORK, load_demo_data, seeds=(0,), **request)
    assert single.results[0].accuracies == comparison.results[0].accuracies[:1]
    assert single.results[0].low < single.results[0].accuracy < single.results[0].high


def test_find_best_chooses_by_validation_and_never_by_test_images():
    protocols = default_protocols("demo", scratch=True)

    def make_result(protocol, validation, loss, accuracy):
        return ProtocolResult(
            **{"protocol": protocol, "validation": validation, "validation_loss": loss, "accuracies": (accuracy,)},
            **{"accuracy": accuracy, "low": 0.0, "high": 1.0, "images": 10, "seconds": 1.0, "parameters": 1},
        )

    scratch = make_result("from scratch", 1.0, 0.0, 1.0)  # not pretrained: only compared
    head, tuned = make_result("head only", 0.9, 0.3, 0.7), make_result("fine-tuned", 0.8, 0.1, 0.9)
    assert find_best(protocols, (scratch, head, tuned)) == "head only"
    assert find_best(protocols, (scratch, head, replace(tuned, validation=0.9))) == "fine-tuned"  # of the lower loss
    assert find_best(protocols[:1], (scratch,)) == "from scratch"


def test_compare_protocols_refuses_a_folder_of_an_older_version(tmp_path):
    (tmp_path / "transfer.json").write_text(json.dumps({"seeds": [0], "rows": [], "differences": [], "best": ""}))
    with pytest.raises(
        ValueError, match=r"transfer.json was written by an older version of kcnn; choose another folder"
    ):
        compare_protocols(NETWORK, load_demo_data, out=tmp_path)


def test_compare_protocols_refuses_a_protocol_after_an_unknown_one(tmp_path):
    late = Protocol(name="late", config=TrainConfig(), after="hed only")
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'hed only'. Did you mean 'head only'"):
        compare_protocols(NETWORK, load_demo_data, [*default_protocols("demo"), late], out=tmp_path)


def test_identify_weights_by_tensors_whatever_the_dates_in_the_file(tmp_path):
    model = kcnn.build(NETWORK, seed=0)
    path, later, other = (tmp_path / f"{name}.keras" for name in ("first", "later", "other"))
    model.save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(later, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (2030, 1, 1, 0, 0, 0)), old.read(name))
    model.layers[-1].bias.assign_add(keras.ops.ones_like(model.layers[-1].bias))
    model.save(other)
    assert path.read_bytes() != later.read_bytes()
    assert identify_weights(path) == identify_weights(str(later)) != identify_weights(other)
    assert identify_weights("imagenet") == "imagenet"


def test_train_refuses_weights_of_another_network(pretrained, tmp_path):
    with pytest.raises(
        ValueError, match=r"written by resnet20, this model is plain20; training needs weights that fit"
    ):
        train(
            replace(SMALL, network="plain20", weights=pretrained.folder / "model.keras"),
            "digits:5-9",
            out=tmp_path / "out",
        )


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        ({"trainable": 99}, "cannot train 99 stages: 2 have weights"),
        ({"trainable": ("head", "stage9")}, "no layer matches 'stage9'"),
        ({"lr_multipliers": {"convolution*": 0.1}}, r"no layer matches 'convolution\*'"),
    ],
)
def test_compare_protocols_refuses_layers_that_the_network_lacks_before_it_trains(phase, says, tmp_path):
    protocols = default_protocols(None, fine=TrainConfig(phase=TrainingPhase(1, **phase)))
    with pytest.raises(ValueError, match=says):
        compare_protocols(NETWORK, lambda _: pytest.fail("the layers are checked first"), protocols, out=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_cli_transfer_fails_before_training_if_weights_are_unavailable(tmp_path, command, monkeypatch):
    (tmp_path / "mirror").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", "mirror")
    monkeypatch.setenv("KCNN_CACHE", "cache")
    done = command("transfer", "--data", "digits")
    assert done.returncode == 1
    assert "file not found: " in done.stderr
    assert not (tmp_path / "runs").exists()


def test_build_with_demo_weights_has_the_accuracy_of_their_metadata():
    path = packaged.FOLDER / "convnet.safetensors"
    metadata = packaged.packaged_metadata(path)
    assert sum(one.stat().st_size for one in packaged.FOLDER.iterdir()) < 3e6
    assert {"command", "data", "license", "seed", "accuracy"} <= set(metadata)
    model = kcnn.build("convnet", classes=5, activation="relu", input_shape=metadata["input_shape"], weights="demo")
    data = kcnn.data.load("digits:0-4", input_shape=tuple(metadata["input_shape"]), seed=metadata["seed"])
    correct = [keras.ops.convert_to_numpy(model(pixels)).argmax(-1) == labels for pixels, labels in data.test]
    assert np.concatenate(correct).mean() == metadata["accuracy"]


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (
            "convnet",
            {"activation": "relu", "input_shape": (64, 64, 3)},
            "gray images of 8x8 pixels, and are of no use for photos",
        ),
        ("convnet", {}, "'demo' weights of convnet were trained with activation='relu', got 'tanh'"),
        ("resnet18", {}, "'demo' weights are packaged for convnet only, not for resnet18"),
    ],
)
def test_build_refuses_demo_weights_for_other_networks_and_photos(network, options, message):
    with pytest.raises(ValueError, match=message):
        kcnn.build(network, weights="demo", **options)


def test_load_demo_data_has_twenty_images_a_class():
    data = load_demo_data(3)
    counts = {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()}
    assert (counts["train"], counts["validation"]) == ([20] * 5, [10] * 5)
    assert sum(map(sum, counts.values())) == 896
    assert data.classes == ("5", "6", "7", "8", "9")


def test_grad_cam_finds_the_region_that_the_score_depends_on():
    model = kcnn.build("convnet", classes=2, input_shape=(32, 32, 1), seed=0, activation="relu")
    for name in ("conv1", "conv2"):  # a network that adds up what is bright
        layer = model.get_layer(name)
        layer.set_weights([np.full(one.shape, 0.01 * (one.ndim > 1)) for one in layer.get_weights()])
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:] = [0, 1]
    model.get_layer("logits").set_weights([kernel, bias * 0])
    image = np.zeros((1, 32, 32, 1))
    image[:, 4:10, 20:26] = 255
    heat = grad_cam(model, image, classes=[1])[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (32, 32)
    assert row <= 12
    assert 17 <= column <= 28
    assert heat[20:].max() == heat[:, :12].max() == 0


def test_cli_transfer_demo_runs_offline_and_writes_what_it_lists(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("transfer", "--seeds", "1", "--head-epochs", "2", "-e", "1", "--json", "--out", "out")
    assert done.returncode == 0, done.stderr
    printed, out = json.loads(done.stdout), tmp_path / "out"
    assert [result["protocol"] for result in printed["results"]] == ["from scratch", "head only", "fine-tuned"]
    assert all((tmp_path / path).exists() for path in (printed["exported"], *printed["plots"]))
    assert (out / "transfer.csv").exists()
    page = (tmp_path / printed["report"]).read_text()
    assert list(phrases_in_page(page)) == []
    assert "convnet fine-tuned on digits:5-9" in page
    for text in ("Results", "Grad-CAM", "Confusion matrix", "seed-0/from-scratch", " network, seed 0</h2>"):
        assert text in page
    for result in printed["results"]:
        assert f"{100 * result['accuracy']:.2f}%" in page
    assert all(f"{difference['points']:+.2f} points" in page for difference in printed["differences"])
    comparison = json.loads((out / "transfer.json").read_text())
    (out / "transfer.json").write_text(json.dumps({**comparison, "best": "seed-0/from-scratch/"}))
    with pytest.raises(ValueError, match=r"transfer.json was changed after kcnn wrote it"):
        write_report(out)
    del comparison["checksum"]  # as of an earlier version
    (out / "transfer.json").write_text(json.dumps({**comparison, "best": "seed-9/nowhere"}))
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no finished run"):
        write_report(out)
    (out / "transfer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"transfer.json is damaged"):
        write_report(out)
    exported = load_exported(out / "phone.tflite")
    assert exported.metadata["classes"] == ["5", "6", "7", "8", "9"]
    assert exported.run(np.zeros((1, 32, 32, 1), "float32")).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data", "photos", "--weights", "demo"],
            '"demo" weights are pretrained on 8x8 digits and do not suit photos',
        ),
        (["--data", "photos", "--weights", "nowhere.h5"], "weights file not found: nowhere.h5"),
        (["--data", "nowhere", "--network", "convnet", "--weights", "imagenet"], "convnet has no published weights"),
    ],
)
def test_cli_transfer_reports_errors_in_one_line(arguments, message, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("transfer", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_default_protocols_share_the_recipe_but_for_phases():
    recipe = Recipe(optimizer="sgd", weight_decay=1e-4)
    head, fine = (TrainConfig(recipe=recipe, phase=phase) for phase in (TrainingPhase(3), TrainingPhase(4, 1)))
    assert default_protocols("imagenet", head, fine) == default_protocols("imagenet", head, fine, scratch=True)[1:]
    scratch, first, second = default_protocols("imagenet", head, fine, scratch=True)
    assert scratch.config.resolved_recipe == get_recipe(recipe, {"epochs": 7, "norm_momentum": 0.9})
    assert (scratch.weights, first.weights, second.after) == (None, "imagenet", "head only")
    assert (first.config, second.config) == (head, fine)


@pytest.mark.every
def test_cli_transfer_reports_a_folder_that_is_not_writable(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from kcnn.cli import main; main()", "transfer", "--out", "/proc/nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    device, splits, error = done.stderr.splitlines()
    assert splits.startswith("100 training, 50 validation and 746 test images in 5 classes; input 32x32x1; ")
    assert device.startswith("device: ")
    assert "cannot write to /proc/nowhere/seed-0/from-scratch" in error
