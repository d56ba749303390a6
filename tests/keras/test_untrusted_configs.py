"""Models from strangers: no layer of a config runs code, reads files or claims more than the weights."""

import json
import time
import zipfile

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

import kcnn
from kcnn.keras_bridge.model import BUILT, Network
from kcnn.keras_bridge.saved_models import load_keras_file
from kcnn.weights.formats import read_weights


def rewrite(path, **members):
    """Write a .keras file again with other members; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**parts, **members}.items():
            archive.writestr(name, content)


@pytest.fixture
def archive(convnet, tmp_path):
    convnet.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../escaped": b"x"}, r"its member '\.\./escaped' would lie outside"),
        ({"/etc/escaped": b"x"}, "would lie outside"),
        ({"..\\escaped": b"x"}, "would lie outside"),
        ({"C:\\escaped": b"x"}, "would lie outside"),
        ({"zeros": bytes(1 << 27)}, r"its members claim 134,\d+,\d+ bytes"),
        ({"config.json": b"{"}, "config.json: "),
        ({"config.json": b"[" * 100_000}, "config.json: "),
        ({"config.json": b"[]"}, "config.json describes no Keras model"),
    ],
)
def test_load_refuses_archives_that_escape_or_expand(archive, members, message):
    rewrite(archive, **members)
    for load in (kcnn.load_model, read_weights, load_keras_file):
        with pytest.raises(ValueError, match=f"model.keras.*{message}"):
            load(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_load_refuses_an_archive_with_two_configs_and_one_with_a_flipped_bit(archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.with_name("flipped.keras").write_bytes(content)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("config.json", "{}")
    for load in (kcnn.load_model, read_weights):
        with pytest.raises(ValueError, match=r"two members 'config\.json'"):
            load(archive)
        with pytest.raises(ValueError, match=r"its checksum does not match|Bad CRC-32"):
            load(archive.with_name("flipped.keras"))


def change_config(archive, change):
    with zipfile.ZipFile(archive) as opened:
        config = json.loads(opened.read("config.json"))
    change(config["config"]["layers"])
    rewrite(archive, **{"config.json": json.dumps(config)})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"module": "keras.layers", "class_name": "Lambda", "config": {"name": "x"}}, r"'x' \(Lambda\) runs code"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/evil"}}, "TFSMLayer"),
        ({"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "reads"),
        ({"module": "os", "class_name": "system", "config": "touch /tmp/x"}, "of the module 'os', which is not"),
        (
            {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10**9}},
            r"has units 1,000,000,000, more",
        ),
        (
            {"module": "keras", "class_name": "layers.TFSMLayer", "config": {"name": "x", "filepath": "/evil"}},
            r"'x' \(layers\.TFSMLayer\) runs code",
        ),
        ({"module": "keras.layers", "class_name": "x", "registered_name": "keras>Lambda", "config": {}}, "runs code"),
        (
            {"module": "keras.layers", "class_name": "DepthwiseConv2D", "config": {"depth_multiplier": -(10**9)}},
            "has depth_multiplier 1,000,000,000, more",
        ),
        ({"module": "keras.layers", "class_name": "Conv2D", "config": {"kernel_size": [1, 10**9]}}, "has kernel_size"),
        ({"module": "shutil", "class_name": "rmtree", "config": {"name": "y"}}, "'y'"),
    ],
)
def test_load_refuses_a_config_that_names_code_or_files(archive, layer, message):
    change_config(archive, lambda layers: layers.append(layer))
    for load in (kcnn.load_model, load_keras_file):
        with pytest.raises(ValueError, match=f"cannot load .*{message}"):
            load(archive)


L = keras.layers


HUGE = {
    "dense": lambda x: L.Dense(1_000_000, name="huge")(L.Dense(1_000_000)(L.Flatten()(x))),
    "convolution": lambda x: L.Conv2D(1, 100_000, padding="same", name="huge")(x),
    "depthwise": lambda x: L.DepthwiseConv2D(3, depth_multiplier=10_000_000, name="huge")(x),
    "embedding": lambda x: L.Embedding(10_000_000, 1000, name="huge")(L.Flatten()(x)),
    "nested": lambda x: keras.Sequential([L.Dense(30_000_000, name="huge")])(x),
    "many": lambda x: keras.Sequential([L.Flatten(), *(L.Dense(1500, name=f"huge{n}") for n in range(9))])(x),
}


@pytest.mark.parametrize("name", HUGE)
def test_load_keras_file_refuses_layers_out_of_proportion_to_the_weights_before_it_allocates_them(name, tmp_path):
    image = keras.Input((8, 8, 3))
    with keras.StatelessScope(initialize_variables=False):
        config = keras.saving.serialize_keras_object(keras.Model(image, HUGE[name](image)))
    global_state.set_global_attribute("uninitialized_variables", [])
    keras.Sequential([keras.Input((2,)), L.Dense(2)]).save(tmp_path / "huge.keras")
    rewrite(tmp_path / "huge.keras", **{"config.json": json.dumps(config)})
    start = time.monotonic()
    with pytest.raises(
        ValueError, match=r"cannot load .*the weights of its layers \(the largest: .*huge.* claim [\d,]{10,}"
    ):
        load_keras_file(tmp_path / "huge.keras")
    assert time.monotonic() - start < 5
    with keras.StatelessScope():  # whose end makes the values of all variables that wait for them
        pass


def test_load_model_builds_a_network_once(archive, monkeypatch):
    """To know the shapes of its variables before they are allocated; Keras then takes this model."""
    built, init = [], Network.__init__
    monkeypatch.setattr(
        Network, "__init__", lambda self, *args, **kwargs: built.append(self) or init(self, *args, **kwargs)
    )
    model = kcnn.load_model(archive)
    assert built == [model]
    assert not BUILT.get()


def test_load_keras_file_loads_a_network_inside_another_model(tmp_path):
    inner = kcnn.build("lenet5", classes=3)
    image = keras.Input(inner.input_shape[1:])
    model = keras.Model(image, L.Dense(2)(inner(image)))
    model.save(tmp_path / "model.keras")
    loaded = load_keras_file(tmp_path / "model.keras")
    assert type(loaded.layers[1]) is Network
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *inner.input_shape[1:])).astype("float32")
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


def test_load_keras_file_loads_layers_that_draw_random_numbers_or_recur(tmp_path):
    image = keras.Input((8, 8, 3))
    x = L.Dropout(0.5, seed=2**40)(L.RandomFlip()(L.BatchNormalization()(image)))
    model = keras.Model(image, L.Dense(2)(L.LSTM(3)(L.Reshape((64, 3))(x))))
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    loaded = load_keras_file(tmp_path / "model.keras")
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))


def test_load_model_refuses_modules_of_others_that_are_imported(archive):
    with zipfile.ZipFile(archive) as opened:
        config = json.loads(opened.read("config.json"))
    metadata = json.loads(config["config"]["metadata"])
    config["config"]["metadata"] = json.dumps({**metadata, "modules": ["os"]})
    rewrite(archive, **{"config.json": json.dumps(config)})
    with pytest.raises(ImportError, match="needs layers of the module 'os'; expected modules of kcnn"):
        kcnn.load_model(archive)


def test_load_refuses_a_lambda_of_an_activation(archive):
    value = {"class_name": "__lambda__", "config": {"value": "bytecode"}}
    change_config(archive, lambda layers: layers[2]["config"].update(activation=value))
    with pytest.raises(ValueError, match="__lambda__"):
        kcnn.load_model(archive)


def test_load_keras_file_refuses_another_suffix_which_keras_reads_as_another_format(archive):
    other = archive.rename(archive.with_suffix(".h5"))
    with pytest.raises(ValueError, match=r"expected a file whose name ends in \.keras"):
        load_keras_file(other)


def test_load_model_names_damaged_metadata(archive):
    for field, value in (("spec", 3), ("distribution", ["x"]), ("classes", None), ("modules", "os"),
                         ("classes", -3), ("classes", 0), ("classes", True), ("classes", []), ("classes", [1]),
                         ("input_shape", []), ("input_shape", [8, 8]), ("input_shape", [8, 0, 3]),
                         ("input_shape", [8, 8, None]), ("input_shape", [8.0, 8, 3])):  # fmt: skip

        def change(config, field=field, value=value):
            metadata = json.loads(config["metadata"])
            config["metadata"] = json.dumps({**metadata, field: value})

        with zipfile.ZipFile(archive) as opened:
            config = json.loads(opened.read("config.json"))
        change(config["config"])
        other = archive.with_name("other.keras")
        other.write_bytes(archive.read_bytes())
        rewrite(other, **{"config.json": json.dumps(config)})
        with pytest.raises(ValueError, match=f"other.keras .*its metadata is damaged: {field}"):
            kcnn.load_model(other)


def test_load_keras_file_loads_any_model_of_keras_layers(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2")(image) / 2
    model = keras.Model(image, keras.layers.Dense(2)(keras.ops.mean(x, axis=(1, 2))))
    model.save(tmp_path / "plain.keras")
    loaded = load_keras_file(tmp_path / "plain.keras")
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
