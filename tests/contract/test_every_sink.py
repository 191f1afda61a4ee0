"""What a user can rely on with any sink: one suite that all sinks of the library pass, and a minimal one of a user's.

W&B runs for real, offline; Prometheus is read over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from toolweaver_monitor import (
    Budget,
    BudgetExceeded,
    CostTracker,
    ErrorTracker,
    MetricsCollector,
    Sink,
    ToolCall,
    current_call,
    monitored,
    setup,
    shutdown,
    track,
)
from toolweaver_monitor._core.call import ENDED
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.sinks import LogSink, OpenTelemetryExporter, PrometheusExporter, SQLiteStore, WandBLogger
from toolweaver_monitor.sinks._base import FunctionSink
from toolweaver_monitor.sinks._memory.view import InMemorySink
from toolweaver_monitor.testing import check_sink

SECRET = "sk-proj-" + "a1B2c3D4" * 5


class Case(NamedTuple):
    """A sink, how many calls have arrived at its far end, and all that it shows of them."""

    sink: Any
    arrived: Callable[[], int]
    shown: Callable[[], str]


class Mine:
    """A sink of the user's own, and no more than that."""

    name = "mine"

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.waiting: list[ToolCall] = []

    def write(self, calls: Sequence[ToolCall]) -> None:
        self.waiting.extend(calls)

    def flush(self) -> None:
        self.calls.extend(self.waiting)
        self.waiting.clear()

    def close(self) -> None:
        self.flush()


def view(sink: InMemorySink, shown: Callable[[], str]) -> Case:
    return Case(sink, lambda: sum(tally.calls for tally in sink._by_tool().values()), shown)


def metrics() -> Case:
    sink = MetricsCollector()
    return view(sink, lambda: f"{sink.operations} {sink.summary()} {sink.by_operation()}")


def costs() -> Case:
    sink = CostTracker()
    return view(sink, sink._text)


def errors() -> Case:
    sink = ErrorTracker()
    return view(sink, lambda: f"{sink._text()} {sink.errors}")


def prometheus(**options: Any) -> Case:
    sink = PrometheusExporter(port=0, **options)

    def scrape() -> str:
        return urllib.request.urlopen(sink.url, timeout=5).read().decode()

    def arrived() -> int:
        lines = scrape().splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines if "toolweaver_tool_executions_total{" in line)

    return Case(sink, arrived, scrape)


def prometheus_in_the_applications_registry() -> Case:
    from prometheus_client import CollectorRegistry

    case = prometheus(registry=CollectorRegistry())
    return case._replace(arrived=lambda: round(sum_of_samples(case.shown())))


def sum_of_samples(text: str) -> float:
    lines = text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if "toolweaver_tool_executions_total{" in line)


def log() -> Case:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.Logger("contract", logging.DEBUG)  # noqa: LOG001 - one of its own, whatever pytest does to others
    logger.addHandler(handler)
    return Case(LogSink(logger), lambda: len(records), lambda: "\n".join(str(vars(record)) for record in records))


def function() -> Case:
    seen: list[ToolCall] = []
    return Case(FunctionSink(seen.append), lambda: len(seen), lambda: told(seen))


def of_the_users_own() -> Case:
    sink = Mine()
    return Case(sink, lambda: len(sink.calls), lambda: told(sink.calls))


def told(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"{call.tool_name} {call.error} {call.tags} {call.arguments} {call.result}" for call in calls)


def wandb() -> Case:
    sink = WandBLogger(project="contract")

    def shown() -> str:
        shutdown(60)  # which writes the file to its end
        files = [file for file in Path(sink.status()["run"]).rglob("*") if file.is_file()]
        return "\n".join(file.read_bytes().decode("latin-1") for file in files)

    return Case(sink, lambda: sink.status()["calls"], shown)


def sqlite() -> Case:
    sink = SQLiteStore(Path(tempfile.mkdtemp(), "runs.db"))

    def arrived() -> int:
        with StoreReader(sink.path) as store:
            return len(store.calls(limit=None))

    def shown() -> str:
        with StoreReader(sink.path) as store:
            dump = "\n".join(f"{call}" for call in store.calls(limit=None))
        return dump + "".join(file.read_bytes().decode("latin-1") for file in sink.path.parent.iterdir())

    return Case(sink, arrived, shown)


receivers: list[Any] = []
"""Real ones, which the fixture stops."""


def otlp() -> Case:
    from otlp_receiver import Receiver

    receiver = Receiver()
    receivers.append(receiver)
    sink = OpenTelemetryExporter(receiver.url)
    return Case(sink, lambda: len(receiver.spans), lambda: f"{receiver.spans}{receiver.metrics}")


CASES = {
    "metrics": metrics,
    "costs": costs,
    "errors": errors,
    "prometheus": prometheus,
    "prometheus, buckets": lambda: prometheus(buckets=[0.1, 1.0, 10.0]),
    "prometheus, registry": prometheus_in_the_applications_registry,
    "log": log,
    "otlp": otlp,
    "sqlite": sqlite,
    "wandb": wandb,
    "function": function,
    "mine": of_the_users_own,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    if request.param == "wandb":
        request.getfixturevalue("real_wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    if request.param == "otlp":
        request.getfixturevalue("real_otlp")
    made = CASES[request.param]()
    yield made
    shutdown(60)
    made.sink.close()
    while receivers:
        receivers.pop().stop()


def calls_of_every_outcome() -> Counter[str]:
    """One or more calls that end in each way; gives how many."""

    @monitored("dear", cost=0.4)
    def dear() -> None: ...

    @monitored("lines")
    def lines() -> Iterator[str]:
        yield from ("a", "b")

    async def too_slow() -> None:
        async with asyncio.timeout(0.001):
            with track("slow"):
                await asyncio.sleep(60)

    dear()
    with pytest.raises(BudgetExceeded):
        dear()
    with pytest.raises(ValueError, match="key"), track("parse", customer="acme"):
        raise ValueError(f"the key {SECRET} was refused")
    with pytest.raises(TimeoutError), track("ocr"):
        raise TimeoutError
    with pytest.raises(TimeoutError):
        asyncio.run(too_slow())
    with pytest.raises(SystemExit), track("pause"):
        raise SystemExit(0)
    dropped = lines()
    next(dropped)
    dropped.close()
    assert list(lines()) == ["a", "b"]
    return Counter(success=2, rejected=1, failure=1, timeout=1, cancelled=1, abandoned=1, interrupted=1)


def test_it_keeps_to_what_setup_counts_on(case: Case) -> None:
    """Batches of any kind, flushes and closes in any number, on a thread that has not made it."""
    check_sink(case.sink)
    assert isinstance(case.sink, Sink)


def test_every_call_arrives_once_however_it_ended(case: Case) -> None:
    """Successes, failures, timeouts, cancellations, refusals and abandoned generators: what ended is there."""
    monitor = setup(case.sink, budget=Budget(limit_usd=0.5, tool="dear"))
    made = calls_of_every_outcome()
    assert set(made) == set(ENDED)
    assert monitor.flush(60)
    assert case.arrived() == made.total() == monitor.summary()["count"]


def test_calls_from_many_threads_arrive_once(case: Case) -> None:
    """None is lost between threads, and none comes twice."""
    monitor = setup(case.sink)

    @monitored("tool")
    def tool() -> None: ...

    threads = [threading.Thread(target=lambda: [tool() for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.flush(60)
    assert case.arrived() == 800


def test_its_books_balance_and_all_is_well(case: Case) -> None:
    """What was emitted has been delivered, and `health()` has nothing to complain of."""
    monitor = setup(case.sink, budget=Budget(limit_usd=0.5, tool="dear"))
    made = calls_of_every_outcome()
    assert monitor.flush(60)
    health = monitor.health()
    assert health["ok"] is True, health
    if not isinstance(case.sink, InMemorySink):
        books = health["sinks"][case.sink.name]
        assert (books["emitted"], books["delivered"], books["failed"], books["dropped"], books["queued"]) == (
            made.total(), made.total(), 0, 0, 0,
        )  # fmt: skip


def test_no_secret_gets_as_far(case: Case) -> None:
    """Error texts, tags and captured arguments come scrubbed, whatever the sink makes of them."""
    monitor = setup(case.sink, capture=True)

    @monitored("login", tags={"token": SECRET})
    def login(key: str) -> None:
        current_call().record(cost=0.01)
        raise PermissionError(f"{key} is not known here")

    with pytest.raises(PermissionError):
        login(SECRET)
    assert monitor.flush(60)
    shown = case.shown()
    assert "login" in shown
    assert SECRET not in shown


def test_passed_to_the_next_setup_it_goes_on(case: Case) -> None:
    """A second setup with the same object neither closes it nor counts anything twice."""
    setup(case.sink)
    with track("first"):
        pass
    second = setup(case.sink)
    with track("second"):
        pass
    assert second.flush(60)
    assert case.arrived() == 2


def test_after_the_shutdown_nothing_more_comes(case: Case) -> None:
    """What had ended before is delivered; what runs later is not monitored."""
    monitor = setup(case.sink)
    with track("before"):
        pass
    assert monitor.flush(60)
    arrived = case.arrived()
    assert monitor.shutdown(60)
    with track("after"):
        pass
    assert arrived == 1
    if not isinstance(case.sink, PrometheusExporter):  # which no longer answers
        assert case.arrived() == 1
