"""S5: no text of a tool, a model or an error can move a cursor, forge a line or turn a text around."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import product

import pytest

from toolweaver_monitor import Budget, Monitor, ToolCall, setup, track
from toolweaver_monitor._cli.doctor.findings import Finding, lines
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import LogSink, PrometheusExporter
from toolweaver_monitor.testing import ToolRecorder

CONTROLS = (
    "\x1b[31m", "\x1b[2J", "\x1b[1A\x1b[2K", "\x1b]0;owned\a", "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "\x1bP+q\x1b\\", "\x1b[6n", "\x1b[?1049h", "\x1bc", "\x9b31m", "\x9d0;owned\x9c", "\x90", "\a", "\b\b\b\b", "\x7f",
    "\0", "\x0b", "\x0c", "\r", "\n", "\r\n", "\u0085", "\u2028", "\u2029", "\u202e", "\u202d", "\u2066", "\u2069",
    "\u200e", "\u061c", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u3164", "\u2800", "\ud800",
    "\udfff", "\U000e0001", "\U000e0041", "\ufff9", "\x1c", "\x85",
)  # fmt: skip
AROUND = (
    "{}", "before{}after", "{}2026-01-01 INFO all is well",
    "x{}\ntool=forged outcome=success duration_s=0.000001", "{}[red]markup[/red] <b>tag</b> =1+1",
)  # fmt: skip
CORPUS = tuple(around.format(control) for around, control in product(AROUND, CONTROLS))

HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}


def harm(text: str, *, lines: bool = False) -> list[str]:
    """The characters in it that are more than text; with `lines`, our own line ends are fine."""
    return [c for c in text if unicodedata.category(c) in HARMFUL and not (lines and c == "\n")]


Log = list[logging.LogRecord]


@pytest.fixture
def monitor(logged: Log) -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), LogSink(level="DEBUG"), budget=Budget(limit_usd=1)) as found:
        yield found


def work(text: str) -> None:
    """A call that says this text wherever it can: name, tags, model, error."""
    with track(text, note=text, **{text: text}) as call:
        call.record(model=text, cost=0.001)
        call.fail(text)
    error = type("Odd", (Exception,), {})
    try:
        error.__name__ = text
    except (UnicodeEncodeError, ValueError):  # Python takes no surrogate and no NUL here
        pass
    with pytest.raises(error), track("tool"):
        raise error(text)


def test_s5_the_corpus_is_large_enough() -> None:
    """The contract asks for 200 strings.

    Seen red: with the last line of AROUND left out.
    """
    assert len(set(CORPUS)) >= 200


def test_s5_no_report_holds_a_control_character_or_a_forged_line(monitor: Monitor) -> None:
    """Summary, costs and errors as text: 0 raw control, bidi or zero-width characters, and each call on its own line.

    Mutations that turned it red: `escape` giving its text; `escape` left out of `ErrorTracker.text`.
    """
    for text in CORPUS:
        work(text)
    for report in (monitor._text(), monitor.costs._text(), monitor.errors._text()):
        assert harm(report, lines=True) == []
        for line in report.splitlines():
            assert not line.startswith(("tool=forged", "2026-01-01 INFO"))
    latest = monitor.errors._text().partition("latest:\n")[2].splitlines()
    assert len(latest) == 10
    assert all(re.match(r"    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in latest)


def test_s5_a_log_line_is_one_line_and_its_fields_are_json(monitor: Monitor, logged: Log) -> None:
    """No line end in any line, nothing to see that is not to be seen; `extra` is JSON that every encoding takes.

    Mutation that turned it red: `escape` left out of `log.line`.
    """
    records: list[object] = []
    logging.getLogger("toolweaver_monitor.calls").addFilter(
        keep := lambda record: records.append(record.toolweaver) or True  # type: ignore[attr-defined]
    )
    try:
        for text in CORPUS:
            work(text)
        assert monitor.flush(10)
    finally:
        logging.getLogger("toolweaver_monitor.calls").removeFilter(keep)
    lines = [record.getMessage() for record in logged]
    assert len(lines) >= 2 * len(CORPUS)
    assert [line for line in lines if harm(line)] == []
    assert len(records) == 2 * len(CORPUS)
    json.dumps(records, ensure_ascii=False).encode()


def test_s5_an_exposition_holds_no_control_character(monitor: Monitor) -> None:
    """But for the line ends between its lines.

    Mutation that turned it red: `safe_name` giving its name.
    """
    for text in CORPUS:
        work(text)
    assert harm(monitor.sinks[0].text(), lines=True) == []


def test_s5_the_doctor_and_the_test_kit_show_everything_visibly() -> None:
    """Findings of `toolweaver-monitor doctor`, and the messages of failed assertions.

    Mutation that turned it red: `escape` left out of `findings.lines`.
    """
    for text in CORPUS:
        found = [Finding("wrong", text, text, text), Finding("ok", text, text), Finding("note", text, text)]
        assert [line for line in lines(found) if harm(line)] == []
    with ToolRecorder() as recorder:
        for text in CORPUS[:60]:
            work(text)
        for text in CORPUS[:60]:
            with pytest.raises(AssertionError) as caught:
                recorder.assert_called(text + " never")
            assert harm(str(caught.value), lines=True) == []
        with pytest.raises(AssertionError) as caught:
            recorder.assert_no_errors()
        assert harm(str(caught.value), lines=True) == []


def test_s5_what_a_sink_raises_is_told_on_one_line(logged: Log) -> None:
    """In `health()`, in our log, and in the exposition's `reason`.

    Mutation that turned it red: `escape` left out of `rendering.fault_text`.
    """
    for text in CORPUS[::9]:

        class Off:
            name = "off"

            def start(self, text: str = text) -> None:
                raise SinkUnavailable(text)

            def write(self, calls: Sequence[ToolCall]) -> None:
                pass

            flush = close = lambda self: None

        class LaterOff(Off):
            name = "later"

            def start(self) -> None:  # type: ignore[override]
                pass

            def write(self, calls: Sequence[ToolCall], text: str = text) -> None:
                raise SinkUnavailable(text)

        with setup(Off(), LaterOff(), PrometheusExporter(port=0)) as monitor:
            with track("tool"):
                pass
            monitor.flush(5)
            health = monitor.health()
            assert [s for s in health["problems"] if harm(s)] == []
            assert not harm(health["sinks"]["off"]["last_error"] + health["sinks"]["later"]["last_error"])
            assert not harm(monitor.sinks[2].text(), lines=True)
    assert [line for record in logged if harm(line := record.getMessage())] == []


def test_s5_what_is_made_visible_says_what_it_was() -> None:
    """Escapes as in a Python string; everything else, of any language, as it is.

    Mutation that turned it red: controls left out instead of shown.
    """
    assert escape("a\x1b[31m\r\nb\u202e\u200b\ud800") == r"a\x1b[31m\r\nb\u202e\u200b\ud800"
    assert escape("caf\u00e9 \u6771\u4eac \U0001f600 50 %") == "caf\u00e9 \u6771\u4eac \U0001f600 50 %"
