"""The calls that a budget applies to, and the account that each belongs to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Token

from toolweaver_monitor._budget.admission import Admission, AdmissionGroup
from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._budget.budget import Budget, Unit
from toolweaver_monitor._budget.meter import Meter
from toolweaver_monitor._budget.repeats import RepeatCounter
from toolweaver_monitor._budget.shared import SharedMeter, SharedSums
from toolweaver_monitor._budget.window import slot_width_s
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor._text.redact import scrub

MAX_ACCOUNTS = 2_000
MAX_SEARCH_WAIT_S = 60.0


class Scope:
    """The calls that a budget applies to, and its accounts: one, or one for each value of a tag.

    A new account that finds no room closes the least recently used one that is idle: its window is empty, and no call
    can charge it any more. So there is room for `MAX_ACCOUNTS` accounts in use. The rest share one, `OVERFLOW`.

    The methods that open or close accounts are called with the lock held. A signal handler may still interrupt them
    and use the same accounts.
    """

    def __init__(
        self, budget: Budget, lock: threading.RLock, now: Callable[[], float], announce: Callable[[Books], None]
    ) -> None:
        self.budget = budget
        self.limits = budget.limits
        """The limits by unit, as integers; `raise_limit` changes them."""
        self.tool = budget.tool
        tag = budget.tag_key_and_value
        self.tag = tag[0] if tag is not None else None
        self.value = tag[1] if tag is not None else None
        """The only value of the tag that the budget applies to. None if each value has an account of its own."""
        self.is_common = self.tool is None and self.tag is None
        """Whether the budget applies to every call."""
        self._lock = lock
        self._now = now
        self._announce = announce
        self._repeats = RepeatCounter()
        self._sums: SharedSums | None = None
        self.accounts: OrderedDict[str | None, tuple[Meter, ...]] = OrderedDict()
        """The meters of each account; the least recently used account first."""
        if self.tag is None or self.value is not None:
            self.accounts[self.value] = self._new_meters(None)
        self._uses = 0
        """How often an account was looked up. Shows whether a signal handler did so in between."""
        self._shown: dict[str, str] = {}
        """Tag values that hold a secret or are too long -> the text shown instead."""
        self._search_again_s = now()
        """When the next search for an idle account may take place. A search that finds none waits one slot,
        but not long."""

    def _new_meters(self, key: str | None) -> tuple[Meter, ...]:
        return tuple(self._new_meter(unit, limit, key) for unit, limit in self.limits.items())

    def _new_meter(self, unit: Unit, limit: int, key: str | None) -> Meter:
        common = self.budget, unit, limit, key, self._lock, self._now, self._announce
        if self._sums is not None and unit != "repeats":
            return SharedMeter(*common, self._sums)
        return Meter(*common, self._repeats if unit == "repeats" else None)

    def share(self, sums: SharedSums) -> None:
        """Share the budget with other processes."""
        self._sums = sums
        for key in list(self.accounts):
            self.accounts[key] = self._new_meters(None)

    def raise_limit(self, unit: Unit, limit: int) -> None:
        """Set the limit of each account in a unit."""
        self.limits = {**self.limits, unit: limit}
        for meter in self.all_meters():
            if meter.unit == unit:
                meter.set_limit(limit)

    def all_meters(self) -> list[Meter]:
        """Return the meters of every account, in the order of the accounts' names."""
        return [meter for key in sorted(self.accounts, key=str) for meter in self.accounts.get(key, ())]

    def find_meter(self, unit: Unit, account: str | None) -> Meter | None:
        """Return one meter of an account; None if the account has none yet."""
        key = account if account is None else self._shown.get(account, account)
        return next((meter for meter in self.accounts.get(key, ()) if meter.unit == unit), None)

    def renew(self) -> None:
        """Renew every meter, in a forked child."""
        for key, meters in list(self.accounts.items()):
            self.accounts[key] = tuple(meter.make_twin() for meter in meters)

    def find_meters(self, call: ToolCall) -> tuple[Meter, ...]:
        """Return the meters that this call must fit; none if the budget does not apply to it."""
        if self.tool is not None and self.tool != call.tool_name:
            return ()
        if self.tag is None:
            return self.accounts[None]
        value = call._own_tags.get(self.tag)
        return self._meters_of_parents() if value is None else self._meters_of_value(value)

    def _meters_of_value(self, value: TagValue) -> tuple[Meter, ...]:
        key = value if type(value) is str else str(value)
        if self.value is not None:
            return self.accounts[key] if key == self.value else ()
        return self._account(key)

    def _meters_of_parents(self) -> tuple[Meter, ...]:
        """Return the meters of the nearest call around this one that has the tag, or that this budget admitted."""
        parent = current.get()
        while parent is not None:
            admission = parent._admission
            parts = admission.parts if type(admission) is AdmissionGroup else (admission,)
            for part in parts:
                if isinstance(part, Admission) and part.meter.budget is self.budget:
                    key = part.meter.key
                    return self.accounts[self.value] if key is None else self._account(key)
            # A call of a tool that this budget does not limit, and one that has ended, may have no admission of it.
            # Their tags show which account applies. One that has ended no longer leads to the calls around it.
            node = parent._node
            tags = node.tags if parent._token is None and node is not None else parent._own_tags
            value = tags.get(self.tag or "")
            if value is not None:
                return self._meters_of_value(value)
            outer = parent._token.old_value if parent._token is not None else None
            parent = None if outer is Token.MISSING else outer
        return ()

    def _account(self, key: str) -> tuple[Meter, ...]:
        self._uses += 1
        key = self._shown.get(key, key)
        try:
            self.accounts.move_to_end(key)
            return self.accounts[key]
        except KeyError:
            return self._open_account(key)

    def _open_account(self, key: str) -> tuple[Meter, ...]:
        if self._is_full():
            self._make_room()
        if self._is_full():
            key = OVERFLOW
        elif (shown := scrub(key)) != key:
            if len(self._shown) < MAX_ACCOUNTS:
                self._shown[key] = shown
            key = shown
        return self._find_or_add(key)

    def _find_or_add(self, key: str) -> tuple[Meter, ...]:
        # One step, so that a signal handler that opens the same account finds or adds the very same one.
        return self.accounts.get(key) or self.accounts.setdefault(key, self._new_meters(key))

    def _is_full(self) -> bool:
        return len(self.accounts) - (OVERFLOW in self.accounts) >= MAX_ACCOUNTS

    def _make_room(self) -> None:
        """Close the least recently used account that is idle, if there is one."""
        if self._now() < self._search_again_s:
            return
        for key in list(self.accounts):
            if key is not None and key != OVERFLOW and self._close_if_idle(key):
                return
        self._search_again_s = self._now() + min(slot_width_s(self.budget.per), MAX_SEARCH_WAIT_S)

    def _close_if_idle(self, key: str) -> bool:
        uses = self._uses
        meters = self.accounts.get(key, ())
        if not meters or not all(meter.is_idle() for meter in meters):
            return False
        if uses != self._uses:  # a signal handler came in between, and may have admitted a call to it
            return False
        del self.accounts[key]
        for meter in meters:
            meter.is_closed = True
        self._shown = {value: shown for value, shown in self._shown.items() if shown != key}
        if any(meter.rejections or meter.overruns or meter.unknown_calls for meter in meters):
            for meter, rest in zip(meters, self._find_or_add(OVERFLOW), strict=True):
                rest.rejections += meter.rejections
                rest.overruns += meter.overruns
                rest.unknown_calls += meter.unknown_calls
        return True
