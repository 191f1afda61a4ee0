"""What is written to a store is what is read from it: every call a row, every sum exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolweaver_monitor import ToolCall, flush, monitored, setup, track
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._stats.rollup import pack, unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import UsageTotals
from toolweaver_monitor._store.reader import ERRORS, StoreReader
from toolweaver_monitor._store.schema import OUTCOMES, VALUES
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import SQLiteStore
from toolweaver_monitor.testing._contract import sample_calls

Read = Callable[[], StoreReader]
Calls = Callable[..., list[ToolCall]]
IN_MORE = (
    "cache_write_tokens", "cache_write_1h_tokens", "saved_nanousd", "audio_tokens", "rare_parts", "service_tier",
    "is_repeat", "holds_attempts",
)  # fmt: skip


def test_a_call_comes_back_with_all_its_fields(store: SQLiteStore, read: Read) -> None:
    """A call with every field filled is read back as it was. Seen red: with `items` left out of `more`."""
    details = CallDetails(
        unsplit_tokens=1, input_tokens=20, output_tokens=30, cached_tokens=4, cost_nanousd=5, cost_source="priced",
        cache_write_tokens=6, cache_write_1h_tokens=7, saved_nanousd=8, model="a-model", provider="a-provider",
        cached=True, attempt=9, error_type="KeyError", raw_error="no \u20ac", redacted=True, first_item_s=0.5, items=3,
        arguments="(1,)", result="2", audio_tokens=(1, 2, 3), rare_parts={"image_tokens": 4}, service_tier="flex",
        is_repeat=True, holds_attempts=True,
    )  # fmt: skip
    call = ToolCall("ocr", "failure", 0.25, monotonic_s(), _details=details)
    store.write([call])
    (found,) = read().calls()
    same = ("tool_name outcome duration_s error_type error tokens input_tokens output_tokens cached_tokens cost_usd "
            "cost_source model provider cached attempt first_item_s items arguments result tags")  # fmt: skip
    assert {name: getattr(found, name) for name in same.split()} == {name: getattr(call, name) for name in same.split()}
    assert found.started_at == pytest.approx(call.started_at, abs=1e-3)
    assert (found.id, found.parent, found.root) == (call._serial, call._parent_serial, call._root_serial)
    assert {name: found.more[name] for name in IN_MORE} == {
        "cache_write_tokens": 6, "cache_write_1h_tokens": 7, "saved_nanousd": 8, "audio_tokens": [1, 2, 3],
        "rare_parts": {"image_tokens": 4}, "service_tier": "flex", "is_repeat": True,
        "holds_attempts": True,
    }  # fmt: skip


def values_of(stats: ToolStats) -> dict[str, object]:
    """All that statistics hold; sums of seconds only nearly, since they are added in another order."""
    values = {name: getattr(stats, name) for name in ToolStats.__slots__ if name != "usage"}
    values["duration_sum_s"] = pytest.approx(stats.duration_sum_s)
    return values | {name: getattr(stats.usage, name) for name in UsageTotals.__slots__}


def test_the_sums_are_those_of_the_memory(path: Path, read: Read) -> None:
    """By tool, path, tag and model, the store says what the monitor says. Seen red: with sums replaced, not added."""
    monitor = setup(SQLiteStore(path), tags={"env": "test"})

    @monitored("ocr", cost=0.01)
    def ocr() -> None: ...

    for number in range(3):
        with track("agent", customer=f"c{number % 2}"):
            ocr()
            with track("llm") as call:
                call.record(input_tokens=5, output_tokens=7, cost=0.5, model="m1", provider="p", attempt=number)
            with pytest.raises(ValueError, match="bad"), track("parse"):
                raise ValueError("bad")
        assert flush()
    reader = read()
    in_memory = dict(monitor.metrics._by_tool())
    for sums in reader.sums("tool"):
        assert values_of(unpack(sums.values, OUTCOMES)) == values_of(in_memory.pop(sums.name))
    assert not in_memory
    by_tag = {sums.name: (sums.values["calls"], sums.values["cost_nanousd"]) for sums in reader.sums("tag:customer")}
    assert by_tag == {
        name: (totals["calls"], round(totals["cost_usd"] * 1e9))
        for name, totals in monitor.costs.by_tag("customer").items()
    }
    assert {sums.name: sums.values["calls"] for sums in reader.sums("tag:env")} == {"test": 12}
    assert {sums.name: sums.values["cost_nanousd"] for sums in reader.sums("model")} == {"m1": 1_500_000_000}
    assert {sums.name: sums.values["errors"] for sums in reader.sums("path") if sums.values["errors"]} == {
        "agent > parse": '{"ValueError":3}'
    }


def test_statistics_survive_packing() -> None:
    """What a roll-up holds is all that statistics hold. Seen red: with `first_items` not unpacked."""
    stats = ToolStats()
    calls = sample_calls()
    stats.usage.add_details(stats.count(calls, None, runs=len(calls)))
    packed = pack(stats, OUTCOMES)
    assert {*packed, "first_seq", "last_seq"} == set(VALUES)
    assert pack(unpack(packed, OUTCOMES), OUTCOMES) == packed


def test_calls_are_found_by_what_is_asked(store: SQLiteStore, read: Read, calls_of: Calls) -> None:
    """By tool, outcome, time and number; the newest, slowest and most expensive first.

    Seen red: with `outcomes` ignored.
    """
    store.write([*calls_of(3), *calls_of(1, "ocr", "failure", 0.5), *calls_of(2, "llm", "timeout", 2.0)])
    store.write(calls_of(1, "llm", duration_s=1.0))
    reader = read()
    assert [call.seq for call in reader.calls(tool="llm")] == [7, 6, 5]
    assert [call.seq for call in reader.calls(outcomes=ERRORS, order="oldest")] == [4, 5, 6]
    assert [call.duration_s for call in reader.calls(order="slowest", limit=3)] == [2.0, 2.0, 1.0]
    assert [call.seq for call in reader.calls(after=6)] == [7]
    assert len(reader.calls(since=time.time() - 60)) == 7
    assert reader.calls(since=time.time() + 120) == []
    assert reader.calls(until=time.time() - 120) == []
    assert reader.last_seq() == 7


def test_a_trace_has_its_calls_in_place(path: Path, read: Read) -> None:
    """The calls of one outermost call come together, each with the one around it. Seen red: ordered by `seq`."""
    setup(SQLiteStore(path))
    with track("agent"):
        with track("plan"):
            pass
        with track("act"), track("search"):
            pass
    with track("other"):
        pass
    assert flush()
    reader = read()
    (search,) = reader.calls(tool="search")
    trace = reader.trace(search.root)
    names = {call.id: call.tool_name for call in trace}
    assert [(call.tool_name, names.get(call.parent or 0)) for call in trace] == [
        ("agent", None), ("plan", "agent"), ("act", "agent"), ("search", "act"),
    ]  # fmt: skip


def test_calls_are_found_by_a_tag_of_the_call_around(path: Path, read: Read) -> None:
    """A customer's calls include those inside. Seen red: with only the calls' own tags stored."""
    setup(SQLiteStore(path))
    with track("agent", customer="acme"), track("search"):
        pass
    with track("agent", customer="other"):
        pass
    assert flush()
    found = read().calls(tags={"customer": "acme"}, order="oldest")
    assert [(call.tool_name, call.own_tags, call.tags) for call in found] == [
        ("search", {}, {"customer": "acme"}), ("agent", {"customer": "acme"}, {"customer": "acme"}),
    ]  # fmt: skip


def test_calls_beyond_the_queue_are_in_the_sums(store: SQLiteStore, read: Read, calls_of: Calls) -> None:
    """A full queue costs rows, not sums, and says so. Seen red: with `merge` doing nothing."""
    store.write(calls_of(2))
    store.merge(calls_of(5))
    store.write([])
    reader = read()
    assert [sums.values["calls"] for sums in reader.sums("all")] == [7]
    assert len(reader.calls()) == 2
    assert store.status()["note"].startswith("5 calls")
    assert [(run["calls"], run["kept"]) for run in reader.runs()] == [(7, 2)]


def test_absurd_values_are_stored_as_well_as_they_can_be(store: SQLiteStore, read: Read) -> None:
    """No call is lost because of a number beyond 64 bits, or half a letter. Seen red: without the second try."""
    details = CallDetails(unsplit_tokens=2**70, raw_error="half a letter: \ud83d", redacted=True, error_type="E")
    store.write([ToolCall("ocr", "failure", 0.1, monotonic_s(), _details=details), ToolCall("ocr", "success", 0.1)])
    reader = read()
    assert len(reader.calls()) == 2
    assert reader.calls(outcomes=ERRORS)[0].error == "half a letter: \\ud83d"


def test_an_unknown_question_names_what_there_is(store: SQLiteStore, read: Read, calls_of: Calls) -> None:
    """A misspelt `by` or tag is an error with the cure. Seen red: with an empty answer instead."""
    store.write(calls_of(1))
    reader = read()
    with pytest.raises(ConfigurationError, match="give all, tool"):
        reader.sums("tols")
    with pytest.raises(ConfigurationError, match="there are no tags"):
        reader.sums("tag:customer")
