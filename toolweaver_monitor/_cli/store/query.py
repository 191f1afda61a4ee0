"""The command `toolweaver-monitor query`: SQL on a store, which it can only read."""

from __future__ import annotations

import argparse
import math
import re
import sqlite3
import time
from typing import Any

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._store.connection import unreadable
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError, ToolweaverMonitorError

QUERY_PURPOSE = """\
Ask a store in SQL. The view calls has a row for each call, stats the sums by minute, hour and day: SELECT * shows
their columns. Nothing can be changed. One store at a time.
"""
QUERY_USES = """\
examples:
  toolweaver-monitor query runs.db --sql "SELECT path, count(*) FROM calls WHERE outcome = 'failure' GROUP BY path"
  toolweaver-monitor query runs.db --sql "SELECT * FROM calls ORDER BY cost_usd DESC LIMIT 5" --json
"""
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
STEPS_BETWEEN_LOOKS = 10_000
_MISSING = re.compile(r'no such (table|column): "?([\w.]+)')
LONGEST_VALUE = 10_000_000
"""Bytes of one value: a question must not take all of the memory."""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "query", QUERY_PURPOSE, QUERY_USES)
    common.add_stores(parser)
    parser.add_argument("--sql", required=True, metavar="SQL", help="one SELECT statement")
    parser.add_argument(
        "--max-rows", type=common.whole, default=1_000, metavar="N", help="rows to print at most (1,000)"
    )
    parser.add_argument(
        "--timeout", type=common.amount, default=10.0, metavar="SECONDS", help="how long it may take (10)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of JSON objects")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the rows that the query finds."""
    with common.open_store(options) as store:
        head, rows, is_cut = select(store, options.sql, max_rows=options.max_rows, timeout_s=options.timeout)
    form = "json" if options.json else "csv" if options.csv else "text"
    if form == "json" and len(set(head)) < len(head):
        raise ConfigurationError("two columns have one name, and an object has room for one", hint="add AS to one")
    common.print_rows([head, *rows], form)
    if is_cut and form == "text":
        print(f"  only the first {options.max_rows:,} rows: --max-rows shows more")
    return 0


def select(store: StoreReader, sql: str, *, max_rows: int, timeout_s: float) -> tuple[list[str], list[list[Any]], bool]:
    """Run one SELECT that can only read the store.

    Args:
        store: the store.
        sql: the statement.
        max_rows: the most rows to return.
        timeout_s: the longest time it may take, in seconds.

    Returns:
        The names of the columns, the rows, and whether there were more.

    Raises:
        ConfigurationError: it is no SELECT, is wrong, or took too long.
    """
    if len(store.stores) > 1:
        raise ConfigurationError("a query is asked of one store", hint="ask each by itself, and add up the rows")
    connection = store._connection
    deadline = time.monotonic() + timeout_s
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    try:
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise ConfigurationError("this is no question", hint="write one SELECT statement")
        found = [[_plain(value) for value in row] for row in cursor.fetchmany(max(0, max_rows) + 1)]
        names = [column[0] for column in cursor.description]
    except sqlite3.Warning as error:
        raise ConfigurationError(str(error), hint="write one SELECT statement") from None
    except (sqlite3.Error, UnicodeError) as error:
        if "interrupted" in str(error) and time.monotonic() < deadline:
            raise KeyboardInterrupt from None  # Ctrl-C in the handler, which SQLite takes for its answer
        if "image is malformed" in str(error) or "malformed database" in str(error):
            raise unreadable(store.path, error) from None
        raise _explain(store, error, timeout_s) from None
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
    return names, found[: max(0, max_rows)], len(found) > max_rows


def _authorize(action: int, _first: str | None, second: str | None, _database: str | None, _source: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no infinity


def _explain(store: StoreReader, error: Exception, timeout_s: float) -> ToolweaverMonitorError:
    text = str(error)
    if "interrupted" in text:
        return ConfigurationError(f"the query took longer than {timeout_s:g} s", hint="ask for less, or --timeout 60")
    if "not authorized" in text or "authorization" in text or "prohibited" in text or "readonly" in text:
        return ConfigurationError("a query may only read", hint="write one SELECT statement")
    if "execute one statement" in text:
        return ConfigurationError("there is more than one statement", hint="write one SELECT statement")
    hint = "SELECT * FROM calls LIMIT 1 shows the columns of the view calls; there is stats, too"
    if missing := _MISSING.match(text):
        views = store.columns()
        known = views if missing[1] == "table" else {name for columns in views.values() for name in columns}
        close = suggest(missing[2].rpartition(".")[2], sorted(known))
        hint = f"did you mean {close[0]}?" if close else hint
    return ConfigurationError(f"SQLite says: {text}", hint=hint)
