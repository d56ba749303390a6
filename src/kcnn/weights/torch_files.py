"""Read the tensors of PyTorch's own files, .pth or .bin, without PyTorch and without running anything in them.

Such a file is a pickle beside the raw numbers: a zip archive since PyTorch 1.6, one stream before. A pickle is a
program. Here it may make dictionaries, lists and tensors, and nothing else: its instructions and the functions that it
names are checked against a list before the first one runs, and what they name are functions of this file.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from kcnn.keras_bridge.untrusted_files import check_archive, check_claim

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LARGEST_PICKLE = 64 << 20  # bytes; names and shapes of a network take a few hundred kilobytes
OPCODES = frozenset(  # those of protocol 2, which torch.save writes, but for instances and extensions
    (
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    )
)
TYPES = {  # of the numbers in a storage; bfloat16 is read as the upper half of float32
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class StorageKind(NamedTuple):
    """The type of a storage, by PyTorch's name of its class. As a tuple it cannot be changed by a pickle."""

    name: str


class Storage(NamedTuple):
    """The numbers that tensors share: `size` of them, under a key of the file."""

    kind: StorageKind
    key: str
    size: int


class StoredTensor(NamedTuple):
    """A view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Return the float32 tensor; `numbers` are those of its storage."""
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= len(numbers):
            raise ValueError(f"a tensor of shape {self.shape} ends behind the {len(numbers):,} numbers of its storage")
        steps = [stride * numbers.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False)
        if self.storage.kind.name == "BFloat16Storage":
            return (view.astype("<u4") << 16).view("<f4")
        return np.array(view, "float32", order="C")


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Read the state dict of a file that `torch.save` wrote; of a checkpoint, its "state_dict" or "model".

    Args:
        path: The file.

    Returns:
        float32 arrays by name.

    Raises:
        ValueError: The file is damaged, holds more than tensors and plain values, or claims more than its size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            with zipfile.ZipFile(file) as archive:
                check_archive(archive, size)
                root = _find_root(archive)
                loaded, _ = _unpickle(io.BytesIO(archive.read(f"{root}data.pkl")))
                return _read_state(loaded, size, lambda storage: archive.read(f"{root}data/{storage.key}"))
        file.seek(0)
        return _read_legacy(file, size)


def _read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The state dict of one stream: five pickles, and for each key of the last the size and numbers of a storage."""
    stream = io.BytesIO(file.read(LARGEST_PICKLE))
    (magic, _), (protocol, _) = _unpickle(stream), _unpickle(stream)
    if (magic, protocol) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
        raise ValueError("it is no file of torch.save, or one of PyTorch 0.1; save it again with a newer PyTorch")
    system, _ = _unpickle(stream)
    if not isinstance(system, Mapping) or not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
    loaded, storages = _unpickle(stream)
    keys, _ = _unpickle(stream)
    places: dict[str, tuple[int, int]] = {}
    start = stream.tell()
    for key in keys:
        if key not in storages:
            raise ValueError(f"its list of storages is damaged: no tensor has {key!r}")
        file.seek(start)
        numbers = int.from_bytes(file.read(8), "little", signed=True)
        length = numbers * np.dtype(TYPES[storages[key].kind.name]).itemsize
        if not 0 <= length <= size - start - 8:
            raise ValueError(f"its storage {key!r} is cut off")
        places[key] = (start + 8, length)
        start += 8 + length

    def read(storage: Storage) -> bytes:
        at, length = places[storage.key]
        file.seek(at)
        return file.read(length)

    return _read_state(loaded, size, read)


def _find_root(archive: zipfile.ZipFile) -> str:
    """The folder in an archive that has the pickle, with a slash."""
    roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("it is neither a .keras file nor one of torch.save")
    order = f"{roots[0]}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
    return roots[0]


def _read_state(loaded: Any, size: int, read: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    state = _find_state(loaded)
    check_claim(sum(4 * math.prod(tensor.shape) for tensor in state.values()), size, "its tensors")
    storages: dict[str, np.ndarray] = {}
    for tensor in state.values():
        storage = tensor.storage
        if storage.key not in storages:
            kind = np.dtype(TYPES[storage.kind.name])
            try:
                content = read(storage)
            except KeyError:
                raise ValueError(f"its storage {storage.key!r} is missing") from None
            if len(content) < storage.size * kind.itemsize:
                raise ValueError(f"its storage {storage.key!r} is cut off: {storage.size:,} numbers are expected")
            storages[storage.key] = np.frombuffer(content, kind, storage.size)
    return {name: tensor.read(storages[tensor.storage.key]) for name, tensor in state.items()}


def _find_state(loaded: Any) -> dict[str, StoredTensor]:
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(loaded, Mapping):
        raise ValueError(f"expected a state dict, got {type(loaded).__name__}")
    return {name: one for name, one in loaded.items() if isinstance(name, str) and isinstance(one, StoredTensor)}


def _unpickle(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The next value of a stream of pickles and its storages; an error if it makes more than tensors."""
    start = stream.tell()
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name not in OPCODES:
            raise ValueError(f"it has more than tensors, which are not unpickled: instruction {opcode.name}")
        if opcode.name == "GLOBAL" and argument not in FUNCTIONS:
            name = str(argument).replace(" ", ".")
            raise ValueError(f"it has more than tensors, which are not unpickled: {name}, which could run any code")
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > (
            position or 0
        ):  # as much memory would be taken
            raise ValueError("its pickle is damaged")
    end = stream.tell()
    stream.seek(start)
    unpickler = _TensorUnpickler(io.BytesIO(stream.read(end - start)), encoding="latin1")
    return unpickler.load(), unpickler.storages


class _TensorUnpickler(pickle.Unpickler):
    """Give the functions of this file for the names of PyTorch's, and records for its storages."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a function or class; _unpickle has refused all others."""
        return FUNCTIONS[f"{module} {name}"]

    def persistent_load(self, reference: Any) -> Storage:
        """Return the record of a storage."""
        match reference:
            case ("storage", StorageKind() as kind, str(key), _, int(size), *view) if size >= 0 and view in (
                [],
                [None],
            ):
                storage = Storage(kind, key, size)
                if self.storages.setdefault(key, storage).kind == kind:
                    return storage
        raise ValueError("it refers to something else than storages of numbers, or to a view of one")


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    """Stand for torch._utils._rebuild_tensor_v2."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("it has a tensor without numbers")
    if len(shape) != len(strides) or len(shape) > 32:
        raise ValueError(f"it has a tensor of shape {shape} and strides {strides}")
    return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _make_parameter(tensor: Any, *_: Any) -> Any:
    """Stand for torch._utils._rebuild_parameter."""
    return tensor


def _make_size(values: Iterable[Any] = ()) -> tuple[Any, ...]:
    """Stand for torch.Size."""
    return tuple(values)


FUNCTIONS: Mapping[str, Any] = {
    "collections OrderedDict": OrderedDict,
    "torch._utils _rebuild_tensor": _make_tensor,
    "torch._utils _rebuild_tensor_v2": _make_tensor,
    "torch._utils _rebuild_parameter": _make_parameter,
    "torch Size": _make_size,
    **{f"torch {name}": StorageKind(name) for name in TYPES},
}
