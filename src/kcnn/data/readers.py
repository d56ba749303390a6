"""Images as they came: files, encoded bytes or arrays, some of them read only when they are needed."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data.decoding import decode, decode_whole, fit_array, shrink_whole
from kcnn.data.image_files import read_file
from kcnn.parallel import split_into_runs

SAMPLE = 512  # images from which the size of all is estimated
HASH = "S52"  # dtype of hashes; empty for a file that cannot be read
FINGERPRINT = 64  # bytes of an array that distinguish it from most others


@dataclass(frozen=True, eq=False)
class Selected:
    """Some of the images of a sequence."""

    images: Any
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


class Concatenated:
    """The images of several sequences, one after the other."""

    def __init__(self, *parts: Any):
        self.parts, self.ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> Any:
        part = int(np.searchsorted(self.ends, number, side="right"))
        return take(self.parts[part], [number - (int(self.ends[part - 1]) if part else 0)])[0]


class TfdsRecords:
    """Encoded images of TensorFlow Datasets, read when they are needed.

    Args:
        records: Sequence of tf.train.Example with `__getitems__`.
        keys: Names of the image and of the label in an example.
    """

    def __init__(self, records: Any, keys: tuple[str, str]):
        self.records, self.keys = records, keys

    def __len__(self) -> int:
        return len(self.records)

    def take(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """Return several encoded images, in a fifth of the time that one by one takes.

        Args:
            indices: Numbers of the records.
        """
        return [example.features.feature[self.keys[0]].bytes_list.value[0] for example in self._examples(indices)]

    def labels(self) -> np.ndarray:
        """Return the class number of every record, int64 (records,)."""
        examples = (example for run in split_into_runs(len(self), 1000) for example in self._examples(run))
        return np.array([example.features.feature[self.keys[1]].int64_list.value[0] for example in examples], "int64")

    def _examples(self, indices: Sequence[int] | np.ndarray) -> Any:
        return self.records.__getitems__([int(i) for i in indices])


class TFRecordFiles:
    """Examples of TFRecord files, each readable by itself.

    The constructor reads the length in front of every record.

    Args:
        files: Paths of the files.

    Raises:
        ValueError: A file is truncated, or not a TFRecord file.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]]):
        self.files, self.records = files, []
        for number, name in enumerate(files):
            end, at = os.path.getsize(name), 0
            with open(name, "rb", buffering=0) as file:
                while at < end:
                    file.seek(at)
                    length = int.from_bytes(file.read(8), "little")
                    self.records.append((number, at + 12, length))  # after length and checksum
                    at += length + 16
            if at != end:
                raise ValueError(
                    f"{name} is truncated or not a TFRecord file: its last record ends at byte {at}, the file at {end}"
                )

    def __len__(self) -> int:
        return len(self.records)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        from tensorflow.train import Example

        examples = []
        for i in indices:
            number, at, length = self.records[i]
            with open(self.files[number], "rb", buffering=0) as file:
                file.seek(at)
                examples.append(Example.FromString(file.read(length)))
        return examples


def take(raw: Any, indices: Sequence[int] | np.ndarray) -> Sequence[Any]:
    """Return images by number as they came: paths, encoded bytes or uint8 arrays.

    Args:
        raw: Sequence of images.
        indices: Their numbers.
    """
    if isinstance(raw, Selected):
        return take(raw.images, raw.indices[np.asarray(indices, "int64")])
    if isinstance(raw, TfdsRecords):
        return raw.take(indices)
    return [raw[i] for i in indices]


def is_in_memory(raw: Any) -> bool:
    """Return whether images are in memory: arrays and encoded bytes are, files and records are not.

    Args:
        raw: Sequence of images.
    """
    if isinstance(raw, Selected):
        return is_in_memory(raw.images)
    return isinstance(raw, np.ndarray) or (not isinstance(raw, TfdsRecords) and isinstance(raw[0], bytes))


def read_bytes(source: Any) -> bytes:
    """Return the bytes of an image.

    Args:
        source: Path, encoded bytes or array.

    Raises:
        OSError: The file cannot be read, or is too large.
    """
    if isinstance(source, str):
        return read_file(source)
    return source.tobytes() if isinstance(source, np.ndarray) else source


def hash_image(source: Any) -> bytes:
    """Return a hash of an image as it came: of the bytes of a file or record, or of the pixels of an array.

    Args:
        source: Path, encoded bytes or array.

    Returns:
        32 hexadecimal digits; for an array its shape before them, such as "28x28x1:...".

    Raises:
        OSError: The file cannot be read.
    """
    content = np.ascontiguousarray(source).data if isinstance(source, np.ndarray) else read_bytes(source)
    shape = "x".join(map(str, source.shape)) + ":" if isinstance(source, np.ndarray) else ""
    return (shape + hashlib.blake2b(content, digest_size=16).hexdigest()).encode()


def read_image(source: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image as uint8 of a shape, cropped centrally and resized.

    Args:
        source: Path, encoded bytes or uint8 array.
        shape: (rows, columns, channels).

    Raises:
        ImageDecodeError: It cannot be decoded.
    """
    return fit_array(source, shape) if isinstance(source, np.ndarray) else decode(source, shape)


def read_whole(source: Any, shape: tuple[int, int, int], memory: np.ndarray | None = None) -> np.ndarray:
    """Return an image uncropped as uint8 (rows, columns, channels), shrunk where it is larger than asked for.

    Args:
        source: Path, encoded bytes or uint8 array.
        shape: (rows, columns, channels) that the image covers; a smaller one is not enlarged.
        memory: uint8 (bytes,) that the result may be a view of.

    Raises:
        ImageDecodeError: It cannot be decoded.
    """
    return shrink_whole(source, shape) if isinstance(source, np.ndarray) else decode_whole(source, shape, memory)


def estimate_bytes(raw: Any) -> float:
    """Return about how many bytes all files or records take, from a sample of them.

    Args:
        raw: Sequence of images.
    """
    sample = take(raw, np.linspace(0, len(raw) - 1, min(len(raw), SAMPLE)).astype("int64"))
    return len(raw) * float(np.mean([_size(source) or 0 for source in sample]))


def fingerprint_sample(raw: Any, indices: np.ndarray) -> list[Any] | None:
    """Return what identical images share and is cheap to read: the size of a file, or some pixels of an array.

    Args:
        raw: Sequence of images.
        indices: Their numbers.

    Returns:
        A value for each image; None where nothing is cheap.
    """
    if isinstance(raw, Selected):
        return fingerprint_sample(raw.images, raw.indices[indices])
    if isinstance(raw, TfdsRecords):
        return None
    if isinstance(raw, np.ndarray):
        flat = raw.reshape(len(raw), -1)
        columns = np.unique(np.linspace(0, flat.shape[1] - 1, FINGERPRINT).astype("int64"))
        return [row.tobytes() for row in flat[indices[:, None], columns]]
    return [_size(raw[i]) for i in indices]


def _size(source: Any) -> int | None:
    """Bytes of a file or of encoded data; None for a file that cannot be read."""
    try:
        return os.stat(source).st_size if isinstance(source, str) else len(source)
    except OSError:
        return None
