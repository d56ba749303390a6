"""From a word to tf.data: pictures decoded, checked and resized once, split, and served in a fixed order."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
from sklearn.model_selection import train_test_split

from kcnn.data.images import Undecodable, check_channels, decode, fit_array
from kcnn.data.sources import TEST, TRAIN, VALIDATION, Part, Source, find

log = logging.getLogger("kcnn.data")
MEMORY_SHARE = 0.25  # of the memory that is free: up to this, resized pictures are kept
RUN = 500  # pictures that are read together


@dataclass(frozen=True)
class Skipped:
    """A file that could not be decoded, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Repeated:
    """One picture, byte for byte, in two splits."""

    first: str
    first_split: str
    second: str
    second_split: str


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures and their class numbers: uint8 of one size in memory, or as they came, to decode when needed."""

    images: Any
    labels: np.ndarray
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    ready: bool  # whether the pictures have that shape already

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> tf.data.Dataset:
        """float32 pixels 0..255 (batch, rows, columns, channels) and int64 labels (batch,), in a fixed order."""
        indices = tf.data.Dataset.from_tensor_slices(tf.range(len(self), dtype=tf.int64)).batch(size)
        return self.pictures(indices)

    def pictures(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of pictures and labels for batches of indices."""
        labels = tf.constant(self.labels)
        if self.ready:
            images = tf.constant(self.images)

            def batch(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return tf.cast(tf.gather(images, chosen), tf.float32), tf.gather(labels, chosen)
        else:

            def decoded(chosen: np.ndarray) -> np.ndarray:
                return np.stack([picture(self.images[i], self.shape) for i in chosen]).astype("float32")

            def batch(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                pixels = tf.numpy_function(decoded, [chosen], tf.float32, stateful=False)
                return tf.ensure_shape(pixels, (None, *self.shape)), tf.gather(labels, chosen)

        return indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True, eq=False)
class Data:
    """Splits of one data set, ready to train on."""

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    batch_size: int
    seed: int
    splits: dict[str, Split]
    skipped: tuple[Skipped, ...]
    repeated: tuple[Repeated, ...]
    notes: tuple[str, ...]

    @property
    def train(self) -> tf.data.Dataset:
        """One epoch of training batches, in the order of the first epoch."""
        return self.epochs(0, 1)

    @property
    def validation(self) -> tf.data.Dataset:
        """Validation batches in a fixed order."""
        return self.splits[VALIDATION].batches(self.batch_size)

    @property
    def test(self) -> tf.data.Dataset:
        """Test batches in a fixed order."""
        return self.splits[TEST].batches(self.batch_size)

    @property
    def steps(self) -> int:
        """Batches in one epoch of training."""
        return -(-len(self.splits[TRAIN]) // self.batch_size)

    def epochs(self, first: int, last: int) -> tf.data.Dataset:
        """Training batches of epochs `first` up to `last`: an epoch's order follows from the seed and its number."""
        count = len(self.splits[TRAIN])

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            seed = tf.stack([tf.constant(self.seed, tf.int64), number])
            order = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
            return tf.data.Dataset.from_tensor_slices(order).batch(self.batch_size)

        return self.splits[TRAIN].pictures(tf.data.Dataset.range(first, last).flat_map(epoch))


def load(
    source: Any,
    *,
    input_shape: tuple[int, int, int],
    batch_size: int = 32,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
    classes: Sequence[str] | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Data:
    """Train, validation and test splits of "digits", "tfds:NAME", a folder of class folders, or arrays.

    Pictures are cropped centrally and resized to `input_shape` (rows, columns, 1 or 3). Splits that
    the data lacks are cut off its train split by class, `test` first, then `validation`, as shares
    of it; data with a validation split alone keeps it for the test. A file that cannot be decoded is
    skipped and named in `skipped`; a picture that stands in two splits is named in `repeated`.
    Resized pictures stay in memory where they take at most a quarter of what is free, else each
    is decoded anew when it is needed. `progress(before, total, done)` is called as pictures
    are checked, `before` those of earlier splits.

    FileNotFoundError, or ValueError: an empty folder, one class, a class left without pictures.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(f"input_shape is (rows, columns, channels), such as (64, 64, 3), not {input_shape!r}")
    check_channels(shape[2])
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(
            f"validation and test are shares of the data that leave some to train on, not {validation}, {test}"
        )
    found = find(source, classes)
    if len(found.classes) < 2:
        raise ValueError(f"{found.name} has one class, {found.classes[0]!r}; there is nothing to tell apart")
    total = sum(len(part.labels) for part in found.parts.values())
    keep = total * int(np.prod(shape)) <= psutil.virtual_memory().available * MEMORY_SHARE
    skipped: list[Skipped] = []
    done, splits, prints = 0, {}, {}
    for word, part in found.parts.items():
        tick = partial(progress, done, total) if progress else None
        splits[word], prints[word] = _checked(part, shape, keep, skipped, tick)
        _populated(found, word, splits[word], skipped)
        done += len(part.labels)
    for one in skipped:
        log.warning("skipped %s: %s", one.file, one.reason)
    notes = list(found.notes)
    if TEST not in splits and VALIDATION in splits:
        notes.append("there is no test split: the validation split is kept for the test, and validation cut off train")
        splits[TEST], prints[TEST] = splits.pop(VALIDATION), prints.pop(VALIDATION)
    whole = len(splits[TRAIN])
    for word, share in ((TEST, test), (VALIDATION, validation)):
        if word not in splits:
            stay, go = _cut(splits[TRAIN].labels, round(share * whole), seed, found.classes)
            splits[word], prints[word] = _take(splits[TRAIN], go), prints[TRAIN][go]
            splits[TRAIN], prints[TRAIN] = _take(splits[TRAIN], stay), prints[TRAIN][stay]
    return Data(
        name=found.name,
        classes=found.classes,
        input_shape=shape,
        batch_size=batch_size,
        seed=seed,
        splits=splits,
        skipped=tuple(skipped),
        repeated=_repeated(splits, prints),
        notes=tuple(notes),
    )


def picture(raw: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """A file, encoded bytes or a uint8 array as uint8 of that shape."""
    return fit_array(raw, shape) if isinstance(raw, np.ndarray) else decode(raw, shape)


def _checked(
    part: Part,
    shape: tuple[int, int, int],
    keep: bool,
    skipped: list[Skipped],
    tick: Callable[[int], None] | None,
) -> tuple[Split, np.ndarray]:
    """The pictures that decode, resized where they are kept, and a fingerprint of each."""
    images = np.empty((len(part.labels), *shape), "uint8") if keep else None
    prints = np.zeros(len(part.labels), "S16")
    whole = np.ones(len(part.labels), bool)

    def one(i: int, raw: Any) -> str | None:
        if isinstance(raw, Path):
            try:
                raw = raw.read_bytes()
            except OSError as error:
                return str(error)
        content = raw.tobytes() if isinstance(raw, np.ndarray) else raw
        prints[i] = hashlib.blake2b(content, digest_size=16).digest()
        try:
            fitted = picture(raw, shape)
        except Undecodable as error:
            return str(error)
        if images is not None:
            images[i] = fitted
        return None

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        for first in range(0, len(whole), RUN):
            run = range(first, min(first + RUN, len(whole)))
            for i, reason in zip(run, pool.map(one, run, part.images[first : run.stop]), strict=True):
                if reason is not None:
                    whole[i] = False
                    skipped.append(Skipped(part.names[i], reason))
            if tick:
                tick(run.stop)
    kept = np.flatnonzero(whole)
    raw = part.images if images is None else images
    split = Split(raw, part.labels, tuple(part.names), shape, images is not None)
    return (split, prints) if len(kept) == len(whole) else (_take(split, kept), prints[kept])


def _take(split: Split, indices: np.ndarray) -> Split:
    if isinstance(split.images, np.ndarray):
        images: Any = split.images[indices]
    elif isinstance(split.images, Selected):
        images = Selected(split.images.images, split.images.indices[indices])
    else:
        images = Selected(split.images, indices)
    names = tuple(split.names[i] for i in indices)
    return Split(images, split.labels[indices], names, split.shape, split.ready)


@dataclass(frozen=True, eq=False)
class Selected:
    """Some of the pictures of a sequence that is read when asked."""

    images: Any
    indices: np.ndarray

    def __getitem__(self, i: int) -> Any:
        return self.images[self.indices[i]]


def _cut(labels: np.ndarray, size: int, seed: int, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices that stay and that go: `size` go, of every class its share and at least one picture."""
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        few = classes[int(counts.argmin())]
        raise ValueError(
            f"class {few!r} is down to {counts.min()} picture; train, validation and test each need one of every class"
        )
    size = min(max(size, len(classes)), len(labels) - len(classes))
    stay, go = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    return np.sort(stay), np.sort(go)


def _populated(found: Source, word: str, split: Split, skipped: Sequence[Skipped]) -> None:
    """Refuse a split in which a class has no picture; a test split may lack some."""
    counts = np.bincount(split.labels, minlength=len(found.classes))
    bad = f" ({len(skipped)} files could not be decoded, such as {skipped[0].file})" if skipped else ""
    if not len(split):
        raise ValueError(f"{found.name}: no pictures in the {word} split{bad}")
    if word == TRAIN and counts.min() == 0:
        there = ", ".join(f"{name} {count}" for name, count in zip(found.classes, counts, strict=True))
        raise ValueError(
            f"{found.name}: class {found.classes[int(counts.argmin())]!r} has no picture{bad}; found: {there}"
        )


def _repeated(splits: dict[str, Split], prints: dict[str, np.ndarray]) -> tuple[Repeated, ...]:
    """Pictures that stand in two splits; each is named with the first place it was seen in."""
    seen: dict[bytes, tuple[str, str]] = {}
    found = []
    for word in (TRAIN, VALIDATION, TEST):
        for mark, name in zip(prints[word].tolist(), splits[word].names, strict=True):
            first = seen.setdefault(mark, (name, word))
            if first[1] != word:
                found.append(Repeated(*first, name, word))
    return tuple(found)
