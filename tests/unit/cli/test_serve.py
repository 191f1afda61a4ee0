"""The command `serve`: `/metrics` of all workers of a host, by a process that is none of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS, free_port, wait_until

from toolweaver_monitor import Monitor, monitored, setup, track
from toolweaver_monitor._cli import main
from toolweaver_monitor._store.shared.folder import SharedFolder
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._prometheus.shared import SharedView

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are not joined there")

WORKER = """
import sys, time
from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import PrometheusExporter
monitor = setup(PrometheusExporter(port=int(sys.argv[1])), shared=True)
with track("served.elsewhere"):
    pass
print(monitor.flush(5), flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", str(tmp_path / "run"))
    return tmp_path / "run"


def exporter_of(folder: Path, **options: Any) -> PrometheusExporter:
    """What the command serves, in this process and on no port."""
    view = SharedFolder(folder, None)
    view.join()
    exporter = PrometheusExporter(listen=False, **options)
    exporter._connect(SetupContext(shared=SharedView(view)))
    return exporter


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program that says when it is ready, and is killed in the end."""
    env = os.environ | {"PYTHONPATH": OURS}
    with subprocess.Popen(
        [sys.executable, *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            yield program
        finally:
            program.kill()


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command, and what it prints."""
    with started("-m", "toolweaver_monitor", "serve", "--json", *options) as program:
        assert program.stdout is not None
        printed = "".join(iter(program.stdout.readline, "}\n")) + "}"
        yield program, json.loads(printed)


@contextmanager
def worker(port: int) -> Iterator[subprocess.Popen[str]]:
    with started("-c", WORKER, str(port)) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "True\n"
        yield program


def ask(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def shows(url: str, text: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return text in ask(url)[1]
        except OSError:
            return False

    return look


ELSEWHERE = 'toolweaver_tool_executions_total{tool_name="served.elsewhere",status="success"} 1\n'


@monitored("served.declared", cost=0.25)
def declared() -> None: ...


def fill(monitor: Monitor) -> None:
    declared()
    for n in range(20):
        monitor.record("served.kinds", duration_s=0.001 * n, input_tokens=n, cost=0.5, customer=f"c{n % 3}")
        monitor.record("served.kinds", duration_s=0.2, outcome="timeout", error="late", customer="c1")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_it_shows_what_a_worker_shows(folder: Path, accept: str) -> None:
    """Counts, money, errors, the workers' own labels and buckets, living or gone, with nothing said of them.

    Seen red: with labels and buckets not taken from the workers.
    """
    with setup(
        PrometheusExporter(port=0, labels=["customer"], buckets=[0.01, 0.1]), shared=True, budget=99.0
    ) as monitor:
        fill(monitor)
        expected = ask(monitor.sinks[0].url, Accept=accept)[1]
        living = exporter_of(folder)._render(accept)[0].decode()
    gone = exporter_of(folder)._render(accept)[0].decode()

    def of_tools(text: str) -> list[str]:
        return sorted(line.partition(" # ")[0] for line in text.splitlines() if "served." in line or "budget" in line)

    assert len(of_tools(expected)) > 40
    assert of_tools(living) == of_tools(expected)
    assert set(of_tools(gone)) >= {line for line in of_tools(expected) if "_total" in line and 'served.kinds"' in line}


def test_it_is_no_worker(folder: Path) -> None:
    """It has no file, and the run ends in spite of it: the next one begins with nothing.

    Seen red: with a worker file of its own.
    """
    with setup(PrometheusExporter(listen=False), shared=True), track("served.first"):
        pass
    exporter = exporter_of(folder)
    assert 'tool_name="served.first"' in exporter.text()
    assert not list(folder.glob("worker-*"))
    with worker(0):
        wait_until(lambda: "served.elsewhere" in exporter.text())
        assert "served.first" in exporter.text(), "the head, this process, is alive"
    run = SharedFolder(folder, None)._read_departed()
    assert run is not None
    run.heads = [(2**22 + 1, "1")]
    SharedFolder(folder, None)._write_departed(run)
    with worker(0):
        wait_until(lambda: "served.elsewhere" in exporter.text())
        assert "served.first" not in exporter.text()


def test_a_folder_that_is_gone_is_503_until_it_is_back(folder: Path) -> None:
    """Old counts are no answer: Prometheus sees that the target is down. Seen red: with what was seen last shown."""
    exporter = exporter_of(folder)
    assert exporter._respond({}).status == 200
    shutil.rmtree(folder)
    response = exporter._respond({})
    assert response.status == 503
    assert b"the counts of the workers cannot be read" in response.body
    with setup(PrometheusExporter(listen=False), shared=True):
        assert exporter._respond({}).status == 200


def test_names_of_the_departed_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that knows none of the names that others have declared does not write them off beyond its cap.

    Seen red: with their names capped like new ones, their counters fell.
    """
    names = [f"served.many.{n}" for n in range(30)]
    for name in names:
        monitored(name)(lambda: None)
    with setup(PrometheusExporter(listen=False), shared=True) as monitor:
        for name in names:
            monitor.record(name, duration_s=0.1)
    exporter = exporter_of(folder)
    exporter.text()  # its file becomes a part of the departed
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_LABEL_VALUES", "5")
    with worker(0):
        pass
    with worker(0):  # adds the one before it to the departed
        wait_until(lambda: len(list(folder.glob("worker-*"))) == 1)
        text = exporter.text()
    assert [name for name in names if f'executions_total{{tool_name="{name}",status="success"}} 1\n' not in text] == []


def test_a_port_goes_from_a_worker_to_the_command_and_back(folder: Path) -> None:
    """The holder is killed each time. Seen red: with a port that the command does not wait for."""
    port, twice = free_port(), ELSEWHERE.replace("} 1", "} 2")
    with (
        setup(PrometheusExporter(listen=False), shared=True),  # the run goes on with it
        worker(port) as first,
        served(str(folder), "--port", str(port)) as (command, about),
    ):
        assert about == {"url": f"http://127.0.0.1:{port}/metrics", "folder": str(folder), "listening": False}
        wait_until(shows(about["url"], ELSEWHERE))
        first.kill()
        wait_until(shows(about["url"], ELSEWHERE))
        with worker(port):
            wait_until(shows(about["url"], twice))
            command.kill()
            wait_until(shows(about["url"], twice))


def test_without_a_folder_it_serves_the_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With none, or with several, it says so. Seen red: with the folder of its own run, which nobody joins."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["serve"]) == 2
    said = capsys.readouterr().err
    assert "no joined workers run in" in said
    assert 'start them with setup("prometheus", shared=True)' in said
    with worker(0), served("--port", "0") as (_, about):
        assert Path(about["folder"]).parent.parent == tmp_path
        wait_until(shows(about["url"], ELSEWHERE))
        with worker(0):
            assert main(["serve"]) == 2
            assert "there are workers of several runs" in capsys.readouterr().err


def test_it_says_what_it_waits_for_while_there_is_no_worker(folder: Path) -> None:
    """On one line of stderr. Seen red: without a word."""
    with worker(0), served(str(folder), "--port", "0") as (program, _):
        program.terminate()
        assert program.communicate()[1] == ""
    shutil.rmtree(folder)
    with served(str(folder), "--port", "0") as (program, _):
        program.terminate()
        line = program.communicate()[1]
        assert line.startswith("no worker yet: waiting for setup(")
        assert line.endswith(f"TOOLWEAVER_MONITOR_SHARED={folder}\n")


def test_its_port_is_that_of_workers_of_a_web_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8000 is the application's, which would not start. Seen red: with 8000."""
    monkeypatch.delenv("TOOLWEAVER_MONITOR_PROMETHEUS_PORT", raising=False)
    with started("-m", "toolweaver_monitor", "serve", str(folder)) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        said = program.stdout.readline() or program.stderr.read()  # that another program has it
        assert "127.0.0.1:9464" in said


def test_sigterm_ends_it(folder: Path) -> None:
    """As process 1 of a container, too, which ignores signals that it does not handle. Seen red: it was killed."""
    with served("--port", "0") as (program, _):
        program.terminate()
        assert program.wait(10) == 0


STRUCK = """
import gc, os, signal, sys
from toolweaver_monitor._cli import main

class Out:
    def write(self, text):
        gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        gc.collect()
        gc.callbacks.pop()
        return sys.__stdout__.write(text)
    def flush(self):
        sys.__stdout__.flush()

sys.stdout = Out()
sys.exit(main(["serve", "--port", "0"]))
"""


def test_no_sigterm_is_lost_that_strikes_in_a_callback_of_the_garbage_collector(folder: Path) -> None:
    """What is raised in one is ignored. Seen red: with a handler that raises, one of 25 programs did not end."""
    env = os.environ | {"PYTHONPATH": OURS}
    ended = subprocess.run([sys.executable, "-c", STRUCK], env=env, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 0, ended.stderr


def test_it_asks_for_the_token(folder: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("let-me-in\n")
    with served(str(folder), "--port", "0", "--token-file", str(token)) as (_, about):
        assert ask(about["url"])[0] == 401
        assert ask(about["url"], Authorization="Bearer let-me-in")[0] == 200
        assert ask(about["url"].removesuffix("metrics"), Authorization="Bearer let-me-in")[0] == 404, "no page"


def test_what_cannot_be_used_ends_it_with_the_cure(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port of another program, a folder that is a file, an address that anybody could read."""
    (tmp_path / "file").write_text("mine")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        assert main(["serve", str(folder), "--port", str(other.getsockname()[1])]) == 2
    assert "give another --port" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "file"), "--port", "0"]) == 2
    assert "give the folder" in capsys.readouterr().err
    assert main(["serve", str(folder), "--addr", "0.0.0.0", "--port", "0"]) == 2
    assert "token" in capsys.readouterr().err
