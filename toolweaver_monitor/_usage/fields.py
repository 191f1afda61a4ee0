"""How are the fields of an object read without running any code of its class?

A result may be anything: its properties may raise, sleep or lie, and so may its class's `__getattribute__`. So nothing
is asked of the object. Its fields are taken out of the dictionary or the slots in which the interpreter keeps them,
through descriptors that C code put there. Which these are is found out once a type.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, cast

from toolweaver_monitor._core.introspect import mro_of, vars_of

Fields = dict[str, Any]
"""Fields by name: an exact dict, or a subclass that is only ever asked through `dict.get`."""

get_field: Callable[..., Any] = dict.get

MAX_CACHED_TYPES = 4_096

_ways: dict[type, Callable[[Any], Fields | None]] = {}


def read_fields(thing: object) -> Fields | None:
    """The fields of `thing` by name, or None if it keeps none. Look into it with `get_field(view, name)`."""
    kind = type(thing)
    if kind is dict:
        return cast(Fields, thing)
    way = _ways.get(kind)
    if way is None:
        if len(_ways) >= MAX_CACHED_TYPES:  # classes made at run time, without end
            _ways.clear()
        way = _ways[kind] = _way(kind)
    return way(thing)


def _way(kind: type) -> Callable[[Any], Fields | None]:
    bases = mro_of(kind)
    if dict in bases:
        return _itself
    if str in bases or int in bases or float in bases:
        return _nothing
    slots = {}
    fields = None
    for base in reversed(bases):
        for name, member in vars_of(base).items():
            if type(member) is MemberDescriptorType:
                slots[name] = member
            elif name == "__dict__" and type(member) is GetSetDescriptorType:
                fields = member
    if fields is None:
        return _in_slots(slots) if slots else _nothing
    extra = slots.pop("__pydantic_extra__", None)  # fields that an SDK's model got but does not know
    private = slots.pop("__pydantic_private__", None)
    if extra is None and private is None:
        return _in_dict(fields)
    return _in_pydantic(fields, extra, private)


def _itself(thing: Any) -> Fields | None:
    return cast(Fields, thing)


def _nothing(_: Any) -> Fields | None:
    return None


def _in_dict(fields: GetSetDescriptorType) -> Callable[[Any], Fields | None]:
    def look(thing: Any) -> Fields | None:
        found = fields.__get__(thing)
        return found if type(found) is dict else None

    return look


def _in_slots(slots: dict[str, MemberDescriptorType]) -> Callable[[Any], Fields | None]:
    def look(thing: Any) -> Fields | None:
        found = {}
        for name, slot in slots.items():
            try:
                found[name] = slot.__get__(thing)
            except AttributeError:  # a slot that holds nothing
                pass
        return found

    return look


def _in_pydantic(
    fields: GetSetDescriptorType, extra: MemberDescriptorType | None, private: MemberDescriptorType | None
) -> Callable[[Any], Fields | None]:
    def look(thing: Any) -> Fields | None:
        found: Fields = fields.__get__(thing)
        if type(found) is not dict:
            return None
        more = get_field(found, "__pydantic_extra__")  # Mistral's SDK keeps it there
        if type(more) is dict:
            found = {**more, **found}
        for slot in (extra, private):
            if slot is not None:
                try:
                    more = slot.__get__(thing)
                except AttributeError:
                    continue
                if type(more) is dict and more:
                    found = {**more, **found}
        return found

    return look
