"""Put the wrappers of `WAYS` into ToolWeaver, and take them out again."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.introspect import is_class, is_module, mro_of, namespace
from toolweaver_monitor._instrument.decorator import is_monitored
from toolweaver_monitor._instrument.patching import import_hooks, watches
from toolweaver_monitor._instrument.patching.patch import patch_for, patches
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.integrations.toolweaver._registry import REGISTRY_MODULE, plugins
from toolweaver_monitor.integrations.toolweaver._runs import Level, Switch, watch_coroutine, watch_function
from toolweaver_monitor.integrations.toolweaver._ways import WAYS, Way, tool_name_of

log = logging.getLogger("toolweaver_monitor")

PACKAGE = "orchestrator"
_MARKS = ("mcp_tool", "a2a_agent", "MCPClientShim", "LargePlanner")
"""Names that the package `orchestrator` has if it is ToolWeaver's."""
_DECORATORS = f"{PACKAGE}.tools.decorators"

_target = types.ModuleType("toolweaver")
"""Stands for ToolWeaver as the target of the patches."""
_lock = locks.new_rlock("toolweaver")
_hooked: set[str] = set()


def instrument() -> None:
    """Count every run of a tool in ToolWeaver, whether it has been imported or not.

    Raises:
        ConfigurationError: the package `orchestrator` that is imported is another's.
    """
    with _lock:
        _check_identity()
        Switch.on = True
        names = dict.fromkeys([way.module for way in WAYS] + [_DECORATORS, REGISTRY_MODULE])
    for name in names:
        module = import_hooks.imported_module(name)
        if module is not None:
            _patch_module(module)
        elif name not in _hooked:
            _hooked.add(name)
            module = import_hooks.when_imported(name, _on_import)
            if module is not None:
                _patch_module(module)


def uninstrument() -> None:
    """Stop counting, and put back what ToolWeaver had."""
    with _lock:
        Switch.on = False
        _restore()


def _restore() -> None:
    for patch in list(patches.values()):
        if patch.withdraw(_target):
            patch.apply()
    watches.forget(_watch(), None)
    for cell, function in _cells:
        cell.cell_contents = function
    _cells.clear()


def _watch() -> watches.Watch:
    """Return what `health()` shows of ToolWeaver."""
    watch = watches.watch_for(_target, "toolweaver")
    watch.cure = "call instrument('toolweaver') before these imports"
    watch.has_reader, Switch.count = True, watch.count
    return watch


_cells: list[tuple[types.CellType, Any]] = []
"""The cells in which decorated functions hold what the decorator was given, and what that was."""


def _check_identity() -> None:
    module = sys.modules.get(PACKAGE)
    if module is None or import_hooks.is_being_imported(module) or all(name in vars(module) for name in _MARKS):
        return
    where = getattr(module, "__file__", None) or "no file"
    raise ConfigurationError(
        f"the package {PACKAGE} that is imported ({where}) is not ToolWeaver's",
        hint="leave instrument('toolweaver') out, or give the module of your own: instrument('orchestrator.module')",
    )


def _on_import(module: Any) -> None:
    """Patch a module that has just been imported. Errors are logged: raising them would fail an innocent import."""
    _hooked.discard(module.__name__)
    if Switch.on:
        try:
            _patch_module(module)
        except Exception as error:  # noqa: BLE001 - see above
            log.error("toolweaver_monitor: %s is not watched: %s", module.__name__, error)  # noqa: TRY400


def _patch_module(module: Any) -> None:
    with _lock:
        _patch_ways(module)


def _patch_ways(module: Any) -> None:
    name = module.__name__
    for way in WAYS:
        if way.module == name:
            _patch_way(module, way)
    if name == _DECORATORS:
        _patch(module, "_register_bound_function", _watch_registration)
    if name == REGISTRY_MODULE:
        _patch(module.PluginRegistry, "register", _watch_plugins)
    for plugin in plugins():
        _watch_plugin(plugin)


def _patch_way(module: Any, way: Way) -> None:
    owner_name, _, method = way.path.rpartition(".")
    if owner_name:
        owner = vars(module).get(owner_name)
        if is_class(owner) and method in namespace(owner):
            _patch(owner, method, way.wrapper)
            _watch().methods[way.path] = None
            return
    elif way.path in vars(module):
        _patch_function(module, way) if way.everywhere else _patch(module, way.path, way.wrapper)
        _watch().methods[way.path] = None
        return
    log.warning("toolweaver_monitor: this version of ToolWeaver has no %s.%s, which is not counted", *way[:2])


def _patch(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    patch = patch_for(owner, name)
    if id(_target) not in patch.whole:
        patch.request(_target, wrapper(patch.original))
        patch.apply()


def _patch_function(module: Any, way: Way) -> None:
    """Patch a function under every name by which ToolWeaver's modules hold it, and note who else does."""
    patch = patch_for(module, way.path)
    if id(_target) in patch.whole:
        return
    original, wrapped = patch.original, way.wrapper(patch.original)
    _watch().patches[id(patch)] = patch
    for holder_name, holder in sys.modules.copy().items():  # not a list: others may import meanwhile
        if holder_name == "__mp_main__" or not is_module(holder):  # multiprocessing's second name for __main__
            continue
        ours = f"{holder_name}.".startswith(f"{PACKAGE}.")
        for name, value in vars(holder).copy().items():
            if value is not original:
                continue
            if ours:
                _patch(holder, name, lambda _original: wrapped)
            else:
                log.warning(
                    "toolweaver_monitor: %s.%s was taken from ToolWeaver before instrument('toolweaver'), and what it "
                    "runs is not counted; call instrument() before that import", holder_name, name,
                )  # fmt: skip


def _watch_registration(original: Any) -> Any:
    """Watch the function that a decorator is given, where the decorated one calls it."""

    @functools.wraps(original)
    def register(*args: Any, **kwargs: Any) -> Any:
        bound = original(*args, **kwargs)
        if Switch.on:
            with _lock:
                _watch_decorated(bound)
        return bound

    return register


def _watch_decorated(bound: Any) -> None:
    """Watch a decorated function in place, so that it is counted under every name that a program has for it."""
    if type(bound) is not types.FunctionType or "fn" not in bound.__code__.co_freevars:
        return
    cell = (bound.__closure__ or ())[bound.__code__.co_freevars.index("fn")]
    function = cell.cell_contents
    definition = vars(bound).get("__tool_definition__")
    if definition is None or is_monitored(function) or any(cell is known for known, _ in _cells):
        return
    _cells.append((cell, function))
    cell.cell_contents = watch_function(function, str(definition.name))


def _watch_plugins(original: Any) -> Any:
    """Watch each plugin as it is registered."""

    @functools.wraps(original)
    def register(self: Any, name: str, plugin: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, name, plugin, *args, **kwargs)
        if Switch.on:
            with _lock:
                _watch_plugin(plugin)
        return result

    return register


def _watch_plugin(plugin: Any) -> None:
    """Watch a plugin's class by its `execute`, and the functions that it has been given by decorators."""
    for kind in mro_of(type(plugin)):
        if "execute" in namespace(kind):
            if inspect.iscoroutinefunction(namespace(kind)["execute"]):
                _patch(kind, "execute", lambda original: watch_coroutine(original, tool_name_of, Level.PLUGIN))
            break
    for bound in list(vars(plugin).get("_functions", {}).values()) if hasattr(plugin, "__dict__") else ():
        _watch_decorated(bound)
