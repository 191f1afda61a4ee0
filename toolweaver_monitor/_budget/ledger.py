"""Admit or reject each call, and keep what is spent: the `Ledger` checks every budget that applies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from toolweaver_monitor._budget.admission import Admission, AdmissionGroup
from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._budget.budget import Budget, BudgetStatus, Unit, check_clashes
from toolweaver_monitor._budget.messages import (
    convert_amount,
    exceeded_error,
    log_warning,
    repeated_error,
    warning_text,
)
from toolweaver_monitor._budget.meter import Meter
from toolweaver_monitor._budget.repeats import RepeatCounter, compute_digest
from toolweaver_monitor._budget.scope import Scope
from toolweaver_monitor._budget.shared import SHARED_PER, SharedMeter, SharedSums
from toolweaver_monitor._core import clock, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.locks import HAS_GIL
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.safe_repr import class_name, fault_text
from toolweaver_monitor.errors import BudgetExceeded, ConfigurationError

_deciding = threading.local()
"""Whether this thread runs an `on_exceed` of the user's. Rejections of the tools that it calls are final."""


class Ledger:
    """The accounts of all budgets of one `setup()`. It admits or rejects each call exactly, under any concurrency.

    A ledger belongs to one process. A forked child continues with its own copy: what was spent up to the fork stays
    spent, what the parent's running calls had set aside is dropped (they end in the parent), and rejections start from
    0. So n worker processes may spend n times the limit, but for budgets with common sums: see `share`.

    Args:
        budgets: at least one; a call must fit all that apply to it.
        now: returns the seconds of a clock that never goes back.
        wall_s: returns the Unix seconds, for budgets per month.

    Raises:
        ConfigurationError: no budgets, an item that is not a `Budget`, or two budgets that clash.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        *,
        now: Callable[[], float] = clock.monotonic_s,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.budgets = tuple(budgets) if isinstance(budgets, Sequence) else ()
        if not self.budgets or not all(isinstance(budget, Budget) for budget in self.budgets):
            raise ConfigurationError(f"budgets={budgets!r} is not a list of budgets", hint="give Budget objects")
        check_clashes(self.budgets)
        self._now = now
        self._lock = locks.new_rlock("budget ledger")
        self.scopes = tuple(
            Scope(budget, self._lock, wall_s if budget.per == "month" else now, _announce) for budget in self.budgets
        )
        self.needs_tags = any(scope.tag is not None for scope in self.scopes)
        """Whether the tags of a call matter to any budget."""
        self._warns = any(budget.warn_at is not None for budget in self.budgets)
        self.digest = compute_digest if any("repeats" in budget.limits for budget in self.budgets) else None
        """Makes digests of the arguments of calls, if any budget limits repeats."""
        self._common: tuple[Meter, ...] | None = None
        self._only: Meter | None = None
        self._find_shortcuts()
        locks.after_fork_in_child_weak(self, Ledger._in_child)

    def _find_shortcuts(self) -> None:
        """Note whether all calls must fit the same meters, or even just one: their admission is faster then."""
        if all(scope.is_common for scope in self.scopes):
            self._common = tuple(meter for scope in self.scopes for meter in scope.accounts[None])
            if len(self._common) == 1 and HAS_GIL and self.digest is None:
                self._only = self._common[0]

    def admit(self, call: ToolCall, known_nanousd: int | None, digest: bytes | None = None) -> None:
        """Admit the call, and set aside what it needs until its admission is settled.

        Args:
            call: about to start; gets an `_admission` if a budget applies to it.
            known_nanousd: what the call will cost, if known before it runs.
            digest: of its tool and arguments; None if it is no repeat of any call.

        Raises:
            BudgetExceeded: the call would exceed a limit. Nothing has been set aside, in no budget.
        """
        meter = self._only
        if meter is not None:  # one meter for all calls: the same as below, without a lock, lists and loops
            if meter.slots and meter.now() >= meter.edge_s:
                meter.advance()
            if known_nanousd is None or not meter.in_dollars:
                asked, ceiling = meter.reserve, meter.ceiling
                if not asked:
                    if meter.spent + meter.held <= ceiling:
                        call._admission = meter
                        return
                    self._admit_by_all(call, known_nanousd)
                    return
                if meter.in_dollars and call._parent_serial is not None:  # it may take over a reserve
                    self._admit_by_all(call, known_nanousd)
                    return
                admission = Admission(meter)
                admission.lends = True
            else:
                asked, ceiling = known_nanousd, meter.limit
                admission = Admission(meter)
            meter.held += asked
            if meter.spent + meter.held <= ceiling:
                meter.open_calls += 1
                admission.held = asked
                admission.is_open = True
                call._admission = admission
                call._ensure_details()  # which makes the call end on the path that settles admissions
                if meter.counts_calls and admission.settle(call):
                    admission.warn()
                return
            meter.held -= asked
        self._admit_by_all(call, known_nanousd, digest)

    def _admit_by_all(self, call: ToolCall, known_nanousd: int | None, digest: bytes | None = None) -> None:
        overridden: tuple[Admission, ...] = ()
        try:
            while (rejection := self._take_all(call, known_nanousd, digest, overridden)) is not None:
                self._apply_policy(*rejection)  # outside the lock: it runs the user's code
                overridden += rejection[:1]
            if self._warns and call._admission is not None:  # a limit of calls counts them as they are admitted
                call._admission.warn()
        finally:  # or the traceback of the error, which refers to this frame, would keep the error and the account
            rejection, overridden = None, ()

    def _take_all(
        self, call: ToolCall, known_nanousd: int | None, digest: bytes | None, overridden: tuple[Admission, ...]
    ) -> tuple[Admission, BudgetExceeded] | None:
        """Take from every meter, or from none. Then return an admission that pins the meter, and the error.

        The pin holds 0. It keeps the meter's account from being closed while `on_exceed` runs.
        """
        with self._lock:  # and no loop in here: a Ctrl-C at its jump back would leave the lock held (CPython 3.13)
            return self._take_each(call, known_nanousd, digest, overridden)

    def _take_each(
        self, call: ToolCall, known_nanousd: int | None, digest: bytes | None, overridden: tuple[Admission, ...]
    ) -> tuple[Admission, BudgetExceeded] | None:
        meters = self._common if self._common is not None else self._find_meters(call)
        forced = [pin.meter for pin in overridden]
        taken: list[Admission] = []
        is_stale = False
        for meter in meters:
            if meter.repeats is None:
                admission = meter.take(known_nanousd, meter in forced)
                if admission is not None:
                    taken.append(admission)
                    is_stale = is_stale or meter.is_closed
                    continue
                error = exceeded_error(meter, call.tool_name, known_nanousd)
            else:
                is_checked = digest is not None and meter not in forced
                repeat = self._find_repeat(meter, meter.repeats, call, digest or b"") if is_checked else None
                if repeat is None:
                    continue
                error = repeat
            for other in taken:
                other.release()
            return meter.open_admission(0), error
        if is_stale:  # a signal handler has closed an account since it was looked up
            for admission in taken:
                admission.release()
            return self._take_each(call, known_nanousd, digest, overridden)
        for pin in overridden:
            pin.meter.overruns += 1
        if taken:
            call._admission = taken[0] if len(taken) == 1 else AdmissionGroup(tuple(taken))
            call._ensure_details()  # as in `admit`
            for admission in taken:
                if admission.meter.counts_calls:  # a call counts from the moment it is admitted
                    admission.settle(call)
        for meter in meters if digest is not None else ():
            if meter.repeats is not None:
                meter.repeats.add(meter, meter.key, call, digest or b"", meter.limit)
        return None

    def charge(self, call: ToolCall) -> None:
        """Charge a call that has run already, whether it fits or not. What it still records counts at once."""
        with self._lock:
            self._charge_each(call, call._cost_nanousd)
        if self._warns and call._admission is not None:
            call._admission.warn()

    def _charge_each(self, call: ToolCall, known_nanousd: int | None) -> None:
        taken: list[Admission] = []
        for meter in self._common if self._common is not None else self._find_meters(call):
            admission = None if meter.repeats is not None else meter.take(known_nanousd, forced=True)
            if admission is not None:
                taken.append(admission)
        if taken:
            call._admission = taken[0] if len(taken) == 1 else AdmissionGroup(tuple(taken))
            call._ensure_details()
            for admission in taken:
                if admission.meter.counts_calls:
                    admission.settle(call)

    def move(self, call: ToolCall) -> None:
        """Move a running call to the accounts of the tags that it has recorded, whether it fits or not. Never raises.

        All that it uses is charged to those. If that exceeds a limit, calls inside it and after it are rejected, and a
        note says that this one was not.
        """
        try:
            with self._lock:
                self._move_each(call)
        except Exception:  # noqa: BLE001 - `ToolCall.record` raises nothing
            Diagnostics.internal_errors += 1

    def _move_each(self, call: ToolCall) -> None:
        admission = call._admission
        parts = list(admission.parts) if type(admission) is AdmissionGroup else [admission] if admission else []
        for scope in self.scopes:
            if scope.tag is None or scope.tag not in call._own_tags:
                continue
            meters = [meter for meter in scope.find_meters(call) if meter.repeats is None]
            for part in [part for part in parts if part.meter.budget is scope.budget and part.meter not in meters]:
                part.release()
                parts.remove(part)
            known_nanousd = None if call._node is None else call._node.key.cost_nanousd
            for meter in meters:
                if any(part.meter is meter for part in parts):
                    continue
                taken = meter.take(known_nanousd, forced=False)
                if taken is None:
                    FigureNotes.add("late tag", call.tool_name, scope.tag)
                    taken = meter.take(known_nanousd, forced=True)
                if taken is not None:
                    parts.append(taken)
                    if meter.counts_calls:
                        taken.settle(call)
        if parts:
            call._admission = parts[0] if len(parts) == 1 else AdmissionGroup(tuple(parts))
            call._ensure_details()  # as in `admit`

    def _find_repeat(
        self, meter: Meter, repeats: RepeatCounter, call: ToolCall, digest: bytes
    ) -> BudgetExceeded | None:
        """Return the error for a call that has run too often with the same arguments; None if it may run."""
        count = repeats.count(meter, meter.key, call, digest)
        if count < meter.limit:
            return None
        return repeated_error(meter, call.tool_name, count, repeats.compute_wait_s(meter, meter.key, call, digest))

    def _find_meters(self, call: ToolCall) -> tuple[Meter, ...]:
        meters: tuple[Meter, ...] = ()
        for scope in self.scopes:
            meters += scope.find_meters(call)
        return meters

    def _apply_policy(self, pin: Admission, error: BudgetExceeded) -> None:
        """Do what the budget's `on_exceed` demands. Return to let the call run.

        Raises:
            BudgetExceeded: the call is rejected.
        """
        meter = pin.meter
        on_exceed = meter.budget.on_exceed
        cause: BaseException | None = None
        if isinstance(on_exceed, str):
            if on_exceed == "warn":
                self._warn(meter, error)
                return
        elif not getattr(_deciding, "now", False):
            _deciding.now = True
            try:
                if on_exceed(error) is True:
                    return
            except KeyboardInterrupt:
                raise
            except BaseException as raised:  # noqa: BLE001 - the user's code: it rejects the call, and is the cause
                Diagnostics.extractor_errors += 1
                cause = raised
            finally:
                _deciding.now = False
        with self._lock:
            meter.rejections += 1
        try:
            raise error from cause
        finally:  # as in `_admit_by_all`
            del pin, meter, error, cause

    def _warn(self, meter: Books, error: BudgetExceeded) -> None:
        with self._lock:
            meter.suppressed_warnings += 1
            if not meter.warnings.ready(self._now()):
                return
            suppressed_warnings, meter.suppressed_warnings = meter.suppressed_warnings, 0
        calls = pluralize(suppressed_warnings, "such call")  # and a tag's value may contain anything
        log_warning(lambda: f"{fault_text(error)} (on_exceed='warn': the call runs; {calls} since the last message)")

    @property
    def rejections(self) -> dict[str, int]:
        """The number of calls that each budget has rejected, by the budget's name."""
        with self._lock:
            return {scope.budget.label: sum(meter.rejections for meter in scope.all_meters()) for scope in self.scopes}

    def left(self, scope: Scope, unit: Unit, account: str | None) -> int:
        """Return what an account of a budget has left, which may be below 0; the limit if it is not in use."""
        with self._lock:
            meter = scope.find_meter(unit, account)
            if meter is not None:
                meter.collect()
            return scope.limits[unit] if meter is None else meter.limit - meter.shown_spent() - meter.held

    def raise_limit(self, scope: Scope, unit: Unit, limit: int) -> None:
        """Set the limit of each account of a budget."""
        with self._lock:
            scope.raise_limit(unit, limit)

    def share(self, sums: SharedSums, *, for_run: bool = False) -> None:
        """Make the budgets per minute, hour, day and month common to all processes with the same sums.

        Args:
            sums: the common sums.
            for_run: make those per run common as well.
        """
        for scope in self.scopes:
            if for_run or scope.budget.per in SHARED_PER:
                scope.share(sums)
        self._find_shortcuts()

    def give_back(self, *, at_once: bool = False) -> None:
        """Give back to the common sums what is not in use; see `SharedMeter.give_back`."""
        for scope in self.scopes:
            for meter in scope.all_meters():
                if isinstance(meter, SharedMeter):
                    meter.give_back(at_once=at_once)

    def status(self) -> list[BudgetStatus]:
        """Return the state of every budget: one entry for each limit of each account, accounts by name."""
        with self._lock:
            return [_describe(meter) for scope in self.scopes for meter in scope.all_meters()]

    def _in_child(self) -> None:
        for scope in self.scopes:
            scope.renew()
        self._find_shortcuts()


def _describe(meter: Books) -> BudgetStatus:
    """Return the state of a limit. The caller holds the lock."""
    meter.collect()
    unit = meter.unit
    return {
        "name": meter.name,
        "budget": meter.budget.label,
        "account": meter.key,
        "unit": unit,
        "per": meter.budget.per,
        "limit": convert_amount(meter.limit, unit),
        "spent": convert_amount(meter.shown_spent(), unit),
        "reserved": convert_amount(meter.held, unit),
        "remaining": convert_amount(max(0, meter.limit - meter.shown_spent() - meter.held), unit),
        "rejections": meter.rejections,
        "overruns": meter.overruns,
        "unknown_cost_calls": meter.unknown_calls,
        "frees_in_s": meter.compute_wait_s(0),
    }


def _announce(meter: Books) -> None:
    """Log that the share `warn_at` of a limit is spent, and call `on_warn`; what that raises is counted and logged."""
    with meter.lock:
        status = _describe(meter)
    log_warning(lambda: warning_text(meter))
    try:
        if meter.budget.on_warn is not None:
            meter.budget.on_warn(status)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code, which must not hurt the call that it runs after
        Diagnostics.extractor_errors += 1
        fault = error
        log_warning(lambda: f"on_warn= of budget {meter.name!r} raised {class_name(type(fault))}: {fault_text(fault)}")
