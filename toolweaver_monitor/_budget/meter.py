"""How much of one limit is spent and set aside? A `Meter` keeps the figures, an `Admission` one call's part of them.

Two things in here look odd and keep the books right:

* Every change of the figures is a run of plain stores with no call, loop or new container between them. Under the GIL
  nothing can come in between: no other thread, signal handler, KeyboardInterrupt or `__del__`; these start only at
  calls, loops and function entries (CPython 3.11 to 3.13). So a signal handler that spends, and a Ctrl-C, always find
  figures that fit together, whatever they interrupt. The lock is there for what takes several such runs, and for
  interpreters without a GIL.
* The amount is taken first and looked at second. Should a debugger's trace function let another thread in between,
  both may be refused, but the limit is never passed.

The figures are whole numbers: nano-dollars, tokens, calls.

A sliding window is cut into 60 slots, and one more for the slot being filled. A slot leaves as a whole when the last
amount in it is as old as the window. So what a window shows as spent is never too little, and too much by at most
what was spent in one further sixtieth (1 s a minute, 1 min an hour, 24 min a day). What a call spends counts from the
time it ends; while it runs, what it has set aside or recorded counts, however long it runs.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from toolweaver_monitor._budget.budget import SLOTS, Budget, Unit
from toolweaver_monitor._core.call import ToolCall

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Meter:
    """One limit of one account: what was spent in its window, and what running calls hold.

    A ledger shared by several processes would attach here: a meter whose `take`, and an admission whose `note` and
    `settle`, ask a common store. What stands above (which meters a call meets, all or none, what to do when it is
    refused) would stay as it is.
    """

    __slots__ = (
        "__weakref__",
        "admission",
        "budget",
        "ceiling",
        "counts_calls",
        "current",
        "dropped",
        "edge_s",
        "held",
        "in_dollars",
        "key",
        "last_warned_s",
        "limit",
        "lock",
        "name",
        "now",
        "overruns",
        "rejections",
        "reserve",
        "slots",
        "spent",
        "standing",
        "suppressed_warnings",
        "unit",
        "width_s",
    )  # fmt: skip

    def __init__(
        self, budget: Budget, unit: Unit, key: str | None, lock: threading.RLock, now: Callable[[], float]
    ) -> None:
        self.budget = budget
        self.unit = unit
        self.in_dollars = unit == "usd"
        self.counts_calls = unit == "calls"
        self.key = key
        name = budget.names[unit]
        self.name = name if key is None else f"{name} [{key}]"
        self.limit = budget.limits[unit]
        self.reserve = 1 if unit == "calls" else budget.reserve_nanousd if unit == "usd" else 0
        self.ceiling = self.limit if self.reserve else self.limit - 1
        """What spent and held may come to after a call of unknown cost is let in. One that sets nothing aside must
        find some room, however little."""
        self.lock = lock
        self.spent = 0
        self.held = 0
        self.rejections = 0
        self.overruns = 0
        """Calls let run past the limit, by `on_exceed`."""
        self.last_warned_s = float("-inf")
        self.suppressed_warnings = 0
        self.dropped: deque[tuple[int, int]] = deque()
        """What calls that vanished without an end held and had recorded: `__del__` takes no lock, it leaves a note."""
        self.now = now
        self.slots: list[int] = [0] * SLOTS if budget.per != "run" else []
        self.width_s = budget.slot_s
        self.edge_s = now() + self.width_s
        self.current = 0
        plain = unit == "usd" and not self.slots
        self.standing = StandingAdmission(self) if key is None else None  # an account goes when nobody holds it
        self.admission = LockedAdmission if not HAS_GIL else RunAdmission if plain else OpenAdmission

    def renewed(self) -> Meter:
        """This meter in a forked child: what was spent stays, what the parent's running calls hold is dropped."""
        twin = Meter(self.budget, self.unit, self.key, self.lock, self.now)
        twin.slots, twin.current, twin.edge_s = self.slots[:], self.current, self.edge_s
        twin.spent = sum(self.slots) if self.slots else self.spent
        return twin

    def amount(self, call: ToolCall) -> int:
        """What a call has used so far, in this meter's unit."""
        if self.unit == "calls":
            return 1
        details = call._details
        if details is None:
            return 0
        return (details.cost_nanousd or 0) if self.unit == "usd" else details.tokens

    def asked(self, known_nanousd: int | None) -> int:
        """What a call sets aside here, its cost being known or not."""
        return self.reserve if known_nanousd is None or self.unit != "usd" else known_nanousd

    def take(self, known_nanousd: int | None, forced: bool) -> Admission | None:
        """Set aside what a call asks for, or None when that would pass the limit. Held by the lock."""
        if known_nanousd is None or self.unit != "usd":
            asked, ceiling = self.reserve, self.ceiling
        else:
            asked, ceiling = known_nanousd, self.limit
            forced = forced or not asked  # a call that is known to be free spends nothing, even where nothing is left
        admission = self.admission(self)
        self.collect()
        self.held += asked
        admission.held = asked
        if self.spent + self.held > ceiling and not forced:
            self.held -= asked
            admission.held = None
            return None
        return admission

    def advance(self) -> None:
        """Let the slots leave whose youngest amount is as old as the window."""
        with self.lock:
            self._advance(self.now())

    def _advance(self, now: float) -> None:
        steps = 0
        while True:  # `while now >= ...` would let an interrupt in between the question and the step
            if now < self.edge_s:
                return
            if steps > SLOTS:  # all are empty: go on from here, however long it was quiet
                self.edge_s = now + self.width_s
                return
            following = self.current + 1 if self.current + 1 < SLOTS else 0
            self.spent -= self.slots[following]
            self.slots[following] = 0
            self.current = following
            self.edge_s += self.width_s
            steps += 1

    def collect(self) -> None:
        """Give back what vanished calls held; what they had recorded is spent."""
        while True:
            if self.slots and self.now() >= self.edge_s:
                self.advance()
            if not self.dropped:
                return
            held, noted = self.dropped[0]
            if self.slots:
                self.slots[self.current] += noted
            self.spent += noted
            self.held -= held
            del self.dropped[0]

    def is_idle(self) -> bool:
        """Whether nothing is in its window now, and nothing is set aside; never so of a budget per run."""
        if self.dropped:
            self.collect()
        if self.held or not self.slots:
            return False
        leave = max(0, math.floor((self.now() - self.edge_s) / self.width_s) + 1)
        oldest = self.current + 1
        return not self.spent or not any((self.slots[oldest:] + self.slots[:oldest])[leave:])

    def frees_in_s(self, asked: int) -> float | None:
        """Seconds until a call that asks for so much fits, should nothing else be spent; None where no time can be
        given: a budget per run, more than the limit, or room that only running calls can give back.
        """
        missing = self.spent + self.held + max(asked, 1) - self.limit
        if missing <= 0:
            return 0.0
        if not self.slots or missing > self.spent:
            return None
        now = self.now()
        for step in range(1, SLOTS + 1):
            missing -= self.slots[(self.current + step) % SLOTS]
            if missing <= 0:
                return max(0.0, self.edge_s + (step - 1) * self.width_s - now)
        return None


class Admission(msgspec.Struct, gc=False, eq=False):
    """What one meter set aside for one call, until the call ends."""

    meter: Meter
    held: int | None = None
    """Set aside, or what the call has recorded if that is more; None before and after."""
    noted: int = 0

    def note(self, call: ToolCall) -> None:
        """Have what the running call has recorded seen by others at once."""
        amount = self.meter.amount(call)
        if self.held is not None and amount > self.noted:
            self.noted = amount
            if amount > self.held:
                self.meter.held += amount - self.held
                self.held = amount

    def settle(self, call: ToolCall) -> None:
        """Put what the call really used in the place of what was set aside. Only the first time counts."""
        meter = self.meter
        amount = meter.amount(call)
        if meter.slots and meter.now() >= meter.edge_s:
            meter.advance()
        if self.held is not None:
            if meter.slots:
                meter.slots[meter.current] += amount
            meter.spent += amount
            meter.held -= self.held
            self.held = None
            self.__class__ = Admission

    def charge(self, nanousd: int) -> None:
        """Count what the call cost, where that was found only after it had been settled."""
        meter = self.meter
        if meter.in_dollars:
            with meter.lock:
                meter.collect()
                if meter.slots:
                    meter.slots[meter.current] += nanousd
                meter.spent += nanousd

    def release(self) -> None:
        """Give back what was set aside: the call does not run."""
        if self.held is not None:
            self.meter.held -= self.held
            self.held = None
            self.__class__ = Admission


class OpenAdmission(Admission, gc=False, eq=False):
    """An admission until it is settled or released; then it becomes a plain one, without a `__del__`.

    A `__del__` that ran at the end of every call would now and then swallow a Ctrl-C: Python ignores what is raised in
    one. So it is there only while it is needed: for an interrupt between the budget's leave and the call's end.
    """

    def __del__(self) -> None:
        if self.held is not None:
            self.meter.dropped.append((self.held, self.noted))


class RunAdmission(OpenAdmission, gc=False, eq=False):
    """An admission to a budget of dollars per run: the most common one, in half the time."""

    def settle(self, call: ToolCall) -> None:
        """As `Admission.settle`."""
        meter = self.meter
        held = self.held
        if held is not None:
            details = call._details
            if details is not None and details.cost_nanousd is not None:
                meter.spent += details.cost_nanousd
            meter.held -= held
            self.held = None
            self.__class__ = Admission  # type: ignore[assignment]


class StandingAdmission(Admission, gc=True, eq=False):
    """The admission of every call that has set nothing aside: one for all, since there is nothing to give back.

    A call that records what it uses while it runs gets one of its own. Settled once a call, which `hot_path` sees to.
    """

    def note(self, call: ToolCall) -> None:
        """As `Admission.note`."""
        own = self.meter.admission(self.meter, 0)
        call._ensure_details()  # as in `Ledger.admit`
        if call._admission is self:
            call._admission = own
        else:  # another thread was quicker
            own.held = None
        call._admission.note(call)

    def settle(self, call: ToolCall) -> None:
        """As `Admission.settle`."""
        meter = self.meter
        amount = meter.amount(call)
        if meter.slots:
            if meter.now() >= meter.edge_s:
                meter.advance()
            meter.slots[meter.current] += amount
        meter.spent += amount

    def release(self) -> None:
        """Nothing was set aside."""


class LockedAdmission(OpenAdmission, gc=False, eq=False):
    """An admission on an interpreter without a GIL, where only the lock keeps threads apart."""

    def note(self, call: ToolCall) -> None:
        """As `Admission.note`."""
        with self.meter.lock:
            Admission.note(self, call)

    def settle(self, call: ToolCall) -> None:
        """As `Admission.settle`."""
        with self.meter.lock:
            Admission.settle(self, call)


class Admissions(msgspec.Struct, gc=False, eq=False):
    """What several meters set aside for one call."""

    parts: tuple[Admission, ...]

    def note(self, call: ToolCall) -> None:
        """As `Admission.note`, for each."""
        for part in self.parts:
            part.note(call)

    def settle(self, call: ToolCall) -> None:
        """As `Admission.settle`, for each."""
        for part in self.parts:
            part.settle(call)

    def charge(self, nanousd: int) -> None:
        """As `Admission.charge`, for each."""
        for part in self.parts:
            part.charge(nanousd)
