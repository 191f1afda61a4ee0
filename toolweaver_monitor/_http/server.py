"""`Loop`: one thread that serves HTTP to many clients, so that a slow client delays no other.

The thread waits for all connections at once. It handles a request only once its head is complete, so a client that
sends it byte by byte, or never, costs no more than a buffer. Each client has five seconds for a request.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.context import SUPPRESSED, current

log = logging.getLogger("toolweaver_monitor")

TIMEOUT_S = 5.0
"""For a request to arrive, for its response to leave, and for the next request on the same connection."""
MAX_HEAD_BYTES = 8_192
MAX_CONNECTIONS = 128
"""One connection more drops the slowest one, so that no client can lock the others out."""
MAX_DISCARDED_BYTES = 4 * 2**20
"""What a client may still send after the last response on its connection."""
ACKNOWLEDGED_S = 0.1
"""Until the next look at whether a client has received all of its response."""
MAX_FAILED_TURNS = 5
"""So many errors in a row are a bug of this library, and end the endpoint."""

Responder = Callable[[bytes, tuple[Any, ...]], tuple[bytes, bool]]
"""Takes the head of a request, up to and including the empty line (cut at `MAX_HEAD_BYTES` and without that line if it
is longer), and the address it came to. Returns the whole response and whether the connection may be used again."""


class Connection:
    """The connection of one client."""

    __slots__ = (
        "deadline",
        "discarded",
        "frees_port",
        "handshaking",
        "idle",
        "last",
        "lingering",
        "received",
        "socket",
        "to_send",
    )

    def __init__(self, client: socket.socket, *, handshaking: bool) -> None:
        self.socket = client
        self.handshaking = handshaking
        """The TLS handshake is not finished."""
        self.received = bytearray()
        self.to_send = memoryview(b"")
        self.last = False
        """No request follows the one being answered."""
        self.lingering = False
        """The last response is sent. What the client still sends is discarded, or it could meet a reset instead of the
        response."""
        self.discarded = 0
        self.idle = False
        """It has had a response, and no byte of another request has come."""
        self.frees_port = False
        """It ends by a reset when it is closed."""
        self.deadline = time.monotonic() + TIMEOUT_S


class Loop:
    """The server of one listening socket, until it is closed.

    Args:
        listener: a bound and listening socket.
        respond: makes the responses, on the thread of the loop.
        tls: wraps a client's socket, if connections are encrypted.
        name: a part of the thread's name.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(
        self,
        listener: socket.socket,
        respond: Responder,
        tls: Callable[[socket.socket], socket.socket] | None,
        name: str,
    ) -> None:
        self._listener = listener
        self._respond = respond
        self._tls = tls
        self._connections: set[Connection] = set()
        self._stopping = False
        self._paused_until = 0.0
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for readable in (listener, self._woken):
            readable.setblocking(False)
            self._selector.register(readable, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {name} http", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.close_descriptors()
            raise
        except BaseException:  # a Ctrl-C: the thread may run already
            self._stop()
            raise

    def _stop(self) -> None:
        self._stopping = True
        try:
            self._waker.send(b"\0")
        except OSError:  # closed already
            pass

    def close(self, timeout_s: float) -> bool:
        """Stop listening and drop every connection. Return True if the thread ends in time."""
        self._stop()
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout_s))
        if self._thread.is_alive():
            self._listener.close()  # a response is stuck; at least no other client is queued
            return False
        return True

    def close_descriptors(self) -> None:
        """Close every descriptor without sending anything: in a forked child the sockets belong to the parent."""
        self._selector.close()  # without unregistering: the parent waits on the same epoll
        connected = (connection.socket for connection in self._connections)
        for descriptor in (self._listener, self._waker, self._woken, *connected):
            descriptor.close()
        self._connections.clear()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        current.set(SUPPRESSED)  # code called for a response is not monitored
        failed = 0
        try:
            while not self._stopping and failed < MAX_FAILED_TURNS:
                try:
                    self._turn()
                    failed = 0
                except BaseException as error:  # noqa: BLE001 - an asynchronous exception is no reason to end
                    failed += 1
                    last = error
            if failed == MAX_FAILED_TURNS:
                message = "toolweaver_monitor: an HTTP endpoint ended because of an internal error; please report it"
                log.error(message, exc_info=last)
        finally:
            self.close_descriptors()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._wait_s()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is not self._woken:
                self._serve(key.data)
        for idle in [connection for connection in self._connections if connection.idle and not connection.frees_port]:
            _free_port(idle)
        now = time.monotonic()
        for late in [connection for connection in self._connections if connection.deadline <= now]:
            self._drop(late)
        if self._paused_until and self._paused_until <= now:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _wait_s(self) -> float | None:
        deadlines = [connection.deadline for connection in self._connections]
        if self._paused_until:
            deadlines.append(self._paused_until)
        if any(connection.idle and not connection.frees_port for connection in self._connections):
            deadlines.append(time.monotonic() + ACKNOWLEDGED_S)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # most likely no descriptor is left; the program itself needs them first
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
        self._connections.add(connection)  # first: it is then dropped in time, even after an interrupt in between
        try:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        except OSError:
            self._drop(connection)

    def _drop_slowest(self) -> None:
        slowest = min(self._connections, key=lambda one: (bool(one.to_send), one.deadline), default=None)
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
        """Do whatever is possible for a connection without blocking."""
        events = selectors.EVENT_READ
        try:
            while self._step(connection):
                pass
            if connection.to_send:
                events = selectors.EVENT_WRITE
        except (BlockingIOError, InterruptedError):
            if connection.to_send:
                events = selectors.EVENT_WRITE
        except OSError as error:  # TLS reports in this way that it has to wait, and for what
            kind = type(error).__name__
            if kind not in ("SSLWantReadError", "SSLWantWriteError"):
                self._drop(connection)
                return
            events = selectors.EVENT_READ if kind == "SSLWantReadError" else selectors.EVENT_WRITE
        except Exception:
            log.exception("toolweaver_monitor: internal error while serving HTTP; please report it")
            self._drop(connection)
            return
        if connection in self._connections:
            self._selector.modify(connection.socket, events, connection)

    def _step(self, connection: Connection) -> bool:
        """Take one step of a connection. Return False if there is nothing more to do for now.

        Raises:
            OSError: the next step would block, or the connection is broken.
        """
        if connection.handshaking:
            connection.socket.do_handshake()  # type: ignore[attr-defined]
            connection.handshaking = False
        if connection.to_send:
            connection.to_send = connection.to_send[connection.socket.send(connection.to_send) :]
            return self._finish_response(connection) if not connection.to_send else True
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
        connection.idle = False
        if connection.frees_port:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            connection.frees_port = False
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
        more = len(connection.received) > end  # a body, which is of no use here, or a client that does not wait
        connection.received.clear()
        response, again = self._respond(head, connection.socket.getsockname())
        connection.to_send = memoryview(response)
        connection.last = more or not again
        connection.deadline = time.monotonic() + TIMEOUT_S

    def _finish_response(self, connection: Connection) -> bool:
        """Prepare for what follows a response. Return True if that can be done at once.

        The next request on the connection waits until the other connections have had their turn.
        """
        connection.deadline = time.monotonic() + TIMEOUT_S
        if connection.last:
            connection.lingering = True
            connection.socket.shutdown(socket.SHUT_WR)
        connection.idle = not connection.lingering
        return connection.lingering


def _free_port(connection: Connection) -> None:
    """Have an idle connection end by a reset, however the process ends.

    The end that closes a connection first keeps its port for a minute (TIME_WAIT), so that a program that is started
    again could not listen. A client whose connection is idle has all it asked for; it takes a reset as any other end.
    """
    connection.frees_port = True
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        if struct.unpack("i", ioctl(connection.socket.fileno(), TIOCOUTQ, b"\0" * 4))[0]:
            connection.frees_port = False  # a reset would discard what is on its way
        else:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (ImportError, OSError, ValueError):  # Windows; or it is closed already
        pass
