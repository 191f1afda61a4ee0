"""Exceptions that request an end, or steer a framework, and are no errors."""

from __future__ import annotations

import enum
import subprocess
import sys
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, monitored
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.testing import ToolRecorder


def outcome(error: BaseException, **declarations: Any) -> str:
    """Return the outcome of a call that raises `error`."""

    @monitored("tool", **declarations)
    def tool() -> None:
        raise error

    with ToolRecorder() as recorder:
        with pytest.raises(type(error)):
            tool()
        (call,) = recorder.calls()
    assert isinstance(call, ToolCall)
    return call.outcome


class Status(enum.IntEnum):
    OK = 0
    BAD = 3


class Own(int):
    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = int.__hash__


CODES = {
    "": None, "None": None, "0": 0, "1": 1, "-1": -1, "False": False, "True": True, "0.0": 0.0, "''": "", "'no'": "no",
    "[]": [], "(0,)": (0,), "(0, 0)": (0, 0), "b''": b"",
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_an_exit_is_an_error_where_it_is_one_for_whoever_started_the_program(code: str) -> None:
    """The status that the interpreter ends with decides.

    Seen red: every exit was a failure, such as that of argparse's `--help` and of every click command.
    """
    ended = subprocess.run([sys.executable, "-c", f"raise SystemExit({code})"], stderr=subprocess.DEVNULL)
    raised = SystemExit(*eval(f"({code},)")) if code else SystemExit()
    assert outcome(raised) == ("failure" if ended.returncode else "cancelled")


@pytest.mark.parametrize(
    ("code", "wanted"), [(Status.OK, "cancelled"), (Status.BAD, "failure"), (Own(0), "cancelled"), (Own(1), "failure")]
)
def test_an_exit_code_may_be_of_any_class_of_integers_and_runs_no_code_of_it(code: int, wanted: str) -> None:
    """The interpreter takes the number that it holds."""
    assert outcome(SystemExit(code)) == wanted


def test_each_exit_counts_by_its_own_code() -> None:
    """No outcome is remembered for the class; a class of one's own and a group are exits, too."""
    leave = type("Leave", (SystemExit,), {})
    assert [outcome(leave(code)) for code in (0, 1, 0)] == ["cancelled", "failure", "cancelled"]
    assert outcome(BaseExceptionGroup("g", [SystemExit(0), KeyboardInterrupt()])) == "cancelled"
    assert outcome(BaseExceptionGroup("g", [SystemExit(0), SystemExit(1)])) == "failure"


class Pause(Exception):
    pass


def stand_in(module: str, *names: str) -> type[BaseException]:
    """Return a class such as a framework has, below others of its module. The frameworks' pins rule each other out."""
    kind: Any = Exception
    for name in names:
        kind = type(name, (kind,), {"__module__": module})
    found: type[BaseException] = kind
    return found


# https://github.com/langchain-ai/langgraph: langgraph/errors.py; https://ai.pydantic.dev/api/exceptions/
CONTROL_FLOW = [
    stand_in("langgraph.errors", "GraphBubbleUp", "GraphInterrupt"),
    stand_in("langgraph.errors", "GraphBubbleUp", "ParentCommand"),
    stand_in("pydantic_ai.exceptions", "CallDeferred"),
    stand_in("pydantic_ai.exceptions", "ApprovalRequired"),
]
ERRORS = [
    stand_in("langgraph.errors", "GraphRecursionError"),
    stand_in("pydantic_ai.exceptions", "ModelRetry"),
    stand_in("mine", "GraphInterrupt"),
    stand_in("mine", "Retry"),
]


@pytest.mark.parametrize("kind", CONTROL_FLOW, ids=lambda kind: kind.__name__)
def test_what_steers_a_framework_is_no_error(kind: Any) -> None:
    """Nor is a class of one's own below it, nor a group of nothing but these.

    Seen red: each was a failure, and the error rate of a tool that asks a human was 1.0.
    """
    below = type("Mine", (kind,), {})
    assert [outcome(kind()), outcome(below()), outcome(ExceptionGroup("g", [kind(), below()]))] == ["cancelled"] * 3
    assert outcome(ExceptionGroup("g", [kind(), ValueError()])) == "failure"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_other_errors_of_these_frameworks_or_of_these_names_are_failures(kind: Any) -> None:
    """The name alone says nothing, and neither does the module."""
    assert outcome(kind()) == "failure"


def test_what_steers_celery_is_no_error() -> None:
    """Its own classes: `Retry`, `Ignore` and `Reject` are what a task raises to tell the worker what to do."""
    celery = pytest.importorskip("celery.exceptions")
    told = [celery.Retry(), celery.Ignore(), celery.Reject(), celery.MaxRetriesExceededError()]
    assert [outcome(error) for error in told] == ["cancelled", "cancelled", "cancelled", "failure"]
    assert [outcome(celery.SoftTimeLimitExceeded()), outcome(celery.TimeLimitExceeded())] == ["timeout"] * 2


def test_a_tool_declares_exceptions_that_are_no_errors_of_its_own() -> None:
    """A class or a tuple, those below it, and groups of them; for this tool only, whatever others made of the class.

    Seen red: with the classes of the tool not passed on in `finish_with_error`.
    """
    later = type("Later", (Pause,), {})
    assert outcome(Pause()) == "failure"
    assert outcome(Pause(), control_flow=Pause) == "cancelled"
    assert outcome(later(), control_flow=(KeyError, Pause)) == "cancelled"
    assert outcome(TimeoutError(), control_flow=TimeoutError) == "cancelled"
    assert outcome(ExceptionGroup("g", [Pause(), ValueError()]), control_flow=Pause) == "failure"
    assert outcome(BaseExceptionGroup("g", [Pause(), KeyboardInterrupt()]), control_flow=Pause) == "cancelled"
    assert outcome(Pause(), control_flow=KeyError) == outcome(Pause()) == "failure"


@pytest.mark.parametrize("wrong", [[Pause], "Pause", Pause("x"), int, (Pause, 1)], ids=repr)
def test_anything_but_classes_of_exceptions_is_rejected_where_it_is_written(wrong: Any) -> None:
    """Before the function is decorated."""
    with pytest.raises(ConfigurationError, match="no class of exceptions"):
        monitored("tool", control_flow=wrong)
