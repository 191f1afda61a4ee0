"""The ids of the current call in the application's own log lines, for `logging` and for structlog."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from toolweaver_monitor._core.context import NOOP_CALL, current_call
from toolweaver_monitor._core.ids import span_of


def _ids() -> dict[str, str]:
    call = current_call()
    if call is NOOP_CALL:
        return {}
    call_id, span = call.call_id, span_of(call._serial)  # of MCP, if it is one span with our call
    call_id = call_id if span is None else span.span_id
    return {"tool_name": call.tool_name, "call_id": f"{call_id:016x}", "trace_id": f"{call.trace_id:032x}"}


class CallIdFilter(logging.Filter):
    """Put `tool_name`, `call_id` and `trace_id` of the current call on every log record; outside any call, "".

    Add it to a handler: `handler.addFilter(CallIdFilter())`, with `%(trace_id)s` in its format. The ids are in the
    hexadecimal form of W3C, as `ToolCall.as_dict()` has them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete a record, which always passes. What the program has put there itself stays."""
        found = _ids()
        for name in ("tool_name", "call_id", "trace_id"):
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        return True


def add_call_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put `tool_name`, `call_id` and `trace_id` of the current call into an event of structlog, unless they are there.

    A processor: `structlog.configure(processors=[add_call_ids, ...])`.
    """
    for name, value in _ids().items():
        event.setdefault(name, value)
    return event
