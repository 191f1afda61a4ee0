"""Calls as log lines."""

from __future__ import annotations

import json
import logging

import pytest

from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import LogSink


def test_one_line_a_call_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Successes at INFO, errors at WARNING, and nothing in a line that could forge another."""
    caplog.set_level(logging.INFO)
    monitor = setup(LogSink())
    with track("fine") as call:
        call.record(tokens=3, cost=0.25)
    with pytest.raises(KeyError), track("broken"):
        raise KeyError("missing\nforged line")
    monitor.flush()
    fine, broken = [record for record in caplog.records if record.name == "toolweaver_monitor.calls"]
    assert (fine.levelname, broken.levelname) == ("INFO", "WARNING")
    assert fine.getMessage().startswith("tool=fine outcome=success duration_s=0.0")
    assert fine.getMessage().endswith(" cost_usd=0.250000 tokens=3")
    assert "error=KeyError: " in broken.getMessage()
    assert "\n" not in broken.getMessage()


def test_no_call_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks and escape sequences are taken out of a name, and written out in an error text."""
    monitor = setup(LogSink())
    with pytest.raises(ValueError, match="no"), track("re\nad\x1b[31m"):
        raise ValueError("no\n\x1b[31mtool=forged")
    monitor.flush()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "toolweaver_monitor.calls"]
    assert line.startswith("tool=read outcome=failure ")
    assert line.endswith(r" error=ValueError: no\n\x1b[31mtool=forged")


def test_the_fields_are_on_the_record_for_structured_logs(caplog: pytest.LogCaptureFixture) -> None:
    """`record.toolweaver` is a dict that JSON can hold; what says nothing is left out."""
    caplog.set_level(logging.INFO)
    monitor = setup(LogSink())
    with track("outer"), track("inner", customer="acme") as call:
        call.record(input_tokens=5, model="a-model", attempt=2)
    monitor.flush()
    inner, outer = [
        json.loads(json.dumps(record.toolweaver)) for record in caplog.records if hasattr(record, "toolweaver")
    ]
    assert (inner["tool_name"], inner["tags"], inner["attempt"], inner["model"]) == (
        "inner", {"customer": "acme"}, 2, "a-model",
    )  # fmt: skip
    assert inner["parent_id"] == outer["call_id"]
    assert inner["trace_id"] == outer["trace_id"]
    assert "cost_usd" not in inner
    assert outer.keys() == {"tool_name", "outcome", "duration_s", "started_at", "call_id", "trace_id"}


@pytest.mark.parametrize("level", ["DEBUG", "debug", logging.DEBUG])
def test_the_level_of_successes_is_chosen(level: str | int, caplog: pytest.LogCaptureFixture) -> None:
    """By name or number; errors stay at WARNING."""
    caplog.set_level(logging.DEBUG)
    monitor = setup(LogSink("my.tools", level=level))
    with track("fine"):
        pass
    with pytest.raises(ValueError, match="no"), track("broken"):
        raise ValueError("no")
    monitor.flush()
    assert [record.levelname for record in caplog.records if record.name == "my.tools"] == ["DEBUG", "WARNING"]
