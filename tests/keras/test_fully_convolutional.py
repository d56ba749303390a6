"""Networks whose head is a 1x1 convolution to the classes and a global pool, as SqueezeNet's (arXiv:1602.07360)."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.fine_tuning import replace_head
from kcnn.testing import checks
from kcnn.training import freeze, group_by_stage

CODE = """
from kcnn import Architecture
from kcnn.blocks import apply, conv
from kcnn.graph.ops import Activation, Conv, Dropout, GlobalPool

def backbone(x):
    x = conv(x, 8, 3, stride=2, name="conv1")
    return conv(x, 12, 3, stride=2, name="conv2")

def head(x, classes):
    x = apply(Dropout(0.5), x, name="dropout")
    x = apply(Conv(classes, 1), x, name="conv10")
    return apply(GlobalPool(), apply(Activation("relu"), x, name="conv10_relu"), name="pool10")

net = Architecture(
    backbone=backbone, head=head, reference="none", input_shape=(32, 32, 3), classes=10,
    params=9 * 3 * 8 + 8 + 9 * 8 * 12 + 12 + 12 * 10 + 10, map_sizes=(16, 8),
)
"""


@pytest.fixture
def squeeze(install):
    install("kcnn-squeeze", "squeeze", CODE, squeeze="net")
    checks.build_cached.cache_clear()
    yield "squeeze"
    checks.build_cached.cache_clear()


def test_group_by_stage_knows_the_head_of_a_fully_convolutional_network(squeeze):
    assert kcnn.trace(squeeze).features.name == kcnn.trace(squeeze, top=False).outputs["features"].name
    model = kcnn.build(squeeze, seed=0)
    assert group_by_stage(model) == {"conv1": 1, "conv2": 2, "conv10": None}
    freeze(model)
    assert [layer.name for layer in model.layers if layer.trainable_weights] == ["conv10"]


def test_checks_pass_a_fully_convolutional_network(squeeze):
    for check in (checks.check_declared, checks.check_matches_keras, checks.check_freezing, checks.check_saved):
        check(squeeze)


def test_load_weights_gives_a_fully_convolutional_network_other_classes(squeeze, tmp_path):
    trained = kcnn.build(squeeze, seed=0)
    kcnn.weights.save_weights(trained, tmp_path / "trained.safetensors")
    model = kcnn.build(squeeze, classes=4, seed=1)
    report = kcnn.load_weights(model, tmp_path / "trained.safetensors")
    assert set(report.matched) == {"conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias"}
    assert set(report.adapted) == {"conv10/kernel", "conv10/bias"}


@pytest.mark.parametrize("is_built", [False, True])
def test_replace_head_of_a_fully_convolutional_network(squeeze, is_built, tmp_path):
    trained = kcnn.build(squeeze, seed=0)
    kcnn.weights.save_weights(trained, tmp_path / "trained.safetensors")
    model = (
        replace_head(trained, classes=["a", "b"], seed=1)
        if is_built
        else replace_head(squeeze, classes=["a", "b"], weights=tmp_path / "trained.safetensors", seed=1)
    )
    assert model.output_shape == (None, 2)
    for name in ("conv1", "conv2"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], trained.get_layer(name).get_weights()[0])
    assert [layer.name for layer in model.layers if layer.trainable_weights] == ["conv10"]


def test_replace_head_of_a_foreign_fully_convolutional_model():
    image = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(8, 3, activation="relu", name="features")(image)
    maps = keras.layers.Conv2D(10, 1, name="class_maps")(features)
    scores = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(image, scores)
    assert group_by_stage(model) == {"features": 0, "class_maps": None}
    replaced = replace_head(model, classes=3)
    assert [layer.name for layer in replaced.layers if layer.weights] == ["features", "logits"]
    pooled = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, name="last")(features)))
    assert [layer.name for layer in replace_head(pooled, classes=3).layers if layer.weights] == [
        "features",
        "last",
        "logits",
    ]
