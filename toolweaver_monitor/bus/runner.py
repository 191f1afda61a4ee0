"""How does a sink that does I/O get its calls without anybody waiting for it?

Each such sink has a queue bounded by count and by bytes, a thread, retries with jitter, and a circuit breaker. Its
books balance at every moment: emitted == delivered + failed + dropped (by reason) + queued (in flight included).
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from random import Random
from typing import Any

from toolweaver_monitor import locks
from toolweaver_monitor.bus.worker import Worker
from toolweaver_monitor.call import ToolCall
from toolweaver_monitor.redact import scrub
from toolweaver_monitor.rendering import error_text

log = logging.getLogger("toolweaver_monitor")

MAX_CALLS = 8_192
MAX_BYTES = 16 * 2**20
MAX_BATCH = 512
INTERVAL_S = 0.2
TRIES = 5
"""A batch that failed this often is given up, so that one poisonous call cannot stop the rest."""
BREAKER_AFTER = 5
BREAKER_OPEN_S = 30.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
LOG_EVERY_S = 60.0

MAX_ERROR_CHARS = 512
_CALL_BYTES = 240
_random = Random()


def size_of(call: ToolCall) -> int:
    """About how many bytes a call holds on to."""
    if call.details is None:
        return _CALL_BYTES
    details = call.details
    size = 2 * _CALL_BYTES + len(details.raw_error) + len(details.arguments or "") + len(details.result or "")
    for key, value in details.tags.items():
        size += 160 + len(key) + (len(value) if type(value) is str else 0)
    return size


class Runner:
    """Feeds one sink on a thread of its own.

    Args:
        sink: has `name`, `write(calls)`, `flush()` and `close()`; may have `max_batch`, `merge(calls)` and `backlog`.
        name: the sink's name, unique in this setup.
        unavailable: the exception type by which the sink says that it cannot work until it is set up again.
    """

    def __init__(
        self,
        sink: Any,
        name: str,
        unavailable: type[BaseException] = NotImplementedError,
        *,
        max_calls: int = MAX_CALLS,
        max_bytes: int = MAX_BYTES,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.sink = sink
        self.name = name
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self._unavailable = unavailable
        self._max_batch: int = getattr(sink, "max_batch", MAX_BATCH)
        self._merge = getattr(sink, "merge", None)
        self._lock = locks.new_rlock(f"queue of {name}")
        self._worker = Worker(name, self._work, interval_s)
        locks.in_forked_child_weakly(self, Runner._in_child)
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[ToolCall] = deque()
        self._bytes = 0
        self._in_flight: list[ToolCall] = []
        self._merged = 0
        self._tries = 0
        self.emitted = 0
        self.delivered = 0
        self.failed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.last_error = ""
        self.last_delivery_at: float | None = None
        self.state = "ok"
        self._failures_in_a_row = 0
        self._not_before = 0.0
        self._flushes_asked = 0
        self._flushes_done = 0
        self._closing = False
        self._closed = False
        self._last_log = float("-inf")
        self._said = 0

    def _in_child(self) -> None:
        self._reset()  # what was queued belongs to the parent, which delivers it

    # --- the dispatcher's side ---------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as there is room for; never waits."""
        with self._lock:
            self.emitted += len(calls)
            if self.state == "unavailable" or self._closing:
                self.dropped["unavailable" if self.state == "unavailable" else "closed"] += len(calls)
                return
            room = self.max_calls - len(self._queue) - len(self._in_flight)
            taken: Sequence[ToolCall] = calls if len(calls) <= room else calls[: max(0, room)]
            size = sum(map(size_of, taken))
            if self._bytes + size > self.max_bytes:
                taken, size = self._what_fits(taken)
            self._queue.extend(taken)
            self._bytes += size
            left = calls[len(taken) :]
            if left and not self._merge_in(left):
                self.dropped["queue_full"] += len(left)
        if len(self._queue) >= self._max_batch:
            self._worker.poke()
        else:
            self._worker.ensure()
        self._say_drops()

    def _what_fits(self, calls: Sequence[ToolCall]) -> tuple[Sequence[ToolCall], int]:
        size = 0
        for count, call in enumerate(calls):
            more = size_of(call)
            if self._bytes + size + more > self.max_bytes:
                return calls[:count], size
            size += more
        return calls, size

    def _merge_in(self, calls: Sequence[ToolCall]) -> bool:
        """A sink that can merge calls loses only resolution when it is overrun."""
        if self._merge is None:
            return False
        try:
            self._merge(calls)
        except Exception:  # noqa: BLE001 - then they are dropped, and counted
            return False
        self._merged += len(calls)
        return True

    # --- the sink's side: only ever on the worker's thread -------------------------------------------------------

    def _work(self) -> None:
        asked = self._flushes_asked
        urgent = asked > self._flushes_done or self._closing
        while self._take():
            if not (urgent or time.monotonic() >= self._not_before):
                return
            if not self._write():
                urgent = False
                break
        if asked > self._flushes_done and not self._waiting():
            self._guarded("flush", self.sink.flush)
            self._flushes_done = asked
        if self._closing and not self._closed and (not self._waiting() or self._closing_by <= time.monotonic()):
            self._guarded("close", self.sink.close)
            self._closed = True

    _closing_by = 0.0

    def _waiting(self) -> int:
        return len(self._queue) + len(self._in_flight) + self._merged

    def _take(self) -> bool:
        """Have a batch in flight: the one that failed, or the next. False when nothing waits."""
        with self._lock:
            if self._in_flight:
                return True
            if self._merged and not self._queue:
                return True
            count = min(len(self._queue), self._max_batch)
            self._in_flight = [self._queue.popleft() for _ in range(count)]
            self._tries = 0
            return count > 0

    def _write(self) -> bool:
        batch = self._in_flight
        with self._lock:
            merged = self._merged
        try:
            if self._merge is not None:
                self.sink.backlog = len(self._queue)
            self.sink.write(batch)
        except self._unavailable as error:
            self._give_up(error)
            return False
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self._stumbled(error, len(batch) + merged)
            return False
        with self._lock:
            if self._in_flight is not batch:
                return False  # given up while the sink had it, and counted as dropped
            self._settle(batch)
            self._merged -= merged
            self.delivered += len(batch) + merged
            self._failures_in_a_row = 0
            self.state = "ok"
            self._not_before = 0.0
            self.last_delivery_at = time.time()
        return True

    def _settle(self, batch: Sequence[ToolCall]) -> None:
        self._bytes -= sum(map(size_of, batch))
        self._in_flight = []

    def _stumbled(self, error: BaseException, count: int) -> None:
        with self._lock:
            self.last_error = f"{type(error).__name__} in {self.name}"
            self._tries += 1
            self._failures_in_a_row += 1
            if self._tries >= TRIES:
                self.failed[type(error).__name__] += len(self._in_flight)
                self._settle(self._in_flight)
            if self._failures_in_a_row >= BREAKER_AFTER:
                self.state = "breaker_open"
                wait = BREAKER_OPEN_S
            else:
                self.state = "degraded"
                ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (self._failures_in_a_row - 1))
                wait = _random.uniform(0, ceiling)  # full jitter: many processes do not come back at once
            self._not_before = time.monotonic() + wait
        self._say("sink %r failed (%s); %d calls wait, it is tried again", self.name, type(error).__name__, count)

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            self.state = "unavailable"
            self.last_error = scrub(error_text(error), MAX_ERROR_CHARS)
            self.dropped["unavailable"] += self._waiting()
            self._queue.clear()
            self._in_flight = []
            self._merged = 0
            self._bytes = 0
        log.warning("sink %r is off: %s", self.name, self.last_error)

    def _guarded(self, what: str, method: Any) -> None:
        try:
            method()
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is the sink's trouble
            self.last_error = f"{type(error).__name__} in {self.name}.{what}()"
            self._say("sink %r failed in %s() (%s)", self.name, what, type(error).__name__)

    # --- lifecycle -----------------------------------------------------------------------------------------------

    def ask_flush(self) -> int:
        """Have everything taken so far written out; gives the ticket that `flushed` is asked about."""
        self._flushes_asked += 1
        if not self._worker.poke() and not self._worker.ensure():
            self._inline()
        return self._flushes_asked

    def flushed(self, ticket: int) -> bool:
        """Whether the flush of that ticket is done."""
        return self._flushes_done >= ticket or self.state == "unavailable"

    def ask_close(self, by: float) -> None:
        """Have the rest written and the sink closed, by a moment of `time.monotonic()`."""
        self._closing_by = by
        self._closing = True
        if not self._worker.poke():
            self._inline()

    @property
    def closed(self) -> bool:
        """Whether the sink has been closed."""
        return self._closed

    def abandon(self) -> int:
        """Stop waiting for the sink: what is still queued is dropped and counted. Returns how many calls."""
        with self._lock:
            lost = self._waiting()
            self.dropped["shutdown"] += lost
            self._queue.clear()
            self._in_flight = []
            self._merged = 0
            self._bytes = 0
        self._worker.stop(0.0)
        return lost

    def keep_alive(self) -> None:
        """Start the thread again if it was killed while calls wait."""
        if self._waiting():
            self._worker.ensure()

    def _inline(self) -> None:
        """No thread is to be had: one bounded attempt on the caller's."""
        self._work()

    # --- books ---------------------------------------------------------------------------------------------------

    def books(self) -> dict[str, Any]:
        """The accounts of this sink, consistent at this moment."""
        with self._lock:
            return {
                "state": self.state,
                "emitted": self.emitted,
                "delivered": self.delivered,
                "failed": sum(self.failed.values()),
                "failed_by": dict(self.failed),
                "dropped": sum(self.dropped.values()),
                "dropped_by": dict(self.dropped),
                "queued": self._waiting(),
                "queued_bytes": self._bytes,
                "last_error": self.last_error,
            }

    def _say_drops(self) -> None:
        dropped = sum(self.dropped.values())
        if dropped > self._said and self._say(
            "sink %r has dropped %d calls so far: %s", self.name, dropped, dict(self.dropped)
        ):
            self._said = dropped

    def _say(self, message: str, *args: object) -> bool:
        now = time.monotonic()
        if now - self._last_log < LOG_EVERY_S:
            return False
        self._last_log = now
        log.warning(message, *args)
        return True
