"""One GET request: no proxy, no redirect, a deadline and a size limit."""

from __future__ import annotations

import argparse
import http.client
import ssl
import sys
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

GET_TIMEOUT_S = 5.0
DEADLINE_S = 15.0
"""For the whole answer, which may trickle in byte by byte."""
MAX_BYTES = 32 * 2**20


class Reply(NamedTuple):
    """The answer of a server, or the reason why there is none."""

    status: int = 0
    body: str = ""
    fault: str = ""
    cure: str = ""


REFUSED = "nothing is listening there"
SILENT = Reply(fault="no answer in time", cure="see whether the program hangs, or a firewall is in the way")


def get(url: str, token: str | None = None) -> Reply:
    """Send one request.

    Args:
        url: `http://` or `https://`, without a user name.
        token: a bearer token to send.
    """
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(_get(url, token)), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return replies[0] if replies else SILENT


def _get(url: str, token: str | None) -> Reply:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=GET_TIMEOUT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return Reply(response.status, response.read(MAX_BYTES).decode("utf-8", "replace"))
    except Exception as error:  # noqa: BLE001 - a host name, too, may be refused in many ways
        return _fault(error)
    finally:
        connection.close()


def _fault(error: Exception) -> Reply:
    match error:
        case TimeoutError():
            return SILENT
        case ConnectionRefusedError():
            fault = REFUSED
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
    return Reply(fault=fault, cure=cure)


def parse_url(text: str) -> str:
    """Return the URL that a text such as `localhost:8000` means; its path is /metrics if the text has none.

    Raises:
        argparse.ArgumentTypeError: it means none.
    """
    url = text if "//" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address; give one such as http://localhost:8000/metrics")
    return url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}/metrics"


def read_token(file: Path | None) -> str | None:
    """Return the bearer token that a file holds, or stdin if the file is `-`; None if no file is given.

    Raises:
        SystemExit: it holds none, or cannot be read.
    """
    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        sys.stderr.write(f"toolweaver-monitor: cannot read {file} ({error.strerror})\n")
        raise SystemExit(2) from None
    except UnicodeDecodeError:
        text = ""
    token = text.strip()
    if not (token and token.isascii() and token.isprintable()):
        sys.stderr.write(f"toolweaver-monitor: {file} holds no token; it must be one line of printable ASCII\n")
        raise SystemExit(2)
    return token
