"""May this call run? The `Ledger` asks every budget that applies, and keeps what is spent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypedDict

from toolweaver_monitor._budget.budget import Budget, check_clashes
from toolweaver_monitor._budget.messages import figure, refusal
from toolweaver_monitor._budget.meter import HAS_GIL, Admission, Admissions, Meter
from toolweaver_monitor._budget.scope import Scope
from toolweaver_monitor._core import clock, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.safe_repr import fault_text
from toolweaver_monitor.errors import BudgetExceeded, ConfigurationError

log = logging.getLogger("toolweaver_monitor")

WARN_EVERY_S = 60.0

_asking = threading.local()
"""Whether this thread is inside an `on_exceed` of the user's: a tool that it calls is not asked about again."""


class BudgetStatus(TypedDict):
    """The state of one limit of one account; plain values, ready for JSON. Dollars are floats.

    Attributes:
        name: its own name for each entry.
        budget: the name of the `Budget`.
        account: the value of the tag that the account is for; None if the budget is not split by a tag.
        unit: `usd`, `tokens` or `calls`.
        per: `run`, `minute`, `hour` or `day`.
        limit: the most that may be spent, in `unit`.
        spent: what was spent in the window, in `unit`.
        reserved: what running calls hold, in `unit`.
        remaining: what is left, never below 0, in `unit`.
        rejections: how many calls were rejected.
        overruns: how many calls `on_exceed` let run past the limit.
        frees_in_s: seconds until there is room again; 0.0 if there is room, None if no time can be given.
    """

    name: str
    budget: str
    account: str | None
    unit: str
    per: str
    limit: float
    spent: float
    reserved: float
    remaining: float
    rejections: int
    overruns: int
    frees_in_s: float | None


class Ledger:
    """The books of all budgets of one `setup()`: lets a call in or refuses it, exactly, under any concurrency.

    It belongs to one process. A forked child goes on with its own copy: what was spent up to the fork stays spent,
    what the parent's running calls had set aside is dropped (they end in the parent), and rejections start from 0. So
    n worker processes may spend n times the limit; where a ledger shared by processes would attach, see `Meter`.

    Args:
        budgets: at least one; a call must fit all that apply to it.
        now: seconds of a clock that never goes back.

    Raises:
        ConfigurationError: no budgets, something that is none, or two that clash.
    """

    def __init__(self, budgets: Sequence[Budget], *, now: Callable[[], float] = clock.monotonic_s) -> None:
        self.budgets = tuple(budgets) if isinstance(budgets, Sequence) else ()
        if not self.budgets or not all(isinstance(budget, Budget) for budget in self.budgets):
            raise ConfigurationError(f"a Ledger of {budgets!r} has nothing to keep: give Budget objects")
        check_clashes(self.budgets)
        self._now = now
        self._lock = locks.new_rlock("budget ledger")
        self._scopes = tuple(Scope(budget, self._lock, now) for budget in self.budgets)
        self.needs_tags = any(scope.tag is not None for scope in self._scopes)
        """Whether it makes a difference to some budget which tags a call has."""
        self._common: tuple[Meter, ...] | None = None
        self._only: Meter | None = None
        self._find_short_ways()
        locks.after_fork_in_child_weak(self, Ledger._in_child)

    def _find_short_ways(self) -> None:
        """Where every call meets the same meters, or even just one, opening a call can be quick."""
        if all(scope.common for scope in self._scopes):
            self._common = tuple(meter for scope in self._scopes for meter in scope.accounts[None])
            if len(self._common) == 1 and HAS_GIL:
                self._only = self._common[0]

    def admit(self, call: ToolCall, known_nanousd: int | None) -> None:
        """Let the call run, or not. What it asks for is set aside until that admission is settled.

        Args:
            call: about to start; its `admission` is set when a budget applies to it.
            known_nanousd: what it will cost, where that is known before it runs.

        Raises:
            BudgetExceeded: it would pass a limit. Nothing has been set aside, in no budget.
        """
        meter = self._only
        if meter is not None:  # the same as below, without a lock, lists and loops
            if meter.slots and meter.now() >= meter.edge_s:
                meter.advance()
            if known_nanousd is None or not meter.in_dollars:
                asked, ceiling = meter.reserve, meter.ceiling
                if not asked:
                    if meter.spent + meter.held <= ceiling:
                        call._admission = meter.standing
                        return
                    self._admit_by_all(call, known_nanousd)
                    return
            else:
                asked, ceiling = known_nanousd, meter.limit
            admission = meter.admission(meter)
            meter.held += asked
            if meter.spent + meter.held <= ceiling:
                admission.held = asked
                call._admission = admission
                call._ensure_details()  # which keeps its end from being taken for a plain one
                if meter.counts_calls:
                    admission.settle(call)
                return
            meter.held -= asked
        self._admit_by_all(call, known_nanousd)

    def _admit_by_all(self, call: ToolCall, known_nanousd: int | None) -> None:
        overridden: list[Meter] = []
        try:
            while (refusing := self._take_all(call, known_nanousd, overridden)) is not None:
                self._ask(*refusing)  # outside the lock: it runs code of the user's
                overridden.append(refusing[0])
        finally:  # or the traceback of the refusal, which has this frame, would hold it and the account
            refusing, overridden = None, []

    def _take_all(
        self, call: ToolCall, known_nanousd: int | None, overridden: list[Meter]
    ) -> tuple[Meter, BudgetExceeded] | None:
        """Take from every meter, or from none; then the one that refused."""
        with self._lock:  # and no loop in here: where one jumps back, a Ctrl-C in CPython 3.13 would leave it held
            return self._taken(call, known_nanousd, overridden)

    def _taken(
        self, call: ToolCall, known_nanousd: int | None, overridden: list[Meter]
    ) -> tuple[Meter, BudgetExceeded] | None:
        meters = self._common if self._common is not None else self._applying(call)
        taken: list[Admission] = []
        for meter in meters:
            admission = meter.take(known_nanousd, meter in overridden)
            if admission is None:
                for other in taken:
                    other.release()
                return meter, refusal(meter, call.tool_name, known_nanousd)
            taken.append(admission)
        for meter in overridden:
            meter.overruns += 1
        if taken:
            call._admission = taken[0] if len(taken) == 1 else Admissions(tuple(taken))
            call._ensure_details()  # as above
            for admission in taken:
                if admission.meter.counts_calls:  # a call counts from the moment it is let in
                    admission.settle(call)
        return None

    def _applying(self, call: ToolCall) -> tuple[Meter, ...]:
        found: tuple[Meter, ...] = ()
        for scope in self._scopes:
            found += scope.meters(call)
        return found

    def _ask(self, meter: Meter, error: BudgetExceeded) -> None:
        """Do as the budget says when it is exceeded: return to let the call run.

        Raises:
            BudgetExceeded: the call is refused.
        """
        on_exceed = meter.budget.on_exceed
        cause: BaseException | None = None
        if isinstance(on_exceed, str):
            if on_exceed == "warn":
                self._warn(meter, error)
                return
        elif not getattr(_asking, "now", False):
            _asking.now = True
            try:
                if on_exceed(error) is True:
                    return
            except KeyboardInterrupt:
                raise
            except BaseException as raised:  # noqa: BLE001 - code of the user's; its answer is no, and why goes along
                Diagnostics.extractor_errors += 1
                cause = raised
            finally:
                _asking.now = False
        with self._lock:
            meter.rejections += 1
        try:
            raise error from cause
        finally:  # as above
            del meter, error, cause

    def _warn(self, meter: Meter, error: BudgetExceeded) -> None:
        with self._lock:
            meter.suppressed_warnings += 1
            now = self._now()
            if now - meter.last_warned_s < WARN_EVERY_S:
                return
            meter.last_warned_s = now
            suppressed_warnings, meter.suppressed_warnings = meter.suppressed_warnings, 0
        try:
            said = fault_text(error)  # a tag's value may hold anything
            calls = pluralize(suppressed_warnings, "such call")
            log.warning("%s (on_exceed='warn': the call runs; %s since the last message)", said, calls)
        except Exception:  # noqa: BLE001 - a broken log handler is no reason to refuse the call
            Diagnostics.internal_errors += 1

    @property
    def rejections(self) -> dict[str, int]:
        """How many calls each budget has refused, by its name."""
        with self._lock:
            return {scope.budget.label: sum(meter.rejections for meter in scope.all_meters()) for scope in self._scopes}

    def status(self) -> list[BudgetStatus]:
        """Return the state of every budget: one entry for each limit of each account."""
        with self._lock:
            return [_entry(meter) for scope in self._scopes for meter in scope.all_meters()]

    def _in_child(self) -> None:
        for scope in self._scopes:
            scope.accounts = {key: tuple(m.renewed() for m in meters) for key, meters in scope.accounts.items()}
        self._find_short_ways()


def _entry(meter: Meter) -> BudgetStatus:
    meter.collect()
    unit = meter.unit
    return {
        "name": meter.name,
        "budget": meter.budget.label,
        "account": meter.key,
        "unit": unit,
        "per": meter.budget.per,
        "limit": figure(meter.limit, unit),
        "spent": figure(meter.spent, unit),
        "reserved": figure(meter.held, unit),
        "remaining": figure(max(0, meter.limit - meter.spent - meter.held), unit),
        "rejections": meter.rejections,
        "overruns": meter.overruns,
        "frees_in_s": meter.frees_in_s(0),
    }
