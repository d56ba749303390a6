"""Pictures as they came: files, encoded bytes or arrays, of which some are read when they are needed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data.decoding import decode, fit_array

SAMPLE = 512  # pictures by which the size of all is judged
SPOTS = 64  # bytes of an array by which it is told from most others


@dataclass(frozen=True, eq=False)
class Selected:
    """Some of the pictures of a sequence that is read when asked."""

    images: Any
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


class Concatenated:
    """The pictures of several sequences, one behind the other."""

    def __init__(self, *parts: Any):
        self.parts, self.ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> Any:
        part = int(np.searchsorted(self.ends, number, side="right"))
        return take(self.parts[part], [number - (int(self.ends[part - 1]) if part else 0)])[0]


class TfdsRecords:
    """Encoded pictures of TensorFlow Datasets, read when they are asked for; `records` gives tf.train.Example."""

    def __init__(self, records: Any, keys: tuple[str, str]):
        self.records, self.keys = records, keys

    def __len__(self) -> int:
        return len(self.records)

    def some(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """Several at once, which takes a fifth of the time that one by one takes."""
        return [one.features.feature[self.keys[0]].bytes_list.value[0] for one in self._examples(indices)]

    def labels(self) -> np.ndarray:
        """Every record's class number, in order."""
        examples = (one for run in split_into_runs(len(self), 1000) for one in self._examples(run))
        return np.array([one.features.feature[self.keys[1]].int64_list.value[0] for one in examples], "int64")

    def _examples(self, indices: Sequence[int] | np.ndarray) -> Any:
        return self.records.__getitems__([int(i) for i in indices])


class FrameColumn:
    """Examples of TFRecord files, any of which can be read alone once the lengths that stand before them were read."""

    def __init__(self, files: Sequence[str | os.PathLike[str]]):
        self.files, self.places = files, []
        for number, name in enumerate(files):
            end, at = os.path.getsize(name), 0
            with open(name, "rb", buffering=0) as file:
                while at < end:
                    file.seek(at)
                    length = int.from_bytes(file.read(8), "little")
                    self.places.append((number, at + 12, length))  # behind length and checksum
                    at += length + 16
            if at != end:
                raise ValueError(f"{name} is cut short or no TFRecord file: its last record ends at {at}, it at {end}")

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        from tensorflow.train import Example

        found = []
        for i in indices:
            number, at, length = self.places[i]
            with open(self.files[number], "rb", buffering=0) as file:
                file.seek(at)
                found.append(Example.FromString(file.read(length)))
        return found


def split_into_runs(count: int, size: int) -> Iterator[range]:
    """0 to count - 1 in ranges of at most `size`."""
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def take(raw: Any, indices: Sequence[int] | np.ndarray) -> Sequence[Any]:
    """Pictures by number as they came: paths, encoded bytes or uint8 arrays."""
    if isinstance(raw, Selected):
        return take(raw.images, raw.indices[np.asarray(indices, "int64")])
    if isinstance(raw, TfdsRecords):
        return raw.some(indices)
    return [raw[i] for i in indices]


def load_into_memory(raw: Any) -> bool:
    """Whether the pictures need no reading: arrays and encoded bytes, but not files and records."""
    if isinstance(raw, Selected):
        return load_into_memory(raw.images)
    return isinstance(raw, np.ndarray) or (not isinstance(raw, TfdsRecords) and isinstance(raw[0], bytes))


def read_bytes(one: Any) -> bytes:
    """The bytes of a picture; OSError for a file that cannot be read."""
    if isinstance(one, str):
        with open(one, "rb", buffering=0) as file:
            return file.read()
    return one.tobytes() if isinstance(one, np.ndarray) else one


def read_image(one: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """A file, encoded bytes or a uint8 array as uint8 of that shape; Undecodable."""
    return fit_array(one, shape) if isinstance(one, np.ndarray) else decode(one, shape)


def estimate_bytes(raw: Any) -> float:
    """About how many bytes all the files or records take, judged by some of them."""
    some = take(raw, np.linspace(0, len(raw) - 1, min(len(raw), SAMPLE)).astype("int64"))
    return len(raw) * float(np.mean([size if (size := _size(one)) is not None else 0 for one in some]))


def fingerprint_sample(raw: Any, indices: np.ndarray) -> list[Any] | None:
    """What equal pictures share and is cheap to know: bytes of a file, a few pixels; None where nothing is."""
    if isinstance(raw, Selected):
        return fingerprint_sample(raw.images, raw.indices[indices])
    if isinstance(raw, TfdsRecords):
        return None
    if isinstance(raw, np.ndarray):
        flat = raw.reshape(len(raw), -1)
        spots = np.unique(np.linspace(0, flat.shape[1] - 1, SPOTS).astype("int64"))
        return [row.tobytes() for row in flat[indices[:, None], spots]]
    return [_size(raw[i]) for i in indices]


def _size(one: Any) -> int | None:
    """Bytes of a file or of what is encoded; None for a file that cannot be read."""
    try:
        return os.stat(one).st_size if isinstance(one, str) else len(one)
    except OSError:
        return None
