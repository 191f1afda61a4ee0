"""Fixtures of the framework tests: two tools, each plain and monitored, and the recorded calls.

The annotations are strings (`from __future__ import annotations`), one of them names a class of this module, and the
docstrings describe the parameters: everything from which a framework makes a schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest

from toolweaver_monitor import ToolCall, monitored

pydantic = pytest.importorskip("pydantic", reason="the frameworks are installed by `nox -s frameworks`")


class Period(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    """A stretch of time."""

    year: int
    month: int = 1


def find(shop: str, period: Period | None = None, kind: Literal["paper", "photo"] = "paper") -> dict[str, Any]:
    """Find the receipts of a shop.

    Args:
        shop: whose receipts.
        period: when they were written.
        kind: how they were kept.
    """
    if shop == "closed":
        raise ValueError("this shop is closed")
    return {"shop": shop, "kind": kind, "cost": 0.5}


async def find_async(
    shop: str, period: Period | None = None, kind: Literal["paper", "photo"] = "paper"
) -> dict[str, Any]:
    """Find the receipts of a shop.

    Args:
        shop: whose receipts.
        period: when they were written.
        kind: how they were kept.
    """
    return find(shop, period, kind)


find_async.__name__ = "find"  # both are the same tool to a framework


class Pair(NamedTuple):
    """A function, and the same monitored."""

    plain: Callable[..., Any]
    watched: Callable[..., Any]


@pytest.fixture(params=[find, find_async], ids=["sync", "async"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return a tool, sync and async in turn."""
    return Pair(request.param, monitored("find_receipts")(request.param))


@pytest.fixture
def seen(calls: Callable[[], list[ToolCall]]) -> Callable[[], list[tuple[Any, ...]]]:
    """Return name, outcome and dollars of the calls since the last request."""
    return lambda: [(call.tool_name, call.outcome, call.cost_usd) for call in calls()]
