"""`@monitored`: how does a function become a watched one that nobody can tell from the original?"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._instrument import wrappers
from toolweaver_monitor._instrument.tool import Tool, declared
from toolweaver_monitor._usage import Usage
from toolweaver_monitor.errors import ConfigurationError

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]")
_DRIVERS = wrappers.wrap_function.__code__.co_filename
_STOPS_WITH = {"__next__": StopIteration, "__anext__": StopAsyncIteration}
Cost = float | Callable[[Any], float | None] | None
UsageReader = Callable[[Any], Usage | None] | bool | None


@overload
def monitored(
    tool_name: str = ...,
    /,
    *,
    cost: Cost = None,
    usage: UsageReader = None,
    tags: Mapping[str, TagValue] | None = None,
) -> Callable[[F], F]: ...


@overload
def monitored(function: F, /) -> F: ...


@overload
def monitored(
    *,
    tool_name: str | Callable[..., str] | None,
    cost: Cost = None,
    usage: UsageReader = None,
    tags: Mapping[str, TagValue] | None = None,
) -> Callable[[F], F]: ...


def monitored(
    positional: Any = ...,
    /,
    *,
    tool_name: Any = None,
    cost: Any = None,
    usage: Any = None,
    tags: Any = None,
) -> Any:
    """Watch every call of a function: how often it ran, how long it took, what it cost, how it failed.

    Works with and without parentheses, on functions, coroutines, generators, async generators, methods (above or below
    `@classmethod` and `@staticmethod`), partials and callable objects. What it returns is of the same kind, has
    the same signature and types, and gives the same results and exceptions. Before `setup()` it costs about as much as
    a plain wrapper. Where a function has `@typing.overload`s, put it on the implementation alone: overloads are told
    apart by the lines they are written in, and watched ones would all be written in one.

    Args:
        positional: the tool's name, or, without parentheses, the function itself.
        tool_name: the tool's name; or a callable that gets the call's own arguments and returns it, for one function
            that runs many tools. Default: the function's own name.
        cost: dollars per call, charged for a success that did not record its own cost; or a callable that gets the
            result and returns dollars.
        usage: a callable that gets the result and returns a `Usage`, or None to have the result looked at as without
            it; False: results are not looked at.
        tags: your own labels for every call.

    Returns:
        The watched function, or a decorator.

    Raises:
        ConfigurationError: a name, cost, usage or tag that cannot be used, or something that cannot be called; the
            message says what to do.
    """
    if positional is None and all(each is None for each in (tool_name, cost, usage, tags)):
        raise ConfigurationError(
            "@monitored was given None, as by a decorator below it that lacks its `return`; mend that one, or write "
            "@monitored() for a tool that is called what its function is called"
        )
    if positional is ...:
        positional = None
    name = tool_name if positional is None else positional
    if positional is not None and tool_name is not None and not _is_decorated(positional):
        raise ConfigurationError("monitored() got two names; give the tool's name once")
    if _is_decorated(positional):
        return watch(positional, tool_name, cost=cost, usage=usage, tags=tags)
    if name is not None and not callable(name):
        Tool(name, cost=cost, usage=usage, tags=tags)  # complain here, not where it is applied

    def decorate(function: F) -> F:
        watched: F = watch(function, name, cost=cost, usage=usage, tags=tags)
        return watched

    return decorate


def _is_decorated(thing: object) -> bool:
    """Whether it was given to be watched and not as a name: it can be called, or stands for something in a class."""
    return callable(thing) or hasattr(type(thing), "__get__")


def watch(function: Any, name: Any = None, **declarations: Any) -> Any:
    """The watched form of a callable.

    Args:
        function: what to watch.
        name: its tool's name, or a callable that gives it; default: the function's own.
        **declarations: `cost`, `usage` and `tags`, as `monitored` takes them.

    Raises:
        ConfigurationError: it is no callable, or a class.
    """
    kind: Any = type(function)  # not isinstance: a proxy, as other decorators make, shows the class of what it holds
    if issubclass(kind, classmethod | staticmethod):
        # Unwrapped, watched and wrapped again: pickle and deepcopy of a wrapt proxy of one fail.
        return kind(watch(function.__func__, name, **declarations))
    if issubclass(kind, functools.partialmethod):
        return kind(watch(function.func, name, **declarations), *function.args, **function.keywords)
    if isinstance(function, type):
        raise ConfigurationError(
            f"@monitored stands on the class {function.__name__}; put it on the methods to watch, "
            "or use instrument() on the class"
        )
    if isinstance(function, property | functools.cached_property):
        raise ConfigurationError(f"@monitored stands above @{kind.__name__}; put it below, on the function")
    if not callable(function):
        raise ConfigurationError(
            f"@monitored stands on {kind.__name__}, which cannot be called; put it on the function, below whatever "
            "decorator makes something else of it" + (" or lacks its `return`" if function is None else "")
        )
    tool = declared(Tool(name or own_name(function), fallback=own_name(function), **declarations))
    tool.parameters = positional_parameters(function)
    tool.stops_with = _STOPS_WITH.get(own_name(function))
    drive = driving(function, tool)
    if kind is types.FunctionType:
        run = drive(function)
        if function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            run = types.coroutine(run)
        return functools.update_wrapper(run, function)
    from toolweaver_monitor._instrument.proxies import MonitoredProxy, proxy

    return proxy(MonitoredProxy, function, drive, functools.partial(watch, name=name, **declarations))


def is_monitored(function: Any) -> bool:
    """Whether a callable is watched already, itself or under other decorators that say what they wrap."""
    watched_object = getattr(sys.modules.get("toolweaver_monitor._instrument.proxies"), "MonitoredProxy", None)
    for _ in range(64):
        kind: Any = type(function)
        if kind is types.FunctionType and function.__code__.co_filename == _DRIVERS:
            return True
        if watched_object is not None and issubclass(kind, watched_object):
            return True
        if issubclass(kind, classmethod | staticmethod | types.MethodType):
            function = function.__func__
        elif issubclass(kind, functools.partial | functools.partialmethod):
            function = function.func
        else:
            function = inspect.getattr_static(function, "__wrapped__", None)
        if function is None:
            break
    return False


def own_name(function: Any) -> str:
    """What a callable is called where nobody named it."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return name if isinstance(name, str) else "unnamed"


def positional_parameters(function: Any) -> tuple[str, ...]:
    """What a callable calls its positional arguments, as the caller counts them."""
    given = 0
    while isinstance(function, functools.partial):
        given += len(function.args)
        function = function.func
    if isinstance(function, types.MethodType):
        given += 1
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        return ()
    code = function.__code__
    return code.co_varnames[given : code.co_argcount]


def driving(function: Any, tool: Tool) -> Callable[[Any], Any]:
    """Gives what runs a callable of this kind under calls of the tool."""
    driver = wrapper_for(function)
    return lambda each: driver(each, tool)


def wrapper_for(function: Any) -> Callable[[Any, Tool], Any]:
    """Which driver runs this kind of callable."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, types.FunctionType):
        function = type(function).__call__
    code = getattr(function, "__code__", None)  # not by inspect: functions may be marked for it
    flags = code.co_flags if type(code) is types.CodeType else 0  # a mock that plays a function has a mock for it
    if flags & inspect.CO_COROUTINE:
        return wrappers.wrap_coroutine
    if flags & inspect.CO_ASYNC_GENERATOR:
        return wrappers.wrap_async_generator
    if flags & inspect.CO_GENERATOR:
        return wrappers.wrap_generator
    return wrappers.wrap_function
