"""How does a sink that does I/O get its calls without anybody waiting for it?

Each such sink has a queue and a thread of its own. What it fails to take is tried again; a flush and the end are asked
for here, and done on that thread.
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
from toolweaver_monitor._bus.retry import LAST_TRIES, TRIES, UNAVAILABLE
from toolweaver_monitor._bus.sink_queue import Queue
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._text.safe_repr import fault_text

log = logging.getLogger("toolweaver_monitor")

MAX_CALLS = 8_192
MAX_BYTES = 16 * 2**20
MAX_BATCH = 512
INTERVAL_S = 0.2
CLOSING_INTERVAL_S = 0.1
INLINE_S = 0.05
"""How long somebody else's thread is used at a time where the sink can have none of its own."""
LOG_EVERY_S = 60.0

_left_writing: list[SinkRunner] = []
"""Runners that were given up while their sink was still writing."""


class Gate:
    """Holds back the runners of a setup until that is done. Opened by one store, so that nothing can half open it."""

    def __init__(self) -> None:
        self.shut_by: int | None = _thread.get_ident()


OPEN = Gate()
OPEN.shut_by = None


class SinkRunner:
    """Feeds one sink on a thread of its own.

    Args:
        sink: has `name`, `write(calls)`, `flush()` and `close()`; may have `max_batch`, `max_calls`, `merge(calls)` and
            `backlog`.
        name: the sink's name, unique in this setup.
        unavailable: the exception type by which the sink says that it cannot work until it is set up again.
        max_calls: how many calls may wait; what the sink says, or 8,192, if not given.
        max_bytes: how many bytes the calls that wait may hold on to.
        interval_s: seconds between two looks at the queue.
        gate: take calls, but write none while this is shut.
    """

    def __init__(
        self,
        sink: Any,
        name: str,
        unavailable: type[BaseException] = NotImplementedError,
        *,
        max_calls: int | None = None,
        max_bytes: int = MAX_BYTES,
        interval_s: float = INTERVAL_S,
        gate: Gate | None = None,
    ) -> None:
        self.sink = sink
        self.name = name
        self.companion: Callable[[], object] = lambda: None
        """Asked for now and then; the dispatcher is started again by it if it was killed."""
        self.worker = Worker(name, self._work, interval_s)
        self._unavailable = unavailable
        self._max_batch: int = getattr(sink, "max_batch", None) or MAX_BATCH
        self._wants_backlog = hasattr(sink, "backlog")
        most: int = max_calls or getattr(sink, "max_calls", None) or MAX_CALLS
        self.queue = Queue(name, most, max_bytes, getattr(sink, "merge", None))
        self._gate = gate or OPEN
        self._predecessor = next((other for other in _left_writing if other.sink is sink and other.writing), None)
        if self._predecessor is not None:
            self._predecessor.superseded = True
        self._reset()
        locks.after_fork_in_child_weak(self, SinkRunner._in_child)

    def _reset(self) -> None:
        self.writing = False
        """Whether the sink is being written to right now."""
        self.closed = False
        """Whether the sink has been closed."""
        self.troubles = 0
        """How often `flush()` or `close()` of the sink raised."""
        self.superseded = False
        """Whether another runner feeds this sink now."""
        self._handed_of: list[ToolCall] | None = None
        self._handed: list[ToolCall] = []
        """The batch in flight as the sink is given it: a list of its own, so that the books hold if it changes that."""
        self._flushed = 0
        self._closing = False
        self._closing_by = math.inf
        self._last_log = -math.inf
        self._said = 0

    def _in_child(self) -> None:
        self.queue.reset()
        self._reset()
        self._gate = OPEN

    # --- the dispatcher's side --------------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as there is room for; never waits."""
        self.queue.offer(calls)
        full = len(self.queue) >= self._max_batch
        if not (self.worker.wake() if full else self.worker.ensure_running()) and full:
            self._inline(time.monotonic() + INLINE_S)
        self._say_drops()

    def keep_alive(self) -> None:
        """Start the thread again if it was killed while calls wait; where none is to be had, do a little here."""
        if self.queue.queued() and not self.worker.ensure_running():
            self._inline(time.monotonic() + INLINE_S)

    # --- the sink's side: on the worker's thread, or where there is none on that of whoever asks --------------------

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
                self._pass(by)
        finally:
            if mine:
                self.writing = False
        self.companion()

    def _inline(self, by: float) -> None:
        """Write on this thread until a moment of `time.monotonic()`; the sink's own calls are suppressed."""
        token = current.set(SUPPRESSED)
        try:
            self._work(by)
        finally:
            current.reset(token)

    def _pass(self, by: float) -> None:
        """Write what waits, as far as it may be tried now."""
        self._finish_flush()
        while self.queue.take(self._max_batch):
            now = time.monotonic()
            urgent = self._closing or (self.queue.flushes > self._flushed and now < self.queue.flush_by)
            if now >= by or now >= self._closing_by or (now < self.queue.standing.not_before and not urgent):
                break
            if not self._write():
                break
            self._finish_flush()
        if self._closing and not self.closed and (not self.queue.queued() or self._closing_by <= time.monotonic()):
            if not self.superseded:
                self._guarded("close", self.sink.close)
            self.closed = True

    def _write(self) -> bool:
        """Give the sink the batch in flight. False if it is not to be given another one now."""
        batch, merged = self.queue.in_flight, self.queue.merged
        size = sum(map(estimate_size, batch))
        try:
            if self._wants_backlog:
                self.sink.backlog = len(self.queue)
            if self._handed_of is not batch:
                self._handed, self._handed_of = batch[:], batch
            self.sink.write(self._handed)
        except self._unavailable as error:
            self.refuse(error)
            log.warning("sink %r is off: %s", self.name, self.queue.last_error)
            return False
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self._on_write_failure(type(error).__name__, batch, size)
            return False
        taken = self.queue.note_delivered(batch, size, merged)
        self._handed_of, self._handed = None, []
        return taken

    def _on_write_failure(self, kind: str, batch: list[ToolCall], size: int) -> None:
        standing = self.queue.standing.after_failure()
        most_tries = LAST_TRIES if self._closing else TRIES
        if not self.queue.note_failed(batch, size, kind, f"{kind} in {self.name}", standing, most_tries):
            return
        if self._closing and standing.failures_in_a_row > LAST_TRIES:
            self.queue.drop_rest("shutdown")
        self._say("sink %r failed (%s); %d calls wait, it is tried again", self.name, kind, self.queue.queued())

    def _finish_flush(self) -> None:
        """Answer a flush once all that was there when it was asked for is written."""
        reached = self.queue.flush_reached()
        if reached <= self._flushed or self.closed:
            return
        if self.queue.standing.state != "unavailable":  # or its complaint would hide the cure
            self._guarded("flush", self.sink.flush)
        self._flushed = reached

    def _guarded(self, what: str, method: Callable[[], object]) -> None:
        try:
            method()
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self.troubles += 1
            self.queue.last_error = f"{type(error).__name__} in {self.name}.{what}()"
            self._say("sink %r failed in %s() (%s)", self.name, what, type(error).__name__)

    # --- whoever asks: a setup, a flush, the end --------------------------------------------------------------------

    def refuse(self, error: BaseException) -> None:
        """The sink cannot work until it is set up again: what waits and what comes is dropped, and counted."""
        self.queue.refuse("unavailable", UNAVAILABLE, fault_text(error))

    def ask_flush(self, by: float) -> int:
        """Have everything taken so far written out, by a moment of `time.monotonic()`; gives a ticket for `flushed`."""
        ticket = self.queue.ask_flush(by)
        if not self.worker.wake():
            self._inline(by)
        return ticket

    def flushed(self, ticket: int) -> bool:
        """Whether the flush of that ticket is done, or will not be as long as the caller waits."""
        return self._flushed >= ticket or self.closed or not self.writes()

    def writes(self) -> bool:
        """Whether the sink is written to while the caller waits: not by a caller inside its `write` or its setup."""
        waits_for_itself = self.worker.is_current() or self._gate.shut_by == _thread.get_ident()
        return self.queue.standing.state != "unavailable" and not waits_for_itself

    def ask_close(self, by: float) -> None:
        """Have the rest written and the sink closed, by a moment of `time.monotonic()`."""
        self.queue.refusing = self.queue.refusing or "closed"
        self._closing_by = by
        self._closing = True
        self._gate = OPEN
        self.worker.interval_s = CLOSING_INTERVAL_S
        if not self.worker.wake():
            self._inline(by)

    def abandon(self) -> None:
        """Stop waiting for the sink: what is still queued is dropped and counted."""
        self.queue.drop_rest("shutdown")
        self.worker.stop()
        if self.writing:
            _left_writing[:] = [other for other in _left_writing if other.writing and other is not self] + [self]

    def books(self) -> DeliveryStats:
        """The accounts of this sink, consistent at this moment."""
        return self.queue.books()

    # --- what is said in the log, at most once a minute -------------------------------------------------------------

    def _say_drops(self) -> None:
        dropped = sum(self.queue.dropped.values())
        if dropped > self._said and self._may_say():
            self._said = dropped
            deferred_log.say("sink %r has dropped %d calls so far: %s", self.name, dropped, dict(self.queue.dropped))

    def _say(self, message: str, *args: object) -> None:
        if self._may_say():
            log.warning(message, *args)

    def _may_say(self) -> bool:
        now = time.monotonic()
        if now - self._last_log < LOG_EVERY_S:
            return False
        self._last_log = now
        return True
