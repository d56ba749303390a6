"""Weights and models from strangers: nothing outside the file is read, nothing in it runs, no size is believed."""

import io
import json
import random
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn
from kcnn.weights.formats import read_weights
from tests.damage import damage

LAYER = "layers/conv2d/vars"  # of conv1, in Keras' own format


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
