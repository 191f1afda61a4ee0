"""Short jobs: what a real Pushgateway and a textfile hold when the program has ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families

from toolweaver_monitor import setup
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks import PrometheusExporter

JOB = """
import sys
from toolweaver_monitor import monitored, setup
from toolweaver_monitor.sinks import PrometheusExporter

setup(PrometheusExporter({arguments}))

@monitored("short_job", cost=0.25)
def work(fail=False):
    if fail:
        raise ValueError("unreadable")

for _ in range(3):
    work()
{end}
"""


def run(arguments: str, end: str = "") -> subprocess.CompletedProcess[str]:
    program = JOB.format(arguments=arguments, end=end)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()) if value)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def gateway(require_program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    program = require_program("prometheus-pushgateway", "apt-get install prometheus-pushgateway")
    port = free_port()
    server = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{port}", "--persistence.file="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: read(url), 30)
    yield url
    server.terminate()
    server.wait(10)


def read(gateway: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=5) as answer:
        return samples(answer.read().decode())


@pytest.mark.system
def test_a_program_that_ends_leaves_its_figures_at_the_gateway(gateway: str) -> None:
    """Exactly what it did, under its job and grouping key; the next run of the job replaces them.

    Seen red: with POST, which keeps series that the next run does not have.
    """
    arguments = f"gateway={gateway!r}, job='nightly/eu', grouping_key={{'instance': 'a b', 'shard': ''}}"
    done = run(arguments, "try: work(fail=True)\nexcept ValueError: sys.exit(3)")
    assert (done.returncode, done.stderr) == (3, "")
    found = read(gateway)
    of_job = {key: value for key, value in found.items() if "nightly/eu" in key}
    assert of_job["toolweaver_tool_executions_total", "a b", "nightly/eu", "success", "short_job"] == 3
    assert of_job["toolweaver_tool_failures_total", "ValueError", "a b", "nightly/eu", "short_job"] == 1
    assert of_job["toolweaver_tool_cost_usd_total", "a b", "nightly/eu", "short_job"] == 0.75
    assert of_job["push_failure_time_seconds", "a b", "nightly/eu"] == 0
    assert run(arguments).returncode == 0
    assert not [key for key in read(gateway) if key[0] == "toolweaver_tool_failures_total"]


@pytest.mark.system
def test_a_program_that_succeeds_can_delete_its_group(gateway: str) -> None:
    """Only runs that fail leave figures behind; other groups stay, and the end pushes nothing more.

    Seen red: with `close()` pushing after the group was deleted.
    """
    end = "from toolweaver_monitor import get_monitor\nexporter = get_monitor().sinks[0]\nexporter.push()\n"
    assert run(f"gateway={gateway!r}, job='other'").returncode == 0
    done = run(f"gateway={gateway!r}, job='nightly'", end + "exporter.delete_from_gateway()")
    assert (done.returncode, done.stderr) == (0, "")
    assert not [key for key in read(gateway) if "nightly" in key]
    assert [key for key in read(gateway) if "other" in key]


@pytest.mark.system
def test_workers_of_a_pool_do_not_replace_their_parents_figures(gateway: str) -> None:
    """A forked child has figures of its own, and pushes none: the group is that of the process that was set up.

    Seen red: with every process pushing at its end, the child made the group.
    """
    end = (
        "import multiprocessing as mp\n"
        "child = mp.get_context('fork').Process(target=work)\nchild.start()\nchild.join()\nassert child.exitcode == 0\n"
        f"from urllib.request import urlopen\nassert b'parent' not in urlopen({gateway!r} + '/metrics').read()"
    )
    done = run(f"gateway={gateway!r}, job='parent'", end)
    assert done.returncode == 0, done.stderr
    assert read(gateway)["toolweaver_tool_executions_total", "parent", "success", "short_job"] == 3


@pytest.mark.system
def test_a_gateway_that_hangs_or_refuses_does_not_hold_the_end_up() -> None:
    """One line in the log, and the exit code is the program's own."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        began = time.monotonic()
        done = run(f"gateway='user:secret@127.0.0.1:{port}', job='hangs'")
        assert time.monotonic() - began < 20
    assert done.returncode == 0
    assert done.stderr.count("no answer within 2 s") == 1
    assert "secret" not in done.stderr
    done = run(f"gateway='127.0.0.1:{port}', job='refused'")
    assert (done.returncode, done.stderr.count("refused")) == (0, 1)


class Answers(threading.Thread):
    """A server that keeps requests and answers each with one status."""

    def __init__(self, status: int) -> None:
        import http.server

        super().__init__(daemon=True)
        seen = self.seen = []  # type: ignore[var-annotated]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen.append((self.command, self.path, self.headers, body))
                self.send_response(status)
                self.end_headers()

            do_DELETE = do_PUT

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.start()

    def run(self) -> None:
        self.server.serve_forever(0.05)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.join(5)


def test_a_group_is_written_as_the_gateway_reads_it() -> None:
    """The job and the labels stand in the path, odd values in base64; a password goes into a header."""
    with Answers(200) as at:
        gateway = f"http://me:pass@127.0.0.1:{at.server.server_port}/sub/"
        exporter = PrometheusExporter(gateway=gateway, job="a/b", grouping_key={"instance": "x y", "empty": ""})
        with setup(exporter) as monitor:
            monitor.record("push_path", duration_s=0.1)
            assert not monitor.health()["sinks"]["prometheus"]["listening"]
        exporter.delete_from_gateway()
    (put, path, headers, body), (delete, same, _, nothing) = at.seen
    assert (put, delete, same, nothing) == ("PUT", "DELETE", path, b"")
    assert path == "/sub/metrics/job@base64/YS9i/instance/x%20y/empty@base64/="
    assert headers["Authorization"] == "Basic bWU6cGFzcw=="
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert samples(body.decode())["toolweaver_tool_executions_total", "success", "push_path"] == 1


def test_a_push_that_fails_is_an_error_to_who_asks_for_it() -> None:
    """`push()` raises with the reason and the cure; at the end of a setup it is a line in the log."""
    with Answers(400) as at:
        exporter = PrometheusExporter(gateway=f"127.0.0.1:{at.server.server_port}", job="nightly")
        with pytest.raises(SinkUnavailable, match="400"):
            exporter.push()
        with pytest.raises(SinkUnavailable, match="400"):
            exporter.delete_from_gateway()


def test_a_textfile_holds_the_figures_when_the_program_has_ended(tmp_path: Path) -> None:
    """Written in one step, and replaced by the next run."""
    file = tmp_path / "nightly.prom"
    for count in (1, 2):
        with setup(PrometheusExporter(textfile=file)) as monitor:
            assert not monitor.health()["sinks"]["prometheus"]["listening"]
            for _ in range(count):
                monitor.record("textfile_job", duration_s=0.1, cost=0.5)
        found = samples(file.read_text())
        assert found["toolweaver_tool_executions_total", "success", "textfile_job"] == count
    assert [path.name for path in tmp_path.iterdir()] == ["nightly.prom"]


@pytest.mark.system
def test_node_exporter_serves_the_textfile(require_program: Callable[..., str], tmp_path: Path) -> None:
    """The real one, whose textfile collector takes no half-written or malformed file."""
    program = require_program("prometheus-node-exporter", "apt-get install prometheus-node-exporter")
    assert run(f"textfile={str(tmp_path / 'nightly.prom')!r}").returncode == 0
    port = free_port()
    server = subprocess.Popen(
        [
            program, f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
            "--collector.textfile", f"--collector.textfile.directory={tmp_path}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        found = wait_until(lambda: read(f"http://127.0.0.1:{port}"), 30)
    finally:
        server.terminate()
        server.wait(10)
    assert found["toolweaver_tool_executions_total", "success", "short_job"] == 3
    assert found["node_textfile_scrape_error",] == 0


def test_a_folder_that_is_not_there_is_told_at_setup_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`health()` says so while there is time to mend it."""
    with setup(PrometheusExporter(textfile=tmp_path / "gone" / "job.prom")) as monitor:
        health = monitor.health()
        assert not health["ok"]
        assert "--collector.textfile.directory" in health["sinks"]["prometheus"]["cure"]
    assert sum("cannot be written" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"gateway": "ftp://x", "job": "a"}, "is not an address"),
        ({"gateway": "", "job": "a"}, "is not an address"),
        ({"gateway": "http://x:9091"}, "needs a job"),
        ({"gateway": "http://x:9091", "job": ""}, "needs a job"),
        ({"gateway": "x:9091", "job": "a", "grouping_key": {"tool_name": "b"}}, "cannot have 'tool_name'"),
        ({"gateway": "x:9091", "job": "a", "grouping_key": {"job": "b"}}, "cannot have 'job'"),
        ({"gateway": "x:9091", "job": "a", "grouping_key": {"no-name": "b"}}, "cannot have 'no-name'"),
        ({"job": "a"}, "go with gateway="),
        ({"grouping_key": {"a": "b"}}, "go with gateway="),
        ({"textfile": "metrics.txt"}, "name that ends with .prom"),
    ],
)
def test_what_cannot_work_is_an_error_at_once(arguments: dict[str, object], says: str) -> None:
    """Each with what to write instead."""
    with pytest.raises(ConfigurationError, match=says):
        PrometheusExporter(**arguments)  # type: ignore[arg-type]


def test_a_port_that_is_asked_for_is_opened_as_well(tmp_path: Path) -> None:
    """A textfile does not stop a program from being scraped, if it says a port."""
    with setup(PrometheusExporter(port=0, textfile=tmp_path / "job.prom")) as monitor:
        assert monitor.health()["sinks"]["prometheus"]["listening"]


def test_an_exporter_without_a_gateway_pushes_nothing() -> None:
    """Asked to, it says what to give."""
    for act in (PrometheusExporter(listen=False).push, PrometheusExporter(listen=False).delete_from_gateway):
        with pytest.raises(ConfigurationError, match="gateway="):
            act()
