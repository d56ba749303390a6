"""Hostile weights files of every format: weights, or one error that names the file; nothing else is read."""

import io
import json
import os
import pickle
import random
import struct
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.damage import damage, damage_json, fuzz_in_processes, peak_memory

SECONDS, MEGABYTES = 10, 1024  # for one file
FILES = 100
NETWORK: dict[str, Any] = {"network": "stack", "input_shape": (8, 8, 1), "classes": 3}
ENDINGS = ("safetensors", "keras", "weights.h5", "h5")
SECRET = 12345.678  # the number in a file that is none of the weights' business
TYPES = ("F32", "F64", "F16", "BF16", "F8_E4M3", "I64", "U8", "BOOL", "C64", "X", "", 3, None)
SIZES = ([], [0], [3], [-1], [1 << 40, 1 << 40], [10**30], [2, 2], "3", None, [1.5])
NAMES = ("", "/", "conv1/kernel", "a/b/c", "x" * 100_000, "\0/\0", "../x/y", "conv1.weight", "\u2028/\u2028")


class Payload:
    """An object that runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


def make_pickle(content: bytes, rng: random.Random) -> bytes:
    """A pickle that runs a command: bare, in an archive of NumPy's, or in one of PyTorch's."""
    into, form = io.BytesIO(), rng.randrange(4)
    if form == 0:
        return pickle.dumps({"conv1.weight": Payload()}, protocol=rng.randrange(5))
    if form == 1:
        np.save(into, np.array([Payload()], dtype=object), allow_pickle=True)
    elif form == 2:
        np.savez(into, allow_pickle=True, conv1=np.array([Payload()], dtype=object))
    else:
        with zipfile.ZipFile(into, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
    return into.getvalue()


def damage_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Change the header: types, shapes, offsets, names, metadata, or its length."""
    (length,) = struct.unpack("<Q", content[:8])
    tensors, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = rng.choice([name for name in tensors if name != "__metadata__"])
    match rng.randrange(7):
        case 0:
            tensors[name]["dtype"] = rng.choice(TYPES)
        case 1:
            tensors[name]["shape"] = rng.choice(SIZES)
        case 2:
            tensors[name]["data_offsets"] = rng.choice(([0, 1 << 62], [-4, 0], [0, 4], [8, 0], [], None, [0.5, 4]))
        case 3:
            tensors[rng.choice(NAMES)] = tensors.pop(name)
        case 4:
            tensors["__metadata__"] = rng.choice(
                ({"metadata": "[" * 100_000}, {"metadata": 3}, [], {"card": "{}"}, {"metadata": '{"spec": 3}'})
            )
        case 5:
            tensors["__metadata__"]["metadata"] = damage_json(
                tensors["__metadata__"]["metadata"].encode(), rng
            ).decode()
        case _:
            return struct.pack("<Q", rng.choice((0, 1, length - 1, 1 << 63, 99_999_999))) + content[8:]
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + body


def damage_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Put something else in place of a dataset, a group or an attribute."""
    into = io.BytesIO(content)
    with h5py.File(into, "r+") as file:
        datasets: list[str] = []
        file.visititems(lambda name, item: datasets.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(datasets)
        group, last = file[name].parent, name.rpartition("/")[2]
        shape = file[name].shape
        kind = rng.randrange(15)
        if kind < 12:
            del group[last]
        match kind:
            case 0:
                group.create_dataset(last, shape, "float32", external=[("secret", 0, h5py.h5f.UNLIMITED)])
            case 1:
                group[last] = h5py.ExternalLink("secret.h5", "/numbers")
            case 2:
                group[last] = h5py.SoftLink(rng.choice(("/", "/x", group.name)))
            case 3:
                layout = h5py.VirtualLayout(shape, "float32")
                layout[...] = h5py.VirtualSource("secret.h5", "numbers", shape)
                group.create_virtual_dataset(last, layout)
            case 4:
                group.create_dataset(last, (1 << rng.choice((25, 40, 60)),), "float32", chunks=(1024,))
            case 5:
                group.create_dataset(last, data=np.zeros(1 << 24, "float32"), compression="gzip")
            case 6:
                group.create_dataset(last, data=[b"x", b"y"])
            case 7:
                group.create_dataset(last, data=["text", "\u2028"], dtype=h5py.string_dtype())
            case 8:
                group.create_dataset(last, data=np.zeros(2, [("a", "f4"), ("b", "i8")]))
            case 9:
                group.create_dataset(last, data=np.full(shape, rng.choice((np.nan, np.inf, 1e300)), "float64"))
            case 10:
                group.create_dataset(
                    last,
                    data=rng.choice((h5py.Empty("f4"), np.float32(1), np.zeros((0, 3)), np.zeros(shape, "complex64"))),
                )
            case 11:
                group[last] = group  # a group that holds itself
            case 12:
                deep = group
                for _ in range(rng.choice((10, 3000))):
                    deep = deep.create_group("x")
            case 13:
                group.move(last, rng.choice(("1000000", "vars", "x" * 1000, "-1")))
            case _:
                holder = rng.choice([file, group, group.parent])
                for attribute in [*holder.attrs, "layer_names", "weight_names", "name"]:
                    holder.attrs[attribute] = rng.choice((b"\xff\xfe", 3, ["x", "x"], [b"\xff"], "", np.arange(3.0)))
    return into.getvalue()


def damage_keras(content: bytes, rng: random.Random) -> bytes:
    """Change a value of the config, or a member of the archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    match rng.randrange(5):
        case 0 | 1:
            members["config.json"] = damage_json(members["config.json"], rng)
        case 2:
            members["model.weights.h5"] = damage_hdf5(members["model.weights.h5"], rng)
        case 3:
            members[rng.choice(list(members))] = rng.choice(
                (b"", b"[" * 100_000, b"PK\3\4", bytes(1 << 26), b"\x89HDF\r\n\x1a\n")
            )
        case _:
            members[rng.choice(("../executed", "/executed", "model.weights.h5/x", "x" * 1000))] = b"x"
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return into.getvalue()


def make_hostile(contents: dict[str, bytes], rng: random.Random) -> tuple[str, bytes]:
    """The ending and the content of a file, of which the name need not match the format."""
    kind = rng.choice(ENDINGS)
    special = {"safetensors": damage_safetensors, "keras": damage_keras}.get(kind, damage_hdf5)
    change = rng.choice((damage, special, special, make_pickle))
    ending = (
        rng.choice((*ENDINGS, "pth", "pt", "bin", "npz", "npy"))
        if rng.random() < 0.2 or change is make_pickle
        else kind
    )
    return ending, change(contents[kind], rng)


def find_fault(path: Path) -> tuple[str, bool]:
    """Load a file by every door; return what does not hold, and whether one of them could read it."""
    import kcnn

    read = 0

    for door in (
        lambda: kcnn.build(**NETWORK, weights=path),
        lambda: kcnn.load_weights(model := kcnn.build(**NETWORK), path, strict=False) and model,
        lambda: kcnn.load_model(path),
    ):
        started, before, message, model = time.process_time(), peak_memory(), "", None
        try:
            model = door()
        except (ValueError, ImportError) as error:
            message = str(error)
        except Exception as error:
            return f"raises {error!r}", False
        seconds, megabytes = time.process_time() - started, peak_memory() - before
        numbers = [np.abs(array) for array in model.get_weights()] if model else []
        faults = {
            f"an error without the file: {message[:300]}": model is None and str(path) not in message,
            f"an error of several lines: {message[:300]}": "\n" in message,
            "numbers of another file": any(np.isclose(array, SECRET).any() for array in numbers),
            "numbers that are not finite": not all(np.isfinite(array).all() for array in numbers),
            "executed code": Path("executed").exists(),
            f"{seconds:.1f} s": seconds > SECONDS,
            f"{megabytes} MB": megabytes > MEGABYTES,
        }
        if any(faults.values()):
            return "has " + ", ".join(fault for fault, holds in faults.items() if holds), False
        read += model is not None
    return "", read > 0


def fuzz(count: int, seed: int, folder: Path) -> None:
    """Load hostile files; what must hold is asserted of each."""
    import keras

    import kcnn

    warnings.simplefilter("ignore")
    os.chdir(folder)
    Path("secret").write_bytes(np.full(100_000, SECRET, "float32").tobytes())
    with h5py.File("secret.h5", "w") as file:
        file["numbers"] = np.full(100_000, SECRET, "float32")
    model, contents = kcnn.build(**NETWORK), {}
    for ending in ENDINGS:
        path = folder / f"intact.{ending}"
        {"safetensors": kcnn.weights.save_weights, "weights.h5": type(model).save_weights}.get(
            ending, type(model).save
        )(model, path)
        assert find_fault(path) == ("", True)
        contents[ending] = path.read_bytes()
    rng, refused, faults, started, before = random.Random(seed), 0, [], time.perf_counter(), peak_memory()
    for number in range(count):
        ending, content = make_hostile(contents, rng)
        path = folder / f"hostile-{number}.{ending}"
        path.write_bytes(content)
        fault, is_read = find_fault(path)
        refused += not fault and not is_read
        if fault:
            faults.append(f"file {number} of seed {seed}, {path.name}, {fault}")
        path.unlink()
        if number % 20 == 0:
            keras.backend.clear_session()
    print(
        f"{count} weights files of seed {seed}: {refused} refused at every door, {len(faults)} faults, "
        f"{time.perf_counter() - started:.0f} s, {peak_memory() - before} MB at most",
        flush=True,
    )
    print(*faults, sep="\n", flush=True)
    assert not faults


@pytest.mark.every
def test_load_refuses_or_reads_every_hostile_weights_file(tmp_path):
    fuzz_in_processes("tests.runs.test_fuzz_weights", FILES, tmp_path)
