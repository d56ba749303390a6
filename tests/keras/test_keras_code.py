"""A network that exists only as Keras code, written as people write it: few names, activations inside, operators."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn import Architecture
from kcnn.search.space import Space, default_space
from kcnn.testing import checks


def model(input_shape, classes, *, width: int = 8, scale: float = 255.0):
    image = keras.Input(input_shape)
    x = image / scale
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = x + keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = keras.layers.BatchNormalization()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Conv2D(2 * width, 3, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(x)))


NET = Architecture(keras=model, reference="none", input_shape=(16, 16, 3), classes=4)


def test_architecture_of_keras_code_has_the_same_layer_names_in_every_build():
    first, _, second = kcnn.trace(NET), keras.layers.Conv2D(3, 3), kcnn.trace(NET)
    assert [row.name for row in kcnn.summary(first)] == [row.name for row in kcnn.summary(second)]
    assert str(kcnn.diff(first, second)) == "the same, layer by layer"
    assert [layer.name for layer in kcnn.build(NET).layers] == [layer.name for layer in kcnn.build(NET).layers]


def test_architecture_of_keras_code_loads_its_weights_for_another_number_of_classes(tmp_path):
    one = kcnn.build(NET, seed=1)
    kcnn.weights.save_weights(one, tmp_path / "w.safetensors")
    same = kcnn.build(NET, seed=2, weights=tmp_path / "w.safetensors")
    assert all((a == b).all() for a, b in zip(one.get_weights(), same.get_weights(), strict=True))
    other = kcnn.build(NET, seed=2, classes=7, weights=tmp_path / "w.safetensors")
    assert all((a == b).all() for a, b in zip(one.get_weights()[:-2], other.get_weights()[:-2], strict=True))


def test_architecture_of_keras_code_ends_in_its_features_or_outputs():
    features = kcnn.build(NET, top=False)
    assert features.output_shape == (None, 6, 6, 16)
    stages = kcnn.build(NET, outputs=["stage0", "stage1"])
    assert [tensor.shape for tensor in stages.outputs] == [(None, 16, 16, 8), (None, 6, 6, 16)]
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    assert (features.predict(pixels, verbose=0) >= 0).all(), "the activation inside the last convolution is in"
    with pytest.raises(ValueError, match="no layer matches 'stem'"):
        kcnn.trace(NET, outputs=["stem"])


def test_architecture_of_keras_code_refuses_arguments_that_it_does_not_support():
    for keywords, message in (
        (
            {"overrides": {"conv2d.kernel": 5}},
            "exists only as Keras code and takes no overrides by address; its options: width, scale",
        ),
        ({"prefix": "left_"}, "takes no prefix"),
        ({"aux": True}, "no auxiliary classifiers"),
        ({"depth": 3}, "unknown option 'depth'"),
        ({"input_shape": (2, 2, 3)}, "^model: its Keras code fails for 2x2x3 and 4 classes: "),
    ):
        with pytest.raises(ValueError, match=message):
            kcnn.trace(NET, **keywords)
    for wrong, message in (
        (lambda shape, classes: 3, "must return a functional keras.Model of one input and one output, got 3"),
        (lambda shape, classes: model(shape, classes + 1), r"must end in logits \(None, 4\), got \(None, 5\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            kcnn.trace(Architecture(keras=wrong, reference="none", input_shape=(16, 16, 3), classes=4))


def test_architecture_of_keras_code_is_searched_in_its_options_and_training():
    space = Space(NET, {"width": (4, 8), "scale": (127.5, 255.0)})
    identities = {space.check(point).identity for point in space.points()}
    assert len(identities) == 4, "what a number does is not in the graph"
    assert [choice.name for choice in default_space(NET).all_choices] == ["learning_rate"]
    with pytest.raises(ValueError, match="takes no overrides by address"):
        Space(NET, {"conv2d.kernel": (3, 5)}).candidate({"conv2d.kernel": 5})


def test_architecture_of_keras_code_has_float32_logits_under_mixed_precision():
    with checks.apply_policy("mixed_bfloat16"):
        built = kcnn.build(NET)
    assert built.output.dtype == "float32"
    assert built.layers[-2].compute_dtype == "bfloat16"
