"""A bounded queue for one sink that accounts for every call.

The queue is bounded by count and by bytes, and its statistics balance at every moment: emitted == delivered + failed +
dropped (by reason) + queued (in flight included).

Where several values change together, everything is computed beforehand and no call is made between the changes, so
neither a signal handler nor an asynchronous exception can come between them. For the same reason the lock is held on a
caller's thread only where no call is made: a handler that ends the process could not get past it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat

from toolweaver_monitor._bus.delivery_stats import DeliveryStats, estimate_size
from toolweaver_monitor._bus.retry import HEALTHY, SinkState
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall


class SinkQueue:
    """The calls that wait for one sink, and the statistics of all calls offered to it.

    Args:
        name: the sink's name, for the tests that enumerate locks.
        max_calls: the most calls that may wait, those in flight included.
        max_bytes: the most bytes that they may hold.
        merge: takes the calls that there is no room for, so that only their rows are lost. They count as queued until
            the next write. Without it they are dropped.
    """

    def __init__(
        self, name: str, max_calls: int, max_bytes: int, merge: Callable[[Sequence[ToolCall]], object] | None = None
    ) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self._merge = merge
        self.lock = locks.new_rlock(f"queue of {name}")
        self.reset()

    def reset(self) -> None:
        """Empty the queue and its statistics, as in a forked child: what was queued belongs to the parent."""
        self.emitted = 0
        self.delivered = 0
        self.failed: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.queued_bytes = 0
        """Bytes held by the calls that wait or are in flight."""
        self.sink_state = HEALTHY
        self.last_error = ""
        self.hint = ""
        """What to do about the last error, if it gave a hint."""
        self.reject_reason = ""
        """Why no call is taken any more; empty while calls are taken."""
        self.in_flight: list[ToolCall] = []
        """The batch that the sink is writing, or that it failed to write and will get again."""
        self.merged = 0
        """Calls that were merged and not written yet."""
        self._waiting: deque[ToolCall] = deque()
        self._tries = 0
        self._last_offered: object = None
        self._taken = self._settled = 0
        """Calls that have entered the queue so far, and those of them that have left it for good."""
        self._merged_taken = self._merged_settled = 0
        """The same for merged calls, which may be written before earlier ones."""
        self.flushes = 0
        """Flushes requested so far; the fields below hold what the last of them waits for."""
        self.flush_by = 0.0
        """The latest `time.monotonic()` until which a caller waits for a flush."""
        self._flush_to = self._flush_merged_to = 0

    def __len__(self) -> int:
        """Return the number of calls that are neither in flight nor merged."""
        return len(self._waiting)

    def queued(self) -> int:
        """Return the number of calls that are neither delivered nor abandoned."""
        return len(self._waiting) + len(self.in_flight) + self.merged

    # --- calls come in ----------------------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as fits. Never waits."""
        with self.lock:
            if calls is self._last_offered:
                return  # the dispatcher was killed right after this step and repeats it
            kept: Sequence[ToolCall] = ()
            size = merged = 0
            reason = self.reject_reason
            if not reason:
                reason = "queue_full"
                kept, size = self._fit(calls)
                if len(kept) < len(calls):
                    merged = self._try_merge(calls[len(kept) :])
            emitted, taken = len(calls), len(kept)
            dropped = emitted - taken - merged
            dropped_before = self.dropped.get(reason, 0)
            self._last_offered = calls
            self.emitted += emitted
            self._taken += taken
            self._merged_taken += merged
            self.merged += merged
            self.queued_bytes += size
            if dropped:
                self.dropped[reason] = dropped_before + dropped
            self._waiting.extend(kept)

    def _fit(self, calls: Sequence[ToolCall]) -> tuple[Sequence[ToolCall], int]:
        """Return the first calls, as many as there is room for, and their size in bytes."""
        room = self.max_calls - len(self._waiting) - len(self.in_flight)
        if len(calls) > room:
            calls = calls[: max(0, room)]
        size = sum(map(estimate_size, calls))
        if self.queued_bytes + size <= self.max_bytes:
            return calls, size
        size = 0
        for count, call in enumerate(calls):
            more = estimate_size(call)
            if self.queued_bytes + size + more > self.max_bytes:
                return calls[:count], size
            size += more
        return calls, size

    def _try_merge(self, calls: Sequence[ToolCall]) -> int:
        """Give calls to a sink that can merge them, and return how many it took."""
        if self._merge is None:
            return 0
        try:
            self._merge(calls)
        except BaseException:  # noqa: BLE001 - then they are dropped, and counted
            return 0
        return len(calls)

    # --- calls go out -----------------------------------------------------------------------------------------------

    def take(self, max_calls: int) -> bool:
        """Put a batch in flight: the one that failed, or the next. Return False if nothing waits."""
        if self.in_flight:
            return True
        with self.lock:
            count = min(len(self._waiting), max_calls)
            if count:
                self._tries = 0
                batch: list[ToolCall] = []
                self.in_flight = batch
                batch.extend(map(deque.popleft, repeat(self._waiting, count)))  # one step
        return count > 0 or self.merged > 0

    def record_delivered(self, batch: list[ToolCall], size: int, merged: int) -> bool:
        """Record a delivered batch and `merged` merged calls. Return False if the batch was abandoned in the meantime.

        Args:
            batch: the batch in flight.
            size: the size of the batch in bytes.
            merged: how many merged calls were written with it.
        """
        count = len(batch)
        with self.lock:
            if self.in_flight is not batch:
                return False
            self.in_flight = []
            self.queued_bytes -= size
            self._settled += count
            self._merged_settled += merged
            self.merged -= merged
            self.delivered += count + merged
            self.sink_state = HEALTHY
        return True

    def record_failed(
        self, batch: list[ToolCall], size: int, kind: str, error: str, sink_state: SinkState, max_tries: int
    ) -> bool:
        """Record that the sink failed to write a batch, which stays in flight unless it was tried too often.

        Args:
            batch: the batch in flight.
            size: the size of the batch in bytes.
            kind: the name of the error's type.
            error: the text for `last_error`.
            sink_state: the new state of the sink.
            max_tries: the number of tries after which the batch is abandoned.

        Returns:
            False if the batch was abandoned in the meantime; then nothing changes.
        """
        tries = self._tries + 1
        abandoned = len(batch) if tries >= max_tries else 0
        with self.lock:
            if self.in_flight is not batch:
                return False
            failed_before = self.failed.get(kind, 0)
            self.last_error = error
            self.sink_state = sink_state
            self._tries = tries
            if abandoned:
                self.in_flight = []
                self.queued_bytes -= size
                self._settled += abandoned
                self.failed[kind] = failed_before + abandoned
        return True

    def disable(self, reason: str, sink_state: SinkState, error: str, hint: str = "") -> None:
        """Take no more calls and drop those in the queue: the sink cannot work until it is set up again."""
        with self.lock:
            self.reject_reason, self.sink_state, self.last_error, self.hint = reason, sink_state, error, hint
            self.drop_rest(reason)

    def drop_rest(self, reason: str) -> None:
        """Drop all calls that wait or are in flight."""
        nothing: deque[ToolCall] = deque()
        with self.lock:
            lost = self.queued()
            dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + lost} if lost else self.dropped
            self.dropped = dropped
            self._waiting, self.in_flight = nothing, []
            self.merged = self.queued_bytes = 0
            self._settled, self._merged_settled = self._taken, self._merged_taken

    # --- flushes ----------------------------------------------------------------------------------------------------

    def request_flush(self, by: float) -> int:
        """Note what has been taken so far, to be written by a moment of `time.monotonic()`.

        Returns:
            The number of this flush, for comparison with `reached_flush`.
        """
        with self.lock:
            if by > self.flush_by:  # noqa: PLR1730 - max() is a call
                self.flush_by = by
            self._flush_to = self._taken
            self._flush_merged_to = self._merged_taken
            self.flushes += 1
            return self.flushes

    def reached_flush(self) -> int:
        """Return the number of the last requested flush if all that it waits for is settled, else 0."""
        with self.lock:
            if self._settled < self._flush_to or self._merged_settled < self._flush_merged_to:
                return 0
            return self.flushes

    # --- statistics -------------------------------------------------------------------------------------------------

    def stats(self) -> DeliveryStats:
        """Return the delivery statistics, consistent at this moment."""
        with self.lock:
            values = (
                self.sink_state.state,
                self.emitted,
                self.delivered,
                {**self.failed},
                {**self.dropped},
                self.queued_bytes,
            )
        return DeliveryStats(*values, self.last_error, self.hint)
