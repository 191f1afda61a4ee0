"""S3: `/metrics` answers the clients that may read it, and no client can prevent that."""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._http.access import BearerToken
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.messages import Response, parse_hostname, parse_request
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._base import SetupContext

TOKEN = "a-long-random-token-" + "x" * 20
OPEN_SOCKETS = 500


@pytest.fixture
def exporter() -> Iterator[PrometheusExporter]:
    with setup(PrometheusExporter(port=0)) as monitor:
        with track("tool"):
            pass
        yield monitor.sinks[0]


def connected(port: int, host: str = "127.0.0.1") -> socket.socket:
    client = socket.create_connection((host, port), timeout=10)
    client.settimeout(10)
    return client


def ask(
    port: int, line: str = "GET /metrics HTTP/1.1", *headers: str, host: str | None = "localhost", body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is written here; status, headers by names in lower case, and body."""
    lines = [line, *([] if host is None else [f"Host: {host}"]), "Connection: close", *headers]
    with connected(port) as client:
        client.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        answer = b""
        while data := client.recv(65_536):
            answer += data
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split(" ")[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}, content


def test_s3_it_listens_on_loopback_only_unless_told_otherwise() -> None:
    """By default 127.0.0.1. Beyond loopback a token, TLS or `insecure=True` is wanted at construction.

    Mutation that turned it red: the check left out of `Endpoint.__init__`.
    """
    with setup(PrometheusExporter(port=0)) as monitor:
        listener = monitor.sinks[0]._endpoint._loop._listener
        assert listener.getsockname()[0] == "127.0.0.1"
    for addr in ("0.0.0.0", "::", "192.0.2.1", "example.com", "::ffff:127.0.0.1x"):
        with pytest.raises(ConfigurationError, match=r"token='...', or certfile='...', or insecure=True"):
            PrometheusExporter(port=0, addr=addr)
        PrometheusExporter(port=0, addr=addr, token=TOKEN)
        PrometheusExporter(port=0, addr=addr, insecure=True)
    for addr in ("127.0.0.1", "::1", "localhost", "127.8.9.10", "[::1]"):
        PrometheusExporter(port=0, addr=addr)


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"token": ""}, "give a long random text"),
        ({"token": "a b"}, "printable ASCII"),
        ({"token": "\u00e9"}, "printable ASCII"),
        ({"token": "a\r\nb"}, "printable ASCII"),
        ({"addr": ""}, "such as '127.0.0.1'"),
        ({"addr": 80}, "such as '127.0.0.1'"),
        ({"port": 70_000}, "0 takes a free one"),
        ({"port": "8000"}, "0 takes a free one"),
        ({"allowed_hosts": "monitor"}, "allowed_hosts=['monitor.internal']"),
        ({"keyfile": "key.pem"}, "give certfile=, too"),
        ({"certfile": "/nowhere/cert.pem"}, "give the path of a PEM file"),
        ({"certfile": __file__}, "give a certificate and its key in PEM"),
    ],
    ids=str,
)
def test_s3_what_cannot_be_used_is_told_at_construction_with_its_cure(arguments: Any, cure: str) -> None:
    """An endpoint that would be open, or unusable, is never made by mistake; and no message holds the token.

    Mutations that turned it red: an empty token taken for one; an empty `addr` not refused; the token in the message.
    """
    with pytest.raises(ConfigurationError) as caught:
        PrometheusExporter(**{"port": 0, **arguments})
    assert cure in str(caught.value)
    assert not arguments.get("token") or ascii(arguments["token"])[1:-1] not in ascii(str(caught.value))


def test_s3_another_host_is_forbidden_without_a_token(exporter: PrometheusExporter) -> None:
    """A page whose name has been pointed at this machine (DNS rebinding) gets 403; loopback's names get the figures.

    Mutation that turned it red: `is_allowed_host` always True.
    """
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "localhost."):
        assert ask(exporter.port, host=host)[0] == 200, host
    for host in (
        "evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.5", "", "a b",
        "user@localhost", "localhost/", "localhost:x", "127.0.0.1:8000:1", "\u00e9.example", "2130706433", "0x7f.1",
    ):  # fmt: skip
        status, _, body = ask(exporter.port, host=host)
        assert status == 403, host
        assert b"allowed_hosts=" in body


def test_s3_hosts_that_are_allowed_are_answered() -> None:
    """`allowed_hosts=` names them; the address that a request came to is always among them.

    Mutations that turned it red: `self.hosts` left out of `AccessRules.is_allowed_host`;
    `normalize_address(local)` left out there.
    """
    allowed = ["Monitor.internal", "with-port:8000", "fd00::1"]
    with setup(PrometheusExporter(port=0, addr="0.0.0.0", insecure=True, allowed_hosts=allowed)) as monitor:
        port = monitor.sinks[0].port
        for host in ("monitor.internal:9", "with-port", "with-port:9", "[fd00::1]:9", "127.0.0.1"):
            assert ask(port, host=host)[0] == 200, host
        assert ask(port, host="other")[0] == 403
        for local, status in (("192.0.2.7", 200), ("::ffff:192.0.2.7", 200), ("192.0.2.8", 403)):
            head, _ = monitor.sinks[0]._endpoint.answer(b"GET /metrics HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n", (local, 1))
            assert head.startswith(b"HTTP/1.1 %d " % status), local


def test_s3_only_get_and_head_of_exact_paths(exporter: PrometheusExporter) -> None:
    """405 with what is allowed, 404 with where the metrics are; nothing is decoded, joined or made simpler.

    Mutations that turned it red: the check of the method left out; `startswith` for the lookup of the path.
    """
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"):
        status, headers, _ = ask(exporter.port, f"{method} /metrics HTTP/1.1")
        assert (status, headers["allow"]) == (405, "GET, HEAD"), method
    for path in ("/metrics/", "//metrics", "/./metrics", "/x/../metrics", "/%6detrics", "/METRICS", "/metrics%00",
                 "http://localhost/metrics", "/favicon.ico", "/.git/config"):  # fmt: skip
        status, _, body = ask(exporter.port, f"GET {path} HTTP/1.1")
        assert status == 404, path
        assert b"serves /metrics" in body
    assert ask(exporter.port, "GET /metrics?name[]=x HTTP/1.1")[0] == 200
    status, headers, body = ask(exporter.port, "HEAD /metrics HTTP/1.1")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100


def test_s3_answers_say_nothing_of_the_server_and_let_browsers_do_nothing(exporter: PrometheusExporter) -> None:
    """No version, no CORS, nothing to run, frame or guess at; on errors, too.

    Mutation that turned it red: SECURITY_HEADERS left out of `serialize`.
    """
    for line in ("GET /metrics HTTP/1.1", "GET /nothing HTTP/1.1", "POST /metrics HTTP/1.1", "nonsense"):
        _, headers, body = ask(exporter.port, line)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert headers["content-type"].startswith("text/plain")
        assert not {"server", "access-control-allow-origin", "set-cookie", "location"} & set(headers)
        assert b"Python" not in body
        assert b"Traceback" not in body


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics\r\n\r\n", b"GET  /metrics HTTP/1.1\r\n\r\n", b"get /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/2.0\r\nHost: localhost\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nbad header: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"GET /met\nrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"\r\n\r\n",
        b"GET /metrics HTTP/1.1 more\r\nHost: localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\xff\xfe\x00\r\n\r\n",
    ],
)  # fmt: skip
def test_s3_a_request_that_two_readers_could_read_differently_is_refused(
    head: bytes, exporter: PrometheusExporter
) -> None:
    """Malformed, doubled, folded, of another protocol: 400, and the connection is closed.

    Mutation that turned it red: `re.match` for `re.fullmatch` of the request's line.
    """
    with connected(exporter.port) as client:
        client.sendall(head)
        answer = b""
        while data := client.recv(65_536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer


def test_s3_headers_of_a_megabyte_are_too_large_and_a_body_is_not_read(exporter: PrometheusExporter) -> None:
    """431 beyond 8 KiB, and the client gets to read it; a body of a megabyte is thrown away behind the answer.

    Mutation that turned it red: the connection closed at once behind the answer (the client met a reset).
    """
    assert ask(exporter.port, "GET /metrics HTTP/1.1", "X: " + "a" * 2**20)[0] == 431
    assert ask(exporter.port, "GET /" + "a" * 2**20 + " HTTP/1.1")[0] == 431
    status, _, _ = ask(exporter.port, "POST /metrics HTTP/1.1", f"Content-Length: {2**20}", body=b"x" * 2**20)
    assert status == 405
    assert ask(exporter.port, "GET /metrics HTTP/1.1", "X: " + "a" * 7_000)[0] == 200


def test_s3_500_half_open_sockets_hold_up_nobody(exporter: PrometheusExporter) -> None:
    """While 500 clients have sent nothing, or half a request, a scrape takes less than a second, on one thread.

    Mutation that turned it red: no limit of connections.
    """
    before = threading.active_count()
    clients = []
    for number in range(OPEN_SOCKETS):
        client = connected(exporter.port)
        clients.append(client)
        try:
            client.sendall(b"" if number % 2 else b"GET /metrics HT")
        except OSError:  # dropped already, to make room
            pass
    start = time.monotonic()
    assert ask(exporter.port)[0] == 200
    took_s = time.monotonic() - start
    print(f"S3: a scrape among {OPEN_SOCKETS} half-open sockets: {took_s * 1e3:.1f} ms")
    assert took_s <= 1.0
    assert threading.active_count() - before <= 0
    assert len(exporter._endpoint._loop._connections) <= 128
    for client in clients:
        client.close()
    assert ask(exporter.port)[0] == 200


def test_s3_whoever_dawdles_is_dropped_after_five_seconds(
    exporter: PrometheusExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte does not help: the time, here 0.3 s, is for the whole request.

    Mutation that turned it red: the deadline set anew whenever something comes in.
    """
    from toolweaver_monitor._http import server

    assert server.TIMEOUT_S == 5.0
    monkeypatch.setattr(server, "TIMEOUT_S", 0.3)
    with connected(exporter.port) as silent, connected(exporter.port) as slow:
        start = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011, PT012 - a reset or a broken pipe, whichever comes first
            while time.monotonic() - start < 5:
                slow.sendall(b"G")
                time.sleep(0.02)
        assert silent.recv(1) == b""
        assert time.monotonic() - start < 4


def test_s3_a_connection_serves_several_requests_in_turn(exporter: PrometheusExporter) -> None:
    """As Prometheus asks: the same connection again and again, each time with all that has ended.

    Mutations that turned it red: `connection.last` always True; the head that was read not cleared; `sync` left out
    of `InMemorySink._sources`.
    """
    with connected(exporter.port) as client:
        for number in range(1, 20):
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < int(
                answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
            ):
                answer += (data := client.recv(65_536))
                assert data, "the connection was closed"
            assert (
                f'toolweaver_tool_executions_total{{tool_name="tool",status="success"}} {number}\n'.encode() in answer
            )
            with track("tool"):
                pass


def test_s3_the_token_is_wanted_by_each_request_and_kept_nowhere() -> None:
    """401 without it or with another; 200 with it, whatever the Host; and no repr or attribute holds it.

    Mutation that turned it red: `matches` comparing the lengths only.
    """
    exporter = PrometheusExporter(port=0, token=TOKEN)
    with setup(exporter) as monitor:
        for given in (None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "Basic " + TOKEN):
            value = given if given is None or given.startswith("Basic") else f"Bearer {given}"
            headers = [] if value is None else [f"Authorization: {value}"]
            status, answered, _ = ask(exporter.port, "GET /metrics HTTP/1.1", *headers)
            assert (status, answered["www-authenticate"]) == (401, "Bearer"), given
        assert ask(exporter.port, "GET /nothing HTTP/1.1")[0] == 401
        assert (
            ask(exporter.port, "GET /metrics HTTP/1.1", f"Authorization: Bearer {TOKEN}", host="any.example")[0] == 200
        )
        twice = ask(exporter.port, "GET /metrics HTTP/1.1", f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x")
        assert twice[0] == 400
        shown = (
            repr(exporter)
            + repr(vars(exporter))
            + repr(vars(exporter._endpoint))
            + repr(vars(exporter._endpoint.rules))
            + repr(monitor.health())
        )
        assert TOKEN not in shown
        assert TOKEN not in repr(vars(exporter._endpoint.rules.token))


def test_s3_how_long_a_wrong_token_takes_tells_nothing_of_it() -> None:
    """A token wrong in its first character takes as long as one wrong in its last: within a third, of the medians.

    Mutation that turned it red: a loop that ends at the first difference, for `compare_digest` of digests.
    """
    token = BearerToken("a" * 4_096)
    guesses = {"first": "Bearer b" + "a" * 4_095, "last": "Bearer " + "a" * 4_095 + "b"}
    took: dict[str, list[int]] = {name: [] for name in guesses}
    for _ in range(2_000):
        for name, guess in guesses.items():
            start = time.perf_counter_ns()
            token.matches(guess)
            took[name].append(time.perf_counter_ns() - start)
    first, last = statistics.median(took["first"]), statistics.median(took["last"])
    assert abs(first - last) < 0.33 * max(first, last)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_s3_tls_by_certfile(certificate: tuple[Path, Path], require_program: Any) -> None:
    """A real client that checks the certificate reads the metrics; one without TLS is dropped and delays no other.

    Mutation that turned it red: the handshake done while accepting (a silent client held up all).
    """
    require_program("openssl")
    cert, key = certificate
    with setup(PrometheusExporter(port=0, certfile=str(cert), keyfile=str(key))) as monitor:
        exporter = monitor.sinks[0]
        trusting = ssl.create_default_context(cafile=str(cert))
        with connected(exporter.port), connected(exporter.port) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert exporter.url.startswith("https://127.0.0.1:")
            for _ in range(3):
                with urllib.request.urlopen(exporter.url, timeout=5, context=trusting) as answer:
                    assert b"toolweaver_active_operations" in answer.read()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(exporter.url, timeout=5, context=ssl.create_default_context())
    encrypted = key.with_name("encrypted.pem")
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key), "-out", str(encrypted)],
                   check=True, capture_output=True)  # fmt: skip
    with pytest.raises(ConfigurationError, match="the key not encrypted"):
        PrometheusExporter(port=0, certfile=str(cert), keyfile=str(encrypted))


def test_s3_a_route_that_raises_is_a_500_without_a_word_of_why(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises; the log says why, once a minute, and the endpoint goes on.

    Mutation that turned it red: `except Exception` in `Endpoint._respond` (SystemExit ended the thread).
    """
    raised: list[BaseException] = [ValueError("secret detail"), SystemExit(1), MemoryError()]

    def route(_: object) -> Response:
        if raised:
            raise raised.pop()
        return Response(body=b"well")

    endpoint = Endpoint({"/it": route}, port=0, name="test")
    endpoint.start()
    try:
        for _ in range(3):
            status, _, body = ask(endpoint.port, "GET /it HTTP/1.1")
            assert status == 500
            assert b"secret" not in body
        assert ask(endpoint.port, "GET /it HTTP/1.1")[2] == b"well"
        assert len(caplog.records) == 1
    finally:
        assert endpoint.close()


def test_s3_it_ends_in_time_frees_its_port_and_starts_again_there(exporter: PrometheusExporter) -> None:
    """`close()` does not wait for clients; the port is free at once, and the next start takes the same.

    Mutation that turned it red: SO_REUSEADDR left out.
    """
    port = exporter.port
    with connected(port), connected(port) as half:
        half.sendall(b"GET /met")
        assert ask(port)[0] == 200
        start = time.monotonic()
        exporter.close()
        assert time.monotonic() - start < 1
    exporter.close()
    with pytest.raises(OSError):  # noqa: PT011 - refused
        connected(port)
    exporter.start()
    assert exporter.port == port
    assert ask(port)[0] == 200


def test_s3_two_cannot_listen_on_one_port(exporter: PrometheusExporter) -> None:
    """The second gets an error, and the first goes on; REUSEADDR is no REUSEPORT.

    Mutation that turned it red: SO_REUSEPORT for SO_REUSEADDR.
    """
    other = Endpoint({"/it": lambda _: Response()}, port=exporter.port, name="other")
    with pytest.raises(OSError, match="in use"):
        other.start()
    assert not other.listening
    assert ask(exporter.port)[0] == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_s3_a_forked_child_lets_go_of_the_parent_s_socket(exporter: PrometheusExporter) -> None:
    """The child neither serves nor holds the port: when the parent lets go of it, it is free.

    Mutation that turned it red: `close_descriptors` left out of `Endpoint._in_child`.
    """
    port = exporter.port
    reading, writing = os.pipe()
    ready, is_ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(writing)
            os.write(is_ready, b"!")
            os.read(reading, 1)  # until the parent says so
        finally:
            os._exit(0 if not exporter._endpoint.listening else 1)
    try:
        os.close(reading)
        os.read(ready, 1)
        assert ask(port)[0] == 200
        exporter.close()
        with socket.socket() as next_one:
            next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            next_one.bind(("127.0.0.1", port))
            next_one.listen()
    finally:
        for end in (writing, ready, is_ready):
            os.close(end)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_s3_scrapes_are_not_watched(exporter: PrometheusExporter) -> None:
    """What is called to answer a scrape, a monitored function of yours even, is no call of its own.

    Mutation that turned it red: the thread of the loop not suppressed.
    """
    before = Diagnostics.suppressed_calls
    exporter._connect(SetupContext(live_values=lambda: track("scraped").__enter__() and {}))
    assert ask(exporter.port)[0] == 200
    assert Diagnostics.suppressed_calls > before
    assert b"scraped" not in ask(exporter.port)[2]


def test_s3_no_thread_to_be_had_is_an_environment_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup goes on, `health()` says it, and the port is not left taken.

    Mutations that turned it red: `except RuntimeError` left out of `Endpoint.start`; `close_descriptors` left
    out of `Loop.__init__`.
    """

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    exporter = PrometheusExporter(port=0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        monitor: Monitor = setup(exporter)
    assert monitor.health()["sinks"]["prometheus"]["state"] == "unavailable"
    assert "no thread" in monitor.health()["sinks"]["prometheus"]["last_error"]
    socket.create_server(("127.0.0.1", exporter.port)).close()
    exporter.start()
    assert ask(exporter.port)[0] == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_s3_ipv6(require_program: Any) -> None:
    """`addr="::1"` serves there, under an address that can be asked as it is written.

    Mutation that turned it red: the brackets left out of `Endpoint.url`.
    """
    with setup(PrometheusExporter(port=0, addr="::1")) as monitor:
        if monitor.health()["faults"]:
            pytest.skip("this machine has no ::1")
        with urllib.request.urlopen(monitor.sinks[0].url, timeout=5) as answer:
            assert answer.status == 200


def test_s3_heads_and_hosts_are_read_to_the_letter() -> None:
    """Names in lower case, values trimmed, several joined; what is no host is none.

    Mutations that turned it red: the `strip` of a header's value left out; the last of several values taken; names
    with empty parts taken for a host's.
    """
    request = parse_request(b"GET /metrics?x=1 HTTP/1.1\r\nHost:  LocalHost:80 \r\nA: 1\r\nA: 2\r\n\r\n")
    assert (request.method, request.path, request.keeps_alive) == ("GET", "/metrics", True)
    assert request.headers == {"host": "LocalHost:80", "a": "1, 2"}
    assert parse_hostname("LocalHost:80") == "localhost"
    assert parse_hostname("[::1]:80") == "::1"
    assert parse_hostname("a..b") == ""
