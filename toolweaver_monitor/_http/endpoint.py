"""Who may read our figures over HTTP, and what do they get? The rules of every endpoint; `http_loop` does the serving.

Loopback only, unless more is asked for with a token, TLS or `insecure=True`. Without a token a request must name a
host that is ours: a web page whose own name has been pointed at this machine (DNS rebinding) names another.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._http import access
from toolweaver_monitor._http.messages import Request, Response, hostname, parsed, told, written
from toolweaver_monitor._http.server import MAX_HEAD_BYTES, Loop
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

BACKLOG = 128
LOG_EVERY_S = 60.0


class Endpoint:
    """Serves fixed paths to `GET` and `HEAD`.

    Args:
        routes: exact path -> what makes its answer; given the request's headers by their names in lower case.
        port: where to listen; 0 takes a free port.
        addr: the address to bind: `127.0.0.1`, `::1`, `0.0.0.0`, a name.
        token: what `Authorization: Bearer ...` must carry.
        certfile: a TLS certificate (PEM), with its chain.
        keyfile: its key (PEM), if that is in another file.
        allowed_hosts: names, beside loopback's and the address itself, by which a request without a token may call us.
        insecure: listen beyond loopback with neither token nor TLS.
        name: what is served, for logs and threads.

    Raises:
        ConfigurationError: an argument that cannot be used; the message ends with the cure.
    """

    def __init__(
        self,
        routes: Mapping[str, Callable[[Mapping[str, str]], Response]],
        *,
        port: int,
        addr: str = "127.0.0.1",
        token: str | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        name: str,
    ) -> None:
        self.routes, self.name = dict(routes), name
        self.port = access.validate_port(port)
        self.addr = access.validate_addr(addr)
        self._takes_any_port = port == 0
        self._token = access.Token(token) if token is not None else None
        self._tls = access.tls_context(certfile, keyfile)
        self._hosts = access.validate_hosts(allowed_hosts)
        if insecure not in (True, False):
            raise ConfigurationError(f"insecure={insecure!r} is neither True nor False; give one of them")
        if not (access.is_loopback(self.addr) or self._token or self._tls or insecure is True):
            raise ConfigurationError(
                f"addr={addr!r} can be reached from other machines",
                hint="give token='...', or certfile='...', or insecure=True if everybody who reaches it may read it",
            )
        self._loop: Loop | None = None
        self._last_log = float("-inf")
        locks.after_fork_in_child_weak(self, Endpoint._in_child)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, token={'yes' if self._token else 'no'}, tls={'yes' if self._tls else 'no'})"

    @property
    def listening(self) -> bool:
        """Whether it serves, in this process."""
        return self._loop is not None

    @property
    def url(self) -> str:
        """Where its first path is served."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.addr, self.addr)  # noqa: S104 - compared, not bound
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{next(iter(self.routes), '/')}"

    def start(self) -> None:
        """Listen; nothing happens if it does already.

        Raises:
            OSError: the port is taken or may not be bound, the address is not ours, no thread is to be had.
        """
        if self._loop is not None:
            return
        listener = self._bound()
        try:
            listener.listen(BACKLOG)
            self.port = listener.getsockname()[1]
            wrap: Any = self._tls and (
                lambda client: self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            )
            self._loop = Loop(listener, self.answer, wrap, self.name)
        except RuntimeError as error:
            raise OSError(f"no thread could be started: {error}") from None
        except BaseException:  # a Ctrl-C, too, leaves the port free
            listener.close()
            raise

    def close(self, timeout: float = 2.0) -> bool:
        """Stop listening and drop every connection.

        Args:
            timeout: seconds to wait at most for an answer in the making.

        Returns:
            Whether the thread has ended.
        """
        loop = self._loop
        ended = loop is None or loop.close(timeout)
        self._loop = None  # last: where a Ctrl-C comes between, it can be closed again
        return ended

    def answer(self, head: bytes, local: tuple[Any, ...]) -> tuple[bytes, bool]:
        """The whole answer to a request, and whether its connection may be used again.

        Args:
            head: the request's line and headers, up to and with the empty line.
            local: the address of ours that it came to.
        """
        if not head.endswith(b"\r\n\r\n"):
            return written(told(431, f"the headers are longer than {MAX_HEAD_BYTES} bytes"), closing=True), False
        try:
            request = parsed(head)
        except ValueError as error:
            return written(told(400, str(error)), closing=True), False
        response = self._refusal(request, str(local[0])) or self._routed(request)
        again = request.keeps_alive
        return written(response, closing=not again, without_body=request.method == "HEAD"), again

    def _refusal(self, request: Request, local: str) -> Response | None:
        if self._token is not None:
            if not self._token.is_in(request.headers.get("authorization", "")):
                return told(401, "give the token: Authorization: Bearer ...")
        elif not self._is_ours(hostname(request.headers.get("host", "")), local):
            return told(
                403, "this Host is not allowed; allow it with allowed_hosts=['name'], or have requests carry a token="
            )
        if request.method not in ("GET", "HEAD"):
            return told(405, "only GET and HEAD are answered")
        return None

    def _is_ours(self, host: str, local: str) -> bool:
        return host in (*self._hosts, self.addr, access.plain_address(local)) or access.is_loopback(host)

    def _routed(self, request: Request) -> Response:
        route = self.routes.get(request.path)
        if route is None:
            return told(404, f"nothing is here; there is {', '.join(self.routes)}")
        try:
            return route(request.headers)
        except BaseException:  # what makes it may be a collector of the user's
            now = time.monotonic()
            if now - self._last_log > LOG_EVERY_S:
                self._last_log = now
                log.exception("toolweaver_monitor: %s could not be answered; please report it", request.path)
            return told(500, "this could not be answered; the program's log says why")

    def _bound(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.addr, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if access.is_loopback(self.addr) and not access.is_loopback(str(address[0])):
            raise OSError(f"{self.addr} is {address[0]} on this machine, which others can reach")
        listener = socket.socket(family, kind, protocol)
        try:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR would let two listen on one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:  # a port whose last connections are just fading is free
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
            except OSError:
                if not self._takes_any_port or not self.port:
                    raise
                listener.bind((address[0], 0, *address[2:]))  # any would do, and that of last time is gone
        except BaseException:
            listener.close()
            raise
        return listener

    def _in_child(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.forget()  # or the port would stay taken after the parent, with nobody to answer
