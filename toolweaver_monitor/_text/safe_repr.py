"""How does a value or an exception become text without running any code of its own?

Only values of the exact built-in types are shown. Any other is shown by the name of its class: its `__str__` and
`__repr__` may raise, sleep, or show what its author did not mean for a log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MemberDescriptorType
from typing import Any, cast

from toolweaver_monitor._text.display import visible
from toolweaver_monitor._text.names import safe_name
from toolweaver_monitor._text.redact import AHEAD, MASK, UNSCRUBBABLE, is_secret_name, scrub

MAX_DEPTH = 5
MAX_BREADTH = 10
MAX_PRINTED = 2**16
MAX_PRINTED_ITEMS = 256
"""What an exception holds beyond these is not printed at all: `str()` would print all of it before we could cut."""

_NUMBERS = (int, float, bool, complex, type(None))
_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}

# What a class or an exception says of itself can be a lie; these look past it.
_name_of = type.__dict__["__name__"].__get__
_module_of = type.__dict__["__module__"].__get__
_ancestors_of = type.__dict__["__mro__"].__get__
_namespace_of = type.__dict__["__dict__"].__get__
_args_of = BaseException.__dict__["args"].__get__
_attributes_of = BaseException.__dict__["__dict__"].__get__


def class_name(kind: type) -> str:
    """The name of a class, made safe."""
    return safe_name(_name_of(kind))


def type_name(error: BaseException) -> str:
    """The name of an exception's class, made safe."""
    return class_name(type(error))


def captured(value: object, limit: int = 1024) -> str:
    """Scrubbed text of a value: text as it is, anything else as `repr` would show it."""
    try:
        room = limit + AHEAD
        return scrub(value[:room] if type(value) is str else rendered(value, room), limit)
    except Exception:  # noqa: BLE001 - what cannot be shown safely is not shown
        return UNSCRUBBABLE


def captured_arguments(
    args: Sequence[object], kwargs: Mapping[str, object], parameters: Sequence[str] = (), limit: int = 1024
) -> str:
    """Scrubbed text of a call's arguments.

    Args:
        args: the positional ones.
        kwargs: those given by keyword.
        parameters: the names of the positional ones as far as they are known: a password is hidden by its name, too.
        limit: the most characters to give back.
    """
    try:
        room = limit + AHEAD
        named = (*zip(parameters, args, strict=False), *kwargs.items())
        parts = [rendered(value, room) for value in args[len(parameters) :][:MAX_BREADTH]]
        parts += [f"{name}={_value_of(name, value, room, MAX_DEPTH)}" for name, value in named[: 2 * MAX_BREADTH]]
        return scrub(", ".join(parts), limit)
    except Exception:  # noqa: BLE001 - as above
        return UNSCRUBBABLE


def rendered(value: Any, room: int, depth: int = MAX_DEPTH) -> str:
    """A value of the language's own exact types as `repr` would show it, any other by the name of its class.

    Not scrubbed yet, but for what goes by the name of a secret in a dict.

    Args:
        value: anything.
        room: how many characters of a text are of use.
        depth: how many levels of containers to look into; of each at most ten items are shown.
    """
    kind = type(value)
    if issubclass(kind, str):
        return repr(str.__str__(value)[:room])
    if kind in _NUMBERS:
        return "<int>" if kind is int and value.bit_length() > 4_096 else repr(value)
    if kind in (bytes, bytearray):
        return f"<{len(value)} bytes>"
    if kind is dict:
        items = (f"{rendered(k, room, 1)}: {_value_of(k, v, room, depth - 1)}" for k, v in value.items())
        return _enclosed("{", items, len(value), "}", depth)
    if kind in _BRACKETS:
        opening, closing = _BRACKETS[kind]
        return _enclosed(opening, (rendered(item, room, depth - 1) for item in value), len(value), closing, depth)
    return f"<{class_name(kind)}>"


def _value_of(name: object, value: object, room: int, depth: int) -> str:
    """What goes by a secret's name is not shown; a number is, for `max_tokens` and its like are no secrets."""
    if type(name) is str and type(value) not in _NUMBERS and is_secret_name(name):
        return MASK
    return rendered(value, room, depth)


def _enclosed(opening: str, items: Iterable[str], count: int, closing: str, depth: int) -> str:
    if depth <= 0:
        return f"{opening}...{closing}"
    shown = list(islice(items, MAX_BREADTH))
    more = [f"... {count - len(shown)} more"] if count > len(shown) else []
    return opening + ", ".join([*shown, *more]) + closing


# --- exceptions -----------------------------------------------------------------------------------------------------


def error_text(error: BaseException, limit: int = 256 + AHEAD) -> str:
    """About what `str(error)` says, not scrubbed yet; `<Name>` for a class that says it in a way of its own.

    Notes, causes and the members of a group are no part of it.
    """
    try:
        speaker = _speaker(type(error))
        if speaker is BaseException or speaker is KeyError:
            return _from_args(_args_of(error), limit, quoted=speaker is KeyError)
        if _is_stdlibs(speaker) and _prints_plainly(error):
            return str.__str__(speaker.__str__(error))[:limit]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001, S110 - whatever went wrong, its name is all there is to say
        pass
    return f"<{type_name(error)}>"


def fault_text(error: BaseException, limit: int = 512) -> str:
    """An error for `health()` and for the log: on one line, without secrets; by its name where it has no text."""
    return visible(scrub(error_text(error, limit + AHEAD), limit)) or type_name(error)


def _speaker(kind: type) -> type[BaseException]:
    """The class whose `__str__` speaks for exceptions of this kind."""
    for base in _ancestors_of(kind):  # no generator: a Ctrl-C that strikes while one is closed is lost
        if "__str__" in _namespace_of(base):
            return cast("type[BaseException]", base)
    return BaseException


def _from_args(args: tuple[object, ...], limit: int, *, quoted: bool) -> str:
    if not args:
        return ""
    if len(args) > 1:
        return rendered(args, limit)[:limit]
    first = args[0]
    if issubclass(type(first), str) and not quoted:
        return str.__str__(first)[:limit]
    return rendered(first, limit)[:limit]


def _is_stdlibs(kind: type) -> bool:
    """Whether this very class stands in a module of the standard library, whatever it says of itself."""
    module = _module_of(kind)
    if type(module) is not str or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    return getattr(sys.modules.get(module), _name_of(kind), None) is kind


def _prints_plainly(error: BaseException) -> bool:
    """Whether all that its `__str__` could print is plain: its arguments, its attributes, its fields in C."""
    values = [_args_of(error), _attributes_of(error)]
    for base in _ancestors_of(type(error)):
        if base not in (object, BaseException, BaseExceptionGroup):  # of a group only the message is printed
            values += [d.__get__(error) for d in _namespace_of(base).values() if type(d) is MemberDescriptorType]
    if isinstance(error, BaseExceptionGroup):
        values = [_args_of(error)[0]]
    return all(map(_is_plain, values))


def _is_plain(value: Any, depth: int = 3) -> bool:
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return len(value) <= MAX_PRINTED
    if kind is dict or kind in _BRACKETS:
        items = [*value, *value.values()] if kind is dict else value
        return depth > 0 and len(value) <= MAX_PRINTED_ITEMS and all(_is_plain(item, depth - 1) for item in items)
    return kind in _NUMBERS or _is_stdlibs(kind)
