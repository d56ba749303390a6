"""A network that exists only as Keras code passes the suite and refuses overrides by address."""

import pytest

import kcnn
from kcnn.testing import Suite


class TestPatchMixer(Suite):
    name = "patchmixer"


def test_patchmixer_takes_options_but_no_overrides():
    with pytest.raises(ValueError, match="exists only as Keras code and takes no overrides by address"):
        kcnn.trace("patchmixer", overrides={"patches.kernel": 4})
    with pytest.raises(ValueError, match="takes no overrides by address"):
        kcnn.trace("patchmixer").with_overrides({"mix1_*.kernel": 3})
    assert kcnn.build("patchmixer", patch=4).get_layer("patches").kernel_size == (4, 4)
