"""What does a dotted name such as `package.module:Class.method` stand for, and how is its import waited for?"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.introspect import is_class, is_module, label
from toolweaver_monitor._instrument.patching.targets import answer, methods_of, not_found
from toolweaver_monitor.errors import ConfigurationError

_PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_DOTTED = re.compile(rf"({_PATH})(?::({_PATH}))?")


def split(name: str) -> tuple[str, str]:
    """The module's name, and the path inside it (empty for the module itself).

    Raises:
        ConfigurationError: it is no such name, or can never become one.
    """
    match = _DOTTED.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"{name!r} is not a dotted name; write 'package.module', 'package.module:function' or "
            "'package.module:Class.method'"
        )
    module, path = match[1], match[2] or ""
    parent = module.rpartition(".")[0]
    while parent:
        found = sys.modules.get(parent)
        if found is not None and not hasattr(found, "__path__"):
            inside = module.removeprefix(f"{parent}.")
            raise ConfigurationError(
                f"{parent} is a module and no package, so {name!r} can never be imported; write a colon after the "
                f"module: '{parent}:{inside}'"
            )
        parent = parent.rpartition(".")[0]
    return module, path


def resolve(module: Any, path: str) -> tuple[Any, str | None]:
    """The target that a path inside a module stands for, and the one method of it that is meant, if one is.

    Raises:
        ConfigurationError: there is no such thing in it.
    """
    owner: Any = module
    parts = path.split(".") if path else []
    for index, part in enumerate(parts):
        try:
            value = inspect.getattr_static(owner, part)
        except AttributeError:
            value = _given(owner, part)
        if is_class(value) or is_module(value) or index < len(parts) - 1:
            owner = value
        elif is_class(owner) or inspect.isroutine(value) or (callable(value) and not methods_of(type(value))):
            return owner, part
        else:
            owner = value
    return owner, None


def _given(owner: Any, name: str) -> Any:
    """What a module puts there on request (PEP 562), as large packages do that import their parts late.

    Raises:
        ConfigurationError: it has no such thing, or does not keep it.
    """
    given = answer(owner, name) if is_module(owner) else None
    if given is None:
        raise not_found(owner, name)
    if name not in vars(owner):
        home = getattr(given, "__module__", None) or "package.module"
        raise ConfigurationError(f"{label(owner)} only hands {name} on; write where it is defined: '{home}:{name}'")
    return vars(owner)[name]


def loaded(module_name: str) -> Any:
    """A module that has been imported, or None. One that another thread is importing is waited for."""
    module = sys.modules.get(module_name)
    if module is not None and being_imported(module):
        try:
            importlib.import_module(module_name)
        except Exception:  # noqa: BLE001 - the matter of whoever imports it
            return None
        module = sys.modules.get(module_name)
    return module


def being_imported(module: Any) -> bool:
    """Whether a module's own code is still running."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False) is True


def when_imported(module_name: str, hook: Callable[[Any], None]) -> Any:
    """Have `hook` run with the module as soon as it has been imported, before its importer sees it.

    Returns:
        The module, if another thread has imported it in the meantime; `hook` may have run then, or not.
    """
    import wrapt

    registering = True

    def imported(module: Any) -> None:
        if not registering:  # else wrapt calls for a module that may be half imported
            hook(module)

    wrapt.register_post_import_hook(imported, module_name)
    registering = False
    _wait_for_import(module_name)
    return loaded(module_name)


def _wait_for_import(module_name: str) -> None:
    """Let an import that is under way in another thread end, one as well that has not made its module yet.

    Such a one may have looked for whom to tell before the hook was there, and nothing stands in `sys.modules` to show
    it. It holds the lock of that name, though, and what waits for that is what the `import` statement itself calls.
    """
    lock_unlock = getattr(importlib._bootstrap, "_lock_unlock_module", None)
    if lock_unlock is not None:
        lock_unlock(module_name)
