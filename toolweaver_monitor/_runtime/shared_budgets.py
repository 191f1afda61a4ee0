"""Budgets of several processes: the sums that they share, and the thread that gives back what is not in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._text.display import escape

if TYPE_CHECKING:
    from toolweaver_monitor._runtime.shared_workers import SharedWorkers
    from toolweaver_monitor._store.ledger import StoreLedger
    from toolweaver_monitor._store.shared.ledger import RunLedger

TICK_S = 0.2
RETRY_S = 5.0
"""How long sums that were out of reach are left alone: to ask them may take a second, for which calls wait."""


class SharedBudgets:
    """The budgets of a ledger whose sums are common to several processes.

    Args:
        ledger: the budgets.
        of_run: the sums of the workers of a run; None if they are not joined.
        of_store: the sums in a store, which outlive the run; None without a store.
    """

    def __init__(self, ledger: Ledger, of_run: RunLedger | None, of_store: StoreLedger | None) -> None:
        self._ledger = ledger
        self._of_run, self._of_store = of_run, of_store
        self._ticker = Worker("shared budgets", self._tick, TICK_S)
        self._is_closed = False
        self._try_again_s: dict[object, float] = {}
        """When to ask sums again that were out of reach, in seconds of the monotonic clock."""
        self._alone: dict[str, str] = {}
        """The budgets whose sums were out of reach the last time, and why."""
        ledger.share(self, for_run=of_run is not None)

    def exchange(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Any:
        """Pass a request on to the sums; see `StoreLedger.request`. Return None if they are out of reach."""
        sums = self._of_run if per == "run" or self._of_store is None else self._of_store
        if self._is_closed or sums is None:  # a late look at the status must not open the store again
            return None
        if monotonic_s() < self._try_again_s.get(sums, 0.0):
            return None
        if need:
            self._ticker.ensure_running()
        grant = None
        try:
            grant = sums.request(name, per, unit, limit, back, need)
        except Exception:  # noqa: BLE001 - a fault of this library must not stop the program's calls
            Diagnostics.internal_errors += 1
        if grant is None:
            self._try_again_s[sums] = monotonic_s() + RETRY_S
            self._alone[name] = f"{escape(str(sums.path))} {sums.FAULT}"
        else:
            self._alone.pop(name, None)
        return grant

    def problems(self) -> Iterator[str]:
        """Name each budget that counts this process only."""
        for name, fault in sorted(self._alone.items()):
            yield f"budget {name!r} counts this process only: {fault}"

    def _tick(self) -> None:
        self._ledger.give_back()

    def close(self) -> None:
        """Give everything back that no running call holds."""
        self._ticker.stop()
        self._try_again_s.clear()
        self._ledger.give_back(at_once=True)
        self._is_closed = True
        for sums in (self._of_run, self._of_store):
            if sums is not None:
                sums.close()


def share_budgets(ledger: Ledger | None, sinks: Sequence[Any], workers: SharedWorkers | None) -> SharedBudgets | None:
    """Keep the sums of budgets where other processes find them.

    They are in the first sink that is a store, and those per run, or all without a store, in the folder of the workers
    that are joined. Without either they are of this process.
    """
    if ledger is None:
        return None
    store = next((sink for sink in sinks if hasattr(sink, "_open_ledger")), None)
    of_run = workers.open_ledger() if workers is not None else None
    if of_run is None and (store is None or all(scope.budget.per == "run" for scope in ledger.scopes)):
        return None
    return SharedBudgets(ledger, of_run, store._open_ledger() if store is not None else None)
