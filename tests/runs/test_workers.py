"""Training in several processes equals training on several devices of one: losses, files, and a clear end.

Run as a program this file is one worker of a cluster: its arguments are a job below and a folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn import distribute
from kcnn.distribute import launch
from kcnn.distribute.processes import _make_environments
from tests.runs.small import BATCH, COUNT, compiled, evaluation, fitted, same, training, untouched

ROOT = Path(__file__).parents[2]


def job_fit(folder):
    strategy = distribute.make_strategy("auto")
    me, workers = distribute.worker_position(strategy)
    distribute.check_replicas(strategy, compiled(strategy), training, BATCH)
    model, history = fitted(strategy)
    outputs = distribute.predict_dataset(strategy, model, evaluation(), COUNT, BATCH)
    alone = distribute.copy_to_single_device(model).predict(evaluation(), verbose=0)
    if distribute.is_chief(strategy):
        distribute.copy_to_single_device(model).save(folder / "model.keras")
    found = {
        "history": history,
        "workers": workers,
        "chief": distribute.is_chief(strategy),
        "untouched": untouched(),
        "again": distribute.make_strategy("multiworker") is strategy,
        "predicted": outputs.tolist(),
        "difference": float(abs(outputs - alone).max()),
        "without_fix": train_without_fix(strategy),
    }
    (folder / f"{me}.json").write_text(json.dumps(found))


def train_without_fix(strategy):
    """The outcome with Keras' own reduce, and with either half of the fix."""
    outcomes = []
    fixed = type(strategy).reduce

    def fix_batches_only(self, reduce_op, value, axis):
        base = tf.distribute.Strategy.reduce
        return fixed(self, reduce_op, value, axis) if isinstance(value, tuple) else base(self, reduce_op, value, axis)

    for reduce in (tf.distribute.Strategy.reduce, fix_batches_only):
        type(strategy).reduce = reduce
        try:
            fitted(strategy, epochs=1)
            outcomes.append("trains")
        except (ValueError, TypeError) as error:
            outcomes.append(f"{type(error).__name__}: {error}"[:300])
    type(strategy).reduce = fixed
    return outcomes


def job_killed(folder):
    strategy = distribute.make_strategy("auto")
    me, _ = distribute.worker_position(strategy)

    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if me == 1 and batch == 1 and self.epoch == 2 and not (folder / "killed").exists():
                (folder / "killed").write_text(str(time.time()))
                os.kill(os.getpid(), signal.SIGKILL)

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
            with (folder / f"epochs{me}").open("a") as file:
                file.write(f"{epoch}\n")

    backup = keras.callbacks.BackupAndRestore(folder / f"backup{me}")
    with distribute.join_workers(strategy):
        model, _ = fitted(strategy, epochs=4, callbacks=[backup, Kill()])
    np.savez(folder / f"{me}.npz", *model.get_weights())


def command(job, folder):
    return [sys.executable, "-m", "tests.runs.test_workers", job, str(folder)]


def set_environment(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="module")
def cluster_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch)
        assert launch(2, command("job_fit", folder)) == 0
    return folder, [json.loads((folder / f"{n}.json").read_text()) for n in range(2)]


@pytest.mark.every
def test_launch_of_two_processes_trains_like_two_replicas_of_one(cluster_run, two, mirrored):
    folder, found = cluster_run
    for one in found:
        assert one["workers"] == 2
        assert one["again"]
        assert one["untouched"]
        same(one["history"], two[1], 1e-4)
        assert one["difference"] < 1e-5
    assert [one["chief"] for one in found] == [True, False]
    assert found[0]["predicted"] == found[1]["predicted"]
    np.testing.assert_allclose(
        found[0]["predicted"], distribute.predict_dataset(mirrored, two[0], evaluation(), COUNT, BATCH), atol=1e-3
    )
    assert kcnn.load_model(folder / "model.keras").count_params() == two[0].count_params()  # written by the chief only


@pytest.mark.every
def test_multiworker_fix_is_still_needed(cluster_run):
    """If this fails, Keras trains on several workers by itself: delete kcnn/distribute/multiworker.py."""
    for one in cluster_run[1]:
        batch, scalar = one["without_fix"]
        assert "PerReplica" in batch
        assert "Invalid reduction dimension 0 for input with 0 dimensions" in scalar


@pytest.mark.every
def test_launch_resumes_after_a_worker_was_killed_and_the_other_stopped(tmp_path, mirrored, monkeypatch):
    set_environment(monkeypatch)
    workers = [
        subprocess.Popen(command("job_killed", tmp_path), env=environment, stderr=subprocess.PIPE, text=True)
        for environment in _make_environments(2)
    ]
    try:
        _, stderr = workers[0].communicate(timeout=180)
        waited = time.time() - float((tmp_path / "killed").read_text())
        assert workers[1].wait(10) == -signal.SIGKILL
    finally:
        for process in workers:
            process.kill()
            process.wait()
    assert workers[0].returncode == 1
    assert waited < 60
    assert "RuntimeError: worker 0 of 2 stops because worker 1 failed" in stderr
    assert launch(2, command("job_killed", tmp_path)) == 0
    for n in range(2):
        assert (tmp_path / f"epochs{n}").read_text().split() == ["0", "1", "2", "2", "3"]
    model, _ = fitted(mirrored, epochs=4)
    for n in range(2):
        found = np.load(tmp_path / f"{n}.npz")
        for expected, name in zip(model.get_weights(), found.files, strict=True):
            np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
