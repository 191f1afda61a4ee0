"""Parse a request and serialize a response: as much of HTTP/1.1 as `GET` and `HEAD` of fixed paths need."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

SECURITY_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""On every response: a browser does not run, frame, sniff or cache any of it."""

_REQUIRED = {401: ("WWW-Authenticate", "Bearer"), 405: ("Allow", "GET, HEAD")}
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (\S+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?)(?::\d{1,5})?")


class Response(NamedTuple):
    """What a route returns."""

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    encoding: str = ""
    """The compression of the body; empty for none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers; one of `SECURITY_HEADERS` stands in the place of that."""


class Request(NamedTuple):
    """A parsed request, without its body."""

    method: str
    path: str
    """Without the query, and as it was sent: it is neither decoded nor normalized, since only exact paths match."""
    headers: dict[str, str]
    """By names in lower case."""
    keeps_alive: bool
    """Whether the client can use the connection again."""
    query: str = ""
    """What stands behind the `?`, as it was sent."""


Route = Callable[[Request], Response]
"""Makes the response to a request."""


def parse_request(head: bytes) -> Request:
    """Return the request of a head, which includes the empty line at its end.

    Raises:
        ValueError: it is not an HTTP/1 request, or one that two readers could understand differently.
    """
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise ValueError("this is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise ValueError("a header is malformed")
        name, value = header[1].lower(), header[2].strip()
        if name in headers:
            if name in ("host", "authorization"):
                raise ValueError(f"the header {name} is given twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    is_http_1_1 = request[3] == "1"
    if is_http_1_1 and "host" not in headers:
        raise ValueError("the header host is missing")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    keeps_alive = is_http_1_1 and not has_body and "close" not in headers.get("connection", "").lower()
    path, _, query = request[2].partition("?")
    return Request(request[1], path, headers, keeps_alive, query)


def parse_hostname(host: str) -> str:
    """Return the name or address in a Host header, in lower case and without its port; empty if there is none."""
    match = _HOST.fullmatch(host.lower())
    return (match[1] or match[2]) if match else ""


GZIP_FROM = 4_096
"""Bytes from which on an answer is compressed."""


def compress(response: Response, accepted: str) -> Response:
    """Return a response compressed, if it is long and this `Accept-Encoding` accepts gzip."""
    if len(response.body) < GZIP_FROM or not accepts_gzip(accepted):
        return response
    import gzip  # 1 ms, which the first scrape can pay

    return response._replace(body=gzip.compress(response.body, compresslevel=1), encoding="gzip")


def accepts_gzip(accepted: str) -> bool:
    """Return True if this `Accept-Encoding` accepts gzip, as that of Prometheus does: it saves nine tenths."""
    for offer in accepted.lower().split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def error_response(status: int, sentence: str) -> Response:
    """Return a response that explains an error in one sentence."""
    return Response(status, body=f"{status} {HTTPStatus(status).phrase}: {sentence}\n".encode())


def headers_of(response: Response) -> list[tuple[str, str]]:
    """Return the headers of a response, but for those of its connection."""
    encoding = [("Content-Encoding", response.encoding), ("Vary", "Accept-Encoding")] if response.encoding else []
    required = [_REQUIRED[response.status]] if response.status in _REQUIRED else []
    length = ("Content-Length", str(len(response.body)))
    own = {name for name, _ in response.headers}
    security = [header for header in SECURITY_HEADERS if header[0] not in own]
    return [("Content-Type", response.content_type), *encoding, length, *required, *response.headers, *security]


def status_line(response: Response) -> str:
    """Return the status of a response as it stands behind the version: `200 OK`."""
    return f"{response.status} {HTTPStatus(response.status).phrase}"


def serialize(response: Response, *, closing: bool, without_body: bool = False) -> bytes:
    """Return a response as the bytes to send."""
    headers = [*headers_of(response), ("Connection", "close" if closing else "keep-alive")]
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"HTTP/1.1 {status_line(response)}\r\n{lines}\r\n"
    return head.encode("latin-1") + (b"" if without_body else response.body)
