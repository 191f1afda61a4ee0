"""C1 and C2: `setup()` repeated, concurrent, after the end, and where ports and names are taken."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import prometheus_client
import pytest
from opcodes import interrupted, places_in
from programs import OURS, TOOL, delivered, run_program

import toolweaver_monitor
from toolweaver_monitor import get_monitor, monitored, setup, shutdown
from toolweaver_monitor._bus import process_exit
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.testing.faults import HangSink, KeepSink

OUR_THREADS = "def ours(): return sorted(t.name for t in threading.enumerate() if 'toolweaver-monitor' in t.name)\n"


@monitored("tool")
def tool() -> None:
    pass


AGAIN = "setup() was called again: the figures of 1 call start from 0; call it once, or shutdown() before a new run\n"
"""The warning that a process logs once."""


def test_c1_setup_twenty_times_leaves_one_set_of_threads_and_no_call_twice(tmp_path: Path) -> None:
    """After twenty there are as many threads as after one, and each call has arrived once.

    Seen red: with the earlier workers not stopped, there were more.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + OUR_THREADS
        + """
def settled(expected=None):
    deadline = time.monotonic() + 3
    while ours() != expected and time.monotonic() < deadline: time.sleep(0.01)
    return ours()
setup(FileSink()); tool(); flush()
first = ours()
for n in range(20):
    setup(FileSink())
    tool()
    flush()
print(first == settled(first), len(first), len(get_monitor()._components.runners))
""",
        str(out),
    )
    assert (ended.code, ended.err) == (0, AGAIN)
    assert ended.out.split() == ["True", "2", "1"]
    assert len(delivered(out)) == 21


def test_c1_eight_threads_that_set_up_at_once_leave_one_setup(tmp_path: Path) -> None:
    """The last one wins, whichever it is; each call made meanwhile has arrived at most once, and each made after once.

    Seen red: without the lock around `_replace`, up to 31 threads were left.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + OUR_THREADS
        + """
start = threading.Barrier(8)
def one(n):
    start.wait()
    for _ in range(5):
        setup(FileSink(name=f"file {n}"))
        tool()
threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
for _ in range(100): tool()
flush()
deadline = time.monotonic() + 3
while len(ours()) > 2 and time.monotonic() < deadline: time.sleep(0.01)
print(len(ours()), len(get_monitor()._components.runners), get_monitor().health()["ok"])
""",
        str(out),
    )
    assert (ended.code, len(ended.err.splitlines())) == (0, 1)
    assert ended.err.startswith("setup() was called again: ")
    assert ended.out.split() == ["2", "1", "True"]
    assert len(delivered(out)) == 140


def test_c1_calls_made_while_one_setup_replaces_another_are_all_counted_once() -> None:
    """Four threads call without a pause through twenty setups: each call is in the old one or in the new.

    Seen red: with the bus detached before the next setup was attached, half the calls were missing.
    """
    sink = KeepSink()
    sink.max_calls = 10**7  # type: ignore[attr-defined]
    collector = toolweaver_monitor.MetricsCollector()
    setup(sink, collector)
    running = True
    made = [0] * 4

    def call(me: int) -> None:
        while running:
            tool()
            made[me] += 1
            while running and sum(made) - len(sink.calls) > 10_000:  # or a busy machine fills the queue
                time.sleep(0.001)

    threads = [threading.Thread(target=call, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for n in range(20):
        other = KeepSink(f"other {n}")
        other.max_calls = sink.max_calls  # type: ignore[attr-defined]
        monitor = setup(sink, collector, other)
    running = False
    for thread in threads:
        thread.join()
    assert monitor.flush(20.0)
    assert collector.summary()["count"] == sum(made)
    assert len(sink.calls) == len({id(call) for call in sink.calls}) == sum(made)
    assert sink.overlaps == 0


def test_c1_setup_after_shutdown_and_shutdown_twice_work() -> None:
    """As often as one likes; what ran in between ran bare.

    Seen red: with the runner of an ended setup used again, the second call was dropped and `shutdown()` said False.
    """
    sink = KeepSink()
    for n in range(3):
        monitor = setup(sink)
        tool()
        assert shutdown() is True
        assert monitor.shutdown() is True
        tool()
        assert len(sink.calls) == n + 1


def test_c1_a_sink_that_hung_and_is_passed_again_is_never_entered_twice() -> None:
    """Its earlier write is still going on when the next setup begins: the new one waits for it.

    Seen red: without `_abandoned`, two writes were in the sink at once.
    """
    with HangSink() as sink:
        monitor = setup(sink)
        tool()
        assert sink.hanging.wait(2)
        assert monitor.shutdown(0.1) is False
        monitor = setup(sink)
        tool()
        assert monitor.flush(0.3) is False
        assert sink.writes == 1
        sink.release()
        assert monitor.flush(5.0) is True
        assert (sink.writes, sink.overlaps, sink.closes) == (2, 0, 0)


def test_c1_a_signal_handler_that_calls_setup_inside_setup_is_told_that_it_is_busy() -> None:
    """Wherever it comes in: one setup is there afterwards, it counts, and whatever else was set up has been ended.

    Seen red: without the refusal, the handler's setup was left running beside the one it had come into.
    """
    places, rejected, done = places_in(lambda: setup(KeepSink())), 0, 0
    for place in range(1, places + 1, max(1, places // 100)):
        sinks = [KeepSink("outer"), KeepSink("handler's")]

        def handler(sink: KeepSink = sinks[1]) -> None:
            nonlocal rejected, done
            try:
                setup(sink)
                done += 1
            except ConfigurationError as error:
                assert "still under way" in str(error)  # noqa: PT017 - it must not raise where it comes in
                rejected += 1

        interrupted(lambda sink=sinks[0]: setup(sink), place, handler)  # type: ignore[misc]
        monitor = get_monitor()
        assert monitor is not None
        assert process_exit.registered() == (monitor,), place
        tool()
        assert monitor.summary()["count"] == 1, place
        assert monitor.flush(5.0), place
        [live] = monitor.sinks
        assert [(len(sink.calls), sink.closes) for sink in sinks if sink is live] == [(1, 0)], place
        assert all(sink.closes <= 1 and not sink.calls for sink in sinks if sink is not live), place
    assert rejected > 20
    assert done > 0


def test_c1_setup_in_a_forked_child_is_its_own(tmp_path: Path) -> None:
    """The child replaces what it was born with, and the parent's goes on.

    Seen red: with the parent's threads kept in `Worker._in_child`, and taken for running without a look whether they
    are, the child's `setup()` hung.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + OUR_THREADS
        + """
setup(FileSink()); tool()
child = os.fork()
if child == 0:
    began = time.monotonic()
    for _ in range(3): setup(FileSink()); tool()
    flush()
    print(len(ours()), time.monotonic() - began < 1.0, flush=True)
    sys.exit(0)
os.waitpid(child, 0)
tool()
""",
        str(out),
        options=("-W", "ignore"),
    )
    assert (ended.code, ended.err) == (0, AGAIN)
    assert ended.out.split() == ["2", "True"]
    assert len(delivered(out)) == 5


def test_c2_a_port_in_use_is_told_and_everything_else_works() -> None:
    """`setup()` succeeds; `health()` names the port and the cure; figures are there to be read.

    Seen red: with `start` not shielded, `setup()` raised.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monitor = setup(PrometheusExporter(port=port))
        tool()
        told = monitor.health()["sinks"]["prometheus"]
        assert told["state"] == "unavailable"
        assert str(port) in told["last_error"]
        assert "port=0" in told["last_error"]
        assert monitor.summary()["count"] == 1


def test_c2_a_registry_that_has_our_names_is_told_and_everything_else_works() -> None:
    """`setup()` succeeds, `health()` says so, and the earlier collector goes on.

    Seen red: with the registry's names not looked at, ours was said to be shown; with `start` not shielded, `setup()`
    raised.
    """
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Counter(
        "toolweaver_tool_executions", "of the application's own", ["tool_name"], registry=registry
    )
    theirs.labels("theirs").inc(7)
    monitor = setup(PrometheusExporter(port=0, registry=registry))
    tool()
    told = monitor.health()["sinks"]["prometheus"]
    assert told["state"] == "unavailable"
    assert "registry" in told["last_error"]
    assert registry.get_sample_value("toolweaver_tool_executions_total", {"tool_name": "theirs"}) == 7.0
    assert monitor.summary()["count"] == 1


def test_c2_the_applications_registry_takes_each_setup_in_turn() -> None:
    """Setting up again with the same registry puts the new figures in the place of the old ones.

    Seen red: with the collector not taken out at close, the second said that the names were taken.
    """
    registry = prometheus_client.CollectorRegistry()
    for n in range(3):
        monitor = setup(PrometheusExporter(port=0, registry=registry))
        tool()
        assert monitor.health()["sinks"]["prometheus"]["state"] == "ok"
        labels = {"tool_name": "tool", "status": "success"}
        assert registry.get_sample_value("toolweaver_tool_executions_total", labels) == 1.0, n


def test_c2_a_module_that_is_reloaded_or_there_twice_breaks_nothing(tmp_path: Path) -> None:
    """A reload, and a second copy of the package beside it, as two versions would be: no error, each serves its own.

    Seen red: with our metrics in prometheus_client's global registry, the second copy was refused.
    """
    twice = """
import importlib, sys, urllib.request
import toolweaver_monitor
from toolweaver_monitor.sinks import PrometheusExporter

def run(package):
    exporter = sys.modules[package.__name__ + ".sinks"].PrometheusExporter(port=0)
    monitor = package.setup(exporter)
    package.monitored("tool")(lambda: None)()
    body = urllib.request.urlopen(exporter.url).read().decode()
    assert 'toolweaver_tool_executions_total{tool_name="tool",status="success"} 1' in body, body
    assert monitor.health()["ok"], monitor.health()
    return monitor

import app
importlib.reload(app)
app.tool()
first = run(toolweaver_monitor)
saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "toolweaver_monitor"}
import toolweaver_monitor as second
import toolweaver_monitor.sinks
assert second is not toolweaver_monitor or second is not saved["toolweaver_monitor"]
run(second)
assert first.summary()["count"] == 1
print("fine")
"""
    (tmp_path / "app.py").write_text(TOOL)
    done = subprocess.run(
        [sys.executable, "-c", twice],
        env={"PYTHONPATH": f"{OURS}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "fine\n"


def test_c2_the_endpoint_of_a_monitor_that_was_shut_down_is_gone() -> None:
    """Nothing listens after the end.

    Seen red: with the endpoint not closed, it answered.
    """
    monitor = setup(PrometheusExporter(port=0))
    url = monitor.sinks[0].url
    urllib.request.urlopen(url, timeout=5).close()
    assert monitor.shutdown()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
