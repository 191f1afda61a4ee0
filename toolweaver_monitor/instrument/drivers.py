"""How does each kind of callable run under a call? What happens to the call itself stands once, in `hot_path`.

Each driver takes a function and its tool and gives a function of the same kind: a coroutine function stays one, a
generator function stays one. The user's code runs bare between `begin` and `leave`, one frame below its caller.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from toolweaver_monitor.bus.bus import bus
from toolweaver_monitor.call import ToolCall, innermost
from toolweaver_monitor.instrument.hot_path import begin, leave, leave_raising, restore
from toolweaver_monitor.instrument.stream import Stream
from toolweaver_monitor.instrument.tool import Tool

Function = Callable[..., Any]

_innermost = innermost.get
_make_innermost = innermost.set
_restore = innermost.reset


def drive_function(function: Function, tool: Tool) -> Function:
    """A plain function; one that returns a coroutine or a future closes its call when that has ended."""
    tool.defers = True

    def run(*args: Any, **kwargs: Any) -> Any:
        if not bus.on:
            return function(*args, **kwargs)
        call = begin(tool, args, kwargs)
        try:
            return leave(tool, call, function(*args, **kwargs))
        except BaseException as error:
            leave_raising(tool, call, error)
            raise

    return run


def drive_coroutine(function: Function, tool: Tool) -> Function:
    """A coroutine function."""

    async def run(*args: Any, **kwargs: Any) -> Any:
        if not bus.on:
            return await function(*args, **kwargs)
        call = begin(tool, args, kwargs)
        try:
            return leave(tool, call, await function(*args, **kwargs))
        except BaseException as error:
            leave_raising(tool, call, error)
            raise

    return run


def drive_generator(function: Function, tool: Tool) -> Function:
    """A generator function: the whole protocol, and the call is innermost only while the body runs."""

    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if not bus.on:
            return (yield from function(*args, **kwargs))
        call = begin(tool, args, kwargs)
        stream = Stream(call)
        thrown: BaseException | None = None
        received: Any = None
        inside: ToolCall | None = call  # what is innermost inside the body, between its steps
        try:
            body = function(*args, **kwargs)
            step = body.send
            while True:
                try:
                    item = step(received) if thrown is None else body.throw(thrown)
                except StopIteration as stop:
                    stream.end()
                    leave(tool, call, None)
                    return stop.value
                inside = _innermost()
                _restore(call.token)  # type: ignore[arg-type]
                stream.saw(item)
                thrown = None
                try:
                    received = yield item
                except GeneratorExit:
                    call.token = _make_innermost(inside)
                    value = body.close()
                    restore(call)
                    if value is None:
                        raise
                    stream.end()
                    leave_raising(tool, call, GeneratorExit())
                    return value  # CPython 3.13 hands it to whoever called close()
                except BaseException as error:  # noqa: BLE001 - handed to the body, whose matter it is
                    thrown = error
                call.token = _make_innermost(inside)
        except BaseException as error:
            stream.end()
            leave_raising(tool, call, error)
            raise
        finally:
            thrown = None  # or its traceback and this frame would hold each other

    return run


def drive_async_generator(function: Function, tool: Tool) -> Function:
    """An async generator function; each step runs in the task that asked for it."""

    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        watched = bus.on  # there is no `yield from` for this kind: unwatched, it is driven all the same
        call = begin(tool, args, kwargs) if watched else ToolCall(tool.name, "muted")
        stream = Stream(call)
        thrown: BaseException | None = None
        received: Any = None
        inside = call if watched else _innermost()
        try:
            body = function(*args, **kwargs)
            step = body.asend
            while True:
                try:
                    item = await (step(received) if thrown is None else body.athrow(thrown))
                except StopAsyncIteration:
                    stream.end()
                    leave(tool, call, None)
                    return
                inside = _innermost()
                restore(call)
                stream.saw(item)
                thrown = None
                try:
                    received = yield item
                except GeneratorExit:
                    call.token = _make_innermost(inside)
                    await body.aclose()
                    restore(call)
                    raise
                except BaseException as error:  # noqa: BLE001 - handed to the body, whose matter it is
                    thrown = error
                call.token = _make_innermost(inside)
        except BaseException as error:
            stream.end()
            leave_raising(tool, call, error)
            raise
        finally:
            thrown = None

    return run
