"""Weights and models from strangers: nothing outside the file is read, nothing in it runs, no size is believed."""

import io
import json
import random
import struct
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state
from safetensors.numpy import save_file

import kcnn
from kcnn.keras_bridge.saved_models import load_keras_file
from kcnn.weights.formats import read_weights
from tests.damage import damage

LAYER = "layers/conv2d/vars"  # of conv1, in Keras' own format


@pytest.fixture(scope="module")
def convnet():
    return kcnn.build("convnet", seed=1)


@pytest.fixture
def secret(tmp_path):
    """A file that is none of the model's business."""
    (tmp_path / "secret").write_bytes(np.arange(1000, dtype="float32").tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["numbers"] = np.arange(144, dtype="float32").reshape(3, 3, 1, 16)
    return tmp_path / "secret"


def make_external(group, secret):
    group.create_dataset("0", (3, 3, 1, 16), "float32", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def make_external_link(group, secret):
    group["0"] = h5py.ExternalLink(f"{secret}.h5", "/numbers")


def make_external_group(group, secret):
    group.file.create_group("layers/more")["vars"] = h5py.ExternalLink(f"{secret}.h5", "/")


def make_soft_link(group, secret):
    group["0"] = h5py.SoftLink("/layers/conv2d/vars/1")


def make_virtual(group, secret):
    layout = h5py.VirtualLayout((3, 3, 1, 16), "float32")
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "numbers", (3, 3, 1, 16))
    group.create_virtual_dataset("0", layout)


def make_huge(group, secret):
    group.create_dataset("0", (1 << 40,), "float32", chunks=(1024,))


def make_bomb(group, secret):
    group.create_dataset("0", data=np.zeros(1 << 24, "float32"), compression="gzip")


def make_deep(group, secret):
    for _ in range(3000):
        group = group.create_group("x")


HOSTILE = {
    make_deep: "more than 64 groups inside each other",
    make_external: r"/vars/0 keeps its data in another file \(.*secret\)",
    make_external_link: "/vars/0 is an external link; expected only groups and datasets of the file itself",
    make_external_group: "/layers/more/vars is an external link",
    make_soft_link: "/vars/0 is a soft link",
    make_virtual: "/vars/0 is a virtual dataset",
    make_huge: r"/vars/0 claim 4,398,046,\d+,\d+ bytes in a file of",
    make_bomb: r"/vars/0 claim 67,\d+,\d+ bytes in a file of",
}


def spoil(path, make, secret):
    """Replace the kernel of conv1 in a .weights.h5, .h5 or .keras file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        weights = io.BytesIO(parts["model.weights.h5"])
    else:
        weights = path
    with h5py.File(weights, "r+") as file:
        group = file["model_weights/conv1/conv1" if "model_weights" in file else LAYER]
        name = "kernel" if "kernel" in group else "0"
        del group[name]
        make(group, secret)
        if name == "kernel" and "0" in group:
            group.move("0", name)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**parts, "model.weights.h5": weights.getvalue()}.items():
                archive.writestr(name, content)


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
def test_load_refuses_hdf5_that_reaches_outside_or_claims_too_much(convnet, make, ending, secret, tmp_path):
    path = tmp_path / f"hostile.{ending}"
    convnet.save(path) if ending == "keras" else convnet.save_weights(path)
    spoil(path, make, secret)
    with pytest.raises(ValueError, match=rf"hostile\.{ending} is damaged or not a weights file: .*{HOSTILE[make]}"):
        kcnn.load_weights(convnet, path)
    if ending == "keras":
        with pytest.raises(ValueError, match=f"cannot load .*{HOSTILE[make]}"):
            kcnn.load_model(path)


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize("make", [make_external, make_external_link, make_virtual])
def test_load_refuses_h5_of_older_keras_that_reaches_outside(convnet, make, secret, tmp_path):
    path = tmp_path / "old.h5"
    convnet.save(path)
    spoil(path, make, secret)
    with pytest.raises(ValueError, match=HOSTILE[make].replace("/vars/0", "/conv1/0").replace("/conv1/0", "/conv1/.*")):
        read_weights(path)


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


def test_read_weights_reads_compressed_kernels_of_zeros_and_names_the_cure_for_larger_ones(tmp_path):
    for rows in (2048, 20480):
        with h5py.File(tmp_path / f"{rows}.weights.h5", "w") as file:
            group = file.create_group("layers/dense/vars")
            group.create_dataset("0", data=np.zeros((rows, 1000), "float32"), compression="gzip")
            group.attrs["name"] = "logits"
    (kernel,) = read_weights(tmp_path / "2048.weights.h5").layers["logits"].values()
    assert kernel.shape == (2048, 1000)
    with pytest.raises(
        ValueError, match=r"claim 81,920,000 bytes .* expected at most .* without compression \(HDF5: h5rep"
    ):
        read_weights(tmp_path / "20480.weights.h5")


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


def write_safetensors(path, tensors, body):
    header = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a/b": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, "not fully covered"),
        ({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in ("a/b", "a/c")}, "invalid offset"),
        (
            {"a/kernel": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}},
            "tensor 'a/kernel' holds numbers of type F8_E4M3, .*expected F64, F32, F16, BF16: convert the file",
        ),
        ({"a/b": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, "of type C64"),
    ],
)
def test_read_weights_refuses_safetensors_with_an_absurd_header_or_type(tensors, message, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", tensors, bytes(8 if "C64" in str(tensors) else 4))
    with pytest.raises(ValueError, match=rf"w\.safetensors is damaged or not a weights file: .*{message}"):
        read_weights(tmp_path / "w.safetensors")


def test_read_weights_reads_bfloat16_as_float32(tmp_path):
    entry = {"a/b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    write_safetensors(tmp_path / "w.safetensors", entry, b"\x80\x3f\x00\xc0")  # 1 and -2
    array = read_weights(tmp_path / "w.safetensors").layers["a"]["b"]
    assert (array.dtype, array.tolist()) == (np.float32, [1.0, -2.0])


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_refuses_numbers_that_are_not_finite_by_tensor(ending, value, tmp_path):
    model = kcnn.build("convnet", seed=1)
    bias = model.get_layer("conv2").bias
    bias.assign(np.where(np.arange(32) == 7, value, bias.numpy()))
    path = tmp_path / f"w.{ending}"
    if ending == "safetensors":
        save_file({f"{v.path}": v.numpy() for v in model.weights}, path)
    else:
        (model.save_weights if ending == "weights.h5" else model.save)(path)
    with pytest.raises(ValueError, match=r"w\.\S+ has numbers that are not finite .* in conv2/bias;"):
        kcnn.build("convnet", weights=path)
    if ending == "keras":
        with pytest.raises(ValueError, match=r"not finite .* in conv2/bias"):
            kcnn.load_model(path)
    with pytest.raises(ValueError, match="not finite"):  # also where the network has no such layer
        kcnn.build("convnet", outputs=["conv1"], weights=path)


@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
def test_load_weights_refuses_a_dataset_without_a_shape(convnet, ending, secret, tmp_path):
    path = tmp_path / f"w.{ending}"
    convnet.save(path) if ending == "keras" else convnet.save_weights(path)
    spoil(path, lambda group, secret: group.create_dataset("0", data=h5py.Empty("f4")), secret)
    with pytest.raises(ValueError, match=rf"w\.{ending} is damaged .*: 'conv1/kernel' has no shape; expected numbers"):
        kcnn.build("convnet", weights=path)
    if ending == "keras":
        with pytest.raises(ValueError, match=r"cannot load .*w\.keras"):
            kcnn.load_model(path)


def test_load_weights_refuses_numbers_that_are_infinite_as_float32(convnet, tmp_path):
    path = tmp_path / "w.weights.h5"
    convnet.save_weights(path)
    with h5py.File(path, "r+") as file:
        shape = file[LAYER]["0"].shape
        del file[LAYER]["0"]
        file[LAYER]["0"] = np.full(shape, 1e300)
    with pytest.raises(ValueError, match=r"w\.weights\.h5 has numbers that are not finite .*float32 in conv1/kernel"):
        kcnn.build("convnet", weights=path)


@pytest.mark.parametrize("ending", ["safetensors", "keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_read_weights_of_a_hundred_damaged_files_ends_in_one_line_each(convnet, ending, tmp_path):
    path, rng, messages, slowest = tmp_path / f"w.{ending}", random.Random(0), [], 0.0
    if ending == "safetensors":
        kcnn.weights.save_weights(convnet, path)
    else:
        (convnet.save_weights if ending == "weights.h5" else convnet.save)(path)
    content = path.read_bytes()
    for _ in range(100):
        path.write_bytes(damage(content, rng))
        start = time.monotonic()
        try:
            read_weights(path)
        except ValueError as error:
            messages.append(str(error))
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 10
    assert len(messages) >= 40  # the others have other numbers, for which HDF5 and safetensors have no checksum
    assert all(message.startswith(f"{path} ") and "\n" not in message for message in messages)
