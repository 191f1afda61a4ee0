"""Reports on consoles that cannot show every letter."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any

import pytest

from toolweaver_monitor import Budget, Monitor, setup, track

CHINESE = "\u8bfb\u53d6"


@pytest.fixture
def monitor() -> Monitor:
    """A setup with a letter beyond cp1252 in a tool, a tag, an error, an operation and a budget."""
    monitor = setup(budget=Budget(limit_usd=1, name=CHINESE))
    with track(f"tool {CHINESE}", **{CHINESE: f"tag {CHINESE}"}) as call:
        call.record(cost=0.1, model=f"model {CHINESE}")
        call.fail(f"error {CHINESE}")
    monitor.metrics.record(f"operation {CHINESE}", 0.5)
    return monitor


def printed(stream: Any, written: io.BytesIO, report: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes]:
    """What a report returns, and what it writes to a console."""
    monkeypatch.setattr(sys, "stdout", stream)
    try:
        text = report()
        stream.flush()
    finally:
        monkeypatch.undo()
    return text, written.getvalue()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437"])
@pytest.mark.parametrize("part", ["all", "costs", "errors"])
def test_what_a_console_cannot_show_is_escaped(
    encoding: str, part: str, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""`report()` never raises for a letter: it prints `\u8bfb`, and returns the text with the letter itself.

    The right value is Python's own `backslashreplace`, with which control characters are shown, too.
    Seen red: with `print(text)` alone, UnicodeEncodeError for each of the twelve.
    """
    report = {"all": monitor, "costs": monitor.costs, "errors": monitor.errors}[part].report
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="\n")
    text, shown = printed(stream, written, report, monkeypatch)
    assert CHINESE in text
    assert rb"\u8bfb\u53d6" in shown
    assert shown == text.encode("ascii", "backslashreplace") + b"\n"


def test_the_choice_of_the_program_s_own_stream_stands(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that replaces what it cannot show (`PYTHONIOENCODING=ascii:replace`) goes on to do so."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", errors="replace", newline="\n")
    text, shown = printed(stream, written, monitor.report, monkeypatch)
    assert shown == text.encode("ascii", "replace") + b"\n"


def test_a_stream_that_does_not_tell_its_encoding(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASCII is printed where `sys.stdout` is an object that encodes and does not say how."""
    written = io.BytesIO()
    text, shown = printed(codecs.getwriter("cp1252")(written), written, monitor.report, monkeypatch)
    assert shown == text.encode("ascii", "backslashreplace") + b"\n"


def test_without_a_console_the_text_is_returned(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console (`pythonw`) has None for `sys.stdout`."""
    monkeypatch.setattr(sys, "stdout", None)
    assert CHINESE in monitor.report()
