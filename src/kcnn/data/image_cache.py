"""Images decoded when they are first needed, and kept as far as memory allows. No TensorFlow here."""

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kcnn.buffer_pool import allocate
from kcnn.data.decoding import ImageDecodeError, fit_array
from kcnn.data.readers import HASH, hash_image, read_bytes, read_image, read_whole, take
from kcnn.parallel import map_parallel, split_into_runs

log = logging.getLogger("kcnn.data")
RUN = 128  # images that are checked together
Keep = Literal["decoded", "encoded", "nothing"]
Pixels = np.ndarray | list[np.ndarray]


@dataclass(frozen=True)
class SkippedImage:
    """A file that could not be decoded, and why."""

    file: str
    reason: str


@dataclass(eq=False)
class ImageCache:
    """Images by number as uint8, of one size or whole, decoded when they are first needed.

    Args:
        raw: Images as they came (see kcnn.data.readers).
        names: File of each image, or what identifies it.
        shape: (rows, columns, channels) of the decoded images; of whole ones what they cover.
        keep_in_memory: Keep images decoded, encoded, or not at all.
        skipped: Gets the images that cannot be decoded; caches may share it.
        whole: Whether images are uncropped, each of a size of its own; see kcnn.data.readers.read_whole.
        checked: Whether it is known of every image that it decodes.
        broken: Numbers of the images that cannot be decoded.
        hashes: Hash of each image as it came, empty until it is computed; see `hash`.
        decoder: Makes pixels of `shape` from an image as it came.
    """

    raw: Any
    names: Sequence[str]
    shape: tuple[int, int, int]
    keep_in_memory: Keep
    skipped: list[SkippedImage]
    whole: bool = False
    checked: bool = False
    broken: set[int] = field(default_factory=set)
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, HASH))
    decoder: Callable[[Any, tuple[int, int, int]], np.ndarray] = read_image

    def __post_init__(self) -> None:
        count, ready = len(self.raw), isinstance(self.raw, np.ndarray) and self.raw.shape[1:] == self.shape
        ready = ready and self.decoder is read_image
        kept = count * (self.keep_in_memory == "decoded")
        empty = [np.zeros(0, "uint8")] * kept if self.whole else np.empty((kept, *self.shape), "uint8")
        self._pixels: Any = self.raw if ready else empty
        self._is_decoded = np.full(count, ready)
        self._encoded: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self.checked = self.checked or isinstance(self.raw, np.ndarray)
        if len(self.hashes) != count:
            self.hashes = np.zeros(count, HASH)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def kept(self) -> int:
        """Return the number of images that are decoded and in memory."""
        return int(self._is_decoded.sum())

    def read(self, numbers: np.ndarray) -> tuple[Pixels, np.ndarray]:
        """Return images by number, and whether each could be decoded; the others are black.

        Args:
            numbers: int (images,).

        Returns:
            uint8 (images, rows, columns, channels), of whole images a list; and bool (images,).
        """
        decoded = self._is_decoded[numbers]
        pixels = self._copy_decoded(numbers, decoded)
        if decoded.all():
            return pixels, decoded
        missing = [i for i in np.flatnonzero(~decoded).tolist() if int(numbers[i]) not in self.broken]
        sources = dict(zip(missing, self._sources([int(numbers[i]) for i in missing]), strict=True))
        memories = self._allocate(missing)
        reasons: dict[int, str] = {}

        def decode_one(i: int) -> None:
            try:
                pixels[i] = self._decode(int(numbers[i]), sources[i], memories.get(i))
            except ImageDecodeError as error:
                reasons[i] = error.reason
            except OSError as error:
                reasons[i] = str(error)

        map_parallel(decode_one, missing)
        for i in sorted(reasons):
            self._skip(int(numbers[i]), reasons[i])
        good = decoded.copy()
        good[[i for i in missing if i not in reasons]] = True
        for i in np.flatnonzero(~good).tolist():
            pixels[i] = np.zeros(self.shape, "uint8")
        return pixels, good

    def _copy_decoded(self, numbers: np.ndarray, decoded: np.ndarray) -> Pixels:
        """Images of which some are decoded in memory; the others of any values."""
        if self.whole:
            pairs = zip(numbers.tolist(), decoded.tolist(), strict=True)
            return [self._pixels[number] if is_decoded else np.zeros(0, "uint8") for number, is_decoded in pairs]
        pixels = allocate((len(numbers), *self.shape), "uint8")
        if decoded.all():
            return self._pixels.take(numbers, axis=0, out=pixels, mode="clip")
        pixels[decoded] = self._pixels[numbers[decoded]]
        return pixels

    def check(self, numbers: np.ndarray, on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return whether each image can be decoded; none stays in memory that is not to be kept.

        Args:
            numbers: int (images,).
            on_progress: Called with the number of images checked so far.

        Returns:
            bool (images,).
        """
        good = np.zeros(len(numbers), bool)
        for run in split_into_runs(len(numbers), RUN):
            good[run.start : run.stop] = self.read(numbers[run.start : run.stop])[1]
            if on_progress:
                on_progress(run.stop)
        return good

    def check_all(self, on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Decode every image, and keep those that are to be kept.

        Args:
            on_progress: Called with the number of images checked so far.

        Returns:
            Numbers of the images that could be decoded, int64.
        """
        good = self.check(np.arange(len(self)), on_progress)
        self.checked = True
        return np.flatnonzero(good)

    def hash(self, numbers: np.ndarray, on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the hashes of images as they came, by number; each image is read for it once.

        Args:
            numbers: int (images,).
            on_progress: Called with the number of images read so far.

        Returns:
            bytes (images,), see kcnn.data.readers.hash_image; empty for a file that cannot be read.
        """
        missing = numbers[self.hashes[numbers] == b""]
        for run in split_into_runs(len(missing), RUN):
            self._hash_run(missing[run.start : run.stop].tolist())
            if on_progress:
                on_progress(run.stop)
        return self.hashes[numbers]

    def hash_decoded(self, numbers: np.ndarray, shape: tuple[int, int, int]) -> list[bytes | None]:
        """Return a digest of the pixels of each image that is decoded in memory; None for the others.

        Args:
            numbers: int (images,).
            shape: (rows, columns, channels) to which the images are cropped and resized first.
        """
        digests: list[bytes | None] = [None] * len(numbers)

        def hash_one(i: int) -> None:
            if self._is_decoded[numbers[i]]:
                pixels = np.ascontiguousarray(fit_array(self._pixels[numbers[i]], shape))
                digests[i] = hashlib.blake2b(pixels.data, digest_size=16, salt=str(pixels.shape).encode()[:16]).digest()

        map_parallel(hash_one, range(len(numbers)))
        return digests

    def _hash_run(self, numbers: Sequence[int]) -> None:
        sources = self._sources(numbers)

        def hash_one(i: int) -> None:
            with suppress(OSError):
                self.hashes[numbers[i]] = hash_image(sources[i])

        map_parallel(hash_one, range(len(numbers)))

    def _sources(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Images as they came; from memory where they are kept encoded."""
        if not self._encoded:
            return take(self.raw, numbers)
        missing = [i for i in numbers if i not in self._encoded]
        fresh = dict(zip(missing, take(self.raw, missing), strict=True))
        return [fresh[i] if i in fresh else self._encoded[i] for i in numbers]

    def _allocate(self, missing: Sequence[int]) -> Mapping[int, np.ndarray]:
        """Memory for whole images that are not kept: for twice as many pixels as they have to cover."""
        if not missing or not self.whole or self.keep_in_memory == "decoded":
            return {}
        return dict(zip(missing, allocate((len(missing), 2 * math.prod(self.shape)), "uint8"), strict=True))

    def _decode(self, number: int, source: Any, memory: np.ndarray | None) -> np.ndarray:
        if self.keep_in_memory == "encoded" and not isinstance(source, np.ndarray):
            source = self._encoded.setdefault(number, read_bytes(source))
        image = read_whole(source, self.shape, memory) if self.whole else self.decoder(source, self.shape)
        if self.keep_in_memory == "decoded":
            self._pixels[number] = image
            self._is_decoded[number] = True
        return image

    def _skip(self, number: int, reason: str) -> None:
        with self._lock:
            if number not in self.broken:
                self.broken.add(number)
                self.skipped.append(SkippedImage(self.names[number], reason))
                log.warning("%s; skipped", ImageDecodeError(self.names[number], reason))
