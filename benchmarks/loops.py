"""Make n calls of each kind: one loop a kind, the same for every contender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import repeat

Run = Callable[[int], object]


def calls(function: Callable[[], object]) -> Run:
    """Plain calls of a function without arguments."""

    def run(n: int) -> None:
        for _ in repeat(None, n):
            function()

    return run


def awaits(loop: asyncio.AbstractEventLoop, function: Callable[[], Awaitable[object]]) -> Run:
    """Awaited calls of a coroutine function, one after the other in one task."""

    async def run(n: int) -> None:
        for _ in repeat(None, n):
            await function()

    return lambda n: loop.run_until_complete(run(n))


def blocks(manager: Callable[[str], AbstractContextManager[object]], body: Callable[[], object]) -> Run:
    """`with manager("tool"): body()`."""

    def run(n: int) -> None:
        for _ in repeat(None, n):
            with manager("tool"):
                body()

    return run


def async_blocks(
    loop: asyncio.AbstractEventLoop,
    manager: Callable[[str], AbstractAsyncContextManager[object]],
    body: Callable[[], Awaitable[object]],
) -> Run:
    """`async with manager("tool"): await body()`."""

    async def run(n: int) -> None:
        for _ in repeat(None, n):
            async with manager("tool"):
                await body()

    return lambda n: loop.run_until_complete(run(n))


def steps(generator: Callable[[int], Iterator[object]]) -> Run:
    """The steps of one generator that yields n times."""

    def run(n: int) -> None:
        for _ in generator(n):
            pass

    return run


def async_steps(loop: asyncio.AbstractEventLoop, generator: Callable[[int], AsyncIterator[object]]) -> Run:
    """The steps of one async generator that yields n times."""

    async def run(n: int) -> None:
        async for _ in generator(n):
            pass

    return lambda n: loop.run_until_complete(run(n))
