"""Workers of a training that never start, or start on other data."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from kcnn.distribute.cluster import Cluster
from kcnn.distribute.processes import find_free_addresses
from kcnn.distribute.waiting import find_missing_workers, report_missing_workers
from tests.runs.test_several import TRAIN

REQUEST = {"network": "resnet20", "input_shape": [16, 16, 1], "epochs": 1, "batch_size": 8, "options": {"units": 1}}


def make_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def test_find_missing_workers_names_those_that_do_not_listen():
    addresses = find_free_addresses(3)
    found = find_missing_workers(Cluster(tuple(addresses), 1))
    assert found == [f"worker 0 ({addresses[0]})", f"worker 2 ({addresses[2]})"]


@pytest.mark.every
def test_report_missing_workers_writes_after_ten_seconds_and_ends(capfd):
    addresses = find_free_addresses(2)
    with report_missing_workers(make_config(addresses, 0)):
        time.sleep(13)
    expected = f"worker 0 waits for worker 1 ({addresses[1]}), which has not started, or cannot be reached from here"
    assert expected in capfd.readouterr().err


@pytest.mark.every
def test_train_refuses_workers_with_different_images(tmp_path):
    """Each worker says so, before anything is trained."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 16, 16), "uint8")
    for worker in (0, 1):
        for n, image in enumerate(images):
            folder = tmp_path / f"data-{worker}" / "ab"[n % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - image if (worker, n) == (1, 7) else image).save(folder / f"{n}.png")
    addresses = find_free_addresses(2)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, "multiworker", str(tmp_path / f"out-{n}"), json.dumps(request)],
            env={**os.environ, "TF_CONFIG": make_config(addresses, n)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n, request in enumerate({**REQUEST, "data": str(tmp_path / f"data-{n}")} for n in (0, 1))
    ]
    try:
        for worker in workers:
            _, error = worker.communicate(timeout=120)
            assert worker.returncode == 1
            assert "different images, labels or splits: worker 0 has 40 images, worker 1 has 40 images, of" in error
    finally:
        for worker in workers:
            worker.kill()
    assert not list(tmp_path.glob("out-*"))
