"""`check_sink` finds what would go wrong with a sink of the user's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._core.call import ENDED
from toolweaver_monitor.sinks import LogSink, MetricsCollector, PrometheusExporter
from toolweaver_monitor.testing import check_sink, sample_calls


class Good:
    """A sink as it should be."""

    name = "good"

    def __init__(self) -> None:
        self.arrived: list[str] = []

    def write(self, calls: Sequence[ToolCall]) -> None:
        self.arrived += [call.tool_name for call in calls]

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def raises(*_: object) -> None:
    raise RuntimeError("no such table")


def changes(_: object, calls: Sequence[ToolCall]) -> None:
    for call in calls:
        call.tool_name = "mine"


def writes_where_it_was_made(made_on: int) -> Any:
    def write(_: object, _calls: Sequence[ToolCall]) -> None:
        assert threading.get_ident() == made_on, "objects created in a thread can only be used in that same thread"

    return write


def test_a_good_sink_has_nothing_said_of_it() -> None:
    """Ours pass, and so do the smallest ones."""
    good = Good()
    check_sink(good, delivered=lambda: len(good.arrived))
    check_sink(LogSink())
    check_sink(MetricsCollector())
    check_sink(PrometheusExporter(port=0))
    seen: list[str] = []
    check_sink(lambda call: seen.append(call.outcome), delivered=lambda: len(seen))


def test_the_sample_holds_every_outcome_and_calls_of_which_nothing_is_known() -> None:
    """What a sink may meet in its life."""
    calls = sample_calls()
    assert {call.outcome for call in calls} == set(ENDED)
    assert any(call._details is None for call in calls)
    assert any(call.cost_usd is None and call.tokens for call in calls)
    assert any('"' in call.tool_name and "\\" in call.tool_name for call in calls)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"write": raises}, r"write\(calls\) raises RuntimeError: no such table"),
        ({"write": lambda _, calls: calls[0]}, r"a batch of none raises IndexError"),
        ({"write": lambda _, calls: calls.append(1)}, "raises AttributeError"),
        ({"write": lambda _, calls: [c.error_type.upper() for c in calls]}, "raises AttributeError"),
        ({"write": changes}, "changes the calls"),
        ({"write": writes_where_it_was_made(threading.get_ident())}, "only be used in that same thread"),
        ({"write": lambda *_: None}, r"0 of 8 calls have arrived after flush\(\)"),
        ({"flush": raises}, r"flush\(\) before the first call raises"),
        ({"close": raises}, r"close\(\) raises"),
        ({"status": lambda _: {"last": object()}}, r"status\(\) is not ready for JSON"),
        ({"start": raises}, r"start\(\) raises"),
        ({"merge": raises}, r"merge\(calls\) raises"),
        ({"merge": "yes"}, r"merge\(calls\) raises TypeError"),
        ({"max_batch": "512"}, "max_batch is '512'"),
        ({"max_calls": 0}, "max_calls is 0"),
        ({"grace_s": "5"}, "grace_s is '5'; give a number of seconds"),
        ({"close": None}, "has no close"),
        ({"name": ""}, "has no name"),
    ],
)
def test_each_breach_is_named(parts: dict[str, Any], says: str) -> None:
    """What the sink does, and what it should do."""
    sink = type("Bad", (Good,), {**parts})()
    with pytest.raises(AssertionError, match=says):
        check_sink(sink, delivered=lambda: len(sink.arrived))


def test_a_sink_that_hangs_is_told_and_does_not_hold_up_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself comes to an end."""
    monkeypatch.setattr("toolweaver_monitor.testing._contract.WAIT_S", 0.1)
    forever = threading.Event()
    sink = type("Hung", (Good,), {"flush": lambda _: forever.wait(10)})()
    with pytest.raises(AssertionError, match=r"flush\(\) takes longer than"):
        check_sink(sink)
    forever.set()
