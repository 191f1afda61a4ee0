"""Calls as log lines."""

from __future__ import annotations

import json
import logging
import logging.config
import time
from collections.abc import Iterator

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


@pytest.fixture
def enabled_again() -> Iterator[None]:
    """Undo what `logging.config` does to loggers."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


LINES = "toolweaver_monitor.calls"


@pytest.mark.usefixtures("enabled_again")
def test_what_a_disabled_logger_drops_is_not_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """`logging.config` turns off the loggers that it does not name, ours too: `health()` says so, with the cure.

    The right values are by hand: one call was logged before, three were not.
    Seen red: without the look at `disabled`; delivered 4 of 4, and `ok`.
    """
    caplog.set_level(logging.INFO)
    monitor = setup("log")
    with track("tool"):
        pass
    assert monitor.flush(5)
    logging.config.dictConfig({"version": 1})
    for _ in range(3):
        with track("tool"):
            pass
    deadline = time.monotonic() + 10
    while (health := monitor.health())["sinks"]["log"]["state"] == "ok" and time.monotonic() < deadline:
        monitor.flush(0.05)
    log = health["sinks"]["log"]
    assert (log["delivered"], log["failed"] + log["queued"]) == (1, 3)
    (problem,) = [text for text in health["problems"] if LINES in text]
    assert problem.startswith("log: degraded, LoggerDisabled in log; logger 'toolweaver_monitor.calls' is turned off")
    assert problem.endswith('configure logging with "disable_existing_loggers": False')
    logging.getLogger(LINES).disabled = False
    assert monitor.flush(30)
    assert [record.name for record in caplog.records].count(LINES) == 4
    assert monitor.health()["sinks"]["log"]["delivered"] == 4
    assert monitor.health()["ok"]


@pytest.mark.usefixtures("enabled_again")
def test_a_logger_that_is_turned_off_within_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    """No line is written twice when the batch is tried again, and none is left out; adapters are looked through.

    Seen red: with a `write` that begins each batch anew.
    """
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("my.tools")
    lines: list[str] = []

    def turn_off(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        logger.disabled = len(lines) == 2
        return True

    logger.addFilter(turn_off)
    try:
        monitor = setup(LogSink(logging.LoggerAdapter(logging.LoggerAdapter(logger, {}), {})))
        for number in range(4):
            with track(f"tool {number}"):
                pass
        deadline = time.monotonic() + 10
        while len(lines) < 2 and time.monotonic() < deadline:
            monitor.flush(0.05)
        assert len(lines) == 2
        logger.disabled = False
        assert monitor.flush(30)
    finally:
        logger.removeFilter(turn_off)
    assert [line.partition(" outcome")[0] for line in lines] == [f"tool=tool {number}" for number in range(4)]


def test_calls_whose_level_is_off_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    """A logger at WARNING takes no successes: a note tells how many were not logged, and what to set.

    Seen red: without `_skipped`; no note, and not one line in a program that has not configured logging.
    """
    caplog.set_level(logging.WARNING)
    monitor = setup("log")
    for _ in range(2):
        with track("fine"):
            pass
    with pytest.raises(ValueError, match="no"), track("broken"):
        raise ValueError("no")
    assert monitor.flush(5)
    assert monitor.health()["sinks"]["log"]["skipped"] == 2
    (note,) = [text for text in monitor.health()["notes"] if text.startswith("log: ")]
    assert note.startswith(f"log: 2 calls not logged, as logger {LINES!r} is off for their level; set it to INFO")
