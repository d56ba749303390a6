"""Files of torch.save are read without PyTorch, and nothing in them runs."""

import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kcnn.weights import torch_files
from kcnn.weights.torch_files import LEGACY_MAGIC, read_torch_file
from tests.damage import damage

FILES = [
    Path(__file__).parents[1] / "parity" / name for name in ("archive.pth", "stream.pth")
]  # by tests.parity.record
EXPECTED = {
    "conv.weight": np.arange(24.0).reshape(2, 3, 2, 2),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "slice": np.arange(2.0, 7),
    "half": np.array([0.5, 1.5, -2.0]),
    "bfloat16": np.array([0.5, 1.5, -2.0]),
    "double": np.array([[0.1]], "float32"),
    "count": np.array(7.0),
    "empty": np.zeros((0, 3)),
}
NUMBERS = np.arange(4, dtype="<f4").tobytes()


def make_tensor(offset=0, shape=(2,), strides=(1,), size=4, kind=b"FloatStorage"):
    """A pickle of {"w": tensor} as PyTorch writes it."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + whole(size) + b"tQ"
    )
    tensor = storage + whole(offset) + pack(shape) + pack(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + tensor + b"tRs."


def whole(number):
    return b"J" + struct.pack("<i", number)


def pack(numbers):
    return b"(" + b"".join(map(whole, numbers)) + b"t"


def write_archive(path, content, storage=NUMBERS, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
        for name, value in {"data/0": storage, **members}.items():
            if value is not None:
                archive.writestr(f"net/{name}", value)
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_read_torch_file_returns_the_tensors_of_both_formats(file):
    state = read_torch_file(file)
    assert state.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        assert state[name].dtype == "float32"
        np.testing.assert_array_equal(state[name], expected.astype("float32"), strict=True)


def test_read_torch_file_reads_a_file_made_by_hand(tmp_path):
    file = write_archive(tmp_path / "w.pth", make_tensor(offset=1, shape=(2, 2), strides=(1, 1)))
    np.testing.assert_array_equal(read_torch_file(file)["w"], [[1, 2], [2, 3]])


class Payload:
    """A pickle that runs code when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"w": one}, lambda one: {"state_dict": {"w": [one]}}])
def test_read_torch_file_runs_nothing(protocol, wrap, tmp_path):
    mark = tmp_path / "ran"
    content = pickle.dumps(wrap(Payload(os.mkdir, str(mark))), protocol)
    start = pickle.dumps(LEGACY_MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    (tmp_path / "stream.pth").write_bytes(start + content + pickle.dumps([], 2))
    (tmp_path / "first.pth").write_bytes(content)
    write_archive(tmp_path / "archive.pth", content)
    for name in ("stream", "first", "archive"):
        with pytest.raises(ValueError, match="more than tensors"):
            read_torch_file(tmp_path / f"{name}.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cbuiltins\neval\n(X\x03\x00\x00\x001/0tR.",
        b"ctorch.hub\nload\n)R.",
        b"ctorch._utils\n__builtins__\n.",
        b"ctorch\nFloatStorage.__class__\n.",
        b"(X\x03\x00\x00\x001/0ibuiltins\neval\n.",
        b"(cbuiltins\neval\nX\x03\x00\x00\x001/0o.",
        b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x031/0\x85R.",
        b"ccollections\nOrderedDict\n)\x81.",
        b"\x82\x01.",
    ],
)
def test_read_torch_file_refuses_instructions_and_names_that_are_not_on_its_list(call, tmp_path):
    with pytest.raises(ValueError, match="more than tensors"):
        read_torch_file(write_archive(tmp_path / "w.pth", call))


def test_functions_of_the_list_make_records_alone():
    for name, function in torch_files.FUNCTIONS.items():
        assert name == "collections OrderedDict" or function.__module__ == "kcnn.weights.torch_files"


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ({"offset": 3}, "ends behind the 4 numbers of its storage"),
        ({"strides": (9,)}, "ends behind"),
        ({"offset": -1}, "a tensor without numbers"),
        ({"strides": (-1,)}, "a tensor without numbers"),
        ({"shape": (2, 2)}, "shape"),
        ({"size": 5}, "storage '0' is cut off: 5 numbers are expected"),
        ({"shape": (2**30, 2**30), "strides": (0, 0)}, "claim"),
        ({"kind": b"CharStorageX"}, "more than tensors"),
    ],
)
def test_read_torch_file_refuses_a_tensor_that_does_not_fit_its_storage(tensor, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        read_torch_file(write_archive(tmp_path / "w.pth", make_tensor(**tensor)))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"storage": None}, "its storage '0' is missing"),
        ({"byteorder": b"big"}, "big-endian"),
        ({"more/data.pkl": b"."}, "neither a .keras file nor one of torch.save"),
    ],
)
def test_read_torch_file_refuses_an_archive_that_lacks_or_doubles_a_part(members, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        read_torch_file(write_archive(tmp_path / "w.pth", make_tensor(), **members))


def test_read_torch_file_takes_no_memory_for_a_memo_that_is_claimed(tmp_path):
    content = b"\x80\x02}r\xff\xff\xff\x7f."
    with pytest.raises(ValueError, match="its pickle is damaged"):
        read_torch_file(write_archive(tmp_path / "w.pth", content))


def test_read_torch_file_cannot_be_told_to_change_a_checked_tensor(tmp_path):
    changed = make_tensor()[:-2] + b"}X\x06\x00\x00\x00offsetK\x63sbs."
    with pytest.raises(Exception, match=r"offset|attribute"):
        read_torch_file(write_archive(tmp_path / "w.pth", changed))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_read_torch_file_of_a_damaged_file_raises_or_returns_arrays(file, tmp_path):
    rng, content = random.Random(0), file.read_bytes()
    damaged = [content[:end] for end in range(0, len(content), 7)] + [damage(content, rng) for _ in range(300)]
    failures = whole = 0
    for one in damaged:
        (tmp_path / "w.pth").write_bytes(one)
        try:
            state = read_torch_file(tmp_path / "w.pth")
        except Exception as error:  # read_weights turns any into one line with the file's name
            failures += not isinstance(error, MemoryError | RecursionError)
        else:
            whole += all(isinstance(array, np.ndarray) for array in state.values())
    assert failures + whole == len(damaged)
    assert failures > whole
