"""How does a sink that does I/O get its calls without anybody waiting for it?

Each such sink has a queue bounded by count and by bytes, a thread, retries with jitter, and a circuit breaker. Its
books balance at every moment: emitted == delivered + failed + dropped (by reason) + queued (in flight included).

Where several figures change together, all that must be worked out is worked out before, and no call is made between
the changes: so neither a signal handler nor an asynchronous exception can come between them. For the same reason a
lock is held on a caller's thread only where no call is made: a handler that ends the process could not get past it.
"""

from __future__ import annotations

import _thread
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from toolweaver_monitor import locks
from toolweaver_monitor.bus import voice
from toolweaver_monitor.bus.books import Books, size_of
from toolweaver_monitor.bus.worker import Worker
from toolweaver_monitor.call import MUTED, ToolCall, innermost
from toolweaver_monitor.rendering import fault_text

log = logging.getLogger("toolweaver_monitor")

MAX_CALLS = 8_192
MAX_BYTES = 16 * 2**20
MAX_BATCH = 512
INTERVAL_S = 0.2
CLOSING_INTERVAL_S = 0.1
INLINE_S = 0.05
TRIES = 5
"""A batch that failed this often is given up, so that one poisonous call cannot stop the rest."""
LAST_TRIES = 3
"""The same for a sink that is being closed; if the batch after that fails as well, the sink is given up."""
BREAKER_AFTER = 5
BREAKER_OPEN_S = 30.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
LOG_EVERY_S = 60.0

_left_writing: list[Runner] = []
"""Runners that were given up while their sink was still writing."""


def _up_to(ceiling: float) -> float:
    """A random share of it, without the user's `random`, whose sequences stay as they were."""
    return int.from_bytes(os.urandom(4), "big") / 2**32 * ceiling


class Gate:
    """Holds back the runners of a setup until that is done. Opened by one store, so that nothing can half open it."""

    def __init__(self) -> None:
        self.shut_by: int | None = _thread.get_ident()


OPEN = Gate()
OPEN.shut_by = None


class Runner:
    """Feeds one sink on a thread of its own.

    Args:
        sink: has `name`, `write(calls)`, `flush()` and `close()`; may have `max_batch`, `max_calls`, `merge(calls)` and
            `backlog`.
        name: the sink's name, unique in this setup.
        unavailable: the exception type by which the sink says that it cannot work until it is set up again.
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
        self.max_calls: int = getattr(sink, "max_calls", MAX_CALLS) if max_calls is None else max_calls
        self.max_bytes = max_bytes
        self.companion: Callable[[], object] = lambda: None
        """Asked for now and then; the dispatcher is started again by it if it was killed."""
        self.worker = Worker(name, self._work, interval_s)
        self._unavailable = unavailable
        self._max_batch: int = getattr(sink, "max_batch", MAX_BATCH)
        self._merge = getattr(sink, "merge", None)
        self._lock = locks.new_rlock(f"queue of {name}")
        self._gate = gate or OPEN
        self._elder = next((other for other in _left_writing if other.sink is sink and other.writing), None)
        if self._elder is not None:
            self._elder.superseded = True
        self._reset()
        locks.in_forked_child_weakly(self, Runner._in_child)

    def _reset(self) -> None:
        self.writing = False
        """Whether the sink is being written to right now."""
        self.emitted = 0
        self.delivered = 0
        self.failed: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.last_error = ""
        self.last_delivery_at: float | None = None
        self.state = "ok"
        self.closed = False
        """Whether the sink has been closed."""
        self.troubles = 0
        """How often `flush()` or `close()` of the sink raised."""
        self.superseded = False
        """Whether another runner feeds this sink now."""
        self._queue: deque[ToolCall] = deque()
        self._bytes = 0
        self._in_flight: list[ToolCall] = []
        self._merged = 0
        self._offered: object = None
        self._tries = 0
        self._failures_in_a_row = 0
        self._not_before = 0.0
        self._enqueued = 0
        self._settled = 0
        self._flushes_asked = 0
        self._flushes_done = 0
        self._flush_to = 0
        self._flush_by = 0.0
        self._merged_written = 0
        self._closing = False
        self._closing_by = math.inf
        self._last_log = -math.inf
        self._said = 0

    def _in_child(self) -> None:
        self._reset()  # what was queued belongs to the parent
        self._gate = OPEN

    # --- the dispatcher's side ---------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as there is room for; never waits."""
        with self._lock:
            if calls is self._offered:
                return  # a dispatcher that was killed right after this step, and begins it again
            kept: Sequence[ToolCall] = ()
            size = merged = 0
            reason = "unavailable" if self.state == "unavailable" else "closed"
            if not self._closing and self.state != "unavailable":
                reason = "queue_full"
                kept, size = self._what_fits(calls)
                if len(kept) < len(calls):
                    merged = self._merged_of(calls[len(kept) :])
            emitted, enqueued = len(calls), len(kept)
            dropped = emitted - enqueued - merged
            dropped_before = self.dropped.get(reason, 0)
            self._offered = calls
            self.emitted += emitted
            self._enqueued += enqueued
            self._merged += merged
            self._bytes += size
            if dropped:
                self.dropped[reason] = dropped_before + dropped
            self._queue.extend(kept)
        full = len(self._queue) >= self._max_batch
        if not (self.worker.poke() if full else self.worker.ensure()) and full:
            self._inline(time.monotonic() + INLINE_S)
        self._say_drops()

    def _what_fits(self, calls: Sequence[ToolCall]) -> tuple[Sequence[ToolCall], int]:
        room = self.max_calls - len(self._queue) - len(self._in_flight)
        if len(calls) > room:
            calls = calls[: max(0, room)]
        size = sum(map(size_of, calls))
        if self._bytes + size <= self.max_bytes:
            return calls, size
        size = 0
        for count, call in enumerate(calls):
            more = size_of(call)
            if self._bytes + size + more > self.max_bytes:
                return calls[:count], size
            size += more
        return calls, size

    def _merged_of(self, calls: Sequence[ToolCall]) -> int:
        """A sink that can merge calls loses only resolution when it is overrun. Gives how many it took."""
        if self._merge is None:
            return 0
        try:
            self._merge(calls)
        except BaseException:  # noqa: BLE001 - then they are dropped, and counted
            return 0
        return len(calls)

    def keep_alive(self) -> None:
        """Start the thread again if it was killed while calls wait; where none is to be had, do a little here."""
        if self._waiting() and not self.worker.ensure():
            self._inline(time.monotonic() + INLINE_S)

    # --- the sink's side: on the worker's thread, or where there is none on that of whoever asks -------------------

    def _work(self, by: float = math.inf) -> None:
        mine = False
        try:
            with self._lock:
                if not (
                    self.writing or self._gate.shut_by is not None or (self._elder is not None and self._elder.writing)
                ):
                    self.writing = mine = True
            if mine:
                self._pass(by)
        finally:
            if mine:
                self.writing = False
        self.companion()

    def _inline(self, by: float) -> None:
        """No thread is to be had: write here until a moment of `time.monotonic()`; the sink's own calls are muted."""
        token = innermost.set(MUTED)
        try:
            self._work(by)
        finally:
            innermost.reset(token)

    def _pass(self, by: float) -> None:
        """Write what waits, as far as it may be tried now."""
        self._finish_flush()
        while self._take():
            now = time.monotonic()
            urgent = self._closing or (self._flushes_asked > self._flushes_done and now < self._flush_by)
            if now >= by or now >= self._closing_by or (now < self._not_before and not urgent):
                break
            if not self._write():
                break
            self._finish_flush()
        if self._closing and not self.closed and (not self._waiting() or self._closing_by <= time.monotonic()):
            if not self.superseded:
                self._guarded("close", self.sink.close)
            self.closed = True

    def _finish_flush(self) -> None:
        """Answer a flush once all that was there when it was asked for is written."""
        asked = self._flushes_asked
        if asked == self._flushes_done or self._settled < self._flush_to or self.closed:
            return
        if not self._merged or self._merged_written >= asked:
            if self.state != "unavailable":  # or its complaint would hide the cure
                self._guarded("flush", self.sink.flush)
            self._flushes_done = asked

    def _waiting(self) -> int:
        return len(self._queue) + len(self._in_flight) + self._merged

    def _take(self) -> bool:
        """Have a batch in flight: the one that failed, or the next. False when nothing waits."""
        if self._in_flight:
            return True
        with self._lock:
            count = min(len(self._queue), self._max_batch)
            if count:
                self._tries = 0
                batch: list[ToolCall] = []
                self._in_flight = batch
                batch.extend(map(deque.popleft, repeat(self._queue, count)))  # one step
        return count > 0 or self._merged > 0

    def _write(self) -> bool:
        batch, merged, flushes = self._in_flight, self._merged, self._flushes_asked
        count, size = len(batch), sum(map(size_of, batch))
        try:
            if self._merge is not None:
                self.sink.backlog = len(self._queue)
            self.sink.write(batch)
        except self._unavailable as error:
            self.refuse(error)
            log.warning("sink %r is off: %s", self.name, self.last_error)
            return False
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self._stumbled(error, batch, count, size)
            return False
        now = time.time()
        with self._lock:
            if self._in_flight is not batch:
                return False  # given up while the sink had it, and counted as dropped
            self._in_flight = []
            self._bytes -= size
            self._settled += count
            self._merged -= merged
            self._merged_written = flushes
            self.delivered += count + merged
            self._failures_in_a_row = 0
            self.state = "ok"
            self._not_before = 0.0
            self.last_delivery_at = now
        return True

    def _stumbled(self, error: BaseException, batch: list[ToolCall], count: int, size: int) -> None:
        kind = type(error).__name__
        in_a_row = self._failures_in_a_row + 1
        tries = self._tries + 1
        given_up = count if tries >= (LAST_TRIES if self._closing else TRIES) else 0
        state, wait = "breaker_open", BREAKER_OPEN_S
        if in_a_row < BREAKER_AFTER:
            ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (in_a_row - 1))
            state, wait = "degraded", _up_to(ceiling)  # full jitter: not all processes come back at once
        not_before = time.monotonic() + wait
        with self._lock:
            if self._in_flight is not batch:
                return  # given up meanwhile
            failed_before = self.failed.get(kind, 0)
            self.last_error = f"{kind} in {self.name}"
            self._tries = tries
            self._failures_in_a_row = in_a_row
            self.state = state
            self._not_before = not_before
            if given_up:
                self._in_flight = []
                self._bytes -= size
                self._settled += given_up
                self.failed[kind] = failed_before + given_up
        if self._closing and in_a_row > LAST_TRIES:
            self._drop_rest("shutdown")
        self._say("sink %r failed (%s); %d calls wait, it is tried again", self.name, kind, self._waiting())

    def refuse(self, error: BaseException) -> None:
        """The sink cannot work until it is set up again: what waits and what comes is dropped, and counted."""
        self.state = "unavailable"
        self.last_error = fault_text(error)
        self._drop_rest("unavailable")

    def _drop_rest(self, reason: str) -> int:
        with self._lock:
            lost = self._waiting()
            if lost:
                self.dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + lost}
            self._queue, self._in_flight = deque(), []
            self._merged = self._bytes = 0
            self._settled = self._enqueued
        return lost

    def _guarded(self, what: str, method: Callable[[], object]) -> None:
        try:
            method()
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self.troubles += 1
            self.last_error = f"{type(error).__name__} in {self.name}.{what}()"
            self._say("sink %r failed in %s() (%s)", self.name, what, type(error).__name__)

    # --- the beginning and the end ----------------------------------------------------------------------------------

    def ask_flush(self, by: float) -> int:
        """Have everything taken so far written out, by a moment of `time.monotonic()`; gives a ticket for `flushed`."""
        with self._lock:
            self._flush_to = self._enqueued
            if by > self._flush_by:  # noqa: PLR1730 - max() is a call
                self._flush_by = by
            self._flushes_asked += 1
            ticket = self._flushes_asked
        if not self.worker.poke():
            self._inline(by)
        return ticket

    def flushed(self, ticket: int) -> bool:
        """Whether the flush of that ticket is done, or will not be as long as the caller waits."""
        return self._flushes_done >= ticket or self.closed or not self.writes()

    def writes(self) -> bool:
        """Whether the sink is written to while the caller waits: not by a caller inside its `write` or its setup."""
        waits_for_itself = self.worker.is_current() or self._gate.shut_by == _thread.get_ident()
        return self.state != "unavailable" and not waits_for_itself

    def ask_close(self, by: float) -> None:
        """Have the rest written and the sink closed, by a moment of `time.monotonic()`."""
        self._closing_by = by
        self._closing = True
        self._gate = OPEN
        self.worker.interval_s = CLOSING_INTERVAL_S
        if not self.worker.poke():
            self._inline(by)

    def abandon(self) -> None:
        """Stop waiting for the sink: what is still queued is dropped and counted."""
        self._drop_rest("shutdown")
        self.worker.stop()
        if self.writing:
            _left_writing[:] = [other for other in _left_writing if other.writing and other is not self] + [self]

    # --- books ------------------------------------------------------------------------------------------------------

    def books(self) -> Books:
        """The accounts of this sink, consistent at this moment."""
        with self._lock:
            found = (self.state, self.emitted, self.delivered, {**self.failed}, {**self.dropped}, self._bytes)
        return Books(*found, self.last_error)

    def _say_drops(self) -> None:
        dropped = sum(self.dropped.values())
        if dropped > self._said and self._may_say():
            self._said = dropped
            voice.say("sink %r has dropped %d calls so far: %s", self.name, dropped, dict(self.dropped))

    def _say(self, message: str, *args: object) -> None:
        if self._may_say():
            log.warning(message, *args)

    def _may_say(self) -> bool:
        now = time.monotonic()
        if now - self._last_log < LOG_EVERY_S:
            return False
        self._last_log = now
        return True
