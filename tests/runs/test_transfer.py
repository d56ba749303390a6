"""Transfer as users do it: phases into a folder, features computed once, a comparison, and a file for a phone."""

import csv
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import kcnn
from kcnn.explain import grad_cam
from kcnn.export.runtimes import load_exported
from kcnn.fine_tuning import compare_protocols, default_protocols
from kcnn.fine_tuning.demo import sample_digits
from kcnn.reports import write_report
from kcnn.training import FrozenWeightChangedError, Recipe, TrainingPhase, get_recipe, train
from kcnn.weights import packaged

SMALL = {"input_shape": (16, 16, 1), "options": {"units": 1}, "seed": 1}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run on the digits 0 to 4."""
    return train("resnet20", "digits:0-4", out=tmp_path_factory.mktemp("learned") / "out", epochs=1, **SMALL)


def phased(learned, out, phase, **options):
    start = learned.folder / "model.keras"
    return train("resnet20", "digits:5-9", out=out, weights=start, head=False, phase=phase, **{**SMALL, **options})


@pytest.mark.parametrize(
    "phase", [TrainingPhase(2, "head", 1e-2), TrainingPhase(2, 1, 1e-3, {"stage3_*": 0.5})], ids=["head", "a stage"]
)
def test_features_computed_once_train_as_computed_anew(learned, tmp_path, phase):
    said = []
    once = phased(learned, tmp_path / "once", phase, log=said.append)
    anew = phased(learned, tmp_path / "anew", phase, cache=False)
    assert "not in each of 2 epochs: about " in said[0]
    for ours, theirs in zip(once.history, anew.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)
    mine, others = (kcnn.load_model(run.folder / "model.keras").get_weights() for run in (once, anew))
    for a, b in zip(mine, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert once.metrics["accuracy"] == anew.metrics["accuracy"]


def test_the_folder_has_a_ledger_in_which_only_the_head_moved(learned, tmp_path):
    run = phased(learned, tmp_path / "out", TrainingPhase(1, "head", 1e-2))
    with (run.folder / "ledger.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["tensor"] for row in rows if row["moved"] == "True"} == {"logits/kernel", "logits/bias"}
    before, after = (kcnn.load_model(one.folder / "model.keras") for one in (learned, run))
    assert all(layer.trainable for layer in after.layers)
    for layer in before.layers[:-1]:
        for old, new in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True):
            assert (old == new).all()


def test_a_frozen_tensor_that_changes_ends_the_run_without_results(learned, tmp_path):
    class Nudge(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = self.model.get_layer("stem")
            layer.set_weights([layer.get_weights()[0] + 1e-7])

    with pytest.raises(FrozenWeightChangedError, match="1 frozen tensors changed in training: stem/kernel"):
        phased(learned, tmp_path / "out", TrainingPhase(1, "head", 1e-2), cache=False, callbacks=[Nudge()])
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_phase_goes_on_where_it_was_stopped_and_ends_the_same(learned, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    phase = TrainingPhase(2, 1, 1e-3)
    with pytest.raises(KeyboardInterrupt):
        phased(learned, tmp_path / "cut", phase, callbacks=[Stop()])
    again, whole = phased(learned, tmp_path / "cut", phase), phased(learned, tmp_path / "whole", phase)
    assert again.resumed_epochs == 1
    assert [row["val_loss"] for row in again.history] == [row["val_loss"] for row in whole.history]


def test_a_folder_with_another_phase_or_other_weights_is_refused(learned, tmp_path):
    phased(learned, tmp_path / "out", TrainingPhase(1, "head", 1e-2))
    with pytest.raises(ValueError, match=r"holds another run \(phase.train 'head', not 1\)"):
        phased(learned, tmp_path / "out", TrainingPhase(1, 1, 1e-2))
    with pytest.raises(ValueError, match="a phase brings its own epochs and learning rate"):
        phased(learned, tmp_path / "new", TrainingPhase(1), epochs=3)


def test_a_comparison_trains_three_ways_and_pairs_them_by_seed(tmp_path):
    three = default_protocols(TrainingPhase(1, "head", 1e-2), TrainingPhase(1, "all", 1e-3))
    common = {"weights": "demo", "ways": three, "options": {"act": "relu"}, "say": lambda text: None}
    found = compare_protocols("convnet", sample_digits, out=tmp_path, seeds=(0, 1), **common)
    assert [row.protocol for row in found.results] == ["from scratch", "head only", "fine-tuned"]
    for row in found.results:
        assert row.accuracy == pytest.approx(np.mean(row.accuracies))
        assert row.low <= row.accuracy <= row.high
    head, tuned = found.results[1:]
    assert tuned.seconds >= head.seconds
    pair = next(one for one in found.differences if (one.better, one.worse) == ("fine-tuned", "head only"))
    each = 100 * np.subtract(tuned.accuracies, head.accuracies)
    assert pair.points == pytest.approx(each.mean())
    half = 12.706 * each.std(ddof=1) / np.sqrt(2)  # Student's t, 97.5 %, one degree of freedom
    assert (pair.low, pair.high) == pytest.approx((each.mean() - half, each.mean() + half), abs=1e-2)
    single = compare_protocols("convnet", sample_digits, out=tmp_path, seeds=(0,), **common)
    assert single.results[0].accuracies == found.results[0].accuracies[:1]
    assert single.results[0].low < single.results[0].accuracy < single.results[0].high


def test_weights_of_another_network_are_no_start_for_a_training(learned, tmp_path):
    with pytest.raises(ValueError, match="it was written by resnet20, and this is plain20; a training starts from"):
        train("plain20", "digits", out=tmp_path / "out", weights=learned.folder / "model.keras", **SMALL)


def test_weights_that_cannot_be_had_are_told_before_anything_trains(tmp_path):
    (tmp_path / "mirror").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "from kcnn.cli import main; main()", "transfer", "--data", "digits"],
        cwd=tmp_path,
        env={**os.environ, "KCNN_WEIGHTS_MIRROR": "mirror", "KCNN_CACHE": "cache"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no file" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_demo_weights_say_of_themselves_what_they_are_and_hold_to_it():
    path = packaged.FOLDER / "convnet.safetensors"
    card = packaged.packaged_metadata(path)
    assert sum(one.stat().st_size for one in packaged.FOLDER.iterdir()) < 3e6
    assert {"command", "data", "license", "seed", "accuracy"} <= set(card)
    model = kcnn.build("convnet", classes=5, act="relu", input_shape=card["input_shape"], weights="demo")
    data = kcnn.data.load("digits:0-4", input_shape=tuple(card["input_shape"]), seed=card["seed"])
    right = [keras.ops.convert_to_numpy(model(pixels)).argmax(-1) == labels for pixels, labels in data.test]
    assert np.concatenate(right).mean() == card["accuracy"]


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        ("convnet", {"act": "relu", "input_shape": (64, 64, 3)}, "they know nothing of photos"),
        ("convnet", {}, "demo weights of convnet are for act='relu', here it is 'tanh'"),
        ("resnet18", {}, "kcnn comes with demo weights of convnet alone, not of resnet18"),
    ],
)
def test_demo_weights_are_refused_where_they_do_not_serve(network, options, said):
    with pytest.raises(ValueError, match=said):
        kcnn.build(network, weights="demo", **options)


def test_few_digits_are_twenty_a_class_and_no_image_is_in_two_splits():
    data = sample_digits(3)
    counts = {word: np.bincount(split.labels).tolist() for word, split in data.splits.items()}
    assert (counts["train"], counts["validation"]) == ([20] * 5, [10] * 5)
    assert sum(map(sum, counts.values())) == 896
    assert data.classes == ("5", "6", "7", "8", "9")


def test_grad_cam_finds_the_place_that_the_answer_depends_on():
    model = kcnn.build("convnet", classes=2, input_shape=(32, 32, 1), seed=0, act="relu")
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


def test_the_command_moves_the_demonstration_offline_and_leaves_what_it_says(tmp_path):
    code = "from kcnn.cli import main; main()"
    command = [sys.executable, "-c", code, "transfer", "--seeds", "1", "--head-epochs", "2", "-e", "1", "--json"]
    done = subprocess.run([*command, "--out", "out"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, out = json.loads(done.stdout), tmp_path / "out"
    assert [row["way"] for row in told["rows"]] == ["from scratch", "head only", "fine-tuned"]
    assert all((tmp_path / path).exists() for path in (told["phone"], *told["pictures"]))
    assert (out / "transfer.csv").exists()
    page = (tmp_path / told["page"]).read_text()
    assert "convnet moved to digits:5-9, 20 of each" in page
    for words in ("What that bought", "Where it looked", "What was taken for what", "seed-0/from-scratch"):
        assert words in page
    for row in told["rows"]:
        assert f"{100 * row['accuracy']:.2f} %" in page
    assert all(f"{one['points']:+.2f} points" in page for one in told["differences"])
    told = json.loads((out / "transfer.json").read_text())
    (out / "transfer.json").write_text(json.dumps({**told, "best": "seed-9/nowhere"}))
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no finished run"):
        write_report(out)
    (out / "transfer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"transfer.json is damaged"):
        write_report(out)
    served = load_exported(out / "phone.tflite")
    assert served.metadata["classes"] == ["5", "6", "7", "8", "9"]
    assert served.run(np.zeros((1, 32, 32, 1), "float32")).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "photos", "--weights", "demo"], '"demo" weights learned on 8x8 digits and know nothing of what'),
        (["--data", "photos", "--weights", "nowhere.h5"], "there is no"),
        (["--data", "nowhere", "--network", "convnet", "--weights", "imagenet"], "convnet has no published weights"),
    ],
)
def test_a_wrong_transfer_is_one_line(words, said, tmp_path):
    code = "from kcnn.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "transfer", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_comparison_keeps_one_recipe_but_for_what_phases_say():
    plan = Recipe(optimizer="sgd", weight_decay=1e-4)
    scratch, head, fine = default_protocols(TrainingPhase(3), TrainingPhase(4, 1), base=plan)
    assert scratch.recipe == get_recipe(plan, {"epochs": 7})
    assert (head.recipe, fine.recipe, fine.after) == (plan, plan, "head only")


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from kcnn.cli import main; main()", "transfer", "--out", "/proc/nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "/proc/nowhere/seed-0/from-scratch cannot be written to" in done.stderr
    assert done.stderr.count("\n") == 1
