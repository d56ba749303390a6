"""Download published weights once into a cache folder.

The environment variable `KCNN_CACHE` sets that folder; `KCNN_WEIGHTS_MIRROR` is a URL or folder to take files from, by
their names, instead of the publisher.
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

from platformdirs import user_cache_dir

from kcnn.architectures.architecture import Weights

ATTEMPTS = 5  # of one download, each resumed where the one before was cut
CHUNK = 1 << 16  # bytes; a cut connection loses at most one
Progress = Callable[[int, int | None], None]  # bytes so far, and in all if known


class DownloadError(OSError):
    """Raised where weights cannot be downloaded; no part of the file is kept."""


def cache_folder() -> Path:
    """Return the folder for downloads: `KCNN_CACHE`, or the one that the operating system has for caches."""
    return Path(os.environ.get("KCNN_CACHE") or user_cache_dir("kcnn", appauthor=False))


def download(weights: Weights) -> Path:
    """Return the file of published weights, from the cache or downloaded.

    A download has a temporary name until its checksum is verified. A killed one is resumed, and two processes at once
    download one copy.

    Args:
        weights: The weights.

    Returns:
        The file in the cache.

    Raises:
        DownloadError: No network, no such file, no space, or another checksum than published.
    """
    from filelock import FileLock

    file = weights.url.rpartition("/")[2]
    folder = hashlib.sha256(weights.url.encode()).hexdigest()[:8]  # two publishers may use one name
    target = cache_folder() / "weights" / weights.source / folder / file
    if _is_cached(target, weights.checksum):
        return target
    locks = cache_folder() / "locks"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"cannot write to the cache folder {cache_folder()}: {error}; set KCNN_CACHE to another"
        ) from None
    with FileLock(locks / f"{folder}-{file}.lock"):
        if not _is_cached(target, weights.checksum):
            _download_to(weights, target)
    return target


def _is_cached(target: Path, checksum: str | None) -> bool:
    """Whether the cache has the file as it was published: one damaged since then is downloaded again."""
    return target.exists() and _has_checksum(target, checksum)


def _download_to(weights: Weights, target: Path) -> None:
    url = _url(weights)
    part = target.with_name(f"{target.name}.part")
    if weights.checksum is None:
        part.unlink(missing_ok=True)  # without a checksum two parts might belong to different files
    is_resumed = part.exists()
    try:
        with _Bar(target.name) as progress:
            _download(url, part, progress)
            if not _has_checksum(part, weights.checksum) and is_resumed:  # the old part may be of another file
                part.unlink()
                _download(url, part, progress)
        if not _has_checksum(part, weights.checksum):
            raise DownloadError(
                f"{url} is not the file that {weights.source} published: its checksum is not {weights.checksum}; "
                "it was deleted. Try again, or another mirror"
            )
        if weights.checksum is None:
            _check_readable(part, url)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"cannot write {url} to {target.parent}: {error}") from error


def _url(weights: Weights) -> str:
    mirror = os.environ.get("KCNN_WEIGHTS_MIRROR")
    if not mirror:
        return weights.url
    base = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
    return f"{base.rstrip('/')}/{weights.url.rpartition('/')[2]}"


def _download(url: str, part: Path, progress: Progress) -> None:
    if urlsplit(url).scheme == "file":
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise DownloadError(f"file not found: {source}")
        shutil.copyfile(source, part)
        return
    failure = ""
    tag: str | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        done, failure, tag = _resume(url, part, tag, progress)
        if done:
            return
    raise DownloadError(f"cannot download {url} ({failure}); check the network, or set KCNN_WEIGHTS_MIRROR")


def _resume(url: str, part: Path, tag: str | None, progress: Progress) -> tuple[bool, str, str | None]:
    """One attempt from the end of the part: whether it is complete, what failed, the server's tag of the file."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
            if response.status_code == 416:  # nothing after the part: it is complete, or of another file
                size = response.headers.get("Content-Range", "").rpartition("/")[2]
                if size == str(have):
                    return True, "", tag
                part.unlink()
                return False, "the server has another file now", None
            if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
                raise DownloadError(
                    f"cannot download {url}: the server responded {response.status_code} {response.reason}"
                )
            if not response.ok:
                return False, f"the server responded {response.status_code} {response.reason}", tag
            if response.status_code != 206:
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
            tag = response.headers.get("ETag", tag)
            if total is not None and have != total:
                return False, f"connection lost after {have} of {total} bytes", tag
            return True, "", tag
    except requests.RequestException as error:
        return False, _innermost_reason(error), tag


def _innermost_reason(error: Exception) -> str:
    """The text of the innermost cause of a network error, without those wrapped around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__


def _check_readable(part: Path, url: str) -> None:
    """Refuse a web page or a part of a file where there is no checksum."""
    from kcnn.weights.formats import read_weights

    try:
        read_weights(part)
    except ValueError as error:
        raise DownloadError(f"{url} is not a weights file, so it was deleted: {error}") from None


def _has_checksum(part: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    kind, _, digits = checksum.partition(":")
    with part.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest().startswith(digits)


class _Bar:
    """A progress bar on a terminal, and nothing elsewhere."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.task = self.bars.add_task(name, total=None)

    def __enter__(self) -> Progress:
        self.bars.start()
        return lambda done, total: self.bars.update(self.task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.bars.stop()
