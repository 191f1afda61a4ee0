"""What the table of frameworks knows about a target: its row, the objects inside it, and how its results are read."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._core.introspect import (
    is_a,
    is_class,
    is_module,
    label,
    mro_of,
    name_of,
    own_namespace,
    vars_of,
)
from toolweaver_monitor._instrument.patching.frameworks import PACKAGES, TABLE, KnownClass
from toolweaver_monitor._instrument.patching.targets import safe_getattr
from toolweaver_monitor._usage import Usage, get_field, read_fields, reader_for

SEARCH_DEPTH = 8
SEARCH_OBJECTS = 5_000
"""How much of an agent is searched for its tools."""

MAX_JSON_CHARS = 65_536

_by_name: dict[str, list[KnownClass]] = {}
for _row in TABLE:
    _by_name.setdefault(_row.path.partition(":")[2], []).append(_row)
_by_end: list[tuple[str, KnownClass]] = [
    (name[1:], row) for name, rows in _by_name.items() if name.startswith("*") for row in rows
]


class Part(NamedTuple):
    """An object to patch, and its row."""

    target: Any
    row: KnownClass


def package_of(kind: Any) -> str:
    """Return the package of a class: its first name, and of Google's the first two."""
    home = vars_of(kind).get("__module__")
    if type(home) is not str:
        return ""
    names = home.split(".")
    return ".".join(names[: 2 if names[0] == "google" else 1])


def row_of(target: Any) -> KnownClass | None:
    """Return the row of an object, class or module: that of the first of its bases that has one."""
    if is_module(target):
        return next((row for row in TABLE if row.path == f"{label(target)}:"), None)
    for kind in mro_of(target if is_class(target) else type(target)):
        name = name_of(kind)
        rows = [*_by_name.get(name, []), *(row for end, row in _by_end if name.endswith(end))]
        for row in rows:
            if row.path.startswith((f"{package_of(kind)}.", f"{package_of(kind)}:")):
                return row
    return None


def belongs_to_framework(target: Any) -> bool:
    """Return whether an object, or a base of its class, is from one of the packages of the table."""
    return any(package_of(kind) in PACKAGES for kind in mro_of(type(target)))


def parts_of(target: Any) -> list[Part]:
    """Return the target itself if it has a row, and the objects with rows that it holds.

    Looks at stored fields only, and only into containers, objects of known packages, and what functions of these have
    closed over. An object with a row is searched only if the row says so: what a tool calls would be counted twice.

    Raises:
        ConfigurationError: a class that is to be monitored in the place of the target has not been imported.
    """
    row = row_of(target)
    found = [] if row is None else _own_parts(target, row)
    if is_class(target) or is_module(target) or not (row.holds if row is not None else belongs_to_framework(target)):
        return found
    seen: dict[int, Any] = {id(target): target}  # keeps what is looked at alive, so that no id is used twice
    level = [target]
    for _ in range(SEARCH_DEPTH):
        following = []
        for thing in level:
            for value in _values_in(thing):
                if id(value) in seen or len(seen) >= SEARCH_OBJECTS:
                    continue
                seen[id(value)] = value
                row = None if is_class(value) or is_module(value) else row_of(value)
                if row is not None:
                    found += _own_parts(value, row)
                if row is None or row.holds:
                    following.append(value)
        level = following
    return list({id(part.target): part for part in found}.values())


def _own_parts(target: Any, row: KnownClass) -> list[Part]:
    """Return what is patched for an object with a row: itself, or the classes that the row names."""
    parts = [Part(target, row)] if row.methods else []
    for path in row.classes:
        module, _, name = path.partition(":")
        kind = vars(sys.modules[module]).get(name) if module in sys.modules else None
        if is_class(kind) and (known := row_of(kind)) is not None:
            parts.append(Part(kind, known))
    return parts


def _values_in(thing: Any) -> Iterator[Any]:
    """Yield what a container, a framework's object or a framework's function holds."""
    kind = type(thing)
    if issubclass(kind, dict):
        yield from list(dict.values(thing))
    elif issubclass(kind, list | tuple | set | frozenset):
        yield from list(thing)
    elif kind is types.FunctionType:
        if str(thing.__module__).split(".")[0] in PACKAGES:
            for cell in thing.__closure__ or ():
                try:
                    yield cell.cell_contents
                except ValueError:  # still empty
                    continue
    elif not is_class(thing) and belongs_to_framework(thing):
        yield from list((read_fields(thing) or {}).values())
    elif kind is types.MethodType:
        yield thing.__self__


def find_method(target: Any, ways: str) -> tuple[Any, str] | None:
    """Return the object that holds the first of these methods, and the method's name there; None if there is none.

    Args:
        target: an object or a class.
        ways: names separated by `|`. Before a dot stands the attribute in which the object is.
    """
    for way in ways.split("|"):
        *attributes, name = way.split(".")
        owner = target
        for attribute in attributes:
            owner = None if is_class(owner) else safe_getattr(owner, attribute)
        if owner is not None and _has(owner, name):
            return owner, name
    return None


def _has(owner: Any, name: str) -> bool:
    """Return whether a class or an object has an attribute, without running code of its own."""
    if is_module(owner):
        return name in vars(owner)
    kinds = mro_of(owner if is_class(owner) else type(owner))
    return any(name in vars_of(kind) for kind in kinds) or (
        not is_class(owner) and name in (own_namespace(owner) or ())
    )


def result_reader(row: KnownClass, usage: Any = None) -> Any:
    """Return the reader for the results of a class's methods, for `ToolSpec.usage`; None if they are read as usual.

    Args:
        row: what is known about the class.
        usage: the user's own `usage=`, which takes the place of what the row says about figures.
    """
    if not (row.usage or row.failed or row.is_model):
        return usage
    paths = tuple(tuple(filter(None, path.split("."))) for path in row.usage)
    errors = tuple(tuple(path.split(".")) for path in row.error)
    tests = tuple((field, value or True) for field, _, value in (test.partition("=") for test in row.failed))

    def read(result: Any) -> Usage | None:
        call = current_call()
        if tests and call.error_type is None:
            fields = read_fields(result)
            if fields is not None and any(_is(get_field(fields, field), value) for field, value in tests):
                texts = (_value_at(result, path) for path in errors)
                call.fail(next((text for text in texts if type(text) is str), "the tool told an error"))
        if usage is not None:
            return Usage() if usage is False else usage(result)
        inside = None if call._details is None else call._details.inside
        if not bus.policy.read_results or (inside is not None and inside.results):
            return Usage()  # what a call inside has read is not read again; None would have the result itself read
        if not paths:
            return None
        found = next(filter(None, (_figures(_value_at(result, path), row) for path in paths)), None)
        if row.is_model and (found is None or found.model is None):
            told = (_value_at(result, (field,)) for field in ("model_version", "model"))
            model = next((text for text in told if type(text) is str), call.tool_name)
            found = msgspec.structs.replace(found or Usage(), model=model)
        return found or Usage()

    return read


def _is(found: Any, wanted: str | bool) -> bool:
    """Return whether a field is this text or truth value, without running code of its class."""
    return found is True if wanted is True else is_a(found, str) and str.__eq__(found, wanted)


def _value_at(result: Any, path: tuple[str, ...]) -> Any:
    """Return what stands at a path of stored fields; a number is the index of an element."""
    value = result
    for field in path:
        if is_a(value, (list, tuple)):
            index = int(field) if field.isdecimal() else 0
            value = value[index] if index < len(value) else None
        else:
            fields = read_fields(value)
            value = None if fields is None else get_field(fields, field)
    return value


def _figures(value: Any, row: KnownClass) -> Usage | None:
    """Return the figures in a value: a known result, a mapping, or its JSON; for a model also the usage alone."""
    if type(value) is str:
        if not value.startswith("{") or len(value) > MAX_JSON_CHARS:
            return None
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return None
    if value is None:
        return None
    reader = reader_for(type(value))
    usage = None if reader is None else reader(value)
    if usage is None and row.is_model and read_fields(value) is not None:
        usage = reader_for(dict)({"usage": value})  # type: ignore[misc]  # dicts have a reader
    return usage


def name_of_target(target: Any, paths: str) -> str | None:
    """Return the name that an object's own fields give, by the paths of a row that begin at `self`."""
    for path in paths.split("|"):
        root, *fields = path.split(".")
        value = target if root == "self" else None
        for field in fields:
            value = safe_getattr(value, field)
        if is_a(value, str) and value:
            return str(value)
    return None
