"""How one limit of one account lets calls run: `Meter`.

An amount is set aside first and compared with the limit second. If a debugger's trace function lets another thread run
in between, both calls may be rejected, but the limit is never exceeded.
"""

from __future__ import annotations

from toolweaver_monitor._budget.admission import Admission, AdmissionGroup, InnerAdmission, LockedAdmission
from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import call_around, current
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.locks import HAS_GIL


class Meter(Books):
    """The books of one limit, which admit calls.

    A meter is also the admission of the calls that set nothing aside, since those have nothing to give back. Such a
    call gets an admission of its own when it records usage while it runs.
    """

    __slots__ = ()

    def make_twin(self) -> Meter:
        """Return this meter for a forked child: what was spent stays, what the parent's running calls hold does not."""
        twin = Meter(self.budget, self.unit, self.limit, self.key, self.lock, self.now, self.announce, self.repeats)
        twin.slots, twin.current, twin.edge_s = self.slots[:], self.current, self.edge_s
        twin.spent = sum(self.slots) if self.slots else self.spent
        twin.unknown_calls = self.unknown_calls
        twin.warn_level, twin.warn_again_s = self.warn_level, self.warn_again_s
        return twin

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

    def drop(self) -> None:
        """Do nothing, where an `Admission` would spend what is still set aside."""

    def settle(self, call: ToolCall) -> bool:
        """Charge a call that set nothing aside. There is no guard: `hot_path` settles a call once.

        Returns:
            Whether `warn` is due.
        """
        amount = self.measure(call)
        if not amount and (call._details or NO_DETAILS).lacks_price:
            if self.in_dollars:
                self.unknown_calls += 1
            else:
                self.note_missing_tokens(call)
        if self.slots:
            if self.now() >= self.edge_s:
                self.advance()
            self.slots[self.current] += amount
        self.spent += amount
        return self.spent >= self.warn_level
