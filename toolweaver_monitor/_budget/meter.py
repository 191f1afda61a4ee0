"""One limit of one account, and what it sets aside for each call: `Meter` and `Admission`.

Every change of a meter's counters is a run of plain stores with no call, loop or new container in between. Under the
GIL nothing can interrupt such a run: other threads, signal handlers, KeyboardInterrupt and `__del__` start only at
calls, loops and function entries (CPython 3.11 to 3.13). So a signal handler that spends, and a Ctrl-C, always find
counters that agree with each other. The lock guards what takes several such runs, and interpreters without a GIL.

An amount is set aside first and compared with the limit second. If a debugger's trace function lets another thread run
in between, both calls may be rejected, but the limit is never exceeded.

All amounts are integers: nano-dollars, tokens, calls.

The cost of a call counts from the time the call ends; while it runs, what it has set aside or recorded counts, however
long that takes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from toolweaver_monitor._budget.budget import NEVER, Budget, Unit
from toolweaver_monitor._budget.repeats import RepeatCounter
from toolweaver_monitor._budget.window import Window
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import call_around, current
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.locks import HAS_GIL
from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._core.structs import use_plain_setattr


class Meter(Window):
    """One limit of one account: what was spent in its window, and what running calls hold.

    A meter is also the admission of the calls that set nothing aside, since those have nothing to give back. Such a
    call gets an admission of its own when it records usage while it runs.
    """

    __slots__ = (
        "announce", "budget", "ceiling", "counts_calls", "dropped", "has_reserve", "held", "in_dollars", "is_closed",
        "key", "limit", "name", "open_calls", "overruns", "rejections", "repeats", "reserve", "suppressed_warnings",
        "unit", "unknown_calls", "warn_again_s", "warn_level", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget,
        unit: Unit,
        limit: int,
        key: str | None,
        lock: threading.RLock,
        now: Callable[[], float],
        announce: Callable[[Meter], None],
        repeats: RepeatCounter | None = None,
    ) -> None:
        super().__init__(budget.per, lock, now)
        self.budget = budget
        self.unit = unit
        self.in_dollars = unit == "usd"
        self.counts_calls = unit == "calls"
        self.key = key
        name = budget.names[unit]
        self.name = name if key is None else f"{name} [{key}]"
        self.reserve = 1 if unit == "calls" else budget.reserve_nanousd if unit == "usd" else 0
        self.has_reserve = self.in_dollars and self.reserve > 0
        """Whether calls take over what calls around them have set aside."""
        self.repeats = repeats
        """How often calls have run with the same arguments, if this is a limit of that: it sets nothing aside."""
        self.announce = announce
        """Tells the user that `warn_at` of the limit is spent."""
        self.set_limit(limit)
        self.held = 0
        self.open_calls = 0
        """Calls that may still charge this meter: those that run, and those that ended before their price was known."""
        self.is_closed = False
        """The account made room for another; calls are admitted to a new one."""
        self.rejections = 0
        self.overruns = 0
        """Calls that `on_exceed` let run past the limit."""
        self.unknown_calls = 0
        """Calls that ended with tokens or a model, and without a known cost."""
        self.warnings = LogThrottle()
        self.suppressed_warnings = 0
        self.dropped: deque[tuple[int, int]] = deque()
        """What calls that vanished without an end had set aside and recorded. `__del__` takes no lock, so it leaves
        an entry here."""

    def make_twin(self) -> Meter:
        """Return this meter for a forked child: what was spent stays, what the parent's running calls hold does not."""
        twin = Meter(self.budget, self.unit, self.limit, self.key, self.lock, self.now, self.announce, self.repeats)
        twin.slots, twin.current, twin.edge_s = self.slots[:], self.current, self.edge_s
        twin.spent = sum(self.slots) if self.slots else self.spent
        twin.unknown_calls = self.unknown_calls
        twin.warn_level, twin.warn_again_s = self.warn_level, self.warn_again_s
        return twin

    def set_limit(self, limit: int) -> None:
        """Let so much be spent from now on."""
        self.limit = limit
        self.ceiling = limit if self.reserve else limit - 1
        """The highest sum of spent and held after admitting a call of unknown cost. A call that sets nothing aside
        needs some room, however little."""
        self.warn_level = self.budget.compute_warn_level(limit)
        """Warn once so much is spent."""
        self.warn_again_s = math.inf

    def warn(self) -> None:
        """Warn that `warn_at` of the limit is spent, at most once a window."""
        with self.lock:
            is_due = self.spent >= self.warn_level
            if is_due:
                self.warn_level = NEVER
                self.warn_again_s = self.gone_s()
        if is_due:
            self.announce(self)

    def advance(self) -> None:
        """Drop the slots whose youngest amount is as old as the window."""
        Window.advance(self)
        if self.now() >= self.warn_again_s:
            self.set_limit(self.limit)

    def shown_spent(self) -> int:
        """Return what is spent, for people; see `SharedMeter`."""
        return self.spent

    def left(self) -> int | None:
        """Return the nano-dollars that are neither spent nor set aside; None for a limit of something else."""
        if not self.in_dollars:
            return None
        self.collect()
        return self.limit - self.shown_spent() - self.held

    def measure(self, call: ToolCall) -> int:
        """Return what a call has used so far, in this meter's unit."""
        if self.counts_calls:
            return 1
        details = call._details
        if details is None:
            return 0
        return (details.cost_nanousd or 0) if self.in_dollars else details.tokens

    def estimate(self, known_nanousd: int | None) -> int:
        """Return what a call sets aside here, given its cost if known."""
        return self.reserve if known_nanousd is None or not self.in_dollars else known_nanousd

    def open_admission(self, amount: int, lender: Admission | None = None) -> Admission:
        """Set an amount aside, whether it fits or not. If there is a lender, the caller holds the lock."""
        admission: Admission
        if lender is not None:
            admission = InnerAdmission(self, lender=lender)
        else:
            admission = Admission(self) if HAS_GIL else LockedAdmission(self)
        self.held += amount
        self.open_calls += 1
        admission.held = amount
        admission.is_open = True
        if type(admission) is InnerAdmission:
            admission.borrow()
        return admission

    def _find_lender(self) -> Admission | None:
        """Return the admission of the call around, if that has set a reserve of this meter aside and is open."""
        around = call_around(current.get())
        admission = around._admission if around is not None else None
        for lender in admission.parts if type(admission) is AdmissionGroup else (admission,):
            if isinstance(lender, Admission) and lender.meter is self and lender.lends and not lender.awaits_price:
                return lender
        return None

    def take(self, known_nanousd: int | None, forced: bool) -> Admission | None:
        """Set aside what a call needs, or return None if that would exceed the limit. The caller holds the lock.

        A call of unknown cost takes over the reserve of the call around it, if that set one aside. A call of known cost
        does so if it would not fit otherwise.

        Args:
            known_nanousd: the cost of the call, if known before it runs.
            forced: admit the call even if it does not fit.
        """
        if known_nanousd is None or not self.in_dollars:
            amount, ceiling = self.reserve, self.ceiling
        else:
            amount, ceiling = known_nanousd, self.limit
            forced = forced or not amount  # a free call spends nothing, even if nothing is left
        self.collect()
        fits = self.spent + self.held + amount <= ceiling
        lender = self._find_lender() if self.has_reserve and (known_nanousd is None or not fits) else None
        admission = self.open_admission(amount, lender)
        if known_nanousd is None:
            admission.lends = True
        if self.spent + self.held > ceiling and not forced:
            admission.release()
            return None
        return admission

    def note(self, call: ToolCall) -> None:
        """Give a call that set nothing aside an admission of its own, and note what it used."""
        admission = self.open_admission(0)
        call._ensure_details()  # as in `Ledger.admit`
        if call._admission is self:
            call._admission = admission
        else:  # another thread was faster
            admission.release()
        call._admission.note(call)

    def settle(self, call: ToolCall) -> bool:
        """Charge a call that set nothing aside. There is no guard: `hot_path` settles a call once.

        Returns:
            Whether `warn` is due.
        """
        amount = self.measure(call)
        if not amount and self.in_dollars and (call._details or NO_DETAILS).lacks_price:
            self.unknown_calls += 1
        if self.slots:
            if self.now() >= self.edge_s:
                self.advance()
            self.slots[self.current] += amount
        self.spent += amount
        return self.spent >= self.warn_level

    def charge(self, nanousd: int) -> None:
        """Count a cost that was found only after the call had been settled."""
        if self.in_dollars:
            with self.lock:
                self.add(nanousd)
            self.warn()

    def add(self, nanousd: int) -> None:
        """Add the price of a call whose cost was unknown. The caller holds the lock."""
        if self.in_dollars:
            self.collect()
            self.unknown_calls -= 1 if self.unknown_calls else 0
            if self.slots:
                self.slots[self.current] += nanousd
            self.spent += nanousd

    def collect(self) -> None:
        """Bring the window up to now, and give back what vanished calls held; what they had recorded is spent."""
        while True:
            if self.slots and not 0 < self.edge_s - self.now() <= self.width_s:  # or the wall clock was set back
                self.advance()
            if not self.dropped:
                return
            held, noted = self.dropped[0]
            if self.slots:
                self.slots[self.current] += noted
            self.spent += noted
            self.held -= held
            self.open_calls -= 1
            del self.dropped[0]

    def is_idle(self) -> bool:
        """Return True if the window is empty and no call can charge this meter. A budget per run is never idle."""
        if not self.slots:
            return False
        self.collect()
        return not self.open_calls and not self.spent

    def compute_wait_s(self, asked: int) -> float | None:
        """Return the seconds until a call that needs `asked` fits, provided that nothing else is spent.

        Returns None if that time is unknown: for a budget per run, for more than the limit, and for room that only
        running calls can give back.
        """
        missing = self.spent + self.held + max(asked, 1) - self.limit
        return Window.compute_wait_s(self, missing) if missing > 0 else 0.0


class Admission(msgspec.Struct, gc=False, eq=False):
    """What one meter set aside for one call.

    `__del__` is for a call that an interrupt removes between its admission and its end. Python ignores what is raised
    in a `__del__`, so one that ran on the caller's thread at the end of every call could swallow a Ctrl-C. Therefore a
    call keeps its settled admission until the dispatcher enriches the call, on another thread.
    """

    meter: Meter
    held: int | None = None
    """The amount set aside, or what the call has recorded if that is more. None before and after."""
    noted: int = 0
    """What the running call has recorded."""
    is_open: bool = False
    """Whether the call may still charge the meter, as one of its `open_calls`."""
    awaits_price: bool = False
    """Whether the call has ended without a known cost."""
    lends: bool = False
    """Whether the amount is a reserve, which calls inside this one take over."""

    def note(self, call: ToolCall) -> None:
        """Count what the running call has recorded, so that others see it at once."""
        amount = self.meter.measure(call)
        if self.held is not None and amount > self.noted:
            self.noted = amount
            if amount > self.held:
                self.meter.held += amount - self.held
                self.held = amount

    def settle(self, call: ToolCall) -> bool:
        """Replace what was set aside with what the call used. Only the first time counts.

        For a call without a known cost the reserve stays set aside until `charge` says its price. If there is none,
        the call is enriched and drops this admission, and the reserve is spent.

        Returns:
            Whether `warn` is due.
        """
        meter = self.meter
        amount = meter.measure(call)
        if not amount and meter.in_dollars and (call._details or NO_DETAILS).lacks_price:
            if self.held is not None and not self.awaits_price:
                meter.held += meter.reserve - self.held
                meter.unknown_calls += 1
                self.held = self.noted = meter.reserve
                self.awaits_price = True
            return False
        if meter.slots and meter.now() >= meter.edge_s:
            meter.advance()
        if self.held is not None:
            if meter.slots:
                meter.slots[meter.current] += amount
            meter.spent += amount
            meter.held -= self.held
            self.held = None
            self.noted = 0
            meter.open_calls -= 1
            self.is_open = False
        return meter.spent >= meter.warn_level

    def warn(self) -> None:
        """Warn that a share of the limit is spent. No lock is held: it runs the user's code."""
        self.meter.warn()

    def left(self) -> int | None:
        """Return the nano-dollars that are left for this call and calls inside it."""
        left, held = self.meter.left(), self.held
        return left if left is None or held is None else left + held - self.noted

    def charge(self, nanousd: int) -> None:
        """Count a cost that was found only after the call had been settled."""
        with self.meter.lock:
            self.meter.add(nanousd)
            self.release(nanousd)
        self.meter.warn()

    def release(self, used: int = 0) -> None:  # noqa: ARG002 - see `InnerAdmission`
        """Give back what was set aside: the call does not run, or its price `used` has been charged."""
        if self.held is not None:
            meter = self.meter
            meter.held -= self.held
            meter.open_calls -= 1
            self.held = None
            self.is_open = False

    def __del__(self) -> None:
        if self.is_open:
            self.meter.dropped.append((self.held or 0, self.noted))


class LockedAdmission(Admission, gc=False, eq=False):
    """An admission on an interpreter without a GIL, where only the lock keeps threads apart."""

    def note(self, call: ToolCall) -> None:
        """Note what the call used so far, under the lock."""
        with self.meter.lock:
            Admission.note(self, call)

    def settle(self, call: ToolCall) -> bool:
        """Charge what the call cost, under the lock. Return whether `warn` is due."""
        with self.meter.lock:
            return Admission.settle(self, call)


class InnerAdmission(LockedAdmission, gc=False, eq=False):
    """An admission inside a call that has set a reserve aside: it takes that over, and gives back what it leaves.

    Before the call runs, its lender and it together hold at least the reserve; afterwards the lender holds at least
    the reserve less what the call used. So a limit holds if the reserve is at least what a call and the calls that
    are open inside it, one inside the other, cost together. What the lender has recorded stays with it, and what it has
    lent to one call is not lent to another.
    """

    lender: Admission | None = None
    """Kept after the end, too: what is borrowed through this call goes back to it, and to drop it could run its
    `__del__`."""
    borrowed: int = 0
    """What is still to be given back."""

    def borrow(self) -> None:
        """Take over the lender's reserve, as far as it holds more than this call leaves of a reserve."""
        lender, reserve = self.lender, self.meter.reserve
        if lender is not None and lender.held is not None and self.held is not None:
            part = lender.held - lender.noted
            if self.held < reserve:
                part -= reserve - self.held
            if part > self.held:  # noqa: PLR1730 - no call may interrupt this run, see the module's docstring
                part = self.held
            if part > 0:
                lender.held -= part
                self.meter.held -= part
                self.borrowed = part

    def settle(self, call: ToolCall) -> bool:
        """Give back what the call did not use, and charge the rest. Return whether `warn` is due."""
        meter = self.meter
        with meter.lock:
            used = meter.measure(call)
            if used or not (call._details or NO_DETAILS).lacks_price:
                self._give_back(used)
            return Admission.settle(self, call)

    def release(self, used: int = 0) -> None:
        """Give back what the call did not use."""
        self._give_back(used)
        Admission.release(self)

    def _give_back(self, used: int) -> None:
        """Give back what the call did not use, to the nearest call around it that is open."""
        lender, most = self.lender, self.borrowed
        while isinstance(lender, InnerAdmission) and (lender.held is None or lender.awaits_price):
            most = min(most, lender.borrowed)  # the rest was that call's own, and is free since it ended
            lender = lender.lender
        if lender is not None and lender.held is not None and not lender.awaits_price and self.held is not None:
            back = self.held - used
            if back > most:  # noqa: PLR1730 - as in `borrow`
                back = most
            if back > 0:
                lender.held += back
                self.held -= back
                self.borrowed -= back


class AdmissionGroup(msgspec.Struct, gc=False, eq=False):
    """What several meters set aside for one call."""

    parts: tuple[Admission, ...]

    def note(self, call: ToolCall) -> None:
        """Note what the call used so far, at each meter."""
        for part in self.parts:
            part.note(call)

    def settle(self, call: ToolCall) -> bool:
        """Charge what the call cost, to each meter. Return whether `warn` is due at one."""
        is_due = False
        for part in self.parts:
            is_due = part.settle(call) or is_due
        return is_due

    def warn(self) -> None:
        """Warn for each meter of whose limit a share is spent."""
        for part in self.parts:
            part.warn()

    def left(self) -> int | None:
        """Return the nano-dollars that are left by the meter with the least; None if none counts dollars."""
        return min([left for part in self.parts if (left := part.left()) is not None], default=None)

    def charge(self, nanousd: int) -> None:
        """Charge an amount to each meter."""
        for part in self.parts:
            part.charge(nanousd)


for _kind in (Admission, LockedAdmission, InnerAdmission):
    use_plain_setattr(_kind(None))  # type: ignore[arg-type]
