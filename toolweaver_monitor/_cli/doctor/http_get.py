"""What does an address answer? One GET: no proxy, no redirect, a deadline and a limit."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
DEADLINE_S = 15.0
"""For the whole answer, however slowly it trickles."""
MAX_BYTES = 32 * 2**20


class Answer(NamedTuple):
    """What came back, or why nothing did."""

    status: int = 0
    body: str = ""
    fault: str = ""
    cure: str = ""


SILENT = Answer(fault="no answer in time", cure="see whether the program hangs, or a firewall is in the way")


def get(url: str, token: str | None = None) -> Answer:
    """Ask once.

    Args:
        url: `http://` or `https://`.
        token: a bearer token to show.

    Raises:
        ValueError: that is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError(f"{url!r} is not an address such as http://localhost:8000/metrics")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    late = threading.Event()
    try:
        connection.connect()
        cut = threading.Timer(DEADLINE_S, _cut, [connection.sock, late])
        cut.daemon = True
        cut.start()
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            body = response.read(MAX_BYTES).decode("utf-8", "replace")
        finally:
            cut.cancel()
        return SILENT if late.is_set() else Answer(response.status, body)
    except (http.client.HTTPException, OSError) as error:
        return SILENT if late.is_set() else _fault(error)
    finally:
        connection.close()


def _cut(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it has just ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _fault(error: Exception) -> Answer:
    match error:
        case TimeoutError():
            return SILENT
        case ConnectionRefusedError():
            return Answer(
                fault="nothing is listening there",
                cure="start the program, with setup('prometheus') or PrometheusExporter(port=...), and take the "
                "port from its log line or exporter.url; in a container addr='0.0.0.0' with a token is needed",
            )
        case ssl.SSLCertVerificationError():
            return Answer(
                fault=f"the certificate is not trusted ({error.verify_message or error})",
                cure="have it trusted: SSL_CERT_FILE=/path/to/ca.pem",
            )
        case ssl.SSLError():
            return Answer(fault=f"TLS failed ({error.reason or error})", cure="use http:// if it does not serve TLS")
        case OSError():
            said = error.strerror or error
            return Answer(fault=f"cannot connect ({said})", cure="check the host name and the network")
        case _:
            return Answer(
                fault=f"what answers does not speak HTTP ({type(error).__name__})",
                cure="use https:// if the endpoint has a certificate; otherwise another program has this port",
            )
