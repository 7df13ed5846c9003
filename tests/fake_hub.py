"""A hub on 127.0.0.1 that speaks enough of the Hugging Face hub's protocol for its real client, and can misbehave."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pymoshi.hub.catalog import Catalog, parse_catalog

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1000  # bytes; files from here on are "LFS" files: kept by SHA-256 on a storage host, reached by redirection


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    start: int  # first byte asked for
    token: str


@dataclass
class FakeHub:
    """Files by (repository, path), and what shall go wrong."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    gated: dict[str, int] = field(default_factory=dict)  # repository -> status without the right token
    token: str = ""  # the token that opens gated repositories
    renamed: dict[str, str] = field(default_factory=dict)  # old repository -> new one
    break_after: int | None = None  # bytes after which the storage host drops a connection, once
    storage_status: int = 200  # what the storage host answers with, if not the file
    corrupt: bool = False  # the storage host changes a byte
    links_work_once: bool = False  # a link to the storage host runs out after one download
    links: int = 0  # given out
    used: set[str] = field(default_factory=set)
    commit: str = COMMIT
    status: int = 200  # what the hub answers to everything

    def downloads(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(path)]


def checksum(content: bytes) -> dict[str, str]:
    """As a catalog states it: SHA-256 for large files, git's blob id for small ones."""
    if len(content) >= LARGE:
        return {"sha256": hashlib.sha256(content).hexdigest()}
    return {"git_sha1": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}


def catalog_of(hub: FakeHub, models: dict[str, Any], gated: tuple[str, ...] = ()) -> Catalog:
    """A catalog of what the hub holds; `models` as in catalog.json."""
    repos: dict[str, Any] = {}
    for (repo, path), content in hub.files.items():
        entry = repos.setdefault(repo, {"revision": COMMIT, "gated": repo in gated, "files": {}})
        entry["files"][path] = {"size": len(content), **checksum(content)}
    licence = {"name": "Licence of Tests", "url": "https://example.org/licence", "text": "Do as you like."}
    return parse_catalog({"licences": {"test": licence}, "models": models, "repos": repos})


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serves the hub for the duration of a `with`."""

    class Handler(_Handler):
        pass

    Handler.hub = hub

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that hangs up in the middle is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._note()
        if self.path.startswith("/storage/"):
            return self._empty(405)
        return self._resolve()

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/storage/"):
            return self._storage()
        return self._resolve()

    def _note(self) -> None:
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.requests.append(Request(self.command, self.path.partition("?")[0], int(asked), token))

    def _resolve(self) -> None:
        """/owner/name/resolve/revision/path"""
        if self.hub.status != 200:
            return self._empty(self.hub.status)
        parts = self.path.lstrip("/").split("/", 4)
        if len(parts) < 5 or parts[2] != "resolve":  # the client asks for other things, too, e.g. to name itself
            return self._empty(404)
        repo, path = "/".join(parts[:2]), parts[4]
        if repo in self.hub.renamed:
            return self._empty(307, {"Location": self.path.replace(repo, self.hub.renamed[repo])})
        if repo in self.hub.gated and (
            not self.hub.token or self.headers.get("Authorization") != f"Bearer {self.hub.token}"
        ):
            return self._empty(self.hub.gated[repo], {"X-Error-Code": "GatedRepo"})
        if not any(repo == known for known, _ in self.hub.files):
            return self._empty(404, {"X-Error-Code": "RepoNotFound"})
        content = self.hub.files.get((repo, path))
        if content is None:
            return self._empty(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.hub.commit})
        digest = next(iter(checksum(content).values()))
        headers = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{digest}"'}
        if len(content) >= LARGE:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            other_host = self.hub.url.replace("127.0.0.1", "localhost")
            self.hub.links += 1
            location = f"{other_host}/storage/{repo}/{path}?link={self.hub.links}"
            return self._empty(302, {**headers, "Location": location})
        return self._send(content, headers)

    def _storage(self) -> None:
        place, _, link = self.path.removeprefix("/storage/").partition("?")
        owner, name, path = place.split("/", 2)
        if self.hub.links_work_once and link in self.hub.used:
            return self._empty(403)
        self.hub.used.add(link)
        content = self.hub.files[f"{owner}/{name}", path]
        if self.hub.storage_status != 200:
            return self._empty(self.hub.storage_status)
        if self.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        return self._send(content, {})

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        start = self.hub.requests[-1].start
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.break_after is not None and self.path.startswith("/storage/"):
            body, self.hub.break_after = body[: self.hub.break_after], None
            self.close_connection = True
        self.wfile.write(body)

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
