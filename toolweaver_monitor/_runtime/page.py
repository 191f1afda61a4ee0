"""The page of a setup: what serves it, and the same as one file."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._instrument.patching import watches
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._runtime.health import health
from toolweaver_monitor._text.names import safe_name

if TYPE_CHECKING:
    from toolweaver_monitor._http.messages import Route
    from toolweaver_monitor._page.feed import Feed


def make_page(components: Components) -> Mapping[str, Route]:
    """Return what serves the page of a setup, by path."""
    from toolweaver_monitor._page.document import page_routes

    return page_routes(_feed_of(components))


def write_page(components: Components, path: str | os.PathLike[str]) -> Path:
    """Write the page with the figures of this moment as one file, and return its path."""
    from toolweaver_monitor._page.document import single_file

    target = Path(path).expanduser()
    target.write_text(single_file(_feed_of(components).whole()), "utf-8")
    return target


def _feed_of(components: Components) -> Feed:
    from toolweaver_monitor._page.feed import Feed
    from toolweaver_monitor._page.figures import Program

    store = next((sink for sink in components.sinks.values() if hasattr(sink, "_open_ledger")), None)
    program = safe_name(Path(sys.argv[0] if sys.argv else "").name or "python")
    return Feed(
        Program(
            sources=components.metrics._sources,
            open_calls=bus.open_calls,
            budgets=components.budgets,
            problems=lambda: health(components)["problems"],
            closed=lambda: components.closed,
            about={
                "name": program,
                "pid": os.getpid(),
                "is_joined": components.workers is not None,
                "host": socket.gethostname(),
                "since": round(components.started_at, 3),
            },
            store=None if store is None else store.path,
            watched=lambda: [target._asdict() for target in watches.shown()],
        )
    )
