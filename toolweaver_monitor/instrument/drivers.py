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
        held: list[Any] = []  # the item on its way; in a variable it would live until the next one came
        received: Any = None
        try:
            body = function(*args, **kwargs)
            step = send = body.send
            while True:
                try:
                    held.append(step(received))
                except StopIteration as stop:
                    stream.end()
                    if step is not send and type(received) is GeneratorExit:
                        leave_raising(tool, call, received)  # it was closed, and went along
                    else:
                        leave(tool, call, None)
                    return stop.value
                inside = _innermost()
                _restore(call.token)  # type: ignore[arg-type]
                stream.saw(held[0])
                step, received = send, None
                try:
                    received = yield held.pop()
                except BaseException as error:  # noqa: BLE001 - handed to the body, whose matter it is
                    step, received = body.throw, error
                call.token = _make_innermost(inside)
        except BaseException as error:
            stream.end()
            leave_raising(tool, call, error)
            raise
        finally:
            received = None  # or an exception's traceback and this frame would hold each other

    return run


def drive_async_generator(function: Function, tool: Tool) -> Function:
    """An async generator function; each step runs in the task that asked for it."""

    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        if bus.on:
            call = begin(tool, args, kwargs)
        else:  # there is no `yield from` for this kind: unwatched, it is driven all the same
            call = ToolCall(tool.name, "muted")
            call.token = _make_innermost(_innermost())
        stream = Stream(call)
        held: list[Any] = []
        received: Any = None
        try:
            body = function(*args, **kwargs)
            step = send = body.asend
            while True:
                try:
                    held.append(await step(received))
                except StopAsyncIteration:
                    stream.end()
                    if step is not send and type(received) is GeneratorExit:
                        leave_raising(tool, call, received)
                    else:
                        leave(tool, call, None)
                    return
                inside = _innermost()
                restore(call)
                stream.saw(held[0])
                step, received = send, None
                try:
                    received = yield held.pop()
                except BaseException as error:  # noqa: BLE001 - handed to the body, whose matter it is
                    step, received = body.athrow, error
                call.token = _make_innermost(inside)
        except BaseException as error:
            stream.end()
            leave_raising(tool, call, error)
            raise
        finally:
            received = None

    return run
