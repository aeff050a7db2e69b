"""A small stand-in for the Hugging Face Hub on the loopback address: listings, sizes, ETags, ranges, uploads, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 3  # entries of a listing's page; the hub's own is 1000


@dataclass
class Hub:
    """State of the server.

    Args:
        files: contents by path, for whatever repository is asked for.
        commit: what branches resolve to.
        break_after: bytes after which the connection breaks, once, by path.
        fail: answers of status 503 still to give, by path.
        listed_size: sizes that the listing claims instead of the true ones, by path.
    """

    files: dict[str, bytes]
    commit: str = "c" * 40
    break_after: dict[str, int] = field(default_factory=dict)
    fail: Counter[str] = field(default_factory=Counter)
    listed_size: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    url: str = ""

    def gets(self, path: str) -> list[str | None]:
        """Ranges of the downloads of a file, None for a whole one."""
        return [span for method, name, span in self.requests if method == "GET" and name == path]

    def downloads(self) -> list[str]:
        """Paths of all downloads begun."""
        return [name for method, name, _ in self.requests if method == "GET" and name in self.files]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the server on a free port."""

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        """Uploads: a repository is made, files are asked for in the commit itself, a commit brings them."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.state.requests.append(("POST", path, None))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            return self._json({"url": f"{self.state.url}/{name}", "id": name})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in path:
            asked = [entry["path"] for entry in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in asked]
            return self._json({"files": modes})
        if "/commit/" in path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.state.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            done = {"commitUrl": f"{self.state.url}/{name}/commit/{self.state.commit}", "commitOid": self.state.commit}
            return self._json({**done, "pullRequestUrl": None})
        return self._missing("RepoNotFound")

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith("/api/datasets/") and "/tree/" in path:
            self._tree(
                path.partition("/tree/")[2].partition("/")[2], int(parse_qs(parts.query).get("cursor", ["0"])[0])
            )
        elif path.startswith("/api/datasets/"):
            self._json({"id": "LEAP/any", "sha": self.state.commit, "siblings": []})
        elif "/resolve/" in path:
            self._file(path.partition("/resolve/")[2].partition("/")[2])
        else:
            self._missing("RepoNotFound")

    def _tree(self, folder: str, start: int) -> None:
        state = self.state
        state.requests.append((self.command, f"tree:{folder}", None))
        inside = [path for path in sorted(state.files) if path.startswith(f"{folder}/")]
        entries: dict[str, dict] = {}
        for path in inside:
            name = path.removeprefix(f"{folder}/")
            if "/" in name:
                child = f"{folder}/{name.partition('/')[0]}"
                entries[child] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": child}
            else:
                size = state.listed_size.get(path, len(state.files[path]))
                entries[path] = {"type": "file", "oid": "0" * 40, "size": size, "path": path}
        if not entries:
            return self._missing("EntryNotFound")
        page = list(entries.values())[start : start + PAGE]
        more = {}
        if start + PAGE < len(entries):
            address = urlsplit(self.path).path
            more = {"Link": f'<{state.url}{address}?recursive=False&expand=False&cursor={start + PAGE}>; rel="next"'}
        return self._json(page, more)

    def _file(self, path: str) -> None:
        state = self.state
        span = self.headers.get("Range")
        state.requests.append((self.command, path, span))
        content = state.files.get(path)
        if content is None:
            return self._missing("EntryNotFound")
        if self.command == "GET" and state.fail[path] > 0:
            state.fail[path] -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        first = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        body = content[first:]
        self.send_response(206 if span else 200)
        self.send_header("X-Repo-Commit", state.commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if span:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        stop = state.break_after.pop(path, None)
        self.wfile.write(body[:stop])
        if stop is not None:
            self.wfile.flush()
            self.close_connection = True
        return None

    def _json(self, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
