"""Monitor whatever a framework's decorator is given: `instrument("package:tool", decorator=True)`."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

from toolweaver_monitor._core.introspect import is_class, is_module
from toolweaver_monitor._instrument.decorator import is_monitored, wrap
from toolweaver_monitor._instrument.patching import targets
from toolweaver_monitor._instrument.patching.options import InstrumentOptions
from toolweaver_monitor._instrument.patching.patch import MISSING, find_original, patch_for
from toolweaver_monitor._instrument.patching.watches import Watch, watch_for
from toolweaver_monitor._instrument.shield import log
from toolweaver_monitor.errors import ConfigurationError

_DECORATED = (types.FunctionType, types.MethodType, functools.partial, staticmethod, classmethod)
_NAME_PARAMETERS = ("name", "tool_name", "name_or_callable", "name_override")


def patch_decorator(owner: Any, name: str | None, options: InstrumentOptions, title: str) -> None:
    """Have the functions that a decorator is given monitored before it gets them.

    Args:
        owner: the module or class that has the decorator.
        name: its name there.
        options: the tool's name and what is declared for it.
        title: what messages call the decorator.

    Raises:
        ConfigurationError: there is no function of that name.
    """
    if name is None or not (is_module(owner) or is_class(owner)):
        raise ConfigurationError(f"{title!r} is no decorator", hint="write 'package.module:decorator'")
    original = find_original(owner, name)
    if original is MISSING or not callable(targets.unwrap_method(original)):
        raise targets.not_found(owner, name)
    patch = patch_for(owner, name)
    watch = watch_for(owner, title)
    watch.methods[name] = None
    watch.patches[id(patch)] = patch
    patch.request(owner, monitoring_decorator(patch.original, options, watch))
    patch.apply()
    log.info("toolweaver_monitor: monitoring what %s decorates", title)


def monitoring_decorator(decorator: Any, options: InstrumentOptions, watch: Watch) -> Any:
    """Return a decorator that monitors what it is given and hands it on to another.

    The other may be used bare, or called first with arguments for the tool; then it is what this returns that gets the
    function.
    """
    function = targets.unwrap_method(decorator)

    @functools.wraps(function)
    def decorate(*args: Any, **kwargs: Any) -> Any:
        args, kwargs, found = _monitor_functions(args, kwargs, _name_in(function, args, kwargs), options, watch)
        result = function(*args, **kwargs)
        if found or type(result) not in (types.FunctionType, functools.partial):
            return result
        name = _name_in(function, args, kwargs)

        @functools.wraps(result)
        def apply(*args: Any, **kwargs: Any) -> Any:
            args, kwargs, _ = _monitor_functions(args, kwargs, name, options, watch)
            return result(*args, **kwargs)

        return apply

    kind = type(decorator)
    return kind(decorate) if kind in (staticmethod, classmethod) else decorate


def _monitor_functions(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None, options: InstrumentOptions, watch: Watch
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Return the arguments with the first function among them monitored, and whether there is one."""
    for index, value in enumerate(args):
        if issubclass(type(value), _DECORATED):
            return (*args[:index], _monitor(value, name, options, watch), *args[index + 1 :]), kwargs, True
    for key in ("func", "function", "fn", "f"):
        if issubclass(type(kwargs.get(key)), _DECORATED):
            return args, {**kwargs, key: _monitor(kwargs[key], name, options, watch)}, True
    return args, kwargs, False


def _monitor(function: Any, name: str | None, options: InstrumentOptions, watch: Watch) -> Any:
    if is_monitored(function):
        return function
    monitored = wrap(function, options.tool_name or name, **options.declarations)
    watch.tools.add(str(options.tool_name or name or getattr(function, "__name__", "unnamed")))
    return monitored


def _name_in(decorator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return the name that a decorator is given for the tool: a text for a parameter that is called a name."""
    try:
        given = inspect.signature(decorator).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        given = kwargs
    given = {**given, **given.get("kwargs", {})} if isinstance(given.get("kwargs"), dict) else given
    return next((given[key] for key in _NAME_PARAMETERS if isinstance(given.get(key), str) and given[key]), None)
