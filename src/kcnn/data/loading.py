"""Find, check and split image data. No TensorFlow here."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import psutil

from kcnn.data.dataset import ImageDataset
from kcnn.data.decoding import check_channels
from kcnn.data.image_cache import ImageCache, Keep, SkippedImage, log
from kcnn.data.readers import estimate_bytes, is_in_memory
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION, ImageSource
from kcnn.data.sources import check_source, find_source
from kcnn.data.splits import Split, resize_split
from kcnn.data.stratification import check_folds, count_classes, split_indices
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_seed
from kcnn.graph.formatting import join_names

MEMORY_SHARE = 0.25  # of the free memory, for decoded images or else for encoded ones
MAX_RESIZE_FACTOR = 16
SHARES = {TEST: 0.2, VALIDATION: 0.1}  # of the train split, for those that the data lacks, in the order they are taken
WHOLE = 2  # times its shape in bytes that a whole image takes: photos have two sides in 3 to 2, and are some larger
AHEAD = 5_000  # images at most that are decoded before training starts, so that broken files are named at once


@check_arguments
def load(
    source: Any,
    *,
    input_shape: tuple[int, int, int],
    batch_size: int = 32,
    seed: int = 0,
    validation_split: float = SHARES[VALIDATION],
    test_split: float = SHARES[TEST],
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    resize_factor: float = 1.0,
    progress: Callable[[int, int, int], None] | None = None,
) -> ImageDataset:
    """Load labeled images, with train, validation and test splits.

    A folder has one folder of images per class; a CSV has files in its first column, and labels (see
    kcnn.data.label_csv.read_csv). Splits that the data lacks are taken from its train split, stratified by class:
    first test, then validation. A validation split without a test split becomes the test split.

    Images are cropped centrally and resized. A file that cannot be decoded is skipped and named in `skipped`. Up to
    5,000 images are decoded here, more when they are first needed. Decoded images stay in memory if they take at
    most a quarter of the free memory, else encoded ones if these do, else every image is read again in each epoch.

    Args:
        source: "digits" or some of them ("digits:0-4"), "tfds:NAME", a folder, a CSV, arrays (images, labels), or
            {"train": (images, labels), "test": ...}.
        input_shape: (rows, columns, 1 or 3).
        batch_size: Images per batch.
        seed: Draws the splits and the order of the training images.
        validation_split: Fraction of the train split for validation.
        test_split: Fraction of the train split for testing.
        classes: Class names, for arrays only.
        multi_label: An image may have any number of labels. Arrays then have labels of 0 and 1 (images, classes), and
            images of the same name in several class folders are one image with several labels.
        resize_factor: Above 1, training images stay whole, shrunk where they cover more than this many times
            `input_shape` along each side, for augmentation that crops (see Augmentation.resize_factor).
        progress: Called with (images of earlier splits, all images, images checked in this split).

    Returns:
        The dataset.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: An argument is out of range, the folder is empty, or there are fewer than two classes, or a class
            without images.
        TypeError: The source has another type.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(f"input_shape is (rows, columns, channels), such as (64, 64, 3), got {input_shape!r}")
    check_channels(shape[2])
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not (0 < validation_split < 1 and 0 < test_split < 1 and validation_split + test_split < 1):
        raise ValueError(
            "validation_split and test_split are fractions that leave some images to train on, "
            f"got {validation_split} and {test_split}"
        )
    check_seed(seed)
    if resize_factor > MAX_RESIZE_FACTOR:
        raise ValueError(f"resize_factor must be at most {MAX_RESIZE_FACTOR}, got {resize_factor}")
    if not resize_factor >= 1:
        raise ValueError(f"resize_factor must be at least 1, got {resize_factor}")
    data = find_source(source, classes, multi_label)
    if len(data.classes) < 2:
        raise ValueError(
            f"the dataset has only one class ({data.classes[0]!r}); at least two are required: {data.name}"
        )
    large, keep = _cached_shape(data, shape, resize_factor)
    skipped: list[SkippedImage] = []
    total, done, splits = sum(len(part.labels) for part in data.splits.values()), 0, {}
    for name, part in data.splits.items():
        whole = name == TRAIN and resize_factor > 1
        cache = ImageCache(part.images, part.names, large if whole else shape, keep, skipped, whole)
        splits[name] = Split(cache, np.arange(len(cache)), part.labels)
        if total <= AHEAD:
            good = cache.check_all(partial(progress, done, total) if progress else None)
            splits[name] = splits[name].take(good)
        _check_populated(data, name, splits[name], skipped)
        done += len(part.labels)
    warnings = list(data.warnings)
    if TEST not in splits and VALIDATION in splits:
        warnings.append("no test split: the validation split is used for testing, and a new one is taken from train")
        splits[TEST] = splits.pop(VALIDATION)
    for name in (name for name in (VALIDATION, TEST) if name in splits):
        warnings += _describe_missing(data, name, splits[name])
    shares = {TEST: test_split, VALIDATION: validation_split}
    missing = {name: share for name, share in shares.items() if name not in splits}
    images = splits[TRAIN]
    for name, chosen in _divide(images.labels, missing, seed, data.classes).items():
        splits[name] = images.take(chosen) if name == TRAIN else resize_split(images.take(chosen), shape)
        if splits[name].cache is not images.cache and keep == "decoded" and total <= AHEAD:
            splits[name].cache.check_all()  # what was decoded above is whole
    _log_warnings(warnings)
    return ImageDataset(
        name=data.name,
        classes=data.classes,
        input_shape=shape,
        batch_size=batch_size,
        seed=seed,
        splits=splits,
        skipped=skipped,
        warnings=tuple(warnings),
    )


def load_as_is(
    source: Any,
    *,
    input_shape: tuple[int, int, int],
    batch_size: int = 32,
    seed: int = 0,
    multi_label: bool = False,
    resize_factor: float = 1.0,
) -> ImageDataset:
    """Load labeled images in the splits they came in: none is cut from another, and none is decoded yet.

    Args:
        source: As for `load`.
        input_shape: (rows, columns, 1 or 3).
        batch_size: Images per batch.
        seed: Draws the order of the training images.
        multi_label: As for `load`.
        resize_factor: As for `load`, but of the images of every split.

    Returns:
        The dataset; images that were not in splits are all in "train".

    Raises:
        FileNotFoundError, ValueError, TypeError: As for `load`.
    """
    data = find_source(source, None, multi_label)
    shape, keep = _cached_shape(data, input_shape, resize_factor)
    skipped, splits = list[SkippedImage](), {}
    for name, part in data.splits.items():
        cache = ImageCache(part.images, part.names, shape, keep, skipped, resize_factor > 1)
        splits[name] = Split(cache, np.arange(len(cache)), part.labels)
    _log_warnings(data.warnings)
    return ImageDataset(
        name=data.name,
        classes=data.classes,
        input_shape=input_shape,
        batch_size=batch_size,
        seed=seed,
        splits=splits,
        skipped=skipped,
        warnings=data.warnings,
    )


def check_data(source: str, *, folds: int | None, seed: int, multi_label: bool) -> None:
    """Refuse a source that does not exist, and more folds than its rarest class has images, without decoding any.

    Args:
        source: As for `load`. Of TensorFlow Datasets nothing is told, whose labels take TensorFlow to read.
        folds: Number of folds; None for none.
        seed: Draws the test split where the data has none.
        multi_label: As for `load`.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: As for `load`, or a class has fewer images than there are folds.
    """
    check_source(source)
    if folds is None or source.startswith("tfds:"):
        return
    data = find_source(source, None, multi_label)
    labels = data.splits[TRAIN].labels
    if VALIDATION in data.splits and TEST in data.splits:
        labels = np.concatenate([labels, data.splits[VALIDATION].labels])
    elif VALIDATION not in data.splits and TEST not in data.splits:
        parts = _divide(labels, SHARES, seed, data.classes)
        labels = np.concatenate([labels[parts[TRAIN]], labels[parts[VALIDATION]]])
    check_folds(labels, folds, data.classes)


def _divide(
    labels: np.ndarray, missing: Mapping[str, float], seed: int, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Indices of the train images for each split that is taken from them, by its share, and of those that are left."""
    left, parts = np.arange(len(labels)), dict[str, np.ndarray]()
    for number, (name, share) in enumerate(missing.items()):
        later = len(missing) - number  # splits that need an image of each class
        stay, go = split_indices(labels[left], round(share * len(labels)), seed, classes, keep=later)
        parts[name], left = left[go], left[stay]
    return {**parts, TRAIN: left}


def _cached_shape(
    data: ImageSource, shape: tuple[int, int, int], resize_factor: float
) -> tuple[tuple[int, int, int], Keep]:
    """The shape of training images, or what they cover where they stay whole, and in what form all fit into memory."""
    large = (round(shape[0] * resize_factor), round(shape[1] * resize_factor), shape[2])
    size = int(np.prod(large)) * (WHOLE if resize_factor > 1 else 1)
    return large, _choose_memory(data, size)


def _choose_memory(data: ImageSource, size: int) -> Keep:
    """In what form images of so many bytes each fit into memory."""
    parts = [part for part in data.splits.values() if len(part.labels)]
    limit = psutil.virtual_memory().available * MEMORY_SHARE
    if sum(len(part.labels) for part in parts) * size <= limit:
        return "decoded"
    if any(is_in_memory(part.images) for part in parts):
        return "nothing"
    return "encoded" if sum(estimate_bytes(part.images) for part in parts) <= limit else "nothing"


def _check_populated(data: ImageSource, name: str, split: Split, skipped: Sequence[SkippedImage]) -> None:
    """Refuse a split without images, and a train split that lacks a class; a test split may lack some."""
    counts = count_classes(split.labels, len(data.classes))
    reason = f" ({len(skipped)} files could not be decoded, such as {skipped[0].file})" if skipped else ""
    if not len(split):
        raise ValueError(f"{data.name}: no images in the {name} split{reason}")
    if not counts.any():
        raise ValueError(f"{data.name}: no image of the {name} split has a label{reason}")
    if name == TRAIN and counts.min() == 0:
        images = ", ".join(f"{label} {count}" for label, count in zip(data.classes, counts, strict=True))
        missing = data.classes[int(counts.argmin())]
        raise ValueError(f"{data.name}: class {missing!r} has no images{reason}; images by class: {images}")


def _describe_missing(data: ImageSource, name: str, split: Split) -> list[str]:
    """A warning about the classes without images in a split that the data has."""
    missing = np.flatnonzero(count_classes(split.labels, len(data.classes)) == 0)
    if not len(missing):
        return []
    classes = join_names(data.classes[i] for i in missing)
    return [f"the {name} split has no image of {classes}: recall is not defined there, and means leave the class out"]


def _log_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        log.warning("%s", warning)
