"""The ids of the current call in the application's own log lines."""

from __future__ import annotations

import io
import json
import logging

import pytest

from toolweaver_monitor import setup, track
from toolweaver_monitor.integrations.logs import CallIdFilter, add_call_ids


def test_a_line_of_logging_has_the_ids_of_the_call_it_was_written_in() -> None:
    setup()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(CallIdFilter())
    handler.setFormatter(logging.Formatter("%(message)s [%(tool_name)s %(trace_id)s %(call_id)s]"))
    logger = logging.Logger("ids")  # noqa: LOG001 - one of its own
    logger.addHandler(handler)
    logger.warning("before")
    with track("outer_of_logs") as outer, track("inner_of_logs") as call:
        logger.warning("inside")
        logger.warning("theirs", extra={"trace_id": "their own"})
    before, inside, theirs = stream.getvalue().splitlines()
    assert before == "before [  ]"
    assert inside == f"inside [inner_of_logs {outer.trace_id:032x} {call.call_id:016x}]"
    assert theirs == f"theirs [inner_of_logs their own {call.call_id:016x}]"


def test_an_event_of_structlog_has_them_too() -> None:
    structlog = pytest.importorskip("structlog", reason="needs pip install structlog")
    setup()
    stream = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream), processors=[add_call_ids, structlog.processors.JSONRenderer()]
    )
    logger.info("before")
    with track("of_structlog") as call:
        logger.info("inside", call_id="their own")
    before, inside = map(json.loads, stream.getvalue().splitlines())
    assert before == {"event": "before"}
    assert inside == {
        "event": "inside", "tool_name": "of_structlog", "call_id": "their own", "trace_id": f"{call.trace_id:032x}",
    }  # fmt: skip
