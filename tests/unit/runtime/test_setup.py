"""`setup()`: everything is put together by one call."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from toolweaver_monitor import (
    MetricsCollector,
    ToolCall,
    current_call,
    flush,
    get_monitor,
    monitored,
    setup,
    shutdown,
    track,
)
from toolweaver_monitor._bus import retry, sigterm
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import PrometheusExporter


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.calls: list[ToolCall] = []
        self.closed = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        self.calls.extend(calls)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


@monitored("doubled")
def double(x: int) -> int:
    return 2 * x


def test_before_setup_a_watched_function_runs_and_nothing_is_kept() -> None:
    """Everything works before `setup()`, quietly."""
    assert double(4) == 8
    with track("block") as call:
        call.record(cost=1.0)
    assert get_monitor() is None
    assert flush() is True
    assert shutdown() is True
    assert setup().summary()["count"] == 0


def test_disabled_means_bare() -> None:
    """`enabled=False` leaves every function as it was."""
    monitor = setup(enabled=False)
    assert double(4) == 8
    assert monitor.summary()["count"] == 0


def test_a_second_setup_replaces_the_first_and_a_sink_passed_again_goes_on() -> None:
    """The old one is flushed and closed; a sink object given to both is not."""
    old, going_on = Kept("old"), Kept("going on")
    first = setup(old, going_on)
    double(1)
    second = setup(going_on)
    double(2)
    assert second.flush()
    assert (first.closed, old.closed, going_on.closed) == (True, 1, 0)
    assert (len(old.calls), len(going_on.calls)) == (1, 2)
    assert second.summary()["count"] == 1
    assert second.shutdown()
    assert going_on.closed == 1


def test_a_collector_passed_again_keeps_its_totals() -> None:
    """The user's own metrics object counts over both setups."""
    mine = MetricsCollector(max_operations=5)
    setup(mine)
    double(1)
    second = setup(mine)
    double(1)
    assert second.metrics is mine
    assert mine.summary()["count"] == 2
    second.shutdown()
    assert mine.summary()["count"] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the figures of 2 calls start from 0"),
        ({"budget": 5}, "the figures of 2 calls and what its budgets had spent start from 0"),
    ],
)
def test_a_setup_that_throws_figures_away_says_so_once(
    settings: Any, said: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One WARNING for figures and budgets together, at the first setup of the process that replaces another."""
    monkeypatch.setattr("toolweaver_monitor._runtime.setup._has_warned", False)
    setup(**settings)
    for _ in range(3):
        for _ in range(2):
            with track("ocr") as call:
                call.record(cost=0.10)
        setup(**settings)
    (line,) = [record.message for record in caplog.records if "setup() was called again" in record.message]
    assert said in line


def test_a_setup_that_throws_nothing_away_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Without calls, after a shutdown, and with the collector given again, nothing is lost."""
    setup()
    setup()
    double(1)
    shutdown()
    setup(mine := MetricsCollector())
    double(1)
    setup(mine)
    assert [record.message for record in caplog.records if "again" in record.message] == []


def test_any_callable_that_takes_a_call_is_a_sink() -> None:
    """The smallest sink there is."""
    names: list[str] = []
    monitor = setup(lambda call: names.append(call.tool_name))
    double(1)
    assert monitor.flush()
    assert names == ["doubled"]


def test_a_callable_that_fails_at_one_call_is_not_given_the_earlier_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch is tried again from the call that failed."""
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.001)
    given: list[int] = []

    def insert(call: ToolCall) -> None:
        given.append(int(call.tags["number"]))
        if given.count(2) == 1 and given[-1] == 2:
            raise ConnectionError("the database was away for a moment")

    monitor = setup(insert)
    for number in range(5):
        with track("tool", number=number):
            pass
    assert monitor.flush(10.0) or monitor.flush(10.0)
    assert given == [0, 1, 2, 2, 3, 4]
    assert monitor.health()["sinks"]["insert"]["delivered"] == 5


def test_two_sinks_of_one_name_are_told_apart() -> None:
    """`name` and `name-2`, each with books of its own."""
    monitor = setup(Kept(), Kept())
    assert set(monitor.health()["sinks"]) == {"kept", "kept-2"}


def test_tags_of_setup_decorator_and_block_come_together() -> None:
    """The nearer one wins."""
    sink = Kept()
    monitor = setup(sink, tags={"env": "test", "who": "setup"})

    @monitored("tagged", tags={"who": "decorator"})
    def tagged() -> None:
        current_call().record(step=3)

    tagged()
    with track("block", who="block"):
        pass
    monitor.flush()
    assert [dict(call.tags) for call in sink.calls] == [
        {"env": "test", "who": "decorator", "step": 3},
        {"env": "test", "who": "block"},
    ]


def test_captured_arguments_and_results_only_when_asked_for() -> None:
    """Nothing is kept of what goes in and out unless told to, and then without secrets."""
    sink = Kept()
    monitor = setup(sink)
    double(21)
    monitor.flush()
    assert (sink.calls[0].arguments, sink.calls[0].result) == (None, None)
    monitor = setup(sink, capture=True)

    @monitored("login")
    def login(user: str, password: str) -> str:
        return "ok"

    login("ann", password="hunter2-and-more")
    monitor.flush()
    assert "ann" in sink.calls[1].arguments
    assert "hunter2" not in sink.calls[1].arguments
    assert "ok" in sink.calls[1].result


def test_open_calls_are_listed_with_how_long_they_have_run() -> None:
    """What is running right now, the longest first."""
    monitor = setup()
    with track("outer"), track("inner", customer="acme"):
        outer, inner = monitor.active()
    assert (outer["tool_name"], inner["tool_name"]) == ("outer", "inner")
    assert outer["running_s"] >= inner["running_s"] >= 0
    assert inner["tags"] == {"customer": "acme"}
    assert monitor.active() == []


async def test_a_monitor_is_an_async_context_manager_and_flushes_without_holding_the_loop() -> None:
    """`async with setup(...)` and `await monitor.aflush()`."""
    sink = Kept()
    async with setup(sink) as monitor:
        double(1)
        assert await monitor.aflush() is True
        assert len(sink.calls) == 1
    assert sink.closed == 1
    assert get_monitor() is None


async def test_whoever_waits_for_a_flush_is_told_what_was_wrong_with_it() -> None:
    """A timeout that is not a number raises, as it does in `flush`; no caller waits forever."""
    monitor = setup()
    with pytest.raises(ConfigurationError, match="is not a number of seconds"):
        await asyncio.wait_for(monitor.aflush("soon"), 5.0)  # type: ignore[arg-type]


def test_recording_on_a_closed_call_is_ignored_and_counted() -> None:
    """A late word changes nothing that was published."""
    monitor = setup()
    before = Diagnostics.late_records
    with track("t") as call:
        call.record(cost=0.1)
    call.record(cost=5.0)
    call.fail("too late")
    assert monitor.summary()["total_cost_usd"] == pytest.approx(0.1)
    assert monitor.summary()["failures"] == 0
    assert Diagnostics.late_records - before == 2


def test_recording_on_one_call_from_several_threads_is_exact() -> None:
    """No token is lost between threads."""
    monitor = setup()
    with track("shared") as call:
        threads = [
            threading.Thread(target=lambda: [call.record(tokens=1, cost=0.001) for _ in range(2_000)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert monitor.summary()["total_tokens"] == 8_000
    assert monitor.summary()["total_cost_usd"] == pytest.approx(8.0, abs=1e-12)


def test_the_environment_counts_where_no_argument_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument beats the environment, the environment beats the default."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_OPERATIONS", "3")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SINKS", "log")
    monitor = setup()
    for _ in range(5):
        double(1)
    assert len(monitor.metrics.operations) == 3
    assert [sink.name for sink in monitor.sinks] == ["log"]
    assert len(setup(max_operations=4).metrics.operations) == 0
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_OPERATIONS", "none")
    with pytest.raises(ConfigurationError, match="TOOLWEAVER_MONITOR_MAX_OPERATIONS='none' cannot be used"):
        setup()


def test_sigterm_is_left_alone_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """For programs that end themselves in their own way."""
    monkeypatch.setattr(sigterm, "_is_installed", False)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        monkeypatch.setenv("TOOLWEAVER_MONITOR_HANDLE_SIGTERM", "no")
        setup()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        monkeypatch.setenv("TOOLWEAVER_MONITOR_HANDLE_SIGTERM", "perhaps")
        with pytest.raises(ConfigurationError, match="HANDLE_SIGTERM='perhaps' cannot be used"):
            setup()
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupted(Kept):
    """A sink at whose end Ctrl-C is pressed once, before anything has been closed."""

    pressed = False

    def log_summary(self, summary: object) -> None:
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("end", [shutdown, setup])
def test_a_setup_ends_what_a_ctrl_c_has_left_half_ended(end: Callable[[], object]) -> None:
    """Run the cell again: the port of the setup that was interrupted is free, its sinks closed and its threads gone."""
    sink, exporter = Interrupted(), PrometheusExporter(port=0)
    half_ended = setup(sink, exporter)
    double(1)
    with pytest.raises(KeyboardInterrupt):
        end()
    assert sink.closed == 0
    monitor = setup(PrometheusExporter(port=exporter.port))
    double(2)
    assert monitor.health()["problems"] == []
    assert monitor.summary()["count"] == 1
    assert (sink.closed, len(sink.calls)) == (1, 1)
    assert half_ended.shutdown() is True


def test_a_sink_of_a_setup_that_was_interrupted_goes_on_when_it_is_given_again() -> None:
    """It gets every call, whatever setup a Ctrl-C has left behind."""
    sink = Interrupted()
    setup(sink)
    double(1)
    with pytest.raises(KeyboardInterrupt):
        shutdown()
    monitor = setup(sink)
    double(2)
    assert monitor.flush(5.0) is True
    assert [call.tool_name for call in sink.calls] == ["doubled", "doubled"]
    assert [thread.name for thread in threading.enumerate()].count("toolweaver-monitor kept") <= 1
