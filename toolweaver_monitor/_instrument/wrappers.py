"""One wrapper per kind of callable.

Each takes a function and its tool and returns a function of the same kind: a coroutine function stays one, a generator
function stays one. The user's code runs bare between `begin` and `finish` (see `hot_path`), one frame below its caller.

Suspended wrappers drop their references to the call's arguments, so that the body can free large ones and pending calls
do not slow down the garbage collector. The names are set to None and not deleted: code that prints a traceback with the
arguments of its frames (`inspect.formatargvalues`, `cgitb`) fails if one is missing.

A wrapper can be sent to another process by value, as Ray, Dask and joblib send the functions of `__main__`. Their
pickler sends what a function refers to, but modules by name. So wrappers reach the state of the process (the inbox, the
current call, the handlers) through the module `hot_path`, and find that of the process in which they arrive.

The bus is an exception: each wrapper holds it itself, because modules may be empty when a `__del__` makes a last call
at the end of the interpreter. The bus is off by then, and the user's code runs bare.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from toolweaver_monitor._bus.bus import HIGH_WATER, Bus, bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._instrument import hot_path
from toolweaver_monitor._instrument.hot_path import (
    ask_budgets,
    begin,
    finish,
    finish_read,
    finish_slow,
    finish_with_error,
    is_complete,
    recover,
)
from toolweaver_monitor._instrument.results import container, may_hold_answers, unknown_type
from toolweaver_monitor._instrument.stream import StreamObserver
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._usage import apply_dict

Function = Callable[..., Any]

_replace_traceback = BaseException.with_traceback  # to drop this frame, which the body's exit adds again


def wrap_function(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap a plain function. If it returns a coroutine or a future, its call closes when that has completed."""
    tool.may_return_awaitable = True
    name, key, plain, alone = tool.name, tool.key, not tool.has_declarations, tool.is_super_call is None

    def run(*args: Any, **kwargs: Any) -> Any:
        policy = bus.active
        if policy is None:
            return function(*args, **kwargs)
        parent = hot_path.get_current()
        if plain and not policy.needs_slow_open and (parent is None or (alone and parent is not hot_path.SUPPRESSED)):
            call, token = ToolCall(name, "open", 0.0, monotonic_s()), None  # `begin` and `finish`, inlined
            if parent is None:
                call._node = tool.node if tool.node.tree is policy.tree else tool.place(policy.tree)
            else:
                call._parent_serial = parent._serial or parent._assign_id()
                call._root_serial = parent._root_serial
                around = parent._node or policy.tree.root
                call._node = around.children.get(key) or around.child(key)
            if policy.admit is not None:
                ask_budgets(policy.admit, call, key.cost_nanousd)
            try:
                hot_path.append_call(call)
                token = hot_path.set_current(call)
                result = function(*args, **kwargs)
                call.duration_s = monotonic_s() - call._opened_at
                handler = hot_path.get_handler(type(result), unknown_type)
                if (handler is not None and (handler is not container or may_hold_answers(result))) or (
                    call._details is not None and not is_complete(call)
                ):
                    if handler is not apply_dict or call._details is not None or parent is not None:
                        call._token = token
                        return finish_slow(tool, call, result)
                    if not apply_dict(call, result) or call._admission is not None:
                        call._token = token
                        return finish_read(tool, call, result)
                try:
                    hot_path.reset_current(token)
                    call.outcome = "success"
                    if len(hot_path.inbox) > HIGH_WATER:
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
            return finish(tool, call, function(*args, **kwargs))
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_coroutine(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap a coroutine function."""
    name, key, plain, alone = tool.name, tool.key, not tool.has_declarations, tool.is_super_call is None

    async def run(*args: Any, **kwargs: Any) -> Any:
        policy = bus.active
        if policy is None:
            return await function(*args, **kwargs)
        parent = hot_path.get_current()
        if plain and not policy.needs_slow_open and (parent is None or (alone and parent is not hot_path.SUPPRESSED)):
            call, token = ToolCall(name, "open", 0.0, monotonic_s()), None  # `begin` and `finish`, inlined
            if parent is None:
                call._node = tool.node if tool.node.tree is policy.tree else tool.place(policy.tree)
            else:
                call._parent_serial = parent._serial or parent._assign_id()
                call._root_serial = parent._root_serial
                around = parent._node or policy.tree.root
                call._node = around.children.get(key) or around.child(key)
            if policy.admit is not None:
                ask_budgets(policy.admit, call, key.cost_nanousd)
            try:
                hot_path.append_call(call)
                token = hot_path.set_current(call)
                body = function(*args, **kwargs)
                args = kwargs = None  # type: ignore[assignment]  # dropped while it is suspended, see above
                result = await body
                call.duration_s = monotonic_s() - call._opened_at
                handler = hot_path.get_handler(type(result), unknown_type)
                if (handler is not None and (handler is not container or may_hold_answers(result))) or (
                    call._details is not None and not is_complete(call)
                ):
                    if handler is not apply_dict or call._details is not None or parent is not None:
                        call._token = token
                        return finish_slow(tool, call, result)
                    if not apply_dict(call, result) or call._admission is not None:
                        call._token = token
                        return finish_read(tool, call, result)
                try:
                    hot_path.reset_current(token)
                    call.outcome = "success"
                    if len(hot_path.inbox) > HIGH_WATER:
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
            return finish(tool, call, await body)
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_generator(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap a generator function with the whole protocol. Its call is the current one only while the body runs.

    A step adds 0.25 us: 0.2 us for setting and resetting the context variable, and the second frame. It stays that
    small because one `try` covers what the body raises and what is thrown in, which `token` tells apart (None:
    suspended), and because items are only counted while their type is known to report no usage.
    """
    ended = tool.without_extractors()

    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if bus.active is None:
            return (yield from function(*args, **kwargs))
        call = begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        token, plain, items = call._token, None, 0
        stream = StreamObserver(call, tool)
        sent: Any = None
        try:
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]
            step = send = body.send
            while True:
                try:
                    while True:
                        item = step(sent)
                        inside = hot_path.get_current()
                        hot_path.reset_current(token)  # type: ignore[arg-type]
                        items += 1
                        if type(item) is not plain:
                            plain = stream.observe(item)
                        step, token, sent = send, None, None
                        sent = yield (item,)[item := 0]  # out of the variable, which would hold it until the next one
                        token = hot_path.set_current(inside)
                except BaseException as error:
                    if token is not None:  # the body ended
                        if type(error) is not StopIteration:
                            raise
                        stream.end(items, token)
                        if type(sent) is GeneratorExit:  # it was closed, and complied
                            finish_with_error(tool, call, sent)
                        else:
                            finish(ended, call, None)
                        return error.value
                    step = body.throw
                    sent = _replace_traceback(error, sys.exc_info()[2].tb_next)  # type: ignore[union-attr]
                    token = hot_path.set_current(inside)
        except BaseException as error:
            stream.end(items, token)
            finish_with_error(tool, call, error)
            raise
        finally:
            sent = None  # or its traceback and this frame would hold each other

    return run


def wrap_async_generator(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap an async generator function as `wrap_generator` does. Each step runs in the task that requested it."""
    ended = tool.without_extractors()

    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        if bus.active is not None:
            call = begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs)
        else:  # this kind has no `yield from`, so its steps are taken here even if it is not monitored
            call = ToolCall(tool.name, "suppressed")
            call._token = hot_path.set_current(hot_path.get_current())
        token, plain, items = call._token, None, 0
        stream = StreamObserver(call, tool)
        thrown: BaseException | None = None
        try:
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]
            step, send = _start_unhooked(body), body.asend
            while True:
                try:
                    while True:
                        item = await step
                        inside = hot_path.get_current()
                        try:
                            hot_path.reset_current(token)  # type: ignore[arg-type]
                        except (ValueError, RuntimeError):  # requested from another context than the last step
                            pass
                        items += 1
                        if type(item) is not plain:
                            plain = stream.observe(item)
                        token = step = thrown = None
                        step = send((yield (item,)[item := 0]))
                        token = hot_path.set_current(inside)
                except BaseException as error:
                    if token is not None:
                        if type(error) is not StopAsyncIteration:
                            raise
                        stream.end(items, token)
                        if type(thrown) is GeneratorExit:
                            finish_with_error(tool, call, thrown)
                        else:
                            finish(ended, call, None)
                        return
                    thrown = _replace_traceback(error, sys.exc_info()[2].tb_next)  # type: ignore[union-attr]
                    step = body.athrow(thrown)
                    token = hot_path.set_current(inside)
        except BaseException as error:
            stream.end(items, token)
            finish_with_error(tool, call, error)
            raise
        finally:
            thrown = step = None

    return run


def _start_unhooked(body: AsyncGenerator[Any, Any]) -> Any:
    """Return the first step of an async generator, unknown to the event loop: its wrapper closes it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
