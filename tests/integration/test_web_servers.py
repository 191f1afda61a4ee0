"""Web servers as users start them: the application answers on its port, and `/metrics` where it should."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import OURS, free_port, wait_until

pytestmark = pytest.mark.system

NUMBERS = """
import os
from toolweaver_monitor._core import config
from toolweaver_monitor._http import default_port
config.PROMETHEUS_PORT = config.PROMETHEUS_PORT._replace(default=int(os.environ["USUAL"]))
default_port.PORT_BESIDE_SERVER = int(os.environ["BESIDE"])
"""
"""Other numbers than 8000 and 9464, which a test that runs beside this one may use."""
APP = """
from toolweaver_monitor import monitored, setup
monitor = setup("prometheus")

@monitored("hello")
def hello():
    return "hello"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": hello().encode()})
"""
FASTAPI = """
from fastapi import FastAPI
from toolweaver_monitor import monitored, setup
monitor = setup("prometheus")
app = FastAPI()

@app.get("/")
@monitored("hello")
def hello() -> str:
    return "hello"
"""
MAIN = """
if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
"""


def ask(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


class Server:
    """A server that is running, its log and its ports."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int, beside: int) -> None:
        self.process, self.log, self.port, self.beside = process, log, port, beside

    def until(self, port: int, path: str, wanted: str, timeout_s: float = 30) -> None:
        """Wait for an answer with this text. Any other answer than an error of the connection is wrong at once."""
        deadline = time.monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            try:
                found = ask(port, path)
            except urllib.error.HTTPError as error:
                raise AssertionError(f"{error}: {error.read().decode()}") from None
            except OSError:
                time.sleep(0.05)
                continue
            assert wanted in found
            return


@contextmanager
def running(folder: Path, source: str, *command: str, asks_for_the_apps_port: bool = False) -> Iterator[Server]:
    port, beside = free_port(), free_port()
    (folder / "app.py").write_text(NUMBERS + source)
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOOLWEAVER_MONITOR_")}
    env = own | {"PYTHONPATH": f"{OURS}{os.pathsep}{folder}", "USUAL": str(port), "BESIDE": str(beside)}
    env |= {"PORT": str(port), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    if asks_for_the_apps_port:
        env["TOOLWEAVER_MONITOR_PROMETHEUS_PORT"] = str(port)
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *(part.replace("PORT", str(port)) for part in command)],
            cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield Server(process, log, port, beside)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


UVICORN = ("-m", "uvicorn", "app:app", "--port", "PORT", "--log-level", "warning")
SERVERS = {
    "uvicorn": ("uvicorn", APP, UVICORN),
    "uvicorn with workers": ("uvicorn", APP, (*UVICORN, "--workers", "2")),
    "uvicorn with reload": ("uvicorn", APP, (*UVICORN, "--reload")),
    "uvicorn.run": ("uvicorn", APP + MAIN, ("app.py",)),
    "gunicorn with uvicorn's workers": (
        "gunicorn", APP,
        ("-m", "gunicorn", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:PORT", "app:app"),
    ),
    "fastapi dev": ("fastapi_cli", FASTAPI, ("-m", "fastapi", "dev", "app.py", "--port", "PORT")),
    "fastapi run with workers": (
        "fastapi_cli", FASTAPI,
        ("-m", "fastapi", "run", "app.py", "--host", "127.0.0.1", "--port", "PORT", "--workers", "2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_the_application_answers_on_its_port_and_metrics_beside_it(
    name: str, tmp_path: Path, require_package: Callable[..., None]
) -> None:
    """The application is on what would be the exporter's usual port; with no port given, both answer.

    Seen red: with `find_server` finding none, uvicorn alone could not bind its port, and the exporter of workers waited
    for it.
    """
    package, source, command = SERVERS[name]
    require_package(package, "pip install 'fastapi[standard]' gunicorn")
    with running(tmp_path, source, *command) as server:
        for _ in range(20):
            server.until(server.port, "/", "hello")
        server.until(server.beside, "/metrics", "toolweaver_tool_executions_total")


@pytest.mark.parametrize("option", [("--workers", "2"), ("--reload",)], ids=["workers", "reload"])
def test_the_applications_port_is_not_taken_even_if_it_is_asked_for(
    option: tuple[str, ...], tmp_path: Path, require_package: Callable[..., None]
) -> None:
    """The server's parent has bound the port before its workers start, and every request is the application's.

    Seen red: with SO_REUSEADDR set before the bind, each request got the exporter's 404.
    """
    require_package("uvicorn", "pip install uvicorn")
    with running(tmp_path, APP, *UVICORN, *option, asks_for_the_apps_port=True) as server:
        for _ in range(50):
            server.until(server.port, "/", "hello")
        assert "waiting for the port" in server.log.read_text()


def test_a_reload_serves_the_new_code_and_metrics_again(tmp_path: Path, require_package: Callable[..., None]) -> None:
    """The new process takes the port of the old one within seconds, even if that was scraped.

    Seen red: without `_free_port`, a connection in TIME_WAIT held the port for a minute.
    """
    require_package("uvicorn", "pip install uvicorn")
    with running(tmp_path, APP, *UVICORN, "--reload") as server:
        server.until(server.port, "/", "hello")
        scraper = http.client.HTTPConnection("127.0.0.1", server.beside)  # kept open, as Prometheus does
        scraper.request("GET", "/metrics")
        assert b'tool_name="hello"' in scraper.getresponse().read()

        def is_new() -> bool:
            if "Reloading" not in server.log.read_text():  # the watcher may not have begun to look
                (tmp_path / "app.py").write_text((NUMBERS + APP).replace("hello", "goodbye"))
            return ask(server.port) == "goodbye" and 'tool_name="goodbye"' in ask(server.beside, "/metrics")

        wait_until(is_new, 30, every_s=0.1, fault=server.log.read_text)
        scraper.close()


ROOT = str(Path(__file__).parents[2])
EXAMPLE = "examples.fastapi.app:app"
OF_EXAMPLE = {
    "uvicorn": ("-m", "uvicorn", EXAMPLE, "--app-dir", ROOT, "--port", "PORT", "--log-level", "warning"),
    "gunicorn": (
        "-m", "gunicorn", "-k", "uvicorn.workers.UvicornWorker", "--chdir", ROOT, "-b", "127.0.0.1:PORT", EXAMPLE,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=OF_EXAMPLE)
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, require_package: Callable[..., None]
) -> Iterator[Server]:
    """The example, run by one process of uvicorn, or by one worker of gunicorn."""
    require_package("fastapi", "pip install 'fastapi[standard]' gunicorn")
    with running(tmp_path_factory.mktemp("example"), "", *OF_EXAMPLE[request.param]) as server:
        server.until(server.port, "/costs", "{")
        yield server


def get(server: Server, path: str, customer: str) -> tuple[int, dict[str, str], str]:
    asked = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers={"X-Customer": customer})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, dict(answer.headers.items()), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read().decode()


def test_the_example_counts_for_each_customer_and_refuses_with_429(example: Server) -> None:
    """Two answers of $0.02 fit into a customer's $0.05, a third does not; another customer's does.

    Seen red: without `tagged` in the dependency, nothing was refused and no customer had a cost.
    """
    for _ in range(2):
        assert get(example, "/answer?question=why", "acme")[0] == 200
    status, headers, _ = get(example, "/answer?question=why", "acme")
    assert status == 429
    assert int(headers["retry-after"]) > 0
    assert get(example, "/answer?question=why", "globex")[0] == 200
    assert '{"acme":0.04,"globex":0.02}' in get(example, "/costs", "nobody")[2]


def test_the_example_counts_streams_and_background_tasks_for_their_customer(example: Server) -> None:
    """Both run when the endpoint has returned: the stream's four words cost $0.004.

    Seen red: with a plain `def` for the dependency, whose context ends with it.
    """
    assert get(example, "/stream?question=why", "initech")[2] == "an answer to why "
    assert '"initech":0.004' in get(example, "/costs", "nobody")[2]
    found = get(example, "/metrics", "prometheus")[2]
    assert 'toolweaver_tool_executions_total{tool_name="stream_answer",status="success"} 1' in found
    assert 'toolweaver_budget_spent_usd{budget="usd/hour by customer [initech]"} 0.004' in found


@pytest.mark.parametrize("name", OF_EXAMPLE)
def test_each_worker_of_the_example_has_the_budget_to_itself(
    name: str, tmp_path: Path, require_package: Callable[..., None]
) -> None:
    """As the page says: two workers let a customer have up to twice the answers that fit into one's budget.

    Seen red: without the handler of `BudgetExceeded`, the refusals were 500.
    """
    require_package("fastapi", "pip install 'fastapi[standard]' gunicorn")
    with running(tmp_path, "", *OF_EXAMPLE[name], "--workers", "2") as server:
        server.until(server.port, "/costs", "{")
        found = [get(server, "/answer?question=why", "acme")[0] for _ in range(40)]
    assert set(found) == {200, 429}
    assert 2 <= found.count(200) <= 4
