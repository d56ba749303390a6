"""Pictures decoded as they are met, and kept as far as memory goes. No TensorFlow here."""

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kcnn.data.decoding import ImageDecodeError
from kcnn.data.readers import read_bytes, read_image, split_into_runs, take

log = logging.getLogger("kcnn.data")
ALIGNED = 64  # bytes
IDLE = next(sys.getrefcount(one) for one in [np.empty(0)])  # what it says of an array that a list alone holds
RUN = 128  # pictures that are checked together
Keep = Literal["decoded", "encoded", "nothing"]


@dataclass(frozen=True)
class Skipped:
    """A file that could not be decoded, and why."""

    file: str
    reason: str


@functools.cache
def count_threads() -> ThreadPoolExecutor:
    """One pool for all decoding: Pillow decodes outside Python's lock."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kcnn-decode")


_rooms: list[np.ndarray] = []  # bytes that were handed out, of batches of one size or a few
_handing = threading.Lock()


def bytes_per_image(shape: Sequence[int], dtype: str) -> np.ndarray:
    """An array, not filled, that begins where TensorFlow takes it over instead of copying it.

    One that nobody holds any more is taken again: the system clears new memory, for a tenth of a batch's time.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with _handing:
        found = next((one for one in _rooms if len(one) == size + ALIGNED and sys.getrefcount(one) == IDLE), None)
        if found is None:
            _rooms[:] = [one for one in _rooms if sys.getrefcount(one) > IDLE]
            found = np.empty(size + ALIGNED, "uint8")
            _rooms.append(found)
        first = -found.ctypes.data % ALIGNED
        return found[first : first + size].view(dtype).reshape(shape)


def map_parallel(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """work(item) for every item on all threads, several items a task."""
    size = max(1, len(items) // (4 * (os.cpu_count() or 1)))

    def some(run: range) -> None:
        for i in run:
            work(items[i])

    for _ in count_threads().map(some, split_into_runs(len(items), size)):
        pass


@dataclass(eq=False)
class ImageCache:
    """Pictures by number as uint8 of one size, decoded as they are met.

    Those that were are kept: decoded, or encoded, or not at all. Those that could not be are
    remembered, and named in `skipped`, which stores may share.
    """

    raw: Any
    names: Sequence[str]
    shape: tuple[int, int, int]
    keep_in_memory: Keep
    skipped: list[Skipped]
    checked: bool = False  # whether it is known of every picture that it decodes
    broken: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        count, whole = len(self.raw), isinstance(self.raw, np.ndarray) and self.raw.shape[1:] == self.shape
        self._pixels = (
            self.raw if whole else np.empty((count * (self.keep_in_memory == "decoded"), *self.shape), "uint8")
        )
        self._there = np.full(count, whole)
        self._encoded: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self.checked = self.checked or isinstance(self.raw, np.ndarray)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def kept(self) -> int:
        """How many pictures need no reading and no decoding any more."""
        return int(self._there.sum())

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures (n, rows, columns, channels) and whether each could be decoded; the others are black."""
        pixels, there = bytes_per_image((len(numbers), *self.shape), "uint8"), self._there[numbers]
        if there.all():
            return self._pixels.take(numbers, axis=0, out=pixels, mode="clip"), there
        pixels[there] = self._pixels[numbers[there]]
        missing = [i for i in np.flatnonzero(~there).tolist() if int(numbers[i]) not in self.broken]
        came = dict(zip(missing, self._came([int(numbers[i]) for i in missing]), strict=True))
        reasons: dict[int, str] = {}

        def one(i: int) -> None:
            try:
                pixels[i] = self._decoded(int(numbers[i]), came[i])
            except (ImageDecodeError, OSError) as error:
                reasons[i] = str(error)

        map_parallel(one, missing)
        for i in sorted(reasons):
            self._skip(int(numbers[i]), reasons[i])
        good = there.copy()
        good[[i for i in missing if i not in reasons]] = True
        pixels[~good] = 0
        return pixels, good

    def check(self, tick: Callable[[int], None] | None = None) -> np.ndarray:
        """Decode every picture and keep what is to be kept: the numbers of those that could be."""
        good = []
        for run in split_into_runs(len(self), RUN):
            good.append(self.read(np.array(run))[1])
            if tick:
                tick(run.stop)
        self.checked = True
        return np.flatnonzero(np.concatenate(good)) if good else np.zeros(0, "int64")

    def _came(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Pictures as they came, from what is kept where that is possible."""
        if not self._encoded:
            return take(self.raw, numbers)
        new = [i for i in numbers if i not in self._encoded]
        fresh = dict(zip(new, take(self.raw, new), strict=True))
        return [fresh[i] if i in fresh else self._encoded[i] for i in numbers]

    def _decoded(self, number: int, one: Any) -> np.ndarray:
        if self.keep_in_memory == "encoded" and not isinstance(one, np.ndarray):
            one = self._encoded.setdefault(number, read_bytes(one))
        found = read_image(one, self.shape)
        if self.keep_in_memory == "decoded":
            self._pixels[number] = found
            self._there[number] = True
        return found

    def _skip(self, number: int, reason: str) -> None:
        with self._lock:
            if number not in self.broken:
                self.broken.add(number)
                self.skipped.append(Skipped(self.names[number], reason))
                log.warning("skipped %s: %s", self.names[number], reason)
