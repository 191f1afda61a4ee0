"""How does each kind of callable run under a call? What happens to the call itself stands once, in `hot_path`.

Each driver takes a function and its tool and gives a function of the same kind: a coroutine function stays one, a
generator function stays one. The user's code runs bare between `begin` and `leave`, one frame below its caller.

What waits lets go of its arguments: the body may drop a large one, and ten thousand dicts are work for the garbage
collector. They are set to None and not deleted, since who prints a traceback with the arguments of its frames
(`inspect.formatargvalues`, `cgitb`) stumbles over one that is not there.

Each holds the bus itself: at the end of the interpreter this module may be empty when a `__del__` makes a last call.
The bus is off by then, and the user's code runs bare.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from toolweaver_monitor._bus.bus import HIGH_WATER, Bus, bus, inbox
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import current
from toolweaver_monitor._instrument.hot_path import (
    ask_budgets,
    begin,
    finish_read,
    finish_slow,
    finish_with_error,
    leave,
    recover,
)
from toolweaver_monitor._instrument.results import handlers, unknown_type
from toolweaver_monitor._instrument.stream import Stream
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor._usage import apply_dict

Function = Callable[..., Any]

_current_call = current.get
_set_current = current.set
_restore = current.reset
_handler = handlers.get
_append = inbox.append
_unwound = BaseException.with_traceback  # given what is left without this frame, which the body's way out adds again


def wrap_function(function: Function, tool: Tool, bus: Bus = bus) -> Function:
    """A plain function; one that returns a coroutine or a future closes its call when that has ended."""
    tool.defers = True
    name, plain = tool.name, not tool.special

    def run(*args: Any, **kwargs: Any) -> Any:
        policy = bus.active
        if policy is None:
            return function(*args, **kwargs)
        if plain and not policy.needs_slow_open and _current_call() is None:  # `begin` and `leave`, written out
            call, token = ToolCall(name, "open", 0.0, monotonic_s()), None
            if policy.admit is not None:
                ask_budgets(policy.admit, call, None)
            try:
                _append(call)
                token = _set_current(call)
                result = function(*args, **kwargs)
                call.duration_s = monotonic_s() - call._opened_at
                handler = _handler(type(result), unknown_type)
                if handler is apply_dict and call._details is None:
                    if not apply_dict(call, result) or call._admission is not None:
                        call._token = token
                        return finish_read(tool, call, result)
                elif handler is not None or call._details is not None:
                    call._token = token
                    return finish_slow(tool, call, result)
                try:
                    _restore(token)
                    call.outcome = "success"
                    if len(inbox) > HIGH_WATER:
                        bus.apply_backpressure()
                except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
                    recover(call, "success", error)
                return result
            except BaseException as error:
                call._token = token
                finish_with_error(tool, call, error)
                raise
        call = begin(ToolCall(name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        try:
            return leave(tool, call, function(*args, **kwargs))
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_coroutine(function: Function, tool: Tool, bus: Bus = bus) -> Function:
    """A coroutine function."""
    name, plain = tool.name, not tool.special

    async def run(*args: Any, **kwargs: Any) -> Any:
        policy = bus.active
        if policy is None:
            return await function(*args, **kwargs)
        if plain and not policy.needs_slow_open and _current_call() is None:  # `begin` and `leave`, written out
            call, token = ToolCall(name, "open", 0.0, monotonic_s()), None
            if policy.admit is not None:
                ask_budgets(policy.admit, call, None)
            try:
                _append(call)
                token = _set_current(call)
                body = function(*args, **kwargs)
                args = kwargs = None  # type: ignore[assignment]  # let go while it waits, see above
                result = await body
                call.duration_s = monotonic_s() - call._opened_at
                handler = _handler(type(result), unknown_type)
                if handler is apply_dict and call._details is None:
                    if not apply_dict(call, result) or call._admission is not None:
                        call._token = token
                        return finish_read(tool, call, result)
                elif handler is not None or call._details is not None:
                    call._token = token
                    return finish_slow(tool, call, result)
                try:
                    _restore(token)
                    call.outcome = "success"
                    if len(inbox) > HIGH_WATER:
                        bus.apply_backpressure()
                except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
                    recover(call, "success", error)
                return result
            except BaseException as error:
                call._token = token
                finish_with_error(tool, call, error)
                raise
        call = begin(ToolCall(name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        try:
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]
            return leave(tool, call, await body)
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_generator(function: Function, tool: Tool, bus: Bus = bus) -> Function:
    """A generator function: the whole protocol, and the call is innermost only while the body runs.

    A step adds 0.25 us, of which 0.2 are the context variable, set and reset, and the second frame. What keeps it
    there: one `try` for what the body raises and for what is thrown in, which `token` tells apart (None: suspended),
    and items that are only counted while they are of a type that says nothing.
    """

    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if bus.active is None:
            return (yield from function(*args, **kwargs))
        call = begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        token, plain, items = call._token, None, 0
        stream = Stream(call, reads=tool.usage is None and call.outcome == "open")
        given: Any = None
        try:
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]
            step = send = body.send
            while True:
                try:
                    while True:
                        item = step(given)
                        inside = _current_call()
                        _restore(token)  # type: ignore[arg-type]
                        items += 1
                        if type(item) is not plain:
                            plain = stream.saw(item)
                        step, token, given = send, None, None
                        given = yield (item,)[item := 0]  # out of the variable, where it would live until the next
                        token = _set_current(inside)
                except BaseException as error:
                    if token is not None:  # the body ended
                        if type(error) is not StopIteration:
                            raise
                        stream.end(items)
                        call._token = token
                        if type(given) is GeneratorExit:  # it was closed, and went along
                            finish_with_error(tool, call, given)
                        else:
                            leave(tool, call, None)
                        return error.value
                    step, given = body.throw, _unwound(error, sys.exc_info()[2].tb_next)  # type: ignore[union-attr]
                    token = _set_current(inside)
        except BaseException as error:
            stream.end(items)
            call._token = token
            finish_with_error(tool, call, error)
            raise
        finally:
            given = None  # or its traceback and this frame would hold each other

    return run


def wrap_async_generator(function: Function, tool: Tool, bus: Bus = bus) -> Function:
    """An async generator function; each step runs in the task that asked for it. Written as `wrap_generator`."""

    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        if bus.active is not None:
            call = begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        else:  # there is no `yield from` for this kind: unwatched, it is driven all the same
            call = ToolCall(tool.name, "suppressed")
            call._token = _set_current(_current_call())
        token, plain, items = call._token, None, 0
        stream = Stream(call, reads=tool.usage is None and call.outcome == "open")
        thrown: BaseException | None = None
        try:
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]
            step, send = _first_step(body), body.asend
            while True:
                try:
                    while True:
                        item = await step
                        inside = _current_call()
                        try:
                            _restore(token)  # type: ignore[arg-type]
                        except (ValueError, RuntimeError):  # asked for from another context than the last step
                            pass
                        items += 1
                        if type(item) is not plain:
                            plain = stream.saw(item)
                        token = step = thrown = None
                        step = send((yield (item,)[item := 0]))
                        token = _set_current(inside)
                except BaseException as error:
                    if token is not None:
                        if type(error) is not StopAsyncIteration:
                            raise
                        stream.end(items)
                        call._token = token
                        if type(thrown) is GeneratorExit:
                            finish_with_error(tool, call, thrown)
                        else:
                            leave(tool, call, None)
                        return
                    thrown = _unwound(error, sys.exc_info()[2].tb_next)  # type: ignore[union-attr]
                    step = body.athrow(thrown)
                    token = _set_current(inside)
        except BaseException as error:
            stream.end(items)
            call._token = token
            finish_with_error(tool, call, error)
            raise
        finally:
            thrown = step = None

    return run


def _first_step(body: AsyncGenerator[Any, Any]) -> Any:
    """The first step of an async generator that the event loop does not hear of: the one that drives it closes it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
