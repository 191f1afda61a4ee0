"""The tables of a store, and the version of their layout.

`docs/reference/store.md` documents the views, which keep their columns; the tables below them may change with the
version.
"""

from __future__ import annotations

from collections.abc import Sequence

APPLICATION_ID = 0x74776D31  # "twm1", in the header of the file
VERSION = 1
MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""By layout, the statements that make the next one of it. A writer runs them in one transaction."""

OUTCOMES = ("success", "failure", "timeout", "cancelled", "rejected", "abandoned", "interrupted")
"""Rows hold the position in this tuple. Only ever append to it."""
COST_SOURCES = ("", "reported", "declared", "priced")
"""As `OUTCOMES`."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400
"""Seconds that one roll-up covers."""

PATH, MODEL, TAG = "path", "model", "tag"
"""The kinds of a series: calls of one path of tools, of one model, of one value of a tag."""

ROW = (
    "run", "id", "parent", "root", "path", "label", "started_at", "duration_s", "outcome", "unsplit_tokens",
    "input_tokens", "output_tokens", "cached_tokens", "cost_nanousd", "cost_source", "model", "error_type", "error",
    "weight", "more",
)  # fmt: skip
"""The columns of a row of `call_rows`, after its number `seq`.

What is missing is 0, and a cost of -1 is unknown: to bind None or an empty text takes Python's sqlite3 many times as
long as a number. For a 0 to stay a number, the columns of texts are declared without a type.
"""
UNKNOWN_COST = -1

SUMS = (
    "calls", "outermost", *OUTCOMES, "retries", "cache_hits", "costed", "unpriced", "cost_nanousd", "saved_nanousd",
    "unsplit_tokens", "input_tokens", "output_tokens", "cached_tokens", "items", "duration_sum_s", "first_item_sum_s",
)  # fmt: skip
LEAST = ("duration_min_s", "first_seq")
MOST = ("duration_max_s", "last_seq")
MAPS = ("durations", "first_items", "errors")
"""JSON objects of counts: by bucket of the exponential histogram, twice, and by type of error. NULL if empty."""
VALUES = (*SUMS, *LEAST, *MOST, *MAPS)
"""What a roll-up holds, after its key."""
KEY = ("span", "at", "series", "run")
ACCOUNT = ("budget", "per", "unit")
ACCOUNT_KEY = (*ACCOUNT, "slot")


def _case(column: str, names: Sequence[str]) -> str:
    whens = " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(names))
    return f"CASE {column} {whens} END"


def _rollup_columns() -> str:
    real = {"duration_sum_s", "first_item_sum_s", "duration_min_s", "duration_max_s"}
    columns = [f"{name} {'REAL' if name in real else 'INTEGER'} NOT NULL DEFAULT 0" for name in SUMS]
    columns += [f"{name} {'REAL' if name in real else 'INTEGER'}" for name in (*LEAST, *MOST)]
    return ", ".join(columns + [f"{name} TEXT" for name in MAPS])


def _more(name: str, default: str = "NULL") -> str:
    return f"coalesce(json_extract(nullif(r.more, 0), '$.{name}'), {default}) AS {name}"


TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE runs (run INTEGER PRIMARY KEY, started_at REAL, last_at REAL, pid INTEGER, host TEXT, program TEXT,
        python TEXT, calls INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE series (series INTEGER PRIMARY KEY, kind TEXT NOT NULL, parent INTEGER NOT NULL,
        name TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (kind, parent, name, value))""",
    """CREATE TABLE labels (label INTEGER PRIMARY KEY AUTOINCREMENT, own_tags TEXT, tags TEXT,
        last_seq INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE call_rows (seq INTEGER PRIMARY KEY, run INTEGER, id INTEGER, parent INTEGER, root INTEGER,
        path INTEGER, label INTEGER, started_at REAL, duration_s REAL, outcome INTEGER, unsplit_tokens INTEGER,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cost_nanousd INTEGER, cost_source INTEGER,
        model INTEGER, error_type, error, weight INTEGER, more)""",
    "CREATE INDEX call_rows_by_root ON call_rows (root)",  # rises within a process, so it costs little
    f"""CREATE TABLE rollups (span INTEGER NOT NULL, at INTEGER NOT NULL, series INTEGER NOT NULL,
        run INTEGER NOT NULL, {_rollup_columns()}, PRIMARY KEY (span, at, series, run)) WITHOUT ROWID""",
    """CREATE TABLE ledger (budget TEXT, per TEXT, unit TEXT, slot INTEGER, spent INTEGER NOT NULL,
        PRIMARY KEY (budget, per, unit, slot)) WITHOUT ROWID""",
    """CREATE TABLE refusals (budget TEXT, per TEXT, unit TEXT, at REAL NOT NULL,
        PRIMARY KEY (budget, per, unit)) WITHOUT ROWID""",
    f"""CREATE VIEW calls AS SELECT r.seq, r.run, p.name AS tool_name, p.value AS path, r.started_at, r.duration_s,
        {_case("r.outcome", OUTCOMES)} AS outcome, nullif(r.error_type, 0) AS error_type,
        nullif(r.error, 0) AS error, r.unsplit_tokens + r.input_tokens + r.output_tokens AS tokens, r.input_tokens,
        r.output_tokens, r.cached_tokens, r.cost_nanousd / 1e9 AS cost_usd,
        nullif({_case("r.cost_source", COST_SOURCES)}, '') AS cost_source, nullif(m.name, '') AS model,
        nullif(m.value, '') AS provider, {_more("cached", "0")}, {_more("attempt", "1")}, {_more("first_item_s")},
        {_more("items")}, {_more("arguments")}, {_more("result")}, l.own_tags, l.tags, r.id,
        nullif(r.parent, 0) AS parent, r.root, r.weight, nullif(r.more, 0) AS more
        FROM call_rows r LEFT JOIN series p ON p.series = r.path LEFT JOIN series m ON m.series = r.model
        LEFT JOIN labels l ON l.label = r.label""",  # noqa: S608 - names from this file
    f"""CREATE VIEW stats AS SELECT u.span AS span_s, u.at, u.run, s.kind, s.name, s.value, s.series, s.parent,
        {", ".join(f"u.{name}" for name in VALUES if name != "cost_nanousd")},
        u.cost_nanousd / 1e9 AS cost_usd FROM rollups u JOIN series s USING (series)""",  # noqa: S608
)

_PLACES = ", ".join(f"nullif(?, {UNKNOWN_COST})" if name == "cost_nanousd" else "?" for name in ROW)
ROWS_AT_ONCE = 48
"""Rows of one statement, which take half the time of 48 statements. SQLite before 3.32 binds at most 999 values."""
INSERT_FIRST_ROW = f"INSERT INTO call_rows (seq, {', '.join(ROW)}) VALUES (?, {_PLACES})"  # noqa: S608 - names from above
INSERT_ROW = f"INSERT INTO call_rows ({', '.join(ROW)}) VALUES ({_PLACES})"  # noqa: S608 - as above
"""SQLite gives each row the number after the last one."""
INSERT_ROWS = INSERT_ROW + f", ({_PLACES})" * (ROWS_AT_ONCE - 1)


def _merge(name: str) -> str:
    if name in SUMS:
        return f"{name} = {name} + excluded.{name}"
    if name in MAPS:
        return f"{name} = add_counts({name}, excluded.{name})"
    pick = "min" if name in LEAST else "max"
    return f"{name} = {pick}(coalesce({name}, excluded.{name}), coalesce(excluded.{name}, {name}))"


def merge_clause() -> str:
    """Return the end of an INSERT that adds to the roll-up with the same key. The connection needs `add_counts`."""
    return f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {', '.join(map(_merge, VALUES))}"


ADD_ROLLUP = f"""INSERT INTO rollups ({", ".join((*KEY, *VALUES))})
    VALUES ({", ".join("?" * (len(KEY) + len(VALUES)))}) {merge_clause()}"""  # noqa: S608 - names from this file
"""Adds a roll-up to the one with the same key, if there is one."""
