"""Open calls, close them and read the accounts, for the tests of budgets."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor.errors import BudgetExceeded

CENT = NANO // 100


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def opened(ledger: Ledger, known: int | None = None, tool: str = "ocr", **tags: Any) -> ToolCall:
    """Return a call that the ledger has admitted."""
    call = ToolCall(tool)
    if tags:
        call.record(**tags)
    ledger.admit(call, known)
    return call


def ended(call: ToolCall, **used: Any) -> ToolCall:
    """Close the call as the hot path does, after it used so much. It keeps its admission until it is drained."""
    if used:
        call.record(**used)
    admission, call._admission = call._admission, None
    if admission is not None:
        admission.settle(call)
        call._admission = admission
    return call


def books(ledger: Ledger, entry: int = 0) -> tuple[Any, Any]:
    """Return what is spent and what is set aside."""
    status = ledger.status()[entry]
    return status["spent"], status["reserved"]


def refused(ledger: Ledger, known: int | None = None, tool: str = "ocr", **tags: Any) -> BudgetExceeded:
    """Return the error with which the ledger rejects such a call."""
    with pytest.raises(BudgetExceeded) as caught:
        opened(ledger, known, tool, **tags)
    return caught.value


class pinched_switches:
    """Switch threads as often as the interpreter can."""

    def __enter__(self) -> None:
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self.before)
