"""An orchestrator such as many programs have: it knows tools by name, and runs many at once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolweaver_monitor import BudgetExceeded, track

AT_ONCE = 2


class Reading(NamedTuple):
    """The outcome of one receipt."""

    file: str
    outcome: str
    """`read`, `failed`, or `refused` by a budget."""
    total: int = 0
    """Cents."""
    kinds: Mapping[str, int] = {}
    """Cents by kind of expense."""
    why: str = ""


class Orchestrator:
    """An orchestrator that reads receipts with the tools it is given.

    Args:
        tools: functions, sync or async, by name.
    """

    def __init__(self, tools: Mapping[str, Callable[..., Any]]) -> None:
        self.tools = tools

    async def execute_tool(self, tool_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Run one tool."""
        result = self.tools[tool_name](**params)
        found: dict[str, Any] = await result if inspect.isawaitable(result) else result
        return found

    async def read_all(self, images: Sequence[Path], at_once: int = AT_ONCE) -> AsyncIterator[Reading]:
        """Read many receipts, a few at a time; yield each as soon as it is done."""
        turns = asyncio.Semaphore(at_once)

        async def in_turn(image: Path) -> Reading:
            async with turns:
                return await self.read(image)

        for done in asyncio.as_completed([asyncio.create_task(in_turn(image)) for image in images]):
            yield await done

    async def read(self, image: Path) -> Reading:
        """Read one receipt. Its tools' cost is counted for the person who handed it in."""
        try:
            with track("receipt", employee=image.stem.partition("-")[2]):  # a budget may refuse this, too
                return await self._through_tools(image)
        except BudgetExceeded as refusal:
            return refused(image, refusal)

    async def _through_tools(self, image: Path) -> Reading:
        """Take one receipt through all tools; a failure is a result like any other."""
        try:
            text = await self.execute_tool("ocr", {"image": image})
            slip = await self.execute_tool("parse_items", {"lines": text["lines"]})
            sums = await self.execute_tool("categorize", {"items": slip["items"]})
        except BudgetExceeded as refusal:
            return refused(image, refusal)
        except (OSError, ValueError) as error:
            return Reading(image.name, "failed", why=f"{type(error).__name__}: {error}")
        return Reading(image.name, "read", slip["total"], sums["kinds"])


def refused(image: Path, refusal: BudgetExceeded) -> Reading:
    """Return the reading of a receipt that a budget refused."""
    return Reading(image.name, "refused", why=f"the budget {refusal.budget!r} is spent")
