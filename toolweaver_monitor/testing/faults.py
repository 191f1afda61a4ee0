"""Sinks and servers that misbehave on purpose, to test what a program does then.

Example:
    with HangSink() as sink, setup(sink) as monitor:
        my_tool()  # must not wait
        assert not monitor.flush(timeout=0.1)  # and flush() reports that the call is not delivered
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor._core.call import ToolCall

__all__ = [
    "BlackHoleServer",
    "FlappySink",
    "HangSink",
    "KeepSink",
    "PoisonSink",
    "RaiseSink",
    "ReentrantSink",
    "RefusedPort",
    "SlowSink",
    "SlowlorisClient",
]


class KeepSink:
    """A well-behaved sink that keeps the calls it receives, and the base of the other sinks.

    Attributes:
        calls: the calls delivered, in order.
        writes: how often `write` was called.
        overlaps: how often `write` was called while it was still running; must stay 0.
        flushes, closes: how often those were called.
    """

    def __init__(self, name: str = "keep") -> None:
        self.name = name
        self.calls: list[ToolCall] = []
        self.writes = self.overlaps = self.flushes = self.closes = 0
        self._inside = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Keep a batch, after doing what this sink does wrong."""
        self.writes += 1
        self.overlaps += self._inside > 0
        self._inside += 1
        try:
            self.misbehave(calls)
            self.calls.extend(calls)
        finally:
            self._inside -= 1

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Do nothing. The other sinks override this."""

    def flush(self) -> None:
        """Count the call of `flush`."""
        self.flushes += 1

    def close(self) -> None:
        """Count the call of `close`."""
        self.closes += 1

    def names(self) -> list[str]:
        """Return the tool name of each call delivered."""
        return [call.tool_name for call in self.calls]


class HangSink(KeepSink):
    """A sink that hangs in `write` until `release()`. As a context manager it is released at the end."""

    def __init__(self, name: str = "hang") -> None:
        super().__init__(name)
        self.hanging = threading.Event()
        """An event that is set once a write hangs."""
        self._released = threading.Event()

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Hang."""
        self.hanging.set()
        self._released.wait()

    def release(self) -> None:
        """Let every write continue, now and later."""
        self._released.set()

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the sink."""
        self.release()


class SlowSink(KeepSink):
    """A sink that takes `batch_s` seconds for each batch, and `call_s` more for each call in it."""

    def __init__(self, batch_s: float = 0.0, call_s: float = 0.0, name: str = "slow") -> None:
        super().__init__(name)
        self.batch_s = batch_s
        self.call_s = call_s

    def misbehave(self, calls: Sequence[ToolCall], /) -> None:
        """Sleep."""
        time.sleep(self.batch_s + self.call_s * len(calls))


class RaiseSink(KeepSink):
    """A sink that raises `kind` in the first `times` writes; in all of them if `times` is None."""

    def __init__(self, kind: type[BaseException] = RuntimeError, times: int | None = None, name: str = "raise") -> None:
        super().__init__(name)
        self.kind = kind
        self.times = times

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Raise."""
        if self.times is None or self.writes <= self.times:
            raise self.kind("a fault on purpose")


class PoisonSink(KeepSink):
    """A sink that raises for each batch with a call of the tool named `poison`."""

    def __init__(self, poison: str = "poison", name: str = "poisoned") -> None:
        super().__init__(name)
        self.poison = poison

    def misbehave(self, calls: Sequence[ToolCall], /) -> None:
        """Raise if the batch has the poison."""
        if any(call.tool_name == self.poison for call in calls):
            raise ValueError("a fault on purpose")


class FlappySink(KeepSink):
    """A sink that works and fails in turn, for `period_s` seconds each; it works first."""

    def __init__(self, period_s: float = 0.2, name: str = "flappy") -> None:
        super().__init__(name)
        self.period_s = period_s
        self._since = time.monotonic()

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Fail in every second period."""
        if int((time.monotonic() - self._since) / self.period_s) % 2:
            raise ConnectionError("a fault on purpose")


class ReentrantSink(KeepSink):
    """A sink that calls `function` in each write, usually monitored code."""

    def __init__(self, function: Callable[[], Any], name: str = "reentrant") -> None:
        super().__init__(name)
        self.function = function

    def misbehave(self, _: Sequence[ToolCall], /) -> None:
        """Call the function."""
        self.function()


class _OnLoopback:
    """A socket on loopback, as a context manager that closes it at the end."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound
        self.port: int = bound.getsockname()[1]

    @property
    def url(self) -> str:
        """The URL of the port."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket."""
        self._bound.close()


class BlackHoleServer(_OnLoopback):
    """A server on loopback that accepts connections and never answers. A context manager."""

    def __init__(self) -> None:
        super().__init__(socket.create_server(("127.0.0.1", 0), backlog=50))


class RefusedPort(_OnLoopback):
    """A port on loopback where nothing listens. It stays bound, so no other program takes it. A context manager."""

    def __init__(self) -> None:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        super().__init__(bound)


class SlowlorisClient:
    """A client that holds `count` half-open requests to a server on loopback, 1,000 at most. A context manager."""

    def __init__(self, port: int, count: int = 500, first_bytes: bytes = b"GET /metrics HTTP/1.1\r\nHost: ") -> None:
        self.port = port
        self.count = min(count, 1_000)
        self.first_bytes = first_bytes
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Open the connections, and send the first bytes on each."""
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
        """Close the connections."""
        for connection in self._connections:
            connection.close()
