"""Published files of weights, fetched once into a cache folder.

`KCNN_CACHE` is that folder (~/.cache/kcnn where it is not set); `KCNN_WEIGHTS_MIRROR` is a URL or
folder to fetch from instead of the publisher, by the files' names.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kcnn.architectures.architecture import Weights

ATTEMPTS = 5  # of one download, each going on where the one before was cut
CHUNK = 1 << 16  # bytes; a cut connection loses at most one
Progress = Callable[[int, int | None], None]  # bytes so far, and in all where that is known


class DownloadError(OSError):
    """Weights that could not be had, and why; nothing of them is left behind."""


def cache_folder() -> Path:
    """The folder for what is fetched."""
    return Path(os.environ.get("KCNN_CACHE") or Path.home() / ".cache" / "kcnn")


def download(weights: Weights) -> Path:
    """The file of some weights, from the cache or from where they are published.

    A download goes to a temporary name, is checked against the hash and renamed. One that was
    killed goes on where it was, and two processes that ask at once fetch it once.
    NotFetched where there is no network, no such file, no room, or another hash than published.
    """
    from filelock import FileLock

    file = weights.url.rpartition("/")[2]
    folder = hashlib.sha256(weights.url.encode()).hexdigest()[:8]  # two publishers may use one name
    target = cache_folder() / "weights" / weights.source / folder / file
    if _kept(target, weights.checksum):
        return target
    locks = cache_folder() / "locks"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"the cache folder {cache_folder()} cannot be written to: {error}; set KCNN_CACHE to another"
        ) from None
    with FileLock(locks / f"{folder}-{file}.lock"):
        if not _kept(target, weights.checksum):
            _into(weights, target)
    return target


def _kept(target: Path, wanted: str | None) -> bool:
    """Whether the cache has the file, and as it was published: one that was damaged since is fetched again."""
    return target.exists() and _right(target, wanted)


def _into(weights: Weights, target: Path) -> None:
    url = _address(weights)
    part = target.with_name(f"{target.name}.part")
    if weights.checksum is None:
        part.unlink(missing_ok=True)  # without a hash nothing would tell whether two halves are of one file
    resumed = part.exists()
    try:
        with _Bar(target.name) as progress:
            _download(url, part, progress)
            if not _right(part, weights.checksum) and resumed:  # what was left there may have been of another file
                part.unlink()
                _download(url, part, progress)
        if not _right(part, weights.checksum):
            raise DownloadError(
                f"{url} is not the file that {weights.source} published: its hash is not {weights.checksum}; "
                "it was deleted. Try again, or another mirror"
            )
        if weights.checksum is None:
            _readable(part, url)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{url} could not be written to {target.parent}: {error}") from error


def _address(weights: Weights) -> str:
    mirror = os.environ.get("KCNN_WEIGHTS_MIRROR")
    if not mirror:
        return weights.url
    base = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
    return f"{base.rstrip('/')}/{weights.url.rpartition('/')[2]}"


def _download(url: str, part: Path, progress: Progress) -> None:
    if urlsplit(url).scheme == "file":
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise DownloadError(f"there is no file {source}")
        shutil.copyfile(source, part)
        return
    failure = ""
    tag: str | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        done, failure, tag = _go_on(url, part, tag, progress)
        if done:
            return
    raise DownloadError(f"{url} could not be fetched ({failure}); check the network, or set KCNN_WEIGHTS_MIRROR")


def _go_on(url: str, part: Path, tag: str | None, progress: Progress) -> tuple[bool, str, str | None]:
    """One attempt, from the end of what is there: whether all came, what went wrong, the server's tag of the file."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as answer:
            if answer.status_code == 416:  # nothing behind what is there: whole already, or of another file
                whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if whole == str(have):
                    return True, "", tag
                part.unlink()
                return False, "the server has another file now", None
            if 400 <= answer.status_code < 500 and answer.status_code not in (408, 429):
                raise DownloadError(
                    f"{url} could not be fetched: the server answers {answer.status_code} {answer.reason}"
                )
            if not answer.ok:
                return False, f"the server answers {answer.status_code} {answer.reason}", tag
            if answer.status_code != 206:
                have = 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
            tag = answer.headers.get("ETag", tag)
            if total is not None and have != total:
                return False, f"cut after {have} of {total} bytes", tag
            return True, "", tag
    except requests.RequestException as error:
        return False, _plainly(error), tag


def _plainly(error: Exception) -> str:
    """The innermost reason of an error of the network, without the layers of objects around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__


def _readable(part: Path, url: str) -> None:
    """Refuse a page or half a file where no hash does."""
    from kcnn.weights.formats import read_weights

    try:
        read_weights(part)
    except ValueError as error:
        raise DownloadError(f"{url} is no file of weights, so it was deleted: {error}") from None


def _right(part: Path, wanted: str | None) -> bool:
    if wanted is None:
        return True
    kind, _, digits = wanted.partition(":")
    with part.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest().startswith(digits)


class _Bar:
    """A progress bar on a terminal, and nothing elsewhere."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.task = self.bars.add_task(name, total=None)

    def __enter__(self) -> Progress:
        self.bars.start()
        return lambda done, total: self.bars.update(self.task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.bars.stop()
