"""`Endpoint`: the paths it serves, and who may read them.

An endpoint listens on loopback only, unless it has a token, TLS or `insecure=True`. Without a token a request must name
an allowed host: a web page that has pointed its own name at this machine (DNS rebinding) names another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._http import access
from toolweaver_monitor._http.messages import (
    Request,
    Response,
    Route,
    error_response,
    parse_request,
    serialize,
)
from toolweaver_monitor._http.server import MAX_HEAD_BYTES, Loop
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

BACKLOG = 128
EXCLUSIVE: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", 0)
"""For Windows, where SO_REUSEADDR allows two listeners on one port."""
_served: set[tuple[str, int]] = set()
"""Addresses and ports at which this process has listened."""


class Endpoint:
    """An HTTP endpoint that serves fixed paths to `GET` and `HEAD`.

    Args:
        routes: exact path -> function that makes the response to a request.
        port: the port to listen on; 0 takes a free one.
        addr: the address to bind: `127.0.0.1`, `::1`, `0.0.0.0`, or a host name.
        token: the token that `Authorization: Bearer ...` must carry.
        certfile: a TLS certificate (PEM), with its chain.
        keyfile: its key (PEM), if it is in another file.
        allowed_hosts: host names to answer to, besides loopback and the bound address; checked only without a token.
        insecure: listen beyond loopback with neither token nor TLS.
        page: whether `add_page` adds anything. Default: if the endpoint is on loopback or has a token, since the page
            shows the texts of errors and the values of tags.
        name: names the endpoint in logs and its thread.

    Raises:
        ConfigurationError: an argument cannot be used; the hint tells what to give.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        port: int,
        addr: str = "127.0.0.1",
        token: str | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        page: bool | None = None,
        name: str,
    ) -> None:
        self.routes, self.name = dict(routes), name
        self._page: Callable[[], Mapping[str, Route]] = dict
        self.port = access.validate_port(port)
        self.addr = access.validate_addr(addr)
        self._takes_any_port = port == 0
        self.rules = access.AccessRules(token, allowed_hosts, insecure)
        self._tls = access.make_tls_context(certfile, keyfile)
        if not (access.is_loopback(self.addr) or self.rules.token or self._tls or self.rules.insecure):
            raise ConfigurationError(
                f"addr={addr!r} can be reached from other machines",
                hint="give token='...', or certfile='...', or insecure=True if everybody who can reach it may read it",
            )
        if page not in (True, False, None):
            raise ConfigurationError(f"page must be True, False or None, not {page!r}")
        private = access.is_loopback(self.addr) or self.rules.token is not None
        self.serves_page: bool = private if page is None else page
        """Whether those who may read this endpoint may read the page as well."""
        self.takes_over = False
        """Whether the port was that of a process of the same run: its last connections do not keep it, and no other
        port will do."""
        self._loop: Loop | None = None
        self._route_errors = LogThrottle()
        locks.after_fork_in_child_weak(self, Endpoint._in_child)

    def __repr__(self) -> str:
        return (
            f"Endpoint({self.url!r}, token={'yes' if self.rules.token else 'no'}, tls={'yes' if self._tls else 'no'})"
        )

    def add_page(self, make: Callable[[], Mapping[str, Route]]) -> None:
        """Serve a page as well, if the rules allow one. It replaces an earlier one.

        Args:
            make: returns what serves it, by path; called when a path is first asked for that `routes` has not.
        """
        if self.serves_page:
            self._page = cache(make)

    @property
    def listening(self) -> bool:
        """Whether this process serves the endpoint."""
        return self._loop is not None

    @property
    def url(self) -> str:
        """The URL of the first path."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.addr, self.addr)  # noqa: S104 - compared, not bound
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{next(iter(self.routes), '/')}"

    def start(self) -> None:
        """Start to listen. Does nothing if the endpoint listens already.

        A port that another socket is bound to is taken, also if that does not listen yet: a server that starts workers
        binds long before it listens, and would lose its requests to this endpoint.

        Raises:
            OSError: the port is taken or may not be bound, the address is not one of this machine, or no thread can
                be started.
        """
        if self._loop is not None:
            return
        listener = self._bind()
        try:
            if not EXCLUSIVE:  # now that it is bound: the next process gets the port in spite of closed connections
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.listen(BACKLOG)
            host, self.port, *_ = listener.getsockname()
            _served.add((host, self.port))
            wrap: Any = self._tls and (
                lambda client: self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            )
            self._loop = Loop(listener, self.answer, wrap, self.name)
        except RuntimeError as error:
            raise OSError(f"no thread could be started: {error}") from None
        except BaseException:  # a Ctrl-C must leave the port free, too
            listener.close()
            raise

    def close(self, timeout: float = 2.0) -> bool:
        """Stop listening and drop every connection.

        Args:
            timeout: the most seconds to wait for a response that is being made.

        Returns:
            True if the thread has ended.
        """
        loop = self._loop
        ended = loop is None or loop.close(timeout)
        self._loop = None  # last: after a Ctrl-C in between, it can be closed again
        return ended

    def answer(self, head: bytes, local: tuple[Any, ...]) -> tuple[bytes, bool]:
        """Return the response to a request, and whether its connection may be used again.

        Args:
            head: the request line and the headers, up to and including the empty line.
            local: the address of this machine that the request came to.
        """
        if not head.endswith(b"\r\n\r\n"):
            too_long = error_response(431, f"the headers are longer than {MAX_HEAD_BYTES} bytes")
            return serialize(too_long, closing=True), False
        try:
            request = parse_request(head)
        except ValueError as error:
            return serialize(error_response(400, str(error)), closing=True), False
        own_hosts = (self.addr, access.normalize_address(str(local[0])))
        response = self.rules.reject(request.method, request.headers, own_hosts) or self._respond(request)
        if response.status == HTTPStatus.UNAUTHORIZED and self._is_of_page(request.path):
            response = response._replace(headers=access.ASK_IN_BROWSER)
        again = request.keeps_alive
        return serialize(response, closing=not again, without_body=request.method == "HEAD"), again

    def _respond(self, request: Request) -> Response:
        try:
            route = self.routes.get(request.path) or self._page().get(request.path)
            if route is None:
                shown = [*self.routes, *(["/"] if self._is_of_page("/") else [])]
                return error_response(404, f"not found; this endpoint serves {', '.join(shown)}")
            return route(request)
        except BaseException:  # the route may run a collector of the user's
            if self._route_errors.ready():
                log.exception("toolweaver_monitor: %s could not be answered; please report it", request.path)
            return error_response(500, "this could not be answered; the program's log has the reason")

    def _is_of_page(self, path: str) -> bool:
        return path not in self.routes and path in self._page()

    def _bind(self) -> socket.socket:
        # As text it would be encoded by rules for international names, whose import takes 2 ms.
        host = self.addr.encode() if self.addr.isascii() else self.addr
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if access.is_loopback(self.addr) and not access.is_loopback(str(address[0])):
            raise OSError(f"{self.addr} is {address[0]} on this machine, which other machines can reach")
        listener = socket.socket(family, kind, protocol)
        try:
            if EXCLUSIVE:
                listener.setsockopt(socket.SOL_SOCKET, EXCLUSIVE, 1)
            elif (
                self.takes_over or (str(address[0]), self.port) in _served
            ):  # whose last connections, in TIME_WAIT, are our own
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
            except OSError:
                if not self._takes_any_port or not self.port or self.takes_over:
                    raise
                listener.bind((address[0], 0, *address[2:]))  # any port will do, and the last one is taken
        except BaseException:
            listener.close()
            raise
        return listener

    def _in_child(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close_descriptors()  # or the port stays taken after the parent has ended, without an answer
