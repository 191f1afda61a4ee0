"""How exceptions and values read in a record, where no code of theirs may be run to find out."""

from __future__ import annotations

import json
import subprocess
import urllib.error
from typing import Any

import pytest

from toolweaver_monitor import monitored, setup
from toolweaver_monitor._instrument.tool import named
from toolweaver_monitor._text import names, redact
from toolweaver_monitor._text.safe_repr import captured, captured_arguments, error_text, fault_text, rendered, type_name


def raised(run: Any) -> BaseException:
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("unreadable"), ValueError("a", 1, None), ValueError(), KeyError("total"), KeyError("a", "b"),
        KeyError(),
        OSError("just text"), FileNotFoundError(2, "none", "a.txt"),
        FileNotFoundError(2, "none", "a", None, "b"),
        ConnectionRefusedError(111, "refused"), StopIteration(3), SystemExit(2), Exception({"code": 400}),
        raised(b"\xff".decode), raised(lambda: "\u00e9".encode("ascii")), raised(lambda: int("x")),
        raised(lambda: __import__("no_such_module")), raised(lambda: compile("a b", "f", "exec")),
        raised(lambda: json.loads("{")), ExceptionGroup("many", [ValueError("one")]), ImportError("no", name="x"),
        subprocess.CalledProcessError(1, ["false"]), subprocess.TimeoutExpired("sleep", 3),
        urllib.error.URLError(OSError(1, "x")), MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_the_language_s_own_exceptions_say_is_what_str_says(error: BaseException) -> None:
    """Those that people meet every day read as they are used to."""
    assert error_text(error) == str(error)


def test_a_class_with_a_text_of_its_own_goes_by_its_name() -> None:
    """Its arguments may be what its author kept out of that text."""

    class LoginFailed(Exception):
        def __str__(self) -> str:
            return f"login failed for {self.args[0]}"

    assert error_text(LoginFailed("ada", "hunter2")) == "<LoginFailed>"
    assert fault_text(LoginFailed("ada", "hunter2")) == "<LoginFailed>"
    assert fault_text(ValueError()) == "ValueError"
    assert type_name(type("Odd\x1b[31m", (Exception,), {})()) == "Odd"


def test_a_name_that_could_not_be_made_safe_once_can_be_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails for want of stack is not remembered.

    Mutation: remember what the scrubber gave; after one runaway recursion each RecursionError was `<unscrubbable>`.
    """

    def broken(_: str) -> list[tuple[int, int]]:
        raise RecursionError

    kind = type("SeenFirstAtTheBottom", (Exception,), {})
    with monkeypatch.context() as failing:
        failing.setattr(redact, "_secrets", broken)
        assert type_name(kind()) == named("seen first at the bottom").name == redact.UNSCRUBBABLE
    assert type_name(kind()) == "SeenFirstAtTheBottom"
    assert named("seen first at the bottom").name == "seen first at the bottom"


def test_a_runaway_recursion_is_called_by_its_name() -> None:
    """But for the calls at the very bottom, all that fail of a RecursionError say so."""
    names._safe.cache_clear()
    monitor = setup()

    @monitored("endless")
    def endless() -> None:
        endless()

    with pytest.raises(RecursionError):
        endless()
    kinds = [error["error_type"] for error in monitor.errors.errors]
    assert kinds.count("RecursionError") > len(kinds) - 20


def test_a_class_that_says_it_is_of_the_standard_library_is_not_believed() -> None:
    """Only the class that stands in that module under that name is its own."""

    class Liar(OSError):
        def __str__(self) -> str:
            raise AssertionError("it was run")

    Liar.__module__ = "subprocess"
    Liar.__name__ = Liar.__qualname__ = "CalledProcessError"
    assert error_text(Liar(1, "x")) == "<CalledProcessError>"


def test_values_are_shown_to_a_depth_and_a_breadth() -> None:
    """As `repr` shows them; ten items of each container, five levels, and classes of others by name."""
    assert rendered({"a": [1, 2.5, None, True, "x"], "b": (b"abc",)}, 100) == (
        "{'a': [1, 2.5, None, True, 'x'], 'b': (<3 bytes>)}"
    )
    assert rendered(list(range(12)), 100) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... 2 more]"
    assert rendered([[[[[[1]]]]]], 100) == "[[[[[[...]]]]]]"
    assert rendered(10**5_000, 100) == "<int>"
    assert rendered(object(), 100) == "<object>"
    endless: list[object] = []
    endless.append(endless)
    assert rendered(endless, 100) == "[[[[[[...]]]]]]"


def test_what_is_captured_is_hidden_by_its_name() -> None:
    """Of parameters, keywords and keys at any depth, in any spelling; numbers of tokens are no secrets."""
    shown = captured_arguments(("ada", "hunter2"), {"apiKey": "x", "max_tokens": 5}, ("user", "password"))
    assert shown == "user='ada', password=[redacted], apiKey=[redacted], max_tokens=5"
    assert captured({"deep": [{"DB_PASSWORD": "x", "author": "ada"}]}) == (
        "{'deep': [{'DB_PASSWORD': [redacted], 'author': 'ada'}]}"
    )
    assert captured("plain text") == "plain text"
