"""The saved W&B workspace, against a stand-in of W&B's GraphQL: what an account alone can tell is how it looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a stand-in that knows its user and saves views, and the views it was sent."""
    views: list[dict[str, Any]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            data: dict[str, Any] = {"viewer": {"id": "1", "username": "me", "entity": "me", "email": "", "flags": "{}", "teams": {"edges": []}}}  # fmt: skip
            if b"upsertView" in sent:
                views.append(json.loads(sent)["variables"])
                data = {"upsertView": {"view": {"id": "v", "name": "nw-seen-v"}, "inserted": True}}
            answer = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", views
        running.shutdown()


def save(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | environment
    command = [sys.executable, "-m", "experiments", "workspace", *words]
    return subprocess.run(command, cwd=ROOT, env=own, check=False, capture_output=True, text=True)


def test_one_command_saves_a_domains_panels(server: tuple[str, list[dict[str, Any]]]) -> None:
    pytest.importorskip("wandb_workspaces")
    address, views = server
    words = ("--domain", "leap", "--wandb_project", "clouds")
    done = save(*words, WANDB_BASE_URL=address, WANDB_API_KEY="a" * 40)
    assert done.returncode == 0, done.stderr
    assert f"saved: {address}/me/clouds?nw=seen" in done.stdout
    (view,) = views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "clouds", "Podium leap")
    section = json.loads(view["spec"])["section"]
    panels = {one["name"]: one["panels"] for one in section["panelBankConfig"]["sections"]}
    assert list(panels) == ["Score", "Score by group", "Training", "Pictures"]
    assert panels["Score"][0]["config"]["metrics"] == ["val_r2"]
    assert panels["Score by group"][0]["config"]["metricRegex"] == "^val_r2_.+"
    assert "r2_by_level" in panels["Pictures"][0]["config"]["mediaKeys"]
    assert "leap_bilstm_tcn" in json.dumps(section["runSets"])


def test_without_a_key_one_sentence_says_what_to_do() -> None:
    pytest.importorskip("wandb_workspaces")
    done = save("--domain", "moa", WANDB_BASE_URL="http://127.0.0.1:9", HOME="/nowhere", NETRC="/nowhere/netrc")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: W&B refuses the workspace")
