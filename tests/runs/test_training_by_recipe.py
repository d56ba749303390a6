"""What a recipe's values do in a training: chosen for the data, overridden, and the epoch that counts."""

import dataclasses

import keras
import numpy as np
import pytest

import kcnn
from kcnn import data
from kcnn.training import TrainConfig, load_run_data
from kcnn.training.best_epoch import find_best_epoch
from kcnn.training.evidence import compute_scores
from kcnn.training.run_summaries import list_runs
from tests.runs.training import train_with as train


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
