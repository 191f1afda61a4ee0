"""D4: calls in the workers of real servers: gunicorn, uvicorn and Celery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import OURS, free_port
from programs import TOOL, delivered

pytestmark = pytest.mark.system

WSGI = """
def app(environ, start_response):
    tool()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    tool()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.fixture
def port() -> int:
    return free_port()


def served(command: list[str], folder: Path, port: int, requests: int) -> Counter[str]:
    """Run a server, ask it so often, end it by SIGTERM; gives the answers (process ids)."""
    log = folder / "log"
    env = os.environ | {"PYTHONPATH": f"{OURS}{os.pathsep}{folder}", "OUT": str(folder / "calls")}
    with log.open("wb") as file:
        server = subprocess.Popen([sys.executable, *command], cwd=folder, env=env, stdout=file, stderr=file)
    answers: Counter[str] = Counter()
    try:
        deadline = time.monotonic() + 30
        while sum(answers.values()) < requests:
            assert time.monotonic() < deadline, log.read_text()
            assert server.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answers[answer.read().decode()] += 1
            except OSError:
                time.sleep(0.05)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            pytest.fail(f"the server did not end: {log.read_text()}")
    assert "Traceback" not in log.read_text(), log.read_text()
    return answers


def app_module(folder: Path, app: str) -> None:
    silent = "get_monitor()._components.runners[0].worker.interval_s = 60\n"  # what arrives, the end has delivered
    (folder / "app.py").write_text(TOOL + "setup(FileSink(os.environ['OUT']))\n" + silent + app)


def processes(folder: Path) -> Counter[str]:
    return Counter(process for _, process in delivered(folder / "calls"))


def test_d4_gunicorn_with_preload_delivers_the_calls_of_every_worker(
    require_package: Callable[..., None], port: int, tmp_path: Path
) -> None:
    """Two workers, forked from a master that has called `setup()`: every request's call, once, from its own worker.

    Seen red: with the queue, or the inbox, not emptied in a worker, a call of the master's came from each of them.
    """
    require_package("gunicorn", "pip install gunicorn")
    app_module(tmp_path, "tool()\nget_monitor().summary()  # it waits in the queue of the sink now\ntool()\n" + WSGI)
    command = ["-m", "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "app:app"]
    answers = served(command, tmp_path, port, 200)
    found = processes(tmp_path)
    masters = [process for process in found if process not in answers]
    assert [found.pop(process) for process in masters] == [2]
    assert found == answers


def test_d4_uvicorn_delivers_the_calls_of_every_worker(
    require_package: Callable[..., None], port: int, tmp_path: Path
) -> None:
    """Two workers that are spawned, and end by raising SIGTERM again: every request's call, once.

    Seen red: without a handler of SIGTERM, nothing arrived.
    """
    require_package("uvicorn", "pip install uvicorn")
    app_module(tmp_path, ASGI)
    command = ["-m", "uvicorn", "--workers", "2", "--port", str(port), "--log-level", "warning", "app:app"]
    answers = served(command, tmp_path, port, 200)
    assert processes(tmp_path) == answers


def test_d4_uvicorn_in_one_process_delivers_every_call(
    require_package: Callable[..., None], port: int, tmp_path: Path
) -> None:
    """One process, as most run it.

    Seen red: without a handler of SIGTERM, nothing arrived.
    """
    require_package("uvicorn", "pip install uvicorn")
    app_module(tmp_path, ASGI)
    answers = served(["-m", "uvicorn", "--port", str(port), "--log-level", "warning", "app:app"], tmp_path, port, 100)
    assert processes(tmp_path) == answers


CELERY = """
from celery import Celery
folder = os.environ["FOLDER"]
for name in ("in", "processed"): os.makedirs(f"{folder}/{name}", exist_ok=True)
app = Celery("app", broker="filesystem://", broker_transport_options={
    "data_folder_in": f"{folder}/in", "data_folder_out": f"{folder}/in", "processed_folder": f"{folder}/processed",
    "control_folder": f"{folder}/control",
})
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

@app.task
def work():
    for _ in range(10): tool()
    with open(f"{folder}/done", "a") as file: file.write(f"{os.getpid()}\\n")
"""


@pytest.mark.slow
def test_d4_celerys_prefork_workers_deliver_every_call(require_package: Callable[..., None], tmp_path: Path) -> None:
    """Two pool processes of Celery's own kind, 20 tasks of 10 calls, a warm shutdown: all 200.

    Seen red: without Celery's own signal of a worker's end, which comes before its `os._exit`, 20 arrived.
    """
    require_package("celery", "pip install celery")
    app_module(tmp_path, CELERY)
    env = os.environ | {
        "PYTHONPATH": f"{OURS}{os.pathsep}{tmp_path}",
        "OUT": str(tmp_path / "calls"),
        "FOLDER": str(tmp_path),
        "C_FORCE_ROOT": "1",
    }
    subprocess.run(
        [sys.executable, "-c", "import app\nfor _ in range(20): app.work.delay()"],
        env=env, cwd=tmp_path, check=True, timeout=30,
    )  # fmt: skip
    command = [sys.executable, "-m", "celery", "-A", "app", "worker", "-c", "2", "-P", "prefork", "-l", "warning"]
    done = tmp_path / "done"
    with (tmp_path / "log").open("wb") as file:
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        worker = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 40
        while not done.exists() or done.read_text().count("\n") < 20:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
            pytest.fail(f"Celery did not end: {(tmp_path / 'log').read_text()}")
    assert sum(processes(tmp_path).values()) == 200, (tmp_path / "log").read_text()
