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
    total: int | None = None
    """Cents; None if it was not read."""
    kinds: Mapping[str, int] = {}
    """Cents by kind of expense."""
    why: str = ""

    def in_dollars(self) -> dict[str, Any]:
        """Return what files and JSON show; there all money is in dollars."""
        total = None if self.total is None else self.total / 100
        return self._asdict() | {"total": total, "kinds": {kind: cents / 100 for kind, cents in self.kinds.items()}}


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
        """Read one receipt; a failure is a result like any other. The cost counts for who handed the receipt in."""
        try:
            # What ends the block ends the call: a receipt on which a tool fails is a failure itself.
            with track("receipt", employee=image.stem.partition("-")[2]):
                text = await self.execute_tool("ocr", {"image": image})
                slip = await self.execute_tool("parse_items", {"lines": text["lines"]})
                sums = await self.execute_tool("categorize", {"items": slip["items"]})
        except BudgetExceeded as refusal:
            return Reading(image.name, "refused", why=f"the budget {refusal.budget!r} is spent")
        except (OSError, ValueError) as error:
            return Reading(image.name, "failed", why=f"{type(error).__name__}: {error}")
        return Reading(image.name, "read", slip["total"], sums["kinds"])
