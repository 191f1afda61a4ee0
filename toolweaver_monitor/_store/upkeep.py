"""Keep a store small: merge old sums into longer periods, delete old rows, and forget what a tag names.

All of this runs in a transaction of a writer, with the store's lock held.
"""

from __future__ import annotations

import time

import msgspec

from toolweaver_monitor._store.connection import StoreConnection
from toolweaver_monitor._store.ledger import WINDOWS_S, first_slot, slot_of
from toolweaver_monitor._store.schema import DAY, HOUR, KEY, LEAST, MAPS, MINUTE, MOST, SUMS, TAG, VALUES, merge_clause

MINUTES_KEPT_S = 6 * HOUR
"""Sums by minute are merged to hours once they are this old, in seconds."""
HOURS_KEPT_S = 31 * DAY
"""The same for hours, which become days."""
ROWS_AT_A_TIME = 5_000
"""Rows deleted, and sums merged, in one transaction: other writers wait for at most that."""
UPKEEP_EVERY_S = 600.0
PAGES_AT_A_TIME = 2_000
"""Free pages given back to the disk in one transaction, if there are that many and they are a quarter of the file."""


class Retention(msgspec.Struct, frozen=True):
    """How long rows are kept; sums stay.

    Attributes:
        days: rows older than this are deleted; None for never.
        max_bytes: the oldest rows are deleted when the store holds more; None for no limit.
    """

    days: float | None = None
    max_bytes: int | None = None


def tidy(connection: StoreConnection, retention: Retention, now: float) -> bool:
    """Do one step of the upkeep. Return False if nothing is left to do.

    Args:
        connection: a writer's, in a transaction.
        retention: how long rows are kept.
        now: Unix seconds.
    """
    more = _merge(connection, MINUTE, HOUR, now - MINUTES_KEPT_S)
    more |= _merge(connection, HOUR, DAY, now - HOURS_KEPT_S)
    _delete_past_windows(connection, now)
    if retention.days is not None:
        more |= _delete_rows_before(connection, now - retention.days * DAY)
    if is_too_large(connection, retention):
        more |= _delete_oldest_rows(connection)
    return more or _give_back(connection)


def is_too_large(connection: StoreConnection, retention: Retention) -> bool:
    """Return True if a store holds more than it may."""
    return retention.max_bytes is not None and used_bytes(connection) > retention.max_bytes


def _give_back(connection: StoreConnection) -> bool:
    """Make the file smaller if much of it is free. Return False if there is nothing to give back."""
    pages, free = (connection.value(f"PRAGMA {name}") for name in ("page_count", "freelist_count"))
    if int(free) < max(PAGES_AT_A_TIME, int(pages) // 4):  # type: ignore[call-overload]
        return False
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_AT_A_TIME})").fetchall()
    return True


def used_bytes(connection: StoreConnection) -> int:
    """Return how many bytes of the file are in use."""
    size, pages, free = (connection.value(f"PRAGMA {name}") for name in ("page_size", "page_count", "freelist_count"))
    return int(size) * (int(pages) - int(free))  # type: ignore[call-overload, no-any-return]


def _merge(connection: StoreConnection, span: int, longer: int, before: float) -> bool:
    """Merge sums of the oldest period into those of a longer one. Return False if there are none that old."""
    oldest = connection.value("SELECT min(at) FROM rollups WHERE span = ?", span)
    if not isinstance(oldest, int) or oldest - oldest % longer + longer > before:
        return False
    start = oldest - oldest % longer
    connection.execute(_MERGE, (longer, start, span, start, start + longer))
    connection.execute("DELETE FROM rollups WHERE span = ? AND at >= ? AND at < ?", (span, start, start + longer))
    return True


_MERGE = (
    f"INSERT INTO rollups ({', '.join((*KEY, *VALUES))}) SELECT ?, ?, series, run, "  # noqa: S608 - names from the schema
    + ", ".join(
        [f"sum({name})" for name in SUMS]
        + [f"min({name})" for name in LEAST]
        + [f"max({name})" for name in MOST]
        + [f"sum_counts({name})" for name in MAPS]
    )
    + f" FROM rollups WHERE span = ? AND at >= ? AND at < ? GROUP BY series, run {merge_clause()}"
)


def _delete_past_windows(connection: StoreConnection, now: float) -> None:
    """Delete what budgets had spent in windows that are over: nobody may ask for a customer's account again."""
    for per in (*WINDOWS_S, "month"):
        before = first_slot(per, slot_of(per, now))
        connection.execute("DELETE FROM ledger WHERE per = ? AND slot < ?", (per, before))
    connection.execute("DELETE FROM refusals WHERE (budget, per, unit) NOT IN (SELECT budget, per, unit FROM ledger)")


def _delete_rows_before(connection: StoreConnection, before: float) -> bool:
    newest = connection.value(
        "SELECT max(seq) FROM (SELECT seq, started_at + duration_s AS ended FROM call_rows ORDER BY seq LIMIT ?) "
        "WHERE ended < ?",
        ROWS_AT_A_TIME,
        before,
    )
    return newest is not None and _delete_up_to(connection, newest)


def _delete_oldest_rows(connection: StoreConnection) -> bool:
    query = "SELECT max(seq) FROM (SELECT seq FROM call_rows ORDER BY seq LIMIT ?)"
    newest = connection.value(query, ROWS_AT_A_TIME)
    return newest is not None and _delete_up_to(connection, newest)


def _delete_up_to(connection: StoreConnection, seq: object) -> bool:
    """Delete rows, and the sets of tags that no later row has."""
    connection.execute("DELETE FROM labels WHERE last_seq <= ?", (seq,))
    return connection.execute("DELETE FROM call_rows WHERE seq <= ?", (seq,)).rowcount > 0


# --- forgetting -----------------------------------------------------------------------------------------------------


def forget_tag(connection: StoreConnection, name: str, value: str) -> dict[str, int]:
    """Delete the calls with a tag, those inside them, and every sum that is by the tag's value.

    Sums by tool, path, model and run stay: they do not name it.

    Args:
        connection: a writer's, in a transaction, with `PRAGMA secure_delete` on.
        name: the tag.
        value: the text of its value.

    Returns:
        How many `rows`, sums (`rollups`) and sets of tags (`labels`) were deleted.
    """
    run = connection.execute
    run("CREATE TEMP TABLE IF NOT EXISTS gone (kind TEXT, id INTEGER, PRIMARY KEY (kind, id))")
    run("DELETE FROM temp.gone")
    run(
        "INSERT OR IGNORE INTO temp.gone SELECT 'label', label FROM labels, json_each(labels.tags) "
        "WHERE key = ? AND CAST(value AS TEXT) = ?",
        (name, value),
    )
    for kind, column in (("call", "id"), ("root", "root")):
        found = f"SELECT ?, {column} FROM call_rows WHERE label IN ({_GONE})"  # noqa: S608 - names from above
        run(f"INSERT OR IGNORE INTO temp.gone {found}", (kind, "label"))
    inside = f"SELECT 'call', id FROM call_rows WHERE root IN ({_GONE}) AND parent IN ({_GONE})"  # noqa: S608
    while run(f"INSERT OR IGNORE INTO temp.gone {inside}", ("root", "call")).rowcount > 0:
        pass  # calls inside a call that was given the tag after they had ended
    rows = run(f"DELETE FROM call_rows WHERE root IN ({_GONE}) AND id IN ({_GONE})", ("root", "call")).rowcount  # noqa: S608
    run("INSERT OR IGNORE INTO temp.gone SELECT 'series', series FROM series WHERE kind = ? AND name = ? AND value = ?",
        (TAG, name, value))  # fmt: skip
    run(
        "INSERT OR IGNORE INTO temp.gone SELECT 'series', s.series FROM series s, labels l, json_each(l.tags) j "  # noqa: S608
        f"WHERE l.label IN ({_GONE}) AND s.kind = 'tag' AND s.name = j.key AND s.value = CAST(j.value AS TEXT) "
        "AND NOT EXISTS (SELECT 1 FROM labels o, json_each(o.tags) k WHERE k.key = j.key AND k.value = j.value "
        f"AND o.label NOT IN ({_GONE}))",
        ("label", "label"),
    )  # what no other calls were tagged with, such as the number of an order
    rollups = run(f"DELETE FROM rollups WHERE series IN ({_GONE})", ("series",)).rowcount  # noqa: S608
    run(f"DELETE FROM series WHERE series IN ({_GONE})", ("series",))  # noqa: S608
    labels = run(f"DELETE FROM labels WHERE label IN ({_GONE})", ("label",)).rowcount  # noqa: S608
    for table in ("ledger", "refusals"):  # the account of a budget that gives each value of a tag one
        run(f"DELETE FROM {table} WHERE substr(budget, -length(?)) = ?", (f" [{value}]",) * 2)  # noqa: S608
    run("DELETE FROM temp.gone")
    run("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")  # numbers that other processes remember
    return {"rows": rows, "rollups": rollups, "labels": labels}


_GONE = "SELECT id FROM temp.gone WHERE kind = ?"


def is_due(connection: StoreConnection) -> bool:
    """Return True, and note it, if no process has done the upkeep for a while."""
    now = time.time()
    last = connection.value("SELECT value FROM meta WHERE name = 'tidied_at'")
    if isinstance(last, float) and 0 <= now - last < UPKEEP_EVERY_S:
        return False
    connection.execute("UPDATE meta SET value = ? WHERE name = 'tidied_at'", (now,))
    return True
