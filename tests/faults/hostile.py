"""Exceptions and results that do all they can to break the code that looks at them."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

touched: list[str] = []
"""The parts of their code that were run."""


def _touch(what: str) -> None:
    touched.append(what)


class StrRaises(Exception):
    def __str__(self) -> str:
        _touch("str")
        raise ZeroDivisionError("from __str__")

    __repr__ = __str__


class StrRecurses(Exception):
    def __str__(self) -> str:
        _touch("str")
        return str(self)

    __repr__ = __str__


class StrSleeps(Exception):
    def __str__(self) -> str:
        _touch("str")
        time.sleep(10)
        return "late"

    __repr__ = __str__


class StrIsNoText(Exception):
    def __str__(self) -> Any:
        _touch("str")
        return 42  # noqa: PLE0307 - that is the fault

    __repr__ = __str__


class StrExits(Exception):
    def __str__(self) -> str:
        _touch("str")
        raise SystemExit(9)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 7


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int = 7


class LyingClass(Exception):
    @property
    def __class__(self) -> Any:
        _touch("__class__")
        return asyncio.CancelledError


class RaisingClass(Exception):
    @property
    def __class__(self) -> Any:
        _touch("__class__")
        raise ZeroDivisionError("from __class__")


class Untouchable(Exception):
    """An exception that can be neither read, written, compared nor tested for truth."""

    def __getattribute__(self, name: str) -> Any:
        _touch(name)
        raise ZeroDivisionError(name)

    def __setattr__(self, name: str, value: object) -> None:
        _touch(name)
        raise ZeroDivisionError(name)

    def __eq__(self, other: object) -> bool:
        _touch("==")
        raise ZeroDivisionError("==")

    def __hash__(self) -> int:
        _touch("hash")
        raise ZeroDivisionError("hash")

    def __bool__(self) -> bool:
        _touch("bool")
        raise ZeroDivisionError("bool")


class FalseOne(Exception):
    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


class ArgsRaise(Exception):
    @property
    def args(self) -> Any:
        _touch("args")
        raise ZeroDivisionError("args")


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__str__", "__module__", "__mro__"):
            _touch(name)
            raise ZeroDivisionError(name)
        return type.__getattribute__(cls, name)

    def __instancecheck__(cls, instance: object) -> bool:
        _touch("isinstance")
        raise ZeroDivisionError("isinstance")

    def __subclasscheck__(cls, other: type) -> bool:
        _touch("issubclass")
        raise ZeroDivisionError("issubclass")


class OfHostileMeta(Exception, metaclass=HostileMeta):
    pass


class Mute:
    def __repr__(self) -> str:
        _touch("repr of an argument")
        raise ZeroDivisionError("repr")

    __str__ = __repr__


class NotesNoList(Exception):
    def __init__(self) -> None:
        super().__init__("notes")
        self.__notes__ = 42


class OwnBase(BaseException):
    pass


def _cyclic() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    one.__context__ = other
    return one


def _nested_group() -> BaseException:
    inner = ExceptionGroup("inner", [ValueError("a"), StrSleeps()])
    outer: BaseException = BaseExceptionGroup("outer", [inner, KeyboardInterrupt(), _cyclic()])
    for depth in range(50):
        outer = BaseExceptionGroup(f"level {depth}", [outer])
    return outer


def _noted() -> Exception:
    error = ValueError("noted")
    error.add_note("a note")
    return error


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("plain"),
    "key": lambda: KeyError("key"),
    "no arguments": RuntimeError,
    "many arguments": lambda: ValueError("a", 1, {"b": 2}, Mute()),
    "arguments that cannot be printed": lambda: ValueError(Mute()),
    "key that cannot be printed": lambda: KeyError(Mute()),
    "file name that cannot be printed": lambda: OSError(2, "none", Mute()),
    "import of what cannot be printed": lambda: ImportError(Mute(), name="x"),
    "frozen": Frozen,
    "frozen with slots": FrozenSlots,
    "str raises": lambda: StrRaises("x"),
    "str exits": lambda: StrExits("x"),
    "str recurses": lambda: StrRecurses("x"),
    "str sleeps": lambda: StrSleeps("x"),
    "str is no text": lambda: StrIsNoText("x"),
    "class lies": lambda: LyingClass("x"),
    "class raises": lambda: RaisingClass("x"),
    "untouchable": lambda: Untouchable("x"),
    "false": lambda: FalseOne("x"),
    "args raise": lambda: ArgsRaise("x"),
    "hostile metaclass": lambda: OfHostileMeta("x"),
    "nested group": _nested_group,
    "cyclic": _cyclic,
    "noted": _noted,
    "notes are no list": NotesNoList,
    "memory": lambda: MemoryError("no more"),
    "recursion": lambda: RecursionError("too deep"),
    "stop iteration": lambda: StopIteration(3),
    "stop async iteration": lambda: StopAsyncIteration(3),
    "generator exit": GeneratorExit,
    "keyboard interrupt": KeyboardInterrupt,
    "system exit": lambda: SystemExit(3),
    "cancelled": lambda: asyncio.CancelledError("why"),
    "timeout": lambda: TimeoutError("slow"),
    "own base": lambda: OwnBase("base"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "a megabyte": lambda: ValueError("x" * 2**20),
    "odd name": lambda: type("Bad\n\x1b[31mName" + "x" * 500, (Exception,), {})("odd"),
}
"""Kind -> function that returns a new exception of it."""
