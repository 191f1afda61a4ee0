"""One `/metrics` for all workers of a host: `setup("prometheus", shared=True)`."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolweaver_monitor import Monitor, get_monitor, monitored, setup
from toolweaver_monitor.sinks import PrometheusExporter

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Setup = Callable[..., Monitor]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run"
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", str(path))
    return path


@pytest.fixture
def begin(folder: Path) -> Iterator[Setup]:
    """Set up with a free port, and end it after the test."""
    monitors: list[Monitor] = []

    def started(exporter: PrometheusExporter | None = None, **arguments: object) -> Monitor:
        monitors.append(setup(exporter or PrometheusExporter(port=0), shared=True, **arguments))  # type: ignore[arg-type]
        return monitors[-1]

    yield started
    for monitor in monitors:
        monitor.shutdown()


def in_child(work: Callable[[], object], *, leaves: bool = True) -> int:
    """Run something in a forked child, which ends as a program does, or not at all."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        monitor = get_monitor()
        if leaves and monitor is not None:
            monitor.shutdown()
        code = 0
    finally:
        if not leaves and not code:
            time.sleep(60)
        os._exit(code)


def wait_for(pid: int) -> None:
    assert os.waitpid(pid, 0)[1] == 0


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def scrape(monitor: Monitor) -> dict[str, float]:
    with urllib.request.urlopen(monitor.sinks[0].url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def series(name: str, tool: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'toolweaver_tool_{name}{{tool_name="{tool}"{more}}}'


@monitored("shared.plain", cost=0.01)
def plain() -> None:
    pass


def repeat(times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            plain()

    return work


SUCCESSES = series("executions_total", "shared.plain", status="success")


def test_a_scrape_answers_for_all_workers(begin: Setup) -> None:
    """For itself, for a worker that lives, and for one that has ended."""
    monitor = begin()
    repeat(3)()
    wait_for(in_child(repeat(20)))
    living = in_child(repeat(100), leaves=False)
    try:
        until(lambda: scrape(monitor)[SUCCESSES] == 123)
        found = scrape(monitor)
        assert found[series("duration_seconds_count", "shared.plain")] == 123
        assert found[series("cost_usd_total", "shared.plain")] == pytest.approx(1.23)
    finally:
        end(living)
    assert scrape(monitor)[SUCCESSES] == 123, "a counter never falls"
