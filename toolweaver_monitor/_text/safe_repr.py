"""Turn values and exceptions into safe text.

Values are shown without running any code of theirs: those of the exact built-in types as `repr` shows them, any other
by the name of its class. A `__repr__` may raise, sleep, or show what its author did not mean for a log. An exception
is shown as `str()` shows it, since that text is meant to be read; what its `__str__` raises is kept from the caller.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, cast

from toolweaver_monitor._text.display import escape
from toolweaver_monitor._text.names import safe_name
from toolweaver_monitor._text.redact import AHEAD, MASK, UNSCRUBBABLE, is_secret_name, scrub
from toolweaver_monitor.errors import ToolweaverMonitorError

MAX_LEVELS = 5
MAX_ITEMS = 10

ErrorTextSource = Literal["str", "args"]
"""Where the text of an exception comes from: `str(error)`, or its arguments alone."""

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


def capture_value(value: object, limit: int = 1024) -> str:
    """Scrubbed text of a value: text as it is, anything else as `repr` would show it."""
    try:
        room = limit + AHEAD
        return scrub(value[:room] if type(value) is str else render(value, room), limit)
    except Exception:  # noqa: BLE001 - what cannot be shown safely is not shown
        return UNSCRUBBABLE


def capture_arguments(
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
        parts = [render(value, room) for value in args[len(parameters) :][:MAX_ITEMS]]
        parts += [f"{name}={_value_of(name, value, room, MAX_LEVELS)}" for name, value in named[: 2 * MAX_ITEMS]]
        return scrub(", ".join(parts), limit)
    except Exception:  # noqa: BLE001 - as above
        return UNSCRUBBABLE


def render(value: Any, room: int, depth: int = MAX_LEVELS) -> str:
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
        items = (f"{render(k, room, 1)}: {_value_of(k, v, room, depth - 1)}" for k, v in value.items())
        return _enclosed("{", items, len(value), "}", depth)
    if kind in _BRACKETS:
        opening, closing = _BRACKETS[kind]
        return _enclosed(opening, (render(item, room, depth - 1) for item in value), len(value), closing, depth)
    return f"<{class_name(kind)}>"


def _value_of(name: object, value: object, room: int, depth: int) -> str:
    """What goes by a secret's name is not shown; a number is, for `max_tokens` and its like are no secrets."""
    if type(name) is str and type(value) not in _NUMBERS and is_secret_name(name):
        return MASK
    return render(value, room, depth)


def _enclosed(opening: str, items: Iterable[str], count: int, closing: str, depth: int) -> str:
    if depth <= 0:
        return f"{opening}...{closing}"
    shown = list(islice(items, MAX_ITEMS))
    more = [f"... {count - len(shown)} more"] if count > len(shown) else []
    return opening + ", ".join([*shown, *more]) + closing


# --- exceptions -----------------------------------------------------------------------------------------------------


def error_text(error: BaseException, limit: int = 256 + AHEAD, source: ErrorTextSource = "str") -> str:
    """Return the text of an exception, cut to `limit` but not scrubbed, or `<ClassName>` if making it fails.

    Notes, causes and the members of a group are not part of it.

    Args:
        error: any exception. A `__str__` that takes long delays the caller; whatever it raises but KeyboardInterrupt
            stays here.
        limit: the most characters to return.
        source: `"str"` returns what `str(error)` does. `"args"` runs no code of the exception: it shows the arguments,
            or only the class's name if the class, or a base outside the standard library, defines `__str__`.
    """
    try:
        return str.__str__(str(error))[:limit] if source == "str" else _text_of_args(error, limit)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - `__str__` is foreign code, and may raise or return anything
        return f"<{type_name(error)}>"


def fault_text(error: BaseException, limit: int = 512) -> str:
    """Return an error's text for `health()` and the log: one line without secrets, or its class's name if empty."""
    return escape(scrub(error_text(error, limit + AHEAD), limit)) or type_name(error)


def hint_text(error: BaseException, limit: int = 512) -> str:
    """Return the hint of one of this library's errors, on one line and without secrets; empty if it has none."""
    hint = _attributes_of(error).get("hint") if issubclass(type(error), ToolweaverMonitorError) else None
    return escape(scrub(hint, limit)) if type(hint) is str else ""


def _text_of_args(error: BaseException, limit: int) -> str:
    owner = _str_owner(type(error))
    if owner is not BaseException and not _is_stdlib(owner):
        return f"<{type_name(error)}>"
    args = _args_of(error)
    if len(args) == 1 and issubclass(type(args[0]), str) and owner is not KeyError:
        return str.__str__(args[0])[:limit]
    if not args:
        return ""
    return render(args if len(args) > 1 else args[0], limit)[:limit]


def _str_owner(kind: type) -> type:
    """Return the class whose `__str__` exceptions of this kind use."""
    for base in _ancestors_of(kind):  # not a generator: a Ctrl-C that strikes while one is closed is lost
        if "__str__" in _namespace_of(base):
            return cast("type", base)
    return BaseException


def _is_stdlib(kind: type) -> bool:
    """Return whether this very class is the one that a module of the standard library has under its name."""
    module = _module_of(kind)
    if type(module) is not str or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    return getattr(sys.modules.get(module), _name_of(kind), None) is kind
