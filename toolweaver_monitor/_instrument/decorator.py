"""The decorator `@monitored`, whose result has the kind, signature and behavior of the original."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._instrument import wrappers
from toolweaver_monitor._instrument.patching.known import row_of
from toolweaver_monitor._instrument.patching.tool_names import asks_for_self
from toolweaver_monitor._instrument.proxies import MonitoredProxy, make_proxy
from toolweaver_monitor._instrument.registered import warn_if_registered
from toolweaver_monitor._instrument.retries import count_attempts
from toolweaver_monitor._instrument.tool import ToolSpec, register
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._usage import Usage
from toolweaver_monitor.errors import ConfigurationError

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]")
_WRAPPERS_FILE = wrappers.wrap_function.__code__.co_filename
_STOP_EXCEPTIONS = {"__next__": StopIteration, "__anext__": StopAsyncIteration}
Cost = float | Callable[[Any], float | None] | None
ControlFlow = type[BaseException] | Sequence[type[BaseException]]
Failed = Callable[[Any], str | None] | None
UsageReader = Callable[[Any], Usage | None] | bool | None


@overload
def monitored(
    tool_name: str = ...,
    /,
    *,
    cost: Cost = None,
    usage: UsageReader = None,
    tags: Mapping[str, TagValue] | None = None,
    failed: Failed = None,
    control_flow: ControlFlow = (),
) -> Callable[[F], F]: ...


@overload
def monitored(function: F, /) -> F: ...


@overload
def monitored(
    *,
    tool_name: str | Callable[..., str] | None = ...,
    name: str | Callable[..., str] | None = ...,
    cost: Cost = None,
    usage: UsageReader = None,
    tags: Mapping[str, TagValue] | None = None,
    failed: Failed = None,
    control_flow: ControlFlow = (),
) -> Callable[[F], F]: ...


@suggest_keywords()
def monitored(
    function_or_name: Any = ...,
    /,
    *,
    tool_name: Any = None,
    name: Any = None,
    cost: Any = None,
    usage: Any = None,
    tags: Any = None,
    failed: Any = None,
    control_flow: Any = (),
) -> Any:
    """Monitor every call of a function: how often it runs, how long it takes, what it costs and how it fails.

    Works with and without parentheses, on functions, coroutines, generators, async generators, methods (above or below
    `@classmethod` and `@staticmethod`), partials and callable objects. The result is of the same kind, has the same
    signature and types, and gives the same results and exceptions. Before `setup()` it costs about as much as a plain
    wrapper. If a function has `@typing.overload`s, decorate the implementation only: overloads are told apart by the
    lines they are written in, and those of monitored functions would all be the same.

    Args:
        function_or_name: the tool's name, or, without parentheses, the function itself.
        tool_name: the tool's name; or a callable that gets the call's own arguments and returns it, for one function
            that runs many tools. Default: the function's own name.
        name: the same as `tool_name`.
        cost: dollars per call, charged for each success that has not recorded a cost of its own; or a callable that
            gets the result and returns dollars. That of a generator gets each item, and the dollars add up.
        usage: a callable that gets the result, or each item of a generator, and returns a `Usage`, or None to have it
            read as usual. False: results are not read.
        tags: your own labels for every call.
        failed: a callable that gets the result, or each item of a generator, and returns the text of the failure that
            it tells, or None. Default: failures are found in results that tell them in a known way.
        control_flow: classes of exceptions, one or several, that are no errors of this tool. A call that raises one is
            `interrupted`, also if it comes in a group of only such. Those of LangGraph, PydanticAI and Celery are
            known; `setup(control_flow=...)` is for those of all your tools.

    Returns:
        The monitored function, or a decorator.

    Raises:
        ConfigurationError: a name, cost, usage or tag cannot be used, or the decorated object cannot be called.
    """
    if name is not None:
        if tool_name is not None:
            raise ConfigurationError("monitored() got two names", hint="give the tool's name once")
        tool_name = name
    given = (tool_name, cost, usage, tags, failed, control_flow or None)
    if function_or_name is None and all(each is None for each in given):
        raise ConfigurationError(
            "@monitored was given None, as by a decorator below it that lacks its `return`",
            hint="add that `return`, or write @monitored() to name the tool after its function",
        )
    if function_or_name is ...:
        function_or_name = None
    name = tool_name if function_or_name is None else function_or_name
    if function_or_name is not None and tool_name is not None and not _can_be_decorated(function_or_name):
        raise ConfigurationError("monitored() got two names", hint="give the tool's name once")
    declarations: dict[str, Any] = {"cost": cost, "usage": usage, "tags": tags}
    declarations |= {"failed": failed, "control_flow": control_flow}
    if _can_be_decorated(function_or_name):
        return wrap(function_or_name, tool_name, is_decorated=True, **declarations)
    if name is not None and not callable(name):
        ToolSpec(name, **declarations)  # raises here and not only when it is applied

    def decorate(function: F) -> F:
        wrapped: F = wrap(function, name, is_decorated=True, **declarations)
        return wrapped

    return decorate


def _can_be_decorated(thing: object) -> bool:
    """Return whether an argument is an object to monitor and not a name: a callable, or a descriptor of a class."""
    return callable(thing) or hasattr(type(thing), "__get__")


def wrap(function: Any, name: Any = None, *, is_decorated: bool = False, **declarations: Any) -> Any:
    """Return the monitored form of a callable.

    Args:
        function: the callable.
        name: its tool's name, or a callable that returns it. Default: the function's own name.
        is_decorated: see `register`.
        **declarations: `cost`, `usage`, `tags`, `failed` and `control_flow`, as `monitored` takes them.

    Raises:
        ConfigurationError: it is not callable, or a class.
    """
    kind: Any = type(function)  # not isinstance: a proxy, as other decorators make, shows the class of what it holds
    if issubclass(kind, classmethod | staticmethod):
        # Unwrapped, monitored and wrapped again: pickle and deepcopy of a wrapt proxy of one fail.
        return kind(wrap(function.__func__, name, is_decorated=is_decorated, **declarations))
    if issubclass(kind, functools.partialmethod):
        inner = wrap(function.func, name, is_decorated=is_decorated, **declarations)
        return kind(inner, *function.args, **function.keywords)
    _reject_unsuitable(function, kind)
    if is_decorated:
        warn_if_registered(function, name if isinstance(name, str) else own_name(function))
    tool = ToolSpec(name or own_name(function), fallback=own_name(function), **declarations)
    register(tool, is_decorated=is_decorated)
    tool.parameters = positional_parameters(function)
    tool.stop_exception = _STOP_EXCEPTIONS.get(own_name(function))
    wrap_one = wrapper_for(function, tool)
    if kind is types.FunctionType:
        run = wrap_one(count_attempts(function))
        if function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            run = types.coroutine(run)
        return functools.update_wrapper(run, function)
    if callable(name) and asks_for_self(name):
        wrap_one = functools.partial(_wrap_with_self, wrap_one, tool)
    return make_proxy(MonitoredProxy, function, wrap_one, functools.partial(wrap, name=name, **declarations))


def _wrap_with_self(wrap_one: Any, tool: ToolSpec, target: Any) -> Callable[..., Any]:
    """Wrap a descriptor, as wrapt's decorators make, so that its naming function gets the object that it is bound to.

    A method that is a function has the object among its arguments; a descriptor is bound before it is called.
    """
    bound_to = getattr(target, "__self__", None)
    if bound_to is None or tool.name_from is None:
        return wrap_one(target)  # type: ignore[no-any-return]
    own = copy.copy(tool)
    own.name_from = functools.partial(tool.name_from, bound_to)
    return wrap_one.func(target, tool=own)  # type: ignore[no-any-return]


def _reject_unsuitable(function: Any, kind: type) -> None:
    """Raise `ConfigurationError` for a class, a property, or an object that is not callable."""
    if isinstance(function, type):
        raise ConfigurationError(
            f"@monitored stands on the class {function.__name__}",
            hint="put it on the methods to monitor, or use instrument() on the class",
        )
    if isinstance(function, property | functools.cached_property):
        raise ConfigurationError(f"@monitored stands above @{kind.__name__}", hint="put it below, on the function")
    row = row_of(function)
    if row is not None and not row.is_model and row.methods and "__call__" not in row.methods:
        raise ConfigurationError(
            f"@monitored stands above the decorator that made a {kind.__name__}, which the framework does not call",
            hint="put it below that decorator, on the function, or write instrument(tool)",
        )
    if not callable(function):
        raise ConfigurationError(
            f"@monitored stands on {kind.__name__}, which is not callable",
            hint="put it on the function, below the decorator that returns something else"
            + (" or lacks its `return`" if function is None else ""),
        )


def is_monitored(function: Any) -> bool:
    """Return whether a callable is monitored, itself or below decorators that keep what they wrap."""
    for _ in range(64):
        kind: Any = type(function)
        if kind is types.FunctionType and function.__code__.co_filename == _WRAPPERS_FILE:
            return True
        if issubclass(kind, MonitoredProxy):
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
    """Return the name that a callable has by itself."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return name if isinstance(name, str) else "unnamed"


def positional_parameters(function: Any) -> tuple[str, ...]:
    """Return the names of a callable's positional parameters that a caller still has to pass."""
    bound = 0
    while isinstance(function, functools.partial):
        bound += len(function.args)
        function = function.func
    if isinstance(function, types.MethodType):
        bound += 1
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        return ()
    code = function.__code__
    return code.co_varnames[bound : code.co_argcount]


def wrapper_for(function: Any, tool: ToolSpec) -> Callable[[Any], Callable[..., Any]]:
    """Return a function that wraps callables of the same kind as `function`, as calls of the tool."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, types.FunctionType):
        function = type(function).__call__
    code = getattr(function, "__code__", None)  # not by inspect, for which functions may be marked as another kind
    flags = code.co_flags if type(code) is types.CodeType else 0  # a mock of a function has a mock as its code
    if flags & inspect.CO_COROUTINE:
        return functools.partial(wrappers.wrap_coroutine, tool=tool)
    if flags & inspect.CO_ASYNC_GENERATOR:
        return functools.partial(wrappers.wrap_async_generator, tool=tool)
    if flags & inspect.CO_GENERATOR:
        return functools.partial(wrappers.wrap_generator, tool=tool)
    return functools.partial(wrappers.wrap_function, tool=tool)
