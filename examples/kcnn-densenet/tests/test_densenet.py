"""DenseNet has the parameters of its paper and passes the suite."""

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
def test_densenet_has_the_parameters_of_the_paper(name, params):
    assert kcnn.summary(name).params == params


def test_densenet_of_smaller_growth_is_smaller():
    assert kcnn.summary(kcnn.trace("densenet121", growth=12)).params < kcnn.summary("densenet121").params / 5


def test_densenet_with_weights_of_keras_gives_its_logits(tmp_path):
    theirs = keras.applications.DenseNet121(weights=None, classifier_activation=None)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    theirs.save(tmp_path / "theirs.h5")
    ours = kcnn.build("densenet121.keras")
    kcnn.load_weights(ours, tmp_path / "theirs.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
    expected = theirs.predict(keras.applications.densenet.preprocess_input(pixels.copy()), verbose=0)
    np.testing.assert_allclose(ours.predict(pixels, verbose=0), expected, rtol=1e-3, atol=1e-4)
