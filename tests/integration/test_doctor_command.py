"""The command `toolweaver-monitor doctor` as a user runs it, with a real W&B that is offline, logged out, or off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS

from toolweaver_monitor._cli.doctor import subprocesses
from toolweaver_monitor._cli.doctor.findings import Finding

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("real_wandb")]


def run(home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this library with an empty home directory."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "TOOLWEAVER_MONITOR_"))}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=own | {"HOME": str(home), "PYTHONPATH": OURS, "TOOLWEAVER_MONITOR_PROMETHEUS_PORT": "0"} | env,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )


def doctor(home: Path, *argv: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor; gives the exit code, and the findings by name."""
    done = run(home, "toolweaver_monitor", "doctor", "--json", *argv, **env)
    assert done.stderr == ""
    return done.returncode, {found["name"]: found for found in json.loads(done.stdout)["findings"]}


def test_memory_prometheus_and_wandb_hold_the_same_calls(tmp_path: Path) -> None:
    """An offline run is written, read back and thrown away; the exit code is 0, and the home is as it was."""
    code, found = doctor(tmp_path, WANDB_MODE="offline")
    assert code == 0, found
    assert found["agreement"]["says"].startswith("memory, Prometheus, the log and W&B hold the same: 7 calls, 1 failed")
    assert "offline" in found["wandb"]["says"]
    assert not list(tmp_path.glob("**/*.wandb"))


def test_wandb_logged_out_is_told_with_the_login(tmp_path: Path) -> None:
    """The commonest reason why W&B does not log; the self-check is offline and holds all the same."""
    code, found = doctor(tmp_path, "--sinks", "wandb")
    assert (code, found["wandb"]["state"]) == (1, "wrong")
    assert "wandb login" in found["wandb"]["cure"]
    assert "and W&B hold the same" in found["agreement"]["says"]


def test_wandb_turned_off_is_why_nothing_is_logged(tmp_path: Path) -> None:
    """A `WANDB_MODE=disabled` is easily forgotten."""
    code, found = doctor(tmp_path, "--sinks", "wandb", WANDB_MODE="disabled")
    assert (code, found["wandb"]["state"]) == (1, "wrong")
    assert "WANDB_MODE=disabled" in found["wandb"]["says"]


@pytest.fixture
def wandb_server() -> Iterator[Callable[[int], tuple[str, list[str]]]]:
    """Start a server that answers as W&B does when asked for the owner of a key; the real one needs an account."""
    servers: list[ThreadingHTTPServer] = []
    names = ("id", "username", "name", "email", "entity", "deletedAt")
    ann = dict.fromkeys(names, "ann") | {"admin": False, "flags": "{}"}
    answer = {"data": {"viewer": ann | {"teams": {"edges": []}, "apiKeys": {"edges": []}}}}

    def start(status: int) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_server_is_asked_only_with_online(
    tmp_path: Path, wandb_server: Callable[[int], tuple[str, list[str]]]
) -> None:
    """Without it a key is found and not sent; with it the server says whose it is, or refuses it."""

    def account(url: str, *online: str) -> Finding:
        done = run(tmp_path, subprocesses.PROBE, "wandb", *online, WANDB_BASE_URL=url, WANDB_API_KEY="a" * 40)
        return Finding(*json.loads(done.stdout))

    url, asked = wandb_server(200)
    found = account(url)
    assert (found.state, asked) == ("ok", [])
    assert "with a key for" in found.says
    found = account(url, "--online")
    assert (found.state, found.says.endswith("accepts the key of ann")) == ("ok", True), found
    assert "/graphql" in asked
    url, _ = wandb_server(401)
    found = account(url, "--online")
    assert (found.state, "does not confirm the key" in found.says) == ("wrong", True), found
    assert "wandb login --relogin" in found.cure
