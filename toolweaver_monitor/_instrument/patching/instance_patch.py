"""How is an attribute watched that stands in an object itself, and not in its class?"""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._core.introspect import own_namespace
from toolweaver_monitor._instrument.decorator import driving
from toolweaver_monitor._instrument.patching.patch import ABSENT
from toolweaver_monitor._instrument.proxies import WatchedObject, proxy
from toolweaver_monitor._instrument.tool import Tool


class Planted(WatchedObject):
    """A watched callable in an object's own namespace, which alone holds it: it goes when the object goes.

    Its `_self_before` is what stood there before it. (So named, wrapt keeps it on the proxy and not on what it stands
    for; nor is it declared, see `Proxy`.)
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A pickle or copy of the object has what was there before: it is not watched."""
        return _same, (self.__wrapped__,)


def _same(thing: Any) -> Any:
    return thing


def beneath(found: Any) -> Any:
    """What a planted callable watches; any other thing itself."""
    return found.__wrapped__ if issubclass(type(found), Planted) else found


def plant(thing: Any, name: str, found: Any, tool: Tool) -> None:
    """Watch an object's attribute in the object itself, whose namespace is written to directly: it may be frozen."""
    own = own_namespace(thing)
    if own is not None:
        uproot(thing, (name,))
        planted = proxy(Planted, found, driving(found, tool), _same)
        planted._self_before = own.get(name, ABSENT)  # noqa: SLF001 - wrapt's way, see above
        own[name] = planted


def uproot(thing: Any, names: tuple[str, ...] | None) -> None:
    """Put back what stood in an object before anything was planted there."""
    own = own_namespace(thing) or {}
    for name, value in list(own.items()):
        if issubclass(type(value), Planted) and (names is None or name in names):
            before = value._self_before  # noqa: SLF001 - wrapt's way, see above
            if before is ABSENT:
                del own[name]
            else:
                own[name] = before
