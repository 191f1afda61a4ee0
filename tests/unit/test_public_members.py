"""What a user sees of the public classes, in `dir()` and behind the Tab key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import CostTracker, ErrorTracker, MetricsCollector, Monitor, setup
from toolweaver_monitor.sinks import Dashboard, LogSink, PrometheusExporter, SQLiteStore, WandBLogger

SINK = {"name", "write", "flush", "close"}
"""What every sink has; some of those below also have optional parts of the protocol, such as `status`."""
PUBLIC = {
    Monitor: {
        *("metrics", "costs", "errors", "sinks"),
        *("summary", "report", "to_dict", "to_json", "tree", "html", "active", "budgets", "record", "health"),
        *("asgi", "wsgi"),
        *("flush", "aflush", "shutdown", "closed"),
    },
    CostTracker: {
        *SINK,
        *("record", "costs", "total", "counts", "report", "to_dict", "to_json", "most_expensive"),
        *("by", "by_tag", "of", "roots", "unpriced"),
    },
    ErrorTracker: {
        *SINK,
        *("record_call", "errors", "latest", "total_calls", "error_rate", "report", "to_dict", "to_json"),
    },
    Dashboard: {*SINK, "port", "url", "start", "status"},
    LogSink: {*SINK, "status"},
    MetricsCollector: {
        *SINK,
        *("record", "operations", "summary", "by_operation", "cost_by_operation", "to_dict"),
    },
    PrometheusExporter: {*SINK, "port", "url", "start", "text", "status", "push", "delete_from_gateway"},
    SQLiteStore: {*SINK, "path", "start", "status", "merge", "max_batch", "max_calls"},
    WandBLogger: {*SINK, "run", "log_summary", "max_batch", "merge", "backlog", "grace_s", "status"},
}
MAKERS: dict[type, Callable[[], Any]] = {kind: kind for kind in PUBLIC} | {Monitor: setup}


def public_members(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_an_object_shows_what_is_documented_and_nothing_else(kind: type) -> None:
    """What is not for users begins with an underscore, in the class and in the object."""
    assert public_members(MAKERS[kind]()) == PUBLIC[kind]
    assert public_members(kind) <= PUBLIC[kind]
