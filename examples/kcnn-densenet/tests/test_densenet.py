"""DenseNet is what its paper says, and does what kcnn relies on."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.testing import Suite


class TestDenseNet121(Suite):
    name = "densenet121"


@pytest.mark.parametrize(
    ("name", "params"),
    [("densenet121", 7_978_856), ("densenet169", 14_149_480), ("densenet201", 20_013_928)],
)
def test_it_has_the_papers_parameters(name, params):
    assert kcnn.summary(name).params == params


def test_a_smaller_growth_is_a_smaller_network():
    assert kcnn.summary(kcnn.trace("densenet121", growth=12)).params < kcnn.summary("densenet121").params / 5


def test_keras_own_file_loads_and_gives_keras_logits(tmp_path):
    theirs = keras.applications.DenseNet121(weights=None, classifier_activation=None)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    theirs.save(tmp_path / "theirs.h5")
    ours = kcnn.build("densenet121.keras")
    kcnn.load_weights(ours, tmp_path / "theirs.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
    wanted = theirs.predict(keras.applications.densenet.preprocess_input(pixels.copy()), verbose=0)
    np.testing.assert_allclose(ours.predict(pixels, verbose=0), wanted, rtol=1e-3, atol=1e-4)
