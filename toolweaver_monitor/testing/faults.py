"""What happens to a program when a sink, or its server, misbehaves? Sinks and servers that do so on purpose.

with HangSink() as sink, setup(sink) as monitor:
    my_tool()                               # must not wait
    assert not monitor.flush(timeout=0.1)   # and the truth is told
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor._core.call import ToolCall


class KeepSink:
    """A well-behaved sink that keeps what it gets, and the base of the others.

    Attributes:
        calls: what has been delivered, in order.
        writes: how often `write` was begun.
        overlaps: how often `write` was entered while it was already running: must stay 0.
        flushes, closes: how often those were called.
    """

    def __init__(self, name: str = "keep") -> None:
        self.name = name
        self.calls: list[ToolCall] = []
        self.writes = self.overlaps = self.flushes = self.closes = 0
        self._inside = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, after doing whatever this sink does wrong."""
        self.writes += 1
        self.overlaps += self._inside > 0
        self._inside += 1
        try:
            self.misbehave(calls)
            self.calls.extend(calls)
        finally:
            self._inside -= 1

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Nothing, here."""

    def flush(self) -> None:
        """Counted."""
        self.flushes += 1

    def close(self) -> None:
        """Counted."""
        self.closes += 1

    def names(self) -> list[str]:
        """The tools whose calls have been delivered."""
        return [call.tool_name for call in self.calls]


class HangSink(KeepSink):
    """Hangs in `write` until `release()`; as a context manager it is released at the end."""

    def __init__(self, name: str = "hang") -> None:
        super().__init__(name)
        self.hanging = threading.Event()
        """Set once a write hangs."""
        self._released = threading.Event()

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Hang."""
        self.hanging.set()
        self._released.wait()

    def release(self) -> None:
        """Let every write through from now on."""
        self._released.set()

    def __enter__(self) -> Self:
        """The sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


class SlowSink(KeepSink):
    """Takes its time for each batch: `batch_s` seconds, and `call_s` more for each call in it."""

    def __init__(self, batch_s: float = 0.0, call_s: float = 0.0, name: str = "slow") -> None:
        super().__init__(name)
        self.batch_s = batch_s
        self.call_s = call_s

    def misbehave(self, calls: Sequence[ToolCall], /) -> None:
        """Be slow."""
        time.sleep(self.batch_s + self.call_s * len(calls))


class RaiseSink(KeepSink):
    """Raises `kind` in the first `times` writes; for ever if that is None."""

    def __init__(self, kind: type[BaseException] = RuntimeError, times: int | None = None, name: str = "raise") -> None:
        super().__init__(name)
        self.kind = kind
        self.times = times

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Raise."""
        if self.times is None or self.writes <= self.times:
            raise self.kind("a fault on purpose")


class PoisonSink(KeepSink):
    """Raises whenever a batch holds a call of the tool named `poison`."""

    def __init__(self, poison: str = "poison", name: str = "poisoned") -> None:
        super().__init__(name)
        self.poison = poison

    def misbehave(self, calls: Sequence[ToolCall], /) -> None:
        """Choke on the poison."""
        if any(call.tool_name == self.poison for call in calls):
            raise ValueError("a fault on purpose")


class FlappySink(KeepSink):
    """Works and fails in turn, `period_s` seconds each; it works first."""

    def __init__(self, period_s: float = 0.2, name: str = "flappy") -> None:
        super().__init__(name)
        self.period_s = period_s
        self._since = time.monotonic()

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Fail in every second period."""
        if int((time.monotonic() - self._since) / self.period_s) % 2:
            raise ConnectionError("a fault on purpose")


class ReentrantSink(KeepSink):
    """Calls `function` in each write: usually monitored code."""

    def __init__(self, function: Callable[[], Any], name: str = "reentrant") -> None:
        super().__init__(name)
        self.function = function

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Call it."""
        self.function()


class _OnLoopback:
    """A socket on loopback. A context manager that returns itself, and closes the socket at the end."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound
        self.port: int = bound.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """The thing itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the port back."""
        self._bound.close()


class BlackHoleServer(_OnLoopback):
    """A server on loopback that accepts connections and never answers. A context manager that returns itself."""

    def __init__(self) -> None:
        super().__init__(socket.create_server(("127.0.0.1", 0), backlog=50))


class RefusedPort(_OnLoopback):
    """A port on loopback where nothing listens, and nothing else will: it stays bound. A context manager."""

    def __init__(self) -> None:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        super().__init__(bound)


class SlowlorisClient:
    """Holds `count` half-open requests to a server on loopback. A context manager; bounded to 1,000."""

    def __init__(self, port: int, count: int = 500, first_bytes: bytes = b"GET /metrics HTTP/1.1\r\nHost: ") -> None:
        self.port = port
        self.count = min(count, 1_000)
        self.first_bytes = first_bytes
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Connect, and send the first bytes on each."""
        for _ in range(self.count):
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=2.0)
                self._connections.append(connection)
                connection.sendall(self.first_bytes)
            except OSError:  # the server defends itself
                continue
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()
