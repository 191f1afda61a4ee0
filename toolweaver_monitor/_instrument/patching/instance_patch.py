"""Patch an attribute in an object's own namespace, where its class has no method to patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.introspect import own_namespace
from toolweaver_monitor._instrument.decorator import is_monitored, wrapper_for
from toolweaver_monitor._instrument.patching.patch import MISSING
from toolweaver_monitor._instrument.patching.targets import safe_getattr
from toolweaver_monitor._instrument.proxies import MonitoredProxy, make_proxy
from toolweaver_monitor._instrument.tool import ToolSpec


class InstancePatch(MonitoredProxy):
    """A wrapped callable that only its object's namespace refers to, so that it lives no longer than the object.

    `_self_before` is what the namespace held before.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let pickles and copies of the object hold the original, which is not monitored."""
        return _identity, (self.__wrapped__,)


def _identity(thing: Any) -> Any:
    return thing


def patch_instance(thing: Any, name: str, make_tool: Callable[[Any], ToolSpec]) -> None:
    """Wrap an attribute in the object's `__dict__`, which is written to directly, as the object may be frozen.

    Args:
        thing: an object with a `__dict__`.
        name: an attribute of it, also one that only its `__getattr__` provides.
        make_tool: returns the tool for the callable. A callable that is monitored already is left as it is.
    """
    unpatch_instance(thing, (name,))
    own = own_namespace(thing)
    if own is None:
        return
    original = own[name] if name in own else safe_getattr(thing, name)
    if not is_monitored(original):
        patched = make_proxy(InstancePatch, original, wrapper_for(original, make_tool(original)), _identity)
        patched._self_before = own.get(name, MISSING)
        own[name] = patched


def unpatch_instance(thing: Any, names: tuple[str, ...] | None) -> None:
    """Restore the named attributes of an object, or all that are patched in it."""
    own = own_namespace(thing) or {}
    for name, value in list(own.items()):
        if issubclass(type(value), InstancePatch) and (names is None or name in names):
            before = value._self_before
            if before is MISSING:
                del own[name]
            else:
                own[name] = before
