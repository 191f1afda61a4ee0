"""A limit that several processes share: `SharedMeter`.

To this process everything is spent but what it has leased from the common sums. So a call that fits into the lease is
admitted as by any meter, without a word to the others. One that does not fit asks for another lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from toolweaver_monitor._budget.admission import Admission
from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._budget.budget import NEVER, Budget, Unit
from toolweaver_monitor._budget.meter import Meter
from toolweaver_monitor._core.log_throttle import LogThrottle

log = logging.getLogger("toolweaver_monitor")

SHARED_PER = frozenset({"minute", "hour", "day", "month"})
KNOWN_S = 1.0
"""How long the common sums are shown as they were last seen."""


class SharedSums(Protocol):
    """The common sums of all processes."""

    def exchange(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Any:
        """Give back what is left of a lease, and ask for a new one. Return None if the sums are out of reach."""


class SharedMeter(Meter):
    """One limit of one account, shared by the processes that have the same store.

    `spent` is the limit less what is left of this process's lease, calls that run included. What all processes have
    spent is `shown_spent()`, as of the last transaction.

    Args:
        sums: the common sums.
    """

    __slots__ = ("_common", "_is_near", "_last", "_owed", "_read_at", "_sums", "_unreachable", "_wait_s")

    def __init__(
        self,
        budget: Budget,
        unit: Unit,
        limit: int,
        key: str | None,
        lock: threading.RLock,
        now: Callable[[], float],
        announce: Callable[[Books], None],
        sums: SharedSums,
    ) -> None:
        self._sums = sums
        self._owed = 0
        """What is to be charged to the common sums, or given back if it is below 0."""
        self._common = 0
        self._wait_s: float | None = 0.0
        self._is_near = False
        self._last = (0, 0)
        self._read_at: float | None = None
        self._unreachable = LogThrottle()
        super().__init__(budget, unit, limit, key, lock, now, announce)
        self.slots, self.edge_s = [], float("inf")  # the window is that of the common sums
        self.spent = limit

    def make_twin(self) -> SharedMeter:
        """Return this meter for a forked child, without the parent's lease."""
        return SharedMeter(
            self.budget, self.unit, self.limit, self.key, self.lock, self.now, self.announce, self._sums
        )  # fmt: skip

    def set_limit(self, limit: int) -> None:
        """Set the limit for all processes together, as far as this one decides."""
        left = self.limit - self.spent if hasattr(self, "limit") else 0
        super().set_limit(limit)
        self.spent = limit - left
        self.warn_level = NEVER  # the common sums decide, see `warn`

    def shown_spent(self) -> int:
        """Return what all processes have spent, less what this one has leased and not used. Hold the lock."""
        if self._read_at is None or not 0 <= self.now() - self._read_at < KNOWN_S:
            self._exchange(0)
        return max(0, self._common + self._owed - (self.limit - self.spent))

    def take(self, known_nanousd: int | None, forced: bool) -> Admission | None:
        """Set aside what a call needs, from a new lease if need be; see `Meter.take`."""
        admission = super().take(known_nanousd, forced=False)
        if admission is not None:
            return admission
        self._lease(max(1, self.estimate(known_nanousd)))
        return super().take(known_nanousd, forced)

    def _lease(self, need: int) -> None:
        """Ask for a lease that covers an amount, instead of what is left of the last one. The caller holds the lock."""
        self._return_rest()
        granted = self._exchange(need)
        if granted is None:  # out of reach: this process counts for itself, and pays later
            if self._unreachable.ready():
                log.warning("budget %r cannot reach its store, and counts this process only until it can", self.name)
            granted = need if self._common + self._owed + need <= self.limit else 0
            self._owed += granted
        self.spent -= granted

    def _return_rest(self) -> None:
        rest = self.limit - self.spent - self.held
        self.spent += rest
        self._owed -= rest

    def _exchange(self, need: int) -> int | None:
        """Settle with the common sums. Return what was granted; None if they are out of reach."""
        grant = self._sums.exchange(self.name, self.budget.per, self.unit, self.limit, -self._owed, need)
        if grant is None:
            return None
        self._owed = 0
        self._read_at = self.now()
        self._common, self._wait_s = grant.spent, grant.frees_in_s
        if self._common - grant.amount >= self.budget.compute_warn_level(self.limit):
            if not self._is_near:
                self.warn_level = 0  # `warn` is due
            self._is_near = True
        else:
            self._is_near = False
        return int(grant.amount)

    def warn(self) -> None:
        """Warn that `warn_at` of the common limit is spent."""
        with self.lock:
            is_due, self.warn_level = self.warn_level == 0, NEVER
        if is_due:
            self.announce(self)

    def give_back(self, *, at_once: bool = False) -> bool:
        """Give back what is left of the lease, if it was not used since the last time. Called now and then.

        Args:
            at_once: give it back even if it is in use.

        Returns:
            Whether nothing is left to give back.
        """
        with self.lock:
            self.collect()
            now = self.spent, self.held
            is_idle, self._last = now == self._last, now
            rest = self.limit - self.spent - self.held
            if rest < 0 or (rest and (at_once or is_idle or self._sums_are_wanted())):
                self._return_rest()
            if self._owed:
                self._exchange(0)
            return self.limit - self.spent == self.held and not self._owed

    def _sums_are_wanted(self) -> bool:
        """Return True if some process was refused a moment ago, or the lease is of an earlier part of the window."""
        grant = self._sums.exchange(self.name, self.budget.per, self.unit, self.limit, 0, 0)
        return grant is not None and (grant.refused or grant.is_old)

    def compute_wait_s(self, asked: int) -> float | None:
        """Return the seconds until there is room, as the common sums said."""
        return self._wait_s if self.shown_spent() + self.held + max(asked, 1) > self.limit else 0.0

    def is_idle(self) -> bool:
        """Return True if no call can charge this meter and it has no lease."""
        return not self.open_calls and self.spent >= self.limit and not self._owed
