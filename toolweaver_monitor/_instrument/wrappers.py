"""One wrapper per kind of callable.

Each takes a function and its tool and returns a function of the same kind: a coroutine function stays one, a generator
function stays one. The user's code runs bare between `begin` and `finish` (see `hot_path`), one frame below its caller.
Those of generator functions are plain functions, since they must know which call they were called under; only their
code says that they return generators, as `inspect` and frameworks look for.

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

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._bus.bus import Bus, bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context_tree import NO_KEY
from toolweaver_monitor._core.details import CompactDetails, UsageDetails
from toolweaver_monitor._instrument import hot_path, returned
from toolweaver_monitor._instrument.closing import read_amounts
from toolweaver_monitor._instrument.generators import run_async_generator, run_awaitable_generator, run_generator
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
from toolweaver_monitor._instrument.opening import find_key
from toolweaver_monitor._instrument.results import container, may_hold_answers, unknown_type
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._usage import apply_dict

Function = Callable[..., Any]


def wrap_function(  # noqa: PLR0915 - written out for speed
    function: Function, tool: ToolSpec, bus: Bus = bus
) -> Function:
    """Wrap a plain function. If it returns a coroutine, a future or a stream, its call closes when that has ended."""
    tool.may_return_awaitable, tool.watch = True, returned.watch
    name, key = tool.name, NO_KEY if tool.has_extractors or tool.name_from is not None else tool.key

    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: PLR0912
        policy = bus.active
        if policy is None:
            return function(*args, **kwargs)
        token = None  # `begin` and `finish`, inlined
        parent, node = hot_path.get_current(), key.node
        if parent is None and node.tree is policy.plain_tree:
            call = ToolCall(name, "open", 0.0, monotonic_s(), node)
        elif (
            policy.needs_slow_open
            or tool.has_extractors
            or (parent is not None and (not parent._opened_at or tool.is_super_call is not None))
        ):
            call = begin(ToolCall(name, "open", 0.0, monotonic_s()), tool, args, kwargs)
            try:
                return finish(tool, call, function(*args, **kwargs))
            except BaseException as error:
                finish_with_error(tool, call, error)
                raise
        else:
            found = key if tool.name_from is None else find_key(tool, args, kwargs)
            if parent is None:
                node = key.place(policy.tree) if found is key else policy.tree.root.child(found)
                call = ToolCall(found.tool_name, "open", 0.0, monotonic_s(), node)
            else:
                node = parent._node or policy.tree.root
                node = node.children.get(found) or node.child(found)
                serial = parent._serial or parent._assign_id()
                call = ToolCall(found.tool_name, "open", 0.0, monotonic_s(), node, serial, parent._root_serial)
            if policy.admit is not None:
                ask_budgets(policy.admit, call, found.cost_nanousd)
        try:
            hot_path.append_call(call)
            token = hot_path.set_current(call)
            result = function(*args, **kwargs)
            call.duration_s = monotonic_s() - call._opened_at
            try:
                handler = hot_path.handlers[type(result)]
            except KeyError:
                handler = unknown_type
            details = call._details
            if (handler is not None and (handler is not container or may_hold_answers(result))) or (
                details is not None
                and (  # the same for an outermost call as in `is_complete`
                    parent is not None
                    or call._admission is not None
                    or (
                        type(details) is not CompactDetails
                        and (type(details) is not UsageDetails or details.cost_nanousd is None or details.cached_tokens)
                    )
                )
                and not is_complete(call, parent)
            ):
                if (handler is not apply_dict or details is not None or tool.of_module) or (
                    parent is not None and not read_amounts(call, parent, result)
                ):
                    call._token = token
                    return finish_slow(tool, call, result)
                if parent is None and (not apply_dict(call, result) or call._admission is not None):
                    call._token = token
                    return finish_read(tool, call, result)
            try:
                hot_path.reset_current(token)
                call.outcome = "success"
                for _ in bus.ticks:  # a third less than `next()`, which is a call
                    break
                else:
                    bus.apply_backpressure()
            except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
                recover(call, "success", error)
            return result
        except BaseException as error:
            call._token = token
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_coroutine(  # noqa: PLR0915 - written out for speed
    function: Function, tool: ToolSpec, bus: Bus = bus
) -> Function:
    """Wrap a coroutine function. If it returns a stream, its call closes when that has ended."""
    tool.watch = returned.watch
    name, key = tool.name, NO_KEY if tool.has_extractors or tool.name_from is not None else tool.key

    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: PLR0912, PLR0915
        policy = bus.active
        if policy is None:
            return await function(*args, **kwargs)
        token = None  # `begin` and `finish`, inlined
        parent, node = hot_path.get_current(), key.node
        if parent is None and node.tree is policy.plain_tree:
            call = ToolCall(name, "open", 0.0, monotonic_s(), node)
        elif (
            policy.needs_slow_open
            or tool.has_extractors
            or (parent is not None and (not parent._opened_at or tool.is_super_call is not None))
        ):
            call = begin(ToolCall(name, "open", 0.0, monotonic_s()), tool, args, kwargs)
            try:
                body = function(*args, **kwargs)
                args = kwargs = None  # type: ignore[assignment]
                return finish(tool, call, await body)
            except BaseException as error:
                finish_with_error(tool, call, error)
                raise
        else:
            found = key if tool.name_from is None else find_key(tool, args, kwargs)
            if parent is None:
                node = key.place(policy.tree) if found is key else policy.tree.root.child(found)
                call = ToolCall(found.tool_name, "open", 0.0, monotonic_s(), node)
            else:
                node = parent._node or policy.tree.root
                node = node.children.get(found) or node.child(found)
                serial = parent._serial or parent._assign_id()
                call = ToolCall(found.tool_name, "open", 0.0, monotonic_s(), node, serial, parent._root_serial)
            if policy.admit is not None:
                ask_budgets(policy.admit, call, found.cost_nanousd)
        try:
            hot_path.append_call(call)
            token = hot_path.set_current(call)
            body = function(*args, **kwargs)
            args = kwargs = None  # type: ignore[assignment]  # dropped while it is suspended, see above
            result = await body
            call.duration_s = monotonic_s() - call._opened_at
            try:
                handler = hot_path.handlers[type(result)]
            except KeyError:
                handler = unknown_type
            details = call._details
            if (handler is not None and (handler is not container or may_hold_answers(result))) or (
                details is not None
                and (  # the same for an outermost call as in `is_complete`
                    parent is not None
                    or call._admission is not None
                    or (
                        type(details) is not CompactDetails
                        and (type(details) is not UsageDetails or details.cost_nanousd is None or details.cached_tokens)
                    )
                )
                and not is_complete(call, parent)
            ):
                if (handler is not apply_dict or details is not None or tool.of_module) or (
                    parent is not None and not read_amounts(call, parent, result)
                ):
                    call._token = token
                    return finish_slow(tool, call, result)
                if parent is None and (not apply_dict(call, result) or call._admission is not None):
                    call._token = token
                    return finish_read(tool, call, result)
            try:
                hot_path.reset_current(token)
                call.outcome = "success"
                for _ in bus.ticks:  # a third less than `next()`, which is a call
                    break
                else:
                    bus.apply_backpressure()
            except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
                recover(call, "success", error)
            return result
        except BaseException as error:
            call._token = token
            finish_with_error(tool, call, error)
            raise

    return run


def wrap_generator(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap a generator function. Its call is part of the one under which it was called, wherever it is stepped."""
    run_items: Function = run_generator
    if _flags_of(function) & inspect.CO_ITERABLE_COROUTINE:
        run_items = run_awaitable_generator

    def run(*args: Any, **kwargs: Any) -> Any:
        if bus.active is None:
            return function(*args, **kwargs)
        try:
            body = function(*args, **kwargs)
        except BaseException as error:  # wrong arguments
            finish_with_error(tool, begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs), error)
            raise
        items = run_items(body, tool, hot_path.get_current(), args, kwargs)
        items.__name__, items.__qualname__ = body.__name__, body.__qualname__
        return items

    return _mark(run, inspect.CO_GENERATOR)


def wrap_async_generator(function: Function, tool: ToolSpec, bus: Bus = bus) -> Function:
    """Wrap an async generator function as `wrap_generator` does."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if bus.active is None:
            return function(*args, **kwargs)
        try:
            body = function(*args, **kwargs)
        except BaseException as error:
            finish_with_error(tool, begin(ToolCall(tool.name, "open", 0.0, monotonic_s()), tool, args, kwargs), error)
            raise
        items: Any = run_async_generator(body, tool, hot_path.get_current(), args, kwargs)
        items.__name__, items.__qualname__ = body.__name__, body.__qualname__
        return items

    return _mark(run, inspect.CO_ASYNC_GENERATOR)


def _flags_of(function: Any) -> int:
    """Return the flags of a function's code; 0 for any other callable."""
    return function.__code__.co_flags if type(function) is types.FunctionType else 0


def _mark(run: Any, flag: int) -> Function:
    """Return a copy of a plain function whose code says what it returns: a generator, or an async generator.

    The interpreter runs it as the plain function that it is: it makes a generator where the code itself says so
    (CPython 3.11 to 3.13).
    """
    code = _mark_code(run.__code__, flag)
    return types.FunctionType(code, run.__globals__, run.__name__, run.__defaults__, run.__closure__)


@functools.cache
def _mark_code(code: types.CodeType, flag: int) -> types.CodeType:
    return code.replace(co_flags=code.co_flags | flag)
