"""How is an attribute watched that stands in an object itself, and not in its class?"""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._core.introspect import own_namespace
from toolweaver_monitor._instrument.decorator import driving
from toolweaver_monitor._instrument.patching.patch import MISSING
from toolweaver_monitor._instrument.proxies import MonitoredProxy, proxy
from toolweaver_monitor._instrument.tool import Tool


class InstancePatch(MonitoredProxy):
    """A watched callable in an object's own namespace, which alone holds it: it goes when the object goes.

    Its `_self_before` is what stood there before it. (So named, wrapt keeps it on the proxy and not on what it stands
    for; nor is it declared, see `Proxy`.)
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A pickle or copy of the object has what was there before: it is not watched."""
        return _same, (self.__wrapped__,)


def _same(thing: Any) -> Any:
    return thing


def unwrap(found: Any) -> Any:
    """What a planted callable watches; any other thing itself."""
    return found.__wrapped__ if issubclass(type(found), InstancePatch) else found


def patch_instance(thing: Any, name: str, found: Any, tool: Tool) -> None:
    """Watch an object's attribute in the object itself, whose namespace is written to directly: it may be frozen."""
    own = own_namespace(thing)
    if own is not None:
        unpatch_instance(thing, (name,))
        planted = proxy(InstancePatch, found, driving(found, tool), _same)
        planted._self_before = own.get(name, MISSING)
        own[name] = planted


def unpatch_instance(thing: Any, names: tuple[str, ...] | None) -> None:
    """Put back what stood in an object before anything was planted there."""
    own = own_namespace(thing) or {}
    for name, value in list(own.items()):
        if issubclass(type(value), InstancePatch) and (names is None or name in names):
            before = value._self_before
            if before is MISSING:
                del own[name]
            else:
                own[name] = before
