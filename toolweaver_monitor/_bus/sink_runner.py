"""Feed one sink on a thread of its own, so that no caller waits for it.

Each sink that is not in memory has a queue and a thread. A batch that the sink fails to write is tried again. Flushes
and the close are requested here and carried out on that thread.
"""

from __future__ import annotations

import _thread
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from toolweaver_monitor._bus import deferred_log
from toolweaver_monitor._bus.delivery_stats import DeliveryStats, estimate_size
from toolweaver_monitor._bus.retry import MAX_TRIES, MAX_TRIES_CLOSING, UNAVAILABLE
from toolweaver_monitor._bus.sink_queue import SinkQueue
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.safe_repr import fault_text, hint_text
from toolweaver_monitor.errors import SinkUnavailable

log = logging.getLogger("toolweaver_monitor")

MAX_CALLS = 8_192
MAX_QUEUED_BYTES = 16 * 2**20
MAX_BATCH = 512
POLL_INTERVAL_S = 0.2
"""Seconds between two looks at the queue."""
CLOSING_INTERVAL_S = 0.1
INLINE_S = 0.05
"""How long another thread is used at a time if the sink cannot have one of its own."""

_abandoned: list[SinkRunner] = []
"""Runners that were abandoned while their sink was still writing."""


class Gate:
    """A gate that holds back the runners of a setup until the setup is complete. One store opens it."""

    def __init__(self) -> None:
        self.shut_by: int | None = _thread.get_ident()


OPEN_GATE = Gate()
OPEN_GATE.shut_by = None


class SinkRunner:
    """The thread that feeds one sink, with its queue.

    Args:
        sink: has `name`, `write(calls)`, `flush()` and `close()`; may have `max_batch`, `max_calls`, `merge(calls)` and
            `backlog`.
        name: the sink's name, unique in this setup.
        max_calls: the most calls that may wait. Default: the sink's own `max_calls`, or 8,192.
        gate: while it is shut, calls are queued but not written.
    """

    def __init__(
        self,
        sink: Any,
        name: str,
        *,
        max_calls: int | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.sink = sink
        self.name = name
        self.ensure_dispatcher: Callable[[], object] = lambda: None
        """Starts the dispatcher again if it was killed. Called after each pass."""
        self.worker = Worker(name, self._work, POLL_INTERVAL_S)
        self._max_batch: int = getattr(sink, "max_batch", None) or MAX_BATCH
        self._wants_backlog = hasattr(sink, "backlog")
        max_calls = max_calls or getattr(sink, "max_calls", None) or MAX_CALLS
        self.queue = SinkQueue(name, max_calls, MAX_QUEUED_BYTES, getattr(sink, "merge", None))
        self._gate = gate or OPEN_GATE
        self._predecessor = next((other for other in _abandoned if other.sink is sink and other.writing), None)
        if self._predecessor is not None:
            self._predecessor.superseded = True
        self._reset()
        locks.after_fork_in_child_weak(self, SinkRunner._in_child)

    def _reset(self) -> None:
        self.writing = False
        """Whether the sink is writing right now."""
        self.closed = False
        """Whether the sink has been closed."""
        self.error_count = 0
        """How often the sink's `flush()` or `close()` raised."""
        self.superseded = False
        """Whether another runner feeds this sink now."""
        self._copied_from: list[ToolCall] | None = None
        self._batch_copy: list[ToolCall] = []
        """The batch in flight as the sink gets it: a copy, so that the statistics hold if the sink changes the list."""
        self._flushed = 0
        self._closing = False
        self._close_by = math.inf
        self._throttle = LogThrottle()
        self._reported_drops = 0

    def _in_child(self) -> None:
        self.queue.reset()
        self._reset()
        self._gate = OPEN_GATE

    # --- the dispatcher's side --------------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as fits. Never waits."""
        self.queue.offer(calls)
        is_full = len(self.queue) >= self._max_batch
        if not (self.worker.wake() if is_full else self.worker.ensure_running()) and is_full:
            self._work_inline(time.monotonic() + INLINE_S)
        self._report_drops()

    def keep_alive(self) -> None:
        """Start the thread again if it was killed while calls wait. If no thread can run, write a little here."""
        if self.queue.queued() and not self.worker.ensure_running():
            self._work_inline(time.monotonic() + INLINE_S)

    # --- the sink's side: on the worker's thread, or on a caller's if no thread can run -----------------------------

    def _work(self, by: float = math.inf) -> None:
        mine = False
        try:
            with self.queue.lock:
                if not (
                    self.writing
                    or self._gate.shut_by is not None
                    or (self._predecessor is not None and self._predecessor.writing)
                ):
                    self.writing = mine = True
            if mine:
                self._write_queued(by)
        finally:
            if mine:
                self.writing = False
        self.ensure_dispatcher()

    def _work_inline(self, by: float) -> None:
        """Write on this thread until a moment of `time.monotonic()`; calls made by the sink are suppressed."""
        token = current.set(SUPPRESSED)
        try:
            self._work(by)
        finally:
            current.reset(token)

    def _write_queued(self, by: float) -> None:
        """Write queued batches until the queue is empty, a retry delay applies or the deadline passes."""
        self._finish_flush()
        while self.queue.take(self._max_batch):
            now = time.monotonic()
            is_urgent = self._closing or (self.queue.flushes > self._flushed and now < self.queue.flush_by)
            if now >= by or now >= self._close_by or (now < self.queue.sink_state.not_before and not is_urgent):
                break
            if not self._write():
                break
            self._finish_flush()
        if self._closing and not self.closed and (not self.queue.queued() or self._close_by <= time.monotonic()):
            if not self.superseded:
                self._call_sink("close", self.sink.close)
            self.closed = True

    def _write(self) -> bool:
        """Write the batch in flight. Return False if the sink must not get another one now."""
        batch, merged = self.queue.in_flight, self.queue.merged
        size = sum(map(estimate_size, batch))
        try:
            if self._wants_backlog:
                self.sink.backlog = len(self.queue)
            if self._copied_from is not batch:
                self._batch_copy, self._copied_from = batch[:], batch
            self.sink.write(self._batch_copy)
        except SinkUnavailable as error:
            self.disable(error)
            log.warning("sink %r is off: %s", self.name, self.queue.last_error)
            return False
        except BaseException as error:  # noqa: BLE001 - a sink's error never reaches other code
            self._on_write_failure(error, batch, size)
            return False
        delivered = self.queue.record_delivered(batch, size, merged)
        self._copied_from, self._batch_copy = None, []
        return delivered

    def _on_write_failure(self, error: BaseException, batch: list[ToolCall], size: int) -> None:
        kind = type(error).__name__
        sink_state = self.queue.sink_state.after_failure()
        max_tries = MAX_TRIES_CLOSING if self._closing else MAX_TRIES
        if getattr(error, "is_final", False):  # it would fail again
            max_tries = 1
        text = _describe(error, self.name)
        if not self.queue.record_failed(batch, size, kind, text, sink_state, max_tries):
            return
        if self._closing and sink_state.failures_in_a_row > MAX_TRIES_CLOSING:
            self.queue.drop_rest("shutdown")
        waiting = pluralize(self.queue.queued(), "call")
        self._warn("sink %r failed (%s); %s waiting, it is tried again", self.name, text, waiting)

    def _finish_flush(self) -> None:
        """Complete a flush once everything that was queued when it was requested is written."""
        reached = self.queue.reached_flush()
        if reached <= self._flushed or self.closed:
            return
        if self.queue.sink_state.state != "unavailable":  # an error of flush() would replace the one with the hint
            self._call_sink("flush", self.sink.flush)
        self._flushed = reached

    def _call_sink(self, name: str, method: Callable[[], object]) -> None:
        try:
            method()
        except BaseException as error:  # noqa: BLE001 - a sink's error never reaches other code
            self.error_count += 1
            self.queue.last_error = _describe(error, f"{self.name}.{name}()")
            self._warn("sink %r failed (%s)", self.name, self.queue.last_error)

    # --- callers: a setup, a flush, a shutdown ----------------------------------------------------------------------

    def disable(self, error: BaseException) -> None:
        """Drop and count all calls from now on: the sink cannot work until it is set up again."""
        self.queue.disable("unavailable", UNAVAILABLE, fault_text(error), hint_text(error))

    def request_flush(self, by: float) -> int:
        """Request that everything taken so far is written by a moment of `time.monotonic()`.

        Returns:
            A ticket for `is_flushed`.
        """
        ticket = self.queue.request_flush(by)
        if not self.worker.wake():
            self._work_inline(by)
        return ticket

    def is_flushed(self, ticket: int) -> bool:
        """Return True if the flush of this ticket is done, or cannot be done while the caller waits."""
        return self._flushed >= ticket or self.closed or not self.is_writable()

    def is_writable(self) -> bool:
        """Return True if the sink can be written to while the caller waits.

        It cannot if the sink is unavailable, or if the caller is inside its `write` or inside the setup that holds it.
        """
        waits_for_itself = self.worker.is_current() or self._gate.shut_by == _thread.get_ident()
        return self.queue.sink_state.state != "unavailable" and not waits_for_itself

    def request_close(self, by: float) -> None:
        """Request that the rest is written and the sink closed by a moment of `time.monotonic()`."""
        self.queue.reject_reason = self.queue.reject_reason or "closed"
        self._close_by = by
        self._closing = True
        self._gate = OPEN_GATE
        self.worker.interval_s = CLOSING_INTERVAL_S
        if not self.worker.wake():
            self._work_inline(by)

    def abandon(self) -> None:
        """Stop waiting for the sink: drop and count what is still queued."""
        self.queue.drop_rest("shutdown")
        self.worker.stop()
        if self.writing:
            _abandoned[:] = [other for other in _abandoned if other.writing and other is not self] + [self]

    def stats(self) -> DeliveryStats:
        """Return the delivery statistics of this sink, consistent at this moment."""
        return self.queue.stats()

    # --- log lines, at most one a minute ----------------------------------------------------------------------------

    def _report_drops(self) -> None:
        dropped = sum(self.queue.dropped.values())
        if dropped > self._reported_drops and self._throttle.ready():
            self._reported_drops = dropped
            deferred_log.warn(
                "sink %r has dropped %s so far: %s", self.name, pluralize(dropped, "call"), dict(self.queue.dropped)
            )

    def _warn(self, message: str, *args: object) -> None:
        if self._throttle.ready():
            log.warning(message, *args)


def _describe(error: BaseException, where: str) -> str:
    """Return the class of a sink's error, where it was raised, and its text if it has one."""
    kind, text = type(error).__name__, fault_text(error)
    return f"{kind} in {where}" + (f": {text}" if text != kind else "")
