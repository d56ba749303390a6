"""A complete training on two devices and on two workers ends as on one, and resumes after a worker is killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kcnn.reports import write_report
from kcnn.training.run_directory import read_history

ROOT = Path(__file__).parents[2]
TRAIN = """
import sys, json
from kcnn.cli.backend import start_backend
import tensorflow as tf
strategy, out, request = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if strategy == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from kcnn import distribute
    two = distribute.make_strategy("mirrored", devices=("CPU:0", "CPU:1"))
    distribute.strategies.list_gpus = lambda: ("CPU:0", "CPU:1")  # this machine's devices are two halves of a CPU
start_backend(strategy)
from tests.runs.training import train_with
if request.get("precision") == "float64":  # no choice of users
    import keras
    from kcnn.training import config, precision
    keras.config.set_floatx("float64")
    config.PRECISIONS = precision.PRECISIONS = (*config.PRECISIONS, "float64")
train_with(out=out, strategy=strategy, log=lambda text: print(text, flush=True), **request)
"""
REQUEST = {
    "network": "resnet20",
    "data": "digits",
    "input_shape": [16, 16, 1],
    "epochs": 3,
    "batch_size": 64,
    "options": {"units": 1},
    "recipe_overrides": {"ema_momentum": 0.9},
}


def training(strategy, out, **changes):
    return [sys.executable, "-c", TRAIN, strategy, str(out), json.dumps({**REQUEST, **changes})]


def launched(out, **changes):
    code = "import sys; from kcnn.distribute import launch; sys.exit(launch(2, sys.argv[1:]))"
    return [sys.executable, "-c", code, *training("multiworker", out, **changes)]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def losses(folder):
    return [row[key] for row in read_history(folder) for key in ("loss", "val_loss")]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    out = tmp_path_factory.mktemp("single") / "out"
    run(training("single", out))
    return out


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    out = tmp_path_factory.mktemp("mirrored") / "out"
    run(training("mirrored", out))
    return out


@pytest.mark.every
def test_train_on_two_devices_differs_from_one_by_rounding_with_norms_averages_and_a_partial_batch(
    single, mirrored, tmp_path
):
    """In float64 nothing is left of what is 0.1% of a loss after three epochs in float32."""
    one, two = tmp_path / "one", tmp_path / "two"
    run(training("single", one, precision="float64"))
    run(training("mirrored", two, precision="float64"))
    assert losses(two) == pytest.approx(losses(one), rel=1e-6)
    for ours, theirs, apart in ((two, one, 0), (mirrored, single, 2)):
        ours, theirs = (json.loads((out / "metrics.json").read_text()) for out in (ours, theirs))
        assert ours["test_images"] == theirs["test_images"] == 359
        assert abs(ours["correct"] - theirs["correct"]) <= apart


@pytest.mark.every
def test_write_report_of_two_devices_has_the_sections_of_one(single, mirrored, tmp_path):
    folders = [shutil.copytree(out, tmp_path / out.parent.name) for out in (mirrored, single)]  # a report adds its maps
    ours, theirs = (write_report(folder, tmp_path / f"{folder.name}.html").read_text() for folder in folders)
    assert " on 2 devices." in ours
    assert " on 2 devices." not in theirs
    heads = [re.findall("<h2.*?</h2>", text) for text in (ours, theirs)]
    assert heads[0] == heads[1]
    assert len(heads[0]) >= 6


@pytest.mark.every
def test_train_on_two_devices_resumes(mirrored, tmp_path):
    _killed(training("mirrored", tmp_path / "out"), tmp_path / "out" / "checkpoints", "epoch-00001")
    assert "resuming from epoch" in run(training("mirrored", tmp_path / "out"))
    assert losses(tmp_path / "out") == pytest.approx(losses(mirrored), rel=1e-4)


@pytest.mark.every
def test_train_on_two_workers_equals_two_devices_and_only_the_chief_writes(mirrored, tmp_path):
    run(launched(tmp_path / "out"))
    assert losses(tmp_path / "out") == pytest.approx(losses(mirrored), rel=1e-4)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in mirrored.iterdir()}


@pytest.mark.every
def test_train_stops_when_a_worker_is_killed_and_the_same_command_resumes(mirrored, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        launched(out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**os.environ}
    )
    _wait(out / "checkpoints" / "worker-1", "epoch-00001")
    victim = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_worker(entry, str(out), index=1)
    )
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    said, _ = process.communicate(timeout=90)
    assert time.monotonic() - begun < 60
    assert process.returncode != 0
    assert "worker 1 was killed by SIGKILL" in said
    assert not (out / "metrics.json").exists()
    assert "resuming from epoch" in run(launched(out))
    assert losses(out) == pytest.approx(losses(mirrored), rel=1e-4)


def _is_worker(entry, out, index):
    try:
        words = (entry / "cmdline").read_bytes().decode().split("\0")
        environment = (entry / "environ").read_bytes().decode()
    except OSError:
        return False
    return out in words and f'"index": {index}' in environment


def _wait(folder, name):
    for _ in range(4800):
        if any(path.name >= name for path in folder.glob("epoch-*.safetensors")):
            return
        time.sleep(0.02)
    pytest.fail(f"no {name} in {folder}")


def _killed(command, states, name):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        _wait(states, name)
    finally:
        process.kill()
        process.wait()
