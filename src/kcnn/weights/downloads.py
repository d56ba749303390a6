"""Download published weights once into a cache folder.

A download that is slower than `LEAST_RATE` over `RATE_SECONDS`, or that takes longer than `LONGEST`, ends in an error.
It keeps its part where the weights have a checksum, so that the next one resumes. Redirects lead to http and https
only, and from https to https only.

The environment variable `KCNN_CACHE` sets that folder; `KCNN_WEIGHTS_MIRROR` is a URL or folder to take files from, by
their names, instead of the publisher.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from kcnn.architectures.architecture import Weights
from kcnn.cache import cache_folder

ATTEMPTS = 5  # of one download, each resumed where the one before was cut
CHUNK = 1 << 16  # bytes; a cut connection loses at most one
LEAST_RATE = 1024  # bytes a second, on the mean of any RATE_SECONDS
RATE_SECONDS = 30.0
TICK = 1.0  # seconds of one wait
LONGEST = 6 * 3600.0  # seconds of one download
LARGEST = 8 << 30  # bytes; the largest published weights have 0.6 GB
REDIRECTS = 10
Progress = Callable[[int, int | None], None]  # bytes so far, and in all if known


class DownloadError(OSError):
    """Raised where weights cannot be downloaded; no part of the file is kept."""


class SlowDownloadError(DownloadError):
    """Raised where a download is too slow, or takes too long; the next resumes it if the weights have a checksum."""


def download(weights: Weights) -> Path:
    """Return the file of published weights, from the cache or downloaded.

    A download has a temporary name until its checksum is verified. A killed one is resumed, and two processes at once
    download one copy.

    Args:
        weights: The weights.

    Returns:
        The file in the cache.

    Raises:
        DownloadError: No network, no such file, no space, a redirect to elsewhere, or another checksum than published.
        SlowDownloadError: Less than 1 KiB/s for 30 seconds, or more than 6 hours; the next download resumes.
    """
    from filelock import FileLock

    target = _locate(weights)
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
    with FileLock(locks / f"{target.parent.name}-{target.name}.lock"):
        if not _is_cached(target, weights.checksum):
            _download_to(weights, target)
    return target


def find_cached(weights: Weights) -> Path | None:
    """Return the file of published weights in the cache; None where it was never downloaded, or is damaged."""
    target = _locate(weights)
    return target if _is_cached(target, weights.checksum) else None


def _locate(weights: Weights) -> Path:
    """The file of published weights in the cache."""
    folder = hashlib.sha256(weights.url.encode()).hexdigest()[:8]  # two publishers may use one name
    return cache_folder() / "weights" / weights.source / folder / weights.url.rpartition("/")[2]


def _is_cached(target: Path, checksum: str | None) -> bool:
    """Whether the cache has the file as it was published: one damaged since then is downloaded again."""
    return target.exists() and _has_checksum(target, checksum)


def _download_to(weights: Weights, target: Path) -> None:
    url = _url(weights)
    part = target.with_name(f"{target.name}.part")
    if weights.checksum is None:
        part.unlink(missing_ok=True)  # without a checksum two parts might belong to different files
    is_resumed, mirror = part.exists(), ", or set KCNN_WEIGHTS_MIRROR"
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
    except SlowDownloadError as error:
        if weights.checksum is None:
            part.unlink(missing_ok=True)
            raise SlowDownloadError(f"{error}; run the command again to start it anew{mirror}") from None
        raise SlowDownloadError(f"{error}; run the command again to resume it{mirror}") from None
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"cannot write {url} to {target.parent}: {error}") from error


def _url(weights: Weights) -> str:
    mirror = os.environ.get("KCNN_WEIGHTS_MIRROR")
    if not mirror:
        return weights.url
    base = mirror if "://" in mirror else Path(mirror).expanduser().resolve().as_uri()
    return f"{base.rstrip('/')}/{weights.url.rpartition('/')[2]}"


def _download(url: str, part: Path, progress: Progress) -> None:
    if _scheme(url) == "file":
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise DownloadError(f"file not found: {source}")
        shutil.copyfile(source, part)
        return
    failure = ""
    tag: str | None = None
    end = time.monotonic() + LONGEST
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        done, failure, tag = _resume(url, part, tag, progress, end)
        if done:
            return
    raise DownloadError(f"cannot download {url} ({failure}); check the network, or set KCNN_WEIGHTS_MIRROR")


def _scheme(url: str) -> str:
    """The scheme of an address; DownloadError where it is no address of a file or web server."""
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) if parts.scheme in ("http", "https") else parts.scheme == "file"
    except ValueError as error:
        raise DownloadError(f"cannot download {url}: not an address ({error})") from None
    if not is_complete:
        raise DownloadError(f"cannot download {url}: expected an address that begins with https://, http:// or file://")
    return parts.scheme


def _resume(url: str, part: Path, tag: str | None, progress: Progress, end: float) -> tuple[bool, str, str | None]:
    """One attempt from the end of the part: whether it is complete, what failed, the server's tag of the file."""
    import requests
    import urllib3

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    events = _limit_time(_request(url, headers), url, end)
    try:
        response = next(events)
        status, fields = response.status_code, response.headers
        if status == 416:  # nothing after the part: it is complete, or of another file
            size = fields.get("Content-Range", "").rpartition("/")[2]
            if size == str(have):
                return True, "", tag
            part.unlink()
            return False, "the server has another file now", None
        if 400 <= status < 500 and status not in (408, 429):
            raise DownloadError(f"cannot download {url}: the server responded {status} {response.reason}")
        if not response.ok:
            return False, f"the server responded {status} {response.reason}", tag
        if status != 206:
            have = 0
        length = fields.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        _check_size(url, total or 0)
        with part.open("ab" if have else "wb") as file:
            for chunk in events:
                have += len(chunk)
                _check_size(url, have)
                file.write(chunk)
                progress(have, total)
        tag = fields.get("ETag", tag)
        if total is not None and have != total:
            return False, f"connection lost after {have} of {total} bytes", tag
        return True, "", tag
    except ValueError as error:  # UnicodeError and requests' InvalidURL too: an address or a header that is none
        raise DownloadError(f"cannot download {url}: the server sent no valid response ({error})") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return False, _innermost_reason(error), tag
    finally:
        events.close()


def _check_size(url: str, size: int) -> None:
    if size > LARGEST:
        raise DownloadError(f"cannot download {url}: it has more than {LARGEST:,} bytes, which no weights have")


def _request(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """Yield the response that redirects lead to, then the chunks of its body as they come."""
    import requests

    address = url
    for _ in range(REDIRECTS):
        with requests.get(address, headers=headers, stream=True, timeout=(10, 60), allow_redirects=False) as response:
            location = response.headers.get("Location")
            if not response.is_redirect or location is None:
                yield response
                while chunk := response.raw.read1(CHUNK):
                    yield chunk
                return
        try:
            following = urljoin(address, location)
            scheme = _scheme(following)
        except (ValueError, DownloadError):
            scheme = ""
        if scheme not in ("http", "https") or (urlsplit(address).scheme == "https" and scheme == "http"):
            raise DownloadError(
                f"cannot download {url}: the server redirects to {ascii(location)[:200]}, not to https://"
            )
        address = following
    raise DownloadError(f"cannot download {url}: the server redirects more than {REDIRECTS} times")


def _limit_time(events: Iterator[Any], url: str, end: float) -> Generator[Any, None, None]:
    """Yield the events of a request as they come; SlowDownloadError where their bytes are too few, or time is up.

    Only the time spent waiting for the server counts, not that in which its bytes are written, or the process is
    stopped. The events come from a thread, since a server that sends a byte now and then keeps a read from returning. A
    thread that is still waiting when the download has ended stops at its next byte, or with the program.
    """
    queue: Queue[tuple[str, Any]] = Queue(maxsize=16)
    is_over = Event()

    def put(kind: str, value: Any) -> None:
        while not is_over.is_set():
            with suppress(Full):
                queue.put((kind, value), timeout=1)
                return

    def receive() -> None:
        try:
            for event in events:
                put("event", event)
                if is_over.is_set():
                    return
            put("end", None)
        except Exception as error:  # raised where the events are taken
            put("error", error)

    Thread(target=receive, daemon=True).start()
    received, waited = 0, 0.0
    try:
        while True:
            now = time.monotonic()
            if now >= end:
                raise SlowDownloadError(f"downloading {url} took more than {LONGEST:,g} seconds")
            if waited >= RATE_SECONDS:
                if received < LEAST_RATE * RATE_SECONDS:
                    raise SlowDownloadError(
                        f"downloading {url} is too slow: {received} bytes in {RATE_SECONDS:g} seconds, expected at "
                        f"least {LEAST_RATE} a second"
                    )
                received, waited = 0, 0.0
            tick = max(0.0, min(TICK, RATE_SECONDS - waited, end - now))
            try:
                kind, value = queue.get(timeout=tick)
            except Empty:
                continue
            finally:
                waited += min(time.monotonic() - now, tick)  # a process that is stopped meanwhile does not wait
            if kind == "error":
                raise value
            if kind == "end":
                return
            received += len(value) if isinstance(value, bytes) else 0
            yield value
    finally:
        is_over.set()


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
