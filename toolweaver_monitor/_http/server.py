"""How does one thread serve HTTP to many clients, so that a slow one keeps no other waiting?

The thread waits for all connections at once. A request is looked at only when its head is there in full, so a client
that sends it byte by byte, or never, costs a buffer and no more; and each has five seconds for it.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.context import SUPPRESSED, current

log = logging.getLogger("toolweaver_monitor")

TIMEOUT_S = 5.0
"""For a request to come in, for its answer to go out, and for the next request on the same connection."""
MAX_HEAD_BYTES = 8_192
MAX_CONNECTIONS = 128
"""Beyond these the one that has dawdled longest is dropped, so that none can lock the others out."""
MAX_DISCARDED_BYTES = 4 * 2**20
MAX_FAILED_TURNS = 5
"""After so many in a row it is an error of ours, and the endpoint ends."""

Answer = Callable[[bytes, tuple[Any, ...]], tuple[bytes, bool]]
"""Given the head of a request (up to and with the empty line; longer than `MAX_HEAD_BYTES`: cut, and without one) and
the address it came to, gives the whole answer and whether the connection may be used again."""


class Connection:
    """One client."""

    __slots__ = ("deadline", "discarded", "handshaking", "last", "lingering", "received", "socket", "to_send")

    def __init__(self, client: socket.socket, *, handshaking: bool) -> None:
        self.socket = client
        self.handshaking = handshaking
        """The TLS handshake is not done yet."""
        self.received = bytearray()
        self.to_send = memoryview(b"")
        self.last = False
        """Nothing is to follow the answer in hand."""
        self.lingering = False
        """All is said; what the client still sends is thrown away, or it might not get to read our answer."""
        self.discarded = 0
        self.deadline = time.monotonic() + TIMEOUT_S


class Loop:
    """Serves one listening socket until it is closed.

    Args:
        listener: bound and listening.
        answer: makes the answers; it runs on the thread of the loop.
        tls: wraps a client's socket, if connections are encrypted.
        name: of the thread.

    Raises:
        RuntimeError: no thread is to be had.
    """

    def __init__(
        self, listener: socket.socket, answer: Answer, tls: Callable[[socket.socket], socket.socket] | None, name: str
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._tls = tls
        self._connections: set[Connection] = set()
        self._stopping = False
        self._paused_until = 0.0
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for own in (listener, self._woken):
            own.setblocking(False)
            self._selector.register(own, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {name} http", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.forget()
            raise
        except BaseException:  # a Ctrl-C: the thread may run already
            self._stop()
            raise

    def _stop(self) -> None:
        self._stopping = True
        try:
            self._waker.send(b"\0")
        except OSError:  # it is closed already
            pass

    def close(self, timeout_s: float) -> bool:
        """Stop listening and drop every connection; True if the thread has ended in time."""
        self._stop()
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout_s))
        if self._thread.is_alive():
            self._listener.close()  # an answer is stuck; at least nobody else gets into the queue
            return False
        return True

    def forget(self) -> None:
        """Let go of every descriptor, and say nothing on any: in a forked child they are the parent's."""
        self._selector.close()  # without unregistering: the parent waits on the same epoll
        for own in (self._listener, self._waker, self._woken, *(each.socket for each in self._connections)):
            own.close()
        self._connections.clear()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        current.set(SUPPRESSED)  # what is called for an answer is not watched
        failed = 0
        try:
            while not self._stopping and failed < MAX_FAILED_TURNS:
                try:
                    self._turn()
                    failed = 0
                except BaseException as error:  # noqa: BLE001 - one that struck from outside is no reason to end
                    failed += 1
                    last = error
            if failed == MAX_FAILED_TURNS:
                said = "toolweaver_monitor: an HTTP endpoint has ended for an error of its own; please report it"
                log.error(said, exc_info=last)
        finally:
            self.forget()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._wait_s()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is not self._woken:
                self._serve(key.data)
        now = time.monotonic()
        for late in [each for each in self._connections if each.deadline <= now]:
            self._drop(late)
        if self._paused_until and self._paused_until <= now:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _wait_s(self) -> float | None:
        ends = [each.deadline for each in self._connections]
        if self._paused_until:
            ends.append(self._paused_until)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor left, most likely: they are the program's first
            self._drop_slowest()
            self._paused_until = time.monotonic() + 0.1
            self._selector.unregister(self._listener)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop_slowest()
        client.setblocking(False)
        try:
            connection = Connection(self._tls(client) if self._tls else client, handshaking=self._tls is not None)
        except OSError:
            client.close()
            return
        self._connections.add(connection)  # first: whatever comes in between, it is dropped in time
        try:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        except OSError:
            self._drop(connection)

    def _drop_slowest(self) -> None:
        slowest = min(self._connections, key=lambda each: (bool(each.to_send), each.deadline), default=None)
        if slowest is not None:
            self._drop(slowest)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        try:
            self._selector.unregister(connection.socket)
        except (KeyError, ValueError):
            pass
        connection.socket.close()

    def _serve(self, connection: Connection) -> None:
        """Do for a connection what can be done without waiting."""
        wanted = selectors.EVENT_READ
        try:
            while self._step(connection):
                pass
            if connection.to_send:
                wanted = selectors.EVENT_WRITE
        except (BlockingIOError, InterruptedError):
            if connection.to_send:
                wanted = selectors.EVENT_WRITE
        except OSError as error:  # TLS says so that it has to wait, and for what
            kind = type(error).__name__
            if kind not in ("SSLWantReadError", "SSLWantWriteError"):
                self._drop(connection)
                return
            wanted = selectors.EVENT_READ if kind == "SSLWantReadError" else selectors.EVENT_WRITE
        except Exception:
            log.exception("toolweaver_monitor: an error of its own while serving HTTP; please report it")
            self._drop(connection)
            return
        if connection in self._connections:
            self._selector.modify(connection.socket, wanted, connection)

    def _step(self, connection: Connection) -> bool:
        """One step of a connection; False when there is nothing more to do for now. Raises where it must wait."""
        if connection.handshaking:
            connection.socket.do_handshake()  # type: ignore[attr-defined]
            connection.handshaking = False
        if connection.to_send:
            connection.to_send = connection.to_send[connection.socket.send(connection.to_send) :]
            return self._sent(connection) if not connection.to_send else True
        data = connection.socket.recv(65_536)
        if not data:
            self._drop(connection)
            return False
        if connection.lingering:
            connection.discarded += len(data)
            if connection.discarded > MAX_DISCARDED_BYTES:
                self._drop(connection)
                return False
            return True
        connection.received += data
        self._read(connection)
        return True

    def _read(self, connection: Connection) -> None:
        end = connection.received.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        if end == 3:
            if len(connection.received) < MAX_HEAD_BYTES:
                return
            end = MAX_HEAD_BYTES
        head = bytes(connection.received[:end])
        more = len(connection.received) > end  # a body, which we have no use for, or a client that does not wait
        connection.received.clear()
        answer, again = self._answer(head, connection.socket.getsockname())
        connection.to_send = memoryview(answer)
        connection.last = more or not again
        connection.deadline = time.monotonic() + TIMEOUT_S

    def _sent(self, connection: Connection) -> bool:
        """The answer is out; True if there is more to do at once. The next request has to wait for its turn."""
        connection.deadline = time.monotonic() + TIMEOUT_S
        if connection.last:
            connection.lingering = True
            connection.socket.shutdown(socket.SHUT_WR)
        return connection.lingering
