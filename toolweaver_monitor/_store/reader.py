"""Read a store: sums from its roll-ups, single calls from its rows.

A reader sees what was committed before each question, also while programs write, and never makes them wait. Times are
Unix seconds; sums are of whole minutes, older ones of hours and days.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from toolweaver_monitor._store import files
from toolweaver_monitor._store.connection import StoreConnection, check_version, is_damage, open_reader, unreadable
from toolweaver_monitor._store.schema import LEAST, MAPS, MINUTE, MODEL, MOST, OUTCOMES, PATH, SUMS, TABLES, TAG, VALUES
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable

Order = Literal["newest", "oldest", "slowest", "most_expensive"]
ERRORS = ("failure", "timeout")

_decode_errors = msgspec.json.Decoder(list[dict[str, int]]).decode
_decode_buckets = msgspec.json.Decoder(list[dict[int, int]]).decode
_ORDERS = {"newest": "seq DESC", "oldest": "seq", "slowest": "duration_s DESC", "most_expensive": "cost_usd DESC"}
_COLUMNS = (
    "seq", "run", "tool_name", "path", "started_at", "duration_s", "outcome", "error_type", "error", "tokens",
    "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "cost_source", "model", "provider", "cached",
    "attempt", "first_item_s", "items", "arguments", "result", "own_tags", "tags", "id", "parent", "root", "weight",
    "more",
)  # fmt: skip


class StoredCall(msgspec.Struct):
    """One call of a store. The fields are those of `ToolCall`, and these.

    Attributes:
        seq: the number of the row: greater than that of every call written before.
        run: the process that made the call; see `StoreReader.runs`.
        path: the tools around the call and its own, as `agent > search`.
        own_tags: the call's own tags; `tags` are these and those of the calls around it.
        id: the serial from which the `call_id` is made; so are `parent` and `root`, the outermost call.
        weight: how many calls this one stands for, if only some of them are kept.
        more: what few calls have, by the name of the field.
    """

    seq: int
    run: int
    tool_name: str
    path: str
    started_at: float
    duration_s: float
    outcome: str
    error_type: str | None
    error: str
    tokens: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    cost_source: str | None
    model: str | None
    provider: str | None
    cached: bool
    attempt: int
    first_item_s: float | None
    items: int | None
    arguments: str | None
    result: str | None
    own_tags: dict[str, Any]
    tags: dict[str, Any]
    id: int
    parent: int | None
    root: int
    weight: int
    more: dict[str, Any]


class StoredSums(msgspec.Struct):
    """What a group of calls adds up to.

    Attributes:
        name: the tool, model, tag value, path or run that the group is of.
        series: the number of the path, model or tag value; None if several were added.
        parent: of a path, the series of the path around it; 0 if there is none.
        at: the Unix second at which the period begins; None if there is one only.
        values: the sums, by the names of `schema.VALUES`; `_stats.rollup.unpack` makes a `ToolStats` of them.
    """

    name: str
    series: int | None
    parent: int | None
    at: int | None
    values: dict[str, Any]


class StoreReader:
    """A store that is open for reading. Close it, or use it as a context manager.

    Args:
        path: the file.

    Raises:
        SinkUnavailable: there is no store that can be read; the hint is the cure.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        shown = files.show(self.path)
        if not files.check_is_store(self.path):
            hint = "give the path that the program's SQLiteStore or TOOLWEAVER_MONITOR_STORE has"
            raise SinkUnavailable(f"there is no file {shown}", hint=hint)
        self._connection: StoreConnection = open_reader(self.path)
        try:
            check_version(self.path, self._connection.value("PRAGMA user_version"), reads=True)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.close()
            raise unreadable(self.path, error) from None
        except SinkUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Close the store."""
        if self._connection.is_mine():
            self._connection.close()

    @property
    def stores(self) -> list[StoreReader]:
        """The stores that are read."""
        return [self]

    def reopen(self) -> StoreReader:
        """Open the same file again, as it is now."""
        return StoreReader(self.path)

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query of the library's own finds.

        Raises:
            SinkUnavailable: the file is damaged.
        """
        with self._explained():
            yield from self._connection.execute(query, parameters)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError, msgspec.DecodeError) as error:
            if is_damage(error) or "locked" in str(error) or "disk I/O" in str(error):
                raise unreadable(self.path, error) from None
            raise

    # --- what there is ----------------------------------------------------------------------------------------------

    def runs(self) -> list[dict[str, Any]]:
        """Return the processes that have written to the store, the first one first.

        Returns:
            For each `run` (its number), `started_at`, `last_at` (Unix seconds), `pid`, `host`, `program`, `python`,
            `calls` and `kept` (those that have a row).
        """
        names = ("run", "started_at", "last_at", "pid", "host", "program", "python", "calls", "kept")
        query = f"SELECT {', '.join(names)} FROM runs ORDER BY run"  # noqa: S608 - names from above
        return [dict(zip(names, row, strict=True)) for row in self.rows(query)]

    def columns(self) -> dict[str, list[str]]:
        """Return the names of the views' columns, by view.

        Raises:
            SinkUnavailable: they are not those that a store has: the file is damaged.
        """
        with closing(sqlite3.connect(":memory:")) as pristine:
            for statement in TABLES:
                pristine.execute(statement)
            known = _columns(pristine)
        with self._explained():
            if _columns(self._connection) != known:
                raise unreadable(self.path, sqlite3.DatabaseError("its views are malformed"))
        return known

    def paths(self) -> dict[int, tuple[int, str]]:
        """Return the paths of tools: by series the one around it, 0 if there is none, and the name of the tool."""
        query = "SELECT series, parent, name FROM series WHERE kind = ?"
        return {series: (parent, name) for series, parent, name in self.rows(query, (PATH,))}

    def tools(self) -> list[str]:
        """Return the names of all tools, sorted."""
        return self._names(PATH)

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return self._names(MODEL)

    def tags(self) -> list[str]:
        """Return the names of all tags, sorted."""
        return self._names(TAG)

    def _names(self, kind: str) -> list[str]:
        query = "SELECT DISTINCT name FROM series WHERE kind = ? ORDER BY name"
        return [name for (name,) in self.rows(query, (kind,))]

    def last_seq(self) -> int:
        """Return the number of the newest row; 0 if there has been none. It rises with every batch that has rows."""
        return int(next(self.rows("SELECT value FROM meta WHERE name = 'last_seq'"))[0])

    # --- sums -------------------------------------------------------------------------------------------------------

    def sums(
        self,
        by: str = "tool",
        *,
        since: float | None = None,
        until: float | None = None,
        run: int | None = None,
        tool: str | None = None,
        every: int | None = None,
    ) -> list[StoredSums]:
        """Return what calls add up to, from roll-ups; the time it takes does not grow with the number of calls.

        Args:
            by: `"all"`, `"tool"`, `"path"`, `"model"`, `"run"`, or `"tag:NAME"`.
            since: only calls that ended in the minute of this moment or later; if it is more than six hours ago, in its
                hour or later; if more than a month, on its day or later, since older sums are of longer periods.
            until: only calls that ended before the minute, hour or day of this moment.
            run: only calls of this run.
            tool: only calls of this tool; not for models and tags, which are not counted by tool.
            every: the length of periods in seconds, a multiple of 60, for one result a period. Default: one in all.

        Raises:
            ConfigurationError: `by` is unknown; the hint names what there is.
        """
        kind, group, extra = self._group(by)
        where, parameters = ["s.kind = ?"], list[Any]([kind])
        for clause, value in (
            ("u.at + u.span > ?", since),
            ("u.at < ?", None if until is None else int(until) // MINUTE * MINUTE),
            ("u.run = ?", run),
            ("s.name = ?", extra if extra is not None else tool),
        ):
            if value is not None:
                where.append(clause)
                parameters.append(value)
        period = f"u.at - u.at % {int(every)}" if every else "NULL"
        parent = "u.series, s.parent" if by == "path" else "NULL, NULL"
        query = (
            f"SELECT {group}, {parent}, {period}, {_AGGREGATES} FROM rollups u JOIN series s USING (series) "  # noqa: S608
            f"WHERE {' AND '.join(where)} GROUP BY {group}, {parent}, {period} ORDER BY 4, 1"
        )
        with self._explained():
            return [
                StoredSums(str(name), series, above, at, _sum_maps(dict(zip(VALUES, values, strict=True))))
                for name, series, above, at, *values in self.rows(query, parameters)
            ]

    def _group(self, by: str) -> tuple[str, str, str | None]:
        """Return the kind of series to add up, the expression to group by, and the name of the tag."""
        if by.startswith("tag:"):
            name = by.removeprefix("tag:")
            known = self.tags()
            if name not in known:
                raise ConfigurationError(f"no call has a tag {name!r}", hint=did_you_mean(name, known, "no tags"))
            return TAG, "s.value", name
        if by not in _GROUPS:
            hint = f"did you mean 'tag:{by}'?" if by in self.tags() else f"give {', '.join(_GROUPS)} or tag:NAME"
            raise ConfigurationError(f"by={by!r} is unknown", hint=hint)
        kind, group = _GROUPS[by]
        return kind, group, None

    # --- calls ------------------------------------------------------------------------------------------------------

    def calls(
        self,
        *,
        tool: str | None = None,
        model: str | None = None,
        path: int | None = None,
        outcomes: Sequence[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        run: int | None = None,
        tags: Mapping[str, str] | None = None,
        after: int | None = None,
        order: Order = "newest",
        limit: int | None = 100,
    ) -> list[StoredCall]:
        """Return single calls.

        Args:
            tool: only calls of this tool.
            model: only calls of this model.
            path: only calls of the path with this series; see `sums("path")`.
            outcomes: only calls that ended so, such as `ERRORS`.
            since: only calls that ended at this moment or later.
            until: only calls that ended before this moment.
            run: only calls of this run.
            tags: only calls with these tags, by the text of their values; those of the calls around count as well.
            after: only rows after this `seq`; -100 for the last 100 rows only.
            order: which come first.
            limit: the most calls to return; None for all.
        """
        where, parameters = ["1"], list[Any]()
        if after is not None and after < 0:
            after += self.last_seq()
        if outcomes is not None:
            where.append(f"r.outcome IN ({', '.join(str(OUTCOMES.index(outcome)) for outcome in outcomes)})")
        for name, text in (tags or {}).items():
            having = "SELECT label FROM labels, json_each(labels.tags) WHERE key = ? AND CAST(value AS TEXT) = ?"
            where.append(f"r.label IN ({having})")
            parameters += [name, text]
        for column, wanted in ((PATH, tool), (MODEL, model)):
            if wanted is not None:
                where.append(f"r.{column} IN (SELECT series FROM series WHERE kind = '{column}' AND name = ?)")  # noqa: S608
                parameters.append(wanted)
        for clause, value in (
            ("r.path = ?", path),
            ("r.started_at + r.duration_s >= ?", since),
            ("r.started_at + r.duration_s < ?", until),
            ("r.run = ?", run),
            ("r.seq > ?", after),
        ):
            if value is not None:
                where.append(clause)
                parameters.append(value)
        if since is not None or until is not None:
            first, last = self._seq_range(since, until)
            where.append("r.seq BETWEEN ? AND ?")
            parameters += [first, last]
        return self._calls(" AND ".join(where), parameters, order, limit)

    def _seq_range(self, since: float | None, until: float | None) -> tuple[int, int]:
        """Return the first and the last row among which the calls of a period are."""
        query = "SELECT min(first_seq), max(last_seq) FROM rollups WHERE at + span > ? AND at < ?"
        bounds = (since or 0, 2**53 if until is None else until)
        first, last = next(self.rows(query, bounds))
        return (1, 0) if first is None else (first, last)

    def _calls(self, where: str, parameters: Sequence[Any], order: Order, limit: int | None) -> list[StoredCall]:
        bound = "" if limit is None else f"LIMIT {int(limit)}"
        # The rows are chosen before they are joined with names.
        keys = {"cost_usd DESC": "r.cost_nanousd DESC"}
        by = _ORDERS[order]
        inner = f"SELECT r.seq FROM call_rows r WHERE {where} ORDER BY {keys.get(by, 'r.' + by)} {bound}"  # noqa: S608
        query = f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE seq IN ({inner}) ORDER BY {by}"  # noqa: S608
        return self._stored_calls(query, parameters)

    def _stored_calls(self, query: str, parameters: Sequence[Any]) -> list[StoredCall]:
        with self._explained():
            return [_stored_call(row) for row in self.rows(query, parameters)]

    def trace(self, root: int) -> list[StoredCall]:
        """Return all calls under one outermost call, itself included, in the order in which they started.

        Args:
            root: the `root` of any of its calls.
        """
        query = f"SELECT {', '.join(_COLUMNS)} FROM calls WHERE root = ? ORDER BY started_at, seq"  # noqa: S608
        return self._stored_calls(query, (root,))


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    found = {view: connection.execute(f"SELECT * FROM {view} LIMIT 0").description for view in ("calls", "stats")}  # noqa: S608
    return {view: [column[0] for column in columns] for view, columns in found.items()}


def _sum_maps(values: dict[str, Any]) -> dict[str, Any]:
    """Add up the JSON objects of counts that SQLite has joined by commas, which is faster than a call for each."""
    for name in MAPS:
        if values[name] is not None:
            counts = defaultdict[Any, int](int)
            decode: Any = _decode_errors if name == "errors" else _decode_buckets
            for each in decode(f"[{values[name]}]"):
                for key, count in each.items():
                    counts[key] += count
            values[name] = msgspec.json.encode(counts).decode()
    return values


def _stored_call(row: Sequence[Any]) -> StoredCall:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["cached"] = bool(values["cached"])
    for name in ("own_tags", "tags", "more"):
        values[name] = msgspec.json.decode(values[name]) if values[name] else {}
    values["error"] = values["error"] or ""
    return StoredCall(**values)


_AGGREGATES = ", ".join(
    [f"sum(u.{name})" for name in SUMS]
    + [f"min(u.{name})" for name in LEAST]
    + [f"max(u.{name})" for name in MOST]
    + [f"group_concat(u.{name})" for name in MAPS]
)
_GROUPS = {
    "all": (PATH, "''"),
    "tool": (PATH, "s.name"),
    "path": (PATH, "s.value"),
    "model": (MODEL, "s.name"),
    "run": (PATH, "u.run"),
}


def did_you_mean(name: str, known: Sequence[str], none: str) -> str:
    """Return the hint for a name that is not in a store: one that resembles it, or what there is."""
    close = suggest(name, known)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known[:20]) or none}"
