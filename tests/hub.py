"""A server that answers as the Hugging Face Hub does: redirects, etags, ranges, uploads and its kinds of refusal."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")  # files that are uploaded to another host, then named in a commit


class HubServer(ThreadingHTTPServer):
    """Serves {(repository, revision): {file: content}}; `refusals` are (status, X-Error-Code) by repository.

    Large files are redirected to another host, as the Hub does it.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.refusals, self.requests, self.damaged, self.stored = {}, {}, [], set(), {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repository, files, revision="main"):
        self.files[repository, revision] = self.files[repository, COMMIT] = files


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def do_POST(self):
        """Create a repository, or take a commit: small files in its lines of JSON, large ones stored before."""
        server, parts = self.server, self.path.partition("?")[0].strip("/").split("/")
        body = self.read_body()
        server.requests.append((self.command, self.path, self.headers.get("Authorization")))
        if not self.headers.get("Authorization"):
            return self.refuse(401, "")
        if parts[:2] == ["api", "validate-yaml"]:
            return self.send_json({"errors": [], "warnings": []})
        if parts[:3] == ["api", "repos", "create"]:
            return self.create_repository(json.loads(body))
        if parts[0] == "lfs":
            is_stored = json.loads(body)["oid"] in server.stored
            return self.send_json({}) if is_stored else self.refuse(404, "")
        if parts[2:] == ["info", "lfs", "objects", "batch"]:
            return self.offer_storage(json.loads(body))
        repository, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular"} for path in paths]
            return self.send_json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        return self.commit(repository, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self):
        """Store a large file, as the host to which the Hub refers does: without a token."""
        content, digits = self.read_body(), self.path.rpartition("/")[2]
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization")))
        if hashlib.sha256(content).hexdigest() != digits:
            return self.refuse(400, "")
        self.server.stored[digits] = content
        return self.send_json({})

    def create_repository(self, request):
        server, repository = self.server, f"{request['organization']}/{request['name']}"
        if repository in server.refusals:
            return self.refuse(*server.refusals[repository])
        exists = any(name == repository for name, _ in server.files)
        return self.send_json({"url": f"{server.url}/{repository}"}, 409 if exists else 200)

    def offer_storage(self, request):
        def offer(one):
            actions = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}
            return {**one, "actions": {**actions, "verify": {"href": f"{self.server.url}/lfs/verify"}}}

        self.send_json({"transfer": "basic", "objects": [offer(one) for one in request["objects"]]})

    def commit(self, repository, lines):
        server, files = self.server, dict(self.server.files.get((repository, "main"), {}))
        for value in (line["value"] for line in lines if line["key"] in ("file", "lfsFile")):
            is_large = "oid" in value
            files[value["path"]] = server.stored[value["oid"]] if is_large else base64.b64decode(value["content"])
        server.add(repository, files)
        self.send_json({"commitUrl": f"{server.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT})

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send_json(self, value, status=200):
        self.send(status, True, json.dumps(value).encode(), "", {"Content-Type": "application/json"})

    def answer(self, with_body):
        server = self.server
        server.requests.append((self.command, self.path, self.headers.get("Authorization")))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "cdn":
            return self.send(200, with_body, server.files[f"{parts[1]}/{parts[2]}", COMMIT][parts[3]], parts[3])
        repository = "/".join(parts[:2])
        if repository in server.refusals:
            status, code = server.refusals[repository]
            return self.refuse(status, code)
        if not any(name == repository for name, _ in server.files):
            return self.refuse(401, "RepoNotFound")
        files = server.files.get((repository, parts[3]))
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        if parts[4] not in files:
            return self.refuse(404, "EntryNotFound")
        content = files[parts[4]]
        if parts[4].endswith((".json", ".md")):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.send(200, with_body, content, parts[4], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        digits = hashlib.sha256(content).hexdigest()
        return self.send(
            302,
            False,
            b"",
            parts[4],
            {
                "X-Linked-Etag": f'"{digits}"',
                "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": COMMIT,
                "Location": f"{server.url.replace('127.0.0.1', 'localhost')}/cdn/{repository}/{parts[4]}",
            },
        )

    def refuse(self, status, code):
        self.send(status, True, b"{}", "", {"X-Error-Code": code, "X-Error-Message": f"no: {code}"})

    def send(self, status, with_body, content, file, headers=None):
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if file in self.server.damaged and with_body:
            content = content[:-1] + bytes([content[-1] ^ 1])
        body = content[start:]
        self.send_response(206 if start else status)
        for name, value in {"Content-Length": str(len(body)), "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body and self.command != "HEAD":  # a client waits for as many bytes as the header says
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    """Start a server; stop it with `shutdown`."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
