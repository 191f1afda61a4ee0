"""D6 and D7: a sink that raises anything, is killed, or calls monitored code harms nothing but itself."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence

import pytest
from helpers import wait_until
from opcodes import interrupted
from programs import run_program

from toolweaver_monitor import ToolCall, monitored, setup, shutdown, track
from toolweaver_monitor._bus import retry
from toolweaver_monitor._bus.bus import Bus, bus, inbox
from toolweaver_monitor._bus.retry import HEALTHY
from toolweaver_monitor._bus.sink_runner import SinkRunner
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.testing.faults import KeepSink, PoisonSink, RaiseSink, ReentrantSink, SlowSink

ANYTHING = [
    Exception, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, MemoryError, RecursionError,
    StopIteration, BaseException,
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and the breaker at a hundredth of their times."""
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(retry, "BREAKER_OPEN_S", 0.3)


@monitored("tool")
def tool() -> None:
    pass


@pytest.mark.parametrize("kind", ANYTHING, ids=lambda kind: kind.__name__)
def test_d6_a_sink_may_raise_anything_and_later_calls_arrive(kind: type[BaseException]) -> None:
    """Raised twice, tried again, and all is delivered; its thread is the same as before.

    Seen red: with `except Exception` around `write` and in the worker's loop, `SystemExit` ended that thread.
    """
    sink, other = RaiseSink(kind, times=2), KeepSink()
    monitor = setup(sink, other)
    tool()
    wait_until(lambda: sink.writes >= 1, 1.0)
    thread = monitor._components.runners[0].worker._thread
    for _ in range(99):
        tool()
    wait_until(lambda: len(sink.calls) == 100, 2.0)
    assert len(other.calls) == 100
    assert monitor._components.runners[0].worker._thread is thread
    assert monitor.flush() is True
    assert monitor.health()["ok"]


@pytest.mark.parametrize("kind", ANYTHING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("where", ["flush", "close", "start", "status", "log_summary", "merge"])
def test_d6_a_sinks_other_methods_may_raise_anything_too(where: str, kind: type[BaseException]) -> None:
    """None of it gets out of `setup`, `flush`, `health` or `shutdown`; what could not be done is not told as done.

    Seen red: with `except Exception` around `merge`, the batch never reached the sinks after it.
    """

    def fail(*_: object) -> None:
        raise kind("on purpose")

    sink, other = KeepSink(), KeepSink("other")
    setattr(sink, where, fail)
    if where == "merge":
        sink.max_calls = 2  # type: ignore[attr-defined]
    if kind is KeyboardInterrupt and where in {"start", "log_summary", "status"}:
        pytest.skip("on the caller's own thread that is the user's Ctrl-C, and goes on")
    monitor = setup(sink, other)
    for _ in range(5):
        tool()
    flushed = monitor.flush()
    health = monitor.health()
    closed = monitor.shutdown()
    assert len(other.calls) == 5
    assert len(sink.calls) == {"start": 0, "merge": 2}.get(where, 5)
    assert flushed is (where in {"close", "status", "log_summary"})
    assert closed is (where in {"status", "log_summary"})
    assert (health["sinks"]["keep"]["state"] == "unavailable") is (where == "start")


def test_d6_one_poisonous_call_stops_only_its_batch() -> None:
    """The batch that holds it is given up after five tries, counted as failed, and the next ones are delivered.

    Seen red: with no limit on tries, nothing after the poison arrived.
    """
    sink = PoisonSink()
    monitor = setup(sink)
    with track("poison"):
        pass
    wait_until(lambda: monitor.health()["sinks"]["poisoned"]["failed"] == 1, 5.0)
    for _ in range(100):
        tool()
    wait_until(lambda: len(sink.calls) == 100, 2.0)
    stats = monitor.health()["sinks"]["poisoned"]
    assert (stats["emitted"], stats["delivered"], stats["failed_by"]) == (101, 100, {"ValueError": 1})


def kill(thread: threading.Thread | None, kind: type[BaseException]) -> None:
    """Have `kind` raised in another thread, wherever it is."""
    if thread is not None and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(kind))


@pytest.fixture
def no_excepthook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A thread that is hit twice in one place dies, one that is hit in a finalizer goes on, and Python would say so."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    shutdown()


class Struck(BaseException):
    """Comes from outside, at any place."""


def strike() -> None:
    raise Struck


def worked_off(runner: SinkRunner) -> None:
    """Have the runner do its work until nothing waits, as its thread would after each strike."""
    for _ in range(20):
        runner.queue.sink_state = HEALTHY  # a strike inside `write` is taken for a failure of the sink's
        runner._work()
        if not runner.queue.queued():
            return


@pytest.mark.parametrize("merges", [False, True])
def test_d6_a_strike_at_any_place_of_a_runners_work_leaves_its_books_exact(
    merges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offered, taken, written, settled: wherever an asynchronous exception strikes, no call is lost or counted twice.

    Seen red: with the calls of a batch taken one by one into a local variable, 1 to 9 were missing.
    """
    monkeypatch.setattr(Worker, "ensure_running", lambda _: True)
    calls = [ToolCall("tool", "success", 0.5, 1.0) for _ in range(10)]
    place, struck = 0, True
    while struck:
        place += 1
        sink, merged = KeepSink(), list[ToolCall]()
        if merges:
            sink.merge = merged.extend  # type: ignore[attr-defined]
        runner = SinkRunner(sink, "struck", max_calls=6 if merges else 100)

        def work(runner: SinkRunner = runner, batch: list[ToolCall] = list(calls)) -> None:  # noqa: B006 - one each
            runner.offer(batch)
            runner._work()

        try:
            struck = interrupted(work, place, strike)
        except Struck:
            pass
        runner.offer(calls)  # the dispatcher begins the step again with the next batch, or this one
        worked_off(runner)
        stats = runner.stats()
        assert stats.queued == runner.queue.queued() == 0, place
        assert stats.emitted == stats.delivered + stats.lost, place
        assert stats.emitted in {10, 20}, place
        assert runner.queue.queued_bytes == 0, place
        assert runner.writing is False, place
        assert sink.overlaps == 0, place
        assert len(sink.calls) + len(merged) >= stats.delivered, place
    assert place > 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one while a generator is dropped: 3.12
def test_d6_a_strike_at_any_place_of_giving_up_leaves_the_books_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that says it cannot work: wherever an exception strikes, each call waits or is counted as dropped.

    Seen red: with the empty queue made after `dropped` was changed, 10 calls were dropped and waited, too.
    """
    monkeypatch.setattr(Worker, "ensure_running", lambda _: True)
    place, struck = 0, True
    while struck:
        place += 1
        runner = SinkRunner(KeepSink(), "struck")
        runner.offer([ToolCall("tool", "success", 0.5, 1.0) for _ in range(10)])
        try:
            struck = interrupted(lambda runner=runner: runner.disable(OSError("off")), place, strike)  # type: ignore[misc]
        except Struck:
            pass
        stats = runner.stats()
        assert (stats.dropped, stats.queued, runner.queue.queued()) in {(0, 10, 10), (10, 0, 0)}, place
    assert place > 5


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_d6_a_strike_at_any_place_of_a_delivery_loses_no_call(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the inbox, sealed, into the queue of a sink: wherever an exception of any kind strikes the dispatcher.

    Seen red: with the offer to a sink not made again after an `Exception`, all calls were missing.
    """

    def strike_so() -> None:
        raise kind

    monkeypatch.setattr(Worker, "ensure_running", lambda _: True)
    monkeypatch.setattr("toolweaver_monitor._bus.deferred_log.warn", lambda *_: None)
    place, struck = 0, True
    while struck:
        place += 1
        pipe, counted, runner = Bus(), list[ToolCall](), SinkRunner(KeepSink(), "struck")
        pipe.runners, pipe.consumers, pipe.enrich = (
            (runner,),
            (counted.extend,),
            lambda calls: [call._redact(lambda *_: "redacted") for call in calls],
        )
        inbox.extend(ToolCall("tool", "failure", 0.5, 1.0, _details=CallDetails(raw_error="secret")) for _ in range(4))
        try:
            struck = interrupted(pipe._work, place, strike_so)
        except kind:
            pass
        pipe._work()
        assert runner.stats().emitted == 4, place
        assert len(counted) in {0, 4}, place  # as said of the tallies: at most the batch that is being counted
        runner._work()
        assert [call.error for call in runner.sink.calls] == ["redacted"] * 4, place
    assert place > 50


def test_d6_an_offer_that_is_struck_again_and_again_is_made_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three exceptions from outside within one offer to a sink, and it has the batch all the same.

    Seen red: with an offer taken again once only, the call never arrived.
    """
    monkeypatch.setattr("toolweaver_monitor._bus.deferred_log.warn", lambda *_: None)
    sink = KeepSink()
    monitor = setup(sink)
    queue, strikes = monitor._components.runners[0].queue, iter([MemoryError] * 3)
    offer = queue.offer

    def struck(calls: Sequence[ToolCall]) -> None:
        for kind in strikes:
            raise kind
        offer(calls)

    monkeypatch.setattr(queue, "offer", struck)
    tool()
    assert monitor.flush(5.0)
    assert sink.names() == ["tool"]


def test_d6_a_thread_killed_before_its_first_line_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's `Thread.start()` waits for a word of the new thread: who starts it goes on, and starts another.

    Seen red: with a thread started as Python does, the dispatcher waited forever, and with it every read.
    """
    begin, left = threading.Thread._bootstrap, [1]  # type: ignore[attr-defined]

    def killed_or_begin(thread: threading.Thread) -> None:
        if "struck" not in thread.name or not left:
            begin(thread)
        else:
            left.clear()

    monkeypatch.setattr(threading.Thread, "_bootstrap", killed_or_begin)
    worked = threading.Event()
    worker = Worker("struck", worked.set)
    asking = threading.Thread(target=lambda: [worker.wake() for _ in range(2)], daemon=True)
    asking.start()
    asking.join(10.0)
    assert not left
    assert not asking.is_alive()
    assert worked.wait(5.0)
    worker.stop()


def test_d6_a_strike_at_any_place_of_a_drain_without_threads_leaves_no_lock_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C where a caller does the work itself, as no thread can start: others can do it afterwards.

    Seen red: with the lock taken before the `try`, it was held forever where the strike came just after.
    """
    monkeypatch.setattr(Worker, "ensure_running", lambda _: False)
    monkeypatch.setattr("toolweaver_monitor._bus.deferred_log.warn", lambda *_: None)
    place, struck = 0, True
    while struck:
        place += 1
        pipe = Bus()
        pipe.consumers = (list[ToolCall]().extend,)
        inbox.append(ToolCall("tool", "success", 0.5, 1.0))
        try:
            struck = interrupted(pipe.drain, place, strike)
        except Struck:
            pass
        assert not pipe._draining._is_owned(), place  # type: ignore[attr-defined]
        assert pipe.drain(), place
        assert not inbox, place
    assert place > 30


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Or a thread would mostly be struck where it waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("no_excepthook", "quick_switches")
@pytest.mark.parametrize("whose", ["runner", "dispatcher"])
def test_d6_a_thread_that_is_killed_again_and_again_loses_nothing(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Struck 300 times by `PyThreadState_SetAsyncExc`: every call delivered and counted, and alive in a second.

    A batch may be written twice: what strikes between the sink's last line and ours cannot be told from a failure.

    Seen red: with `except Exception` in the worker's loop alone, it did not end.
    """
    # Strikes inside `write` are taken for failures of the sink's.
    monkeypatch.setattr("toolweaver_monitor._bus.sink_runner.MAX_TRIES", 1_000)
    chance = random.Random(1)
    sink = SlowSink(0.0005)
    sink.max_calls = 10**6  # type: ignore[attr-defined]
    monitor = setup(sink)
    runner = monitor._components.runners[0]
    runner.queue.max_bytes = 10**9
    worker = runner.worker if whose == "runner" else bus._dispatcher
    made = 0
    for _ in range(300):
        for _ in range(chance.randrange(1_500)):
            tool()
            made += 1
        if chance.random() < 0.8:
            bus._dispatcher.wake()
            runner.worker.wake()
        for _ in range(chance.randrange(200)):
            pass
        kill(worker._thread, chance.choice([SystemExit, KeyboardInterrupt, MemoryError, RuntimeError]))
    wait_until(worker.is_running, 1.0)
    with track("later"):
        pass
    assert monitor.flush(10.0) or monitor.flush(10.0)
    assert worker.crashes > 10
    stats = runner.stats()
    assert stats.emitted == made + 1
    assert stats.emitted == stats.delivered + stats.lost
    assert stats.lost == 0
    assert runner.queue.queued() == 0
    assert runner.queue.queued_bytes == 0
    arrived = {id(call) for call in sink.calls}
    assert len(arrived) == made + 1
    assert "later" in sink.names()
    counted = monitor.summary()["count"]
    assert made + 1 - 1_024 * worker.crashes <= counted <= made + 1
    print(
        f"D6: {worker.crashes} crashes of the {whose}, {made + 1 - counted} of {made + 1:,} not counted in the tallies"
    )


@pytest.mark.usefixtures("no_excepthook")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # one that is struck as it is accepted
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_d6_an_endpoint_that_is_killed_again_and_again_answers() -> None:
    """Each time the thread that serves `/metrics` is struck, the next scrape is answered by it all the same.

    Seen red: with the thread ended by what strikes it, the second scrape was refused.
    """
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    thread = next(each for each in threading.enumerate() if each.name == "toolweaver-monitor prometheus http")
    for kind in [SystemExit, KeyboardInterrupt, MemoryError] * 5:
        kill(thread, kind)
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=5.0) as answer:
            assert answer.status == 200
    assert thread.is_alive()
    gc.collect()  # here, and not in the next test


def test_d7_a_sink_that_calls_watched_code_feeds_nobody() -> None:
    """Its own calls are counted as re-entrant and not told on, or one call would never end.

    Seen red: without the mute on the worker's thread, the sink was still writing after a second.
    """
    before = Diagnostics.suppressed_calls
    inner = []

    @monitored("inside")
    def inside() -> None:
        with track("deeper"):
            inner.append(1)

    sink = ReentrantSink(inside)
    monitor = setup(sink)
    for _ in range(10):
        tool()
        monitor.flush()
    assert set(sink.names()) == {"tool"}
    assert monitor.summary()["count"] == 10
    assert len(inner) == sink.writes
    assert Diagnostics.suppressed_calls - before == 2 * sink.writes
    assert monitor.health()["invalid"]["suppressed_calls"] == Diagnostics.suppressed_calls


def test_d7_a_sink_may_read_what_it_is_part_of() -> None:
    """Summary, health, flush and a scrape from inside `write` come back.

    Seen red: with `offer` holding the lock while the sink writes, the read waited for itself.
    """
    said = []

    def read() -> None:
        if said:
            return
        other = threading.Thread(target=tool)
        other.start()
        other.join()
        said.append((monitor.summary()["count"], monitor.health()["ok"], monitor.flush(0.5), monitor._text() != ""))

    monitor = setup(ReentrantSink(read))
    tool()
    assert monitor.flush(5.0)
    assert said == [(2, True, False, True)]


class Garbage:
    """An object that calls monitored code, and reads, when it is collected."""

    collected = 0

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Garbage.collected += 1
        tool()
        if Garbage.collected % 16 == 0:
            bus.drain(0.5)


def test_d7_garbage_collected_in_the_middle_of_anything_deadlocks_nothing() -> None:
    """`__del__` that calls and reads, run by the collector inside callers and inside the sink, 10,000 times.

    Each of its calls is counted, or was made on a thread of this library and counted as re-entrant.

    Seen red: with the calls of a suppressed thread not counted, 194 of 10,050 were nowhere.
    """
    Garbage.collected = 0
    before_reentrant = Diagnostics.suppressed_calls
    kept = []

    class Littering(KeepSink):
        def misbehave(self, calls, /) -> None:
            for _ in range(50):
                Garbage()

    monitor = setup(Littering())
    before = gc.get_threshold()
    gc.set_threshold(5)
    try:
        made = 0
        deadline = time.monotonic() + 20
        while Garbage.collected < 10_000 and time.monotonic() < deadline:
            Garbage()
            made += 1
            with track("round") as call:
                call.record(tokens=1, note=[])  # type: ignore[arg-type]
                kept.append([call])
            if made % 200 == 0:
                monitor.summary()
                kept.clear()
    finally:
        gc.set_threshold(*before)
    monitor.flush(5.0)
    gc.collect()
    assert Garbage.collected >= 10_000
    counts = {name: of["count"] for name, of in monitor.metrics.by_operation().items()}
    assert counts["round"] == made
    assert counts["tool"] + Diagnostics.suppressed_calls - before_reentrant == Garbage.collected
    monitor.shutdown()
    gc.collect()  # what the sink has left since: no calls of the next test's


TWICE = """
import gc
from contextvars import ContextVar
many = [ContextVar(str(number)) for number in range(400)]  # a map of some depth: several nodes are made in one set
for one in many: one.set(0)

class Litter:
    def __init__(self): self.itself = self
    def __del__(self):
        for one in many[:40]: one.set(object())
        with track("litter"): pass

setup()
gc.set_threshold(2)
for made in range(5_000):
    Litter()
    for one in many[::50]: one.set(made)
    with track("round"): pass
gc.set_threshold(700)
print(get_monitor().metrics.by_operation()["round"]["count"])
"""


def test_d7_garbage_collected_again_and_again_within_one_step_crashes_nothing() -> None:
    """The collector starts several times inside one `ContextVar.set`, and each time a `__del__` replaces its map.

    Seen red: with only the last map kept, CPython 3.11 died of a segmentation fault.
    """
    ended = run_program("from toolweaver_monitor import get_monitor, setup, track\n" + TWICE)
    assert (ended.code, ended.out.strip()) == (0, "5000"), ended.err


def test_d7_a_read_in_the_middle_of_a_read_waits_for_nobody() -> None:
    """A signal handler that reads, at every place of a read that it has interrupted.

    Seen red: with the nested read waiting for the dispatcher, which waits for the lock of the outer one: 5 s.
    """
    monitor = setup()
    # The thread that reads the price list holds the GIL for long on a busy machine: nobody else can do anything then.
    wait_until(lambda: monitor._components.prices.ready, 30.0)
    tool()
    monitor.summary()
    worst = 0.0

    def nested() -> None:
        nonlocal worst
        with track("nested"):
            pass
        began = time.monotonic()
        assert monitor.summary()["count"] > 0
        worst = max(worst, time.monotonic() - began)

    place = 0
    while interrupted(monitor.summary, place + 1, nested):
        place += 1
        assert worst < 1.0, place
    assert place > 50
    assert monitor.metrics.by_operation()["nested"]["count"] == place


def test_d7_a_signal_handler_that_calls_and_flushes_deadlocks_nothing() -> None:
    """A timer strikes every 0.5 ms for a second, in callers, reads and flushes, and its handler does all of these.

    Seen red: with a plain lock around `record`, it hung.
    """
    struck, depth = [0], [0]

    def handler(*_: object) -> None:
        if depth[0] == 10:  # on a slow machine they would pile up to Python's limit of frames
            return
        depth[0] += 1
        struck[0] += 1
        turn = struck[0]
        with track("handled") as call:
            call.record(tokens=1)
        if turn % 8 == 0:
            monitor.summary()
        if turn % 64 == 0:
            monitor.flush(0.05)
        depth[0] -= 1

    sink = KeepSink()
    sink.max_calls = 10**6  # type: ignore[attr-defined]
    monitor = setup(sink)
    before = signal.signal(signal.SIGALRM, handler)
    made = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            with track("round") as call:
                call.record(tokens=1, note="x")
            made += 1
            if made % 100 == 0:
                monitor.summary()
            if made % 1_000 == 0:
                monitor.flush(0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = {name: of["count"] for name, of in monitor.metrics.by_operation().items()}
    assert (counts["round"], counts["handled"]) == (made, struck[0])
    assert struck[0] > 100
    assert monitor.flush(5.0)
    assert sum(name in {"round", "handled"} for name in sink.names()) == made + struck[0]
