"""Monitor an orchestrator from outside, without a change to its code."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.introspect import is_a, is_class, is_module
from toolweaver_monitor._instrument.decorator import is_monitored, positional_parameters, wrap
from toolweaver_monitor._instrument.patching import executors, import_hooks, mcp, targets
from toolweaver_monitor._instrument.patching.instance_patch import patch_instance, unpatch_instance
from toolweaver_monitor._instrument.patching.patch import Patch, patch_for, patches
from toolweaver_monitor._instrument.patching.super_calls import super_call_check
from toolweaver_monitor._instrument.patching.tool_names import SelfPosition, name_from_arguments, runs_tools, skip_self
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
ToolName = str | Callable[..., str] | None

_lock = locks.new_rlock("patching")


class InstrumentOptions(NamedTuple):
    """The arguments of `instrument()` other than its target."""

    tool_name: ToolName = None
    methods: tuple[str, ...] | None = None


_BOUND_AS_METHODS = (types.FunctionType, classmethod, functools.partialmethod, functools._lru_cache_wrapper)
"""Descriptors whose wrappers receive the object as their first argument; others are wrapped after they are bound."""

INTEGRATIONS = {"toolweaver": "toolweaver_monitor.integrations.toolweaver"}
"""What runs tools in more places than one class, by the name that `instrument()` takes; imported when asked for."""

_pending: dict[str, InstrumentOptions] = {}
"""Dotted names whose modules have not been imported yet."""


def _require_target(function: F) -> F:
    """Raise a helpful error if `instrument()` is called without a target, as a decorator with arguments would be."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not args and "target" not in kwargs:
            raise ConfigurationError(
                "instrument() got no target",
                hint="as a decorator it takes no arguments: write @instrument, or below the class "
                "instrument(TheClass, methods=[...], tool_name=...)",
            )
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]  # the same signature


@_require_target
def instrument(target: T, *, tool_name: ToolName = None, methods: Iterable[str] | None = None) -> T:
    """Monitor the tools that an orchestrator runs, without changing its code.

    Each call is named after the tool that the orchestrator runs: `orchestrator.execute_tool("ocr", ...)` is a call of
    `ocr`. Instrumenting twice is the same as once; a new `tool_name` replaces the old one. Methods that `@monitored`
    monitors already are left as they are.

    Args:
        target: an orchestrator; or its class, for all objects of it and of the subclasses that inherit its methods; a
            module, for every public function and method defined in it (a package: also those of its own submodules
            that it exposes); `"package.module"`, `"package.module:function"`, `"package.module:Class"` or
            `"package.module:Class.method"`, patched at once or when it is imported; a `ThreadPoolExecutor` or that
            class: its tasks then run in the context they were submitted in, and no calls of its own are recorded; or
            `"toolweaver"`, for every way in which ToolWeaver runs a tool.
        tool_name: the name of every call; or a callable that receives the call's own arguments (and the object, if
            its first parameter is `self`) and returns the name. Default: the tool named in the arguments, else the
            method's own name.
        methods: names of the methods to monitor, also those that stand in the object itself or are provided by its
            `__getattr__`. Default: the methods of its class by which orchestrators run tools, such as `execute_tool`,
            `call_tool`, `execute_agent_step` and `execute_skill`.

    Returns:
        The target itself, so that this also works as a class decorator, without arguments.

    Raises:
        ConfigurationError: there is no such method, or nothing to monitor, or the target cannot be changed; the
            message suggests what may have been meant.
    """
    options = InstrumentOptions(tool_name, _validate_options(tool_name, methods))
    if is_a(target, str) and (integration := _integration(str(target))) is not None:
        if options != InstrumentOptions():
            raise ConfigurationError(f"instrument({str(target)!r}) takes no other argument", hint="leave them out")
        integration.instrument()
    elif is_a(target, str):
        _instrument_name(str(target), options)
    else:
        with _lock:
            _instrument(target, options)
    return target


def uninstrument(target: T) -> T:
    """Undo `instrument(target)`: every attribute is the same object as before.

    Does nothing if the target was never instrumented. Requests through another target stay in force: uninstrumenting
    an object does not undo the instrumentation of its class.

    Args:
        target: the target that `instrument()` was given.

    Returns:
        The target itself.
    """
    if is_a(target, str) and (integration := _integration(str(target))) is not None:
        integration.uninstrument()
        return target
    with _lock:
        if is_a(target, str):
            _uninstrument_name(str(target))
        else:
            _uninstrument(target, None)
    return target


def _integration(name: str) -> Any:
    """Return the integration of that name, or None: any other name is a module's."""
    path = INTEGRATIONS.get(name) or (name if name in INTEGRATIONS.values() else None)
    return None if path is None else importlib.import_module(path)


def waiting_for_import() -> list[str]:
    """Return the dotted names given to `instrument()` whose modules have not been imported yet."""
    return sorted(_pending)


def _validate_options(tool_name: object, methods: object) -> tuple[str, ...] | None:
    if tool_name is not None and not callable(tool_name):
        ToolSpec(tool_name)  # type: ignore[arg-type]  # raises if it is not a valid name
    if methods is None:
        return None
    names = () if isinstance(methods, str) or not isinstance(methods, Iterable) else tuple(methods)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"methods={methods!r} is not a list of names", hint="write methods=['execute_tool']")
    return names


def _instrument(target: Any, options: InstrumentOptions) -> None:
    if options.methods is None:
        if mcp.takes_middleware(target):
            mcp.add_middleware(target, options.tool_name)
            return
        target = mcp.tool_manager_of(target)
    wrappers: dict[tuple[int, int], Any] = {}  # so that two names of one function get the same wrapper
    requests: list[tuple[Patch, Any]] = []
    for owner, name in targets.find_attributes(target, options.methods):
        if not is_class(owner) and not is_module(owner):
            patch_instance(owner, name, functools.partial(_tool_of_instance, name, options))
            continue
        patch = patch_for(owner, name)
        if not is_monitored(patch.original):
            key = id(patch.original), id(owner)
            if key not in wrappers:
                wrappers[key] = _wrapper_of(patch, target, options)
            requests.append((patch, wrappers[key]))
    try:
        for patch, wrapper in requests:
            patch.request(target, wrapper)
            patch.apply()
    except ConfigurationError:
        _uninstrument(target, None)
        raise


def _uninstrument(target: Any, names: tuple[str, ...] | None) -> None:
    if names is None and not is_class(target) and mcp.takes_middleware(target):
        mcp.remove_middleware(target)
    elif names is None and (manager := mcp.tool_manager_of(target)) is not target:
        _uninstrument(manager, None)
    for patch in list(patches.values()):
        if (names is None or patch.name in names) and patch.withdraw(target):
            patch.apply()
    unpatch_instance(target, names)


def _wrapper_of(patch: Patch, target: Any, options: InstrumentOptions) -> Any:
    """Return the wrapper for a patch that is requested through a target."""
    original = patch.original
    if options.methods is None and executors.is_pool(target):
        return executors.propagate_context(original)
    whole_module = is_module(target) and options.methods is None
    function = targets.unwrap_method(original)
    name = _tool_name(function, patch.name, options, _self_position(patch), whole_module=whole_module)
    return wrap(
        original,
        name,
        usage=mcp.usage_of_result if mcp.is_from_package(target, "mcp") else None,
        is_super_call=super_call_check(patch.owner, patch.name) if is_class(patch.owner) else None,
        watches_generators=not whole_module,
    )


def _self_position(patch: Patch) -> SelfPosition:
    original = patch.original
    if not is_class(patch.owner) or is_a(original, staticmethod) or not hasattr(type(original), "__get__"):
        return SelfPosition.NOWHERE
    return SelfPosition.ARGUMENTS if is_a(original, _BOUND_AS_METHODS) else SelfPosition.SIGNATURE


def _tool_of_instance(name: str, options: InstrumentOptions, original: Any) -> ToolSpec:
    """Return the tool for a callable in an object's own namespace, which receives no `self`."""
    tool = ToolSpec(_tool_name(original, name, options), fallback=name)
    tool.parameters = positional_parameters(original)
    return tool


def _tool_name(
    function: Any,
    name: str,
    options: InstrumentOptions,
    self_position: SelfPosition = SelfPosition.NOWHERE,
    *,
    whole_module: bool = False,
) -> str | Callable[..., str]:
    """Return the name for the calls of a function, or a reader of the name in their arguments."""
    if callable(options.tool_name):
        return skip_self(options.tool_name) if self_position is SelfPosition.ARGUMENTS else options.tool_name
    if options.tool_name is not None:
        return options.tool_name
    if whole_module and not runs_tools(name):
        qualified = getattr(function, "__qualname__", name)
        return qualified if isinstance(qualified, str) and "<" not in qualified else name
    return name_from_arguments(function, name, self_position) or name


def _instrument_name(name: str, options: InstrumentOptions) -> None:
    module_name, path = import_hooks.split_name(name)
    module = import_hooks.imported_module(module_name)
    if module is None:
        with _lock:
            _pending[name] = options
        module = import_hooks.when_imported(module_name, functools.partial(_on_import, name, path))
        if module is None or _pending.pop(name, None) is None:
            return
    half_imported = import_hooks.is_being_imported(module)  # by this very thread, further up its stack
    with _lock:
        try:
            _instrument_path(module, path, options)
        except ConfigurationError as error:
            if not half_imported:
                raise
            raise ConfigurationError(
                f"{module_name} is being imported right now, and {error}",
                hint=f"call instrument({name!r}) before its import begins or after it has ended",
            ) from None


def _on_import(name: str, path: str, module: Any) -> None:
    """Instrument a pending name. Errors are logged, as raising them would fail an import that is not at fault."""
    with _lock:
        options = _pending.pop(name, None)
        if options is not None:
            try:
                _instrument_path(module, path, options)
            except Exception as error:  # noqa: BLE001 - see above
                log.error("toolweaver_monitor: instrument(%r) did nothing: %s", name, error)  # noqa: TRY400


def _instrument_path(module: Any, path: str, options: InstrumentOptions) -> None:
    target, method = import_hooks.resolve(module, path)
    if method is not None:
        if options.methods is not None:
            raise ConfigurationError(f"'{path}' names one function", hint="leave methods= out")
        options = options._replace(methods=(method,))
    _instrument(target, options)


def _uninstrument_name(name: str) -> None:
    module_name, path = import_hooks.split_name(name)
    _pending.pop(name, None)
    module = sys.modules.get(module_name)
    if module is not None:
        try:
            target, method = import_hooks.resolve(module, path)
        except ConfigurationError:
            return  # it no longer exists, nor do its wrappers
        _uninstrument(target, None if method is None else (method,))
