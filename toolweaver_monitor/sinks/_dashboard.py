"""Serve the page of a setup by an endpoint of its own, for programs without Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolweaver_monitor._core import config
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.listener import Listener
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor.sinks._base import SetupAware
from toolweaver_monitor.sinks._memory.view import InMemorySink

DEFAULT_PORT = 8050


class Dashboard(InMemorySink, SetupAware):
    """The page at an address of its own: `setup(dashboard=Dashboard(port=8050))`, or `setup(dashboard=8050)`.

    A `PrometheusExporter` serves the same page at `/` of its endpoint.

    Args:
        port: the port to listen on; 0 takes a free one, which `.port` then gives.
        addr: the address to bind; any but loopback needs a token, TLS or `insecure=True`.
        token: the token that a browser asks for as a password, whatever the user name; or a bearer token.
        certfile: a TLS certificate (PEM).
        keyfile: its key (PEM), if that is in another file.
        allowed_hosts: Host names to answer to, besides loopback and the bound address; checked only without a token.
        insecure: listen beyond loopback with neither a token nor TLS. Everybody who can reach it then reads the texts
            of errors and the values of tags.

    Raises:
        ConfigurationError: an argument cannot be used; its `hint` names the fix.
    """

    name = "dashboard"

    @suggest_keywords(host="did you mean addr=?", address="did you mean addr=?", bind="did you mean addr=?")
    def __init__(
        self,
        port: int | None = None,
        addr: str = "127.0.0.1",
        *,
        token: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
    ) -> None:
        super().__init__(max_operations=1)
        chosen = config.DASHBOARD.value(port)
        self._endpoint = Endpoint(
            {},
            port=DEFAULT_PORT if chosen is None else chosen,
            addr=addr,
            token=token,
            certfile=certfile,
            keyfile=keyfile,
            allowed_hosts=allowed_hosts,
            insecure=insecure,
            page=True,
            name=self.name,
        )
        self._listener = Listener(self._endpoint, "Dashboard", "the page is served")

    def __repr__(self) -> str:
        return f"Dashboard({self._endpoint!r})"

    @property
    def port(self) -> int:
        """The port it listens on; before `start()`, the requested one."""
        return self._endpoint.port

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return self._endpoint.url

    def start(self) -> None:
        """Start to listen. `setup()` calls it.

        In a setup a port that is taken is tried again each second for a minute, on a thread; with `shared=True` as long
        as another worker has it. `health()` tells.

        Raises:
            SinkUnavailable: the port is taken, without a setup, or may not be bound; its `hint` names the fix.
        """
        self._endpoint.add_page(self._context.page_routes)
        if self._endpoint.listening or self._listener.waiting:
            return
        self._listener.shared = self._context.shared
        self._listener.start(self.name, has_setup=self._context is not SetupAware._context)

    def status(self) -> dict[str, Any]:
        """Return whether and where it listens, for `health()`."""
        return self._listener.status(reports_fork=False)

    def close(self) -> None:
        """Stop listening, or waiting for the port."""
        self._listener.close()
        self._endpoint.close()
