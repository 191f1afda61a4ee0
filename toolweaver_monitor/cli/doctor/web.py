"""What does an address answer? One GET: no proxy, no redirect, a deadline and a limit."""

from __future__ import annotations

import http.client
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
MAX_BYTES = 32 * 2**20


class Answer(NamedTuple):
    """What came back, or why nothing did."""

    status: int = 0
    body: str = ""
    fault: str = ""
    cure: str = ""


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
        raise ValueError(f"{url!r} is no address such as http://localhost:8000/metrics")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return Answer(response.status, response.read(MAX_BYTES).decode("utf-8", "replace"))
    except ssl.SSLError as error:
        return Answer(
            fault=f"TLS failed ({error.reason or error})",
            cure="have the certificate trusted: SSL_CERT_FILE=/path/to/ca.pem; ask https:// only of what serves TLS",
        )
    except ConnectionRefusedError:
        return Answer(
            fault="nothing listens there",
            cure="have the program running, with setup('prometheus') or PrometheusExporter(port=...), and take the "
            "port from its log line or exporter.url; in a container addr='0.0.0.0' with a token is needed",
        )
    except TimeoutError:
        return Answer(fault=f"no answer within {TIMEOUT_S:.0f} s", cure="see whether the program hangs, or a firewall")
    except http.client.HTTPException as error:
        return Answer(
            fault=f"what answers does not speak HTTP ({type(error).__name__})",
            cure="ask https:// where the endpoint has a certificate; else another program has this port",
        )
    except OSError as error:
        return Answer(fault=f"cannot connect ({error.strerror or error})", cure="check the host name and the network")
    finally:
        connection.close()
