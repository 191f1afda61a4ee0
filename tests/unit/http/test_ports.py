"""Which port the exporter takes, and what happens where it is taken."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import free_port, wait_until

from toolweaver_monitor import Monitor, setup
from toolweaver_monitor._http import default_port, listener, port_wait
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.messages import Response
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import Dashboard, PrometheusExporter
from toolweaver_monitor.sinks._prometheus import exporter as exporter_module


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A port as uvicorn's parent holds it while its workers start: bound with SO_REUSEADDR, and not listening."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def status(monitor: Monitor) -> dict[str, Any]:
    return monitor.health()["sinks"]["prometheus"]


def test_a_port_that_is_bound_and_not_listened_on_yet_stays_the_other_programs(bound: socket.socket) -> None:
    """The other server gets every request once it listens; `health()` says that the exporter waits.

    Seen red: with SO_REUSEADDR set before the bind, the exporter listened and the server got "Address already in use".
    """
    monitor = setup(PrometheusExporter(port=port_of(bound)))
    (problem,) = monitor.health()["problems"]
    assert problem.startswith("prometheus: waiting for the port")
    assert "stop what uses the port" in status(monitor)["cure"]
    bound.listen()
    with socket.create_connection(bound.getsockname()[:2]):
        bound.accept()[0].close()


def test_a_port_that_becomes_free_is_taken_within_seconds(
    bound: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """The program does not wait for it. One line says that it waits, and one where it then serves.

    Seen red: without `PortWait`, the exporter stayed off.
    """
    caplog.set_level(logging.INFO)
    port = port_of(bound)
    monitor = setup(PrometheusExporter(port=port))  # returns while the port is taken
    bound.close()
    wait_until(lambda: status(monitor)["listening"])
    assert monitor.health()["ok"]
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "toolweaver_monitor"]
    assert [line.partition(",")[0].partition(" http")[0] for line in lines] == [
        "sink 'prometheus' is waiting for the port",
        "metrics are served on",
    ]


def test_a_port_that_stays_taken_turns_the_exporter_off_after_a_minute(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The minute is shorter here. `health()` then has the error, and the thread has ended.

    Seen red: without the deadline in `PortWait`.
    """
    monkeypatch.setattr(listener, "WAIT_FOR_PORT_S", 0.2)
    monkeypatch.setattr(port_wait, "TRY_EVERY_S", 0.05)
    monitor = setup(PrometheusExporter(port=port_of(bound)))
    wait_until(lambda: status(monitor)["last_error"].startswith("cannot listen"))
    assert status(monitor)["state"] == "unavailable"
    assert sum("is off" in record.message for record in caplog.records) == 1
    wait_until(lambda: "prometheus port" not in str(threading.enumerate()))


def test_shutdown_ends_the_wait(bound: socket.socket) -> None:
    """No thread is left, and the port is not taken afterwards.

    Seen red: without `wait.stop` in `close()`, the thread stayed and took the port.
    """
    monitor = setup(PrometheusExporter(port=port_of(bound)))
    address = bound.getsockname()[:2]
    assert monitor.shutdown()
    assert "prometheus port" not in str(threading.enumerate())
    bound.close()
    time.sleep(port_wait.TRY_EVERY_S + 0.2)
    with pytest.raises(OSError):  # noqa: PT011 - refused
        socket.create_connection(address)


def test_a_page_waits_for_its_port_as_an_exporter_does(bound: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """So it is there again after a restart. Seen red: the page stayed off until the program's end."""
    caplog.set_level(logging.INFO)
    monitor = setup(dashboard=Dashboard(port=port_of(bound)))
    (problem,) = monitor.health()["problems"]
    assert problem.startswith("dashboard: waiting for the port")
    assert problem.endswith("or give another: Dashboard(port=...), port=0 takes a free one")
    bound.close()
    wait_until(lambda: monitor.health()["ok"])
    assert caplog.messages[-1] == f"the page is served on {monitor.sinks[0].url}"


WORKER = """
import json, sys, time
from toolweaver_monitor import setup
monitor = setup(dashboard=int(sys.argv[1]))
print(json.dumps(monitor.health()["problems"]), flush=True)
until = time.monotonic() + 60
while not monitor.sinks[0].status()["listening"] and time.monotonic() < until:
    time.sleep(0.02)
print(monitor.sinks[0].status()["listening"])
"""


def test_of_joined_workers_one_serves_the_page_and_the_next_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are `ok` all the while. Seen red: they had a problem, and the page ended with the first worker."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", str(tmp_path / "run"))
    monitor = setup(dashboard=free_port())
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(monitor.sinks[0].port)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "[]\n"
        monitor.shutdown()
        assert worker.stdout.readline() == "True\n"


def test_without_a_setup_a_taken_port_is_an_error(bound: socket.socket) -> None:
    """A direct `start()` raises, since there is no `health()`.

    Seen red: with the wait in any case.
    """
    with pytest.raises(SinkUnavailable, match=r"cannot listen on 127\.0\.0\.1:\d+ .*port=0 takes a free one"):
        PrometheusExporter(port=port_of(bound)).start()


def test_a_port_that_this_process_has_served_is_taken_again_at_once() -> None:
    """A connection that the endpoint ended is in TIME_WAIT for a minute; a second `setup()` does not wait for it.

    Seen red: without SO_REUSEADDR for a port that was served, the second setup waited.
    """
    monitor = setup(PrometheusExporter(port=0))
    port = monitor.sinks[0].port
    urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read()  # says `Connection: close`
    assert status(setup(PrometheusExporter(port=port)))["listening"]


PROGRAM = """
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.messages import Response
endpoint = Endpoint({"/it": lambda _: Response()}, port=0, name="test")
endpoint.start()
print(endpoint.port, flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is acknowledged")
def test_a_program_that_was_scraped_and_is_started_again_serves_at_once() -> None:
    """Prometheus keeps its connection open between scrapes. However the program ends, that leaves no TIME_WAIT behind.

    Seen red: without `_free_port`, the bind found the port in use.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM]
    program = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    scraper = http.client.HTTPConnection("127.0.0.1", int(program.stdout.readline()))
    scraper.request("GET", "/it")
    assert scraper.getresponse().read() == b""
    time.sleep(0.3)  # until the endpoint has seen that the response was received
    program.kill()
    program.communicate(timeout=10)
    again = Endpoint({"/it": lambda _: Response()}, port=scraper.port, name="test")
    again.start()
    assert again.close()
    scraper.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_during_the_wait_does_not_wait(bound: socket.socket) -> None:
    """It does not serve, as no fork does, and its `health()` says so.

    Seen red: with the process noted only once it served, the child said nothing.
    """
    monitor = setup(PrometheusExporter(port=port_of(bound)))
    if not (child := os.fork()):
        os._exit(0 if "this process is a fork" in status(monitor)["last_error"] else 1)
    assert os.waitpid(child, 0)[1] == 0


class App:
    """Stands for `FastAPI()` and `FastMCP()`."""


App.__module__ = "fastapi.applications"


def uvicorn_run() -> None: ...


uvicorn_run.__module__ = "uvicorn.main"


@pytest.mark.parametrize(
    ("argv", "main", "server"),
    [
        (["/venv/bin/uvicorn", "app:app", "--reload"], {}, "uvicorn"),
        (["C:/venv/uvicorn.exe", "app:app"], {}, "uvicorn"),
        (["/site-packages/uvicorn/__main__.py", "app:app"], {}, "uvicorn"),
        (["/venv/bin/gunicorn"], {}, "gunicorn"),
        (["hypercorn"], {}, "hypercorn"),
        (["/venv/bin/granian"], {}, "granian"),
        (["/venv/bin/fastapi", "dev"], {}, "fastapi"),
        (["/venv/bin/fastmcp", "run"], {}, "fastmcp"),
        (["manage.py", "runserver"], {}, "Django's runserver"),
        (["manage.py", "migrate"], {}, ""),
        (["-m"], {"__spec__": types.SimpleNamespace(name="uvicorn.__main__")}, "uvicorn"),
        (["app.py"], {"uvicorn": types.ModuleType("uvicorn")}, "uvicorn"),
        (["app.py"], {"run": uvicorn_run}, "uvicorn"),
        (["app.py"], {"FastAPI": App}, "fastapi"),
        (["app.py"], {"app": App()}, "fastapi"),
        (["app.py"], {"requests": types.ModuleType("requests"), "x": 1, "f": len, "n": None}, ""),
        (["uvicorn.py"], {}, ""),
        (["/srv/uvicorn/app.py"], {}, ""),
        ([], {}, ""),
    ],
)
def test_a_web_server_is_known_by_its_command_or_by_what_the_main_module_has(
    argv: list[str], main: dict[str, Any], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's own default is 8000. Then, and only then, the exporter's default is 9464, and `health()` says why.

    Seen red: row by row, with each of the checks of `find_server` left out.
    """
    module = types.ModuleType("__main__")
    vars(module).update(main)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    monkeypatch.setattr(sys, "argv", argv)
    assert default_port.find_server() == server
    port, reason = default_port.choose_port(8000)
    assert port == (9464 if server else 8000)
    assert (server in reason) if server else not reason


MAIN = """
def serve():
    import uvicorn

found = find_server()
"""


@pytest.mark.parametrize(
    ("source", "server"),
    [
        (MAIN, "uvicorn"),
        (MAIN.replace("import uvicorn", "from hypercorn import run"), "hypercorn"),
        ("found = find_server()\nif False:\n    import uvicorn", "uvicorn"),
        ("found = find_server()", ""),
    ],
)
def test_a_server_that_the_main_module_imports_later_is_known(
    source: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below `setup()`, as under `if __name__ == "__main__":`, or in a function.

    Seen red: without `_imported_later`; without its loop over functions; without that over frames.
    """
    module = types.ModuleType("__main__")
    vars(module).update(find_server=default_port.find_server)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(sys, "argv", ["app.py"])
    exec(source, vars(module))
    assert vars(module)["found"] == server


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_port_that_is_given_is_taken_under_a_server_too(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit port 8000 is used as it is; here it is another number.

    Seen red: with the choice made whatever is given.
    """
    port = free_port()
    monkeypatch.setattr(sys, "argv", ["uvicorn"])
    if how == "environment":
        monkeypatch.setenv("TOOLWEAVER_MONITOR_PROMETHEUS_PORT", str(port))
    monitor = setup(PrometheusExporter(port=port if how == "argument" else None))
    assert monitor.sinks[0].port == port
    assert "port_reason" not in status(monitor)


def test_the_port_beside_a_server_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One INFO line, and in `health()`; the choice is made when it starts, not when it is constructed.

    Seen red: with the choice in `__init__`.
    """
    caplog.set_level(logging.INFO)
    port = free_port()
    monkeypatch.setattr(default_port, "PORT_BESIDE_SERVER", port)
    exporter = PrometheusExporter()
    monkeypatch.setattr(sys, "argv", ["/venv/bin/uvicorn", "app:app"])
    monitor = setup(exporter)
    assert exporter.port == port
    reason = f"{port} and not 8000, which uvicorn may serve on"
    assert status(monitor)["port_reason"] == reason
    (line,) = [record.getMessage() for record in caplog.records if "metrics are served" in record.message]
    assert line == f"metrics are served on http://127.0.0.1:{port}/metrics ({reason})"


def test_prometheus_clients_directory_for_workers_is_not_used_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One WARNING in a process, and a note for as long as it is set.

    Seen red: without the variable looked at, nothing; without `_said`, a line for each setup.
    """
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/tmp")
    exporter_module._said.clear()
    for _ in range(2):
        monitor = setup(PrometheusExporter(port=0))
        monitor.asgi()
    assert sum("PROMETHEUS_MULTIPROC_DIR" in record.message for record in caplog.records) == 1
    assert "PROMETHEUS_MULTIPROC_DIR is set" in " ".join(monitor.health()["notes"])
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    assert "PROMETHEUS_MULTIPROC_DIR" not in " ".join(monitor.health()["notes"])
