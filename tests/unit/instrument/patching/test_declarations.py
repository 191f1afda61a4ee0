"""What `instrument()` declares for the tools it finds: costs, usage, tags; and decorators whose functions are tools."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Usage, instrument, setup, uninstrument
from toolweaver_monitor.errors import ConfigurationError


class Runner:
    """Runs tools by name."""

    def execute_tool(self, tool_name: str) -> Any:
        return {"seconds": 2}

    def buy(self, sku: str) -> Any:
        return {"seconds": 2}


def test_costs_are_declared_by_the_name_of_the_tool(calls: Any) -> None:
    """`costs=` for those it names, `cost=` for all others. Seen red: with `costs` left out of `declared_nanousd`."""
    runner = instrument(Runner(), costs={"ocr": 0.10}, cost=0.01, tags={"team": "a"})
    for name in ("ocr", "parse"):
        runner.execute_tool(name)
    uninstrument(runner)
    assert [(call.tool_name, call.cost_usd, call.cost_source, call.tags) for call in calls()] == [
        ("ocr", 0.10, "declared", {"team": "a"}),
        ("parse", 0.01, "declared", {"team": "a"}),
    ]


def test_a_declared_cost_is_known_to_budgets_before_the_tool_runs() -> None:
    """Two calls of $0.10 fit into $0.25, and the third does not run; a tool without a cost goes on."""
    monitor = setup(budget=Budget(limit_usd=0.25))
    runner = instrument(Runner(), costs={"ocr": 0.10})
    runner.execute_tool("ocr")
    runner.execute_tool("ocr")
    with pytest.raises(BudgetExceeded):
        runner.execute_tool("ocr")
    runner.execute_tool("parse")
    uninstrument(runner)
    assert monitor.summary()["total_cost_usd"] == 0.20


def test_usage_and_cost_are_read_by_the_callables_that_were_given(calls: Any) -> None:
    """As with `monitored`; `usage=` gets the result."""
    runner = instrument(Runner(), usage=lambda result: Usage(cost=result["seconds"] * 0.5))
    runner.execute_tool("ocr")
    instrument(runner, cost=lambda result: result["seconds"] * 0.25)
    runner.execute_tool("ocr")
    uninstrument(runner)
    assert [call.cost_usd for call in calls()] == [1.0, 0.5]


def test_a_failure_that_only_the_program_knows_is_told(calls: Any) -> None:
    """`failed=` gets the result and returns a text."""
    runner = instrument(Runner(), failed=lambda result: "too slow" if result["seconds"] > 1 else None)
    runner.execute_tool("ocr")
    uninstrument(runner)
    assert [(call.tool_name, call.outcome, call.error) for call in calls()] == [("ocr", "failure", "too slow")]


def test_a_name_is_read_anew_for_each_call(calls: Any) -> None:
    """Names are remembered with their costs and tags; a name that is none is the method's."""
    runner = instrument(Runner(), tags={"team": "a"})
    for name in ("ocr", "parse", "ocr", 7, " ", "x" * 300):
        runner.execute_tool(name)  # type: ignore[arg-type]
    uninstrument(runner)
    found = calls()
    assert [call.tool_name for call in found[:5]] == ["ocr", "parse", "ocr", "execute_tool", "execute_tool"]
    assert len(found[5].tool_name) <= 128
    assert {call.tags["team"] for call in found} == {"a"}


def test_a_fixed_name_takes_its_cost_from_costs(calls: Any) -> None:
    """Also where the name does not come from the arguments."""
    runner = instrument(Runner(), methods=["buy"], tool_name="shop", costs={"shop": 0.3})
    runner.buy("apple")
    uninstrument(runner)
    assert [(call.tool_name, call.cost_usd) for call in calls()] == [("shop", 0.3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"costs": 3}, r"costs=\{'ocr': 0.10\}"),
        ({"costs": {"ocr": "much"}}, "not an amount"),
        ({"cost": -1}, "not an amount"),
        ({"usage": 3}, "returns Usage"),
        ({"failed": 3}, "failed"),
        ({"tags": 3}, "tags must be a mapping"),
        ({"decorator": True}, "'package.module:decorator'"),
        ({"decorator": True, "methods": ["a"]}, "name the decorator"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(options: Any, said: str) -> None:
    """Before anything is patched."""
    with pytest.raises(ConfigurationError, match=said):
        instrument(Runner(), **options)


DECORATORS = """
import functools
registry = {}

def tool(function=None, *, name=None, cost=None):
    def decorate(function):
        registry[name or function.__name__] = function
        return function
    return decorate if function is None else decorate(function)

class Server:
    def tool(self, name=None):
        def decorate(function):
            registry[name or function.__name__] = function
            return function
        return decorate
"""

USE = """
from kit import Server, tool

@tool
def ocr(image): return {"cost": 0.5}

@tool(name="parse")
async def parse_items(text): return {"cost": 0.25}

@Server().tool("find")
def find_shop(shop): return shop
"""


async def test_whatever_a_decorator_is_given_is_a_tool(write: Callable[[str, str], None], calls: Any) -> None:
    """Bare, with arguments, and of a class; by the name that the decorator is given, else by that of the function."""
    write("kit.py", DECORATORS)
    write("uses_kit.py", USE)
    instrument("kit:tool", decorator=True, tags={"by": "kit"})
    instrument("kit:Server.tool", decorator=True)
    uses, kit = importlib.import_module("uses_kit"), importlib.import_module("kit")
    uses.ocr("a.png")
    await kit.registry["parse"]("text")
    kit.registry["find"]("acme")
    uninstrument("kit:tool")
    uninstrument("kit:Server.tool")
    assert [(call.tool_name, call.cost_usd, dict(call.tags)) for call in calls()] == [
        ("ocr", 0.5, {"by": "kit"}),
        ("parse", 0.25, {"by": "kit"}),
        ("find", None, {}),
    ]
    kit.tool(lambda: 1)
    assert kit.registry["<lambda>"]() == 1
    assert calls() == []
