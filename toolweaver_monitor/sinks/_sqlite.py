"""Keep every call in one file that outlives the process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec

from toolweaver_monitor._core import clock, config, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import Node
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._stats.rollup import pack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store import files
from toolweaver_monitor._store.ledger import StoreLedger
from toolweaver_monitor._store.notable import NotableFilter
from toolweaver_monitor._store.schema import COST_SOURCES, MINUTE, MODEL, OUTCOMES, PATH, ROW, TAG, UNKNOWN_COST
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor._store.upkeep import Retention
from toolweaver_monitor._store.writer import Rollup, Rows, StaleNumbers, StoreWriter
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import file_path

MAX_PLACES = 20_000
"""Places of the calling-context tree whose numbers in the store are remembered."""
MAX_FACET_VALUES = 10_000
"""Values of one tag, and models, that are counted separately; see `_stats`."""
MAX_FACETS = 64
"""Tags that are counted separately."""

_OUTCOME = {name: number for number, name in enumerate(OUTCOMES)}
_SOURCE: dict[Any, int] = {name: number for number, name in enumerate(COST_SOURCES)} | {None: 0}
_DECLARED = _SOURCE["declared"]
_encode = msgspec.json.encode
_LARGEST = 2**63 - 1


class Place(NamedTuple):
    """The numbers in the store of a place in the calling-context tree."""

    path: int
    label: int
    """The number of its tags; 0 if it has none."""
    tags: tuple[int, ...]
    """The series of its tags, those of the calls around it included."""
    declared_nanousd: int | None


GroupKey = tuple[Any, Any, int]
"""Place, model and provider or None, and the minute in which the calls ended."""
Pending = dict[GroupKey, ToolStats]


class SQLiteStore:
    """A store: one SQLite file with a row for each call, and the sums of all calls by minute.

    Several processes may write to one file, and readers never delay them.

    Args:
        path: the file; it is created, for its owner only, if there is none. Default: `TOOLWEAVER_MONITOR_STORE`, or
            `toolweaver.db` in the current folder.
        durability: `"normal"`: what `flush()` has confirmed survives the death of the process; `"full"`: also that of
            the machine, at the price of waiting for the disk with each batch.
        keep: `"all"`: every call has a row. `"notable"`: only errors, the slowest and the most expensive call of each
            minute at each place, one in `one_in` of the other outermost calls with all that is inside, and the calls
            around any of these. Sums are of all calls in either case.
        one_in: see `keep`.
        max_days: rows that are older are deleted; sums stay. None for never.
        max_gb: gigabytes that the file may use before the oldest rows are deleted. None for no limit.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    name = "sqlite"
    max_batch = 4_096
    max_calls = 32_768

    @suggest_keywords(file="did you mean path=?", filename="did you mean path=?", database="did you mean path=?")
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: Literal["normal", "full"] = "normal",
        keep: Literal["all", "notable"] = "all",
        one_in: int = 100,
        max_days: float | None = 90,
        max_gb: float | None = 10,
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigurationError(f"durability={durability!r} is unknown", hint="give 'normal' or 'full'")
        if keep not in ("all", "notable"):
            raise ConfigurationError(f"keep={keep!r} is unknown", hint="give 'all' or 'notable'")
        if type(one_in) is not int or one_in < 1:
            raise ConfigurationError(f"one_in={one_in!r} is no number of calls", hint="give a whole number from 1 up")
        for name, limit in (("max_days", max_days), ("max_gb", max_gb)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
                raise ConfigurationError(f"{name}={limit!r} is no limit", hint="give a number above 0, or None")
        self._one_in = one_in if keep == "notable" else 0
        retention = Retention(max_days, None if max_gb is None else int(min(max_gb, 1e6) * 1e9))
        self.path = file_path(config.STORE.value() if path is None else path, "runs.db")
        self._full_sync = durability == "full"
        self._writer = StoreWriter(self.path, full_sync=self._full_sync, retention=retention)
        self._lock = locks.new_lock("calls without a row in the store")
        self._in_child()
        locks.after_fork_in_child_weak(self, SQLiteStore._in_child)

    def _in_child(self) -> None:
        self._pending: Pending = {}
        self._places: dict[Any, Place] = {}
        self._generation = 0
        self._values: dict[str, set[str]] = {}
        self._calls = self._rows = self._overflow = self._run = 0
        self._filter = NotableFilter(self._one_in) if self._one_in else None
        self._batch: Sequence[ToolCall] = ()
        self._weights: Sequence[int] = ()

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    def start(self) -> None:
        """Check that the store can be opened or created.

        Raises:
            SinkUnavailable: it cannot; the hint is the cure.
        """
        self._writer.check()

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Write a batch of calls: their rows and their sums, or, if it raises, nothing of them."""
        with self._lock:
            merged, self._pending = self._pending, {}
        try:
            self._write(calls, merged)
        except BaseException:
            with self._lock:
                _add(merged, self._pending)
                self._pending = merged
            raise

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Count calls for which there was no room in the queue: they have no row, but the sums stay exact."""
        groups = _count(calls)
        with self._lock:
            _add(self._pending, groups)

    def _write(self, calls: Sequence[ToolCall], merged: Pending) -> None:
        groups = _count(calls)
        _add(groups, merged)
        count = sum(stats.calls for stats in groups.values())
        weights = self._weigh(calls)
        try:
            kept = self._append(calls, weights, groups, count)
        except StaleNumbers:  # the file was replaced, or something in it forgotten
            kept = self._append(calls, weights, groups, count)
        self._calls += count
        self._rows += kept
        self._overflow += count - len(calls)

    def _append(self, calls: Sequence[ToolCall], weights: Sequence[int], groups: Pending, count: int) -> int:
        """Write a batch, and return how many rows it has."""
        with self._writer.naming():
            rows, rollups = self._encode(calls, weights, groups)
        try:
            self._writer.append(rows, rollups, count)
        except (OverflowError, UnicodeEncodeError):  # an absurd number, or half a letter
            self._writer.append(list(map(_storable, rows)), rollups, count)
        return len(rows) // len(ROW)

    def _encode(self, calls: Sequence[ToolCall], weights: Sequence[int], groups: Pending) -> tuple[Rows, list[Rollup]]:
        """Return the rows and roll-ups of a batch, with the numbers that the store has for their names."""
        self._run = self._writer.run()
        if self._generation != self._writer.generation:
            self._places.clear()
            self._generation = self._writer.generation
        rows: Rows = []
        for call, weight in zip(calls, weights, strict=True):
            if weight:
                rows += self._row(call, weight)
        return rows, self._rollups(groups)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _weigh(self, calls: Sequence[ToolCall]) -> Sequence[int]:
        """Return for how many calls the row of each call stands; 0 for one without a row.

        A batch that is tried again gets the same answer.
        """
        if self._filter is None:
            return [1] * len(calls)
        if calls is not self._batch or not calls:
            self._batch, self._weights = calls, [self._filter.weight(call) for call in calls]
        return self._weights

    def _row(self, call: ToolCall, weight: int) -> tuple[Any, ...]:
        node = call._node
        place = self._places.get(node) or self._place(node, call.tool_name)
        serial = call._serial or call._assign_id()
        opened = clock.wall_time_s(call._opened_at)
        details = call._details
        parent, root = call._parent_serial or 0, call._root_serial
        rare = NO_RARE if type(root) is int else {"otel_trace_id": f"{call.trace_id:032x}"}
        if details is None:
            cost, source = UNKNOWN_COST, 0
            if place.declared_nanousd is not None and call.outcome == "success":
                cost, source = place.declared_nanousd, _DECLARED
            return (
                self._run, serial, parent, root, place.path, place.label, opened, call.duration_s,
                _OUTCOME[call.outcome], 0, 0, 0, 0, cost, source, 0, 0, 0, weight, _more(details, rare),
            )  # fmt: skip
        error: str | int
        model, error, nano = 0, 0, details.cost_nanousd
        if details.model is not None or details.provider is not None:
            model = self._writer.series(MODEL, 0, details.model or "", details.provider or "")
        if type(details) is CallDetails:
            error = call.error or 0
        return (
            self._run, serial, parent, root, place.path, place.label, opened, call.duration_s, _OUTCOME[call.outcome],
            details.unsplit_tokens, details.input_tokens, details.output_tokens, details.cached_tokens,
            UNKNOWN_COST if nano is None else nano, _SOURCE[details.cost_source], model, details.error_type or 0,
            error, weight, _more(details, rare),
        )  # fmt: skip

    def _place(self, node: Node | None, tool_name: str) -> Place:
        """Return the numbers of a place in the tree, and remember them."""
        if node is None:
            place = Place(self._path((tool_name,)), 0, (), None)
        else:
            tags: dict[str, Any] = {}
            for each in reversed(list(node.upwards())):
                tags |= each.key.shown_tags()
            label = 0
            if tags:
                label = self._writer.label(_encode(dict(node.key.shown_tags())).decode(), _encode(tags).decode())
            series = tuple(self._tag_series(tags))
            place = Place(self._path(node.counts_at.path()), label, series, node.key.cost_nanousd)
        if len(self._places) >= MAX_PLACES:
            self._places.clear()
        self._places[tool_name if node is None else node] = place
        return place

    def _path(self, names: tuple[str, ...]) -> int:
        number = 0
        for depth, name in enumerate(names, 1):
            number = self._writer.series(PATH, number, name, " > ".join(names[:depth]))
        return number

    def _tag_series(self, tags: Mapping[str, Any]) -> Iterable[int]:
        for key, value in tags.items():
            known = self._values.get(key)
            if known is None:
                if len(self._values) >= MAX_FACETS:
                    continue
                known = self._values[key] = set()
            text = str(value)
            if text not in known and len(known) >= MAX_FACET_VALUES:
                text = OVERFLOW
            known.add(text)
            yield self._writer.series(TAG, 0, key, text)

    # --- roll-ups -----------------------------------------------------------------------------------------------------

    def _rollups(self, groups: Pending) -> list[Rollup]:
        sums: dict[tuple[int, int, int], list[ToolStats]] = {}
        for (node, model, at), stats in groups.items():
            name = node if type(node) is str else ""
            place = self._places.get(node) or self._place(None if name else node, name)
            for series in (place.path, *place.tags):
                sums.setdefault((MINUTE, at, series), []).append(stats)
            if model is not None:
                series = self._writer.series(MODEL, 0, *model)
                sums.setdefault((MINUTE, at, series), []).append(stats)
        return [(key, pack(_sum(found), OUTCOMES)) for key, found in sums.items()]

    # --- the rest of a sink -------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Do nothing, since each batch is committed when it is written."""

    def close(self) -> None:
        """Write what is only counted so far, and close the file."""
        if self._pending:
            self.write(())
        self._writer.close()

    def _open_ledger(self) -> StoreLedger:
        """Return the sums of budgets that this store's processes share. `setup()` asks for it."""
        return StoreLedger(StoreFile(self.path, full_sync=self._full_sync))

    def status(self) -> dict[str, Any]:
        """Return the file, and how many calls and rows this process has written, for `health()`."""
        return {"path": str(self.path), "calls": self._calls, "rows": self._rows, "note": self._note()}

    def _note(self) -> str:
        notes = []
        if self._overflow:
            notes.append(f"{self._overflow:,} calls came too fast for the disk: they are in every sum, but have no row")
        aside = files.first_aside(self.path)
        with suppress(OSError):  # a folder that is gone, or closed
            if aside.exists():
                what = f"a damaged store was set aside as {files.show(aside)}, and what could be read carried over"
                notes.append(f"{what}; move it away once you have looked at it")
        return "; ".join(notes)


def _count(calls: Sequence[ToolCall]) -> Pending:
    """Group calls by place, model and minute, and count each group."""
    groups: dict[GroupKey, list[ToolCall]] = {}
    for call in calls:
        details = call._details
        model = None
        if details is not None and details.model is not None:
            model = (details.model, details.provider or "")
        ended = int(clock.wall_time_s(call._opened_at + call.duration_s))
        node = call._node
        key = (call.tool_name if node is None else node, model, ended - ended % MINUTE)
        group = groups.get(key)
        if group is None:
            groups[key] = [call]
        else:
            group.append(call)
    return {key: _stats_of(key[0], group) for key, group in groups.items()}


def _stats_of(node: Any, calls: Sequence[ToolCall]) -> ToolStats:
    stats = ToolStats()
    runs = len([call for call in calls if call._parent_serial is None])
    declared = None if type(node) is str else node.key.cost_nanousd
    detailed = stats.count(calls, declared, runs=runs)
    if detailed:
        stats.usage.add_details(detailed)
    return stats


def _sum(found: Sequence[ToolStats]) -> ToolStats:
    if len(found) == 1:
        return found[0]
    total = ToolStats()
    total.add(*found)
    return total


def _add(groups: Pending, others: Pending) -> None:
    for key, stats in others.items():
        mine = groups.get(key)
        if mine is None:
            mine = groups[key] = ToolStats()
        mine.add(stats)


def _more(details: CallDetails | None, rare: Mapping[str, Any]) -> str | int:
    """Return what few calls have, as JSON; 0 if there is none of it."""
    if type(details) is CallDetails:
        rare = {**rare, **{name: value for name, default in _RARE if (value := getattr(details, name)) != default}}
    return _encode(rare).decode() if rare else 0


NO_RARE: Mapping[str, Any] = {}
_RARE = tuple(
    (name, getattr(CallDetails(), name))
    for name in (
        "attempt", "cached", "first_item_s", "items", "arguments", "result", "cache_write_tokens",
        "cache_write_1h_tokens", "saved_nanousd", "audio_tokens", "rare_parts", "service_tier", "is_repeat",
        "holds_attempts",
    )
)  # fmt: skip


def _storable(value: Any) -> Any:
    """Return a value that SQLite can hold: a number within its range, and text without halves of letters."""
    if type(value) is int:
        return min(value, _LARGEST)
    return value.encode("utf-8", "backslashreplace").decode() if type(value) is str else value
