"""Turn batches of calls into rows of a run, each row logged once.

`merge` may be called from any thread, everything else only on the thread that may wait for W&B.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks._wandb import internals, rows
from toolweaver_monitor.sinks._wandb.run import DiskFull, WandbRun

log = logging.getLogger("toolweaver_monitor")

MERGE_ABOVE = 2_000
"""If more calls than this wait, they are merged into one row per tool."""
KEPT_ERRORS = 100

Entry = ToolCall | tuple[str, rows.MergedStats]
"""What becomes one row: a call, or a tool's name and the statistics of its calls."""


class RunFinished(ConnectionError):
    """The program has finished its run, which takes no more rows."""


class RunFeed:
    """A writer of rows into one run. A run of the sink that dies has a successor.

    Args:
        open_run: returns the run to write into; may raise `SinkUnavailable`.
    """

    def __init__(self, open_run: Callable[[], WandbRun]) -> None:
        self.run: WandbRun | None = None
        self.is_abandoned = False
        """Whether the sink has given this feed up."""
        self.calls = 0
        self.rows = 0
        self.merged_calls = 0
        self._open_run = open_run
        self._lock = locks.new_lock("calls merged for W&B")
        self._merged: dict[str, rows.MergedStats] = {}
        self._keys = rows.ToolKeys()
        self._totals = rows.MergedStats()
        self._merged_entries: deque[Entry] = deque()
        self._batch_entries: deque[Entry] = deque()
        self._batch: Sequence[ToolCall] | None = None
        self._errors: deque[ToolCall] = deque(maxlen=KEPT_ERRORS)
        self._last_summary: rows.Row = {}
        self.given_summary: Mapping[str, object] | None = None
        """What the run's summary holds instead of the totals of its calls."""

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Add calls to the statistics of their tools, until the next write."""
        with self._lock:
            rows.merge_into(self._merged, calls)
        self._keep_errors(calls)

    def has_merged(self) -> bool:
        """Return whether merged calls wait for a write."""
        return bool(self._merged or self._merged_entries)

    def write(self, calls: Sequence[ToolCall], backlog: int = 0) -> None:
        """Log what was merged, then this batch. If the batch failed before, resume at the row that failed.

        Raises:
            RunFinished: the program has finished the run.
            ConnectionError: the run takes no more rows.
            DiskFull: the disk has no room for them; no row is lost.
        """
        run = self._live_run()
        if calls or self.has_merged():
            self._check_disk(run)
        with self._lock:
            merged, self._merged = self._merged, {}
        self._merged_entries.extend(merged.items())
        if calls and calls is not self._batch:
            self._batch = calls
            self._batch_entries = deque(_to_entries(calls, backlog))
            self._keep_errors(calls)
        try:
            self._log(run, self._merged_entries)
            if calls:
                self._log(run, self._batch_entries)
                self._batch = None
        except Exception as error:  # noqa: BLE001 - whatever wandb raises, the run takes no more rows
            self._give_up(run, error)

    def has_begun(self, calls: Sequence[ToolCall]) -> bool:
        """Return whether a batch was begun, and what is left of it waits here."""
        return bool(calls) and calls is self._batch

    def take_over(self, other: RunFeed) -> int:
        """Write, with what was merged, all that waits in a feed whose run takes no more rows.

        Returns:
            How many calls these are.
        """
        with other._lock:
            merged, other._merged = other._merged, {}
        entries: list[Entry] = [*other._merged_entries, *merged.items(), *other._batch_entries]
        other._merged_entries.clear()
        other._batch_entries.clear()
        other._batch = None
        self._merged_entries.extend(entries)
        self._keep_errors([entry for entry in entries if isinstance(entry, ToolCall)])
        return sum(1 if isinstance(entry, ToolCall) else entry[1].calls for entry in entries)

    def write_summary(self, summary: Mapping[str, object] | None = None, budgets: Sequence[object] = ()) -> None:
        """Put a summary into the run's summary. Without one, use the totals of what the run was given."""
        row = rows.to_summary_row(self._totals.as_summary() | {"budgets": budgets} if summary is None else summary)
        if row and row != self._last_summary:
            self._live_run().raw.summary.update(row)
            self._last_summary = row

    def finish(self, summary: Mapping[str, object] | None, budgets: Sequence[object] = ()) -> None:
        """Write what is left, the summary and the latest errors, and finish the run if this library started it."""
        if self.run is not None and not self.run.is_live() and not self.has_merged():
            return  # the program has finished its run, with everything that was logged
        with suppress(DiskFull):
            self.write(())
        self.write_summary(summary, budgets)
        run = self._live_run()
        try:
            self._log_errors(run)
        except Exception as error:  # noqa: BLE001 - the table needs a folder below the home, the run does not
            log.warning("sink 'wandb' could not write the table of errors (%s)", type(error).__name__)
        if run.is_ours:
            run.raw.finish()

    def _live_run(self) -> WandbRun:
        """Return the run to log to; open one if needed.

        Raises:
            RunFinished: the program has finished its run.
        """
        run = self.run
        if run is None:
            self._last_summary = {}
            run = self.run = self._open_run()
        if not run.is_live():
            raise RunFinished("the program has finished its W&B run; call monitor.flush() before run.finish()")
        return run

    def _keep_errors(self, calls: Sequence[ToolCall]) -> None:
        self._errors.extend([call for call in calls if call.is_error])

    def _log(self, run: WandbRun, waiting: deque[Entry]) -> None:
        while waiting:
            entry = waiting[0]
            if isinstance(entry, ToolCall):
                count, row = 1, rows.to_row(self._keys.get(entry.tool_name), entry)
            else:
                count, row = entry[1].calls, entry[1].as_row(self._keys.get(entry[0]))
            run.define_metrics(row, rows.STEP)
            run.raw.log(row | {rows.STEP: self.calls + count})
            self.calls += count
            self.rows += 1
            if isinstance(entry, ToolCall):
                self._totals.add(entry)
            else:
                self._totals.add_stats(entry[1])
                self.merged_calls += count
            waiting.popleft()

    def _check_disk(self, run: WandbRun) -> None:
        try:
            run.check_disk()
        except FileNotFoundError as error:
            self._give_up(run, error, "the folder of W&B's run is gone")

    def _give_up(self, run: WandbRun, error: Exception, reason: str = "W&B's service process died") -> None:
        """Give up a run that takes no more rows, so that the next write finds or starts another.

        Raises:
            ConnectionError: always.
        """
        if self.is_abandoned:
            raise ConnectionError("the sink has given up this run") from error
        if run.is_ours:
            internals.kill_service()
            self.run = None
            message = f"{reason}; a new run goes on"
            log.warning("sink 'wandb': %s", message)
        else:
            message = run.note = (
                f"the program's own W&B run takes no more rows ({type(error).__name__}); restart the program"
            )
        raise ConnectionError(message) from error

    def _log_errors(self, run: WandbRun) -> None:
        if not self._errors:
            return
        table = run.wandb.Table(
            columns=["when", "tool", "type", "text"],
            data=[
                [_iso_time(call.started_at), call.tool_name, call.error_type or call.outcome, call.error]
                for call in self._errors
            ],
        )
        run.raw.log({rows.ERRORS_TABLE: table, rows.STEP: self.calls})


def _to_entries(calls: Sequence[ToolCall], backlog: int) -> Sequence[Entry]:
    if len(calls) + backlog <= MERGE_ABOVE:
        return calls
    stats: dict[str, rows.MergedStats] = {}
    rows.merge_into(stats, calls)
    return tuple(stats.items())


def _iso_time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
