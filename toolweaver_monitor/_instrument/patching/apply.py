"""Patch what `instrument()` was given, and take the patches back."""

from __future__ import annotations

import functools
import inspect
import logging
import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.introspect import is_a, is_class, is_module, label
from toolweaver_monitor._instrument.decorator import is_monitored, positional_parameters, wrap
from toolweaver_monitor._instrument.patching import executors, known, mcp, targets
from toolweaver_monitor._instrument.patching.frameworks import KnownClass
from toolweaver_monitor._instrument.patching.instance_patch import patch_instance, unpatch_instance
from toolweaver_monitor._instrument.patching.options import InstrumentOptions
from toolweaver_monitor._instrument.patching.patch import Patch, patch_for, patches
from toolweaver_monitor._instrument.patching.stream_contexts import watch_context
from toolweaver_monitor._instrument.patching.super_calls import is_same_call, super_call_check
from toolweaver_monitor._instrument.patching.tool_names import (
    SelfPosition,
    asks_for_self,
    name_along,
    name_by_user,
    name_from_arguments,
    runs_tools,
)
from toolweaver_monitor._instrument.patching.watches import Watch, forget, watch_for, watches_of
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

_BOUND_AS_METHODS = (types.FunctionType, classmethod, functools.partialmethod, functools._lru_cache_wrapper)
"""Descriptors whose wrappers receive the object as their first argument; others are wrapped after they are bound."""


def apply_to(target: Any, options: InstrumentOptions, title: str | None = None) -> None:
    """Monitor a target.

    Args:
        target: what `instrument()` was given, or what its dotted name stands for.
        options: its other arguments.
        title: what messages call the target.

    Raises:
        ConfigurationError: there is nothing to monitor, or it cannot be patched. Nothing is left patched then.
    """
    watch = watch_for(target, title or label(target))
    try:
        if options.methods is None and mcp.takes_middleware(target):
            mcp.add_middleware(target, options, watch)
        else:
            for part, row in _parts(target, options):
                _patch_part(part, row, options, watch)
    except ConfigurationError:
        withdraw_from(target, None)
        raise
    log.info("toolweaver_monitor: monitoring %s: %s", watch.title, ", ".join(watch.methods))


def withdraw_from(target: Any, names: tuple[str, ...] | None) -> None:
    """Take back what was patched for a target: all of it, or the named methods."""
    found = watches_of(target)
    if names is None and not is_class(target) and mcp.takes_middleware(target):
        mcp.remove_middleware(target)
    parts = [part for watch in found for each in watch.parts if (part := each()) is not None]
    for part in (target, *parts):
        for patch in list(patches.values()):
            if (names is None or patch.name in names) and patch.withdraw(part):
                patch.apply()
        unpatch_instance(part, names)
    for watch in found:
        forget(watch, names)


def _parts(target: Any, options: InstrumentOptions) -> list[tuple[Any, KnownClass | None]]:
    """Return the objects in which methods are patched, each with what is known about its class."""
    if options.methods is not None:
        return [(target, known.row_of(target))]
    target = mcp.tool_manager_of(target)
    found = known.parts_of(target)
    if found:
        return list(found)
    return [(target, None)]


def _patch_part(part: Any, row: KnownClass | None, options: InstrumentOptions, watch: Watch) -> None:
    if row is not None and options.methods is None:
        watch.framework = row.path.partition(":")[0].split(".")[0]
    wrappers: dict[tuple[int, int], Any] = {}  # so that two names of one function get the same wrapper
    requests: list[tuple[Patch, Any, Any]] = []
    for holder, (owner, name) in _attributes(part, row, options):
        watch.add_part(holder)
        watch.methods[name] = None
        if not is_class(owner) and not is_module(owner):
            patch_instance(owner, name, functools.partial(_tool_of_instance, part, name, row, options, watch))
            continue
        patch = patch_for(owner, name)
        if not is_monitored(patch.original):
            key = id(patch.original), id(owner)
            if key not in wrappers:
                wrappers[key] = _wrapper_of(patch, part, row, options, watch)
            requests.append((patch, holder, wrappers[key]))
    for patch, holder, wrapper in requests:
        patch.request(holder, wrapper)
        patch.apply()
        watch.patches[id(patch)] = patch


def _attributes(
    part: Any, row: KnownClass | None, options: InstrumentOptions
) -> list[tuple[Any, targets.AttributeRef]]:
    """Return the attributes to patch for a part, each with the object whose calls are meant: the part, or one in it.

    Raises:
        ConfigurationError: there are none; the message says what there is.
    """
    if row is None or options.methods is not None:
        return [(part, found) for found in targets.find_attributes(part, options.methods)]
    places = [place for ways in row.methods if (place := known.find_method(part, ways)) is not None]
    if not places:
        raise targets.not_found(part, row.methods[0])
    return [(holder, found) for holder, name in places for found in targets.find_attributes(holder, (name,))]


def _wrapper_of(patch: Patch, part: Any, row: KnownClass | None, options: InstrumentOptions, watch: Watch) -> Any:
    """Return the wrapper for a patch that is requested through a target."""
    original = patch.original
    if options.methods is None and executors.is_pool(part):
        return executors.propagate_context(original)
    position = _self_position(patch)
    if position is SelfPosition.SIGNATURE and _asks_for_self(row, options):
        original, position = _bind_late(original), SelfPosition.ARGUMENTS
    whole_module = is_module(part) and options.methods is None
    function = targets.unwrap_method(original)
    name = _tool_name(function, patch.name, row, options, watch, position, whole_module=whole_module)
    if row is not None:
        check: Any = is_same_call
    else:
        check = super_call_check(patch.owner, patch.name) if is_class(patch.owner) else None
    declared = _declarations(row, options)
    if row is not None and patch.name in row.contexts:
        return watch_context(original, name, is_super_call=check, **declared)
    return wrap(original, name, is_super_call=check, of_module=whole_module, **declared)


def _declarations(row: KnownClass | None, options: InstrumentOptions) -> dict[str, Any]:
    """Return what is declared for the calls of a target: by the user, and by what is known about its class."""
    declared = dict(options.declarations)
    usage = declared.pop("usage", None)
    if row is not None:
        usage = known.result_reader(row, usage)
    return declared if usage is None else {**declared, "usage": usage}


def _asks_for_self(row: KnownClass | None, options: InstrumentOptions) -> bool:
    """Return whether the name of a call is read from the object."""
    if not callable(options.tool_name):
        return options.tool_name is None and row is not None and "self." in row.name
    return asks_for_self(options.tool_name)


def _bind_late(original: Any) -> Any:
    """Return a function that binds a descriptor when it is called, so that the object is among its arguments."""

    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return original.__get__(self, type(self))(*args, **kwargs)

    async def call_async(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await original.__get__(self, type(self))(*args, **kwargs)

    return functools.update_wrapper(call_async if inspect.iscoroutinefunction(original) else call, original)


def _self_position(patch: Patch) -> SelfPosition:
    original = patch.original
    if not is_class(patch.owner) or is_a(original, staticmethod) or not hasattr(type(original), "__get__"):
        return SelfPosition.NOWHERE
    return SelfPosition.ARGUMENTS if is_a(original, _BOUND_AS_METHODS) else SelfPosition.SIGNATURE


def _tool_of_instance(
    part: Any, name: str, row: KnownClass | None, options: InstrumentOptions, watch: Watch, original: Any
) -> ToolSpec:
    """Return the tool for a callable in an object's own namespace, which receives no `self`."""
    if row is not None and options.tool_name is None and (known_name := known.name_of_target(part, row.name)):
        options = options._replace(tool_name=known_name)
    named = _tool_name(original, name, row, options, watch, SelfPosition.NOWHERE)
    same = None if row is None else is_same_call
    tool = ToolSpec(named, fallback=name, is_super_call=same, **_declarations(row, options))
    tool.parameters = positional_parameters(original)
    return tool


def _tool_name(
    function: Any,
    name: str,
    row: KnownClass | None,
    options: InstrumentOptions,
    watch: Watch,
    position: SelfPosition,
    *,
    whole_module: bool = False,
) -> str | Callable[..., str]:
    """Return the name for the calls of a function, or a reader of the name in their arguments."""
    reader: Any = None
    if callable(options.tool_name):
        reader = name_by_user(options.tool_name, position, watch.count)
    elif options.tool_name is not None:
        name = options.tool_name
    elif row is not None:
        reader = name_along(row.name, function, name, position, watch.count)
    else:
        listed = options.methods is not None
        if whole_module and not runs_tools(name):
            qualified = getattr(function, "__qualname__", name)
            name = qualified if isinstance(qualified, str) and "<" not in qualified else name
        reader = name_from_arguments(
            function,
            name,
            position,
            runner=listed or runs_tools(name),
            only_text=whole_module and not runs_tools(name),
            count=watch.count,
        )
    if reader is None:
        watch.tools.add(name)
        return name
    watch.has_reader = True
    return reader  # type: ignore[no-any-return]
