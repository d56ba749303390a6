"""A network that exists only as Keras code, written as people write it: few names, activations inside, operators."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn import Architecture
from kcnn.search.space import Space, default_space
from kcnn.testing import checks

L = keras.layers


def model(input_shape, classes, *, width: int = 8, scale: float = 255.0):
    image = keras.Input(input_shape)
    x = image / scale
    x = L.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = x + L.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = L.BatchNormalization()(L.MaxPooling2D()(x))
    x = L.Conv2D(2 * width, 3, activation="relu")(x)
    return keras.Model(image, L.Dense(classes)(L.GlobalAveragePooling2D()(x)))


NET = Architecture(keras=model, reference="none", input_shape=(16, 16, 3), classes=4)


def test_its_layers_have_the_same_names_whatever_was_built_before():
    first, _, second = kcnn.trace(NET), L.Conv2D(3, 3), kcnn.trace(NET)
    assert [row.name for row in kcnn.summary(first)] == [row.name for row in kcnn.summary(second)]
    assert str(kcnn.diff(first, second)) == "the same, layer by layer"
    assert [layer.name for layer in kcnn.build(NET).layers] == [layer.name for layer in kcnn.build(NET).layers]


def test_its_weights_go_to_a_file_and_to_another_number_of_classes(tmp_path):
    one = kcnn.build(NET, seed=1)
    kcnn.weights.save(one, tmp_path / "w.safetensors")
    same = kcnn.build(NET, seed=2, weights=tmp_path / "w.safetensors")
    assert all((a == b).all() for a, b in zip(one.get_weights(), same.get_weights(), strict=True))
    moved = kcnn.build(NET, seed=2, classes=7, weights=tmp_path / "w.safetensors")
    assert all((a == b).all() for a, b in zip(one.get_weights()[:-2], moved.get_weights()[:-2], strict=True))


def test_it_ends_in_its_features_or_in_taps():
    features = kcnn.build(NET, top=False)
    assert features.output_shape == (None, 6, 6, 16)
    taps = kcnn.build(NET, outputs=["stage0", "stage1"])
    assert [tensor.shape for tensor in taps.outputs] == [(None, 16, 16, 8), (None, 6, 6, 16)]
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    assert (features.predict(pixels, verbose=0) >= 0).all(), "the activation inside the last convolution is in"
    with pytest.raises(ValueError, match="no layer is named 'stem'"):
        kcnn.trace(NET, outputs=["stem"])


def test_it_says_what_it_cannot_do():
    for asked, words in (
        ({"overrides": {"conv2d.kernel": 5}}, "cannot be changed by address; its options can be chosen: width, scale"),
        ({"prefix": "left_"}, "cannot be renamed by a prefix"),
        ({"aux": True}, "no auxiliary classifiers"),
        ({"depth": 3}, "no option 'depth'"),
        ({"input_shape": (2, 2, 3)}, "^model: its Keras code makes no model of 2x2x3 with 4 classes"),
    ):
        with pytest.raises(ValueError, match=words):
            kcnn.trace(NET, **asked)
    for wrong, words in (
        (lambda shape, classes: 3, "gives 3, not a functional keras.Model"),
        (lambda shape, classes: model(shape, classes + 1), r"gives \(None, 5\), not logits \(None, 4\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            kcnn.trace(Architecture(keras=wrong, reference="none", input_shape=(16, 16, 3), classes=4))


def test_it_is_searched_in_its_options_and_its_training():
    space = Space(NET, {"width": (4, 8), "scale": (127.5, 255.0)})
    identities = {space.judge(point).identity for point in space.points()}
    assert len(identities) == 4, "what a number does is not in the graph"
    assert [choice.name for choice in default_space(NET).all_choices] == ["learning_rate"]
    with pytest.raises(ValueError, match="cannot be changed by address"):
        Space(NET, {"conv2d.kernel": (3, 5)}).candidate({"conv2d.kernel": 5})


def test_logits_are_float32_in_mixed_precision():
    with checks.apply_policy("mixed_bfloat16"):
        made = kcnn.build(NET)
    assert made.output.dtype == "float32"
    assert made.layers[-2].compute_dtype == "bfloat16"
