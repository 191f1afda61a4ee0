"""Wrong input: an error with its cure where it is written, counted and never raised where it runs."""

from __future__ import annotations

import ast
import asyncio
import functools
import io
import math
import pickle
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import toolweaver_monitor
from toolweaver_monitor import (
    CostTracker,
    ErrorTracker,
    MetricsCollector,
    Monitor,
    ToolCall,
    current_call,
    flush,
    get_monitor,
    instrument,
    monitored,
    setup,
    shutdown,
    track,
)
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable, ToolweaverMonitorError
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, WandBLogger
from toolweaver_monitor.testing.faults import HangSink

NO_MONEY = [-1, -0.01, math.nan, math.inf, -math.inf, "0.10", True, 10**400, [0.1], Decimal("NaN"), object()]
NO_NAMES: list[Any] = ["", "  ", 3, None, b"ocr", ["ocr"], object()]


def a_sink_without(*missing: str) -> Any:
    methods = {name: lambda *_: None for name in ("write", "flush", "close") if name not in missing}
    return type("Half", (), methods | ({} if "name" in missing else {"name": "half"}))()


def a_sink_with(**attributes: Any) -> Any:
    sink = a_sink_without()
    for name, value in attributes.items():
        setattr(sink, name, value)
    return sink


async def an_async_function(call: ToolCall) -> None:
    """Take a call, if awaited."""


class AsyncSink:
    """A sink whose `write` would never be awaited."""

    name = "async"

    async def write(self, calls: Sequence[ToolCall]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


# --- at decoration and setup ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NO_NAMES if name is not None])
def test_a_tool_needs_a_name(name: Any) -> None:
    """An empty name, and what is no text, is an error that shows how to write it."""
    with pytest.raises(ConfigurationError, match=r"@monitored\('ocr'\)"):
        monitored(name)
    with pytest.raises(ConfigurationError, match=r"@monitored\('ocr'\)"):
        monitored(tool_name=name)


def test_a_decorator_below_that_gives_no_function_is_told_of() -> None:
    """One that lacks its `return`, or makes something else of the function, is an error where it stands."""

    def forgets(function: Any) -> None:
        """Return nothing, by mistake."""

    for decorate in (monitored, monitored(), monitored("ocr"), monitored(cost=0.1)):
        with pytest.raises(ConfigurationError, match=r"None.* lacks its `return`"):
            decorate(forgets(len))
    for other in (3, {}, b"x"):
        with pytest.raises(ConfigurationError, match="put @monitored below that one"):
            monitored(other)  # type: ignore[call-overload]
        with pytest.raises(ConfigurationError, match="below the decorator that returns something else"):
            monitored("ocr")(other)  # type: ignore[type-var]
    monitored(None, cost=0.1)(len)  # type: ignore[call-overload]  # with parentheses, so no decorator below gave it


def test_a_block_is_no_decorator() -> None:
    """`@track("parse")` names the decorator to write in its place, also where it stands without parentheses."""
    with pytest.raises(ConfigurationError, match=r"@monitored\('parse'\)"):

        @track("parse")  # type: ignore[arg-type]
        def parse() -> None: ...


@pytest.mark.parametrize("cost", NO_MONEY, ids=lambda cost: repr(cost)[:12])
def test_a_declared_cost_is_an_amount_of_dollars(cost: Any) -> None:
    """Negative, NaN, infinite, text, a truth value: an error that shows how to write it, in one readable line."""
    with pytest.raises(ConfigurationError, match=r"is not an amount of dollars; give .* cost=0\.10") as told:
        monitored("ocr", cost=cost)
    assert len(str(told.value)) < 250


@pytest.mark.parametrize(("cost", "dollars"), [(0, 0.0), (0.1, 0.1), (Decimal("0.1"), 0.1), (1_000_000, 1e6)])
def test_what_is_an_amount_of_dollars_is_charged(cost: Any, dollars: float) -> None:
    """Nothing at all, cents, an exact Decimal, and a million."""
    monitor = setup()
    monitored("ocr", cost=cost)(lambda: None)()
    assert monitor.costs.costs == {"ocr": dollars}


def test_more_calls_than_any_list_can_hold_are_all_of_them() -> None:
    """A number meant as "without end" is none that a deque refuses."""
    assert setup(max_operations=10**30).metrics.operations == []
    MetricsCollector(max_operations=2**63).record("ocr", 1.0)


@pytest.mark.parametrize("number", [0, -1, 1.5, "10", True])
def test_to_keep_no_calls_is_no_way_to_save_memory(number: Any) -> None:
    """A wrong number of calls to keep is an error, wherever it is given, and names the argument."""
    for make in (MetricsCollector, lambda max_operations: setup(max_operations=max_operations)):
        with pytest.raises(ConfigurationError, match=r"^max_operations=.* whole number from 1 up"):
            make(max_operations=number)
    with pytest.raises(ConfigurationError, match=r"^max_errors=.* whole number from 1 up"):
        ErrorTracker(max_errors=number)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: "grafana", "there is no sink named 'grafana'; there are prometheus, wandb, otlp, sqlite, log"),
        (lambda: "Prometheus", "there is no sink named 'Prometheus'; did you mean 'prometheus'"),
        (lambda: "", "there is no sink named ''"),
        (lambda: "log, sqlite", r"give the sinks one by one: setup\('log', 'sqlite'\)"),
        (lambda: LogSink, r"setup\(\) got the class LogSink, not a sink; call it: LogSink\(\)"),
        (lambda: a_sink_without("write"), r"Half has no write; a sink has write\(calls\), flush\(\) and close\(\)"),
        (lambda: a_sink_without("flush", "close"), "Half has no flush and no close; a sink has"),
        (lambda: a_sink_without("name"), "Half has no name; give the sink a text attribute `name`"),
        (lambda: [LogSink()], r"give the sinks one by one: setup\(\*sinks\)"),
        (lambda: 42, "int is not a sink; a sink has"),
        (lambda: None, "NoneType is not a sink; a sink has"),
        (io.StringIO, "StringIO is a file, not a sink; give 'log'"),
        (lambda: an_async_function, r"an_async_function is async, but a sink runs on a thread.*asyncio\.run"),
        (AsyncSink, r"AsyncSink\.write is async"),
        (lambda: a_sink_with(start=an_async_function), r"Half\.start is async"),
        (
            lambda: a_sink_with(max_batch=0),
            r"Half\.max_batch is 0, not a number of calls; give a whole number from 1 up",
        ),
        (lambda: a_sink_with(max_calls="8192"), r"Half\.max_calls is '8192', not a number of calls"),
    ],
)
def test_setup_says_what_a_sink_is(given: Callable[[], Any], says: str) -> None:
    """An unknown name, a class that was not called, a thing that lacks `write`: what is wrong, and what to give."""
    with pytest.raises(ConfigurationError, match=says):
        setup(given())


@pytest.mark.parametrize("addr", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
def test_beyond_loopback_only_when_told_to(addr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that others can reach wants a token, TLS, or `insecure=True`, also where the environment gives it."""
    with pytest.raises(ConfigurationError, match=r"other machines; give token=.* certfile=.* insecure=True"):
        PrometheusExporter(port=0, addr=addr)
    monkeypatch.setenv("TOOLWEAVER_MONITOR_PROMETHEUS_ADDR", addr)
    with pytest.raises(ConfigurationError, match="other machines"):
        setup("prometheus")
    PrometheusExporter(port=0, token="a-long-random-text")
    PrometheusExporter(port=0, insecure=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: monitored("ocr", usage="yes"), "give a callable"),
        (lambda: monitored("ocr", tags=["a"]), "mapping"),
        (lambda: monitored("ocr")(int), "on the class int"),
        (lambda: monitored("ocr")(property(lambda self: 1)), "below"),
        (lambda: monitored(property(lambda self: 1)), "below"),
        (lambda: monitored(functools.singledispatchmethod(len)), "put it on the function"),
        (lambda: monitored("ocr")(7), "is not callable"),
        (lambda: setup(budget="five"), "."),
        (lambda: setup(tags={3: "x"}), "strings as keys"),
        (lambda: PrometheusExporter(port=70_000), "0 to 65535"),
        (lambda: PrometheusExporter(port="8000"), "0 to 65535"),
        (lambda: PrometheusExporter(port=True), "port=True is not a port"),
        (lambda: PrometheusExporter(registry=5), r"registry=5 is not a registry; give a prometheus_client\.Collector"),
        (lambda: PrometheusExporter(token=5), "token= is of type int; give a long random text"),
        (lambda: PrometheusExporter(token=""), "token= is empty; give a long random text"),
        (lambda: PrometheusExporter(certfile=5), "certfile=5 is not a readable file"),
        (lambda: PrometheusExporter(allowed_hosts=["http://monitor"]), "is not a list of names; write allowed_hosts="),
        (lambda: PrometheusExporter(allowed_hosts=["a b"]), "is not a list of names; write allowed_hosts="),
        (lambda: PrometheusExporter(allowed_hosts=[5]), "is not a list of names; write allowed_hosts="),
        (lambda: PrometheusExporter(insecure="no"), "insecure must be True or False, not 'no'"),
        (lambda: WandBLogger(project=5), "project is 5; name a W&B project"),
        (lambda: WandBLogger(entity=b"team"), "entity is b'team'; name a W&B user"),
        (lambda: PrometheusExporter(buckets=[2, 1]), "low to high"),
        (lambda: PrometheusExporter(first_item_buckets=[0, 1]), r"first_item_buckets=\[0, 1\] are not bucket bounds"),
        (lambda: PrometheusExporter(buckets="wide"), "buckets='wide' are not bucket bounds; give seconds"),
        (lambda: LogSink(level="LOUD"), "is not a log level; give one such as"),
        (lambda: LogSink(level=2.5), "level=2.5 is not a log level"),
        (lambda: LogSink(level=True), "level=True is not a log level"),
        (lambda: LogSink(5), "logger=5 is not a logger; give a logging.Logger or its name"),
        (lambda: setup(capture="no"), "capture must be True or False, not 'no'"),
        (lambda: setup(error_text="repr"), "error_text must be 'str' or 'args', not 'repr'; 'str' records"),
        (lambda: setup(error_text=None), "error_text must be 'str' or 'args', not None"),
        (lambda: setup(usage=None, enabled="0"), "enabled must be True or False, not '0'"),
        (
            lambda: instrument(methods=["run"]),
            r"instrument\(\) got no target; .* instrument\(TheClass, methods=\[\.\.\.\]",
        ),
        (lambda: CostTracker().most_expensive("x"), "n='x' is not a number of things to show; give a whole one"),
        (lambda: CostTracker().most_expensive(1.5), "n=1.5 is not a number of things to show"),
        (lambda: CostTracker().most_expensive(None), "n=None is not a number of things to show"),
        (lambda: CostTracker().roots("x"), "n='x' is not a number of things to show"),
        (lambda: CostTracker().by_tag(["customer"]), "is not the key of a tag; give its text"),
        (lambda: CostTracker().of("ocr"), r"str is not a call; .* look in by\('tool'\)"),
        (lambda: ErrorTracker().error_rate(len), "is not a tool's name; give its text"),
        (lambda: ErrorTracker().error_rate(["ocr"]), "is not a tool's name; give its text"),
    ],
)
def test_other_misuse_is_told_as_loudly(make: Any, says: str) -> None:
    """Loud where it is written, not where it would run."""
    with pytest.raises(ConfigurationError, match=says):
        make()


@pytest.mark.parametrize(
    ("keyword", "says"),
    [
        ("budgets", r"did you mean budget=\?"),
        ("max_operation", r"did you mean max_operations=\?"),
        ("port", r"give it to the sink: PrometheusExporter\(port=\.\.\.\)"),
        ("project", r"give it to the sink: WandBLogger\(project=\.\.\.\)"),
        ("prometheus", r"give a sink by its name or as an object: setup\('prometheus'\)"),
        ("sinks", r"give sinks without a keyword: setup\(sink, \.\.\.\)"),
        ("colour", "there are budget, prices, tags"),
    ],
)
def test_a_keyword_that_setup_does_not_know_is_told_with_the_one_that_was_meant(keyword: str, says: str) -> None:
    """Misspelt, or meant for a sink: a `TypeError` as Python raises it, with the cure."""
    unknown: Any = {keyword: 1}
    with pytest.raises(TypeError, match=rf"^setup\(\) got an unexpected keyword argument '{keyword}'; {says}"):
        setup(**unknown)


def test_no_text_sends_its_reader_to_a_file_that_only_a_checkout_has() -> None:
    """Errors, help and the page say the cure themselves. Seen red: "see docs/reference/store.md" of a pip install."""
    package = Path(toolweaver_monitor.__file__).parent
    found = []
    for file in package.rglob("*.py"):
        tree = ast.parse(file.read_text())
        of_module = ast.get_docstring(tree, clean=False)
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found += [(file.name, text) for text in texts if isinstance(text, str) and text != of_module and ".md" in text]
    found += [
        (file.name, file.suffix) for file in (package / "_page" / "assets").iterdir() if ".md" in file.read_text()
    ]
    assert found == []


@pytest.mark.parametrize("timeout", [float("nan"), "2", None, True])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: Any) -> None:
    """Whether or not there is anything to wait for; and a shutdown that was refused has ended nothing."""
    waits: list[Callable[..., object]] = [flush, shutdown]
    for wait in waits:
        with pytest.raises(ConfigurationError, match=r"^timeout=.* is not a number of seconds; give one"):
            wait(timeout)
    monitor = setup()
    for wait in (flush, shutdown, monitor.flush, monitor.shutdown):
        with pytest.raises(ConfigurationError, match=r"^timeout=.* is not a number of seconds; give one"):
            wait(timeout=timeout)
    with pytest.raises(ConfigurationError, match=r"^timeout="):
        asyncio.run(monitor.aflush(timeout))
    assert get_monitor() is monitor


@pytest.mark.parametrize("timeout", [float("inf"), 10**400, 1e300])
def test_a_timeout_may_be_as_long_as_it_takes(timeout: float) -> None:
    """Nothing overflows; and with nothing left to wait for it takes no time."""
    monitor = setup(lambda _: None)
    with track("tool"):
        pass
    assert monitor.flush(timeout) is True
    assert monitor.shutdown(timeout) is True


@pytest.mark.parametrize("timeout", [0, -1, float("-inf")])
def test_a_timeout_of_nothing_waits_for_nothing(timeout: float) -> None:
    """A sink that hangs delays no caller, and the return value is correct."""
    with HangSink() as sink:
        monitor = setup(sink)
        with track("tool"):
            pass
        assert monitor.flush(timeout) is False
        assert monitor.shutdown(timeout) is False


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_OPERATIONS", "0"),
        ("SINKS", "grafana"),
        ("BUDGET_USD", "-1"),
        ("PROMETHEUS_PORT", "x"),
        ("REDACT", "maybe"),
    ],
)
def test_the_environment_is_held_to_the_same(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup()` rejects an invalid environment variable and names it or its value."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SINKS", "prometheus")
    monkeypatch.setenv(f"TOOLWEAVER_MONITOR_{variable}", value)
    with pytest.raises(ConfigurationError, match=value):
        setup()


def test_a_setup_that_was_refused_leaves_the_earlier_one_as_it_was() -> None:
    """A mistake in the second setup does not stop what the first one monitors."""
    monitor = setup()
    with pytest.raises(ConfigurationError):
        setup("grafana")
    with track("still watched"):
        pass
    assert monitor.summary()["count"] == 1


# --- inside a running call ------------------------------------------------------------------------------------------


@pytest.fixture
def monitor() -> Monitor:
    return setup()


@pytest.fixture
def invalid() -> Callable[[], int]:
    """How many figures have been counted as invalid since the test began."""
    before = Diagnostics.invalid_values
    return lambda: Diagnostics.invalid_values - before


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_block_without_a_name_runs_as_unnamed(name: Any, monitor: Monitor, invalid: Callable[[], int]) -> None:
    """The block runs, its call is there, and the missing name is counted."""
    with track(name):
        pass
    assert monitor.errors.total_calls == {"unnamed": 1}
    assert invalid() == 1


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_function_whose_name_cannot_be_told_runs_under_its_own(
    name: Any, monitor: Monitor, invalid: Callable[[], int]
) -> None:
    """`tool_name=lambda ...` that gives no name: the function's own counts instead."""

    @monitored(tool_name=lambda: name)
    def run_tool() -> str:
        return "done"

    assert run_tool() == "done"
    assert monitor.errors.total_calls == {"run_tool": 1}
    assert invalid() == 1


@pytest.mark.parametrize("cost", NO_MONEY, ids=lambda cost: repr(cost)[:12])
def test_no_money_is_counted_as_invalid_and_costs_nothing(
    cost: Any, monitor: Monitor, invalid: Callable[[], int]
) -> None:
    """Recorded, worked out from the result, or given by hand: totals stay finite, and the program gets its result."""

    @monitored("worked out", cost=lambda result: cost)
    def worked_out() -> str:
        return "done"

    @monitored("recorded")
    def recorded() -> str:
        current_call().record(cost=cost)
        return "done"

    assert (worked_out(), recorded()) == ("done", "done")
    assert monitor.summary()["total_cost_usd"] == 0.0
    assert monitor.costs.costs == {}
    assert invalid() == 2
    by_hand = CostTracker()
    by_hand.record("ocr", cost)
    assert by_hand.costs == {}
    assert invalid() == 3
    assert monitor.health()["invalid"]["invalid_values"] == Diagnostics.invalid_values


@pytest.mark.parametrize("cost", [-1, math.nan, math.inf, "0.10", True])
def test_a_result_that_tells_nonsense_is_given_back_untouched(
    cost: Any, monitor: Monitor, invalid: Callable[[], int]
) -> None:
    """The dict that a tool returns is read, never trusted, and never changed."""
    result = {"text": "...", "cost": cost, "tokens_used": cost}
    assert monitored("ocr")(lambda: result)() is result
    assert (monitor.summary()["total_cost_usd"], monitor.summary()["total_tokens"]) == (0.0, 0)
    assert invalid() == 2


@pytest.mark.parametrize("tokens", [-1, 1.5, math.nan, "12", True, 10**400, [1]])
def test_no_number_of_tokens_is_counted_as_invalid(tokens: Any, monitor: Monitor, invalid: Callable[[], int]) -> None:
    """Half a token, or less than none, is none."""
    with track("ocr") as call:
        call.record(tokens=tokens, input_tokens=tokens, output_tokens=tokens, cached_tokens=tokens)
    assert monitor.summary()["total_tokens"] == 0
    assert invalid() == 4


def test_what_is_recorded_by_hand_is_held_to_the_same(invalid: Callable[[], int]) -> None:
    """The collectors used alone take anything, count what can be counted, and raise nothing."""
    metrics, errors = MetricsCollector(), ErrorTracker()
    odd: list[Any] = [-1, math.nan, math.inf, "1", None]
    for duration in odd:
        metrics.record("ocr", duration)
    assert metrics.summary()["count"] == len(odd)
    assert metrics.summary()["avg_duration_s"] == 0.0
    assert invalid() == len(odd)
    for name in NO_NAMES:
        metrics.record(name, 1.0)
        errors.record_call(name, False)
    assert metrics.cost_by_operation() == {"ocr": 0.0, "unnamed": 0.0}
    assert errors.total_calls == {"unnamed": len(NO_NAMES)}
    assert invalid() == len(odd) + 2 * len(NO_NAMES)
    costs = CostTracker()
    costs.record("ocr", "x")  # type: ignore[arg-type]
    costs.record("ocr", -1)
    assert (costs.costs, costs.unpriced()) == ({}, [])
    assert invalid() == len(odd) + 2 * len(NO_NAMES) + 2
    assert setup().health()["invalid"]["invalid_values"] >= invalid()


class Vague:
    """Neither true nor false, as an array of two numbers or pandas' NA."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("seconds", [Decimal("1.5"), Fraction(3, 2)])
def test_a_duration_may_be_a_number_of_any_type(seconds: Any, invalid: Callable[[], int]) -> None:
    """As tokens and costs may: numpy's float32 is no `float` either.

    Seen red: with a duration of 0.0.
    """
    metrics = MetricsCollector()
    metrics.record("ocr", seconds)
    monitor = setup()
    monitor.record("ocr", duration_s=seconds)
    assert metrics.summary()["avg_duration_s"] == monitor.summary()["avg_duration_s"] == 1.5
    assert not invalid()


def test_what_is_neither_true_nor_false_is_invalid(invalid: Callable[[], int]) -> None:
    """A value of `success`, `cost`, `error` or `outcome` that cannot be asked does not reach the program as an error.

    Seen red: with `ValueError` in the caller's code.
    """
    vague: Any = Vague()
    metrics, errors, monitor = MetricsCollector(), ErrorTracker(), setup()
    metrics.record("ocr", 1.0, cost=vague)
    metrics.record("ocr", 1.0, success=vague)
    errors.record_call("ocr", vague)
    monitor.record("ocr", duration_s=1.0, error=vague)
    monitor.record("ocr", duration_s=1.0, outcome=vague)
    assert (metrics.summary()["count"], metrics.summary()["failures"]) == (2, 1)
    assert errors.error_rate("ocr") == 1.0
    assert (monitor.summary()["count"], monitor.summary()["failures"]) == (2, 1)
    assert invalid() == 5


def test_an_exception_may_be_given_for_its_text() -> None:
    """`record_call("ocr", False, error)`: its type is recorded, and no code of its own runs."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    errors = ErrorTracker()
    errors.record_call("ocr", False, ValueError("blurred"))
    errors.record_call("ocr", False, Rude())
    assert [(error["error_type"], error["error"]) for error in errors.latest[:1]] == [("ValueError", "blurred")]
    assert errors.latest[1]["error_type"] == "Rude"


@pytest.mark.parametrize("kind", [ConfigurationError, SinkUnavailable])
def test_an_error_carries_its_cure_as_an_attribute(kind: type[ToolweaverMonitorError]) -> None:
    """The text ends with the hint, and both arrive in another process."""
    error = kind("port 8000 is taken", hint="give another port")
    assert (str(error), error.hint) == ("port 8000 is taken; give another port", "give another port")
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), arrived.hint) == (kind, str(error), error.hint)
    assert (str(kind("said by a user's sink")), kind("said by a user's sink").hint) == ("said by a user's sink", "")
