"""From a word to Data: pictures found, split, and checked where that takes no long wait. No TensorFlow here."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import psutil

from kcnn.data.dataset import ImageDataset
from kcnn.data.decoding import check_channels
from kcnn.data.image_cache import ImageCache, Keep, Skipped
from kcnn.data.readers import Selected, estimate_bytes, load_into_memory
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION, ImageSource
from kcnn.data.sources import find_source
from kcnn.data.splits import Split, count_classes, split_indices

MEMORY_SHARE = 0.25  # of the memory that is free: so much is kept of what was decoded, or else of what was read
AHEAD = 5_000  # pictures: up to so many are decoded before the training, that one hears of broken files at once


def load(
    source: Any,
    *,
    input_shape: tuple[int, int, int],
    batch_size: int = 32,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    resize_factor: float = 1.0,
    progress: Callable[[int, int, int], None] | None = None,
) -> ImageDataset:
    """Train, validation and test splits of "digits" ("digits:0-4"), "tfds:NAME", a folder, a CSV of labels, or arrays.

    A folder has one folder of pictures per class; see kcnn.data.multilabel.table for what a CSV has. With `multi_label` a
    picture may have any number of labels, and one that stands in several class folders by the same name has those of
    all; arrays then bring labels of 0 and 1 (images, classes).

    Pictures are cropped centrally and resized to `input_shape` (rows, columns, 1 or 3), those of
    the train split to rows and columns `oversize` times as many, for augmentation that cuts parts
    out. Splits that the data lacks are cut off its train split by class, `test` first, then
    `validation`, as shares of it; data with a validation split alone keeps it for the test.
    A file that cannot be decoded is skipped and named in `skipped`; a picture that stands in two
    splits is named in `repeated`. Up to 5,000 pictures are all decoded here; more are as they are
    met. Decoded pictures stay in memory where they take at most a quarter of what is free, else
    encoded ones where these do, else each is read anew. `progress(before, total, done)` is
    called as pictures are checked, `before` those of earlier splits.

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
    if not resize_factor >= 1:
        raise ValueError(
            f"oversize is how many times larger training pictures are kept, 1 or more, not {resize_factor}"
        )
    found = find_source(source, classes, multi_label)
    if len(found.classes) < 2:
        raise ValueError(f"{found.name} has one class, {found.classes[0]!r}; there is nothing to tell apart")
    large = (round(shape[0] * resize_factor), round(shape[1] * resize_factor), shape[2])
    skipped: list[Skipped] = []
    keep = _keep(found, large)
    total, done, splits = sum(len(part.labels) for part in found.splits.values()), 0, {}
    for word, part in found.splits.items():
        store = ImageCache(part.images, part.names, large if word == TRAIN else shape, keep, skipped)
        splits[word] = Split(store, np.arange(len(store)), part.labels)
        if total <= AHEAD:
            good = store.check(partial(progress, done, total) if progress else None)
            splits[word] = splits[word].take(good)
        _populated(found, word, splits[word], skipped)
        done += len(part.labels)
    notes = list(found.warnings)
    if TEST not in splits and VALIDATION in splits:
        notes.append("there is no test split: the validation split is kept for the test, and validation cut off train")
        splits[TEST] = splits.pop(VALIDATION)
    whole = len(splits[TRAIN])
    for word, share in ((TEST, test), (VALIDATION, validation)):
        if word not in splits:
            stay, go = split_indices(splits[TRAIN].labels, round(share * whole), seed, found.classes)
            splits[word] = _of_size(splits[TRAIN].take(go), shape)
            splits[TRAIN] = splits[TRAIN].take(stay)
    return ImageDataset(
        name=found.name,
        classes=found.classes,
        input_shape=shape,
        batch_size=batch_size,
        seed=seed,
        splits=splits,
        skipped=skipped,
        warnings=tuple(notes),
    )


def _keep(found: ImageSource, shape: tuple[int, int, int]) -> Keep:
    """What of the pictures memory has room for."""
    parts = [part for part in found.splits.values() if len(part.labels)]
    room = psutil.virtual_memory().available * MEMORY_SHARE
    if sum(len(part.labels) for part in parts) * int(np.prod(shape)) <= room:
        return "decoded"
    if any(load_into_memory(part.images) for part in parts):
        return "nothing"
    return "encoded" if sum(estimate_bytes(part.images) for part in parts) <= room else "nothing"


def _of_size(split: Split, shape: tuple[int, int, int]) -> Split:
    """The split with pictures of that shape, decoded anew where the store's are not."""
    store = split.store
    if store.shape == shape:
        return split
    own = ImageCache(
        Selected(store.raw, split.rows), split.names, shape, store.keep_in_memory, store.skipped, checked=store.checked
    )
    return Split(own, np.arange(len(own)), split.labels)


def _populated(found: ImageSource, word: str, split: Split, skipped: Sequence[Skipped]) -> None:
    """Refuse a split in which a class has no picture; a test split may lack some."""
    there = count_classes(split.labels, len(found.classes))
    bad = f" ({len(skipped)} files could not be decoded, such as {skipped[0].file})" if skipped else ""
    if not len(split):
        raise ValueError(f"{found.name}: no pictures in the {word} split{bad}")
    if not there.any():
        raise ValueError(f"{found.name}: no picture of the {word} split has a label{bad}")
    if word == TRAIN and there.min() == 0:
        each = ", ".join(f"{name} {count}" for name, count in zip(found.classes, there, strict=True))
        raise ValueError(
            f"{found.name}: class {found.classes[int(there.argmin())]!r} has no picture{bad}; found: {each}"
        )
