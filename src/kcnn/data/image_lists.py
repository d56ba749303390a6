"""Images to predict as one list: files, folders with all their images, globs, arrays and Pillow images."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np
from PIL import Image

from kcnn.data.decoding import ENDINGS
from kcnn.data.folders import list_images
from kcnn.graph.arguments import wrong_kind
from kcnn.graph.formatting import join_names, to_printable


@dataclass(frozen=True)
class NamedImage:
    """Hold an image with its name.

    Attributes:
        name: Its path; "image 0" for an array.
        content: The path, an array of pixels, or a Pillow image.
        is_listed: Whether it was given itself, and not by a folder or glob that contains it.
    """

    name: str
    content: Any
    is_listed: bool = True


def expand_path(path: str | PathLike[str]) -> list[NamedImage]:
    """Return the images of a path.

    Args:
        path: A file; a folder, for every image below it; or a glob, for the images and folders that match. Hidden files
            and folders are left out of folders, in the order of names.

    Returns:
        The images.

    Raises:
        FileNotFoundError: There is no such file or folder, the folder has no image, or the glob matches none.
    """
    name = fspath(path)
    if os.path.isdir(name):
        files = list_images(name)
        if not files:
            raise FileNotFoundError(to_printable(f"folder {name} has no image: none ends in {', '.join(ENDINGS)}"))
        return [NamedImage(file, file, is_listed=False) for file in files]
    if os.path.exists(name) or not glob.has_magic(name):
        if not os.path.exists(name):
            raise FileNotFoundError(to_printable(f"file not found: {name}"))
        return [NamedImage(name, name)]
    matches = sorted(glob.glob(name, recursive=True))
    files = [file for match in matches for file in (list_images(match) if os.path.isdir(match) else [match])]
    files = [file for file in dict.fromkeys(files) if file.lower().endswith(ENDINGS)]
    if not files:
        other = f" (it matches {join_names(matches, 2)})" if matches else ""
        raise FileNotFoundError(to_printable(f"no image matches {name}{other}"))
    return [NamedImage(file, file, is_listed=False) for file in files]


def expand_images(images: Any) -> Iterator[NamedImage]:
    """Yield images one by one, each with its name.

    Args:
        images: A path as of expand_path, pixels 0..255 (rows, columns) or (rows, columns, 1 or 3), a Pillow image, an
            array of several images, or an iterable of these. Paths in a list are checked before the first image is
            yielded; an iterator is read as far as images are needed.

    Raises:
        FileNotFoundError: As of expand_path.
        TypeError: There is nothing to iterate over.
    """
    if isinstance(images, str | PathLike | Image.Image) or _is_one_array(images):
        images = [images]
    if not isinstance(images, Iterable):
        raise wrong_kind("images", "files, folders, globs, arrays of pixels or Pillow images", images)
    if isinstance(images, list | tuple):
        paths = dict.fromkeys(fspath(image) for image in images if isinstance(image, str | PathLike))
        expanded = {path: expand_path(path) for path in paths}
        return _name(images, expanded)
    return _name(images, {})


def _name(images: Iterable[Any], expanded: dict[str, list[NamedImage]]) -> Iterator[NamedImage]:
    for number, image in enumerate(images):
        if isinstance(image, str | PathLike):
            yield from expanded.get(fspath(image)) or expand_path(image)
        else:
            yield NamedImage(f"image {number}", image)


def _is_one_array(images: Any) -> bool:
    """Whether an array is one image, and not several."""
    if not isinstance(images, np.ndarray):
        return False
    return images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3))
