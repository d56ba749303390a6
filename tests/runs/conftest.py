"""Folders of images, and a run; digits and pretended trials; two devices, and a network they have trained together."""

import math
import shutil

import pytest

from tests.runs.photos import save_image


@pytest.fixture(scope="module")
def mirrored():
    from kcnn import distribute

    return distribute.make_strategy("mirrored", ["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def two(mirrored):
    from tests.runs.small import fitted

    return fitted(mirrored)


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten pictures each, of several formats and sizes, no two alike."""
    for i in range(10):
        ending = ("jpg", "png", "gif", "bmp", "webp")[i % 5]
        save_image(tmp_path / "photos" / "red" / f"{i}.{ending}", (200 + i, i, 0), (30 + i, 20))
        save_image(tmp_path / "photos" / "blue" / f"{i}.{ending}", (0, i, 200 + i), (20, 30 + i))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """Two classes of small images of noise, no two alike: 42 to train on, 6 to validate, 12 to test."""
    import numpy as np
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(rng.integers(0, 256, (8, 8)).astype("uint8")).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture(scope="session")
def noise_run(noise, tmp_path_factory):
    """The folder of a run that was trained on the noise."""
    from tests.runs.noise import SMALL
    from tests.runs.training import train_with

    return train_with(data=str(noise), out=tmp_path_factory.mktemp("runs") / "run", **SMALL).folder


@pytest.fixture
def noise_copy(noise, tmp_path):
    """A copy of the noise, for tests that put other images into it."""
    return shutil.copytree(noise, tmp_path / "photos")


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's digits, 8x8 pixels."""
    from kcnn import data

    return data.load("digits", input_shape=(8, 8, 1), batch_size=64)


@pytest.fixture
def pretended(monkeypatch):
    """Trials whose score is a function of their values, without a training."""
    from kcnn.search import trial

    log = []

    def pretend(settings, number, candidate, *, epochs, should_continue, resume_from=None):
        log.append((number, dict(candidate.values), resume_from))
        values = candidate.values
        last = 0.5 + 0.1 * (values["conv1.kernel"] == 5) - 0.1 * abs(math.log10(values["learning_rate"]) + 2.5)
        for epoch in range(1, epochs + 1):
            if not should_continue(epoch, last * (1 - 0.5**epoch)):
                return trial.Outcome("pruned" if epoch < epochs else "ok", 1.0)
        return trial.Outcome("ok", 1.0)

    monkeypatch.setattr("kcnn.search.trial.run_trial", pretend)
    return log
