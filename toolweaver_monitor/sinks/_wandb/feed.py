"""How do batches of calls become rows of a run, each of them once?

`merge` may be called from any thread; everything else only on the one thread that may wait for W&B.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks._wandb import rows
from toolweaver_monitor.sinks._wandb.run import DiskFull, Session, drop_service, users_run

log = logging.getLogger("toolweaver_monitor")

MERGE_ABOVE = 2_000
"""Only while more calls than this wait are the waiting ones merged into one row a tool."""
KEPT_ERRORS = 100

Waiting = deque[tuple[int, rows.Row]]
"""Rows still to be logged, each with how many calls it stands for."""


class RunFeed:
    """Feeds one run after another: a run that dies, or that the user ends, is followed by the next.

    Args:
        open_session: starts a run or finds the user's; may raise `SinkUnavailable`.
    """

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self.session: Session | None = None
        self.abandoned = False
        """Nobody waits for this feed any longer."""
        self.calls = 0
        self.rows = 0
        self.merged_calls = 0
        self._open_session = open_session
        self._lock = locks.new_lock("calls merged for W&B")
        self._held: dict[str, rows.MergedStats] = {}
        self._keys = rows.Keys()
        self._totals = rows.Totals()
        self._merged_rows: Waiting = deque()
        self._batch_rows: Waiting = deque()
        self._batch: Sequence[ToolCall] | None = None
        self._errors: deque[ToolCall] = deque(maxlen=KEPT_ERRORS)
        self._last_summary: rows.Row = {}

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Keep calls as sums of their tools, until the next write."""
        with self._lock:
            rows.merge_into(self._held, calls)
        self._errors.extend([call for call in calls if call.is_error])

    def holds(self) -> bool:
        """Whether merged calls wait to be written."""
        return bool(self._held or self._merged_rows)

    def write(self, calls: Sequence[ToolCall], backlog: int = 0) -> None:
        """Log what was merged, and this batch. The same batch again goes on where it stopped.

        Raises:
            ConnectionError: the run takes no more rows.
            DiskFull: there is no room for them; nothing is lost by that.
        """
        session = self.live()
        if calls or self.holds():
            self._must_have_room(session)
        with self._lock:
            held, self._held = self._held, {}
        self._merged_rows.extend(self._merged(held))
        if calls and calls is not self._batch:
            self._batch = calls
            self._batch_rows = deque(self._rows_of(calls, backlog))
            self._errors.extend([call for call in calls if call.is_error])
        try:
            self._send(session, self._merged_rows)
            if calls:
                self._send(session, self._batch_rows)
                self._batch = None
        except Exception as error:  # noqa: BLE001 - whatever it is, the run takes no more
            self._lost(session, error)

    def write_summary(self, summary: Mapping[str, Any] | None = None) -> None:
        """Put these figures into the run's summary; without any, what this run was given so far adds up to."""
        row = rows.summary_row(self._totals.summary() if summary is None else summary)
        if row and row != self._last_summary:
            self.live().run.summary.update(row)
            self._last_summary = row

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Write what is left, the summary and the latest errors; finish the run if it is ours."""
        if self.session is not None and not self.session.is_live() and not self.holds():
            return  # the program has finished its run, and with it everything that was logged
        with suppress(DiskFull):
            self.write(())
        self.write_summary(summary)
        session = self.live()
        try:
            self._write_errors(session)
        except Exception as error:  # noqa: BLE001 - a table needs a folder in the home; the run does not
            log.warning("sink 'wandb' could not write the table of errors (%s)", type(error).__name__)
        if session.ours:
            session.run.finish()

    def live(self) -> Session:
        """The run to log to, started or found if need be.

        Raises:
            ConnectionError: the user has finished theirs, and has no other yet.
        """
        session = self.session
        if session is None:
            session = self._open_session()
        elif not session.is_live():
            session.note = "the program has finished its W&B run; call monitor.flush() before run.finish()"
            found = users_run(session.wandb)
            if found is None:
                raise ConnectionError(session.note)
            session = Session(session.wandb, found, ours=False)
        if session is not self.session:
            self.session = session
            self._last_summary = {}
        return session

    def _rows_of(self, calls: Sequence[ToolCall], backlog: int) -> list[tuple[int, rows.Row]]:
        sums: dict[str, rows.MergedStats] = {}
        rows.merge_into(sums, calls)
        if len(calls) + backlog > MERGE_ABOVE:
            return self._merged(sums)
        for of_tool in sums.values():
            self._totals.add(of_tool)
        key_of = self._keys.of
        return [(1, rows.row_of(key_of(call.tool_name), call)) for call in calls]

    def _merged(self, sums: Mapping[str, rows.MergedStats]) -> list[tuple[int, rows.Row]]:
        for of_tool in sums.values():
            self._totals.add(of_tool)
            self.merged_calls += of_tool.calls
        return [(of_tool.calls, of_tool.row(self._keys.of(name))) for name, of_tool in sums.items()]

    def _send(self, session: Session, waiting: Waiting) -> None:
        while waiting:
            count, row = waiting[0]
            session.define(row, rows.STEP)
            session.run.log(row | {rows.STEP: self.calls + count})
            self.calls += count
            self.rows += 1
            waiting.popleft()

    def _must_have_room(self, session: Session) -> None:
        try:
            session.must_have_room()
        except FileNotFoundError as error:
            self._lost(session, error, "the folder of W&B's run is gone")

    def _lost(self, session: Session, error: Exception, why: str = "W&B's service process died") -> None:
        """The run takes no more rows: have the next write find or start another."""
        if self.abandoned:
            raise ConnectionError("W&B was given up") from error
        if session.ours:
            drop_service()
            self.session = None
            message = f"{why}; a new run goes on"
            log.warning("sink 'wandb': %s", message)
        else:
            message = session.note = f"the program's own W&B run takes no more rows ({type(error).__name__})"
        raise ConnectionError(message) from error

    def _write_errors(self, session: Session) -> None:
        if not self._errors:
            return
        table = session.wandb.Table(
            columns=["when", "tool", "type", "text"],
            data=[
                [_when(call.started_at), call.tool_name, call.error_type or call.outcome, call.error]
                for call in self._errors
            ],
        )
        session.run.log({rows.ERRORS_TABLE: table, rows.STEP: self.calls})


def _when(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
