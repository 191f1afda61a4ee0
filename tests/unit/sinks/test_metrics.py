"""What the in-memory metrics count, keep and sum up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor import MetricsCollector, setup, track

KEYS = {
    "count", "total_operations", "successes", "failures", "success_rate", "total_cost_usd", "avg_duration_s",
    "total_tokens", "p50_s", "p95_s", "p99_s", "unpriced_calls",
}  # fmt: skip


def test_it_works_with_no_setup() -> None:
    """Record by hand, read the summary."""
    metrics = MetricsCollector()
    metrics.record("ocr", 0.5, tokens=10, cost=0.10)
    metrics.record("ocr", 1.5, tokens=20, cost=0.20, success=False, error="blurred")
    summary = metrics.summary()
    assert (summary["count"], summary["successes"], summary["failures"], summary["success_rate"]) == (2, 1, 1, 0.5)
    assert (summary["total_tokens"], summary["total_cost_usd"], summary["avg_duration_s"]) == (30, 0.3, 1.0)
    assert metrics.operations[1] | {"timestamp": 0} == {
        "operation": "ocr", "duration": 1.5, "tokens": 20, "cost": 0.2, "success": False, "error": "blurred",
        "timestamp": 0, "outcome": "failure", "error_type": "tool_error", "model": None, "tags": {},
    }  # fmt: skip


def test_an_empty_summary_has_all_its_keys() -> None:
    """Nothing seen yet is no error, and a rate of nothing is unknown."""
    summary = MetricsCollector().summary()
    assert summary.keys() == KEYS
    assert summary["success_rate"] is None
    assert not any(value for key, value in summary.items() if key != "success_rate")


def test_the_last_operations_are_kept_and_the_totals_are_all_time() -> None:
    """`max_operations` bounds the memory, not the sums."""
    metrics = MetricsCollector(max_operations=3)
    for number in range(10):
        metrics.record(f"tool {number}", 1.0, cost=0.1)
    assert [operation["operation"] for operation in metrics.operations] == ["tool 7", "tool 8", "tool 9"]
    assert (metrics.summary()["count"], metrics.summary()["total_cost_usd"]) == (10, 1.0)
    assert len(metrics.cost_by_operation()) == 10


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200))
def test_percentiles_are_within_five_percent_of_the_truth(durations: list[float]) -> None:
    """Nearest rank, read off a histogram that merges exactly."""
    metrics = MetricsCollector()
    for duration in durations:
        metrics.record("tool", duration)
    ordered = sorted(durations)
    for key, share in (("p50_s", 50), ("p95_s", 95), ("p99_s", 99)):
        true = ordered[max(1, -(-share * len(ordered) // 100)) - 1]
        assert metrics.summary()[key] == pytest.approx(true, rel=0.05)


def test_costs_come_most_expensive_first() -> None:
    """`cost_by_operation()` reads like a bill."""
    metrics = MetricsCollector()
    for tool, cost in (("cheap", 0.01), ("dear", 2.0), ("free", 0.0), ("dear", 1.0)):
        metrics.record(tool, 1.0, cost=cost)
    assert list(metrics.cost_by_operation().items()) == [("dear", 3.0), ("cheap", 0.01), ("free", 0.0)]


def test_each_operation_has_the_same_figures() -> None:
    """`by_operation()` is a summary for each."""
    metrics = MetricsCollector()
    metrics.record("a", 1.0)
    metrics.record("b", 3.0, success=False)
    found = metrics.by_operation()
    assert all(figures.keys() == KEYS for figures in found.values())
    assert (found["a"]["success_rate"], found["b"]["success_rate"]) == (1.0, 0.0)


def test_an_unknown_cost_is_no_amount_and_is_counted_as_unpriced() -> None:
    """In `operations` it is 0.0, since users sum it; the summary says how many there are."""
    monitor = setup()
    with track("chat") as call:
        call.record(tokens=10, model="a-model-nobody-prices")
    assert monitor.metrics.operations[0]["cost"] == 0.0
    assert monitor.summary()["unpriced_calls"] == 1


def test_what_is_recorded_by_hand_stands_beside_what_is_watched() -> None:
    """`monitor.metrics` takes both, in the order in which they ended."""
    monitor = setup()
    with track("watched"):
        pass
    assert repr(monitor.metrics) == "<MetricsCollector: 1 call of 1 tool>"
    assert "\n  1 call, 0 failed, " in monitor._text()
    monitor.metrics.record("by hand", 0.0)
    assert [operation["operation"] for operation in monitor.metrics.operations] == ["watched", "by hand"]
    assert repr(monitor.metrics) == "<MetricsCollector: 2 calls of 2 tools>"
