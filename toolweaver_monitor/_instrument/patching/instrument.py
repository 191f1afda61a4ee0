"""`instrument()`: how is an orchestrator watched from outside, without a change to its code?"""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.introspect import is_a, is_class, is_module
from toolweaver_monitor._instrument.decorator import is_monitored, positional_parameters, watch
from toolweaver_monitor._instrument.patching import executors, import_hooks, mcp, targets
from toolweaver_monitor._instrument.patching.patch import (
    Place,
    WrappedPair,
    claimed_by,
    place_of,
    remember,
    settle_bases,
)
from toolweaver_monitor._instrument.patching.super_calls import skip_if_super_call
from toolweaver_monitor._instrument.patching.tool_names import Self, name_from_arguments, runs_tools, without_self
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
ToolName = str | Callable[..., str] | None

_patching = locks.new_rlock("patching")


class InstrumentOptions(NamedTuple):
    """What `instrument()` was asked for beyond its target."""

    tool_name: ToolName = None
    methods: tuple[str, ...] | None = None


_BOUND_AS_METHODS = (types.FunctionType, classmethod, functools.partialmethod, functools._lru_cache_wrapper)
"""What a class puts the object before the arguments of; other things are given as already bound."""

_pending: dict[str, InstrumentOptions] = {}
"""What waits for an import, by its dotted name."""


def _with_a_target(function: F) -> F:
    """Have a call without one told what was meant, such as arguments for a class decorator."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not args and "target" not in kwargs:
            raise ConfigurationError(
                "instrument() got nothing to watch; as a decorator it takes no arguments: write @instrument, or below "
                "the class instrument(TheClass, methods=[...], tool_name=...)"
            )
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]  # the same signature


@_with_a_target
def instrument(target: T, *, tool_name: ToolName = None, methods: Iterable[str] | None = None) -> T:
    """Watch the tools that an orchestrator runs, without changing its code.

    Each call is named after the tool that the orchestrator was asked to run: `orchestrator.execute_tool("ocr", ...)`
    is a call of `ocr`. Instrumenting twice is the same as once; a new `tool_name` replaces the old one. Methods that
    `@monitored` watches already are left alone.

    Args:
        target: an orchestrator; or its class, for all objects of it and of the subclasses that inherit its methods; a
            module, for every public function and method defined in it (a package: also those of its own submodules
            that it shows); `"package.module"`, `"package.module:function"`, `"package.module:Class"` or
            `"package.module:Class.method"`, patched at once or when it is imported; a `ThreadPoolExecutor` or that
            class: its tasks then run in the context they were submitted in, and no calls of its own are recorded.
        tool_name: the name of every call; or a callable that gets the call's own arguments (the object, too, if its
            first parameter is `self`) and returns it. Default: the tool in the arguments, else the method's own name.
        methods: names of the methods to watch. Default: those by which orchestrators run tools, such as `execute_tool`,
            `call_tool`, `execute_agent_step` and `execute_skill`.

    Returns:
        The target itself, so that this also works as a class decorator, without arguments.

    Raises:
        ConfigurationError: there is no such method, or nothing to watch, or it cannot be changed; the message says what
            could be meant.
    """
    wish = InstrumentOptions(tool_name, _checked(tool_name, methods))
    if is_a(target, str):
        _instrument_dotted(str(target), wish)
    else:
        with _patching:
            _instrument(target, wish)
    return target


def uninstrument(target: T) -> T:
    """Undo `instrument(target)`: every attribute is again the same object as before.

    What was never instrumented stays as it is, silently. So does what was asked for through another target: a class
    that was instrumented is not undone by uninstrumenting an object of it.

    Args:
        target: what `instrument()` was given.

    Returns:
        The target itself.
    """
    with _patching:
        if is_a(target, str):
            _uninstrument_dotted(str(target))
        else:
            _uninstrument(target, None)
    return target


def waiting_for_import() -> list[str]:
    """The dotted names given to `instrument()` of which nothing is watched yet: their modules were not imported."""
    return sorted(_pending)


def _checked(tool_name: object, methods: object) -> tuple[str, ...] | None:
    if tool_name is not None and not callable(tool_name):
        Tool(tool_name)  # type: ignore[arg-type]  # complains of what is no name
    if methods is None:
        return None
    names = () if isinstance(methods, str) or not isinstance(methods, Iterable) else tuple(methods)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"methods={methods!r} is not a list of names; write methods=['execute_tool']")
    return names


def _instrument(target: Any, wish: InstrumentOptions) -> None:
    if wish.methods is None:
        if mcp.takes_middleware(target):
            mcp.add_middleware(target, wish.tool_name)
            return
        target = mcp.tool_manager_of(target)
    spots, in_object = targets.spots(target, wish.methods)
    forms: dict[tuple[int, bool], WrappedPair] = {}  # two names of one function stay two names of one function
    claims: list[tuple[Place, WrappedPair]] = []
    for owner, name in spots:
        place = place_of(owner, name)
        if not is_monitored(place.original):
            key = id(place.original), is_class(owner)
            forms[key] = forms.get(key) or _form(place, target, wish)
            claims.append((place, forms[key]))
    for name, found in in_object:
        from toolweaver_monitor._instrument.patching.instance_patch import (  # needs wrapt, which is slow to import
            patch_instance,
            unwrap,
        )

        if not is_monitored(unwrap(found)):
            patch_instance(target, name, unwrap(found), _tool(unwrap(found), name, wish))
    try:
        for place, form in claims:
            place.claim(target, form)
            remember(place)
            place.settle()
            settle_bases(place)
    except ConfigurationError:
        _uninstrument(target, None)
        raise


def _uninstrument(target: Any, names: tuple[str, ...] | None) -> None:
    if names is None and not is_class(target) and mcp.takes_middleware(target):
        mcp.remove_middleware(target)
    elif names is None and (core := mcp.tool_manager_of(target)) is not target:
        _uninstrument(core, None)
    for place in list(claimed_by(target)):
        if names is None or place.name in names:
            place.release(target)
            place.settle()
            settle_bases(place)
    planted = sys.modules.get("toolweaver_monitor._instrument.patching.instance_patch")
    if planted is not None:
        planted.unpatch_instance(target, names)


def _form(place: Place, target: Any, wish: InstrumentOptions) -> WrappedPair:
    """The watched form of what stands at a place."""
    raw = place.original
    if wish.methods is None and executors.is_pool(target):
        carrying = executors.propagate_context(raw)
        return WrappedPair(carrying, carrying)
    whole_module = is_module(target) and wish.methods is None
    name = _name(targets.original_of(raw), place.name, wish, self_in=_self_in(place), whole_module=whole_module)
    watched = watch(raw, name, usage=mcp.usage_of_result if mcp.is_from_package(target, "mcp") else None)
    return WrappedPair(watched, skip_if_super_call(raw, watched, name, place.name))


def _self_in(place: Place) -> Self:
    """Where the `self` of what stands at a place is met."""
    raw = place.original
    if not is_class(place.owner) or is_a(raw, staticmethod) or not hasattr(type(raw), "__get__"):
        return Self.NOWHERE
    return Self.ARGUMENTS if is_a(raw, _BOUND_AS_METHODS) else Self.SIGNATURE


def _tool(found: Any, name: str, wish: InstrumentOptions) -> Tool:
    """The tool for a callable that stands in an object itself, and so gets no `self`."""
    tool = Tool(_name(found, name, wish), fallback=name)
    tool.parameters = positional_parameters(found)
    return tool


def _name(
    function: Any, name: str, wish: InstrumentOptions, *, self_in: Self = Self.NOWHERE, whole_module: bool = False
) -> str | Callable[..., str]:
    """What calls of a function are named: a text, or what reads it from the arguments."""
    if callable(wish.tool_name):
        return without_self(wish.tool_name) if self_in is Self.ARGUMENTS else wish.tool_name
    if wish.tool_name is not None:
        return wish.tool_name
    if whole_module and not runs_tools(name):
        qualified = getattr(function, "__qualname__", name)
        return qualified if isinstance(qualified, str) and "<" not in qualified else name
    return name_from_arguments(function, name, self_in) or name


def _instrument_dotted(name: str, wish: InstrumentOptions) -> None:
    module_name, path = import_hooks.split(name)
    module = import_hooks.loaded(module_name)
    if module is None:
        with _patching:
            _pending[name] = wish
        module = import_hooks.when_imported(module_name, functools.partial(_imported, name, path))
        if module is None or _pending.pop(name, None) is None:
            return
    half = import_hooks.being_imported(module)  # by this very thread, further up
    with _patching:
        try:
            _instrument_inside(module, path, wish)
        except ConfigurationError as error:
            if not half:
                raise
            raise ConfigurationError(
                f"{module_name} is being imported right now, and {error}; call instrument({name!r}) before its import "
                "begins or after it has ended"
            ) from None


def _imported(name: str, path: str, module: Any) -> None:
    """Do what waited for this module; an error raised here would fail its import, which is not at fault."""
    with _patching:
        wish = _pending.pop(name, None)
        if wish is not None:
            try:
                _instrument_inside(module, path, wish)
            except Exception as error:  # noqa: BLE001 - see above
                log.error("toolweaver_monitor: instrument(%r) did nothing: %s", name, error)  # noqa: TRY400


def _instrument_inside(module: Any, path: str, wish: InstrumentOptions) -> None:
    target, method = import_hooks.resolve(module, path)
    if method is not None:
        if wish.methods is not None:
            raise ConfigurationError(f"'{path}' names one function; leave methods= out")
        wish = wish._replace(methods=(method,))
    _instrument(target, wish)


def _uninstrument_dotted(name: str) -> None:
    module_name, path = import_hooks.split(name)
    _pending.pop(name, None)
    module = sys.modules.get(module_name)
    if module is not None:
        try:
            target, method = import_hooks.resolve(module, path)
        except ConfigurationError:
            return  # it is gone, and what was watched with it
        _uninstrument(target, None if method is None else (method,))
