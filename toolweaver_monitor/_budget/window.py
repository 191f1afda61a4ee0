"""What was spent within the window of a budget: `Window`.

A sliding window consists of 60 slots, plus one that is being filled. A slot leaves as a whole, once its last amount is
as old as the window. So the window never shows too little as spent, and too much by at most what was spent during one
more sixtieth (1 s for a minute, 1 min for an hour, 24 min for a day). It uses the monotonic clock.

A month is the calendar's, in UTC, and has one slot. Its end comes from the wall clock. A clock that is set back frees
nothing, and the month then ends when its own time comes.

Every change is a run of plain stores, see `books`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

Per = Literal["run", "minute", "hour", "day", "month"]

WINDOW_S: dict[str, float] = {"minute": 60.0, "hour": 3_600.0, "day": 86_400.0}
SLOTS = 61
LONGEST_MONTH_S = 31 * 86_400.0


class Window:
    """What was spent since the start, in the last minute, hour or day, or in this month.

    Args:
        per: which of these.
        lock: guards what takes more than one run of stores.
        now: returns the seconds of the clock: a monotonic one, or the wall clock for a month.
    """

    __slots__ = ("current", "edge_s", "lock", "now", "slots", "spent", "width_s")

    def __init__(self, per: Per, lock: threading.RLock, now: Callable[[], float]) -> None:
        self.lock = lock
        self.now = now
        self.spent = 0
        self.current = 0
        """The slot that is being filled."""
        self.slots: list[int] = [0] * (SLOTS if per in WINDOW_S else 1 if per == "month" else 0)
        self.width_s = slot_width_s(per)
        self.edge_s = month_end_s(now()) if per == "month" else now() + self.width_s
        """When the next slot leaves."""

    def advance(self) -> None:
        """Drop the slots whose youngest amount is as old as the window."""
        with self.lock:
            self._advance(self.now())

    def _advance(self, now: float) -> None:
        if len(self.slots) == 1:
            self._advance_month(now, month_end_s(now))
            return
        steps = 0
        while True:  # `while now >= ...` would allow an interrupt between the comparison and the step
            if now < self.edge_s:
                return
            if steps > SLOTS:  # all slots are empty: continue from now, however long nothing was spent
                self.edge_s = now + self.width_s
                return
            following = self.current + 1 if self.current + 1 < SLOTS else 0
            self.spent -= self.slots[following]
            self.slots[following] = 0
            self.current = following
            self.edge_s += self.width_s
            steps += 1

    def _advance_month(self, now: float, end_s: float) -> None:
        if now >= self.edge_s:
            self.spent -= self.slots[0]
            self.slots[0] = 0
        self.edge_s = end_s

    def gone_s(self) -> float:
        """Return when all that is spent by now has left the window, in seconds of the clock; infinite without one."""
        return self.edge_s if len(self.slots) == 1 else self.now() + self.width_s * SLOTS

    def start_s(self) -> float:
        """Return the moment before which nothing counts, in seconds of the clock; minus infinity without a window."""
        if len(self.slots) == 1:
            return month_start_s(self.now())
        return self.now() - self.width_s * (SLOTS - 1)

    def compute_wait_s(self, amount: int) -> float | None:
        """Return the seconds until at least `amount` has left the window; None if that much is not in it."""
        if not self.slots or amount > self.spent:
            return None
        now, count = self.now(), len(self.slots)
        for step in range(1, count + 1):
            amount -= self.slots[(self.current + step) % count]
            if amount <= 0:
                return max(0.0, self.edge_s + (step - 1) * self.width_s - now)
        return None


def slot_width_s(per: Per) -> float:
    """Return the most seconds that a slot is filled; infinite for a budget per run, which has none."""
    return LONGEST_MONTH_S if per == "month" else WINDOW_S.get(per, math.inf) / (SLOTS - 1)


def month_start_s(now_s: float) -> float:
    """Return the Unix seconds at which the calendar month of a moment began, in UTC."""
    moment = time.gmtime(now_s)
    return datetime(moment.tm_year, moment.tm_mon, 1, tzinfo=UTC).timestamp()


def month_end_s(now_s: float) -> float:
    """Return the Unix seconds at which the calendar month of a moment ends, in UTC."""
    return month_start_s(month_start_s(now_s) + LONGEST_MONTH_S + 86_400.0)
