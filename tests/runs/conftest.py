"""A folder of pictures; two devices of this machine, and a small network that they have trained together."""

import pytest

from tests.runs.photos import picture


@pytest.fixture(scope="module")
def mirrored():
    from kcnn import distribute

    return distribute.strategy("mirrored", ["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def two(mirrored):
    from tests.runs.small import fitted

    return fitted(mirrored)


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten pictures each, of several formats and sizes, no two alike."""
    for i in range(10):
        ending = ("jpg", "png", "gif", "bmp", "webp")[i % 5]
        picture(tmp_path / "photos" / "red" / f"{i}.{ending}", (200 + i, i, 0), (30 + i, 20))
        picture(tmp_path / "photos" / "blue" / f"{i}.{ending}", (0, i, 200 + i), (20, 30 + i))
    return tmp_path / "photos"
