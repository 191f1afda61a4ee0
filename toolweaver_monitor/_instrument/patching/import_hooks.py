"""Resolve dotted names such as `package.module:Class.method`, and wait for modules that are not imported yet."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.introspect import is_class, is_module, label
from toolweaver_monitor._instrument.patching.targets import methods_of, not_found, safe_getattr
from toolweaver_monitor.errors import ConfigurationError

_PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_DOTTED = re.compile(rf"({_PATH})(?::({_PATH}))?")


def split_name(name: str) -> tuple[str, str]:
    """Return the module's name and the path inside it, which is empty for the module itself.

    Raises:
        ConfigurationError: it is not a dotted name, or no module can ever have it.
    """
    match = _DOTTED.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"{name!r} is not a dotted name",
            hint="write 'package.module', 'package.module:function' or 'package.module:Class.method'",
        )
    module, path = match[1], match[2] or ""
    parent = module.rpartition(".")[0]
    while parent:
        imported = sys.modules.get(parent)
        if imported is not None and not hasattr(imported, "__path__"):
            inside = module.removeprefix(f"{parent}.")
            raise ConfigurationError(
                f"{parent} is a module and not a package, so {name!r} can never be imported",
                hint=f"write a colon after the module: '{parent}:{inside}'",
            )
        parent = parent.rpartition(".")[0]
    return module, path


def resolve(module: Any, path: str) -> tuple[Any, str | None]:
    """Return the target at a path inside a module, and the name of its one function or method if the path names one.

    Raises:
        ConfigurationError: there is nothing at that path.
    """
    owner: Any = module
    parts = path.split(".") if path else []
    for index, part in enumerate(parts):
        try:
            value = inspect.getattr_static(owner, part)
        except AttributeError:
            value = _load_lazily(owner, part)
        if is_class(value) or is_module(value) or index < len(parts) - 1:
            owner = value
        elif is_class(owner) or inspect.isroutine(value) or (callable(value) and not methods_of(type(value))):
            return owner, part
        else:
            owner = value
    return owner, None


def _load_lazily(owner: Any, name: str) -> Any:
    """Return what a module's `__getattr__` stores in it (PEP 562), as large packages that import their parts late do.

    Raises:
        ConfigurationError: it has no such attribute, or does not store it.
    """
    value = safe_getattr(owner, name) if is_module(owner) else None
    if value is None:
        raise not_found(owner, name)
    if name not in vars(owner):
        home = getattr(value, "__module__", None) or "package.module"
        raise ConfigurationError(
            f"{label(owner)} only passes {name} on", hint=f"write where it is defined: '{home}:{name}'"
        )
    return vars(owner)[name]


def imported_module(name: str) -> Any:
    """Return a module if it has been imported, else None.

    An import in another thread is waited for, even one that has not created its module yet: it may have looked for
    hooks before ours was registered, and `sys.modules` does not show it. It holds the module's import lock, however,
    for which the `import` statement itself waits with the function that is called here.
    """
    wait_for_import: Callable[[str], None] | None = getattr(importlib._bootstrap, "_lock_unlock_module", None)
    if wait_for_import is not None:
        wait_for_import(name)
    module = sys.modules.get(name)
    if wait_for_import is not None and is_being_imported(module):  # by a thread that has begun in the meantime
        wait_for_import(name)
        module = sys.modules.get(name)
    return module


def is_being_imported(module: Any) -> bool:
    """Return whether a module's own code is still running."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False) is True


def when_imported(name: str, hook: Callable[[Any], None]) -> Any:
    """Run `hook` with the module as soon as it has been imported, before its importer continues.

    Returns:
        The module if another thread has imported it in the meantime; `hook` may or may not have run then.
    """
    import wrapt

    registering = True

    def run_hook(module: Any) -> None:
        if not registering:  # wrapt calls at once for a module in `sys.modules`, which may be half imported
            hook(module)

    wrapt.register_post_import_hook(run_hook, name)
    registering = False
    return imported_module(name)
