"""The in-memory costs and their report."""

from __future__ import annotations

import sys
from decimal import Decimal
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor import CostTracker, setup, track


def test_the_report_reads_like_a_bill(capsys: pytest.CaptureFixture[str]) -> None:
    """The most expensive first, with total, calls and average; printed, and given back."""
    costs = CostTracker()
    for operation, cost in (("embed", 0.0000021), ("vision", 2.0), ("vision", 1.0)):
        costs.record(operation, cost)
    text = costs.report()
    assert capsys.readouterr().out == f"{text}\n"
    assert text.splitlines() == [
        "Costs",
        "  tool         total  calls     average",
        "  vision     $3.0000      2     $1.5000",
        "  embed   $0.0000021      1  $0.0000021",
        "  total      $3.0000      3     $1.0000",
    ]


@pytest.mark.parametrize("is_installed", [True, False])
def test_genai_prices_is_advised_only_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, is_installed: bool) -> None:
    """Seen red: `pip install` of what is installed, for a model that it does not know."""
    package = ModuleType("genai_prices")
    package.__spec__ = ModuleSpec("genai_prices", None)
    monkeypatch.setitem(sys.modules, "genai_prices", package if is_installed else None)
    monitor = setup()
    with track("translate") as call:
        call.record(model="unlisted", tokens=10)
    text = monitor.costs.report()
    assert 'setup(prices={"unlisted"' in text
    assert "record(cost=...)" in text
    assert ("pip install" in text) is not is_installed


def test_costs_counts_and_the_most_expensive() -> None:
    """Dollars and calls by operation; the `n` most expensive, and none for none."""
    costs = CostTracker()
    for number in range(1, 8):
        costs.record(f"tool {number}", number / 10)
    assert costs.costs["tool 7"] == 0.7
    assert costs.counts == {f"tool {number}": 1 for number in range(1, 8)}
    assert [name for name, _ in costs.most_expensive()] == [f"tool {number}" for number in (7, 6, 5, 4, 3)]
    assert costs.most_expensive(1) == [("tool 7", 0.7)]
    assert costs.most_expensive(0) == costs.most_expensive(-1) == []


@given(st.permutations([Decimal("0.1")] * 20 + [Decimal("0.000000001"), Decimal(1000), Decimal("0.3")]))
def test_sums_are_exact_in_any_order(amounts: list[Decimal]) -> None:
    """A thousand dollars and a billionth of one: floats would lose the one or the other."""
    costs = CostTracker()
    for amount in amounts:
        costs.record("tool", float(amount))
    assert costs._by_tool()["tool"].usage.cost_nanousd == int(sum(amounts) * 10**9)


def test_a_call_of_unknown_cost_is_no_part_of_the_average() -> None:
    """`counts` counts the calls that had a cost, free ones among them."""
    monitor = setup()
    for cost in (0.2, 0.0, None):
        with track("tool") as call:
            call.record(cost=cost, tokens=5)
    assert monitor.costs.counts == {"tool": 2}
    assert "average" in monitor.costs._text()
    assert "$0.1000" in monitor.costs._text()


def test_nothing_has_cost_anything_yet() -> None:
    """An empty report is a sentence, not an empty table."""
    assert CostTracker()._text() == "Costs\n  nothing has cost anything yet"
