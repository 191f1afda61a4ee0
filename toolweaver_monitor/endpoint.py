"""How are figures served over HTTP to those who may read them? Provisional: the hardened server replaces this file."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from toolweaver_monitor.errors import ConfigurationError


class Response(NamedTuple):
    """What a route answers."""

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


class Endpoint:
    """Serves fixed routes."""

    def __init__(
        self,
        routes: Mapping[str, Callable[[Mapping[str, str]], Response]],
        *,
        port: int,
        addr: str = "127.0.0.1",
        token: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        name: str,
    ) -> None:
        if type(port) is not int or not 0 <= port <= 65535:
            raise ConfigurationError(f"port={port!r} is no port; give a number from 0 to 65535")
        if addr not in ("127.0.0.1", "::1", "localhost") and not (token or certfile or insecure):
            raise ConfigurationError(f"addr={addr!r} is beyond loopback; give token=, certfile= or insecure=True")
        del keyfile, allowed_hosts  # provisional
        self.routes, self.port, self.addr, self.name = routes, port, addr, name
        self._server: Any = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.addr}:{self.port}/metrics"

    def start(self) -> None:
        """Listen."""
        routes: Any = self.routes

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = routes.get(self.path, lambda _: Response(404))({})
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._server = http.server.ThreadingHTTPServer((self.addr, self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self, timeout: float = 2.0) -> None:
        """Stop."""
        del timeout
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
