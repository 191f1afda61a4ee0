"""The fields of an object, read without running any code of its class.

A result can be anything: its properties may raise, sleep or lie, and so may the `__getattribute__` of its class.
Therefore the object itself is never accessed. Its fields are taken from the dictionary or the slots in which the
interpreter stores them, through descriptors that are implemented in C. Which descriptors apply is determined once per
type.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType
from typing import Any, cast

from toolweaver_monitor._core.introspect import mro_of, vars_of
from toolweaver_monitor._core.sanitize import Diagnostics, plain_number, token_count

Fields = dict[str, Any]
"""Fields by name: an exact dict, or an instance of a subclass that is only accessed through `dict.get`."""
Accessor = Callable[[Any], Fields | None]

get_field: Callable[..., Any] = dict.get

MAX_CACHED_TYPES = 4_096

_accessors: dict[type, Accessor] = {}


def read_fields(thing: object) -> Fields | None:
    """Return the fields of `thing` by name, or None if it has none. Look one up with `get_field(fields, name)`."""
    kind = type(thing)
    if kind is dict:
        return cast(Fields, thing)
    accessor = _accessors.get(kind)
    if accessor is None:
        if len(_accessors) >= MAX_CACHED_TYPES:  # a program may create classes at run time without end
            _accessors.clear()
        accessor = _accessors[kind] = _make_accessor(kind)
    return accessor(thing)


def has_none_of(fields: Fields, names: frozenset[str]) -> bool:
    """Return whether it is known, in one step, that there is no field of these names."""
    return type(fields) is dict and names.isdisjoint({*fields})  # a set of a dict calls no key's __hash__


def read_first_fields(fields: Fields, *names: str) -> Fields:
    """Return the fields of the first named value that has any, or an empty dict."""
    for name in names:
        value = get_field(fields, name)
        if value is not None and (inner := read_fields(value)) is not None:
            return inner
    return {}


def read_count(fields: Fields, name: str) -> int | None:
    """Return a token count, or None if there is none. A number or text that is no count is counted as invalid."""
    value = get_field(fields, name)
    kind = type(value)
    if kind is int or kind is float:
        return token_count(value)
    if value is None:
        return None
    if kind is bool or kind is str:
        Diagnostics.invalid_values += 1
        return None
    return None if plain_number(value) is None else token_count(value)


def read_first_count(fields: Fields, *names: str) -> int | None:
    """Return the first of these counts that is reported, or None."""
    for name in names:
        count = read_count(fields, name)
        if count is not None:
            return count
    return None


def read_positive_count(fields: Fields, *names: str) -> int:
    """Return the first of these counts that is not 0, or 0."""
    for name in names:
        count = read_count(fields, name)
        if count:
            return count
    return 0


def _make_accessor(kind: type) -> Accessor:
    bases = mro_of(kind)
    if dict in bases:
        return _copy_items if any(map(_answers_in_python, bases)) else _return_itself
    if str in bases or int in bases or float in bases:
        return _return_none
    slots = {}
    instance_dict = None
    for base in reversed(bases):
        for name, member in vars_of(base).items():
            if name == "__dict__" and type(member) in (GetSetDescriptorType, MemberDescriptorType):
                instance_dict = member  # a member only of a SimpleNamespace
            elif type(member) is MemberDescriptorType:
                slots[name] = member
    if instance_dict is None:
        return _slots_accessor(slots) if slots else _return_none
    extra = slots.pop("__pydantic_extra__", None)  # fields that the SDK's model received but does not declare
    private = slots.pop("__pydantic_private__", None)
    if extra is None and private is None:
        return _dict_accessor(instance_dict)
    return _pydantic_accessor(instance_dict, [slot for slot in (extra, private) if slot is not None])


def _answers_in_python(base: type) -> bool:
    """Return whether code of a class would run where its dicts are asked for their length, truth or keys."""
    answers = map(vars_of(base).get, ("__bool__", "__iter__", "__len__"))
    return any(answer is not None and type(answer) is not WrapperDescriptorType for answer in answers)


def _return_itself(thing: Any) -> Fields | None:
    return cast(Fields, thing)


def _copy_items(thing: Any) -> Fields | None:
    return dict(dict.items(thing))  # dict.copy would ask a subclass for its keys


def _return_none(_: Any) -> Fields | None:
    return None


def _dict_accessor(instance_dict: GetSetDescriptorType) -> Accessor:
    def access(thing: Any) -> Fields | None:
        fields = instance_dict.__get__(thing)
        return fields if type(fields) is dict else None

    return access


def _slots_accessor(slots: dict[str, MemberDescriptorType]) -> Accessor:
    def access(thing: Any) -> Fields | None:
        fields = {}
        for name, slot in slots.items():
            try:
                fields[name] = slot.__get__(thing)
            except AttributeError:  # an empty slot
                pass
        return fields

    return access


def _pydantic_accessor(instance_dict: GetSetDescriptorType, extra_slots: list[MemberDescriptorType]) -> Accessor:
    def access(thing: Any) -> Fields | None:
        fields: Fields = instance_dict.__get__(thing)
        if type(fields) is not dict:
            return None
        extra = get_field(fields, "__pydantic_extra__")  # Mistral's SDK keeps it there
        if type(extra) is dict:
            fields = {**extra, **fields}
        for slot in extra_slots:
            try:
                extra = slot.__get__(thing)
            except AttributeError:  # an empty slot
                continue
            if type(extra) is dict and extra:
                fields = {**extra, **fields}
        return fields

    return access
