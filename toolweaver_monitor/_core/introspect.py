"""What is an object really? Read from its type alone: the object itself may lie, raise or sleep when asked."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
"""A type's true bases: no metaclass is asked."""
vars_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__
"""A type's own attributes: no metaclass is asked."""
name_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
"""A type's own name: no metaclass is asked."""

_flags_of = type.__dict__["__flags__"].__get__


def is_a(thing: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether it is of one of these types, whatever it says of itself: `isinstance` would ask it."""
    return issubclass(type(thing), kinds)


def is_below(kind: Any, base: Any) -> bool:
    """Whether one is a class with the other among its bases, or the same."""
    return is_class(kind) and any(each is base for each in mro_of(kind))


def is_class(thing: Any) -> bool:
    """Whether it is a class, whatever it says of itself."""
    return is_a(thing, type)


def is_module(thing: Any) -> bool:
    """Whether it is a module, whatever it says of itself."""
    return is_a(thing, types.ModuleType)


def namespace(owner: Any) -> Any:
    """The attributes that are the owner's own."""
    return vars_of(owner) if is_class(owner) else vars(owner)


def own_namespace(thing: Any) -> dict[str, Any] | None:
    """An object's `__dict__`, or None where it has none; no code of its class runs."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def can_be_changed(kind: Any) -> bool:
    """Whether a class takes new attributes: it is one made in Python, or allows it."""
    flags = _flags_of(kind)
    return bool(flags & 1 << 9) and not flags & 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE


def definer(kind: Any, name: str) -> Any:
    """The class in whose namespace a class finds an attribute; None where it has none."""
    return next((each for each in mro_of(kind) if name in vars_of(each)), None)


def label(thing: Any) -> str:
    """What a target is called in a message."""
    if is_class(thing):
        return name_of(thing)
    if is_module(thing):
        return str(vars(thing).get("__name__", "module"))
    return f"{label(type(thing))} object"
