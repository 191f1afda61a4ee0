"""Calls as log lines."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, setup, track
from toolweaver_monitor.errors import ConfigurationError
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


@pytest.mark.parametrize("give", [lambda p: LogSink(str(p)), LogSink, lambda p: LogSink(path=p)])
def test_a_path_gets_a_line_of_json_for_each_call(give: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Seen red: without `_is_path`, the file's name was that of a logger."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "calls.jsonl"
    with setup(give(path)) as monitor:
        with track("ocr", customer="acmé") as call:
            call.record(tokens=3)
        with pytest.raises(ValueError, match="no"), track("ocr"):
            raise ValueError("no\nline")
        assert monitor.flush()
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["tool_name"], first["tags"], first["tokens"]) == ("ocr", {"customer": "acmé"}, 3)
    assert (second["outcome"], second["error"]) == ("failure", "no\nline")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [record for record in caplog.records if record.name == "toolweaver_monitor.calls"]


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    """Seen red: without the rename, both days were in one file."""
    path = tmp_path / "calls.jsonl"
    for text in ("older", "old"):
        path.write_text(text)
        os.utime(path, (86_400 * 365, 86_400 * 365))
        sink = LogSink(path)
        sink.write([ToolCall("ocr", "success")])
        sink.close()
        assert len(path.read_text().splitlines()) == 1
    day = time.strftime("%Y-%m-%d", time.localtime(86_400 * 365))
    assert (tmp_path / f"calls-{day}.jsonl").read_text() == "older"
    assert (tmp_path / f"calls-{day}-2.jsonl").read_text() == "old"


def test_a_batch_that_fails_half_way_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk writes a part of it. Seen red: without the truncation, the next try began in the middle of a line."""
    path = tmp_path / "calls.jsonl"
    sink = LogSink(path)
    sink.write([ToolCall("first", "success")])
    whole, real = path.read_bytes(), os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return real(descriptor, data[:20])
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        sink.write([ToolCall("second", "success")] * 3)
    monkeypatch.undo()
    assert path.read_bytes() == whole
    sink.write([ToolCall("third", "success")])
    assert [json.loads(line)["tool_name"] for line in path.read_text().splitlines()] == ["first", "third"]


def test_a_path_without_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        LogSink(tmp_path / "nothing" / "calls.jsonl")


@pytest.mark.parametrize("path", ["", 5, b"calls.jsonl", ["calls.jsonl"], "calls\0.jsonl"])
def test_a_path_that_is_none_is_refused_with_the_cure(path: Any) -> None:
    """Seen red: a `TypeError` of `pathlib` that names no argument; and of an empty path, calls that were lost."""
    with pytest.raises(ConfigurationError, match=r"is no file; give the path of a file, such as 'calls\.jsonl'"):
        LogSink(path=path)
