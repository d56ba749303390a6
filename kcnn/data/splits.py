"""Splits: pictures and their labels, cut by class, and compared. No TensorFlow here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.model_selection import train_test_split

from kcnn.data.decoding import ImageDecodeError
from kcnn.data.image_cache import ImageCache, map_parallel
from kcnn.data.readers import Concatenated, Selected, fingerprint_sample, read_bytes, split_into_runs, take
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION

RUN = 1000  # pictures that are compared together


@dataclass(frozen=True)
class Duplicate:
    """One picture, byte for byte, in two splits."""

    first: str
    first_split: str
    second: str
    second_split: str


@dataclass(frozen=True, eq=False)
class Split:
    """Some of the pictures of a store, and their labels, int64: class numbers, or 0 and 1 (pictures, classes)."""

    store: ImageCache
    rows: np.ndarray  # numbers in the store
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Files, or what stands for them."""
        return tuple(self.store.names[i] for i in self.rows)

    def take(self, places: np.ndarray) -> "Split":
        """The split of these of its pictures."""
        return Split(self.store, self.rows[places], self.labels[places])

    def full(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and labels at these places: the next one that decodes stands for one that does not.

        Undecodable where none of the split does.
        """
        pixels, good = self.store.read(self.rows[places])
        places = places.copy()
        for bad in np.flatnonzero(~good):
            for step in range(1, len(self)):
                place = (places[bad] + step) % len(self)
                if int(self.rows[place]) in self.store.broken:
                    continue
                one, decoded = self.store.read(self.rows[[place]])
                if decoded[0]:
                    pixels[bad], places[bad] = one[0], place
                    break
            else:
                raise ImageDecodeError(f"cannot decode any of {len(self)} images, such as {self.names[0]}")
        return pixels, self.labels[places]

    def decode(self, places: np.ndarray) -> np.ndarray:
        """Whether each of the pictures at these places can be decoded."""
        return self.store.read(self.rows[places])[1]

    def images(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and labels at those of these places whose pictures decode."""
        pixels, good = self.store.read(self.rows[places])
        return (pixels, self.labels[places]) if good.all() else (pixels[good], self.labels[places[good]])


def join_splits(first: Split, second: Split) -> Split:
    """Two splits as one, pictures of the second in the size of the first's."""
    labels = np.concatenate([first.labels, second.labels])
    if first.store is second.store:
        return Split(first.store, np.concatenate([first.rows, second.rows]), labels)
    raw = Concatenated(Selected(first.store.raw, first.rows), Selected(second.store.raw, second.rows))
    one, other = first.store, second.store
    store = ImageCache(
        raw, (*first.names, *second.names), one.shape, one.keep_in_memory, one.skipped, one.checked and other.checked
    )
    return Split(store, np.arange(len(store)), labels)


def count_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """Pictures of each class."""
    return labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def split_indices(labels: np.ndarray, size: int, seed: int, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices that stay and that go: `size` go, of every class its share and at least one picture.

    Of pictures with several labels about so many go, and of a class as near its share as the others leave it.
    """
    there = count_classes(labels, len(classes))
    if there.min() < 2:
        few = classes[int(there.argmin())]
        raise ValueError(
            f"class {few!r} is down to {there.min()} picture; train, validation and test each need one of every class"
        )
    if labels.ndim == 2:
        gone = _spread(labels, size / len(labels), seed)
        return np.flatnonzero(~gone), np.flatnonzero(gone)
    size = min(max(size, len(classes)), len(labels) - len(classes))
    stay, go = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    return np.sort(stay), np.sort(go)


def _spread(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which pictures of several labels go, by iterative stratification (doi:10.1007/978-3-642-23808-6_10).

    The class with the fewest pictures left is served first: each goes to the side that lacks more of them.
    """
    there = labels.sum(axis=0)
    going = np.clip(share * there, 1, there - 1)
    wanted = np.stack([there - going, going])  # of each class, on the side that stays and the one that goes
    size = np.array([1 - share, share]) * len(labels)
    order = np.argsort(np.random.PCG64(seed % (1 << 64)).random_raw(len(labels)), kind="stable")
    side = np.full(len(labels), -1)
    left = there.copy()
    while left.any():
        rarest = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for i in order[(side[order] < 0) & (labels[order, rarest] == 1)]:
            lack = wanted[:, rarest]
            side[i] = int(size.argmax() if lack[0] == lack[1] else lack.argmax())
            wanted[side[i]] -= labels[i]
            size[side[i]] -= 1
            left -= labels[i]
    for i in order[side[order] < 0]:  # without a label
        side[i] = int(size.argmax())
        size[side[i]] -= 1
    return side == 1


def find_duplicates(splits: Mapping[str, Split]) -> tuple[Duplicate, ...]:
    """Pictures that stand in two splits, each named with the first place it was seen in.

    Read are those alone that have something cheap, such as their size, in common with one of another split.
    """
    words = [word for word in (TRAIN, VALIDATION, TEST) if word in splits]
    cheap = {word: fingerprint_sample(splits[word].store.raw, splits[word].rows) for word in words}
    where: dict[object, set[str]] = {}
    for word in words:
        for mark in cheap[word] or ():
            where.setdefault(mark, set()).add(word)
    seen: dict[bytes, tuple[str, str]] = {}
    found = []
    for word in words:
        split, marks = splits[word], cheap[word]
        places = [i for i in range(len(split)) if marks is None or len(where[marks[i]]) > 1]
        for place, mark in zip(places, _prints(split, places), strict=True):
            if mark is not None:
                first = seen.setdefault(mark, (split.names[place], word))
                if first[1] != word:
                    found.append(Duplicate(*first, split.names[place], word))
    return tuple(found)


def _prints(split: Split, places: Sequence[int]) -> list[bytes | None]:
    """A fingerprint of each picture as it came; None for a file that cannot be read."""
    prints: list[bytes | None] = [None] * len(places)
    for run in split_into_runs(len(places), RUN):
        came = take(split.store.raw, split.rows[[places[i] for i in run]])

        def one(i: int, run: range = run, came: Sequence[object] = came) -> None:
            try:
                prints[run[i]] = hashlib.blake2b(read_bytes(came[i]), digest_size=16).digest()
            except OSError:
                return

        map_parallel(one, range(len(run)))
    return prints
