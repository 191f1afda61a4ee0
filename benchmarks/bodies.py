"""The functions that are called. They do nothing, so that only what is added to them is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

RESULT: dict[str, object] = {"text": "milk 1.20", "tokens_used": 812, "cost": 0.0104}


def bare() -> None:
    """A function that does nothing."""


async def bare_async() -> None:
    """A coroutine function that does nothing."""


def bare_result() -> dict[str, object]:
    """A function that returns what a tool with a model behind it returns, a new one each time."""
    return dict(RESULT)


def bare_generator(n: int) -> Iterator[None]:
    """A generator that yields n times."""
    for _ in range(n):
        yield None


async def bare_async_generator(n: int) -> AsyncIterator[None]:
    """An async generator that yields n times."""
    for _ in range(n):
        yield None
