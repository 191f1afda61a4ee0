"""Budgets that outlive the process: the sums of a store, and the thread that gives back what is not in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core.sanitize import Diagnostics

TICK_S = 0.2


class SharedBudgets:
    """The budgets of a ledger whose sums are in a store.

    Args:
        ledger: the budgets.
        store: the sink whose file has the sums.
    """

    def __init__(self, ledger: Ledger, store: Any) -> None:
        self._ledger = ledger
        self._sums = store._open_ledger()
        self._ticker = Worker("shared budgets", self._tick, TICK_S)
        self._is_closed = False
        ledger.share(self)

    def exchange(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Any:
        """Pass a request on to the store; see `StoreLedger.request`. Return None if that is out of reach."""
        if self._is_closed:  # a late look at the status must not open the store again
            return None
        if need:
            self._ticker.ensure_running()
        try:
            return self._sums.request(name, per, unit, limit, back, need)
        except Exception:  # noqa: BLE001 - a fault of this library must not stop the program's calls
            Diagnostics.internal_errors += 1
            return None

    def _tick(self) -> None:
        self._ledger.give_back()

    def close(self) -> None:
        """Give everything back that no running call holds."""
        self._ticker.stop()
        self._ledger.give_back(at_once=True)
        self._is_closed = True
        self._sums.close()


def share_budgets(ledger: Ledger | None, sinks: Sequence[Any]) -> SharedBudgets | None:
    """Keep the sums of budgets in the first sink that is a store; without one they are of this process."""
    store = next((sink for sink in sinks if hasattr(sink, "_open_ledger")), None)
    if ledger is None or store is None or all(scope.budget.per == "run" for scope in ledger.scopes):
        return None
    return SharedBudgets(ledger, store)
