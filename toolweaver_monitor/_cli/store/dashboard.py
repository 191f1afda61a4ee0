"""The command `toolweaver-monitor dashboard`: the page of a store, live while programs write to it."""

from __future__ import annotations

import argparse
import os
import socket
import time
from typing import Any

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._core import config
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._page.document import page_routes
from toolweaver_monitor._page.store_feed import StorePage
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._dashboard import DEFAULT_PORT

DASHBOARD_PURPOSE = """\
Serve the page of a store on this machine, until Ctrl-C. It shows new calls as they come.
"""
DASHBOARD_USES = """\
examples:
  toolweaver-monitor dashboard runs.db
  toolweaver-monitor dashboard runs.db --port 9000 --since 1d
  toolweaver-monitor dashboard machine-1.db machine-2.db

exit code: 0, or 2 if there is no store that can be read, or the port is taken
"""
RECENT_S = 600.0
"""A program on another machine that has written since then counts as running."""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "dashboard", DASHBOARD_PURPOSE, DASHBOARD_USES)
    common.add_stores(parser)
    common.add_period(parser)
    parser.add_argument("--port", type=common.port, metavar="N", help=f"the port; 0 takes a free one ({DEFAULT_PORT})")
    parser.add_argument("--json", action="store_true", help="print the address as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve the page until the user ends it."""
    with common.open_store(options) as store:
        feed = make_feed(store, options)
        port = config.DASHBOARD.value(options.port)
        endpoint = Endpoint({}, port=DEFAULT_PORT if port is None else port, name="dashboard")
        endpoint.add_page(lambda: page_routes(feed))
        try:
            endpoint.start()
        except OSError as error:
            fault = f"cannot listen on port {endpoint.port} ({error.strerror or error})"
            raise SinkUnavailable(fault, hint="--port 0 takes a free one") from None
        try:
            common.serve_until_ctrl_c({"url": endpoint.url}, as_json=options.json)
        finally:
            endpoint.close()
    return 0


def make_feed(store: StoreReader, options: argparse.Namespace) -> StorePage:
    """Return the figures of a store, of the period or the run that the command line names."""
    chosen = {"since": options.since, "until": options.until, "run": options.of_run}
    return StorePage(store.reopen, _about, **{name: value for name, value in chosen.items() if value is not None})


def _about(store: StoreReader) -> dict[str, Any]:
    """Return what the head of the page shows: the file, and whether its programs still run."""
    runs = store.runs()
    ended = not any(map(is_running, runs))
    about = {"name": store.path.name, "store": store.path.name, "closed": ended, "saved": ended}
    return about | ({"now": round(max(run["last_at"] for run in runs), 3)} if ended and runs else {})


def is_running(run: dict[str, Any]) -> bool:
    """Return whether the program of a run still runs; one of another machine if it has written a while ago.

    Args:
        run: an entry of `StoreReader.runs`.
    """
    is_recent = time.time() - run["last_at"] < RECENT_S
    if run["host"] != socket.gethostname() or os.name != "posix":
        return bool(is_recent)
    try:
        os.kill(run["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return bool(is_recent)
    return True
