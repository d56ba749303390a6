"""Exported and optimized models give the probability of every class, whatever the last layers of a model compute."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.export.formats import export_model
from kcnn.export.runtimes import load_exported
from kcnn.keras_bridge.probabilities import compute_probabilities

RNG = np.random.default_rng(0)


def _add_probabilities(kind, flat):
    """The output of a classifier of three classes, or of one, behind a flat tensor."""
    dense = keras.layers.Dense
    if kind == "nested":
        return keras.Sequential([keras.Input(flat.shape[1:]), dense(3, activation="softmax")])(flat)
    if kind == "mean":
        return 0.5 * dense(3, activation="softmax")(flat) + 0.5 * keras.ops.softmax(dense(3)(flat))
    if kind == "average":
        return keras.layers.average([dense(3, activation="softmax")(flat), keras.layers.Softmax()(dense(3)(flat))])
    if kind == "clipped sigmoids":
        return keras.ops.clip(dense(3, activation="sigmoid")(flat), 1e-7, 1 - 1e-7)
    if kind == "joined sigmoids":
        return keras.layers.Concatenate()([dense(1, activation="sigmoid")(flat) for _ in range(3)])
    if kind == "mean of a map of sigmoids":
        maps = keras.layers.Conv2D(3, 1, activation="sigmoid")(keras.layers.Reshape((4, 4, 1))(flat))
        return keras.layers.GlobalAveragePooling2D()(maps)
    if kind == "1x1 convolution":
        maps = keras.layers.Conv2D(3, 1, activation="softmax")(keras.layers.Reshape((1, 1, -1))(flat))
        return keras.layers.Flatten()(maps)

    def own(x):
        return keras.ops.softmax(x)

    import tensorflow as tf

    return {
        "own function": lambda: dense(3, activation=own)(flat),
        "layer as activation": lambda: dense(3, activation=keras.layers.Softmax())(flat),
        "of TensorFlow": lambda: dense(3, activation=tf.nn.softmax)(flat),
        "Dense": lambda: dense(3, activation="softmax")(flat),
        "Activation": lambda: keras.layers.Activation("linear", dtype="float32")(
            keras.layers.Activation("softmax")(dense(3)(flat))
        ),
        "op": lambda: keras.ops.softmax(dense(3)(flat)),
        "sigmoids": lambda: dense(3, activation="sigmoid")(flat),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "own function",
        "layer as activation",
        "of TensorFlow",
        "Dense",
        "Activation",
        "op",
        "nested",
        "mean",
        "average",
        "1x1 convolution",
        "sigmoids",
        "clipped sigmoids",
        "joined sigmoids",
        "mean of a map of sigmoids",
    ],
)
def test_optimize_for_inference_leaves_probabilities_as_they_are(kind):
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, _add_probabilities(kind, flat))
    optimized = kcnn.optimize_for_inference(model, probabilities=True)
    pixels = RNG.uniform(0, 255, (5, 4, 4, 1)).astype("float32")
    np.testing.assert_allclose(optimized(pixels), model(pixels), atol=1e-6)
    assert optimized.metadata.get("multi_label", False) == ("sigmoids" in kind)
    scores = keras.ops.convert_to_numpy(model(pixels))
    np.testing.assert_allclose(compute_probabilities(model, scores, {}), scores, atol=1e-6)


def test_optimize_for_inference_finds_a_softmax_on_maps_of_an_open_size():
    image = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(3, 1, activation="softmax")(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    pixels = RNG.uniform(0, 255, (5, 4, 4, 3)).astype("float32")
    optimized = kcnn.optimize_for_inference(model, probabilities=True)
    np.testing.assert_allclose(optimized(pixels), model(pixels), atol=1e-6)


def test_optimize_for_inference_adds_a_softmax_to_scores_that_an_activation_bounds_below():
    image = keras.Input((4, 4, 1))
    maps = keras.layers.Conv2D(3, 1, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    pixels = RNG.uniform(0, 255, (5, 4, 4, 1)).astype("float32")
    optimized = kcnn.optimize_for_inference(model, probabilities=True)
    np.testing.assert_allclose(optimized(pixels), keras.ops.softmax(model(pixels)), atol=1e-6)


def test_export_model_gives_both_classes_of_a_model_that_subtracts_a_sigmoid_from_one(tmp_path):
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, 1 - keras.layers.Dense(1, activation="sigmoid")(flat))
    exported = load_exported(export_model(model, tmp_path / "net", "keras", classes=["cat", "dog"]))
    pixels = RNG.integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    dog = keras.ops.convert_to_numpy(model(pixels.astype("float32")))
    np.testing.assert_allclose(exported.run(pixels), np.concatenate([1 - dog, dog], axis=1), atol=1e-6)


@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh"])
def test_export_model_gives_both_classes_of_a_model_with_one_output(activation, tmp_path):
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(1, activation=activation)(flat))
    exported = load_exported(export_model(model, tmp_path / "net", "keras", classes=["cat", "dog"]))
    pixels = RNG.integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    scores = keras.ops.convert_to_numpy(model(pixels.astype("float32")))
    dog = {None: 1 / (1 + np.exp(-scores)), "sigmoid": scores, "tanh": (1 + scores) / 2}[activation]
    expected = np.concatenate([1 - dog, dog], axis=1)
    np.testing.assert_allclose(exported.run(pixels), expected, atol=1e-6)
    assert exported.metadata["classes"] == ["cat", "dog"]
    predictions = kcnn.predict(model, list(pixels))
    assert predictions.classes == ("class 0", "class 1")
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-6)


def test_predict_gives_both_classes_of_a_network_with_one_class(tmp_path):
    model = kcnn.build("mlp", classes=1, input_shape=(4, 4, 1))
    pixels = RNG.integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    dog = 1 / (1 + np.exp(-keras.ops.convert_to_numpy(model(pixels.astype("float32")))))
    exported = export_model(model, tmp_path / "net", "keras")
    for predictions in (kcnn.predict(model, list(pixels)), kcnn.predict(exported, list(pixels))):
        assert predictions.classes == ("class 0", "class 1")
        np.testing.assert_allclose(predictions.probabilities, np.concatenate([1 - dog, dog], axis=1), atol=1e-5)


@pytest.mark.parametrize("model", [5, None, [1], object()])
def test_predict_names_a_wrong_model(model):
    with pytest.raises(ValueError, match=r"^model must be a network by name, .* or a Keras model"):
        kcnn.predict(model, [])
    with pytest.raises(ValueError, match="ends in features"):
        kcnn.predict(kcnn.build("lenet5", top=False), [])


def test_export_model_refuses_a_softmax_over_one_output_and_features(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "softmax")])
    with pytest.raises(ValueError, match="softmax over one output, which is 1 for every image"):
        export_model(model, tmp_path / "net")
    with pytest.raises(ValueError, match="ends in features"):
        export_model(kcnn.build("lenet5", top=False), tmp_path / "net")
    assert not any(tmp_path.iterdir())
