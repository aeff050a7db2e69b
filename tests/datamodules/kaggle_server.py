"""A small stand-in for Kaggle on the loopback address, to which Kaggle's own client talks: submissions, scores, tables, refusals."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass
class Kaggle:
    """State of the server.

    Args:
        competitions: those that there are.
        status: what every request is answered with instead of its answer, where that is not 200.
        looks: how often a submission is seen unscored.
        score: public score that every submission gets; None = it cannot be scored.
        upload: status of uploads.
        message: what the judge says of a submission; without a ref it took none.
        tables: files of the competition, by the name under which they arrive; a packed one ends in .zip.
        fetched: names of the files that were asked for.
    """

    competitions: tuple[str, ...] = ("lish-moa",)
    status: int = 200
    looks: int = 1
    score: str | None = "0.01599"
    upload: int = 200
    ref: int = 4711
    message: str = "Successfully submitted"
    files: list[bytes] = field(default_factory=list)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    accounts: set[str] = field(default_factory=set)
    tables: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, name: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request."""
        if self.status != 200:
            return self.status, {"code": self.status, "message": "no"}
        if request.get("competitionName") not in self.competitions:
            return 404, {"code": 404, "message": "Not found"}
        if name == "StartSubmissionUpload":
            return 200, {"createUrl": "http://localhost/upload", "token": "blob"}
        if name == "CreateSubmission":
            self.submitted.append(request)
            return 200, {"message": self.message, "ref": self.ref}
        assert name == "ListSubmissions"
        mine = {"ref": self.ref, "fileName": "s.csv", "date": "2026-01-01T00:00:00Z", "status": "PENDING"}
        if self.submitted:
            self.looks -= 1
        if self.looks < 0:
            mine["status"] = "ERROR" if self.score is None else "COMPLETE"
            mine |= {"errorDescription": "Evaluation\nfailed"} if self.score is None else {"publicScore": self.score}
        older = mine | {"ref": 1, "status": "COMPLETE", "publicScore": "0.5"}
        return 200, {"submissions": [mine, older] if self.submitted else [older]}


@contextmanager
def serve(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    """Run the server on a free port; it is the proxy to the address that the client knows for tests, http://localhost."""

    class Handler(BaseHTTPRequestHandler):
        def _send(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            return b"".join(chunks)

        def do_POST(self) -> None:
            kaggle.accounts.add(self.headers.get("Authorization", ""))
            name, request = urlsplit(self.path).path.split("/")[-1], json.loads(self._body() or b"{}")
            if name != "DownloadDataFile" or kaggle.status != 200:
                self._send(*kaggle.answer(name, request))
                return
            kaggle.fetched.append(request["fileName"])
            self.send_response(302)
            (there,) = (table for table in kaggle.tables if table.removesuffix(".zip") == request["fileName"])
            self.send_header("Location", f"http://localhost/tables/{there}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            body = kaggle.tables[urlsplit(self.path).path.split("/")[-1]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            kaggle.files.append(self._body())
            self._send(kaggle.upload, {})

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    kaggle.url = f"http://127.0.0.1:{server.server_address[1]}"
    sign_in(monkeypatch)
    monkeypatch.setenv("http_proxy", kaggle.url)
    try:
        yield kaggle
    finally:
        server.shutdown()
        server.server_close()


def sign_out(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Leave the client without credentials, in an empty home."""
    for variable in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))
    client = sys.modules["kaggle.api.kaggle_api_extended"].KaggleApi
    monkeypatch.setattr(client, "config", str(home / "none.json"))


def sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, for a Kaggle that nobody is."""
    for name in ("no_proxy", "NO_PROXY", "KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setattr(pytest.importorskip("kaggle.api.kaggle_api_extended").KaggleApi, "args", ["--local"])
