"""The books of a ledger: its status, and calls that vanish."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ledger_kit import CENT, books, ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._budget import ledger as ledger_module
from toolweaver_monitor._budget import meter as meter_module
from toolweaver_monitor._budget.admission import LockedAdmission
from toolweaver_monitor._core.sanitize import NANO


def test_status_is_ready_for_json_and_complete() -> None:
    """Each entry says all that a gauge, a report and a health page need; names are unique."""
    ledger = Ledger([Budget(limit_usd=2, limit_calls=10, reserve=0.5, per="hour"), Budget(limit_tokens=5)])
    ended(opened(ledger), cost=0.25, tokens=5)
    refused(ledger)
    rows = json.loads(json.dumps(ledger.status()))
    assert rows[0] == {
        "name": "usd+calls/hour usd", "budget": "usd+calls/hour", "account": None, "unit": "usd", "per": "hour",
        "limit": 2.0, "spent": 0.25, "reserved": 0.0, "remaining": 1.75, "rejections": 0, "overruns": 0,
        "unknown_cost_calls": 0, "frees_in_s": 0.0,
    }  # fmt: skip
    assert [(r["name"], r["spent"], r["rejections"], r["frees_in_s"]) for r in rows[1:]] == [
        ("usd+calls/hour calls", 1, 0, 0.0),
        ("tokens/run", 5, 1, None),
    ]


@pytest.mark.parametrize("per", ["run", "minute"])
def test_a_call_that_vanishes_gives_back_what_it_held_but_not_what_it_recorded(per: Any) -> None:
    """An interrupt between the budget's leave and the call's end leaks no money, and loses none."""
    ledger = Ledger([Budget(limit_usd=5, per=per), Budget(limit_usd=9, per="day")])
    call = opened(ledger, NANO)
    gone = opened(ledger, NANO)
    call.record(cost=0.25)
    del call, gone
    assert [books(ledger, n) for n in range(2)] == [(0.25, 0.0)] * 2


def test_vanished_calls_make_room_before_one_is_refused() -> None:
    """What they held is free again when it is needed, without anyone having looked."""
    ledger = Ledger([Budget(limit_usd=1)])
    opened(ledger, NANO)
    ended(opened(ledger, NANO), cost=1)


def test_without_a_gil_the_lock_guards_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results by the other way, as a free-threaded interpreter takes it."""
    monkeypatch.setattr(meter_module, "HAS_GIL", False)
    monkeypatch.setattr(ledger_module, "HAS_GIL", False)
    ledger = Ledger([Budget(limit_usd=5)])
    calls = [opened(ledger, CENT) for _ in range(500)]
    refused(ledger, CENT)
    admission = calls[0]._admission
    assert type(admission) is LockedAdmission
    lock = CountingLock()
    admission.meter.lock = lock
    calls[0].record(cost=0.02)
    ended(calls[0])
    assert lock.taken == 2
    assert books(ledger) == (0.02, 4.99)
    for call in calls[1:]:
        ended(call)


class CountingLock:
    """A lock that knows how often it was taken."""

    taken = 0

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        pass
