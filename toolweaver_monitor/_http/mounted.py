"""Metrics, and the page, in an application that serves HTTP itself, by ASGI or WSGI, behind an endpoint's rules."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import cache
from http import HTTPStatus
from typing import Any

from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._core.timeouts import run_off_loop
from toolweaver_monitor._http.access import ASK_IN_BROWSER, AccessRules, is_loopback, normalize_address
from toolweaver_monitor._http.messages import (
    Request,
    Response,
    Route,
    error_response,
    headers_of,
    parse_hostname,
    status_line,
)

log = logging.getLogger("toolweaver_monitor")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of a proxy. Its clients are anywhere, though it connects from this machine."""


PAGE = "/page"
"""Where the page is, below the path of the metrics."""


class MountedMetrics:
    """The metrics at any path, and the page below `PAGE` if there is one, for those who may read them.

    Without a token only clients on this machine are answered, unless the rules say `insecure`: the application, and not
    this library, decides where it listens.

    Args:
        respond: makes the response, given the request's headers by names in lower case.
        rules: who may read it.
        make_page: returns what serves the page, by path; called at the first request for it. Default: no page.
    """

    def __init__(
        self,
        respond: Callable[[Mapping[str, str]], Response],
        rules: AccessRules,
        make_page: Callable[[], Mapping[str, Route]] | None = None,
    ) -> None:
        self._respond, self._rules = respond, rules
        self._page = None if make_page is None else cache(make_page)
        self._errors = LogThrottle()

    def answer(
        self, method: str, headers: Mapping[str, str], client: str, server: str, path: str = "", query: str = ""
    ) -> Response:
        """Return the response to a request.

        Args:
            method: the method of the request.
            headers: its headers, by names in lower case.
            client: the address that the request came from; empty if that is unknown.
            server: the address that it came to.
            path: what its path has below the one at which this is mounted.
            query: what stands behind the `?`.
        """
        token = current.set(SUPPRESSED)  # code called for a response is not monitored
        of_page = self._page is not None and (path == PAGE or path.startswith(f"{PAGE}/"))
        try:
            rejection = self._reject(method, headers, client, server)
            if rejection is not None:
                asks = of_page and rejection.status == HTTPStatus.UNAUTHORIZED
                return rejection._replace(headers=ASK_IN_BROWSER) if asks else rejection
            if of_page:
                return self._show_page(Request(method, path.removeprefix(PAGE), dict(headers), True, query))
            return self._respond(headers)
        except BaseException:  # the registry may have a collector of the user's
            if self._errors.ready():
                log.exception("toolweaver_monitor: a scrape could not be answered; please report it")
            return error_response(500, "this could not be answered; the program's log has the reason")
        finally:
            current.reset(token)

    def _show_page(self, request: Request) -> Response:
        if not request.path:  # the names of the page's files are relative to its folder
            return Response(HTTPStatus.PERMANENT_REDIRECT, headers=(("Location", f"{PAGE.strip('/')}/"),))
        route = None if self._page is None else self._page().get(request.path)
        return error_response(404, "the page has no such file") if route is None else route(request)

    def _reject(self, method: str, headers: Mapping[str, str], client: str, server: str) -> Response | None:
        rules = self._rules
        own_hosts = [normalize_address(server)]
        if rules.token is None and rules.insecure:
            host = parse_hostname(headers.get("host", ""))
            own_hosts += [host] if _is_address(host) else []  # only a name can be pointed at another machine
        elif rules.token is None and (
            not is_loopback(normalize_address(client)) or not headers.keys().isdisjoint(_FORWARDED)
        ):
            return error_response(
                403, "only this machine may read this; require a token with token='...', or say insecure=True"
            )
        return rules.reject(method, headers, own_hosts)

    async def asgi(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve by ASGI: metrics whatever the path, since the application's routes have decided that."""
        if scope["type"] == "lifespan":
            await _complete_lifespan(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        else:
            headers: dict[str, str] = {}
            for raw_name, raw_value in scope["headers"]:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            client, server = (scope.get("client") or ("",)), (scope.get("server") or ("",))
            path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
            query = scope.get("query_string", b"").decode("latin-1")
            # On a thread: with thousands of tools the text takes longer than an event loop may be held.
            response = await run_off_loop(
                self.answer, scope["method"], headers, str(client[0]), str(server[0]), path, query
            )
            lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers_of(response)]
            await send({"type": "http.response.start", "status": response.status, "headers": lines})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve by WSGI: metrics whatever the path."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        method = environ["REQUEST_METHOD"]
        client, server = environ.get("REMOTE_ADDR", ""), environ.get("SERVER_NAME", "")
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        response = self.answer(method, headers, client, server, path, query)
        start_response(status_line(response), headers_of(response))
        return [b"" if method == "HEAD" else response.body]


class ASGIMetrics:
    """`MountedMetrics` as an ASGI application: an object and no function, so that Starlette's `Route` takes it, too."""

    def __init__(self, metrics: MountedMetrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self._metrics.asgi(scope, receive, send)


def _is_address(host: str) -> bool:
    import ipaddress  # 1 ms

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _complete_lifespan(receive: Receive, send: Send) -> None:
    """Take part in the start and the end of a server whose whole application this is."""
    while True:
        step = (await receive())["type"]
        await send({"type": f"{step}.complete"})
        if step == "lifespan.shutdown":
            return
