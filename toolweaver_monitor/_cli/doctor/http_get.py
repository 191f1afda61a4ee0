"""One GET request: no proxy, no redirect, a deadline and a size limit."""

from __future__ import annotations

import http.client
import ssl
import threading
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
DEADLINE_S = 15.0
"""For the whole answer, which may trickle in byte by byte."""
MAX_BYTES = 32 * 2**20


class Answer(NamedTuple):
    """The answer of a server, or why there is none."""

    status: int = 0
    body: str = ""
    fault: str = ""
    cure: str = ""


SILENT = Answer(fault="no answer in time", cure="see whether the program hangs, or a firewall is in the way")


def get(url: str, token: str | None = None) -> Answer:
    """Send one request.

    Args:
        url: `http://` or `https://`, without a user name.
        token: a bearer token to send.
    """
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(_get(url, token)), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return answers[0] if answers else SILENT


def _get(url: str, token: str | None) -> Answer:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return Answer(response.status, response.read(MAX_BYTES).decode("utf-8", "replace"))
    except Exception as error:  # noqa: BLE001 - a host name, too, may be refused in many ways
        return _fault(error)
    finally:
        connection.close()


def _fault(error: Exception) -> Answer:
    match error:
        case TimeoutError():
            return SILENT
        case ConnectionRefusedError():
            fault = "nothing is listening there"
            cure = (
                "start the program, with setup('prometheus') or PrometheusExporter(port=...), and take the port from "
                "its log line or exporter.url; in a container addr='0.0.0.0' with a token is needed"
            )
        case ssl.SSLError():
            fault = f"TLS failed ({getattr(error, 'verify_message', '') or error.reason or error})"
            cure = "use http:// if it does not serve TLS, or trust its certificate: SSL_CERT_FILE=/path/to/ca.pem"
        case http.client.HTTPException():
            fault = f"the server does not speak HTTP ({type(error).__name__})"
            cure = "use https:// if the endpoint has a certificate; otherwise another program has this port"
        case _:
            fault = f"cannot connect ({getattr(error, 'strerror', None) or error})"
            cure = "check the host name and the network"
    return Answer(fault=fault, cure=cure)
