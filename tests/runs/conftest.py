"""Two devices of this machine, and a small network that they have trained together."""

import pytest


@pytest.fixture(scope="module")
def mirrored():
    from kcnn import distribute

    return distribute.strategy("mirrored", ["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def two(mirrored):
    from tests.runs.small import fitted

    return fitted(mirrored)
