"""The files that the page is made of, what serves them, and all of them as one file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from toolweaver_monitor._http.messages import Request, Response, Route, error_response

STYLE, ICON = "page.css", "icon.svg"
SCRIPTS = ("words.js", "charts.js", "table.js", "detail.js", "first.js", "page.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_OWN_HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
)
_TYPES = {"svg": "image/svg+xml", "html": "text/html", "css": "text/css", "js": "text/javascript"}
PERIODS_OF_STORE = re.compile(r"3600|86400|604800|all|run-[0-9]{1,9}")
"""Of what a store's figures can be asked for: seconds until now, or the run of one program."""
_LINK = re.compile(r'<link rel="icon" [^>]*>\n<link rel="stylesheet" href="page\.css">')
_SCRIPT = re.compile(r'<script src="([a-z]+\.js)"></script>\n?')


@cache
def asset(name: str) -> str:
    """Return the text of one of the page's files."""
    return (Path(__file__).parent / "assets" / name).read_text("utf-8")


class PageFeed(Protocol):
    """The figures of a page: of a running program, as `Feed` has them, or of a store."""

    def poll(self, cursor: str = "", period: str = "", by: str = "tool") -> tuple[str, bytes | None]:
        """Return the new cursor, and as JSON what has changed since one; None if nothing has."""

    def row(self, name: str, period: str = "", by: str = "tool") -> dict[str, Any] | None:
        """Return what is shown of one row of the table; None if there is none."""

    def trace(self, call_id: str, period: str = "") -> dict[str, Any] | None:
        """Return the trace of a call; None if the call is not kept."""

    def whole(self) -> dict[str, Any]:
        """Return everything that a page in one file shows."""


def page_routes(feed: PageFeed) -> Mapping[str, Route]:
    """Return what serves the page, its files and its figures, by path."""

    def serve(name: str) -> Route:
        kind = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"
        return lambda _: Response(body=asset(name).encode(), content_type=kind, headers=_OWN_HEADERS)

    def poll(request: Request) -> Response:
        told = _view(request)
        cursor, answer = feed.poll(_argument(request, "since"), *told)
        tag = ("ETag", f'"{cursor}"')
        if answer is None and request.headers.get("if-none-match") == tag[1]:
            return Response(304, headers=(*_OWN_HEADERS, tag))
        return _json(answer if answer is not None else feed.poll("", *told)[1], tag)

    def download(_: Request) -> Response:
        named = ("Content-Disposition", 'attachment; filename="report.html"')
        body = single_file(feed.whole()).encode()
        return Response(body=body, content_type="text/html; charset=utf-8", headers=(named,))

    return {
        "/": serve("page.html"),
        **{f"/{name}": serve(name) for name in (STYLE, ICON, *SCRIPTS)},
        "/report.html": download,
        "/data.json": poll,
        "/row.json": lambda request: _found(feed.row(_argument(request, "name"), *_view(request))),
        "/trace.json": lambda request: _found(feed.trace(_argument(request, "id"), _view(request)[0])),
    }


def _argument(request: Request, name: str) -> str:
    """Return an argument in the query of a request; empty if it is not there."""
    return parse_qs(request.query, max_num_fields=10).get(name, [""])[0] if request.query else ""


def _view(request: Request) -> tuple[str, str]:
    """Return the period and what the rows are, as `Feed.poll` takes them."""
    period, by = _argument(request, "period"), _argument(request, "by")
    period = period if PERIODS_OF_STORE.fullmatch(period) else ""
    is_known = by in ("model", "run") or by.startswith("tag:")
    return period, by if is_known else "tool"


def _found(value: dict[str, Any] | None) -> Response:
    return _json(None if value is None else msgspec.json.encode(value))


def _json(body: bytes | None, *headers: tuple[str, str]) -> Response:
    if body is None:
        return error_response(404, "this is not kept, or never was")
    return Response(body=body, content_type="application/json", headers=(*_OWN_HEADERS, *headers))


def single_file(data: Mapping[str, Any]) -> str:
    """Return the page as one file that shows these figures, and that may load and run nothing else."""
    style = asset(STYLE)
    script = "\n".join(asset(name) for name in SCRIPTS)
    policy = f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; base-uri 'none'"
    shown = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    page = asset("page.html")
    page = _SCRIPT.sub("", page)
    page = _LINK.sub(
        lambda _: f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>', page
    )
    blocks = f'<script type="application/json" id="figures">{shown}</script>\n<script>{script}</script>\n</body>'
    return page.replace("</body>", blocks)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
