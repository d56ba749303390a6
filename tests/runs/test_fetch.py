"""Download weights completely or not at all, from a real server that misbehaves."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save_file

from kcnn import Weights
from kcnn.weights import downloads
from kcnn.weights.downloads import DownloadError, SlowDownloadError, download

BODY = hashlib.shake_256(b"weights").digest(3_000_000)
DIGITS = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY under any name; `cuts` are the bytes after which each next response is cut."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.requests, self.status, self.ranges, self.pause, self.body = [], [], 200, True, 0.0, BODY
        self.chunk, self.stall, self.headers = 100_000, 0.0, {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server = self.server
        requested = self.headers.get("Range")
        server.requests.append(requested)
        threading.Event().wait(server.stall)
        if 300 <= server.status < 400:
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            return
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and server.ranges else 0
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.body[start:]
        self.send_response(206 if start else 200)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"one"', **server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(body)
        for at in range(0, min(cut, len(body)), server.chunk):
            self.wfile.write(body[at : min(at + server.chunk, cut)])
            self.wfile.flush()
            threading.Event().wait(server.pause)  # time.sleep is patched away below
        if cut < len(body):
            self.wfile.flush()
            self.connection.close()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KCNN_WEIGHTS_MIRROR", raising=False)
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    return tmp_path / "cache"


def weights(url, digits=f"sha256:{DIGITS}"):
    facts = {"mapping": "own", "accuracy": None, "citation": "none", "license": "none"}
    return Weights(url=url, checksum=digits, source="tests", **facts)


def list_files(cache):
    return sorted(f.name for f in (cache / "weights").rglob("*") if f.is_file())


def folder(cache, url):
    """Where the file of a URL is kept: two publishers may give one name to two files."""
    return cache / "weights" / "tests" / hashlib.sha256(url.encode()).hexdigest()[:8]


def test_download_uses_the_cache(server, cache):
    path = download(weights(server.url))
    assert path.read_bytes() == BODY
    assert download(weights(server.url)) == path
    assert server.requests == [None]
    assert list_files(cache) == ["weights.bin"]


@pytest.mark.parametrize("digits", [f"sha256:{DIGITS}", f"sha256:{DIGITS[:8]}", f"md5:{hashlib.md5(BODY).hexdigest()}"])
def test_download_checks_every_kind_of_checksum(server, digits):
    assert download(weights(server.url, digits)).read_bytes() == BODY


def test_download_without_a_checksum_keeps_only_a_weights_file(server, cache, tmp_path):
    server.body = b"<html>log in first</html>"
    with pytest.raises(DownloadError, match=r"is not a weights file, so it was deleted"):
        download(weights(server.url, None))
    assert list_files(cache) == []
    save_file({"a/b": np.zeros(3)}, tmp_path / "good")
    server.body = (tmp_path / "good").read_bytes()
    assert download(weights(server.url, None)).read_bytes() == server.body


def test_download_replaces_a_damaged_file_in_the_cache(server, cache):
    path = download(weights(server.url))
    path.write_bytes(BODY[:1000] + b"!" + BODY[1001:])
    assert download(weights(server.url)).read_bytes() == BODY
    assert server.requests == [None, None]


def test_download_keeps_two_files_of_one_name(server, cache):
    first = download(weights(server.url))
    server.body = BODY[::-1]
    other = server.url.replace("weights.bin", "other/weights.bin")
    second = download(weights(other, f"sha256:{hashlib.sha256(server.body).hexdigest()}"))
    assert (first.name, first.read_bytes()) == (second.name, second.read_bytes()[::-1])


def test_download_resumes_after_a_lost_connection(server, cache):
    server.cuts = [1_000_000, 500_000]
    assert download(weights(server.url)).read_bytes() == BODY
    first, second, third = server.requests
    assert first is None
    assert 900_000 < int(second[6:-1]) <= 1_000_000
    assert int(second[6:-1]) + 400_000 < int(third[6:-1])


def test_download_restarts_from_a_server_without_ranges(server, cache):
    server.cuts, server.ranges = [1_000_000], False
    assert download(weights(server.url)).read_bytes() == BODY


def test_download_gives_up_after_several_lost_connections(server, cache):
    server.cuts, server.ranges = [1000] * 9, False
    with pytest.raises(DownloadError, match=r"cannot download \S+weights.bin .*check the network"):
        download(weights(server.url))
    assert list_files(cache) == []
    assert len(server.requests) == downloads.ATTEMPTS


def test_download_refuses_another_file_than_published(server, cache):
    server.body = BODY[:-1] + b"!"
    with pytest.raises(DownloadError, match=r"is not the file that tests published: its checksum is not sha256:"):
        download(weights(server.url))
    assert list_files(cache) == []


@pytest.mark.parametrize("status", [404, 403])
def test_download_of_a_missing_file_sends_one_request(server, cache, status):
    server.status = status
    with pytest.raises(DownloadError, match=f"the server responded {status}"):
        download(weights(server.url))
    assert len(server.requests) == 1
    assert list_files(cache) == []


def test_download_without_a_network_raises_one_error(server, cache):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"cannot download \S+ \(.*refused.*\)"):
        download(weights(url))
    assert list_files(cache) == []


def test_download_takes_a_mirror_or_a_folder(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", server.url.rpartition("/")[0])
    assert download(weights("https://nowhere.invalid/a/weights.bin")).read_bytes() == BODY
    (tmp_path / "other.bin").write_bytes(BODY)
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(tmp_path))
    assert download(weights("https://nowhere.invalid/a/other.bin")).read_bytes() == BODY
    with pytest.raises(DownloadError, match="file not found"):
        download(weights("https://nowhere.invalid/a/third.bin"))


def test_download_checks_a_file_url(tmp_path, cache):
    (tmp_path / "own.bin").write_bytes(BODY[:100])
    with pytest.raises(DownloadError, match="its checksum is not"):
        download(weights((tmp_path / "own.bin").as_uri()))
    assert list_files(cache) == []


def test_download_to_a_cache_that_is_not_writable_names_the_variable(tmp_path, server, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="set KCNN_CACHE"):
        download(weights(server.url))


def test_download_to_a_full_disk_raises_one_error(server, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.os, "replace", full)
    with pytest.raises(DownloadError, match="No space left"):
        download(weights(server.url))
    assert list_files(cache) == []


def test_download_that_is_too_slow_ends_in_one_error_and_is_resumed(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "RATE_SECONDS", 0.5)
    server.chunk, server.pause = 10, 0.05  # 200 bytes a second
    with pytest.raises(
        SlowDownloadError, match=r"weights.bin is too slow: \d+ bytes in 0.5 seconds, expected at least 1024"
    ):
        download(weights(server.url))
    assert list_files(cache) == ["weights.bin.part"]
    have = (folder(cache, server.url) / "weights.bin.part").stat().st_size
    server.chunk, server.pause = 100_000, 0.0
    assert download(weights(server.url)).read_bytes() == BODY
    assert (0 < have < 500, server.requests) == (True, [None, f"bytes={have}-"])


def test_download_that_takes_too_long_ends_in_one_error_and_is_resumed(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "LONGEST", 0.5)
    server.pause = 0.1  # 1 MB a second
    with pytest.raises(
        SlowDownloadError, match=r"weights.bin took more than 0.5 seconds; run the command again to res"
    ):
        download(weights(server.url))
    server.pause = 0.0
    assert download(weights(server.url)).read_bytes() == BODY
    assert server.requests[1] is not None


def test_download_does_not_take_a_slow_disk_for_a_slow_server(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "RATE_SECONDS", 0.2)
    monkeypatch.setattr(downloads, "LEAST_RATE", 500_000)
    update, stalls = downloads._Bar.__enter__, iter([0.5])

    def enter(bar):
        progress = update(bar)
        return lambda done, total: (threading.Event().wait(next(stalls, 0.0)), progress(done, total))[1]

    monkeypatch.setattr(downloads._Bar, "__enter__", enter)
    assert download(weights(server.url)).read_bytes() == BODY
    assert server.requests == [None]


def test_download_without_a_checksum_does_not_promise_to_resume(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "RATE_SECONDS", 0.5)
    server.chunk, server.pause = 10, 0.05  # 200 bytes a second
    with pytest.raises(SlowDownloadError, match="run the command again to start it anew"):
        download(weights(server.url, None))
    assert list_files(cache) == []


def test_download_does_not_wait_for_a_silent_server(server, monkeypatch):
    monkeypatch.setattr(downloads, "RATE_SECONDS", 0.3)
    server.stall = 2.0
    with pytest.raises(SlowDownloadError, match=r"0 bytes in 0\.3 seconds"):
        download(weights(server.url))


def test_download_does_not_wait_for_headers_that_come_byte_by_byte(monkeypatch):
    monkeypatch.setattr(downloads, "RATE_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        connection, _ = listener.accept()
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 60:
                connection.sendall(bytes([byte]))
                threading.Event().wait(0.05)
        connection.close()

    threading.Thread(target=drip, daemon=True).start()
    with pytest.raises(SlowDownloadError, match=r"0 bytes in 0\.3 seconds"):
        download(weights(f"http://127.0.0.1:{listener.getsockname()[1]}/weights.bin"))
    listener.close()


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "javascript:x", "gopher://x", "https://"),
        *("http://[::1", "http://[junk]/", "//[", "http://\xff\xfe/", "http://a b/", "http://127.0.0.1:junk/"),
        *("http://.../x", "http://" + "a" * 70 + "/"),
    ],
)
def test_download_refuses_redirects_to_junk_and_other_schemes(server, cache, location):
    server.status, server.headers = 302, {"Location": location}
    with pytest.raises(DownloadError, match=r"cannot download http://127\S+weights.bin: the server (redirects|sent)"):
        download(weights(server.url))
    assert list_files(cache) == []
    assert server.requests == [None]


def test_download_follows_redirects_on_the_server_and_not_in_circles(server, cache):
    server.status, server.headers = 302, {"Location": "/elsewhere.bin"}
    with pytest.raises(DownloadError, match="redirects more than 10 times"):
        download(weights(server.url))
    other = Server()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    server.headers = {"Location": other.url}
    assert download(weights(server.url)).read_bytes() == BODY
    other.shutdown()
    other.server_close()


@pytest.mark.parametrize("url", ["https://[junk/w.h5", "ftp://a.b/w.h5", "w.h5", "http:///w.h5"])
def test_download_refuses_an_address_of_another_kind(url):
    with pytest.raises(DownloadError, match=r"cannot download .*w\.h5: (not an address|expected an address)"):
        download(weights(url))


def test_download_refuses_a_body_that_is_larger_than_any_weights(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST", 1_000_000)
    with pytest.raises(DownloadError, match="it has more than 1,000,000 bytes"):
        download(weights(server.url))
    server.headers = {"Content-Length": "none"}  # not told before
    with pytest.raises(DownloadError, match="it has more than 1,000,000 bytes"):
        download(weights(server.url))
    assert list_files(cache) == []


CODE = """
import sys
from kcnn import Weights
from kcnn.weights.downloads import download
facts = {"source": "tests", "mapping": "own", "accuracy": None, "citation": "none", "license": "none"}
print(download(Weights(url=sys.argv[1], checksum=sys.argv[2], **facts)))
"""


def process(server):
    words = [sys.executable, "-c", CODE, server.url, f"sha256:{DIGITS}"]
    return subprocess.Popen(words, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_download_resumes_after_a_kill(server, cache):
    server.pause = 0.05
    killed = process(server)
    part = folder(cache, server.url) / "weights.bin.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 500_000):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list_files(cache) == ["weights.bin.part"]
    have = part.stat().st_size
    server.pause = 0
    assert download(weights(server.url)).read_bytes() == BODY
    assert server.requests == [None, f"bytes={have}-"]
    assert list_files(cache) == ["weights.bin"]


def test_download_discards_a_part_of_another_file(server, cache):
    there = folder(cache, server.url)
    there.mkdir(parents=True)
    (there / "weights.bin.part").write_bytes(b"x" * 1000)
    assert download(weights(server.url)).read_bytes() == BODY
    assert server.requests == ["bytes=1000-", None]


def test_download_by_two_processes_sends_one_request(server, cache):
    server.pause = 0.02
    both = [process(server), process(server)]
    answers = [p.communicate(timeout=60) for p in both]
    assert [out.strip() for out, _ in answers] == [str(folder(cache, server.url) / "weights.bin")] * 2, answers
    assert server.requests == [None]


def test_weights_refuse_an_unknown_kind_of_checksum():
    with pytest.raises(ValueError, match='checksum must be "md5:" or "sha256:"'):
        weights("https://nowhere.invalid/x", "sha1:abc")
