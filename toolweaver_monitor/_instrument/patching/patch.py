"""What stands at an attribute while it is watched, and how is it put back just as it was?

A `Place` is one attribute of a class or a module. Whoever asks for it to be watched lays a claim (the module it stands
in, its class, one object of that class), and what stands there follows from the claims alone: undone in any order, the
attribute is at last the very object that it was, or absent again.

To watch one object, nothing is written into it: objects with slots, frozen ones and copies of it stay as they are. Its
class gets a `PatchDescriptor`, which gives the watched form to that object and the original to every other.
"""

from __future__ import annotations

import logging
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from toolweaver_monitor._core.introspect import definer, is_below, is_class, is_module, label, mro_of, namespace
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

MISSING: Any = object()
"""Stands for what was not there: inherited, or given by `__getattr__`."""


class WrappedPair(NamedTuple):
    """A watched callable."""

    watched: Any
    from_override: Any
    """The same for a call by `super()`, where the override above may have been watched already."""


class PatchRequest(NamedTuple):
    """Someone's wish that a place be watched."""

    target: Callable[[], Any]
    """Gives who asked for it, or None once it is gone."""
    form: WrappedPair


class Place:
    """One attribute of a class or module, and what it was."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name
        self.raw = namespace(owner).get(name, MISSING)
        self.original = self.raw if self.raw is not MISSING else original(owner, name)
        self.standing = self.raw
        self.whole: dict[int, PatchRequest] = {}
        self.single: dict[int, PatchRequest] = {}
        self.everyones: WrappedPair | None = None
        """What stands for whoever has no claim of its own: the form that was asked for last."""
        self.past_override = False
        """Whether a subclass has a place of this name, too, so that `super()` may lead from one to the other."""

    def claim(self, target: Any, form: WrappedPair) -> None:
        """Have this place watched for a target: its owner or the module it stands in; else one object of the class."""
        claims = self.whole if is_class(target) or is_module(target) else self.single
        key = id(target)
        claims.pop(key, None)

        def gone(ref: Any) -> None:
            if (claim := claims.get(key)) is not None and claim.target is ref:
                del claims[key]

        claims[key] = PatchRequest(reference(target, gone), form)

    def release(self, target: Any) -> bool:
        """Take a target's claim back; says whether there was one."""
        found = False
        for claims in (self.whole, self.single):
            claim = claims.get(id(target))
            if claim is not None and claim.target() is target:
                del claims[id(target)]
                found = True
        return found

    def settle(self) -> None:
        """Let stand what follows from the claims.

        Raises:
            ConfigurationError: the class is not one that can be changed.
        """
        if namespace(self.owner).get(self.name, MISSING) is not self.standing:
            log.warning(
                "toolweaver_monitor: %s has been replaced since it was instrumented, and stays as it is now",
                f"{label(self.owner)}.{self.name}",
            )
            forget(self)
            return
        claims = list(self.whole.values())
        self.everyones = claims[-1].form if claims else None
        self.past_override = self.everyones is not None and any(
            other is not self and other.name == self.name and is_below(other.owner, self.owner)
            for other in list(places.values())
        )
        if self.single or self.past_override:
            wanted: Any = self.standing if type(self.standing) is PatchDescriptor else PatchDescriptor(self)
        else:
            wanted = self.raw if self.everyones is None else self.everyones.watched
        if wanted is not self.standing:
            write(self.owner, self.name, wanted)
            self.standing = wanted
        if not self.whole and not self.single:
            forget(self)


class PatchDescriptor:
    """Stands in a class for a method of which not all calls are watched alike, and picks by the object."""

    __slots__ = ("place",)

    def __init__(self, place: Place) -> None:
        self.place = place

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        place = self.place
        claim = place.single.get(id(instance)) if instance is not None else None
        form = place.everyones if claim is None else claim.form
        if form is None:
            chosen = place.original
        elif place.past_override and (instance is None or definer(type(instance), place.name) is not place.owner):
            chosen = form.from_override  # by `super()`, or by the name of its class as was done before there was one
        else:
            chosen = form.watched
        if type(chosen) is types.FunctionType:
            return chosen if instance is None else types.MethodType(chosen, instance)
        bind = getattr(type(chosen), "__get__", None)
        return chosen if bind is None else bind(chosen, instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the method itself, for whoever takes it out of the class's namespace."""
        return self.__get__(None, self.place.owner)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place.original, name)

    @property  # type: ignore[misc]  # it can be set elsewhere
    def __class__(self) -> Any:
        """Passes for what it stands for: `unittest.mock` and `pydoc` look at what lies in a class's namespace."""
        return type(self.place.original)


places: dict[tuple[int, str], Place] = {}
"""Every place with a claim, by its owner's id. A class or module lives on while it is here."""


def place_of(owner: Any, name: str) -> Place:
    """The place of that name, a new one if there is none or if what it put there has been replaced (a reload)."""
    place = places.get((id(owner), name))
    if place is not None and namespace(owner).get(name, MISSING) is place.standing:
        return place
    return Place(owner, name)


def remember(place: Place) -> None:
    """List a place that has a claim now."""
    places[id(place.owner), place.name] = place


def forget(place: Place) -> None:
    """Drop a place from the list."""
    if places.get((id(place.owner), place.name)) is place:
        del places[id(place.owner), place.name]


def settle_bases(place: Place) -> None:
    """Let the places of the same name further up follow, as `super()` may or may not lead to them any more."""
    if is_class(place.owner):
        for other in list(places.values()):
            if other is not place and other.name == place.name and is_below(place.owner, other.owner):
                other.settle()


def original(kind: Any, name: str) -> Any:
    """What an attribute of a class or module is with nothing watched, not bound; MISSING where there is none."""
    for each in mro_of(kind) if is_class(kind) else (kind,):
        raw = namespace(each).get(name, MISSING)
        place = places.get((id(each), name))
        if place is not None and raw is place.standing:
            raw = place.raw
        if raw is not MISSING:
            return raw
    return MISSING


def write(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, or delete it where `value` is MISSING; no `__setattr__` of the owner's is asked.

    Raises:
        ConfigurationError: it is a class that cannot be changed.
    """
    if is_module(owner):
        vars(owner).pop(name, None) if value is MISSING else vars(owner).__setitem__(name, value)
        return
    try:
        type.__delattr__(owner, name) if value is MISSING else type.__setattr__(owner, name, value)
    except TypeError:
        raise ConfigurationError(
            f"{label(owner)} is made in C and cannot be changed; subclass it in Python and instrument that"
        ) from None


def reference(thing: Any, gone: Callable[[Any], None]) -> Callable[[], Any]:
    """A weak reference where there can be one; else the thing lives on until it is uninstrumented."""
    try:
        return weakref.ref(thing, gone)
    except TypeError:
        return lambda: thing


def claimed_by(target: Any) -> Iterator[Place]:
    """The places that a target has a claim on."""
    for place in list(places.values()):
        for claims in (place.whole, place.single):
            claim = claims.get(id(target))
            if claim is not None and claim.target() is target:
                yield place
                break
