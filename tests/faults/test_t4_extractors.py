"""T4: what an extractor raises or returns changes nothing for the caller, and every total stays finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from toolweaver_monitor import Monitor, Usage, monitored, setup, track
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.sinks import PrometheusExporter

RAISED = (
    ValueError("x"),
    SystemExit(3),
    GeneratorExit(),
    MemoryError(),
    RecursionError(),
    StopIteration(),
    BaseException(),
)
NO_COSTS: tuple[Any, ...] = (
    float("nan"), float("inf"), -1, -0.01, 10**400, 1e300, "0.10", True, b"1", [0.1], object(), Decimal("NaN"),
    Decimal("Infinity"), Decimal(-1), 1 + 1j,
)  # fmt: skip
NO_USAGES: tuple[Any, ...] = (
    "812", 812, {"tokens": 3}, Usage(tokens=-1), Usage(tokens=10**400), Usage(tokens=float("nan")),  # type: ignore[arg-type]
    Usage(tokens="7"), Usage(cost=float("nan")), Usage(cost=-1), Usage(cost="0.1"), Usage(input_tokens=True),  # type: ignore[arg-type]
)  # fmt: skip


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0)) as monitor:
        yield monitor


def finite(monitor: Monitor) -> None:
    summary = monitor.summary()
    assert all(math.isfinite(value) for value in summary.values() if isinstance(value, int | float))
    assert all(math.isfinite(cost) for cost in monitor.costs.costs.values())
    for family in text_string_to_metric_families(monitor.sinks[0].text()):
        assert all(math.isfinite(sample.value) for sample in family.samples)


@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
@pytest.mark.parametrize("which", ["cost", "usage", "tool_name"])
def test_t4_what_an_extractor_raises_is_counted_and_stays_here(
    which: str, raised: BaseException, monitor: Monitor
) -> None:
    """The caller gets its result; one more extractor is counted as failed.

    Mutation that turned it red: `except Exception` in `closing.call_extractor`, and in `opening.prepare`.
    """

    def extract(*_: object) -> Any:
        raise raised

    result = {"text": "read"}
    settings: dict[str, Any] = {which: extract}
    before = Diagnostics.extractor_errors
    assert monitored(**settings)(lambda: result)() is result
    assert Diagnostics.extractor_errors == before + 1
    assert monitor.summary()["successes"] == 1
    assert monitor.summary()["total_cost_usd"] == 0
    finite(monitor)


@pytest.mark.parametrize("cost", NO_COSTS, ids=repr)
@pytest.mark.parametrize("way", ["cost=", "usage=", "result", "record"])
def test_t4_what_is_no_cost_is_counted_as_invalid_and_nothing_else(way: str, cost: Any, monitor: Monitor) -> None:
    """NaN, infinities, negatives, numbers too large, text: the call has no cost, and totals stay finite.

    Mutation that turned it red: the bounds left out of `sanitize.nanodollars`.
    """
    before = Diagnostics.invalid_values
    if way == "record":
        with track("tool") as call:
            call.record(cost=cost)
    else:
        result: Any = {"cost": cost} if way == "result" else "text"
        settings: dict[str, Any] = {
            "cost=": {"cost": lambda _: cost},
            "usage=": {"usage": lambda _: Usage(cost=cost)},
            "result": {},
        }[way]
        assert monitored("tool", **settings)(lambda: result)() is result
    assert monitor.metrics.operations[0]["cost"] == 0.0
    assert monitor.costs.counts == {}
    if way != "result" or (not isinstance(cost, bytes | list | complex) and type(cost) is not object):
        assert Diagnostics.invalid_values > before
    finite(monitor)


@pytest.mark.parametrize("usage", NO_USAGES, ids=repr)
def test_t4_what_is_no_usage_is_counted_as_invalid_and_nothing_else(usage: Any, monitor: Monitor) -> None:
    """A usage extractor that returns something else, or a `Usage` with impossible values.

    Mutation that turned it red: the bounds left out of `sanitize.token_count`.
    """
    before = Diagnostics.invalid_values
    assert monitored("tool", usage=lambda _: usage)(lambda: "text")() == "text"
    assert Diagnostics.invalid_values > before
    assert monitor.summary()["total_tokens"] == 0
    finite(monitor)


GOOD: dict[str, tuple[Callable[[object], Any], float | None]] = {
    "a float": (lambda _: 0.25, 0.25),
    "an int": (lambda _: 1, 1.0),
    "a Decimal": (lambda _: Decimal("0.1"), 0.1),
    "nothing": (lambda _: None, None),
}


@pytest.mark.parametrize("kind", GOOD)
def test_t4_a_decimal_is_a_figure_and_none_is_unknown(kind: str, monitor: Monitor) -> None:
    """Neither is an error: a Decimal is exact money, and None means that the cost is unknown.

    Mutation that turned it red: `Decimal` left out of `sanitize.nanodollars`.
    """
    extract, cost = GOOD[kind]
    before = Diagnostics.counts()
    assert monitored("tool", cost=extract)(lambda: "text")() == "text"
    assert Diagnostics.counts() == before
    assert monitor.costs.costs == ({} if cost is None else {"tool": cost})
