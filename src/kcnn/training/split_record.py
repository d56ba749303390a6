"""Which image was in which split of a run, by file and content: splits.csv, and images matched with it."""

import csv
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from kcnn.atomic_io import replace_atomically
from kcnn.data import ImageDataset
from kcnn.data.readers import HASH
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION
from kcnn.data.splits import Split, join_splits, resize_split
from kcnn.graph.formatting import format_number, join_names, to_printable
from kcnn.training.run_directory import neutralize, restore_cell

FILE = "splits.csv"
COLUMNS = ("split", "file", "label", "hash")
SPLITS = (TRAIN, VALIDATION, TEST)
SKIPPED = "skipped"  # files that could not be decoded
PRETRAINING = "pretraining"  # images on which the pretrained weights of the run were trained
TRAINED = (TRAIN, VALIDATION, PRETRAINING)
LONE_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # no character, and no byte of a file's name
NAMED = 3  # images that a message names


@dataclass(frozen=True, eq=False)
class SplitRecord:
    """Hold the images of a run by split, a row each.

    Attributes:
        splits: Split of each image: one of SPLITS, SKIPPED or PRETRAINING.
        files: Its path relative to the data, or what identifies it.
        labels: Its class number, or several separated by spaces.
        hashes: Hash of its content, bytes (images,); see kcnn.data.readers.hash_image.
    """

    splits: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[str, ...]
    hashes: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Return a hash of the content and label of every image of a split, in order; files may be renamed."""
        digest = hashlib.blake2b(digest_size=8)
        for split, label, content in zip(self.splits, self.labels, self.hashes.tolist(), strict=True):
            if split in SPLITS:
                digest.update(f"{split},{label},{content.decode()}\n".encode())
        return digest.hexdigest()

    def add(self, split: str, hashes: Sequence[bytes]) -> "SplitRecord":
        """Return the record with images of which only the content is known."""
        unknown = ("",) * len(hashes)
        return SplitRecord(
            (*self.splits, *[split] * len(hashes)),
            (*self.files, *unknown),
            (*self.labels, *unknown),
            np.concatenate([self.hashes, np.array(hashes, HASH)]),
        )

    def find_rows(self, split: str) -> np.ndarray:
        """Return the numbers of the rows of a split."""
        return np.array([i for i, name in enumerate(self.splits) if name == split], "int64")

    def find_decodable_rows(self, split: str) -> list[int]:
        """Return the numbers of the rows of a split whose image could be decoded, in order."""
        skipped = {file for file, name in zip(self.files, self.splits, strict=True) if name == SKIPPED}
        return [i for i in self.find_rows(split).tolist() if self.files[i] not in skipped]

    def list_test_images(self) -> list[tuple[bytes, str]]:
        """Return the content and the label of each test image that could be decoded, in order."""
        contents = self.hashes.tolist()
        return [(contents[i], self.labels[i]) for i in self.find_decodable_rows(TEST)]

    def count_labels(self, classes: int) -> dict[str, list[int]]:
        """Return the number of images of each class, for each split of the run.

        Args:
            classes: Number of classes.
        """
        counts = {}
        for name in SPLITS:
            if rows := self.find_rows(name).tolist():
                labels = [int(label) for row in rows for label in self.labels[row].split()]
                counts[name] = np.bincount(labels, minlength=classes).tolist()
        return counts

    def map_hashes_to_splits(self) -> dict[bytes, str]:
        """Return the split of each content; where it is in several, the first of train, validation, pretraining, test.

        Files that could not be read have no content.
        """
        order = {name: i for i, name in enumerate((*TRAINED, TEST))}
        splits: dict[bytes, str] = {}
        for split, content in zip(self.splits, self.hashes.tolist(), strict=True):
            if content and split in order and order[split] < order.get(splits.get(content, ""), len(order)):
                splits[content] = split
        return splits


@dataclass(frozen=True)
class DataChanges:
    """Hold how images differ from those that a run recorded, by file.

    Attributes:
        changed: Files with another content.
        removed: Images of the run that are not there any more.
        added: Images that are in no split of the run: new, or not used by it.
        relabeled: Images with another label.
    """

    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    relabeled: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.added or self.relabeled)

    def __str__(self) -> str:
        texts = {
            "changed": self.changed,
            "removed": self.removed,
            "with other labels": self.relabeled,
            "in no split of the run": self.added,
        }
        return "; ".join(
            f"{format_number(len(files), 'image')} {text} ({join_names(files, NAMED)})"
            for text, files in texts.items()
            if files
        )


def record_splits(data: ImageDataset, on_progress: Callable[[int, int, int], None] | None = None) -> SplitRecord:
    """Return the record of a dataset; the first time every image is read and hashed.

    Args:
        data: The data.
        on_progress: Called with (images of earlier splits, all images, images of this split so far).

    Returns:
        A row for each image of each split, and one more for each file of which it is known that it cannot be decoded.
    """
    splits: list[str] = []
    files: list[str] = []
    labels: list[str] = []
    hashes = [np.zeros(0, HASH)]
    total = sum(map(len, data.splits.values()))
    for name in (name for name in SPLITS if name in data.splits):
        split, before = data.splits[name], len(splits)

        def show(count: int, before: int = before) -> None:
            if on_progress:
                on_progress(before, total, count)

        hashes.append(split.cache.hash(split.indices, show))
        splits += [name] * len(split)
        files += relative_files(data, split.names)
        labels += format_labels(split.labels)
    skipped = list(dict.fromkeys(relative_files(data, [image.file for image in data.skipped])))
    return SplitRecord(
        (*splits, *[SKIPPED] * len(skipped)),
        (*files, *skipped),
        (*labels, *[""] * len(skipped)),
        np.concatenate([*hashes, np.zeros(len(skipped), HASH)]),
    )


def relative_files(data: ImageDataset, names: Sequence[str]) -> list[str]:
    """Return names of images relative to the folder of a dataset, with "/"; others as they are."""
    root = data.name if os.path.isdir(data.name) else os.path.dirname(data.name)
    prefix = os.path.join(root, "") if root else ""
    return [name[len(prefix) :].replace(os.sep, "/") if name.startswith(prefix) else name for name in names]


def format_labels(labels: np.ndarray) -> list[str]:
    """Return labels as text: the class number, or those of several labels, separated by spaces."""
    if labels.ndim == 1:
        return [str(label) for label in labels.tolist()]
    return [" ".join(map(str, np.flatnonzero(row))) for row in labels]


def write_record(folder: Path, record: SplitRecord) -> None:
    """Write splits.csv. File names are kept byte for byte, also those that are not UTF-8.

    A name that looks like a formula gets a "'" (see neutralize); lone surrogates become escapes.
    """
    with (
        replace_atomically(folder / FILE) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        hashes = (content.decode() for content in record.hashes.tolist())
        files = (neutralize(LONE_SURROGATES.sub(lambda match: to_printable(match[0]), name)) for name in record.files)
        writer.writerows(zip(record.splits, files, record.labels, hashes, strict=True))


def read_record(folder: Path, fingerprint: str) -> SplitRecord:
    """Read splits.csv of a run or a search.

    Args:
        folder: Its folder.
        fingerprint: Of the request in config.json or search.json.

    Returns:
        The record.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or not the record of that request.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        if tuple(rows[0]) != COLUMNS:
            raise ValueError(f"its columns are {', '.join(rows[0])}")
        splits, files, labels, hashes = zip(*(rows[1:]), strict=True) if rows[1:] else ((), (), (), ())
        files = tuple(map(restore_cell, files))
        record = SplitRecord(splits, files, labels, np.array([text.encode("ascii") for text in hashes], HASH))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} does not record which images were in which split: {FILE} is missing; train again"
        ) from None
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{path} is damaged ({error}); train again") from None
    if record.fingerprint != fingerprint:
        raise ValueError(f"{path} is damaged: it does not hold the images of the run by its fingerprint; train again")
    return record


def keep_record(folder: Path, record: SplitRecord) -> None:
    """Write splits.csv, unless the folder has the same record already."""
    if _read_if_whole(folder, record.fingerprint) is None:
        write_record(folder, record)


def describe_changes(folder: Path, fingerprint: str, record: SplitRecord) -> str:
    """Return how images differ from those that a folder recorded, as the end of a message.

    Args:
        folder: Folder of a run or a search.
        fingerprint: Of its request.
        record: The images of today.

    Returns:
        Text that begins with a colon; empty for the same images, or without a record.
    """
    before = _read_if_whole(folder, fingerprint)
    changes = compare_records(before, record) if before else None
    return f": {changes}" if changes else ""


def _read_if_whole(folder: Path, fingerprint: str) -> SplitRecord | None:
    try:
        return read_record(folder, fingerprint)
    except (FileNotFoundError, ValueError):
        return None


def compare_records(before: SplitRecord, now: SplitRecord) -> DataChanges:
    """Return how images differ from the recorded ones, whatever their splits.

    Args:
        before: The record of a run.
        now: The record of the images of today.
    """
    rows = np.array([i for i, split in enumerate(now.splits) if split in SPLITS], "int64")
    return _match(before, [now.files[i] for i in rows], now.hashes[rows], [now.labels[i] for i in rows])[1]


def restore_splits(record: SplitRecord, data: ImageDataset) -> tuple[ImageDataset, DataChanges]:
    """Return images in the splits that a run recorded, in the same order, in whatever splits they are today.

    An image is one of the run if its content is. Images that were changed, and those in no split of the run, are left
    out.

    Args:
        record: The record of the run.
        data: The images.

    Returns:
        The data, and how it differs from the record.

    Raises:
        ValueError: A split of the run has no image left.
    """
    names = [name for name in SPLITS if name in data.splits]
    sources = [data.splits[name] for name in names]
    owners = np.concatenate([np.full(len(split), i) for i, split in enumerate(sources)])
    positions = np.concatenate([np.arange(len(split)) for split in sources])
    files = [file for split in sources for file in relative_files(data, split.names)]
    labels = [label for split in sources for label in format_labels(split.labels)]
    matches, changes = _match(record, files, np.concatenate([split.hashes for split in sources]), labels)
    splits = {}
    for name in SPLITS:
        rows = record.find_rows(name)
        chosen = np.array([matches[i] for i in rows.tolist() if i in matches], "int64")
        if len(rows) and not len(chosen):
            raise ValueError(
                f"none of the {len(rows)} {name} images of the run is in {data.name}, by content: {changes}"
            )
        if len(rows):
            split = _gather(sources, owners[chosen], positions[chosen])
            splits[name] = split if name == TRAIN else resize_split(split, data.input_shape)
    return replace(data, splits=splits), changes


def _match(
    record: SplitRecord, files: Sequence[str], hashes: np.ndarray, labels: Sequence[str]
) -> tuple[dict[int, int], DataChanges]:
    """Which image each row of a record is, and what has changed: by file and content, then by content alone."""
    rows = [i for i, split in enumerate(record.splits) if split in SPLITS]
    recorded, contents = record.hashes.tolist(), hashes.tolist()
    exact: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for row in reversed(rows):
        exact[record.files[row], recorded[row]].append(row)
    matches: dict[int, int] = {}
    left: list[int] = []
    for image, key in enumerate(zip(files, contents, strict=True)):
        if exact.get(key):
            matches[exact[key].pop()] = image
        else:
            left.append(image)
    for row in reversed(rows):
        if row not in matches and recorded[row]:
            by_content[recorded[row]].append(row)
    others = []
    for image in left:
        if by_content.get(contents[image]):
            matches[by_content[contents[image]].pop()] = image
        else:
            others.append(image)
    missing = Counter(record.files[row] for row in rows if row not in matches)
    skipped = {file for file, split in zip(record.files, record.splits, strict=True) if split == SKIPPED}
    changed, added = [], []
    for image in others:
        file = files[image]
        if missing[file]:
            missing[file] -= 1
            changed.append(file)
        elif file not in skipped:
            added.append(file)
    relabeled = [record.files[row] for row, image in sorted(matches.items()) if record.labels[row] != labels[image]]
    return matches, DataChanges(tuple(changed), tuple(missing.elements()), tuple(added), tuple(relabeled))


def _gather(sources: Sequence[Split], owners: np.ndarray, positions: np.ndarray) -> Split:
    """Images of several splits as one, in order."""
    used = np.unique(owners).tolist()
    firsts = np.cumsum([0, *(len(sources[i]) for i in used)])
    joined = reduce(join_splits, (sources[i] for i in used))
    return joined.take(firsts[np.searchsorted(used, owners)] + positions)
