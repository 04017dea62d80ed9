"""A model hub on loopback that speaks the real hub's API, with faults on request.

It answers what `huggingface_hub` asks for: repository information with the files' checksums, the
tree listing page by page, and `resolve` with HEAD, GET and Range. Large files are stored as on the
real hub: `resolve` redirects to a second host, which knows no login. A fault is armed with
`hub.fail(...)` and used up by the requests that match it.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub.uploads import Uploads

_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree)/([^/]+)$")
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


@dataclass
class Repository:
    """A repository at one commit: its files, and which of them are stored as large ones."""

    files: dict[str, bytes]
    revision: str
    licence: str | None = None
    large: tuple[str, ...] = (".safetensors", ".parquet")
    token: str | None = None  # needed to read it
    gated: bool = False

    def is_large(self, name: str) -> bool:
        """Whether a file is stored outside git."""
        return name.endswith(self.large)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path contains `path`.

    Attributes:
        status: answer with this status, and `headers`.
        cut_after: close the connection after that many bytes of the body.
        corrupt: send the right number of wrong bytes.
        ignore_range: answer a range request with the whole file.
        hold_after: send that many bytes of the body, then nothing until the client is gone.
        body: send this instead.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    corrupt: bool = False
    ignore_range: bool = False
    hold_after: int | None = None
    body: bytes | None = None


@dataclass(frozen=True)
class Request:
    """One request that arrived."""

    host: str  # hub or storage
    method: str
    path: str
    headers: dict[str, str]


class LoopbackHub:
    """The hub and its storage host, running from `__enter__` to `__exit__`.

    `url` is what HF_ENDPOINT has to be; `requests` lists what was asked, in order.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.plain: dict[str, bytes] = {}  # files at /plain/NAME, outside any repository
        self.requests: list[Request] = []
        self.writer = "hf_writer"  # the token that may upload
        self.stored: dict[str, bytes] = {}  # uploaded large files by SHA-256
        self.page_size = 1000
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers = [self._server("hub"), self._server("storage")]
        self._threads = [
            threading.Thread(target=s.serve_forever, args=(0.02,)) for s in self._servers
        ]
        self.url, self.storage_url = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)

    def __enter__(self) -> "LoopbackHub":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def add(self, repo_type: str, name: str, files: dict[str, bytes], **facts) -> Repository:
        """Add a repository (`model` or `dataset`); its revision follows from its content."""
        content = json.dumps(sorted((n, git_sha1(data)) for n, data in files.items()))
        repository = Repository(files, hashlib.sha1(content.encode()).hexdigest(), **facts)
        self.repositories[f"{repo_type}s", name] = repository
        return repository

    def fail(self, path: str, **how) -> Fault:
        """Arm a fault."""
        fault = Fault(path, **how)
        self._faults.append(fault)
        return fault

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests of a method whose path contains `path`."""
        return [r for r in self.requests if path in r.path and r.method == method]

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The first armed fault for a request, used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def _server(self, host: str) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self, "host": host})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        return server


class _Handler(Uploads, BaseHTTPRequestHandler):
    hub: LoopbackHub
    host: str
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Tests read `LoopbackHub.requests` instead."""

    def note(self) -> bytes:
        """Note the request, and return its body."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.host, self.command, unquote(self.path), headers))
        return self.rfile.read(int(headers.get("content-length", 0)))

    def _answer(self) -> None:
        self.note()
        fault = self.hub.take_fault(self.command, unquote(self.path))
        if fault and fault.status:
            self._send(fault.status, b"something went wrong", fault.headers)
            return
        path = unquote(urlsplit(self.path).path)
        if self.host == "storage":
            self._storage(path, fault)
        elif path.startswith("/plain/"):
            self._file(self.hub.plain.get(path.removeprefix("/plain/")), {}, fault)
        elif match := _API.match(path):
            self._api(*match.groups(), fault)
        elif match := _RESOLVE.match(path):
            self._resolve(match, fault)
        else:
            self._send(404, b"", {})

    def _api(self, kind: str, name: str, what: str, revision: str, fault: Fault | None) -> None:
        repository = self._allowed(kind, name, revision)
        if repository is None:
            return
        if what == "tree":
            self._tree(repository, fault)
            return
        with_blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [_sibling(repository, n, with_blobs) for n in repository.files]
        info = {
            "_id": repository.revision[:24],
            "id": name,
            "author": name.split("/")[0],
            "sha": repository.revision,
            "private": repository.token is not None,
            "gated": "manual" if repository.gated else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "cardData": {"license": repository.licence} if repository.licence else {},
            "siblings": siblings,
        }
        self._json(info, {}, fault)

    def _tree(self, repository: Repository, fault: Fault | None) -> None:
        query = parse_qs(urlsplit(self.path).query)
        start = int(query.get("cursor", ["0"])[0])
        names = sorted(repository.files)
        page = [_entry(repository, n) for n in names[start : start + self.hub.page_size]]
        headers = {}
        if start + self.hub.page_size < len(names):
            here = urlsplit(self.path).path
            link = f"{self.hub.url}{here}?recursive=True&cursor={start + self.hub.page_size}"
            headers["Link"] = f'<{link}>; rel="next"'
        self._json(page, headers, fault)

    def _resolve(self, match: re.Match[str], fault: Fault | None) -> None:
        kind = "datasets" if match[1] else "models"
        repository = self._allowed(kind, match[2], match[3])
        if repository is None:
            return
        content = repository.files.get(match[4])
        if content is None:
            self._send(404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
            return
        commit = {"X-Repo-Commit": repository.revision}
        if not repository.is_large(match[4]):
            self._file(content, {**commit, "ETag": f'"{git_sha1(content)}"'}, fault)
            return
        if fault:
            fault.times += 1  # a redirect has no body to spoil: it waits for the file itself
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {
            **commit,
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.storage_url}/{sha256}/{quote(match[4])}",
        }
        self._send(302, b"", headers)

    def _storage(self, path: str, fault: Fault | None) -> None:
        for repository in self.hub.repositories.values():
            for content in repository.files.values():
                digest = hashlib.sha256(content).hexdigest()
                if path.startswith(f"/{digest}/"):
                    self._file(content, {"ETag": f'"{digest}"'}, fault)
                    return
        self._send(404, b"", {})

    def _allowed(self, kind: str, name: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get((kind, name))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository and repository.gated and token != repository.token:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif repository is None or (repository.token and token != repository.token):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (repository.revision, "main"):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _file(self, content: bytes | None, headers: dict[str, str], fault: Fault | None) -> None:
        if content is None:
            self._send(404, b"", {})
            return
        body, status, headers = content, 200, {**headers, "Accept-Ranges": "bytes"}
        if fault and fault.body is not None:
            body = fault.body
        if fault and fault.corrupt:
            body = bytes(255 - byte for byte in body)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and not (fault and fault.ignore_range):
            start = int(asked[1])
            if start >= len(body):
                self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:]
        self._send(status, body, headers, fault)

    def _json(self, value: object, headers: dict[str, str], fault: Fault | None) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {**headers, "Content-Type": "application/json"}, fault)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.cut_after is not None:
            body = body[: fault.cut_after]
            self.close_connection = True
        held = bool(fault and fault.hold_after is not None)
        try:
            self.wfile.write(body[: fault.hold_after] if held else body)
            self.wfile.flush()
            if held:
                self.rfile.read(1)  # the client asks nothing more: this returns when it is gone
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed


def git_sha1(content: bytes) -> str:
    """The id of a git blob with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(repository: Repository, name: str, with_blobs: bool) -> dict:
    if not with_blobs:
        return {"rfilename": name}
    content = repository.files[name]
    sibling = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
    if repository.is_large(name):
        digest = hashlib.sha256(content).hexdigest()
        sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
    return sibling


def _entry(repository: Repository, name: str) -> dict:
    content = repository.files[name]
    entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
    if repository.is_large(name):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry
