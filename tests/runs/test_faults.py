"""Trainings that are stopped, killed, torn, starved and fed with bad numbers: nothing is lost, and all is said."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.reports import write_report
from kcnn.training import (
    LossScaleOptimizer,
    NonFiniteLossError,
    OutOfMemoryError,
    checkpoints,
    devices,
    run_directory,
)
from kcnn.training.job import TrainJob
from kcnn.training.losses import CrossEntropy
from tests.runs.photos import save_image
from tests.runs.training import REQUEST, Stopped, history
from tests.runs.training import train_with as train

CODE = """
import resource, sys, time
import keras
from kcnn import ModelSpec
from kcnn.training import TrainConfig, train

class Waits(keras.callbacks.Callback):  # in the middle of an epoch, until it is killed
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (int(sys.argv[2]), 5):
            time.sleep(600)

train(
    ModelSpec(network="convnet", input_shape=(16, 16, 1), options={"dropout": 0.2}), "digits",
    TrainConfig(
        recipe="quick", epochs=4, seed=3, learning_rate=1e-3, recipe_overrides={"shift": 0.1, "ema_momentum": 0.9}
    ),
    out=sys.argv[1], callbacks=[Waits()], log=print,
)
"""
FULL = {
    **REQUEST,
    "input_shape": (16, 16, 1),
    "options": {"dropout": 0.2},
    "recipe_overrides": {"shift": 0.1, "ema_momentum": 0.9},
}


def states(folder):
    return sorted((folder / "checkpoints").glob("epoch-*.safetensors"))


def killed(folder, epochs):
    """Start the training in a process of its own, and kill it in the middle of the epoch after so many."""
    process = subprocess.Popen([sys.executable, "-c", CODE, str(folder), str(epochs)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(2400):
            if any(path.name >= f"epoch-{epochs:05}" for path in states(folder)):
                break
            time.sleep(0.02)
        else:
            pytest.fail("no checkpoint within a minute")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "metrics.json").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same training, undisturbed."""
    return train("convnet", "digits", out=tmp_path_factory.mktemp("whole") / "out", **FULL)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The same training, killed in its third epoch."""
    folder = tmp_path_factory.mktemp("cut") / "out"
    killed(folder, 2)
    return folder


def test_train_killed_in_mid_epoch_resumes_to_the_identical_result(whole, cut, tmp_path):
    shutil.copytree(cut, tmp_path / "out")
    said = []
    resumed = train("convnet", "digits", out=tmp_path / "out", **FULL, log=said.append)
    assert resumed.resumed_epochs == 2
    splits = "1,258 training, 180 validation and 359 test images in 10 classes; input 16x16x1; "
    assert said == [f"{splits}39 steps of 32 images per epoch", "resuming from epoch 2 of 4"]
    assert history(resumed.folder) == history(whole.folder)
    assert resumed.metrics["confusion"] == whole.metrics["confusion"]
    ours, theirs = (kcnn.load_model(one.folder / "model.keras").get_weights() for one in (resumed, whole))
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_train_refuses_damaged_checkpoints_by_name_and_uses_the_previous_one(whole, cut, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(cut, out)
    first, second = states(out)[-2:]
    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    third = second.with_name("epoch-00008.safetensors")
    third.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    said = []
    resumed = train("convnet", "digits", out=out, **FULL, log=said.append)
    assert f"{third} is damaged" in said[1]
    assert f"{second} is truncated" in said[2]
    assert said[3] == f"resuming from epoch {int(first.stem[-5:])} of 4"
    assert history(resumed.folder) == history(whole.folder)


def test_restore_checkpoint_refuses_another_run_and_another_network(tmp_path):
    model = kcnn.build("mlp", classes=2, input_shape=(8, 8, 1))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    path = checkpoints.save_checkpoint(
        tmp_path, model, request_hash="a", history=[{"epoch": 1}], batch_size=32, versions={}
    )
    assert checkpoints.restore_checkpoint(path, model, "a").epoch == 1
    with pytest.raises(checkpoints.CheckpointError, match="a checkpoint of another run"):
        checkpoints.restore_checkpoint(path, model, "b")
    other = kcnn.build("mlp", classes=3, input_shape=(8, 8, 1))
    other.compile("sgd", "mse")
    with pytest.raises(checkpoints.CheckpointError, match="does not fit the network"):
        checkpoints.restore_checkpoint(path, other, "a")


def test_restore_latest_leaves_a_checkpoint_that_is_whole_but_cannot_be_used(tmp_path):
    """Nobody loses epochs to a disk that is away for a moment, or to another version of kcnn."""
    model, other = (kcnn.build("mlp", classes=n, input_shape=(8, 8, 1)) for n in (2, 3))
    for one in (model, other):
        one.compile("sgd", "mse")
        one.optimizer.build(one.trainable_variables)
    rows = [{"epoch": 1}]
    path = checkpoints.save_checkpoint(tmp_path, model, request_hash="a", history=rows, batch_size=32, versions={})
    with pytest.raises(checkpoints.CheckpointError, match="resume with that version, or remove "):
        checkpoints.restore_latest(tmp_path, other, "a")
    unreadable = checkpoints.checkpoint_path(tmp_path, 2)
    unreadable.mkdir()  # what cannot be read, also by root
    with pytest.raises(OSError, match=f"cannot read {re.escape(str(unreadable))}: .* Run the same command to resume"):
        checkpoints.restore_latest(tmp_path, model, "a")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, unreadable.name}
    unreadable.rmdir()
    assert checkpoints.restore_latest(tmp_path, model, "a")[0].epoch == 1


def test_save_checkpoint_keeps_new_checkpoints_after_later_ones_were_refused(tmp_path):
    model = kcnn.build("mlp", classes=2, input_shape=(8, 8, 1))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    for epoch in (5, 6):
        checkpoints.checkpoint_path(tmp_path, epoch).write_bytes(b"torn")
    found, refused = checkpoints.restore_latest(tmp_path, model, "a")
    assert found is None
    assert [name in one for name, one in zip(("epoch-00006", "epoch-00005"), refused, strict=True)] == [True, True]
    rows = []
    for epoch in (1, 2, 3):
        rows.append({"epoch": epoch})
        checkpoints.save_checkpoint(tmp_path, model, request_hash="a", history=rows, batch_size=8, versions={})
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        "epoch-00002.safetensors",
        "epoch-00003.safetensors",
    ]


def test_save_best_keeps_the_model_that_it_writes_beside_later_ones_of_a_run_before(tmp_path):
    model = kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)
    for epoch in (4, 5, 6, 1, 2, 3):
        checkpoints.save_best(tmp_path, model, epoch)
    assert checkpoints.load_best(tmp_path, 3).output_shape == (None, 3)
    assert [path.name for path in checkpoints.list_best(tmp_path)] == [f"best-{n:05}.keras" for n in (1, 2, 3, 4, 5, 6)]


def halves(out, at, **request):
    """The run of a request that was stopped at an epoch and then went on."""
    with pytest.raises(KeyboardInterrupt):
        train(out=out, callbacks=[Stopped(at)], **request)
    resumed = train(out=out, **request)
    assert resumed.resumed_epochs == at
    return resumed


@pytest.mark.every
def test_train_in_mixed_precision_resumes_to_the_identical_result_after_skipped_steps(tmp_path, monkeypatch):
    class Eager(LossScaleOptimizer):
        """A scale so high that the first gradients overflow."""

        def __init__(self, inner, **options):
            super().__init__(inner, **{**options, "initial_scale": 2.0**34})

    monkeypatch.setattr("kcnn.training.optimizers.LossScaleOptimizer", Eager)
    request = {
        "network": "convnet",
        "data": "digits",
        "input_shape": (12, 12, 1),
        "epochs": 3,
        "precision": "mixed_float16",
        "recipe_overrides": {"ema_momentum": 0.9},
    }
    whole = train(out=tmp_path / "whole", **request)
    assert history(halves(tmp_path / "halves", 1, **request).folder) == history(whole.folder)


def test_train_resumes_in_one_process_from_checkpoints_of_several_workers(tmp_path):
    request = {"network": "mlp", "data": "digits", "input_shape": (8, 8, 1), "epochs": 3}
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path / "out", callbacks=[Stopped(2)], **request)
    root = tmp_path / "out" / "checkpoints"
    (root / "worker-0").mkdir()
    for path in root.glob("epoch-*"):
        path.rename(root / "worker-0" / path.name)
    assert train(out=tmp_path / "out", **request).resumed_epochs == 2


def test_train_refuses_the_folder_of_a_run_on_other_images_of_the_same_number(tmp_path):
    x, y = np.zeros((60, 8, 8, 1), "uint8"), np.arange(60) % 2
    train("mlp", (x, y), out=tmp_path / "out", epochs=1)
    with pytest.raises(ValueError, match=r"holds another run \(other images or labels\)"):
        train("mlp", (x + 9, y), out=tmp_path / "out", epochs=1)


def test_lock_folder_keeps_other_processes_out(tmp_path):
    from kcnn.training.run_directory import lock_folder

    expected = (
        rf"another process trains into .*out \(process {os.getpid()} on {re.escape(socket.gethostname())}, since 2"
    )
    with lock_folder(tmp_path / "out"), pytest.raises(ValueError, match=expected):
        train("mlp", "digits", out=tmp_path / "out", input_shape=(8, 8, 1), epochs=1)
    assert not (tmp_path / "out").exists()


def test_claim_folder_replaces_a_request_that_completed_no_epoch(tmp_path):
    request = {"network": "mlp", "data": "digits", "input_shape": (8, 8, 1), "epochs": 1}
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path / "out", callbacks=[Stopped(0)], **request)
    assert train(out=tmp_path / "out", batch_size=16, **request).metrics["batch_size"] == 16


def test_claim_folder_refuses_a_config_of_another_program_or_version(tmp_path):
    from kcnn.training.run_summaries import list_runs

    for word, text in (("a", '{"request": "GET"}'), ("b", "// no JSON"), ("c", '{"request": {"network": "x"}}')):
        (tmp_path / word).mkdir()
        (tmp_path / word / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"was not written by this version of kcnn|is damaged: it is not JSON"):
            train("mlp", "digits", out=tmp_path / word, input_shape=(8, 8, 1), epochs=1)
        assert (tmp_path / word / "config.json").read_text() == text
    (damaged,) = list_runs(tmp_path)  # what is not JSON may have been a run
    assert damaged.name == "b"
    assert "is damaged: it is not JSON" in (damaged.problem or "")


def test_train_on_a_full_disk_stops_with_a_clear_error_and_an_intact_checkpoint(cut, tmp_path):
    """No file of that process may grow beyond some kilobytes: writing more fails, as on a full disk."""
    out = shutil.copytree(cut, tmp_path / "out")
    before = {path: path.read_bytes() for path in states(out)}
    code = CODE.replace("\ntrain(", "\nresource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\ntrain(", 1)
    done = subprocess.run([sys.executable, "-c", code, str(out), "-1"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: ")
    assert "cannot write" in last
    assert "is intact. Free disk space, and run the same command to resume" in last
    assert {path: path.read_bytes() for path in states(out)} == before
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("ema", [0.0, pytest.param(0.999, marks=pytest.mark.every)])
def test_train_stops_at_a_loss_that_is_not_finite_with_step_learning_rate_layer_and_advice(ema, tmp_path):
    with pytest.raises(NonFiniteLossError) as caught:
        train(
            *("vgg11", "digits"),
            out=tmp_path / "out",
            input_shape=(32, 32, 1),
            epochs=2,
            learning_rate=1e4,
            recipe_overrides={"optimizer": "sgd", "warmup": 0.0, "ema_momentum": ema},
        )
    said = str(caught.value)
    assert f"at step {caught.value.step + 1} of epoch 1, at a learning rate of" in said
    assert caught.value.step < 20
    assert re.search(r"the first output that is not finite is that of layer '(conv\d_\d|fc\d)'", said)
    assert "clip_global_norm=1" in said
    assert "(1e+03)" in said


def test_find_first_non_finite_returns_the_first_layer_whose_output_is_not_finite():
    from kcnn.training.diagnosis import find_first_non_finite

    model = kcnn.build("vgg11", classes=3, input_shape=(32, 32, 3))
    images = np.full((2, 32, 32, 3), 100.0, "float32")
    assert find_first_non_finite(model, images, training=False) is None
    kernel = model.get_layer("conv4_1").kernel
    kernel.assign(kernel * np.inf)
    assert find_first_non_finite(model, images, training=False) == "layer 'conv4_1', whose kernel is not finite itself"
    kernel.assign(np.full(kernel.shape, 3e38, "float32"))
    assert find_first_non_finite(model, images, training=False) == "layer 'conv4_1'"
    images[1, 0, 0, 0] = np.nan
    assert find_first_non_finite(model, images, training=False) == "the images themselves"


@pytest.mark.every  # TensorFlow waits 20 s at each refused allocation
def test_train_auto_batch_size_halves_a_batch_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    """For more than 8 images the loss asks TensorFlow for a petabyte, which no machine gives; then it fails at once."""
    plain = CrossEntropy.call

    def hungry(self, y_true, y_pred):
        if not tf.is_symbolic_tensor(y_pred):  # outside of a step
            return plain(self, y_true, y_pred)
        size = tf.where(tf.shape(y_pred)[0] > 8, tf.constant(2**48, tf.int64), tf.constant(1, tf.int64))
        return plain(self, y_true, y_pred) + 0.0 * tf.reduce_sum(tf.random.stateless_normal([size], (0, 0)))

    def refuse(size):
        if size > 8:
            raise MemoryError  # which TensorFlow takes for a refused allocation
        return np.float32(0.0)

    def hungry_at_once(self, y_true, y_pred):
        if not tf.is_symbolic_tensor(y_pred):
            return plain(self, y_true, y_pred)
        refused = tf.numpy_function(refuse, [tf.shape(y_pred)[0]], tf.float32)
        return plain(self, y_true, y_pred) + tf.reshape(refused, ())

    monkeypatch.setattr(CrossEntropy, "call", hungry)
    x = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), "uint8")
    request = {"input_shape": (8, 8, 1), "epochs": 2, "recipe_overrides": {"optimizer": "sgd"}, "learning_rate": 0.1}
    with pytest.raises(
        OutOfMemoryError, match="a batch of 32 images of 8x8x1 does not fit in memory; use --batch-size 16"
    ):
        train("mlp", (x, np.arange(80) % 2), out=tmp_path / "a", **request)
    monkeypatch.setattr(CrossEntropy, "call", hungry_at_once)
    said = []
    found = train("mlp", (x, np.arange(80) % 2), out=tmp_path / "b", auto_batch_size=True, log=said.append, **request)
    assert [line.rpartition(" ")[2] for line in said if "memory" in line] == ["16", "8"]
    assert found.metrics["batch_size"] == 8
    assert found.history[0]["learning_rate"] <= 0.1 / 4  # SGD's rate shrinks with the batch


def test_train_refuses_to_resume_on_another_strategy_and_names_other_replicas(tmp_path, monkeypatch):
    request = {"network": "mlp", "data": "digits", "input_shape": (8, 8, 1), "epochs": 3, "batch_size": 64}
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path / "out", callbacks=[Stopped(1)], **request, strategy="single")
    with monkeypatch.context() as patch:
        patch.setattr(
            devices, "name_strategy", lambda strategy: "mirrored"
        )  # as "auto" is where there are several GPUs
        with pytest.raises(ValueError, match=r"holds another run \(config.strategy 'single', not 'mirrored'\)"):
            train(out=tmp_path / "out", **request)
    with monkeypatch.context() as patch:
        patch.setattr(TrainJob, "versions", property(lambda job: {**run_directory.library_versions(), "replicas": "4"}))
        messages = []
        with pytest.raises(KeyboardInterrupt):
            train(out=tmp_path / "out", callbacks=[Stopped(2)], log=messages.append, **request)
    (message,) = (text for text in messages if "written with" in text)
    assert "written with replicas 1, not 4; the result may differ" in message
    assert train(out=tmp_path / "out", **request).resumed_epochs == 2, "auto is single here"


@pytest.mark.parametrize("name", ["$x$ and $y$", os.fsdecode(b"caf\xe9"), "bell\x07", "$\\frac{$"], ids=range(4))
def test_train_finishes_whatever_the_classes_are_called(name, tmp_path):
    """Two dollar signs are TeX to Matplotlib, and bytes that are not UTF-8 no text to a file."""
    rng = np.random.default_rng(0)
    for number in range(20):
        save_image(tmp_path / "photos" / name / f"{name}{number}.png", tuple(rng.integers(0, 99, 3)), (8, 8))
        save_image(tmp_path / "photos" / "b" / f"{number}.png", tuple(rng.integers(120, 255, 3)), (8, 8))
    messages = []
    result = train(
        "mlp", tmp_path / "photos", out=tmp_path / "out", input_shape=(8, 8, 3), epochs=1, log=messages.append
    )
    assert result.metrics["test_images"] == len(result.metrics["per_class"]) * 4
    assert (tmp_path / "out" / "confusion.png").exists()
    assert not [message for message in messages if "cannot make" in message]
    assert write_report(tmp_path / "out").read_text(encoding="utf-8").count("<svg")


def test_train_finishes_without_plots_that_cannot_be_drawn(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no font")

    monkeypatch.setattr("kcnn.plots.figures.plot_curves", fail)
    messages = []
    result = train("mlp", "digits", out=tmp_path / "out", input_shape=(8, 8, 1), epochs=1, log=messages.append)
    assert result.metrics["accuracy"] == kcnn.training.run_directory.read_metrics(tmp_path / "out")["accuracy"]
    assert "cannot make the plots (RuntimeError: no font); the results are complete without them" in messages
