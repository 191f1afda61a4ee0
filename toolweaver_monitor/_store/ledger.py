"""The sums of budgets that all processes of a store share.

A budget's sums are kept by sixtieths of its window, or by the calendar month, in wall-clock time (UTC); of a run there
is one. What a process
leases counts as spent at once, and what it gives back does not any more. So a process that is killed has spent its
lease. A clock that is set back frees nothing: the latest sixtieth that was written to stays the current one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from toolweaver_monitor._store.connection import StoreConnection, at_work
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.errors import SinkUnavailable

SIXTIETHS = 60
SHARE = 32
"""A lease is this part of what is left."""
CAREFUL_S = 1.0
"""How long after a refusal no process is granted more than it asks for."""
WINDOWS_S = {"minute": 60.0, "hour": 3_600.0, "day": 86_400.0}


class Account(NamedTuple):
    """One budget of all processes: its name, its window and its unit."""

    name: str
    per: str
    unit: str


class Grant(NamedTuple):
    """The answer to a request.

    Attributes:
        amount: what was granted; 0 if it was refused.
        spent: what is spent by all processes, their leases included.
        frees_in_s: seconds until there is room again; None if that is unknown, 0.0 if there is.
        refused: whether any process was refused within the last second.
        is_old: whether this process's lease was charged to an earlier part of the window.
    """

    amount: int
    spent: int
    frees_in_s: float | None
    refused: bool
    is_old: bool


class StoreLedger:
    """The budgets of a store.

    Args:
        store: its file, with a connection of its own.
        wall_s: returns the Unix seconds.
    """

    FAULT = "is busy or cannot be written; make it writable, and hold no lock on it"

    def __init__(self, store: StoreFile, wall_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self.path = store.path
        self._wall_s = wall_s
        self._leased_in: dict[Account, int] = {}
        """The slot to which this process's last lease was charged."""

    def request(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Grant | None:
        """Do what `exchange` does. Return None if the store is busy, broken, or cannot be written."""
        try:
            return self.exchange(Account(name, per, unit), limit, back, need)
        except (OSError, sqlite3.Error, SinkUnavailable):
            return None

    def exchange(self, account: Account, limit: int, back: int, need: int) -> Grant:
        """Give back what is left of a lease, and ask for a new one, in one transaction.

        Args:
            account: whose sums.
            limit: what may be spent in the window.
            back: the amount to give back; below 0, to charge more than was leased.
            need: the least amount to lease; 0 for none.

        Raises:
            OSError: the store is busy or broken.
            sqlite3.Error: as above.
            SinkUnavailable: it cannot be written.
        """
        reading = self._store.reading_connection() if not back and not need else None
        if reading is not None:
            with at_work():
                return self._look(reading, account, limit)
        with self._store.transaction() as connection:
            now, slot, _ = self._window(connection, account)
            if back:
                self._charge(connection, account, self._leased_in.get(account, slot) if back > 0 else slot, -back)
            connection.execute(_DELETE, (*account, first_slot(account.per, slot)))
            grant = self._look(connection, account, limit, need)
            if need and need <= limit - grant.spent:
                amount = need if grant.refused else max(need, (limit - grant.spent) // SHARE)
                self._charge(connection, account, slot, amount)
                self._leased_in[account] = slot
                grant = grant._replace(amount=amount, spent=grant.spent + amount, frees_in_s=0.0, is_old=False)
            elif need:
                connection.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?)", (*account, now))
                grant = grant._replace(refused=True)
        return grant

    def _window(self, connection: StoreConnection, account: Account) -> tuple[float, int, list[tuple[int, int]]]:
        """Return the time, the current slot, and the sums of the slots that count."""
        now = self._wall_s()
        latest = connection.value(_LATEST, *account)
        slot = max(slot_of(account.per, now), latest if isinstance(latest, int) else 0)
        return now, slot, connection.execute(_SLOTS, (*account, first_slot(account.per, slot))).fetchall()

    def _look(self, connection: StoreConnection, account: Account, limit: int, need: int = 0) -> Grant:
        """Return the present sums, without changing anything."""
        now, slot, slots = self._window(connection, account)
        spent = sum(amount for _, amount in slots)
        refused_at = connection.value(_REFUSED, *account)
        refused = isinstance(refused_at, float) and abs(now - refused_at) < CAREFUL_S
        missing = spent + max(need, 1) - limit
        frees_in_s = wait_s(account.per, slots, missing, now) if missing > 0 else 0.0
        return Grant(0, spent, frees_in_s, refused, self._leased_in.get(account, slot) != slot)

    def _charge(self, connection: StoreConnection, account: Account, slot: int, amount: int) -> None:
        connection.execute(_CHARGE, (*account, slot, amount))

    def close(self) -> None:
        """Close the connection."""
        self._store.close()


_LATEST = "SELECT max(slot) FROM ledger WHERE budget = ? AND per = ? AND unit = ?"
_SLOTS = "SELECT slot, spent FROM ledger WHERE budget = ? AND per = ? AND unit = ? AND slot >= ? ORDER BY slot"
_DELETE = "DELETE FROM ledger WHERE budget = ? AND per = ? AND unit = ? AND slot < ?"
_REFUSED = "SELECT at FROM refusals WHERE budget = ? AND per = ? AND unit = ?"
_CHARGE = """INSERT INTO ledger VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (budget, per, unit, slot) DO UPDATE SET spent = spent + excluded.spent"""


def read_spent(store: StoreReader, now: float) -> list[tuple[Account, int, float | None]]:
    """Return the budgets that a store has sums of, sorted, without changing anything.

    Args:
        store: the store, or several as one, whose sums are added.
        now: Unix seconds.

    Returns:
        Of each the amount spent in its window, leases of running processes included, and the Unix seconds at which a
        process was last refused; None if none was.
    """
    accounts = {Account(*row) for row in store.rows("SELECT DISTINCT budget, per, unit FROM ledger")}
    found = []
    for account in sorted(accounts):
        slot = max(slot_of(account.per, now), *(latest or 0 for (latest,) in store.rows(_LATEST, account)))
        spent = sum(amount for _, amount in store.rows(_SLOTS, (*account, first_slot(account.per, slot))))
        refused_at = max((at for (at,) in store.rows(_REFUSED, account)), default=None)
        found.append((account, spent, refused_at))
    return found


def slot_of(per: str, now: float) -> int:
    """Return the number of the sixtieth, or of the month, that a moment of Unix time is in."""
    if per == "run":
        return 0
    if per == "month":
        moment = time.gmtime(now)
        return moment.tm_year * 12 + moment.tm_mon - 1
    return int(now // (WINDOWS_S[per] / SIXTIETHS))


def first_slot(per: str, slot: int) -> int:
    """Return the earliest slot that counts while another one is filled."""
    return slot if per in ("run", "month") else slot - SIXTIETHS


def wait_s(per: str, slots: list[tuple[int, int]], missing: int, now: float) -> float | None:
    """Return the seconds until the oldest sums that make up an amount have left the window."""
    if per in ("run", "month"):
        return None
    width_s = WINDOWS_S[per] / SIXTIETHS
    for slot, spent in slots:
        missing -= spent
        if missing <= 0:
            return max(0.0, (slot + SIXTIETHS + 1) * width_s - now)
    return None
