"""Reads that see every call that ended before them, whatever the dispatcher is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from toolweaver_monitor import monitored, setup, track
from toolweaver_monitor._bus.bus import CHECK_EVERY, HIGH_WATER, Bus, bus, inbox
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.testing.faults import KeepSink


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Threads take turns every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@monitored("step")
def step() -> None:
    time.sleep(0)


@pytest.mark.usefixtures("switching_often")
def test_many_readers_and_callers_never_miss_a_call_nor_wait_for_nothing() -> None:
    """Eight threads call and read at once: each read has every call that its thread, or any, had ended before."""
    monitor = setup()
    ended = [0] * 8
    behind: list[tuple[int, int]] = []
    slowest = [0.0] * 8

    def call_and_read(me: int) -> None:
        for _ in range(400):
            step()
            ended[me] += 1
            least = sum(ended)
            began = time.monotonic()
            seen = monitor.metrics._total().calls
            slowest[me] = max(slowest[me], time.monotonic() - began)
            if seen < least:
                behind.append((seen, least))

    threads = [threading.Thread(target=call_and_read, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert behind == []
    assert max(slowest) < 2.0
    assert monitor.summary()["count"] == 3_200


def test_a_call_that_ends_while_the_dispatcher_sets_it_aside_is_not_missed() -> None:
    """The reader that comes just then waits for the next look, though inbox and aside seem to hold nothing ended."""
    own = Bus()
    call = ToolCall("late")
    counted: list[ToolCall] = []
    said: list[bool] = []

    class Between(list):  # type: ignore[type-arg]
        """What is set aside, at the moment the reader copies it: the dispatcher goes through a whole pass."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            own._passes += 1
            own._open = [call]
            return iter(())

    own.consumers = (counted.extend,)
    call.outcome = "success"
    own._open = Between()
    said.append(own.drain(5.0))
    assert said == [True]
    assert [ended.tool_name for ended in counted] == ["late"]


def test_a_reader_is_answered_though_the_dispatcher_was_killed_with_its_ticket() -> None:
    """It looks again after a quarter of a second, and a new dispatcher takes over."""
    monitor = setup()
    with track("first"):
        pass
    monitor.summary()
    lost = iter([True])
    real = bus._drain_here

    def killed() -> None:
        if next(lost, False):
            bus._tickets.clear()
            raise SystemExit
        real()

    bus._drain_here = killed  # type: ignore[method-assign]
    try:
        with track("second"):
            pass
        began = time.monotonic()
        assert monitor.summary()["count"] == 2
        assert time.monotonic() - began < 1.0
    finally:
        bus._drain_here = real  # type: ignore[method-assign]


STOPPED = """
import os, signal, subprocess, sys, time
from toolweaver_monitor import Budget, setup, track
from toolweaver_monitor._bus.bus import bus

monitor = setup(budget=Budget(limit_usd=1, reserve=0.05), prices={"unlisted": {"input": 1}})
monitor.summary()
time.sleep(0.3)  # the dispatcher waits again
with track("unpriced") as call: call.record(model="other", input_tokens=5)
real = bus._dispatcher.wake

def wake():
    "Stop this process before the dispatcher takes the ticket, for longer than a reader waits."
    bus._dispatcher.wake = real
    subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    return real()

bus._dispatcher.wake = wake
sys.setswitchinterval(0.5)
assert bus.drain(0.75)
assert monitor._components.ledger.status()[0]["reserved"] == 0
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no job control here")
def test_a_reader_does_not_count_the_time_that_its_process_was_stopped() -> None:
    """A suspended laptop, Ctrl-Z, a machine that is moved: the dispatcher did not run then, and gets its time after.

    Seen red: with a deadline by the clock, the call was not counted, and a call of unknown cost held its reserve until
    the next read.
    """
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_a_call_comes_before_the_one_that_it_ran_inside_also_where_that_one_has_been_looked_at() -> None:
    """A sink gets calls in the order in which they ended, though the outer one was seen open and set aside before.

    Seen red: `_drain_here` looked at those set aside by themselves, and delivered them before it took the inbox.
    """
    sink = KeepSink()
    with setup(sink) as monitor:
        for _ in range(5):
            with track("outer"):
                assert monitor.summary()["count"] % 2 == 0  # drains
                with track("inner"):
                    pass
        assert monitor.flush()
    assert [call.tool_name for call in sink.calls] == ["inner", "outer"] * 5


def test_the_inbox_stays_below_its_high_water_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sink and a reader nothing takes calls from the inbox but a caller that finds it full.

    A caller looks at its length after every 64 calls. Seen red: with `ticks` that never end.
    """
    monkeypatch.setattr(PriceBook, "start_loading", lambda _: None)  # once prices are loaded the dispatcher runs
    setup()

    @monitored("step")
    def step() -> None:
        pass

    lengths = []
    for _ in range(2 * HIGH_WATER):
        step()
        lengths.append(len(inbox))
    assert HIGH_WATER < max(lengths) <= HIGH_WATER + CHECK_EVERY
    assert lengths[-1] < HIGH_WATER
