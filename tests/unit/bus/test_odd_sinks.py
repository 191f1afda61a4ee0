"""Sinks that keep to the protocol and still do the unexpected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, setup, track
from toolweaver_monitor._bus import retry
from toolweaver_monitor.errors import SinkUnavailable

CALLS = 10


class Sink:
    """A sink that passes each list of calls to a function."""

    name = "odd"

    def __init__(self, then: Callable[[list[ToolCall]], object] = lambda calls: None) -> None:
        self.then = then
        self.seen = 0

    def write(self, calls: list[ToolCall]) -> None:
        self.seen += len(calls)
        self.then(calls)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def call_tools() -> None:
    for _ in range(CALLS):
        with track("tool"):
            pass


@pytest.mark.parametrize(
    "change", [list.clear, list.pop, lambda calls: calls.extend(calls)], ids=["empties", "takes one of", "doubles"]
)
def test_a_sink_may_change_the_list_that_it_is_given(change: Callable[[list[ToolCall]], object]) -> None:
    """What it was given is delivered, whatever is left in the list: the statistics balance, and a flush says the truth.

    Given the queue's own list, an emptied one counted as 0 delivered, and every flush waited to its end.
    """
    sink = Sink(change)
    monitor = setup(sink)
    call_tools()
    assert monitor.flush() is True
    stats = monitor._components.runners[0].stats()
    assert (sink.seen, stats.emitted, stats.delivered, stats.queued) == (CALLS, CALLS, CALLS, 0)
    assert monitor.shutdown() is True


def test_a_sink_that_takes_calls_out_of_its_list_is_not_given_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it raised in the middle of a batch, it goes on there; all of the batch counts as delivered in the end."""
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.01)
    sent: list[ToolCall] = []

    def send_each(calls: list[ToolCall]) -> None:
        while calls:
            sent.append(calls.pop(0))
            if len(sent) == CALLS // 2:
                raise ConnectionError

    monitor = setup(Sink(send_each))
    call_tools()
    assert monitor.flush() is True
    stats = monitor._components.runners[0].stats()
    assert len({call.call_id for call in sent}) == len(sent) == CALLS
    assert (stats.delivered, stats.failed, stats.queued) == (CALLS, 0, 0)


class Renamed(Sink):
    """Has another name each time it is asked, and in the end none."""

    names = iter(map(str, range(9)))

    @property
    def name(self) -> str:  # type: ignore[override]
        try:
            return next(self.names)
        except StopIteration:
            raise LookupError("no name left") from None


def test_a_sink_keeps_the_name_that_it_had_at_setup() -> None:
    """`health()` shows one sink once, also where its name changes or can no longer be told."""
    monitor = setup(Renamed())
    (name,) = monitor.health()["sinks"]
    while next(Renamed.names, None) is not None:
        pass
    assert list(monitor.health()["sinks"]) == [name]
    assert repr(monitor) == f"<Monitor: 0 calls, 0 failed, $0.0000; {name}>"


@pytest.mark.parametrize("attribute", ["_connect", "_context"])
def test_attributes_that_connect_the_built_in_sinks_mean_nothing_on_others(attribute: str) -> None:
    """A sink that has one of its own, but is no `SetupAware`, is neither called there nor changed."""

    class Drawing(Sink):
        """With an attribute that may not be called, or set."""

    def owned(_: Any) -> str:
        return "its own"

    setattr(Drawing, attribute, property(owned))
    monitor = setup(Drawing())
    call_tools()
    assert monitor.flush() is True
    assert monitor.health()["ok"]


@pytest.mark.parametrize(
    ("hint", "cure"), [("log in; then call setup()", "log in; then call setup()"), ("", "logged out")]
)
def test_the_hint_of_a_sink_that_is_off_is_its_cure(hint: str, cure: str) -> None:
    """It is kept apart from the text of the error, whatever punctuation either has; without one the text has to do."""

    def refuse(_: list[ToolCall]) -> None:
        raise SinkUnavailable("logged out", hint=hint)

    monitor = setup(Sink(refuse))
    call_tools()
    assert monitor.flush() is False
    health = monitor.health()["sinks"]["odd"]
    assert health["last_error"] == ("logged out; " + hint if hint else "logged out")
    assert (health["state"], health["cure"]) == ("unavailable", cure)
    assert monitor._components.runners[0].stats().hint == hint


def test_a_hint_holds_no_secret() -> None:
    """It is shown, so it is scrubbed as every other text."""

    def refuse(_: list[ToolCall]) -> None:
        raise SinkUnavailable("refused", hint="log in again\nwith password=hunter2hunter2")

    monitor = setup(Sink(refuse))
    call_tools()
    monitor.flush()
    cure = monitor.health()["sinks"]["odd"]["cure"]
    assert cure.startswith("log in again")
    assert "hunter2" not in cure
    assert "\n" not in cure
