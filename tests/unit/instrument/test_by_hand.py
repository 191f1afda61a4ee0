"""Calls that are recorded by hand go the way of all others: to every sink, and to the budgets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from toolweaver_monitor import (
    Budget,
    BudgetExceeded,
    CostTracker,
    ErrorTracker,
    MetricsCollector,
    ToolCall,
    monitored,
    setup,
    tagged,
    track,
)
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._instrument import by_hand
from toolweaver_monitor.sinks import PrometheusExporter


@monitored("ocr", cost=0.10)
def ocr() -> str:
    return "text"


def spent(monitor: Any) -> float:
    return float(monitor.health()["budgets"][0]["spent"])


def test_a_finished_call_reaches_every_sink_with_all_that_was_told() -> None:
    """An adapter tells what it measured: the call is inside the open one, with its own duration."""
    seen: list[ToolCall] = []
    monitor = setup(seen.append, tags={"env": "prod"})
    with track("agent") as agent:
        monitor.record(
            "chat", duration_s=1.5, input_tokens=10, output_tokens=5, cost=0.02, model="m", attempt=2, customer="acme"
        )
    assert monitor.flush()
    call, _ = seen
    assert (call.tool_name, call.outcome, call.duration_s, call.cost_usd) == ("chat", "success", 1.5, 0.02)
    assert (call.tokens, call.model, call.attempt, call.parent_id) == (15, "m", 2, agent.call_id)
    assert dict(call.tags) == {"env": "prod", "customer": "acme"}
    assert monitor.costs.by_tag("customer")["acme"]["cost_usd"] == 0.02
    assert monitor.active() == []


@pytest.mark.parametrize(
    ("told", "outcome", "error_type"),
    [
        ({}, "success", None),
        ({"outcome": "timeout", "error": "30 s"}, "timeout", "ToolFailed"),
        ({"error": ValueError("no total")}, "failure", "ValueError"),
        ({"outcome": "cancelled"}, "cancelled", None),
        ({"outcome": "broken"}, "failure", "ToolFailed"),
    ],
)
def test_a_finished_call_has_the_outcome_that_is_told(told: Any, outcome: str, error_type: str | None) -> None:
    """With an error a success is a failure, and an outcome that there is not is no success."""
    seen: list[ToolCall] = []
    monitor = setup(seen.append)
    before = Diagnostics.invalid_values
    monitor.record("chat", duration_s=0.1, **told)
    assert monitor.flush()
    assert (seen[0].outcome, seen[0].error_type is None) == (outcome, error_type is None)
    assert Diagnostics.invalid_values - before == (told.get("outcome") == "broken")


def test_budgets_are_charged_and_never_refuse_what_has_happened() -> None:
    """A recorded call runs over the limit, and the next call is refused. Seen red: without the charge."""
    monitor = setup(budget=[Budget(limit_usd=0.15, reserve=0.01), Budget(limit_calls=9)])
    for _ in range(2):
        monitor.record("chat", duration_s=1, cost=0.10)
    with pytest.raises(BudgetExceeded):
        ocr()
    entries = monitor.health()["budgets"]
    assert [(entry["spent"], entry["reserved"]) for entry in entries] == [(0.2, 0), (2, 0)]


@pytest.mark.parametrize("how", ["record", "metrics"])
def test_tags_of_setup_give_way_to_those_around_a_call_that_is_handed_in(how: str) -> None:
    """It costs the customer of the block around it, and that customer's budget, as any other call.

    Seen red: the customer of `setup()`.
    """
    monitor = setup(tags={"customer": "base"}, budget=Budget(limit_usd=1, tag="customer", name="b"))

    def hand_in(**tags: str) -> None:
        if how == "record":
            monitor.record("ocr", duration_s=1, cost=0.1, **tags)
        else:
            monitor.metrics.record("ocr", 1, cost=0.1)

    hand_in()
    with track("ask", customer="acme"):
        hand_in()
        hand_in(customer="globex")
    with tagged(customer="zeta"):
        hand_in()
    costs = {"base": 0.1, "acme": 0.1, "globex": 0.1, "zeta": 0.1}
    if how == "metrics":
        costs = {"base": 0.1, "acme": 0.2, "zeta": 0.1}
    assert {name: row["cost_usd"] for name, row in monitor.costs.by_tag("customer").items()} == costs
    assert {name: monitor.budgets["b"].remaining(name) for name in costs} == {
        name: pytest.approx(1 - cost) for name, cost in costs.items()
    }


def test_a_price_is_looked_up_for_a_finished_call() -> None:
    """Tokens and a model have their price, as in every other call."""
    monitor = setup(budget=1, prices={"m": {"input": 1.0, "output": 2.0}, "scan": {"per_call": 0.05}})
    monitor.record("chat", duration_s=1, model="m", input_tokens=100_000)
    monitor.record("scan", duration_s=1)
    assert monitor.costs.costs == {"chat": pytest.approx(0.1), "scan": 0.05}
    assert spent(monitor) == pytest.approx(0.15)


def test_memory_and_prometheus_agree_about_metrics_that_are_recorded_by_hand() -> None:
    """The guide's `metrics.record()` reaches `/metrics`, costs and budgets. Seen red: it stayed in memory."""
    exporter = PrometheusExporter(port=0)
    monitor = setup(exporter, budget=1)
    monitor.metrics.record("ocr", duration=0.5, tokens=10, cost=0.02)
    assert 'toolweaver_tool_executions_total{tool_name="ocr",status="success"} 1' in exporter.text()
    assert 'toolweaver_tool_cost_usd_total{tool_name="ocr"} 0.02' in exporter.text()
    assert (monitor.summary()["count"], monitor.costs.costs, spent(monitor)) == (1, {"ocr": 0.02}, 0.02)


@pytest.mark.parametrize(("first", "second", "total"), [(0.02, 0.02, 0.02), (0.0, 0.02, 0.02), (0.02, 0.0, 0.02)])
def test_the_guides_three_trackers_count_one_call(first: float, second: float, total: float) -> None:
    """What costs and errors say right after belongs to the call; a cost counts once.

    Seen red: with both costs added; with a call each.
    """
    monitor = setup(exporter := PrometheusExporter(port=0), budget=1)
    for _ in range(3):
        monitor.metrics.record("ocr", duration=0.5, cost=first)
        monitor.costs.record("ocr", second)
        monitor.errors.record_call("ocr", False, "no total")
    totals = monitor.summary()
    assert (totals["count"], totals["failures"]) == (3, 3)
    assert monitor.costs.costs == {"ocr": pytest.approx(3 * total)}
    assert monitor.errors.error_rate("ocr") == 1.0
    assert monitor.errors.latest[0]["error"] == "no total"
    assert spent(monitor) == pytest.approx(3 * total)
    assert 'executions_total{tool_name="ocr",status="failure"} 3' in exporter.text()


@pytest.mark.parametrize("first", [0.5, 0.0])
def test_a_second_cost_of_one_call_is_added_everywhere(first: float) -> None:
    """So all trackers, the budgets and `/metrics` agree.

    Seen red: the tracker of costs alone counted it.
    """
    monitor = setup(exporter := PrometheusExporter(port=0), budget=5)
    monitor.metrics.record("ocr", duration=0.5, cost=first)
    monitor.costs.record("ocr", 0.5)
    monitor.costs.record("ocr", 0.25)
    assert spent(monitor) == monitor.summary()["total_cost_usd"] == 0.75
    assert (monitor.costs.costs, monitor.costs.counts) == ({"ocr": 0.75}, {"ocr": 1})
    assert 'toolweaver_tool_cost_usd_total{tool_name="ocr"} 0.75' in exporter.text()


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_of_two_outcomes_the_failure_stands(first: bool, second: bool) -> None:
    """Whichever tracker was told of it."""
    monitor = setup()
    monitor.metrics.record("ocr", duration=0.5, success=first, error="" if first else "broken")
    monitor.errors.record_call("ocr", second, "" if second else "broken")
    assert (monitor.summary()["count"], monitor.summary()["failures"]) == (1, 1)
    assert monitor.errors.total_calls["ocr"] == 1


def test_a_budget_knows_of_a_call_that_waits() -> None:
    """The next call is refused, though nothing was drained in between."""
    setup(budget=0.05)
    with track("agent"):
        pass
    monitor = setup(budget=0.05)
    monitor.metrics.record("chat", duration=1, cost=0.05)
    with pytest.raises(BudgetExceeded):
        ocr()


def test_a_tracker_of_another_tool_or_task_keeps_its_record() -> None:
    """Only the same tool in the same context belongs to the call; the rest is counted by its tracker alone."""
    monitor = setup()

    async def one(tool: str) -> None:
        monitor.metrics.record(tool, duration=0.5)
        await asyncio.sleep(0.001)
        monitor.costs.record(tool, 0.01)
        monitor.costs.record(tool, 0.01)

    async def both() -> None:
        await asyncio.gather(one("ocr"), one("parse"))

    asyncio.run(both())
    monitor.errors.record_call("ocr", False, "no total")
    assert monitor.summary()["count"] == 2
    assert monitor.costs.costs == {"ocr": pytest.approx(0.02), "parse": pytest.approx(0.02)}
    assert monitor.errors.total_calls["ocr"] == 2
    assert monitor.metrics.by_operation()["ocr"]["total_cost_usd"] == pytest.approx(0.02)
    monitor.metrics.record("index", duration=0.5)
    monitor.costs.record("other", 0.03)
    assert monitor.costs.costs["other"] == 0.03
    assert monitor.metrics.by_operation()["index"]["total_cost_usd"] == 0


def test_a_periodic_drain_leaves_a_call_of_this_moment_to_its_trackers() -> None:
    """The dispatcher may run between two lines of the program."""
    seen: list[ToolCall] = []
    monitor = setup(seen.append)
    monitor.metrics.record("ocr", duration=0.5)
    bus._work()
    monitor.costs.record("ocr", 0.02)
    assert monitor.flush()
    assert [call.cost_usd for call in seen] == [0.02]


def test_alone_each_tracker_stays_as_it_is() -> None:
    """Without `setup()`, and after it has ended, each counts what it is given."""
    monitor = setup()
    trackers: list[Any] = [MetricsCollector(), CostTracker(), ErrorTracker()]
    for metrics, costs, errors in (trackers, [monitor.metrics, monitor.costs, monitor.errors]):
        monitor.shutdown()
        metrics.record("ocr", duration=0.5, cost=0.02)
        costs.record("ocr", 0.02)
        errors.record_call("ocr", True)
        assert metrics.summary()["count"] == 1
        assert costs.costs == {"ocr": 0.02}
        assert errors.total_calls["ocr"] == 1
    monitor.record("ocr", duration_s=1)
    assert monitor.summary()["count"] == 1
    assert by_hand._waiting == {}
