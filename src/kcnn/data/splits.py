"""Splits: images and their labels, and images that are in them twice. No TensorFlow here."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kcnn.data.decoding import ImageDecodeError
from kcnn.data.image_cache import ImageCache, Pixels
from kcnn.data.readers import Concatenated, Selected, fingerprint_sample, hash_image, read_bytes, take
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION
from kcnn.parallel import map_parallel, split_into_runs

RUN = 1000  # images that are compared together


@dataclass(frozen=True)
class Duplicate:
    """Hold two images of the same bytes or pixels, in two splits or with other labels; both are used.

    Attributes:
        first: File of one, or what identifies it.
        first_split: Its split.
        second: File of the other.
        second_split: Its split.
        first_label: Class of the one; with several labels per image all of them, separated by ";".
        second_label: Class of the other.
    """

    first: str
    first_split: str
    second: str
    second_split: str
    first_label: str
    second_label: str

    @property
    def contradicts(self) -> bool:
        """Return whether the labels differ."""
        return self.first_label != self.second_label


@dataclass(frozen=True, eq=False)
class Split:
    """Some of the images of a cache, and their labels.

    Args:
        cache: Images by number.
        indices: Numbers of the split's images in the cache.
        labels: Class numbers int64 (images,), or 0 and 1 (images, classes).
    """

    cache: ImageCache
    indices: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the file of each image, or what identifies it."""
        return tuple(self.cache.names[i] for i in self.indices)

    @property
    def hashes(self) -> np.ndarray:
        """Return a hash of each image as it came, bytes (images,); see kcnn.data.readers.hash_image."""
        return self.cache.hash(self.indices)

    @property
    def decodable(self) -> np.ndarray:
        """Return the positions of the images of which it is not known that they cannot be decoded."""
        return np.flatnonzero(~np.isin(self.indices, list(self.cache.broken)))

    def take(self, positions: np.ndarray) -> "Split":
        """Return the split of some of the images.

        Args:
            positions: int (images,), counted in this split.
        """
        return Split(self.cache, self.indices[positions], self.labels[positions])

    def read_batch(self, positions: np.ndarray) -> tuple[Pixels, np.ndarray]:
        """Return as many images as positions: the next image replaces one that cannot be decoded.

        Args:
            positions: int (images,), counted in this split.

        Returns:
            uint8 (images, rows, columns, channels), of whole images a list; and the labels.

        Raises:
            ImageDecodeError: No image of the split can be decoded.
        """
        pixels, decoded = self.cache.read(self.indices[positions])
        positions = positions.copy()
        for broken in np.flatnonzero(~decoded):
            for step in range(1, len(self)):
                position = (positions[broken] + step) % len(self)
                if int(self.indices[position]) in self.cache.broken:
                    continue
                image, good = self.cache.read(self.indices[[position]])
                if good[0]:
                    pixels[broken], positions[broken] = image[0], position
                    break
            else:
                raise ImageDecodeError(f"any of {len(self)} images", f"the first is {self.names[0]}")
        return pixels, self.labels[positions]

    def check_decodable(self, positions: np.ndarray) -> np.ndarray:
        """Return whether images can be decoded.

        Args:
            positions: int (images,), counted in this split.

        Returns:
            bool (images,).
        """
        return self.cache.check(self.indices[positions])

    def find_batches(self, rows: int) -> np.ndarray:
        """Return where batches in a fixed order start, without those of which no image can be decoded.

        The first image of each is read for it, once for a number of rows.

        Args:
            rows: Images of a batch.

        Returns:
            Position of the first image of each, int64.
        """
        if rows not in self._batches:
            firsts = np.arange(0, len(self), rows)
            good = np.ones(len(firsts), bool) if self.cache.checked else self.check_decodable(firsts)
            for i in np.flatnonzero(~good):
                others = range(firsts[i] + 1, min(firsts[i] + rows, len(self)))
                good[i] = any(self.check_decodable(np.array([position]))[0] for position in others)
            self._batches[rows] = firsts[good]
        return self._batches[rows]

    @cached_property
    def _batches(self) -> dict[int, np.ndarray]:
        """What `find_batches` found, by the size of a batch."""
        return {}

    def read_decodable(self, positions: np.ndarray) -> tuple[Pixels, np.ndarray]:
        """Return the images that can be decoded, and their labels.

        Args:
            positions: int (images,), counted in this split.

        Returns:
            uint8 (decodable images, rows, columns, channels), of whole images a list; and the labels.
        """
        pixels, good = self.cache.read(self.indices[positions])
        if good.all():
            return pixels, self.labels[positions]
        decoded = [pixels[i] for i in np.flatnonzero(good)] if isinstance(pixels, list) else pixels[good]
        return decoded, self.labels[positions[good]]


def join_splits(first: Split, second: Split) -> Split:
    """Return two splits as one, with images of the size that the first has, or whole as they are there.

    Args:
        first: Its images come first.
        second: Its images come after them.
    """
    labels = np.concatenate([first.labels, second.labels])
    if first.cache is second.cache:
        return Split(first.cache, np.concatenate([first.indices, second.indices]), labels)
    raw = Concatenated(Selected(first.cache.raw, first.indices), Selected(second.cache.raw, second.indices))
    cache = ImageCache(
        raw,
        (*first.names, *second.names),
        first.cache.shape,
        first.cache.keep_in_memory,
        first.cache.skipped,
        first.cache.whole,
        first.cache.checked and second.cache.checked,
        hashes=np.concatenate([first.cache.hashes[first.indices], second.cache.hashes[second.indices]]),
    )
    return Split(cache, np.arange(len(cache)), labels)


def resize_split(split: Split, shape: tuple[int, int, int]) -> Split:
    """Return a split with images of a shape, decoded anew where the cache has another.

    Args:
        split: The images.
        shape: (rows, columns, channels).
    """
    cache = split.cache
    if cache.shape == shape and not cache.whole:
        return split
    resized = ImageCache(
        Selected(cache.raw, split.indices),
        split.names,
        shape,
        cache.keep_in_memory,
        cache.skipped,
        checked=cache.checked,
        hashes=cache.hashes[split.indices],
    )
    return Split(resized, np.arange(len(resized)), split.labels)


def hash_as_arrays(split: Split, shape: tuple[int, int, int]) -> list[bytes]:
    """Return the hashes that images have as arrays of a shape, to compare files with arrays.

    Args:
        split: The images.
        shape: (rows, columns, channels).

    Returns:
        A hash for each image; empty for one that cannot be decoded.
    """
    cache = ImageCache(Selected(split.cache.raw, split.indices), split.names, shape, "nothing", [])
    hashes: list[bytes] = []
    for run in split_into_runs(len(split), RUN):
        pixels, decoded = cache.read(np.array(run))
        hashes += [hash_image(image) if good else b"" for image, good in zip(pixels, decoded, strict=True)]
    return hashes


def find_duplicates(
    splits: Mapping[str, Split], classes: Sequence[str], shape: tuple[int, int, int]
) -> tuple[Duplicate, ...]:
    """Return the images that are in two splits, or have two labels, each with where it was seen first.

    Images are the same byte for byte, or in their pixels at the size of the network's input, as copies in another
    lossless format are. Of files only those are read that share something cheap, such as their size, with one of
    another split or label, and only pixels are compared that are decoded already: those of a whole photo that was
    shrunk differ from those of a copy that was not.

    Args:
        splits: By name.
        classes: Class names.
        shape: (rows, columns, channels) of the network's input.
    """
    names = [name for name in (TRAIN, VALIDATION, TEST) if name in splits]
    fingerprints = {name: fingerprint_sample(splits[name].cache.raw, splits[name].indices) for name in names}
    labels = {name: _label_keys(splits[name].labels) for name in names}
    kinds: dict[object, set[tuple[str, Hashable]]] = {}
    for name in names:
        for fingerprint, label in zip(fingerprints[name] or (), labels[name], strict=False):
            kinds.setdefault(fingerprint, set()).add((name, label))
    seen: dict[bytes, tuple[str, int]] = {}
    duplicates = []
    for name in names:
        split, cheap = splits[name], fingerprints[name]
        positions = [i for i in range(len(split)) if cheap is None or len(kinds[cheap[i]]) > 1]
        contents = dict(zip(positions, _digests(split, positions), strict=True))
        for position, pixels in enumerate(split.cache.hash_decoded(split.indices, shape)):
            digests = [digest for digest in (contents.get(position), pixels) if digest is not None]
            first_split, first = next((seen[digest] for digest in digests if digest in seen), (name, position))
            for digest in digests:
                seen.setdefault(digest, (first_split, first))
            if first_split != name or labels[name][first] != labels[name][position]:
                other = splits[first_split]
                duplicates.append(
                    Duplicate(
                        other.names[first],
                        first_split,
                        split.names[position],
                        name,
                        _join_labels(other.labels[first], classes),
                        _join_labels(split.labels[position], classes),
                    )
                )
    return tuple(duplicates)


def describe_duplicates(duplicates: Sequence[Duplicate]) -> list[str]:
    """Return what a person should know about duplicates, a sentence each.

    Args:
        duplicates: From find_duplicates.
    """
    texts = []
    if leaks := sum(duplicate.first_split != duplicate.second_split for duplicate in duplicates):
        texts.append(f"{leaks} images are in two splits, and test results are too optimistic")
    if contradictions := [duplicate for duplicate in duplicates if duplicate.contradicts]:
        one = contradictions[0]
        texts.append(
            f"{len(contradictions)} images are there with two labels, such as {one.first} ({one.first_label}) and "
            f"{one.second} ({one.second_label}); both are used: remove the wrong one, or use --multi-label "
            "(multi_label=True) if both are right"
        )
    return texts


def _label_keys(labels: np.ndarray) -> list[Hashable]:
    return labels.tolist() if labels.ndim == 1 else [row.tobytes() for row in labels]


def _join_labels(label: np.ndarray, classes: Sequence[str]) -> str:
    return classes[int(label)] if label.ndim == 0 else ";".join(classes[i] for i in np.flatnonzero(label).tolist())


def _digests(split: Split, positions: Sequence[int]) -> list[bytes | None]:
    """A digest of each image as it came; None for a file that cannot be read."""
    digests: list[bytes | None] = [None] * len(positions)
    for run in split_into_runs(len(positions), RUN):
        sources = take(split.cache.raw, split.indices[[positions[i] for i in run]])

        def digest_one(i: int, run: range = run, sources: Sequence[object] = sources) -> None:
            try:
                digests[run[i]] = hashlib.blake2b(read_bytes(sources[i]), digest_size=16).digest()
            except OSError:
                return

        map_parallel(digest_one, range(len(run)))
    return digests
