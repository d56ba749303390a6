"""Files that are complete or not there, and what is read from them."""

import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, with its ending; renamed to `path` once written, removed after an error.

    Temporary files of `path` that a killed process of this machine left behind are removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    prefix = f"{_temporary_prefix(target)}{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp's files are private
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text to a file completely, or raise an error and leave the file as it was.

    What UTF-8 cannot hold, such as parts of a file's name in another encoding, is written as escapes.
    """
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text from a file that somebody may have changed.

    Raises:
        ValueError: It is not JSON in UTF-8, or nests deeper than Python can read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None


def _temporary_prefix(target: Path) -> str:
    machine = re.sub(r"[^\w]", "", socket.gethostname())
    return f".{target.stem[:80]}-{machine[:40]}-"  # another machine may write into the same folder


def _remove_leftovers(target: Path) -> None:
    prefix = _temporary_prefix(target)
    leftovers = [
        entry.path
        for entry in os.scandir(target.parent)
        if entry.name.startswith(prefix) and entry.name.endswith(target.suffix)
    ]
    if not leftovers:
        return
    import psutil

    for leftover in leftovers:
        process = Path(leftover).name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            Path(leftover).unlink(missing_ok=True)
