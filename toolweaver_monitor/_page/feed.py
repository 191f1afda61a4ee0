"""Answers polls of the page: what has changed since the last one, and nothing if nothing has."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.detail import DETAILS_IN_FILE, kept_calls, row_detail, trace, traces_in_file
from toolweaver_monitor._page.figures import ERRORS_SHOWN_ALONE, LiveFigures, Program, error_row
from toolweaver_monitor._page.groups import facets, group_rows
from toolweaver_monitor._page.history import PERIOD_S, PERIODS
from toolweaver_monitor._page.versions import Shown, Versions, encode

TREE_EVERY_S = 2.0
HEALTH_EVERY_S = 5.0
"""Seconds between two looks at what takes long to work out."""
LONG_S = 0.01
REST = 30
"""After an answer that took more than `LONG_S` of CPU time, the figures stay as they are for `REST` times as long: with
any number of tools a page takes no more than a thirtieth of a core."""
OF_PROGRAM = ("about", "active", "budgets", "problems")
"""What is shown of the program beside the figures of a store."""
MAX_GROUPINGS = 8
"""Choices of rows that are remembered."""


class Feed:
    """The figures of a program for pages that poll. Several may poll at once.

    Args:
        program: what is shown.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._figures = LiveFigures(program.sources)
        self._versions = Versions()
        self._groups: dict[str, tuple[float, int, Shown]] = {}
        """By what the rows are: when they were made, after how many changes, and what was."""
        self._changes = 0
        self._store: Any = None
        if program.store is not None:
            from toolweaver_monitor._page.store_feed import StoreFeed  # with SQLite behind it
            from toolweaver_monitor._store.reader import StoreReader

            self._store = StoreFeed(partial(StoreReader, program.store))
        self._tree_at = self._health_at = self._rests_until = float("-inf")
        self._tree_is_old = True
        self._problems: list[str] = []
        self._looking: threading.Thread | None = None
        self._lock = locks.new_lock("the page")

    def poll(self, cursor: str = "", period: str = "", by: str = "tool") -> tuple[str, bytes | None]:
        """Return what has changed since a cursor.

        Args:
            cursor: of an earlier answer; anything else gets all there is.
            period: seconds until now, or `all`, for the figures of the store. Default: those of this program.
            by: what the rows are: `tool`, `model`, `tag:NAME`, or in a store `run`.

        Returns:
            The new cursor and the answer as JSON; None instead of it if nothing has changed.
        """
        with self._lock:
            began = time.thread_time()
            self._update()
            answer = self._answer(cursor, period, by)
            took = time.thread_time() - began
            if took > LONG_S:
                self._rests_until = time.monotonic() + took * REST
            return answer

    def _answer(self, cursor: str, period: str, by: str) -> tuple[str, bytes | None]:
        versions = self._versions
        if period and self._store is not None:
            of_program = {name: versions.parts[name] for name in OF_PROGRAM}
            found: tuple[str, bytes | None] = self._store.poll(period, by, of_program, cursor)
            return found
        if by not in ("tool", "run"):  # a program by itself is one run
            return self._poll_groups(by, cursor)
        now = int(time.time()) // PERIOD_S
        seen = versions.seen(cursor)
        if seen == versions.version:
            return cursor, None
        since = self._first_period(cursor) if seen >= 0 else now - PERIODS
        named = f"{versions.cursor}.{now}"
        answer = versions.newer(seen) | {"v": named, "over_time": self._figures.history.total(since)}
        answer["tools"] = [self._figures.row(tool, since) for tool in versions.newer_rows(seen)]
        return named, encode(answer)

    @staticmethod
    def _first_period(cursor: str) -> int:
        """Return the first period that the holder of a cursor has not seen to its end."""
        period = cursor[:60].rpartition(".")[2]
        return int(period) - 1 if period.isdecimal() else 0

    def _poll_groups(self, by: str, cursor: str) -> tuple[str, bytes | None]:
        made_at, changes, shown = self._groups.get(by, (float("-inf"), -1, Shown()))
        now = time.monotonic()
        if changes != self._changes and now - made_at >= TREE_EVERY_S:
            sources = self._program.sources()
            rows, groups = group_rows(by, sources, kept_calls(sources))
            over_time = {"over_time": encode(self._figures.history.total(0)), "groups": encode(groups)}
            shown.update({**self._versions.parts, **over_time}, {name: encode(row) for name, row in rows.items()})
            self._groups[by] = now, self._changes, shown
            if len(self._groups) > MAX_GROUPINGS:
                del self._groups[next(iter(self._groups))]
        else:
            shown.update(self._versions.parts)
        return shown.poll(cursor)

    def _update(self) -> None:
        if time.monotonic() < self._rests_until:
            return
        program, figures = self._program, self._figures
        changed = figures.update()
        parts = self._versions.parts
        about = {**program.about, "closed": program.closed(), "store": program.store and program.store.name}
        new: dict[str, Any] = {"about": about}
        now = time.monotonic()
        if changed or "total" not in parts:
            self._changes += 1
            total = figures.total
            new["total"] = {**total, "cost": total["cost_nanousd"] / NANO if total["costed"] else None}
            new["errors"] = figures.error_types()
            new["latest"] = [error_row(call) for call in figures.latest_errors[: -ERRORS_SHOWN_ALONE - 1 : -1]]
            new["unpriced"] = [[tool, model, calls] for (tool, model), calls in figures.unpriced.items()]
            self._tree_is_old = True
        new["active"] = self._active()
        new["budgets"] = [self._budget(status) for status in program.budgets()]
        if self._tree_is_old and now - self._tree_at >= TREE_EVERY_S:
            new["tree"] = figures.tree()
            new["facets"] = facets(program.sources())
            self._tree_at, self._tree_is_old = now, False
        if now - self._health_at >= HEALTH_EVERY_S:
            self._health_at = now
            self._look_for_problems()
            new["watched"] = program.watched()  # the doctor reads it
        new["problems"] = self._problems
        self._versions.note({name: encode(value) for name, value in new.items()}, changed)

    def _look_for_problems(self) -> None:
        """Have a thread of its own look: a sink of the user's tells its state there, and may take its time."""
        if self._looking is None or not self._looking.is_alive():
            look = partial(copy_context().run, self._note_problems)  # the context in which nothing is monitored
            self._looking = threading.Thread(target=look, name="toolweaver_monitor-problems", daemon=True)
            try:
                self._looking.start()
            except RuntimeError:  # no thread can be started
                self._looking = None

    def _note_problems(self) -> None:
        self._problems = self._program.problems()

    def _active(self) -> list[list[Any]]:
        """Return for each tool that runs now its name, how many calls of it, and when the oldest started."""
        counts: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        for call in self._program.open_calls():
            counts[call.tool_name] += 1
            started = call.started_at
            oldest[call.tool_name] = min(started, oldest.get(call.tool_name, started))
        return sorted([[tool, count, round(oldest[tool], 2)] for tool, count in counts.items()], key=lambda row: row[2])

    @staticmethod
    def _budget(status: Any) -> dict[str, Any]:
        """Return a budget with the moment at which it has room again instead of the seconds until then."""
        shown = dict(status)
        frees_in_s = shown.pop("frees_in_s", None)
        shown["frees_at"] = None if not frees_in_s else round(time.time() + frees_in_s)
        return shown

    def row(self, name: str, period: str = "", by: str = "tool") -> dict[str, Any] | None:
        """Return what is shown of one row of the table: see `row_detail` and `live_detail`; None if there is none."""
        if period and self._store is not None:
            found: dict[str, Any] | None = self._store.detail(period, by, name)
            return found
        by = "tool" if by == "run" else by
        with self._lock:
            self._update()
            if by == "tool" and name not in self._figures.rows:
                return None
            return row_detail(by, name, self._figures, kept_calls(self._program.sources()))

    def trace(self, call_id: str, period: str = "") -> dict[str, Any] | None:
        """Return the trace of a call; None if it is not kept. What memory has no longer may be in the store."""
        found = None if period else trace(call_id, kept_calls(self._program.sources()))
        if found is None and self._store is not None:
            found = self._store.trace(call_id)
        return found

    def whole(self) -> dict[str, Any]:
        """Return everything that a page in one file shows: the answer to a first poll, with details and traces."""
        self._note_problems()
        self._tree_at = self._rests_until = float("-inf")
        _, answer = self.poll()
        found: dict[str, Any] = msgspec.json.decode(answer or b"{}")
        kept = kept_calls(self._program.sources())
        rows = self._figures.rows
        busiest = sorted(rows, key=lambda tool: -rows[tool]["calls"])[:DETAILS_IN_FILE]
        details = {tool: row_detail("tool", tool, self._figures, kept) for tool in busiest}
        by_root: dict[int, list[Any]] = {}
        roots: dict[str, int] = {}
        for call in kept:
            name = f"{call.call_id:016x}"  # which numbers the call and its trace, if nothing has needed that so far
            roots[name] = call._root_serial
            by_root.setdefault(call._root_serial, []).append(call)
        traces = traces_in_file(details.values(), roots, lambda name, root: trace(name, by_root[root]))
        return {**found, "details": details, "traces": traces}
