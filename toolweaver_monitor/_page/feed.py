"""Answers polls of the page: what has changed since the last one, and nothing if nothing has."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.detail import kept_calls, tool_detail, trace
from toolweaver_monitor._page.figures import ERRORS_SHOWN_ALONE, LiveFigures, Program, error_row
from toolweaver_monitor._page.history import PERIOD_S, PERIODS

TREE_EVERY_S = 2.0
HEALTH_EVERY_S = 5.0
"""Seconds between two looks at what takes long to work out."""
DETAILS_IN_FILE = 200
"""Tools whose details stand in a page that is one file, the busiest first."""
TRACES_IN_FILE = 500

encode = msgspec.json.encode


class Feed:
    """The figures of a program for pages that poll. Several may poll at once.

    Each part of an answer has the version at which it last changed. The cursor `v` of an answer names its version, so
    that the next one holds only what is newer.

    Args:
        program: what is shown.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._figures = LiveFigures(program.sources)
        self._boot = os.urandom(4).hex()
        self._version = 0
        self._parts: dict[str, tuple[bytes, int]] = {}
        self._tools: dict[str, int] = {}
        """The version at which each tool last changed."""
        self._tree_at = self._health_at = float("-inf")
        self._tree_is_old = True
        self._problems: list[str] = []
        self._looking: threading.Thread | None = None
        self._lock = locks.new_lock("the page")

    def poll(self, cursor: str = "") -> tuple[str, bytes | None]:
        """Return what has changed since a cursor.

        Args:
            cursor: of an earlier answer; anything else gets all there is.

        Returns:
            The new cursor and the answer as JSON; None instead of it if nothing has changed.
        """
        with self._lock:
            self._update()
            period = int(time.time()) // PERIOD_S
            seen, since = self._parse(cursor)
            if seen == self._version:
                return cursor, None
            named = f"{self._boot}.{self._version}.{period}"
            answer: dict[str, Any] = {"v": named, "full": seen < 0, "now": round(time.time(), 3)}
            answer |= {name: msgspec.Raw(value) for name, (value, version) in self._parts.items() if version > seen}
            answer["tools"] = [
                self._figures.row(tool, since) for tool, version in self._tools.items() if version > seen
            ]
            return named, encode(answer)

    def _parse(self, cursor: str) -> tuple[int, int]:
        """Return the version and the first period of a cursor; -1 and the oldest one if it is of no earlier answer."""
        boot, _, rest = cursor.partition(".")
        version, _, period = rest.partition(".")
        oldest = int(time.time()) // PERIOD_S - PERIODS
        if boot != self._boot or not (version.isdecimal() and period.isdecimal()) or len(rest) > 40:
            return -1, oldest
        return int(version), int(period) - 1

    def _update(self) -> None:
        program, figures = self._program, self._figures
        changed = figures.update()
        new: dict[str, Any] = {"about": {**program.about, "closed": program.closed()}}
        now = time.monotonic()
        if changed or "total" not in self._parts:
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
            self._tree_at, self._tree_is_old = now, False
        if now - self._health_at >= HEALTH_EVERY_S:
            self._health_at = now
            self._look_for_problems()
        new["problems"] = self._problems
        encoded = {name: encode(value) for name, value in new.items()}
        different = {name: value for name, value in encoded.items() if self._parts.get(name, (b"", 0))[0] != value}
        if different or changed:
            self._version += 1
            self._parts |= {name: (value, self._version) for name, value in different.items()}
            self._tools |= dict.fromkeys(changed, self._version)

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

    def tool(self, tool: str) -> bytes | None:
        """Return the details of a tool as JSON; None if it has not run."""
        with self._lock:
            self._update()
            if tool not in self._figures.rows:
                return None
            return encode(tool_detail(tool, self._figures, kept_calls(self._program.sources())))

    def trace(self, call_id: str) -> bytes | None:
        """Return the trace of a call as JSON; None if the call is not kept."""
        found = trace(call_id, kept_calls(self._program.sources()))
        return None if found is None else encode(found)

    def whole(self) -> dict[str, Any]:
        """Return everything that a page in one file shows: the answer to a first poll, with details and traces."""
        self._note_problems()
        self._tree_at = float("-inf")
        _, answer = self.poll()
        found: dict[str, Any] = msgspec.json.decode(answer or b"{}")
        kept = kept_calls(self._program.sources())
        rows = self._figures.rows
        busiest = sorted(rows, key=lambda tool: -rows[tool]["calls"])[:DETAILS_IN_FILE]
        details = {tool: tool_detail(tool, self._figures, kept) for tool in busiest}
        shown = [call["id"] for detail in details.values() for call in (*detail["failed"], *detail["slowest"])]
        by_root: dict[int, list[Any]] = {}
        roots: dict[str, int] = {}
        for call in kept:
            name = f"{call.call_id:016x}"  # which numbers the call and its trace, if nothing has needed that so far
            roots[name] = call._root_serial
            by_root.setdefault(call._root_serial, []).append(call)
        traces = {name: trace(name, by_root[roots[name]]) for name in shown[:TRACES_IN_FILE]}
        return {**found, "details": details, "traces": traces}
