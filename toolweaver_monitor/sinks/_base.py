"""What is a sink? Whatever takes closed calls; everything else about it is its own affair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from toolweaver_monitor._core.call import ToolCall


@runtime_checkable
class Sink(Protocol):
    """Where calls end.

    Each sink gets its own thread and bounded queue, so `write` may take its time and may raise: the batch is tried
    again. It never runs twice at once. Optional attributes:

    - `max_batch: int`: the most calls given to one `write` (512).
    - `max_calls: int`: the most calls kept waiting (8,192).
    - `merge(calls) -> None`: called instead of dropping when the queue is full; they count as queued until the next
      successful `write`.
    - `backlog: int`: set before each `write` to the number of calls waiting behind it.
    - `start() -> None`: called by `setup()`; what it raises is a fault of the environment, shown by `health()`.
    - `grace_s: float`: how many seconds longer than the usual 2 the program's end may wait for it, just now.
    - `status() -> dict`: shown in `health()`.
    """

    name: str

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch of closed calls, in the order in which they ended but for near ties."""

    def flush(self) -> None:
        """Send what `write` has only buffered."""

    def close(self) -> None:
        """Send the rest and release everything; nothing is written after this."""


class FunctionSink:
    """Any callable that takes a `ToolCall`, as a sink. A batch that is tried again goes on at the call that failed."""

    def __init__(self, function: Callable[[ToolCall], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._batch: Sequence[ToolCall] = ()
        self._done = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Give the function each call."""
        if calls is not self._batch:
            self._batch, self._done = calls, 0
        while self._done < len(calls):
            self.function(calls[self._done])
            self._done += 1
        self._batch = ()

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""
