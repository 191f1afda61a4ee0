"""The sums of budgets that the workers of a run share, in one small file.

It does what `StoreLedger` does, without SQLite: a worker may be forked at any moment, and SQLite does not survive that
in the middle of a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from toolweaver_monitor._store import files
from toolweaver_monitor._store.ledger import CAREFUL_S, SHARE, Account, Grant, first_slot, slot_of, wait_s
from toolweaver_monitor._store.lock_file import LockFile
from toolweaver_monitor.errors import SinkUnavailable

LEDGER_FILE = "budgets"
MANY_ACCOUNTS = 1_000
"""In a file of more, those of customers whose window is over make room."""
LEDGER_WAIT_S = 2.0
"""Longer than for a store: a process that does not get through counts for itself, and may exceed the limit."""
RESTORE_WAIT_S = 0.05


class Sums(msgspec.Struct, array_like=True):
    """What is spent on an account, by the part of its window, and when a request was last refused."""

    slots: dict[int, int] = {}
    refused_at: float = 0.0


_decode_sums = msgspec.msgpack.Decoder(dict[str, Sums]).decode


class RunLedger:
    """The budgets of a run.

    Args:
        folder: the folder of the run.
        wall_s: returns the Unix seconds.
        lineage: returns None while files of the folder are missing, and what differs from before once they were made
            again.
    """

    FAULT = (
        "is damaged, cannot be written, or is locked by a worker that is stopped; end that worker, or make the file "
        "writable, or delete it, and what was spent is forgotten"
    )

    def __init__(
        self, folder: Path, wall_s: Callable[[], float] = time.time, lineage: Callable[[], object] = lambda: ()
    ) -> None:
        self.path = folder / LEDGER_FILE
        self._lock = LockFile(folder / f"{LEDGER_FILE}.lock")
        self._wall_s = wall_s
        self._leased_in: dict[str, int] = {}
        """The slot to which this process's last lease was charged."""
        self._lineage = lineage
        self._seen: dict[str, Sums] = {}
        """The sums as this process saw them last, should their file be deleted."""
        self._seen_of = lineage()

    def request(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Grant | None:
        """Do what `exchange` does. Return None if the file is busy or broken, or cannot be written."""
        try:
            if not back and not need:
                return self._look(self._read(), Account(name, per, unit), limit, 0)
            with self._lock.held(LEDGER_WAIT_S):
                return self.exchange(Account(name, per, unit), limit, back, need)
        except (OSError, SinkUnavailable, msgspec.DecodeError):
            return None

    def exchange(self, account: Account, limit: int, back: int, need: int) -> Grant:
        """Give back what is left of a lease, and ask for a new one; see `StoreLedger.exchange`. Hold the lock.

        Raises:
            OSError: the file cannot be read or written.
            msgspec.DecodeError: it is damaged.
        """
        accounts = self._read()
        key = "\0".join(account)
        sums = accounts.setdefault(key, Sums())
        slot = self._slot(sums, account.per)
        if back:
            charged = self._leased_in.get(key, slot) if back > 0 else slot
            sums.slots[charged] = sums.slots.get(charged, 0) - back
        sums.slots = {at: spent for at, spent in sums.slots.items() if at >= first_slot(account.per, slot)}
        grant = self._look(accounts, account, limit, need)
        if need and need <= limit - grant.spent:
            amount = need if grant.refused else max(need, (limit - grant.spent) // SHARE)
            sums.slots[slot] = sums.slots.get(slot, 0) + amount
            self._leased_in[key] = slot
            grant = grant._replace(amount=amount, spent=grant.spent + amount, frees_in_s=0.0, is_old=False)
        elif need:
            sums.refused_at = self._wall_s()
            grant = grant._replace(refused=True)
        if len(accounts) > MANY_ACCOUNTS:
            accounts = {key: sums for key, sums in accounts.items() if self._counts(key, sums)}
        self._write(accounts)
        return grant

    def _counts(self, key: str, sums: Sums) -> bool:
        """Return whether an account has spent anything in its present window, or was refused a moment ago."""
        per, now = key.rsplit("\0", 2)[1], self._wall_s()
        first = first_slot(per, slot_of(per, now))
        return abs(now - sums.refused_at) < CAREFUL_S or any(slot >= first for slot in sums.slots)

    def _slot(self, sums: Sums, per: str) -> int:
        return max(slot_of(per, self._wall_s()), *sums.slots, 0)

    def _look(self, accounts: dict[str, Sums], account: Account, limit: int, need: int) -> Grant:
        """Return the present sums, without changing anything."""
        key = "\0".join(account)
        sums = accounts.get(key) or Sums()
        slot, now = self._slot(sums, account.per), self._wall_s()
        slots = sorted(item for item in sums.slots.items() if item[0] >= first_slot(account.per, slot))
        spent = sum(amount for _, amount in slots)
        missing = spent + max(need, 1) - limit
        frees_in_s = wait_s(account.per, slots, missing, now) if missing > 0 else 0.0
        is_refused = abs(now - sums.refused_at) < CAREFUL_S
        return Grant(0, spent, frees_in_s, is_refused, self._leased_in.get(key, slot) != slot)

    def _read(self) -> dict[str, Sums]:
        try:
            accounts = _decode_sums(self.path.read_bytes())
        except FileNotFoundError:
            accounts = {}
        if self._lineage() == self._seen_of:
            self._seen = accounts
        return accounts

    def _write(self, accounts: dict[str, Sums]) -> None:
        files.replace_file(self.path, msgspec.msgpack.encode(accounts))

    def restore(self) -> None:
        """Raise the sums to those that this process saw last, if their file was made again since then.

        If the file is locked, or cannot be written, nothing is done: call it again.
        """
        lineage = self._lineage()
        if lineage is None or lineage == self._seen_of:
            return
        with suppress(OSError, SinkUnavailable, msgspec.DecodeError), self._lock.held(RESTORE_WAIT_S):
            accounts = self._read()
            for key, seen in self._seen.items():
                slots = accounts.setdefault(key, Sums()).slots
                slots.update({slot: max(spent, slots.get(slot, 0)) for slot, spent in seen.slots.items()})
            self._write(accounts)
            self._seen_of = lineage

    def close(self) -> None:
        """Do nothing, since nothing is open."""
