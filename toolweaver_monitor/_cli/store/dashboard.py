"""The command `toolweaver-monitor dashboard`: the page of a store, live while programs write to it."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from typing import Any

import msgspec

from toolweaver_monitor._cli.store import options as common
from toolweaver_monitor._cli.store.tree import read_tree
from toolweaver_monitor._core import config
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._page.document import page_routes
from toolweaver_monitor._page.stored import stored_detail, stored_figures, stored_trace
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

exit code: 0, or 2 if there is no store that can be read, or the port is taken
"""
FRESH_S = 1.0
"""For so long the figures are not read again."""
RECENT_S = 600.0
"""A program on another machine that has written since then counts as running."""

encode = msgspec.json.encode


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "dashboard", DASHBOARD_PURPOSE, DASHBOARD_USES)
    common.add_store(parser)
    common.add_period(parser)
    parser.add_argument("--port", type=_port, metavar="N", help=f"the port; 0 takes a free one ({DEFAULT_PORT})")
    parser.add_argument("--json", action="store_true", help="print the address as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve the page until the user ends it."""
    with common.open_store(options) as store:
        feed = StoreFeed(store, since=options.since, until=options.until, run=options.of_run)
        port = config.DASHBOARD.value(options.port)
        endpoint = Endpoint({}, port=DEFAULT_PORT if port is None else port, name="dashboard")
        endpoint.add_page(lambda: page_routes(feed))
        try:
            endpoint.start()
        except OSError as error:
            fault = f"cannot listen on port {endpoint.port} ({error.strerror or error})"
            raise SinkUnavailable(fault, hint="--port 0 takes a free one") from None
        try:
            print(json.dumps({"url": endpoint.url}, indent=2) if options.json else endpoint.url, flush=True)
            if sys.stderr.isatty():
                sys.stderr.write("Ctrl-C ends it\n")
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stderr.write("\n" if sys.stderr.isatty() else "")  # below the ^C of the terminal
        finally:
            endpoint.close()
    return 0


def _port(text: str) -> int:
    try:
        return config.as_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give {error}") from None


class StoreFeed:
    """The figures of a store for pages that poll, as `Feed` gives those of a program.

    An answer holds what has changed since the cursor that the page sends, part by part and tool by tool.

    Args:
        store: the store.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.
    """

    def __init__(self, store: StoreReader, **period: Any) -> None:
        self._store = store
        self._period = period
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._state: object = None
        self._length_s = 0
        self._ended_at: float | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget what pages have: their next answer holds everything."""
        self._boot = os.urandom(4).hex()
        self._version = 0
        self._parts: dict[tuple[str, str], tuple[bytes, int]] = {}
        """By kind (`part` or `tool`) and name, the value and the version at which it last changed."""

    def poll(self, cursor: str = "") -> tuple[str, bytes | None]:
        """Return what has changed since a cursor; see `Feed.poll`."""
        with self._lock:
            self._update()
            boot, _, version = cursor.partition(".")
            seen = int(version) if boot == self._boot and version.isdecimal() and len(version) < 20 else -1
            named = f"{self._boot}.{self._version}"
            if seen == self._version:
                return named, None
            changed = {key: msgspec.Raw(value) for key, (value, since) in self._parts.items() if since > seen}
            answer: dict[str, Any] = {"v": named, "full": seen < 0, "now": self._ended_at or round(time.time(), 3)}
            answer |= {name: value for (kind, name), value in changed.items() if kind == "part"}
            answer["tools"] = [value for (kind, _), value in changed.items() if kind == "tool"]
            return named, encode(answer)

    def tool(self, tool: str) -> bytes | None:
        """Return the details of a tool as JSON; None if it has not run."""
        with self._lock:
            found = stored_detail(self._store, tool, self._length_s, **self._period)
        return None if found is None else encode(found)

    def trace(self, call_id: str) -> bytes | None:
        """Return the trace of a call as JSON; None if the call is not among the latest."""
        with self._lock:
            found = stored_trace(self._store, call_id)
        return None if found is None else encode(found)

    def whole(self) -> dict[str, Any]:
        """Return everything that a page in one file shows."""
        with self._lock:
            return self._read()

    def _read(self) -> dict[str, Any]:
        root = read_tree(self._store, **self._period).root
        return stored_figures(self._store, root, **self._period)

    def _update(self) -> None:
        """Read the store again if something was written since."""
        if time.monotonic() - self._read_at < FRESH_S:
            return
        self._read_at = time.monotonic()
        runs = self._store.runs()
        ended = not any(map(is_running, runs))
        state = [(run["run"], run["calls"]) for run in runs], ended
        if state == self._state:
            return
        self._state = state
        figures = self._read()
        self._ended_at = figures["now"] if ended else None
        for name in ("v", "full", "now", "details", "traces"):
            del figures[name]
        figures["about"] |= {"closed": ended, "saved": ended}
        if figures["period_s"] != self._length_s:
            self._length_s = figures["period_s"]
            self._begin()
        new = {("tool", row["name"]): encode(row) for row in figures.pop("tools")}
        new |= {("part", name): encode(value) for name, value in figures.items()}
        if any(key not in new for key in self._parts):  # something was forgotten
            self._begin()
        different = {key: value for key, value in new.items() if self._parts.get(key, (b"", 0))[0] != value}
        self._version += 1
        self._parts |= {key: (value, self._version) for key, value in different.items()}


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
