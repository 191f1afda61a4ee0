"""Look at types and objects without running their code.

Everything is read from the type: the object itself may lie, raise or sleep when it is asked.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
"""Return a type's real bases, past its metaclass."""
vars_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__
"""Return a type's own attributes, past its metaclass."""
name_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
"""Return a type's qualified name, past its metaclass."""

_flags_of = type.__dict__["__flags__"].__get__


def is_a(thing: Any, kinds: type | tuple[type, ...]) -> bool:
    """Return whether an object is of one of these types by its real class; `isinstance` would ask the object."""
    return issubclass(type(thing), kinds)


def is_below(kind: Any, base: Any) -> bool:
    """Return whether `kind` is a class that is `base` or derives from it."""
    return is_class(kind) and any(each is base for each in mro_of(kind))


def is_class(thing: Any) -> bool:
    """Return whether an object is a class by its real class."""
    return is_a(thing, type)


def is_module(thing: Any) -> bool:
    """Return whether an object is a module by its real class."""
    return is_a(thing, types.ModuleType)


def namespace(owner: Any) -> Any:
    """Return the attributes that are the owner's own, be it a class or another object."""
    return vars_of(owner) if is_class(owner) else vars(owner)


_OF_THE_INTERPRETER = (types.GetSetDescriptorType, types.MemberDescriptorType)


def own_namespace(thing: Any) -> dict[str, Any] | None:
    """Return an object's `__dict__`, or None if it has none, or one that its class makes. None of its code runs."""
    made = definer(type(thing), "__dict__")
    if made is not None and type(vars_of(made)["__dict__"]) not in _OF_THE_INTERPRETER:
        return None
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    return attributes if type(attributes) is dict else None


def can_be_changed(kind: Any) -> bool:
    """Return whether a class accepts new attributes: it is made in Python, or allows them."""
    flags = _flags_of(kind)
    return bool(flags & 1 << 9) and not flags & 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE


def definer(kind: Any, name: str) -> Any:
    """Return the class in whose namespace `kind` finds an attribute, or None if it has no such attribute."""
    return next((each for each in mro_of(kind) if name in vars_of(each)), None)


def label(thing: Any) -> str:
    """Return what a message calls a target: a class and a module by name, any other object by its class."""
    if is_class(thing):
        return name_of(thing)
    if is_module(thing):
        return str(vars(thing).get("__name__", "module"))
    return f"{label(type(thing))} object"
