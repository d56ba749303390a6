"""A network of Keras code alone does what kcnn relies on, and refuses what it cannot do with the reason."""

import pytest

import kcnn
from kcnn.testing import Suite


class TestPatchMixer(Suite):
    name = "patchmixer"


def test_its_layers_are_changed_by_options_alone():
    with pytest.raises(ValueError, match="exists only as Keras code: its layers cannot be changed by address"):
        kcnn.trace("patchmixer", overrides={"patches.kernel": 4})
    with pytest.raises(ValueError, match="its layers cannot be changed by address"):
        kcnn.trace("patchmixer").with_overrides({"mix1_*.kernel": 3})
    assert kcnn.build("patchmixer", patch=4).get_layer("patches").kernel_size == (4, 4)
