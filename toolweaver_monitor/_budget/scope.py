"""Which calls does one budget apply to, and on which account?"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import Token

from toolweaver_monitor._budget.budget import Budget
from toolweaver_monitor._budget.meter import Admission, Admissions, Meter
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor._text.redact import scrub

MAX_ACCOUNTS = 2_000


class Scope:
    """The calls that a budget applies to, and its accounts: one, or one for each value of a tag.

    An account of which nothing is left (its window has passed, and no call has a part of it) is closed when a new one
    finds no room. So there is room for `MAX_ACCOUNTS` that are in use.
    """

    def __init__(self, budget: Budget, lock: threading.RLock, now: Callable[[], float]) -> None:
        self.budget = budget
        self.tool = budget.tool
        tag = budget.tag_key_and_value
        self.tag = tag[0] if tag is not None else None
        self.wanted = tag[1] if tag is not None else None
        self.common = self.tool is None and self.tag is None
        self._lock = lock
        self._now = now
        split = self.tag is not None and self.wanted is None
        self.accounts: dict[str | None, tuple[Meter, ...]] = {} if split else {self.wanted: self._new(None)}
        self._shown: dict[str, str] = {}
        """Tag values that hold a secret, or are too long to be shown, and what stands for them."""
        self._look_at_s = now()
        """When it is worth while to look for accounts that are not in use."""
        self._idle: list[str] = []
        """Those that were not when they were looked at."""

    def _new(self, key: str | None) -> tuple[Meter, ...]:
        return tuple(Meter(self.budget, unit, key, self._lock, self._now) for unit in self.budget.limits)

    def all_meters(self) -> list[Meter]:
        """The meters of every account."""
        return [meter for meters in list(self.accounts.values()) for meter in meters]

    def meters(self, call: ToolCall) -> tuple[Meter, ...]:
        """Those that this call must fit; none where the budget does not apply."""
        if self.tool is not None and self.tool != call.tool_name:
            return ()
        if self.tag is None:
            return self.accounts[None]
        value = (call._details or NO_DETAILS).tags.get(self.tag)
        return self._of_the_calls_around() if value is None else self._of_value(value)

    def _of_value(self, value: TagValue) -> tuple[Meter, ...]:
        key = value if type(value) is str else str(value)
        if self.wanted is not None:
            return self.accounts[key] if key == self.wanted else ()
        return self._account(key)

    def _of_the_calls_around(self) -> tuple[Meter, ...]:
        around = current.get()
        while around is not None:
            admission = around._admission
            parts = admission.parts if type(admission) is Admissions else (admission,)
            for part in parts:
                if isinstance(part, Admission) and part.meter.budget is self.budget:
                    key = part.meter.key
                    return self.accounts[self.wanted] if key is None else self._account(key)
            # A call of another tool than this budget's was never asked, and one that has ended holds nothing any more:
            # they just say whose it is.
            value = (around._details or NO_DETAILS).tags.get(self.tag or "")
            if value is not None:
                return self._of_value(value)
            outer = around._token.old_value if around._token is not None else None
            around = None if outer is Token.MISSING else outer
        return ()

    def _account(self, key: str) -> tuple[Meter, ...]:
        meters = self.accounts.get(self._shown.get(key, key))
        if meters is None:
            if self._is_full():
                self._make_room()
            if self._is_full():
                key = OVERFLOW
            elif (shown := scrub(key)) != key:
                if len(self._shown) < MAX_ACCOUNTS:
                    self._shown[key] = shown
                key = shown
            meters = self._opened(key)
        return meters

    def _opened(self, key: str) -> tuple[Meter, ...]:
        # One step, so that a signal handler that opens the same account finds or makes the very same one.
        return self.accounts.get(key) or self.accounts.setdefault(key, self._new(key))

    def _is_full(self) -> bool:
        return len(self.accounts) - (OVERFLOW in self.accounts) >= MAX_ACCOUNTS

    def _make_room(self) -> None:
        """Close an account that is not in use, if there is any; all are looked at at most once a slot of the window."""
        while self._is_full():
            if not self._idle and self._now() >= self._look_at_s:
                self._look_at_s = self._now() + self.budget.slot_s
                self._idle = [key for key in list(self.accounts) if key is not None and self._is_idle(key)]
                self._shown = {key: shown for key, shown in self._shown.items() if shown in self.accounts}
            if not self._idle:
                return
            self._close_if_idle(self._idle.pop())

    def _is_idle(self, key: str) -> bool:
        meters = self.accounts.get(key, ())
        return key != OVERFLOW and bool(meters) and all(meter.is_idle() for meter in meters)

    def _close_if_idle(self, key: str) -> None:
        """Close an account, unless something is in its window, or anybody still holds a meter of it.

        Whoever does will charge it sooner or later: a call that runs, or one whose price is looked up in the drain.
        """
        if not self._is_idle(key):
            return
        meters = self.accounts[key]
        heirs = self._new(key)
        for heir, meter in zip(heirs, meters, strict=True):
            heir.rejections, heir.overruns = meter.rejections, meter.overruns
        left = [weakref.ref(meter) for meter in meters]
        try:
            del meter, meters, self.accounts[key]
        finally:
            if any(meter() is not None for meter in left):
                self.accounts[key] = tuple(meter() or heir for meter, heir in zip(left, heirs, strict=True))
        if key not in self.accounts and any(heir.rejections or heir.overruns for heir in heirs):
            for heir, meter in zip(heirs, self._opened(OVERFLOW), strict=True):
                meter.rejections += heir.rejections
                meter.overruns += heir.overruns
