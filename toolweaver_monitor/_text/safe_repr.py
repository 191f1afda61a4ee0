"""Safe text of values and exceptions.

Values are shown without running their code: those of the exact built-in types as `repr` shows them, all others by the
name of their class. A `__repr__` may raise, sleep, or show what its author did not mean for a log. An exception is
shown as `str()` shows it, since that text is meant to be read; what its `__str__` raises does not reach the caller.
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
MAX_CAPTURED_CHARS = 1_024
MAX_FAULT_CHARS = 512

ErrorTextSource = Literal["str", "args"]
"""The source of an exception's text: `str(error)`, or its arguments alone."""

_NUMBERS = (int, float, bool, complex, type(None))
_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}

# A class or an exception can lie about itself; these look past that.
_name_of = type.__dict__["__name__"].__get__
_module_of = type.__dict__["__module__"].__get__
_ancestors_of = type.__dict__["__mro__"].__get__
_namespace_of = type.__dict__["__dict__"].__get__
_args_of = BaseException.__dict__["args"].__get__
_attributes_of = BaseException.__dict__["__dict__"].__get__


def class_name(kind: type) -> str:
    """Return the name of a class, made safe."""
    return safe_name(_name_of(kind))


def type_name(error: BaseException) -> str:
    """Return the name of an exception's class, made safe."""
    return class_name(type(error))


def capture_value(value: object) -> str:
    """Return the scrubbed text of a value: text as it is, anything else as `repr` would show it."""
    try:
        room = MAX_CAPTURED_CHARS + AHEAD
        return scrub(value[:room] if type(value) is str else render(value, room), MAX_CAPTURED_CHARS)
    except Exception:  # noqa: BLE001 - a value that cannot be shown safely is not shown
        return UNSCRUBBABLE


def capture_arguments(args: Sequence[object], kwargs: Mapping[str, object], parameters: Sequence[str] = ()) -> str:
    """Return the scrubbed text of a call's arguments.

    Args:
        args: the positional arguments.
        kwargs: the keyword arguments.
        parameters: the names of the positional arguments as far as they are known, which also hide a password.
    """
    try:
        room = MAX_CAPTURED_CHARS + AHEAD
        named = (*zip(parameters, args, strict=False), *kwargs.items())
        parts = [render(value, room) for value in args[len(parameters) :][:MAX_ITEMS]]
        parts += [f"{name}={_render_named(name, value, room, MAX_LEVELS)}" for name, value in named[: 2 * MAX_ITEMS]]
        return scrub(", ".join(parts), MAX_CAPTURED_CHARS)
    except Exception:  # noqa: BLE001 - as above
        return UNSCRUBBABLE


def render(value: Any, room: int, depth: int = MAX_LEVELS) -> str:
    """Return a value of an exact built-in type as `repr` would show it, any other by the name of its class.

    The text is not scrubbed; only the values of secret names in a dict are masked.

    Args:
        value: any value.
        room: how many characters of a text are of use.
        depth: how many levels of containers to show, each with at most ten items.
    """
    kind = type(value)
    if issubclass(kind, str):
        return repr(str.__str__(value)[:room])
    if kind in _NUMBERS:
        return "<int>" if kind is int and value.bit_length() > 4_096 else repr(value)
    if kind in (bytes, bytearray):
        return f"<{len(value)} bytes>"
    if kind is dict:
        items = (f"{render(k, room, 1)}: {_render_named(k, v, room, depth - 1)}" for k, v in value.items())
        return _enclose("{", items, len(value), "}", depth)
    if kind in _BRACKETS:
        opening, closing = _BRACKETS[kind]
        return _enclose(opening, (render(item, room, depth - 1) for item in value), len(value), closing, depth)
    return f"<{class_name(kind)}>"


def _render_named(name: object, value: object, room: int, depth: int) -> str:
    """Return the text of a named value, masked if the name is a secret's; not a number, as in `max_tokens=5`."""
    if type(name) is str and type(value) not in _NUMBERS and is_secret_name(name):
        return MASK
    return render(value, room, depth)


def _enclose(opening: str, items: Iterable[str], count: int, closing: str, depth: int) -> str:
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
        error: any exception. A `__str__` that takes long delays the caller. Everything that it raises is caught, except
            KeyboardInterrupt.
        limit: the most characters to return.
        source: `"str"` returns what `str(error)` does. `"args"` runs no code of the exception: it shows the arguments,
            or only the class's name if a class outside the standard library defines the `__str__`.
    """
    try:
        return str.__str__(str(error))[:limit] if source == "str" else _text_of_args(error, limit)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - `__str__` is foreign code, and may raise or return anything
        return f"<{type_name(error)}>"


def fault_text(error: BaseException) -> str:
    """Return an error's text for `health()` and the log: one line without secrets, or its class's name if empty."""
    return escape(scrub(error_text(error, MAX_FAULT_CHARS + AHEAD), MAX_FAULT_CHARS)) or type_name(error)


def hint_text(error: BaseException) -> str:
    """Return the hint of one of this library's errors, on one line and without secrets; empty if it has none."""
    hint = _attributes_of(error).get("hint") if issubclass(type(error), ToolweaverMonitorError) else None
    return escape(scrub(hint, MAX_FAULT_CHARS)) if type(hint) is str else ""


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
