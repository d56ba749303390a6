"""Put images into folders by their predicted class: copies or links, and never over another file."""

import filecmp
import os
import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from kcnn.atomic_io import replace_atomically
from kcnn.graph.formatting import to_printable


def check_folder_names(names: Iterable[str]) -> None:
    """Refuse classes whose names are no names of folders, such as those with a slash.

    Args:
        names: Names of classes; a model from elsewhere may have any.

    Raises:
        ValueError: A name is empty, ".", "..", or has a separator of paths or a control character.
    """
    for name in names:
        if name.strip(". ") == "" or any(sign in name for sign in "/\\:") or not name.isprintable():
            raise ValueError(to_printable(f"class {name!r} cannot be the name of a folder; images are sorted by class"))


def sort_image(file: str | Path, folder: Path, *, link: bool = False) -> Path:
    """Copy an image into a folder, or link to it there.

    Where the name is taken by another image, the new one gets a number: photo-2.jpg. An image that is there already is
    left as it is, so that the same images can be sorted again.

    Args:
        file: The image.
        folder: The folder; it is created.
        link: Make a symbolic link in place of a copy.

    Returns:
        The copy or link.
    """
    source = Path(os.path.abspath(file))
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        target = folder / (source.name if number == 1 else f"{source.stem}-{number}{source.suffix}")
        if _holds(target, source, link):
            return target
        try:
            if link:
                target.symlink_to(source)
            else:
                target.open("x").close()  # ours from now on, or there is a file of this name
        except FileExistsError:
            continue
        if not link:
            try:
                with replace_atomically(target) as temporary:
                    shutil.copyfile(source, temporary)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        return target
    raise AssertionError("count has no end")


def _holds(target: Path, source: Path, link: bool) -> bool:
    """Whether an image is there already: the link to it, or a file with its content."""
    if target.is_symlink():
        return link and Path(os.readlink(target)) == source
    return not link and target.is_file() and filecmp.cmp(source, target, shallow=False)
