"""Exceptions that request an end, or steer a framework, and are no errors."""

from __future__ import annotations

import enum
import subprocess
import sys
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, monitored
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
