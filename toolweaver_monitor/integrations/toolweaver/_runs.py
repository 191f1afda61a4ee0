"""Count each run of a tool once, however many of ToolWeaver's functions it passes through.

One run passes through several of them: a workflow, a client, a plugin and the decorated function. Each is wrapped, as
each is also called alone. The outermost opens the call; the inner ones see that the current call has the name of their
tool and was opened further out (a higher `Level`), and open none. A tool that calls itself enters at the same level or
a higher one again, and is a new call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any, NamedTuple

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._instrument.decorator import wrap
from toolweaver_monitor.integrations.toolweaver import _registry

NameOf = Callable[..., str]


class Level(IntEnum):
    """How far out a function of ToolWeaver's is."""

    FUNCTION = 1
    """The function that a decorator was given."""
    PLUGIN = 2
    """A plugin that looks the tool up."""
    CLIENT = 3
    """What a plan's step is handed to: a client, a worker, a skill."""
    EXECUTOR = 4
    """What runs several tools: a workflow, a chain, generated code."""


class ToolRun(NamedTuple):
    """The open call of a tool, and the innermost level that it has reached."""

    call: ToolCall
    level: Level


class Tries:
    """How often something that is tried again has been tried so far."""

    def __init__(self) -> None:
        self.count = 0


class Switch:
    """Whether the wrappers count: what ToolWeaver or its user has taken a reference to keeps its wrapper."""

    on = False
    count: Callable[[], object] = int
    """Called once for each call that is opened."""


_run: ContextVar[ToolRun | None] = ContextVar("toolweaver_monitor_toolweaver_run", default=None)
_tries: ContextVar[Tries | None] = ContextVar("toolweaver_monitor_toolweaver_tries", default=None)


def next_try() -> None:
    """Count one more try of the operation around, if there is one."""
    if (tries := _tries.get()) is not None:
        tries.count += 1


@contextmanager
def retrying() -> Iterator[Tries]:
    """Count the calls made directly inside as tries of one operation; the caller counts each try."""
    tries = Tries()
    token = _tries.set(tries)
    try:
        yield tries
    finally:
        _tries.reset(token)


@contextmanager
def _reached(run: ToolRun) -> Iterator[None]:
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def _run_around(name: str, level: Level) -> ToolRun | None:
    """Return the run that a function of this level is part of; None if it begins a new one."""
    call = current_call()
    if call.tool_name != name:
        return None
    run = _run.get()
    if run is not None and run.call is call and run.level <= level:
        return None
    return ToolRun(call, level)  # also where the user's own decorator or block of that name has opened the call


@contextmanager
def _beginning(name: str, level: Level) -> Iterator[None]:
    """Note the level of a call that has just been opened, and what ToolWeaver knows of it."""
    call = current_call()
    tries = _tries.get()
    if tries is not None and tries.count > 1:
        call.record(attempt=tries.count)
    if (cost := _registry.cost_per_call(name)) is not None:
        call.record(cost=cost)
    token = _tries.set(None)
    try:
        with _reached(ToolRun(call, level)):
            yield
    finally:
        _tries.reset(token)


def _counting(name_of: NameOf) -> NameOf:
    """Return a reader of names that counts the calls: each asks for its name once."""

    def read_name(*args: Any, **kwargs: Any) -> str:
        Switch.count()
        return name_of(*args, **kwargs)

    return read_name


def watch_coroutine(function: Any, name_of: NameOf, level: Level, **declarations: Any) -> Any:
    """Return a coroutine function, whose runs of tools are counted.

    Args:
        function: the coroutine function of ToolWeaver's.
        name_of: gets its arguments and returns the tool's name.
        level: how far out it is.
        **declarations: as `monitored` takes them.
    """

    async def body(*args: Any, **kwargs: Any) -> Any:
        with _beginning(name_of(*args, **kwargs), level):
            return await function(*args, **kwargs)

    counted = wrap(body, _counting(name_of), **declarations)

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args, **kwargs) if Switch.on else ""
        if not name or _registry.is_monitored_tool(name):
            return await function(*args, **kwargs)
        around = _run_around(name, level)
        if around is None:
            return await counted(*args, **kwargs)
        with _reached(around):
            return await function(*args, **kwargs)

    return run


def watch_stream(function: Any, name_of: NameOf, level: Level) -> Any:
    """Return a function that gives an async generator; its call lasts from the first item to the last."""

    async def steps(stream: Any, run: ToolRun) -> AsyncIterator[Any]:
        """Take each step inside the run: between two of them the context is the consumer's."""
        try:
            while True:
                with _reached(run):
                    try:
                        item = await anext(stream)
                    except StopAsyncIteration:
                        return
                yield item
        finally:
            await stream.aclose()

    async def body(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with _beginning(name_of(*args, **kwargs), level):
            items = steps(function(*args, **kwargs), ToolRun(current_call(), level))
        async for item in items:
            yield item

    counted = wrap(body, _counting(name_of))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args, **kwargs) if Switch.on else ""
        if not name or _registry.is_monitored_tool(name):
            return function(*args, **kwargs)
        around = _run_around(name, level)
        return counted(*args, **kwargs) if around is None else steps(function(*args, **kwargs), around)

    return run


def watch_function(function: Any, name: str | NameOf) -> Any:
    """Return a function that counts the runs of a tool's own function, plain or coroutine function.

    It stays a plain function: arguments that do not fit raise at the call, as they did.

    Args:
        function: the tool's function.
        name: the tool's name, or what gets the arguments and returns it.
    """
    name_of: NameOf = name if callable(name) else lambda *_args, **_kwargs: name

    def body(*args: Any, **kwargs: Any) -> Any:
        with _beginning(name_of(*args, **kwargs), Level.FUNCTION):
            result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            return _await(result, ToolRun(current_call(), Level.FUNCTION))
        return result

    counted = wrap(body, _counting(name_of))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not Switch.on:
            return function(*args, **kwargs)
        around = _run_around(name_of(*args, **kwargs), Level.FUNCTION)
        if around is None:
            return counted(*args, **kwargs)
        with _reached(around):
            result = function(*args, **kwargs)
        return _await(result, around) if inspect.isawaitable(result) else result

    return run


async def _await(result: Awaitable[Any], run: ToolRun) -> Any:
    with _reached(run):
        return await result
