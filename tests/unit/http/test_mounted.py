"""Metrics served by the application itself: `monitor.asgi()` and `monitor.wsgi()`."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import PrometheusExporter

TOKEN = "a-long-random-token"


def ask_asgi(
    monitor: Monitor,
    rules: dict[str, Any],
    *,
    method: str = "GET",
    host: str = "localhost:8000",
    client: str | None = "127.0.0.1",
    server: str = "127.0.0.1",
    below: str = "",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": f"/metrics{below.partition('?')[0]}",
        "root_path": "/metrics",
        "query_string": below.partition("?")[2].encode(),
        "headers": [
            (b"host", host.encode()),
            *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": client and (client, 50_000),
        "server": (server, 8000),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(monitor.asgi(**rules)(scope, receive, send))  # type: ignore[arg-type]
    start, body = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]


def ask_wsgi(
    monitor: Monitor,
    rules: dict[str, Any],
    *,
    method: str = "GET",
    host: str = "localhost:8000",
    client: str | None = "127.0.0.1",
    server: str = "127.0.0.1",
    below: str = "",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    found: list[Any] = []
    environ = {"REQUEST_METHOD": method, "HTTP_HOST": host, "SERVER_NAME": server}
    environ |= {
        "SCRIPT_NAME": "/metrics",
        "PATH_INFO": below.partition("?")[0],
        "QUERY_STRING": below.partition("?")[2],
    }
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    if client:
        environ["REMOTE_ADDR"] = client
    body = b"".join(monitor.wsgi(**rules)(environ, lambda *start: found.extend(start)))
    return int(found[0].split()[0]), {name.lower(): value for name, value in found[1]}, body


Ask = Callable[..., tuple[int, dict[str, str], bytes]]
both = pytest.mark.parametrize("ask", [ask_asgi, ask_wsgi])


@both
def test_it_serves_what_ended_before_the_scrape_with_no_port_of_its_own(ask: Ask) -> None:
    """No exporter is needed, and no thread listens. HEAD has the same headers and no body.

    Seen red: without the statistics attached, no tool was exposed; without the live values, no open call.
    """
    monitor = setup()
    with track("ocr"):
        pass
    with track("agent"):
        status, headers, body = ask(monitor, {})
    assert status == 200
    assert b'toolweaver_tool_executions_total{tool_name="ocr",status="success"} 1\n' in body
    assert b"toolweaver_active_operations 1\n" in body
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert headers["content-length"] == str(len(body))
    assert headers["x-content-type-options"] == "nosniff"
    assert "http" not in str(threading.enumerate())
    status, headers, body = ask(monitor, {}, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@both
def test_the_exporter_of_the_setup_is_what_is_served(ask: Ask) -> None:
    """With its buckets and its registry. `listen=False` opens no port, and is no problem in `health()`.

    Seen red: with a new exporter each time; with `listen` ignored.
    """
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders.", registry=registry)
    monitor = setup(PrometheusExporter(listen=False, buckets=[0.5, 60], registry=registry))
    with track("ocr"):
        pass
    body = ask(monitor, {})[2]
    assert b"shop_orders_total" in body
    assert b'le="60.0"} 1' in body or b'le="60.0",tool_name="ocr"} 1.0' in body
    assert monitor.health()["ok"]
    assert monitor.health()["sinks"]["prometheus"]["listening"] is False
    assert "http" not in str(threading.enumerate())


@both
def test_a_long_answer_is_compressed_for_those_who_take_it(ask: Ask) -> None:
    """As the endpoint does, for Prometheus.

    Seen red: with the headers of the request not handed on.
    """
    monitor = setup()
    for number in range(50):
        with track(f"tool {number}"):
            pass
    _, headers, body = ask(monitor, {}, accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert b"tool 49" in gzip.decompress(body)


PROXIED = {"x_forwarded_for": "203.0.113.9"}


@both
@pytest.mark.parametrize(
    ("rules", "request_", "status"),
    [
        # Nothing said: only this machine, by a name of loopback, and not through a proxy.
        ({}, {}, 200),
        ({}, {"host": "[::1]:8000", "client": "::1"}, 200),
        ({}, {"client": "::ffff:127.0.0.1"}, 200),
        ({}, {"client": "203.0.113.9"}, 403),
        ({}, {"client": None}, 403),
        ({}, PROXIED, 403),
        ({}, {"host": "evil.example"}, 403),
        ({}, {"method": "POST"}, 405),
        # A name of the machine's.
        ({"allowed_hosts": ["app.internal"]}, {"host": "app.internal"}, 200),
        ({"allowed_hosts": ["app.internal"]}, {"host": "app.internal", "client": "203.0.113.9"}, 403),
        # A token, from anywhere.
        ({"token": TOKEN}, {"authorization": f"Bearer {TOKEN}", "client": "203.0.113.9", "host": "app.example"}, 200),
        ({"token": TOKEN}, {"authorization": f"Bearer {TOKEN}", **PROXIED}, 200),
        ({"token": TOKEN}, {"authorization": "Bearer another"}, 401),
        ({"token": TOKEN}, {}, 401),
        # Said in so many words: everybody, but no name that could be pointed at this machine.
        ({"insecure": True}, {"client": "203.0.113.9", "host": "10.0.0.5:8000", "server": "10.0.0.5"}, 200),
        ({"insecure": True}, {"client": "203.0.113.9", "host": "10.0.0.5:8000", "server": "0.0.0.0"}, 200),
        ({"insecure": True}, {"client": "203.0.113.9", "host": "evil.example"}, 403),
        ({"insecure": True, "allowed_hosts": ["app.example"]}, {"host": "app.example", **PROXIED}, 200),
    ],
)
def test_who_may_read_is_decided_as_by_the_endpoint(
    ask: Ask, rules: dict[str, Any], request_: dict[str, Any], status: int
) -> None:
    """The application may listen anywhere, so without a token a client must be on this machine.

    Seen red: row by row, with each condition of `MountedMetrics._reject` left out.
    """
    monitor = setup()
    with track("ocr"):
        pass
    found, _, body = ask(monitor, rules, **request_)
    assert found == status
    assert (b"ocr" in body) == (status == 200)


@both
def test_the_rules_of_the_exporter_hold_where_nothing_else_is_said(ask: Ask) -> None:
    """A token given to the exporter protects the mounted metrics, too.

    Seen red: with new rules each time.
    """
    monitor = setup(PrometheusExporter(listen=False, token=TOKEN))
    assert ask(monitor, {})[0] == 401
    assert ask(monitor, {}, authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(monitor, {"insecure": True})[0] == 200


@both
def test_an_error_of_a_collector_is_a_500_and_is_logged(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """The application never sees it. What the collector calls is not monitored.

    Seen red: without the `except`; without the suppression, the call was counted.
    """

    class Broken:
        def collect(self) -> Any:
            with track("inside a scrape"):
                raise RuntimeError("broken")

    registry = CollectorRegistry(auto_describe=False)
    monitor = setup(PrometheusExporter(listen=False, registry=registry))
    registry.register(Broken())  # type: ignore[arg-type]
    assert ask(monitor, {})[0] == 500
    assert "could not be answered" in caplog.text
    assert monitor.summary()["count"] == 0


def test_it_is_a_whole_application_too() -> None:
    """A server that runs nothing else starts and ends it; a WebSocket is turned away.

    Seen red: without `_complete_lifespan`, and with the answer of HTTP for a WebSocket.
    """
    app: Any = setup().asgi()
    sent: list[str] = []
    steps = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(steps)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    asyncio.run(app({"type": "websocket"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


def test_what_cannot_be_served_is_an_error_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Misuse raises where the application is put together.

    Seen red: without the look at the environment's buckets, they were ignored.
    """
    monitor = setup()
    for arguments, cure in (({"token": ""}, "long random"), ({"allowed_hosts": "x"}, "allowed_hosts=[")):
        with pytest.raises(ConfigurationError) as caught:
            monitor.asgi(**arguments)  # type: ignore[arg-type]
        assert cure in caught.value.hint
    monkeypatch.setenv("TOOLWEAVER_MONITOR_BUCKETS_S", "1,5")
    with pytest.raises(ConfigurationError, match=r"PrometheusExporter\(listen=False\)"):
        monitor.wsgi()
    with pytest.raises(ConfigurationError, match="listen must be True, False or None"):
        PrometheusExporter(listen="no")  # type: ignore[arg-type]


@both
def test_the_page_is_below_the_metrics_if_it_is_asked_for(ask: Ask) -> None:
    """Its files and figures are in its folder, and the metrics stay where they are. Seen red: without `page`."""
    with setup() as monitor:
        with track("mounted_page_tool"):
            pass
        page = {"page": True}
        assert ask(monitor, page)[2].startswith(b"#")
        assert ask(monitor, page, below="/")[2].startswith(b"#")
        status, headers, _ = ask(monitor, page, below="/page")
        assert (status, headers["location"]) == (308, "page/")
        assert b"page.css" in ask(monitor, page, below="/page/")[2]
        assert ask(monitor, page, below="/page/page.css")[0] == 200
        assert b"mounted_page_tool" in ask(monitor, page, below="/page/data.json")[2]
        assert ask(monitor, page, below="/page/row.json?name=mounted_page_tool")[0] == 200
        assert ask(monitor, page, below="/page/nothing")[0] == 404
        for below in ("", "/", "/page/", "/page/data.json"):
            assert ask(monitor, {}, below=below)[2].startswith(b"#"), "no page unless it is asked for"


@both
def test_the_mounted_page_has_the_rules_of_the_metrics(ask: Ask) -> None:
    """A browser is asked for the token at the page; without one other machines are refused."""
    with setup() as monitor:
        rules = {"page": True, "token": TOKEN}
        status, headers, _ = ask(monitor, rules, below="/page/")
        assert (status, headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        assert ask(monitor, rules, below="/page/", authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(monitor, rules)[0] == 401
        assert ask(monitor, {"page": True}, below="/page/data.json", client="10.0.0.7")[0] == 403
        with pytest.raises(ConfigurationError, match="page must be"):
            monitor.asgi(page="yes")  # type: ignore[arg-type]
