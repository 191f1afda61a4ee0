"""S4: a scrape can be parsed whatever a tool is called, and never raises."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from toolweaver_monitor import Budget, MetricsCollector, Monitor, ToolCall, monitored, setup, track
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._prometheus import exposition

NAMES = (
    'a "quoted" name', "back\\slash", "ends in \\", "line\nend", "carriage\rreturn", "tab\tbed", "nul\0",
    "esc\x1b[31mred",
    "bell\a", "c1\x9b31m", "lone \ud800 surrogate", "\udfff", "pair \ud83d\ude00", "emoji \U0001f600",
    "bidi \u202egpj.exe", "zero\u200bwidth", "line\u2028separator", "bom\ufeff", '{curly="brace"}', 'tool",evil="1',
    'tool"} 1\nevil_total 7\n#', "# HELP evil", "x" * 2**20, "\u00e9" * 2**20, "e\u0301" * 500, "private \ue000",
    "unassigned \U000e0fff", " ", "\t\n", "toolweaver_tool_executions_total", "\\n", '\\"', "%s{}%", "\u0130stanbul",
    "__overflow__", "+Inf", "NaN",
)  # fmt: skip


BUDGETS = [Budget(limit_usd=1, name=name, tool=name) for name in NAMES[:2]]


class Odd(Exception):
    pass


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), budget=BUDGETS) as found:
        yield found


def samples(text: str) -> list[Any]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def run(name: str) -> None:
    """A tool of this name, and an exception class of this name, by every way that a name can come."""
    error = type("Odd", (Odd,), {})
    with suppress(UnicodeEncodeError, ValueError):  # Python takes no surrogate and no NUL here
        error.__name__ = name
    with pytest.raises(Odd), track(name):
        raise error(name)
    monitored(tool_name=lambda: name)(lambda: None)()


def test_s4_hostile_names_are_parsed_by_the_parser_and_promtool(monitor: Monitor, require_program: Any) -> None:
    """Quotes, line ends, NUL, ESC, lone surrogates, names of a megabyte: every sample is expected, totals are exact.

    Mutations that turned it red: `escape_label` leaving quotes as they are; `safe_name` giving its name.
    """
    for name in NAMES:
        run(name)
    with urllib.request.urlopen(monitor.sinks[0].url, timeout=5) as answer:
        body = answer.read()
    text = body.decode()
    found = samples(text)
    assert {sample.name.partition("_")[0] for sample in found} == {"toolweaver"}
    assert sum(s.value for s in found if s.name == "toolweaver_tool_executions_total") == 2 * len(NAMES)
    assert sum(s.value for s in found if s.name == "toolweaver_tool_failures_total") == len(NAMES)
    labels = [value for sample in found for value in sample.labels.values()]
    assert all(value.isprintable() and len(value) <= 128 for value in labels)
    assert len(body) < 500_000
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    require_program("promtool", "apt-get install prometheus")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_s4_a_registry_of_the_application_s_own_takes_them_too() -> None:
    """Through `prometheus_client`, whose text breaks at one lone surrogate, they come as clean.

    Mutation that turned it red: `safe_name` giving its name.
    """
    registry = CollectorRegistry()
    with setup(PrometheusExporter(port=0, registry=registry)) as monitor:
        for name in NAMES:
            run(name)
        found = samples(monitor.sinks[0].text())
    assert sum(s.value for s in found if s.name == "toolweaver_tool_executions_total") == 2 * len(NAMES)


@given(labels=st.lists(st.text(st.characters()) | st.text('\\\n"n{},=# ')))
@example(labels=["\\n", "ends in \\", "line\nend", '"', "\ud800"])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_s4_any_label_value_comes_back_from_the_parser(labels: list[str]) -> None:
    """What is escaped is read as it was, but for what UTF-8 cannot hold, by Prometheus' own parser.

    Mutations that turned it red: backslashes not doubled in `escape_label`; line ends, or quotes, left as they are;
    lone surrogates left in.
    """
    for value in labels:
        text = f'metric_total{{label="{exposition.escape_label(value)}"}} 1.0\n'
        if "\r" in value or "\x0b" in value or "\x0c" in value or set(value) & set("\x1c\x1d\x1e\x85\u2028\u2029"):
            continue  # the parser splits lines at these, which no name that we expose can hold
        (found,) = samples("# TYPE metric counter\n" + text)
        assert found.labels["label"] == value.encode("utf-8", "replace").decode()


def test_s4_no_more_than_2_001_series_of_made_up_names_and_totals_stay_exact() -> None:
    """Of ten thousand made-up names 2,000 have series, the rest is `__overflow__`; a name in the code keeps its own.

    Mutations that turned it red: the cap left out of both `StatsAggregator._new` and `cap_tools`; `declared_names`
    left empty.
    """

    @monitored("written in the code")
    def declared() -> None:
        pass

    with setup(PrometheusExporter(port=0)) as monitor:
        for number in range(10_000):
            with track(f"made up {number}\n\ud800"):
                pass
        declared()
        found = samples(monitor.sinks[0].text())
        of_all = [s for s in found if s.name == "toolweaver_tool_executions_total"]
        by_tool = {s.labels["tool_name"]: s.value for s in of_all if s.labels["status"] == "success"}
        assert len(by_tool.keys() - {"written in the code"}) <= 2_001
        assert sum(by_tool.values()) == 10_001
        assert by_tool[OVERFLOW] >= 7_999
        assert by_tool["written in the code"] == 1
        assert monitor.summary()["count"] == 10_001


def test_s4_a_flood_of_error_types_is_capped_and_counted() -> None:
    """Exception classes made at run time cannot grow the metrics without end.

    Mutation that turned it red: the cap left out of `ToolStats._count_marked`.
    """
    with setup(PrometheusExporter(port=0)) as monitor:
        for number in range(500):
            with pytest.raises(Odd), track("tool"):
                raise type(f"Odd{number}", (Odd,), {})
        found = [s for s in samples(monitor.sinks[0].text()) if s.name == "toolweaver_tool_failures_total"]
    assert len(found) <= 51
    assert sum(s.value for s in found) == 500


def test_s4_odd_names_recorded_by_hand_are_made_safe() -> None:
    """A collector used alone gets its names from anywhere, too.

    Mutation that turned it red: `safe_name` left out of `view.make_call`.
    """
    metrics = MetricsCollector()
    for name in (*NAMES, None, 7, object(), b"bytes"):
        metrics.record(name, 1.0)  # type: ignore[arg-type]
    assert all(name.isprintable() and len(name) <= 128 for name in metrics.by_operation())
    assert metrics.summary()["count"] == len(NAMES) + 4
    assert all(type(operation["operation"]) is str for operation in metrics.operations)


def test_s4_sinks_get_names_that_every_encoding_takes(tmp_path: Any) -> None:
    """A third party's sink writes them to a file as they are, error texts and tags included.

    Mutation that turned it red: `encodable` giving its text.
    """
    file = tmp_path / "calls.txt"

    def write(call: ToolCall) -> None:
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{call.tool_name} {call.error} {call.error_type} {dict(call.tags)} {call.model}\n")

    for redact in (True, False):
        with setup(write, redact=redact) as monitor:
            for name in NAMES:
                with track(name, tag=name) as call:
                    call.record(model=name)
                    call.fail(name)
            assert monitor.flush(5)
            assert monitor.health()["sinks"]["write"]["delivered"] == len(NAMES)
