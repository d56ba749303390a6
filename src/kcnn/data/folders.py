"""Folders of images: one folder per class, or splits that have one. No TensorFlow here."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kcnn.data.decoding import ENDINGS
from kcnn.data.multilabel import merge_folders
from kcnn.data.source_splits import TRAIN, ImageSource, SourceSplit, find_split, guess_split
from kcnn.graph.formatting import format_number, join_names

SYSTEM = frozenset(  # what operating systems, file servers and archives add, in lower case
    (
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("lost+found", "__pycache__"),
    )
)
THUMBNAILS = re.compile(r"_?thumb(nail)?s", re.IGNORECASE)  # folders that are left out, but not silently
INNER_THUMBNAILS = re.compile(r"_?thumb(nail)?s?([_-]?\d+(x\d+)?)?", re.IGNORECASE)  # in a class folder


@dataclass
class _Scan:
    """The files of the class folders of one split."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # to folders, or to nothing


def check_root(root: str) -> None:
    """Refuse a folder of images that does not exist.

    Args:
        root: Its path.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f'folder not found: {root}; data is "digits", "tfds:NAME", a folder with one folder of images per '
            "class, or a CSV of labels"
        )


def read_folder(root: str, multi_label: bool = False) -> ImageSource:
    """Read the images of a folder: CLASS/*, or train/CLASS/* with other splits beside it.

    Hidden files and folders and those of operating systems are never read. What else is left out is in `warnings`.

    Args:
        root: The folder.
        multi_label: Images of the same name in several class folders are one image with several labels.

    Returns:
        The images in the splits they came in.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It has no class folders, or it is not clear what its folders are.
    """
    check_root(root)
    warnings: list[str] = []
    folders = _list_folders(root)
    splits = _find_splits(root, folders, warnings)
    if splits:
        warnings += _describe_strays(root)
        folders = _list_folders(splits[TRAIN])
    roots = splits or {TRAIN: root}
    names = tuple(map(os.path.basename, folders))
    if not names:
        raise ValueError(
            f"{roots[TRAIN]} contains no folders; expected one folder of images per class{_count_loose(root)}"
        )
    _check_single(root, folders)
    _check_wrapped(roots[TRAIN], folders)
    if text := _describe_likeness(roots[TRAIN], folders):
        if not multi_label:
            raise ValueError(text)
        warnings.append(text)
    parts = {}
    for split, folder in roots.items():
        warnings += _describe_strays(folder)
        part = _read_split(folder, split, roots[TRAIN], names, warnings)
        parts[split] = merge_folders(folder, names, part) if multi_label else part
    return ImageSource(root, names, parts, tuple(warnings))


def _read_split(folder: str, split: str, train: str, names: tuple[str, ...], warnings: list[str]) -> SourceSplit:
    """The images of the class folders in a folder."""
    extra = [name for name in map(os.path.basename, _list_folders(folder)) if name not in names]
    if extra:
        raise ValueError(f"{folder} has the class {extra[0]!r}, which {train} lacks ({', '.join(names)})")
    found, labels = _Scan(), []
    for number, name in enumerate(names):
        path, images, others = os.path.join(folder, name), len(found.images), len(found.others)
        if os.path.isdir(path):  # a test split may lack a class
            _check_order(path)
            _scan(path, found)
        if split == TRAIN and len(found.images) == images and len(found.others) > others:
            raise ValueError(
                f"{folder}: class {name!r} has no images: {format_number(len(found.others) - others, 'file')}, such as "
                f"{found.others[-1]}, and none ends in {', '.join(ENDINGS)}; convert them, or remove the folder"
            )
        labels += [number] * (len(found.images) - images)
    if found.others:
        endings = Counter(os.path.splitext(path)[1].lower() or "no ending" for path in found.others)
        warnings.append(
            f"ignored {format_number(len(found.others), 'file')} under {folder} not named as images, such as "
            f"{os.path.basename(found.others[0])} ({join_names(endings)})"
        )
    if found.thumbnails:
        count = format_number(len(found.thumbnails), "folder")
        warnings.append(f"left out {count} of thumbnails, such as {found.thumbnails[0]}")
    if found.links:
        count = format_number(len(found.links), "link")
        warnings.append(f"left out {count} to folders or missing files under {folder}, such as {found.links[0]}")
    return SourceSplit(found.images, np.array(labels, "int64"), found.images)


def _find_splits(root: str, folders: Sequence[str], warnings: list[str]) -> dict[str, str]:
    """The folder of each split, if the layout is one: a train folder with class folders. Else the folders are classes.

    Raises:
        ValueError: Folders are named as splits and lack what makes them splits.
    """
    named = _name_splits(folders)
    flat = [folder for same in named.values() for folder in same if not _list_folders(folder)]
    others = [folder for folder in folders if not any(folder in same for same in named.values())]
    if not named or (others and _are_classes(named, flat)):
        if len(flat) < sum(map(len, named.values())):
            warnings.append(
                f"{root} has no train folder: {_join_folders(folders)} are its classes; if they are splits, name one "
                "train"
            )
        return {}
    for split, same in named.items():
        if len(same) > 1:
            raise ValueError(
                f"{root} has {_join_folders(same)}, each of which is the {split} split; merge or move all but one"
            )
    if TRAIN not in named:
        raise ValueError(
            f"{root} has {_join_folders(folders)} and no train folder; expected train/CLASS/* beside other splits, or "
            "one folder of images per class"
        )
    train = named[TRAIN][0]
    if flat:
        classes = _list_folders(train)
        like = f", such as {_join_folders(classes)} in {os.path.basename(train)}" if classes else ""
        raise ValueError(
            f"{flat[0]} has no class folders; expected one folder of images per class{like}{_count_loose(flat[0])}; "
            "sort its images into class folders, or move it elsewhere"
        )
    images = {folder: _count_images(folder) for folder in others}
    if len(named) == 1 and any(images.values()):
        raise ValueError(
            f"{root} has {os.path.basename(train)}/ with class folders, beside {_join_folders(others)} with images; if "
            f"{os.path.basename(train)} is the training split, use {train} as the data or move the others; if it is a "
            "class, rename it"
        )
    if others:
        warnings.append(
            f"the splits of {root} are {_join_folders([same[0] for same in named.values()])}; left out "
            f"{_join_folders(others)} beside them ({format_number(sum(images.values()), 'image')})"
        )
    return {split: same[0] for split, same in named.items()}


def _name_splits(folders: Sequence[str]) -> dict[str, list[str]]:
    """The folders named as each split.

    A name that only begins or ends with the word, as seg_train and test_tube do, counts where folders for training and
    for another split have a class folder in common.
    """
    guesses = {folder: guess_split(os.path.basename(folder)) for folder in folders}
    inside = {folder: _list_names(folder) for folder, split in guesses.items() if split}
    train = [folder for folder in inside if guesses[folder] == TRAIN]
    shared = {
        folder
        for first in train
        for second in inside
        if second not in train and inside[first] & inside[second]
        for folder in (first, second)
    }
    named: dict[str, list[str]] = {}
    for folder, split in guesses.items():
        if split and (folder in shared or find_split(os.path.basename(folder))):
            named.setdefault(split, []).append(folder)
    return named


def _are_classes(named: Mapping[str, Sequence[str]], flat: Sequence[str]) -> bool:
    """Whether folders named as splits are classes: without a train folder, or where that alone is, and of images."""
    return TRAIN not in named or (len(named) == 1 and all(folder in flat for folder in named[TRAIN]))


def _describe_likeness(root: str, folders: Sequence[str]) -> str:
    """A message about classes that look like splits or sorts of images: two share folders; empty if none do."""
    owner: dict[str, str] = {}
    inside = {folder: _list_names(folder) for folder in folders}
    for folder, names in inside.items():
        for name in sorted(names):
            first = owner.setdefault(name, folder)
            if first != folder and len(names | inside[first]) > 1:  # CLASS/images/* is one folder in each class
                return (
                    f"the folders {_join_folders([first, folder])} of {root} would be classes, but both contain "
                    f"{_join_folders(sorted(names & inside[first]))}; if they are splits, call them train, validation "
                    "and test; if they are classes, put their images directly into them, or use a CSV of labels"
                )
    return ""


def _check_single(root: str, folders: Sequence[str]) -> None:
    """Refuse a folder around the data, which would be the only class."""
    if len(folders) == 1 and (inner := _list_folders(folders[0])):
        raise ValueError(
            f"the dataset has only one class ({os.path.basename(folders[0])!r}); at least two are required: {root}; if "
            f"{_join_folders(inner)} in it are the classes, use {folders[0]} as the data"
        )


def _check_wrapped(root: str, folders: Sequence[str]) -> None:
    """Refuse a folder around split folders among the classes."""
    for folder in folders:
        for inner in _list_folders(folder):
            if guess_split(os.path.basename(inner)) == TRAIN and (classes := _list_folders(inner)):
                raise ValueError(
                    f"{root} has {_join_folders(folders)}, and {inner} has the folders {_join_folders(classes)}; if "
                    f"they are the classes, use {folder} as the data; expected one folder of images per class"
                )


def _check_order(folder: str) -> None:
    """Refuse splits within a class folder: their images would be mixed."""
    inner = [os.path.basename(path) for path in _list_folders(folder)]
    splits = [name for name in inner if guess_split(name)]
    if len({guess_split(name) for name in splits}) > 1 and TRAIN in map(guess_split, splits):
        name = os.path.basename(folder)
        raise ValueError(
            f"{folder} has the splits {_join_folders(splits)}; expected class folders in split folders, such as "
            f"{splits[-1]}/{name}, not splits in class folders"
        )


def list_images(folder: str) -> list[str]:
    """Return every image below a folder, in the order of names; see read_folder for what is left out."""
    found = _Scan()
    _scan(folder, found)
    return found.images


def _scan(folder: str, found: _Scan) -> None:
    """Add every file below a folder, in the order of names; a folder that is a link is not entered."""
    for entry in _list_entries(folder):
        if entry.is_dir(follow_symlinks=False):
            if INNER_THUMBNAILS.fullmatch(entry.name):
                found.thumbnails.append(entry.path)
            else:
                _scan(entry.path, found)
        elif _is_file(entry):
            (found.images if _is_image(entry.name) else found.others).append(entry.path)
        elif entry.is_symlink():
            found.links.append(entry.path)


def _list_entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder by name, but for hidden files and folders and those of operating systems."""
    with os.scandir(folder) as scanned:
        entries = [entry for entry in scanned if not (entry.name.startswith(".") or entry.name.casefold() in SYSTEM)]
    return sorted(entries, key=lambda entry: entry.name)


def _list_folders(root: str) -> list[str]:
    """The folders in a folder that may be classes, but for links that lead back to it or above."""
    real = os.path.realpath(root)
    return [
        entry.path
        for entry in _list_entries(root)
        if _is_folder(entry)
        and not THUMBNAILS.fullmatch(entry.name)
        and not (entry.is_symlink() and _is_above(os.path.realpath(entry.path), real))
    ]


def _list_names(folder: str) -> frozenset[str]:
    """The names of the folders in a folder."""
    return frozenset(map(os.path.basename, _list_folders(folder)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # a link may lead in a circle


def _is_file(entry: os.DirEntry[str]) -> bool:
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()


def _is_above(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _count_images(folder: str) -> int:
    return len(list_images(folder))


def _loose_images(folder: str) -> list[str]:
    """The images that are in a folder itself."""
    return [entry.path for entry in _list_entries(folder) if _is_image(entry.name) and _is_file(entry)]


def _count_loose(folder: str) -> str:
    count = len(_loose_images(folder))
    return f" (it has {format_number(count, 'image')} without a class)" if count else ""


def _describe_strays(folder: str) -> list[str]:
    """Warnings about what is left out beside class folders: images, and folders of thumbnails."""
    warnings = []
    if loose := _loose_images(folder):
        warnings.append(
            f"left out {format_number(len(loose), 'image')} beside the folders of {folder}, without a class, such as "
            f"{os.path.basename(loose[0])}"
        )
    broken = [entry.path for entry in _list_entries(folder) if entry.is_symlink() and not os.path.exists(entry.path)]
    if broken:
        count = format_number(len(broken), "link")
        warnings.append(f"left out {count} to missing files in {folder}, such as {broken[0]}")
    folders = [entry.name for entry in _list_entries(folder) if _is_folder(entry)]
    if thumbnails := list(filter(THUMBNAILS.fullmatch, folders)):
        warnings.append(f"left out {_join_folders(thumbnails)} in {folder}, which is named as thumbnails")
    if classes := [name for name in folders if INNER_THUMBNAILS.fullmatch(name) and name not in thumbnails]:
        warnings.append(
            f"{_join_folders(classes)} in {folder} counts as a class; if it holds thumbnails of the images, move it"
        )
    return warnings


def _join_folders(folders: Sequence[str]) -> str:
    return join_names([f"{os.path.basename(folder)}/" for folder in folders])
