"""What one limit, or several, have set aside for one call: `Admission`, and `AdmissionGroup`.

How the counters are changed, and what may interrupt that: see `books`.
"""

from __future__ import annotations

import msgspec

from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.structs import use_plain_setattr


class Admission(msgspec.Struct, gc=False, eq=False):
    """What one meter set aside for one call.

    `__del__` is for a call that an interrupt removes between its admission and its end. Python ignores what is raised
    in a `__del__`, so one that ran on the caller's thread at the end of every call could swallow a Ctrl-C. Therefore a
    call keeps its settled admission until the dispatcher enriches the call, on another thread.
    """

    meter: Books
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
        the call is enriched, which drops this admission, and the reserve is spent.

        Returns:
            Whether `warn` is due.
        """
        meter = self.meter
        amount = meter.measure(call)
        if not amount and not meter.counts_calls and (call._details or NO_DETAILS).lacks_price:
            if meter.in_dollars:
                if self.held is not None and not self.awaits_price:
                    meter.held += meter.reserve - self.held
                    meter.unknown_calls += 1
                    self.held = self.noted = meter.reserve
                    self.awaits_price = True
                return False
            meter.note_missing_tokens(call)
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

    def drop(self) -> None:
        """Spend what is still set aside: nothing can tell the price of the call any more."""
        if self.is_open:
            self.is_open = False
            held, self.held = self.held, None
            self.meter.dropped.append((held or 0, self.noted))

    def __del__(self) -> None:
        self.drop()


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
            if part > self.held:  # noqa: PLR1730 - no call may interrupt this run, see `books`
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

    def drop(self) -> None:
        """Spend what is still set aside, at each meter."""
        for part in self.parts:
            part.drop()


for _kind in (Admission, LockedAdmission, InnerAdmission):
    use_plain_setattr(_kind(None))  # type: ignore[arg-type]
