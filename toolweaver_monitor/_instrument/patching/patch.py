"""Patch an attribute of a class or module, and put back the very object that it held.

Each request names a target: the attribute's owner, the module in which that is defined, or one object of the class.
What is installed follows from the requests in force alone, so they can be withdrawn in any order. After the last one,
the attribute is the original object again, or absent if it was inherited.

A request for a single object writes nothing into that object, so objects with slots, frozen objects and copies work.
Its class gets a `PatchDescriptor`, which returns the wrapper for that object and the original for all others.
"""

from __future__ import annotations

import logging
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from toolweaver_monitor._core.introspect import is_class, is_module, label, mro_of, namespace
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

MISSING: Any = object()
"""Stands for an attribute that is absent: inherited, or provided by `__getattr__`."""


class PatchRequest(NamedTuple):
    """A target, and the wrapper to install for it."""

    target: Callable[[], Any]
    """Returns the target, or None once it has been collected."""
    wrapper: Any


class Patch:
    """One attribute of a class or module, and what it held before it was patched."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name
        self.raw = namespace(owner).get(name, MISSING)
        self.original = find_original(owner, name) if self.raw is MISSING else self.raw
        self.installed = self.raw
        self.whole: dict[int, PatchRequest] = {}
        """Requests of classes and modules, by the target's id."""
        self.single: dict[int, PatchRequest] = {}
        """Requests of single objects, by the target's id."""
        self.common_wrapper: Any = None
        """The wrapper for objects without a request of their own: that of the latest class or module, if any."""

    def request(self, target: Any, wrapper: Any) -> None:
        """Add or replace a target's request; `apply` puts it into force."""
        requests, key = self._requests_like(target), id(target)

        def forget(ref: Any) -> None:
            if (request := requests.get(key)) is not None and request.target is ref:
                del requests[key]

        requests.pop(key, None)  # the latest request comes last
        requests[key] = PatchRequest(reference(target, forget), wrapper)
        patches[id(self.owner), self.name] = self

    def withdraw(self, target: Any) -> bool:
        """Remove a target's request; return whether there was one."""
        requests = self._requests_like(target)
        request = requests.get(id(target))
        if request is None or request.target() is not target:
            return False
        del requests[id(target)]
        return True

    def applies_to(self, thing: Any) -> bool:
        """Return whether calls on this object or class are monitored here."""
        return self.common_wrapper is not None or id(thing) in self.single

    def apply(self) -> None:
        """Install what follows from the requests.

        Raises:
            ConfigurationError: the class cannot be changed.
        """
        if namespace(self.owner).get(self.name, MISSING) is not self.installed:
            log.warning(
                "toolweaver_monitor: %s has been replaced since it was instrumented; the replacement is kept",
                f"{label(self.owner)}.{self.name}",
            )
            self._unregister()
            return
        self.common_wrapper = next((request.wrapper for request in reversed(self.whole.values())), None)
        if self.single:
            wanted: Any = self.installed if type(self.installed) is PatchDescriptor else PatchDescriptor(self)
        else:
            wanted = self.raw if self.common_wrapper is None else self.common_wrapper
        if wanted is not self.installed:
            _write(self.owner, self.name, wanted)
            self.installed = wanted
        if not self.whole and not self.single:
            self._unregister()

    def _requests_like(self, target: Any) -> dict[int, PatchRequest]:
        return self.whole if is_class(target) or is_module(target) else self.single

    def _unregister(self) -> None:
        if patches.get((id(self.owner), self.name)) is self:
            del patches[id(self.owner), self.name]


class PatchDescriptor:
    """Replaces a method in a class while single objects are monitored, and selects by the object."""

    __slots__ = ("patch",)

    def __init__(self, patch: Patch) -> None:
        self.patch = patch

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind the object's wrapper, the common wrapper or the original."""
        patch = self.patch
        request = patch.single.get(id(instance)) if instance is not None else None
        chosen = patch.common_wrapper if request is None else request.wrapper
        if chosen is None:
            chosen = patch.original
        if type(chosen) is types.FunctionType:
            return chosen if instance is None else types.MethodType(chosen, instance)
        bind = getattr(type(chosen), "__get__", None)
        return chosen if bind is None else bind(chosen, instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method, for code that takes it out of the class's namespace."""
        return self.__get__(None, self.patch.owner)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.patch.original, name)

    @property  # type: ignore[misc]  # it can be set elsewhere
    def __class__(self) -> Any:
        """The class of the original: `unittest.mock` and `pydoc` look at what a class's namespace holds."""
        return type(self.patch.original)


patches: dict[tuple[int, str], Patch] = {}
"""Every patch with a request, by the owner's id and the name. A class or module stays alive while it is listed here."""


def patch_for(owner: Any, name: str) -> Patch:
    """Return the patch of an attribute: a new one if there is none, or if its wrapper has been replaced (a reload)."""
    patch = patches.get((id(owner), name))
    if patch is not None and namespace(owner).get(name, MISSING) is patch.installed:
        return patch
    return Patch(owner, name)


def find_original(owner: Any, name: str) -> Any:
    """Return the attribute of a class or module as it is without patches, not bound; MISSING if there is none."""
    for each in mro_of(owner) if is_class(owner) else (owner,):
        raw = namespace(each).get(name, MISSING)
        patch = patches.get((id(each), name))
        if patch is not None and raw is patch.installed:
            raw = patch.raw
        if raw is not MISSING:
            return raw
    return MISSING


def _write(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, or delete it if `value` is MISSING, without calling the owner's own `__setattr__`."""
    if is_module(owner):
        vars(owner).pop(name, None) if value is MISSING else vars(owner).__setitem__(name, value)
        return
    try:
        type.__delattr__(owner, name) if value is MISSING else type.__setattr__(owner, name, value)
    except TypeError:
        raise ConfigurationError(
            f"{label(owner)} is made in C and cannot be changed", hint="subclass it in Python and instrument that"
        ) from None


def reference(target: Any, forget: Callable[[Any], None]) -> Callable[[], Any]:
    """Return a weak reference, or one that keeps the target alive if it does not support weak references."""
    try:
        return weakref.ref(target, forget)
    except TypeError:
        return lambda: target
