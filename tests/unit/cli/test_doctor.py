"""The command `toolweaver-monitor doctor`: everything is tried for real, and each fault has its cure."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import pytest
from helpers import OURS

from toolweaver_monitor import instrument, setup, track, uninstrument
from toolweaver_monitor._cli import main
from toolweaver_monitor._cli.doctor import running_program, self_check, sink_checks, subprocesses
from toolweaver_monitor._cli.doctor.findings import Finding
from toolweaver_monitor._core import config
from toolweaver_monitor.sinks import PrometheusExporter

Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture(autouse=True)
def a_clean_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings or a W&B account, with a home directory of its own."""
    for name in list(os.environ):
        if name.startswith(("TOOLWEAVER_MONITOR_", "WANDB_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("TOOLWEAVER_MONITOR_PROMETHEUS_PORT", "0")
    monkeypatch.setenv("PYTHONPATH", OURS)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run the command; return its exit code, and the findings by name."""

    def run(*argv: str) -> tuple[int, dict[str, dict[str, Any]]]:
        code = main(["doctor", "--json", *argv])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        return code, {finding["name"]: finding for finding in report["findings"]}

    return run


@pytest.fixture
def stranger() -> Iterator[Callable[..., int]]:
    """Start a web server that is not from this library; yield its port."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int = 404, body: bytes = b"hello", says: str | None = None) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                refused = says is not None and self.headers.get("Authorization") != f"Bearer {says}"
                self.send_response(401 if refused else status)
                self.end_headers()
                self.wfile.write(b"" if refused else body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_all_is_well_where_all_is_well(doctor: Doctor) -> None:
    """The guide's verification holds, memory and Prometheus hold the same calls, and the exit code is 0."""
    code, found = doctor("--sinks", "prometheus,log")
    assert code == 0, found
    assert {"prometheus", "log", "record", "cost", "error rate", "memory", "delivery"} <= found.keys()
    assert {finding["state"] for finding in found.values()} <= {"ok", "note"}
    assert found["agreement"]["says"].startswith("memory, Prometheus and the log hold the same: 7 calls, 1 failed")


def test_nothing_is_left_behind(doctor: Doctor, tmp_path: Path) -> None:
    """No folder of W&B runs, no port, nothing set up."""
    doctor("--sinks", "prometheus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "name", "says"),
    [
        (
            "TOOLWEAVER_MONITOR_MAX_OPERATIONS",
            "many",
            "TOOLWEAVER_MONITOR_MAX_OPERATIONS",
            "give a whole number from 1 up, or unset it",
        ),
        (
            "TOOLWEAVER_MONITOR_PROMETEUS_PORT",
            "1",
            "TOOLWEAVER_MONITOR_PROMETEUS_PORT",
            "write TOOLWEAVER_MONITOR_PROMETHEUS_PORT",
        ),
        ("TOOLWEAVER_MONITOR_SINKS", "grafanna", "grafanna", "there are prometheus, wandb, otlp, sqlite, log"),
        ("TOOLWEAVER_MONITOR_ENABLED", "no", "TOOLWEAVER_MONITOR_ENABLED", "unset TOOLWEAVER_MONITOR_ENABLED"),
        ("TOOLWEAVER_MONITOR_LOG_LEVEL", "LOUD", "log", "give one such as 'INFO'"),
        ("TOOLWEAVER_MONITOR_PROMETHEUS_ADDR", "0.0.0.0", "prometheus", "insecure=True"),
    ],
)
def test_what_the_environment_has_wrong_is_told_with_the_cure(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, says: str
) -> None:
    """The rest is looked at all the same: the self-check does not read the user's settings."""
    monkeypatch.setenv(variable, value)
    options = () if name == "grafanna" else ("--sinks", "prometheus,log")
    code, found = doctor(*options)
    shown = found[name or variable]
    assert (code, shown["state"]) == (1, "wrong")
    assert says in shown["cure"]
    assert found["agreement"]["state"] == "ok"


def test_without_a_temporary_folder_it_names_the_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container with a read-only root. Seen red: without a cure, and with the code of a fault that it found."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert main(["doctor"]) == 2
    assert "set TMPDIR to a folder that can be written" in capsys.readouterr().err


def test_scripts_get_the_age_of_the_prices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `health()` tells it; and naming a sink that is there in any case is no mistake."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SINKS", "metrics,costs,errors")
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["prices"].keys() >= {"ready", "sources", "age_days"}
    assert [finding for finding in report["findings"] if finding["about"] == "Sinks"] == []


def test_a_collector_is_asked_for_an_answer(real_otlp: None, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that listens takes spans; where none does, the cure names the variable."""
    from otlp_receiver import Receiver

    receiver = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    code, found = doctor("--sinks", "otlp")
    assert (code, found["otlp"]["state"], receiver.requests > 0) == (0, "ok", True)
    receiver.stop()
    code, found = doctor("--sinks", "otlp")
    assert (code, found["otlp"]["state"]) == (1, "wrong")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in found["otlp"]["cure"]


def test_a_store_is_checked_without_being_created(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is no store is a fault with its cure. Seen red: with the store opened, which creates it."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_STORE", str(tmp_path / "new" / "runs.db"))
    code, found = doctor("--sinks", "sqlite")
    assert (code, found["sqlite"]["state"]) == (0, "ok")
    assert list(tmp_path.iterdir()) == []
    other = tmp_path / "other.db"
    other.write_text("mine")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_STORE", str(other))
    code, found = doctor("--sinks", "sqlite")
    assert (code, found["sqlite"]["state"]) == (1, "wrong")
    assert "not touched" in found["sqlite"]["cure"]


def test_every_sink_that_fails_is_told_in_one_run(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, stranger: Callable[..., int]
) -> None:
    """Nothing hides behind the first fault; each has its cure."""
    monkeypatch.setattr(sink_checks, "installed", lambda package: False)
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SINKS", "prometheus, wandb, log")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_PROMETHEUS_PORT", str(stranger()))
    monkeypatch.setenv("TOOLWEAVER_MONITOR_LOG_LEVEL", "LOUD")
    code, found = doctor()
    assert code == 1
    assert {name: found[name]["state"] for name in ("prometheus", "wandb", "log")} == dict.fromkeys(
        ("prometheus", "wandb", "log"), "wrong"
    )
    assert all(finding["cure"] for finding in found.values() if finding["state"] == "wrong")


def test_it_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Long findings are wrapped below where they begin."""
    monkeypatch.setenv("COLUMNS", "60")
    main(["doctor", "--url", "localhost:1"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith(" " * 18) for line in lines)


def test_settings_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The environment or the default; and nothing in them reaches the terminal raw."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_WANDB_PROJECT", "receipts\x1b[31m")
    main(["doctor", "--sinks", "log"])
    text = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert rows["TOOLWEAVER_MONITOR_WANDB_PROJECT"] == ["receipts\\x1b[31m", "set"]
    assert rows["TOOLWEAVER_MONITOR_MAX_OPERATIONS"] == ["10000"]
    assert "\x1b" not in text
    assert text.rstrip().endswith("All is well.")


# --- metrics not visible --------------------------------------------------------------------------------------------


def test_a_port_that_a_stranger_has_is_told_from_one_of_ours(doctor: Doctor, stranger: Callable[..., int]) -> None:
    """Who has the port decides what to do."""
    code, found = doctor("--sinks", "prometheus", "--port", str(stranger(404)))
    assert code == 1
    assert "answers 404, without toolweaver_ metrics" in found["prometheus"]["says"]
    assert "port=0" in found["prometheus"]["cure"]


def test_a_taken_port_is_a_fault_only_where_the_endpoint_is_wanted(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, stranger: Callable[..., int]
) -> None:
    """The environment or the command says that it is, in any of these ways; else the port is only mentioned."""
    monkeypatch.delenv("TOOLWEAVER_MONITOR_PROMETHEUS_PORT")
    port = stranger()
    monkeypatch.setattr(config, "PROMETHEUS_PORT", config.PROMETHEUS_PORT._replace(default=port))
    monkeypatch.setattr("toolweaver_monitor._cli.doctor.sink_checks.installed", lambda package: False)
    code, found = doctor()
    assert (code, found["prometheus"]["state"]) == (0, "note")
    assert f"127.0.0.1:{port}" in found["prometheus"]["says"]
    assert found["prometheus"]["says"].endswith("no fault, since this sink is not configured")
    assert found["prometheus"]["cure"]
    assert doctor("--sinks", "prometheus")[0] == doctor("--port", str(port))[0] == 1
    for variable, value in (("SINKS", "prometheus"), ("PROMETHEUS_PORT", str(port)), ("PROMETHEUS_ADDR", "127.0.0.1")):
        with monkeypatch.context() as patch:
            patch.setenv(f"TOOLWEAVER_MONITOR_{variable}", value)
            assert doctor()[0] == 1


def test_a_port_that_answers_nothing_does_not_hold_the_doctor_up(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that accepts connections and never answers is reported as such."""
    monkeypatch.setattr("toolweaver_monitor._cli.http_get.GET_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, found = doctor("--sinks", "prometheus", "--port", str(silent.getsockname()[1]))
    assert code == 1
    assert "no answer in time" in found["prometheus"]["says"]


@pytest.mark.parametrize("trickle", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n#", b"HTTP/1.1 200 OK"])
def test_an_answer_that_trickles_for_ever_is_cut(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, trickle: bytes
) -> None:
    """In the status line, in the headers, or in the body."""
    monkeypatch.setattr("toolweaver_monitor._cli.http_get.DEADLINE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(trickle)
                for _ in range(600):
                    connection.sendall(b"a")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        code, found = doctor("--url", f"http://127.0.0.1:{server.getsockname()[1]}/metrics")
    assert code == 1
    assert "no answer in time" in found["endpoint"]["says"]


def test_a_program_of_the_users_on_the_port_is_examined(doctor: Doctor) -> None:
    """It is no fault that it runs; what it lost is."""
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    with track("tool") as call:
        call.record(cost=0.25)
    code, found = doctor("--sinks", "prometheus", "--port", str(exporter.port))
    assert code == 0
    assert "served by a program of yours" in found["prometheus"]["says"]
    assert found["calls"]["says"] == "1 call of 1 tool, 0 failed, $0.2500 spent, 0 open now"


@pytest.mark.parametrize("where", ["port", "wsgi"])
def test_what_a_program_monitors_by_instrument_is_listed(doctor: Doctor, where: str) -> None:
    """Target, methods and calls, from the page that the program serves beside its metrics, or its application below.

    Seen red: before, only the program's own `health()` told.
    """

    class Agents:
        def run_agent(self, name: str) -> str:
            return name

    def mounted(environ: dict[str, Any], start: Any) -> Any:
        inside = {"SCRIPT_NAME": "/metrics", "PATH_INFO": environ["PATH_INFO"].removeprefix("/metrics")}
        return monitor.wsgi(page=True)(environ | inside, start)

    exporter = PrometheusExporter(port=0)
    with setup(exporter) as monitor, make_server("127.0.0.1", 0, mounted) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        instrument(Agents)
        Agents().run_agent("planner")
        url = exporter.url if where == "port" else f"http://127.0.0.1:{server.server_port}/metrics"
        code, found = doctor("--url", url)
        uninstrument(Agents)
        server.shutdown()
    assert code == 0
    assert found["monitored"]["says"].endswith("Agents (run_agent), 1 call seen")


def test_a_running_program_shows_a_table_of_its_tools(capsys: pytest.CaptureFixture[str]) -> None:
    """The busiest first. Seen red: with the total alone, no tool was named."""
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    for name in ("ocr", "ocr", "parse"):
        with track(name) as call:
            call.record(cost=0.25)
            if name == "parse":
                call.fail("no total")
    assert main(["doctor", "--url", exporter.url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["tool", "calls", "failed", "average", "cost"] in rows
    assert [row[:3] for row in rows if row and row[0] in ("ocr", "parse")] == [["ocr", "2", "0"], ["parse", "1", "1"]]
    main(["doctor", "--json", "--url", exporter.url])
    tools = json.loads(capsys.readouterr().out)["tools"]
    assert [(tool["tool"], tool["calls"], tool["cost"]) for tool in tools] == [
        ("ocr", "2", "$0.5000"),
        ("parse", "1", "$0.2500"),
    ]


def test_a_cost_that_is_not_known_is_shown_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one tool in the table, and of all of them. Seen red: it was $0.0000, as for a tool that is free."""
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    with track("unpriced_tool") as call:
        call.record(tokens=7)
    assert main(["doctor", "--url", exporter.url]) == 0
    shown = capsys.readouterr().out
    assert "1 call of 1 tool, 0 failed, no cost known, 0 open now" in shown
    assert "1 call that used tokens or a model: cost unknown" in shown
    with track("free_tool") as call:
        call.record(cost=0)
    main(["doctor", "--json", "--url", exporter.url])
    costs = {tool["tool"]: tool["cost"] for tool in json.loads(capsys.readouterr().out)["tools"]}
    assert costs == {"unpriced_tool": "-", "free_tool": "$0.0000"}


def test_a_port_that_an_ended_program_still_holds_is_told_from_one_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """It is bound and nobody listens, as in the minute after a scrape. Seen red: the cure was to stop what uses it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        main(["doctor", "--json", "--sinks", "prometheus", "--port", str(held.getsockname()[1])])
    (found,) = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["name"] == "prometheus"]
    assert found["says"].endswith("(Address already in use): nothing is listening there")
    assert found["cure"].startswith("wait a minute: connections of a program that has ended may hold it")


def test_a_running_program_shows_its_labels_and_whether_they_have_too_many_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of tools is the same. Seen red: labels went unsaid, and their overflow too."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_LABEL_VALUES", "2")
    exporter = PrometheusExporter(port=0, labels=["customer", "model"])
    setup(exporter)
    for customer in ("acme", "bob"):
        with track("ocr", customer=customer) as call:
            call.record(cost=0.25)
    assert main(["doctor", "--url", exporter.url]) == 0
    said = capsys.readouterr().out
    assert "customer (2 values), model (0 values)" in said
    assert ["ocr", "2", "0"] in [line.split()[:3] for line in said.splitlines()]
    with track("ocr", customer="eve"):
        pass
    assert main(["doctor", "--url", exporter.url]) == 1
    assert "choose tags with few values" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "state", "cure"),
    [
        ("TOOLWEAVER_MONITOR_PROMETHUS_PORT", "wrong", "write TOOLWEAVER_MONITOR_PROMETHEUS_PORT"),
        ("TOOLWEAVER_MONITER_SINKS", "wrong", "write TOOLWEAVER_MONITOR_SINKS"),
        ("TOOLWEAVER_MONITOR_PORT", "wrong", "write TOOLWEAVER_MONITOR_PROMETHEUS_PORT"),
        ("TOOLWEAVER_MONITOR_COLOUR", "wrong", "unset it"),
        ("TOOLWEAVER_PROMETHEUS_PORT", "note", "set TOOLWEAVER_MONITOR_PROMETHEUS_PORT"),
        ("MONITORING_BACKENDS", "note", "set TOOLWEAVER_MONITOR_SINKS"),
    ],
)
def test_a_variable_that_nothing_here_reads_is_told(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, variable: str, state: str, cure: str
) -> None:
    """A misspelt one is wrong; one of ToolWeaver's own is no fault.

    Seen red: only variables of our prefix were looked at; and a prefix in common made any two names alike, so that
    TOOLWEAVER_MONITOR_STORE was the cure for a port.
    """
    monkeypatch.setenv(variable, "1")
    _, found = doctor("--sinks", "log")
    told = found[variable]["cure"].removesuffix(", or unset it")
    assert (found[variable]["state"], told.removeprefix("for this library, ")) == (state, cure)


def test_the_dashboard_and_the_rules_are_named(doctor: Doctor) -> None:
    """Where they are, in a checkout and in a wheel."""
    _, found = doctor("--sinks", "log")
    paths = found["grafana"]["says"].split(" and ")
    assert [Path(path).name for path in paths] == ["grafana.json", "alerts.yml"]
    assert all(Path(path).is_file() for path in paths)


def test_a_running_program_tells_its_drops_its_queue_and_what_is_stuck(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from `/metrics` alone: nothing else of the program is needed."""
    monkeypatch.setattr(running_program, "SECOND_LOOK_S", 0.1)
    going = threading.Event()
    exporter = PrometheusExporter(port=0)
    monitor = setup(exporter, lambda call: going.wait(30))
    with track("still open"):
        for _ in range(12_000):
            with track("tool"):
                pass
        code, found = doctor("--url", exporter.url)
        dropped = monitor.health()["dropped"]["queue_full"]
    going.set()
    assert code == 1
    assert found["calls"]["says"].startswith("12,000 calls of 1 tool, 0 failed")
    assert found["calls"]["says"].endswith("1 open now")
    assert found["<lambda>"]["says"] == f"{dropped:,} calls dropped (queue_full)"
    assert "max_calls" in found["<lambda>"]["cure"]


def test_a_sink_that_delivers_nothing_while_calls_wait_is_stuck(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two looks at a program tell a queue that moves from one that does not."""
    monkeypatch.setattr(running_program, "SECOND_LOOK_S", 0.1)
    going = threading.Event()
    exporter = PrometheusExporter(port=0)
    setup(exporter, lambda call: going.wait(30))
    with track("tool"):
        pass
    assert main(["doctor", "--url", exporter.url]) == 1
    going.set()
    assert "1 wait, and none was delivered within" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "body", "path", "says"),
    [
        (404, b"", "/metric", "the path is /metrics"),
        (200, b"<html>hello", "/metrics", "another program has this port"),
        (403, b"", "/metrics", "allowed_hosts"),
        (401, b"", "/metrics", "--token-file"),
        (500, b"", "/metrics", "the program's log"),
        (200, b"toolweaver_active_operations{ 1\n\x1b[31m", "/metrics", "see what serves this address"),
    ],
)
def test_endpoint_not_found_has_many_causes_and_each_its_cure(
    doctor: Doctor, stranger: Callable[..., int], status: int, body: bytes, path: str, says: str
) -> None:
    """What was answered says what to do."""
    code, found = doctor("--url", f"http://127.0.0.1:{stranger(status, body)}{path}")
    assert code == 1
    assert says in found["endpoint"]["cure"]


def test_a_program_that_does_not_run_is_told(doctor: Doctor) -> None:
    """Nothing listens: the first thing to look at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, found = doctor("--url", f"localhost:{port}")
    assert code == 1
    assert "nothing is listening there" in found["endpoint"]["says"]


def test_https_asked_of_plain_http_is_told(doctor: Doctor, stranger: Callable[..., int]) -> None:
    """No traceback, a sentence."""
    code, found = doctor("--url", f"https://127.0.0.1:{stranger(200)}/metrics")
    assert code == 1
    assert "TLS failed" in found["endpoint"]["says"]


@pytest.mark.parametrize("held", [b"s3cret\nX: 1\n", b"\xff\xfe", b"", "s\u00e9cret".encode()])
def test_a_file_that_holds_no_token_is_told_and_not_shown(
    held: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than one line, or not ASCII: exit code 2, no traceback.

    Seen red: with the text handed on as it was, which the traceback of `http.client` showed.
    """
    (tmp_path / "token").write_bytes(held)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--url", "localhost:1", "--token-file", str(tmp_path / "token")])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "holds no token" in said.err
    assert "cret" not in said.out + said.err


def test_a_token_is_read_from_a_file_and_not_from_the_command_line(
    doctor: Doctor, stranger: Callable[..., int], tmp_path: Path
) -> None:
    """Command lines are seen by everybody on the machine."""
    port = stranger(200, b"toolweaver_active_operations 0\n", says="s3cret")
    (tmp_path / "token").write_text("s3cret\n")
    for asked in (["--url", f"http://127.0.0.1:{port}/metrics"], ["--sinks", "prometheus", "--port", str(port)]):
        code, found = doctor(*asked)
        assert code == 1
        assert "--token-file" in (found.get("endpoint") or found["prometheus"])["cure"]
        assert doctor(*asked, "--token-file", str(tmp_path / "token"))[0] == 0


# --- W&B not logging ------------------------------------------------------------------------------------------------


def test_wandb_not_installed_is_told_with_the_install(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said, not raised; feigned here, and real where the suite runs without any extra."""
    monkeypatch.setattr(sink_checks, "installed", lambda package: False)
    code, found = doctor("--sinks", "wandb")
    assert code == 1
    assert "pip install" in found["wandb"]["cure"]
    assert found["agreement"]["says"].startswith("memory, Prometheus and the log hold the same")
    code, found = doctor()
    assert (code, found["wandb"]["state"]) == (0, "note")  # an extra that nobody asked for


def test_a_folder_of_offline_runs_is_not_taken_for_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python takes `./wandb` for an empty package."""
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sink_checks.installed("no_such_package") is False
    assert sink_checks.installed("json") is True


# --- the doctor itself ----------------------------------------------------------------------------------------------


def test_places_that_do_not_agree_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-check can fail: here a scrape is made to hold one call less."""
    seen = self_check.EXPECTED._replace(calls=6)
    monkeypatch.setattr(self_check, "_in_prometheus", lambda url: seen)
    found = list(self_check.agreement(with_wandb=False))
    assert [(one.state, one.name) for one in found] == [("ok", "delivery"), ("wrong", "agreement")]
    assert found[1].says == f"Prometheus holds {seen}, not {self_check.EXPECTED}"


def test_a_probe_that_hangs_or_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The doctor always comes to an end, whatever it looks at."""
    monkeypatch.setattr(subprocesses, "PROBE", "http.server")
    [hung] = subprocesses.ProbeProcess("hung", ["0"], os.environ, tmp_path).findings(0.5)
    assert (hung.state, hung.name) == ("wrong", "hung")
    assert "no answer within" in hung.says
    [broken] = subprocesses.ProbeProcess("broken", ["no-port"], os.environ, tmp_path).findings(30)
    assert "it ended with 2" in broken.says


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["doctr"],
        ["doctor", "--sinks", "grafanna"],
        ["doctor", "--sinks", ""],
        ["doctor", "--port", "70000"],
        ["doctor", "--url", "ftp://localhost"],
        ["doctor", "--url", "http://ann:secret@localhost/metrics"],
        ["doctor", "--url", "localhost:1", "--token-file", "no-such-file"],
    ],
)
def test_a_command_line_that_cannot_be_understood_ends_with_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stdout, one clear line on stderr."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "toolweaver-monitor" in err


def test_without_a_command_the_help_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Who types only the name is shown what to type next."""
    with pytest.raises(SystemExit):
        main([])
    assert "doctor check that everything works" in " ".join(capsys.readouterr().err.split())


def test_each_section_is_shown_as_soon_as_it_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The self-check takes seconds; the other sections are printed before it."""
    shown: list[str] = []

    def findings(child: subprocesses.ProbeProcess, timeout_s: float) -> list[Finding]:
        shown.append(capsys.readouterr().out)
        return real(child, timeout_s)

    real = subprocesses.ProbeProcess.findings
    monkeypatch.setattr(subprocesses.ProbeProcess, "findings", findings)
    assert main(["doctor", "--sinks", "log"]) == 0
    assert [title in shown[0] for title in ("\nSettings (", "\nSinks\n", "\nPrices\n", "\nSelf-check\n")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert capsys.readouterr().out.endswith("\nAll is well.\n")


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """One screen says how it is used."""
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "exit code: 0" in text


def test_a_terminal_that_cannot_show_a_letter_gets_its_code() -> None:
    """Names of the user's may hold anything; and warnings that are errors are none of the doctor's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "toolweaver_monitor", "doctor", "--sinks", "log"],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "TOOLWEAVER_MONITOR_WANDB_PROJECT": "\u00fcber"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xfcber" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    """No traceback for a full disk, and none for a reader that has gone."""
    command = [sys.executable, "-m", "toolweaver_monitor", "doctor", "--url", "localhost:1"]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "toolweaver-monitor: No space left on device\n")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as gone:
        assert gone.stdout is not None
        assert gone.stderr is not None
        gone.stdout.close()
        assert (gone.wait(60), gone.stderr.read()) == (1, "")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes descriptors")
def test_a_command_started_with_its_output_closed_gives_its_exit_code() -> None:
    """As `cron` jobs do: `toolweaver-monitor doctor >&-` says nothing, and no traceback."""
    command = f"{shlex.quote(sys.executable)} -m toolweaver_monitor doctor --url localhost:1 >&-"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
