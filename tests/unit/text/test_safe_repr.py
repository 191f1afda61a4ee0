"""The text of exceptions and of values in a record."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
from typing import Any

import pytest

from toolweaver_monitor import current_call, monitored, setup
from toolweaver_monitor._instrument.tool import tool_for
from toolweaver_monitor._text import names, redact
from toolweaver_monitor._text.safe_repr import (
    capture_arguments,
    capture_value,
    error_text,
    fault_text,
    render,
    type_name,
)


def raised(run: Any) -> BaseException:
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        return error
    raise AssertionError("nothing was raised")


def raise_(error: BaseException) -> None:
    raise error


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


class LoginFailed(Exception):
    def __str__(self) -> str:
        return f"login failed for {self.args[0]}"


class StatementFailed(LoginFailed):
    """As SQLAlchemy's `StatementError`, which builds its text from attributes."""

    def __init__(self, message: str, statement: str) -> None:
        super().__init__(message)
        self.statement = statement

    def __str__(self) -> str:
        return f"{self.args[0]}\n[SQL: {self.statement}]"


def test_a_class_with_a_text_of_its_own_is_shown_with_it() -> None:
    """As `str()` shows it: pydantic's, SQLAlchemy's, and the user's own classes alike.

    Seen red: with `"args"` for the default of `error_text`.
    """
    assert error_text(LoginFailed("ada", "hunter2")) == "login failed for ada"
    assert error_text(StatementFailed("no such column", "SELECT x")) == "no such column\n[SQL: SELECT x]"
    assert error_text(StatementFailed("x" * 10_000, ""), 100) == "x" * 100
    assert fault_text(LoginFailed("ada", "hunter2")) == "login failed for ada"
    assert fault_text(ValueError()) == "ValueError"
    assert type_name(type("Odd\x1b[31m", (Exception,), {})()) == "Odd"


def test_pydantics_error_is_shown_with_its_text() -> None:
    """The real one, whose `args` are empty."""
    pydantic = pytest.importorskip("pydantic")

    class Receipt(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        total: float

    error = raised(lambda: Receipt(total="abc"))
    assert error_text(error) == str(error)
    assert "Input should be a valid number" in error_text(error)


class Text(str):
    __slots__ = ()

    def __getitem__(self, _: Any) -> str:
        raise AssertionError("it was run")

    __str__ = __getitem__  # type: ignore[assignment]


def error_whose_str(returns: Any) -> BaseException:
    return type("Odd", (Exception,), {"__str__": returns})("its argument")


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (lambda _: 1 / 0, "<Odd>"),
        (lambda _: sys.exit(9), "<Odd>"),
        (lambda self: f"{self}", "<Odd>"),
        (lambda _: 42, "<Odd>"),
        (lambda _: None, "<Odd>"),
        (lambda _: Text("a text of a class of its own"), "a text of a class of its own"),
        (lambda _: "", ""),
    ],
    ids=["raises", "exits", "recurses", "a number", "None", "a class of text", "empty"],
)
def test_a_text_that_cannot_be_made_is_the_name_of_the_class(run: Any, shown: str) -> None:
    """Whatever `__str__` raises or returns stays inside.

    Seen red: with `Exception` for `BaseException` in `error_text`; with no `str.__str__` around `str(error)`.
    """
    assert error_text(error_whose_str(run)) == shown


def test_an_interrupt_inside_a_text_goes_on_to_the_caller_and_the_call_is_closed() -> None:
    """A Ctrl-C that strikes while an exception is asked for its text ends the program, not the count.

    Seen red: with no `finally` in `finish_with_error`.
    """

    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    monitor = setup()
    with pytest.raises(KeyboardInterrupt):
        error_text(error_whose_str(interrupted))
    with pytest.raises(KeyboardInterrupt):
        monitored("ocr")(raise_)(error_whose_str(interrupted))
    assert monitor.metrics.by_operation()["ocr"]["count"] == 1
    assert current_call().tool_name == ""


def test_text_from_the_arguments_runs_no_code_of_the_exception() -> None:
    """`setup(error_text="args")`: a class with a `__str__` goes by its name, for its arguments may be what it hides.

    Seen red: with `"str"` for `"args"` in `note_error`; with no look at who owns `__str__`.
    """

    def run(_: object) -> str:
        raise AssertionError("it was run")

    for error, shown in {
        ValueError("unreadable"): "unreadable", KeyError("total"): "'total'", ValueError(): "",
        ValueError("a", object()): "('a', <object>)", OSError(2, "none"): "(2, 'none')",
        LoginFailed("ada", "hunter2"): "<LoginFailed>", error_whose_str(run): "<Odd>",
        subprocess.CalledProcessError(1, ["false"]): "(1, ['false'])",
    }.items():  # fmt: skip
        assert error_text(error, source="args") == shown
    shown_by = {}
    for source in ("args", "str"):
        with setup(error_text=source) as monitor, pytest.raises(LoginFailed):  # type: ignore[arg-type]
            monitored("ocr")(raise_)(LoginFailed("ada", "hunter2"))
        shown_by[source] = monitor.errors.latest[-1]["error"]
    assert shown_by == {"args": "<LoginFailed>", "str": "login failed for ada"}


def test_a_text_made_by_str_is_scrubbed_before_any_sink_sees_it() -> None:
    """A secret that only `__str__` shows is masked, also one that the cut would halve.

    Seen red: with `RAW_ERROR_CHARS` at 256.
    """
    seen: list[str] = []
    key = "sk-proj-" + "a1B2" * 12
    with setup(lambda call: seen.append(call.error)) as monitor:
        for padding in (0, 240):
            with pytest.raises(StatementFailed):
                monitored("sql")(raise_)(StatementFailed("x" * padding, f"{key} is secret"))
        monitor.flush()
    assert len(seen) == 2
    assert all("sk-proj" not in text and len(text) <= 256 for text in seen)
    assert "[redacted]" in seen[0]


def test_a_name_that_could_not_be_made_safe_once_can_be_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails for want of stack is not remembered.

    Mutation: remember what the scrubber gave; after one runaway recursion each RecursionError was `<unscrubbable>`.
    """

    def broken(_: str) -> list[tuple[int, int]]:
        raise RecursionError

    kind = type("SeenFirstAtTheBottom", (Exception,), {})
    with monkeypatch.context() as failing:
        failing.setattr(redact, "_find_secrets", broken)
        assert type_name(kind()) == tool_for("seen first at the bottom").name == redact.UNSCRUBBABLE
    assert type_name(kind()) == "SeenFirstAtTheBottom"
    assert tool_for("seen first at the bottom").name == "seen first at the bottom"


def test_a_runaway_recursion_is_called_by_its_name() -> None:
    """But for the calls at the very bottom, all that fail of a RecursionError say so."""
    names._clean.cache_clear()
    monitor = setup()

    @monitored("endless")
    def endless() -> None:
        endless()

    with pytest.raises(RecursionError):
        endless()
    kinds = [error["error_type"] for error in monitor.errors.latest]
    assert kinds.count("RecursionError") > len(kinds) - 20


def test_a_class_that_says_it_is_of_the_standard_library_is_not_believed() -> None:
    """Only the class that stands in that module under that name is its own."""

    class Liar(OSError):
        def __str__(self) -> str:
            raise AssertionError("it was run")

    Liar.__module__ = "subprocess"
    Liar.__name__ = Liar.__qualname__ = "CalledProcessError"
    assert error_text(Liar(1, "x"), source="args") == "<CalledProcessError>"


def test_values_are_shown_to_a_depth_and_a_breadth() -> None:
    """As `repr` shows them; ten items of each container, five levels, and classes of others by name."""
    assert render({"a": [1, 2.5, None, True, "x"], "b": (b"abc",)}, 100) == (
        "{'a': [1, 2.5, None, True, 'x'], 'b': (<3 bytes>)}"
    )
    assert render(list(range(12)), 100) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... 2 more]"
    assert render([[[[[[1]]]]]], 100) == "[[[[[[...]]]]]]"
    assert render(10**5_000, 100) == "<int>"
    assert render(object(), 100) == "<object>"
    endless: list[object] = []
    endless.append(endless)
    assert render(endless, 100) == "[[[[[[...]]]]]]"


def test_what_is_captured_is_hidden_by_its_name() -> None:
    """Of parameters, keywords and keys at any depth, in any spelling; numbers of tokens are no secrets."""
    shown = capture_arguments(("ada", "hunter2"), {"apiKey": "x", "max_tokens": 5}, ("user", "password"))
    assert shown == "user='ada', password=[redacted], apiKey=[redacted], max_tokens=5"
    assert capture_value({"deep": [{"DB_PASSWORD": "x", "author": "ada"}]}) == (
        "{'deep': [{'DB_PASSWORD': [redacted], 'author': 'ada'}]}"
    )
    assert capture_value("plain text") == "plain text"
