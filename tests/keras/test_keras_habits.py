"""What a Keras user does by habit: compile with a name, load a model with Keras, clone it."""

import functools
import json
import subprocess
import sys
import warnings
import zipfile

import keras
import numpy as np
import pytest

import kcnn
from kcnn.keras_bridge import registration
from kcnn.keras_bridge.loss_contract import LogitsWarning
from kcnn.keras_bridge.pixel_range import PixelRangeWarning, describe_scaled_pixels

SMALL = {"classes": 3, "input_shape": (8, 8, 1)}
IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 8, 8, 1)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy(from_logits=True)"),
        ("SparseCategoricalCrossentropy", "SparseCategoricalCrossentropy(from_logits=True)"),
        (keras.losses.categorical_crossentropy, "CategoricalCrossentropy(from_logits=True)"),
        (keras.losses.BinaryCrossentropy(), "BinaryCrossentropy(from_logits=True)"),
        ([keras.losses.BinaryFocalCrossentropy()], "BinaryFocalCrossentropy(from_logits=True)"),
        ({"logits": "categorical_focal_crossentropy"}, "CategoricalFocalCrossentropy(from_logits=True)"),
        (functools.partial(keras.losses.binary_crossentropy), "BinaryCrossentropy(from_logits=True)"),
        ("kl_divergence", "KLDivergence expects probabilities"),
    ],
)
def test_compile_warns_of_a_loss_that_takes_logits_for_probabilities(loss, line):
    model = kcnn.build("mlp", **SMALL)
    with pytest.warns(LogitsWarning) as caught:
        model.compile("adam", loss)
    (warning,) = caught
    assert line in str(warning.message)
    assert 'activation="' in str(warning.message)
    assert warning.filename == __file__
    with pytest.warns(LogitsWarning):
        model.compile(optimizer="adam", loss=loss)


def test_compile_is_silent_where_the_loss_fits():
    model, features = kcnn.build("mlp", **SMALL), kcnn.build("convnet", top=False, pooling="avg")
    softmax = kcnn.build("mlp", **SMALL, activation="softmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in (
            None,
            "mse",
            "categorical_hinge",
            lambda y_true, y_pred: keras.ops.mean(y_pred),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
        ):
            model.compile("adam", loss)
        features.compile("adam", "binary_crossentropy")
        for loss in ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
            softmax.compile("adam", loss)


def test_build_with_an_activation_ends_in_float32_probabilities_of_the_same_logits():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = kcnn.build("mlp", **SMALL, activation="softmax", seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [model.get_layer(name).compute_dtype for name in ("logits", "probabilities")] == ["float32"] * 2
    logits, probabilities = (kcnn.build("mlp", **SMALL, activation=a, seed=0) for a in (None, "softmax"))
    scores = logits.predict(IMAGES, verbose=0)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities.predict(IMAGES, verbose=0), expected, atol=1e-6)
    assert probabilities.metadata["classifier"] == "logits"
    assert probabilities.spec.activation == "softmax"
    assert kcnn.from_keras(probabilities).outputs["probabilities"].op == kcnn.ops.Activation("softmax")
    kcnn.load_weights(probabilities, _save(logits))


def _save(model):
    from tempfile import mkdtemp

    path = f"{mkdtemp()}/model.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_loss_of_logits_gets_logits_from_a_network_with_an_activation(activation):
    sparse = activation == "softmax"
    labels = LABELS if sparse else np.eye(3, dtype="float32")[LABELS]
    kind = keras.losses.SparseCategoricalCrossentropy if sparse else keras.losses.BinaryCrossentropy
    weights = []
    for act, from_logits in ((None, True), (activation, True), (activation, False)):
        model = kcnn.build(kcnn.ModelSpec(network="mlp", **SMALL, activation=act), seed=0)
        model.compile(keras.optimizers.SGD(1e-3), kind(from_logits=from_logits), jit_compile=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model.fit(IMAGES, labels, epochs=2, verbose=0, shuffle=False)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-5)
    np.testing.assert_allclose(weights[2], weights[0], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "vgg11", "activation": "softmx"}, "unknown activation 'softmx'. Did you mean 'softmax'?"),
        ({"activation": "softmax", "top": False}, "activation='softmax' needs the head alone"),
        ({"activation": "softmax", "outputs": ["conv1"]}, "activation='softmax' needs the head alone"),
        ({"pooling": "avg"}, "pooling='avg' needs top=False"),
        ({"pooling": "average", "top": False}, "unknown pooling 'average'"),
        ({"network": "mlp", "pooling": "avg", "top": False}, "needs feature maps"),
        ({"classes": 0}, "for features without a classifier write top=False, pooling='avg'"),
    ],
)
def test_build_refuses_a_wrong_end(arguments, message):
    with pytest.raises(ValueError, match=message.replace("?", "[?]")):
        kcnn.trace(**{"network": "convnet", **arguments})


def test_build_with_pooling_ends_in_one_vector_per_image():
    maps = kcnn.build("convnet", top=False, seed=0)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        model = kcnn.build("convnet", top=False, pooling=pooling, seed=0)
        x = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
        expected = reduce(maps.predict(x, verbose=0), axis=(1, 2))
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4)


def test_outputs_by_unit_end_in_its_last_layer():
    graph = kcnn.trace("mobilenet_v2", outputs=["stage3_unit1", "stage3_unit2", "stage2"])
    assert [x.name for x in graph.outputs.values()][:2] == ["stage3_unit1_project_bn", "stage3_unit2_add"]
    with pytest.raises(kcnn.UnknownNameError, match="no layer matches 'stage3_unit9'"):
        kcnn.trace("mobilenet_v2", outputs=["stage3_unit9"])


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype("float32")


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (PIXELS / 255, "the images are 0..1; .* multiply them by 255"),
        (PIXELS / 127.5 - 1, "the images are preprocessed already .*pass the original pixels"),
        ((PIXELS - PIXELS.mean()) / PIXELS.std(), "the images are preprocessed already"),
        (PIXELS - PIXELS.mean(), "the images are preprocessed already"),
    ],
)
def test_a_network_warns_once_of_images_that_are_scaled_already(images, problem):
    model = kcnn.build("mlp", **SMALL)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    with pytest.warns(PixelRangeWarning, match=problem) as caught:
        [model.predict(images, verbose=0) for _ in range(2)]
    assert [one.filename for one in caught if one.category is PixelRangeWarning] == [__file__]
    for use in ("__call__", "fit", "evaluate"):
        fresh = keras.models.clone_model(model)
        with pytest.warns(PixelRangeWarning, match=problem):
            getattr(fresh, use)(images, *([LABELS] if use != "__call__" else []))


def test_a_network_is_silent_about_dark_images_and_overshoot_of_resizing():
    dark, overshoot = PIXELS // 128, PIXELS * 0.9 + 30 * np.sin(PIXELS)
    assert (dark.max(), overshoot.min() < 0) == (1, True)
    for images in (PIXELS, dark, PIXELS * 0, overshoot, PIXELS.astype("uint8") // 128, PIXELS[..., 0], 3):
        assert describe_scaled_pixels(images) is None


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("resnet20", {"classes": 3, "input_shape": (16, 16, 3), "units": 1}),
        pytest.param("googlenet.bn", {"classes": 3, "input_shape": (66, 66, 3), "aux": True}, marks=pytest.mark.every),
        ("lenet5", {}),
    ],
)
def test_keras_loads_and_clones_a_compiled_network(network, options, tmp_path):
    model = kcnn.build(network, **options)
    x = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    model.fit(x, np.array([0, 1]), verbose=0, callbacks=[checkpoint])
    loaded, cloned = keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    for other in (loaded, cloned):
        assert (type(other), other.metadata, other.compiled) == (type(model), model.metadata, True)
        np.testing.assert_allclose(other.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    assert int(loaded.optimizer.iterations) == 1
    assert loaded.evaluate(x, np.array([0, 1]), verbose=0) == model.evaluate(x, np.array([0, 1]), verbose=0)
    loaded.fit(x, np.array([0, 1]), verbose=0)


def test_keras_opens_files_without_kcnn_or_its_error_says_what_to_install(tmp_path):
    for name in ("mobilenet_v2", "resnet20", "lenet5"):
        shape = {"input_shape": (32, 32, 3)} if name == "mobilenet_v2" else {}
        model = kcnn.build(name, **shape)
        model.save(tmp_path / f"{name}.keras")
        if name == "mobilenet_v2":
            np.save(tmp_path / "y.npy", model(np.full((1, 32, 32, 3), 7.0, "float32")))
    small = {"classes": 3, "input_shape": (66, 66, 3)}
    kcnn.build("googlenet", aux=True, **small).save(tmp_path / "googlenet.keras")
    code = (
        "import sys; sys.modules['kcnn'] = None\nimport keras, numpy as np\n"
        "model = keras.saving.load_model('mobilenet_v2.keras')\n"
        "y = model(np.full((1, 32, 32, 3), 7.0, 'float32'))\nprint(np.allclose(y, np.load('y.npy'), atol=1e-4))\n"
        "for name in ('resnet20', 'lenet5', 'googlenet'):\n"
        "    try: keras.saving.load_model(f'{name}.keras')\n"
        "    except ValueError as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    opened, *errors = shown.stdout.splitlines()
    assert opened == "True"
    assert len(errors) == 3
    assert all("pip install kcnn, then import kcnn before loading" in error for error in errors)


def test_keras_loads_files_of_earlier_versions(tmp_path):
    model = kcnn.build("resnet20")
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config |= {"module": "kcnn.keras_bridge.model", "class_name": "Network"}
    for layer in config["config"]["layers"]:
        if (layer["registered_name"] or "").startswith("kcnn>"):
            layer |= {"module": "kcnn.keras_bridge.layers", "class_name": layer["registered_name"][5:]}
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    for load in (keras.models.load_model, kcnn.load_model):
        assert load(tmp_path / "old.keras").metadata == model.metadata


def test_registration_has_every_registered_class_of_kcnn():
    import importlib

    for module in registration.CLASSES:
        importlib.import_module(module)
    expected = {name for name in keras.saving.get_custom_objects() if name.startswith("kcnn>")}
    listed = [*registration.CLASSES.values(), *registration.FUNCTIONS.values()]
    assert expected == {f"kcnn>{name}" for names in listed for name in names}


def test_importing_kcnn_before_or_after_keras_makes_its_layers_known():
    code = "import {}, {}, sys, keras; assert 'kcnn.keras_bridge.layers' not in sys.modules; f = keras.saving"
    code += "; pad = {{'padding': [[1, 1], [2, 2]], 'padding_mode': 'zeros', 'channels': [0, 0], 'name': 'pad'}}"
    code += "; print(f.deserialize_keras_object({{'class_name': 'Pad2D', 'registered_name': 'kcnn>Pad2D', "
    code += "'module': None, 'config': pad}}))"
    for order in (("kcnn", "keras"), ("keras", "kcnn")):
        command = [sys.executable, "-c", code.format(*order)]
        assert "Pad2D" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
