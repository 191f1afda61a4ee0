"""What stays in a store, and what goes: notable calls, old rows and sums, and what is to be forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolweaver_monitor import Budget, ToolCall, flush, monitored, setup, shutdown, track
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._store import upkeep
from toolweaver_monitor._store.ledger import StoreLedger
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.schema import DAY, HOUR, MAPS, MINUTE
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import SQLiteStore

Read = Callable[[], StoreReader]
Calls = Callable[..., list[ToolCall]]
NOW = time.time()


def call_at(ended_at: float, tool: str = "ocr", duration_s: float = 0.001) -> ToolCall:
    """A closed call that ended at a moment of the wall clock."""
    return ToolCall(tool, "success", duration_s, monotonic_s() - (time.time() - ended_at) - duration_s)


def tidy_all(store: SQLiteStore, now: float, retention: upkeep.Retention | None = None) -> None:
    more = True
    while more:
        with store._writer.transaction() as connection:
            more = upkeep.tidy(connection, retention or upkeep.Retention(), now)


def test_accounts_of_windows_that_are_over_take_no_room(path: Path) -> None:
    """A budget for each customer leaves nothing of those who never come again. Seen red: all rows stayed."""
    store = SQLiteStore(path)
    ledger = StoreLedger(StoreFile(path), lambda: NOW)
    for per in ("minute", "day", "run"):
        for customer in range(3):
            assert ledger.request(f"b [{customer}]", per, "usd", 10, 0, 10)
        assert not ledger.request("b [0]", per, "usd", 10, 0, 1).amount  # type: ignore[union-attr]
    tidy_all(store, NOW + 120)
    with store._writer.transaction() as connection:
        kept = connection.execute("SELECT per, count(*), sum(spent) FROM ledger GROUP BY per ORDER BY per").fetchall()
        assert kept == [("day", 3, 30), ("run", 3, 30)]
        assert connection.execute("SELECT per FROM refusals ORDER BY per").fetchall() == [("day",), ("run",)]


# --- notable calls ------------------------------------------------------------------------------------------------


def test_notable_calls_keep_a_row_and_all_count(path: Path, read: Read) -> None:
    """Errors, the slowest and the most expensive; of the others one in ten with its weight.

    Seen red: with weights of 1.
    """
    setup(SQLiteStore(path, keep="notable", one_in=10))

    @monitored("ocr")
    def ocr(fails: bool = False) -> None:
        if fails:
            raise KeyError

    for number in range(1_000):
        if number % 100 == 50:
            with pytest.raises(KeyError):
                ocr(fails=True)
        else:
            ocr()
    with track("ocr") as dear:
        dear.record(cost=5.0)
    assert flush()
    reader = read()
    (sums,) = reader.sums("all")
    assert (sums.values["calls"], sums.values["failure"]) == (1_001, 10)
    kept = reader.calls(limit=None)
    assert len(kept) < 250
    assert len([call for call in kept if call.outcome == "failure"]) == 10
    assert [call.cost_usd for call in reader.calls(order="most_expensive", limit=1)] == [5.0]
    assert reader.calls(order="slowest", limit=1)[0].duration_s == sums.values["duration_max_s"]
    assert 500 < sum(call.weight for call in kept) < 1_500
    assert reader.runs()[0]["kept"] == len(kept)


def test_the_calls_around_a_notable_one_are_kept(path: Path, read: Read) -> None:
    """An error is found in its place. Seen red: without the roots of notable calls."""
    setup(SQLiteStore(path, keep="notable", one_in=10**9))
    for fails in [False] * 20 + [True] + [False] * 20:
        with track("agent"), track("plan"), track("search") as call:
            if fails:
                call.fail("no answer")
    assert flush()
    reader = read()
    (failed,) = reader.calls(outcomes=["failure"])
    assert [call.path for call in reader.trace(failed.root)] == ["agent", "agent > plan", "agent > plan > search"]


def test_a_sampled_call_brings_all_that_is_inside(path: Path, read: Read) -> None:
    """One in n is of outermost calls, so that traces are whole. Seen red: with each call chosen for itself."""
    setup(SQLiteStore(path, keep="notable", one_in=5))
    for _ in range(200):
        with track("agent"):
            for _ in range(3):
                with track("step"):
                    pass
    assert flush()
    reader = read()
    sampled = {call.root for call in reader.calls(limit=None) if call.weight == 5}
    assert sampled
    assert {len(reader.trace(root)) for root in sampled} == {4}


@pytest.mark.parametrize(
    "wrong", [{"keep": "some"}, {"one_in": 0}, {"max_days": -1}, {"max_gb": "10"}, {"durability": "best"}]
)
def test_an_option_that_makes_no_sense_is_refused_at_once(path: Path, wrong: dict[str, object]) -> None:
    """Misuse is loud where it is written. Seen red: without the checks."""
    with pytest.raises(ConfigurationError):
        SQLiteStore(path, **wrong)  # type: ignore[arg-type]


# --- merging ------------------------------------------------------------------------------------------------------


def test_old_sums_are_merged_to_hours_and_days_and_stay_exact(store: SQLiteStore, read: Read) -> None:
    """Whatever is merged, the sums are the same. Seen red: without `sum_counts` of the histograms."""
    day = int(NOW) // DAY * DAY - 40 * DAY
    store.write([call_at(day + 30 + minute * 60, duration_s=0.001 * (minute + 1)) for minute in range(300)])
    reader = read()
    (before,) = reader.sums("tool")
    assert {span for (span,) in reader.rows("SELECT DISTINCT span FROM rollups")} == {MINUTE}
    tidy_all(store, day + 2 * DAY)
    assert {span for (span,) in reader.rows("SELECT DISTINCT span FROM rollups")} == {HOUR}
    hours = reader.sums("tool", every=HOUR)
    assert sum(sums.values["calls"] for sums in hours) == 300
    assert len(hours) == 5
    tidy_all(store, NOW)
    assert {span for (span,) in reader.rows("SELECT DISTINCT span FROM rollups")} == {DAY}
    (after,) = reader.sums("tool")
    assert without_order(after.values) == without_order(before.values)
    store.write([call_at(day + 35)])  # one that comes late
    tidy_all(store, NOW)
    (late,) = reader.sums("tool")
    assert late.values["calls"] == 301
    assert next(reader.rows("SELECT count(*) FROM rollups")) == (1,)


def without_order(values: dict[str, object]) -> dict[str, object]:
    return {
        name: sorted(str(value).strip("{}").split(",")) if name in MAPS else pytest.approx(value)
        for name, value in values.items()
        if value is not None
    }


def test_a_period_of_merged_sums_is_found(store: SQLiteStore, read: Read) -> None:
    """A question for a part of an hour gets the hour. Seen red: with `at >= since`."""
    hour = int(NOW) // HOUR * HOUR - 72 * HOUR
    store.write([call_at(hour + 10), call_at(hour + 10 + HOUR)])
    tidy_all(store, NOW)
    reader = read()
    assert [sums.values["calls"] for sums in reader.sums("all", since=hour + 1_800, until=hour + HOUR)] == [1]
    assert len(reader.calls(since=hour, until=hour + HOUR)) == 1


# --- retention ----------------------------------------------------------------------------------------------------


def test_old_rows_go_and_sums_stay(store: SQLiteStore, read: Read) -> None:
    """Age counts from the end of a call. Seen red: with `<` and `>` exchanged."""
    store.write([call_at(NOW - 10 * DAY) for _ in range(5)])
    store.write([call_at(NOW - 60) for _ in range(3)])
    tidy_all(store, NOW, upkeep.Retention(days=7))
    reader = read()
    assert len(reader.calls()) == 3
    assert [sums.values["calls"] for sums in reader.sums("all")] == [8]
    store.write([call_at(NOW)])
    assert reader.last_seq() == 9


def test_a_store_that_is_too_large_loses_its_oldest_rows(store: SQLiteStore, read: Read, calls_of: Calls) -> None:
    """Until it is small enough. Seen red: with the newest rows deleted."""
    store.write(calls_of(20_000))
    tidy_all(store, NOW, upkeep.Retention(max_bytes=1_000_000))
    reader = read()
    left = [call.seq for call in reader.calls(order="oldest", limit=None)]
    assert 0 < len(left) < 20_000
    assert left[-1] == 20_000
    with store._writer.transaction() as connection:
        assert upkeep.used_bytes(connection) <= 1_000_000


def test_a_store_grows_beyond_its_limit_by_a_batch_at_most(path: Path, read: Read, calls_of: Calls) -> None:
    """However fast calls come. Seen red: with the size looked at every ten minutes only."""
    store = SQLiteStore(path, max_gb=0.001)
    for _ in range(20):
        store.write(calls_of(4_000))
    assert len(read().calls(limit=None)) < 20_000
    assert store._writer._connection is not None
    assert upkeep.used_bytes(store._writer._connection) < 1_600_000
    store.close()


def test_a_file_gets_smaller_when_much_of_it_is_free(store: SQLiteStore, path: Path, calls_of: Calls) -> None:
    """The disk has it back. Seen red: without `_give_back`."""
    for _ in range(40):
        store.write(calls_of(4_000))
    tidy_all(store, NOW, upkeep.Retention(max_bytes=1_000_000))
    store.close()
    assert path.stat().st_size < 12_000_000
    with StoreReader(path) as reader:
        assert reader.rows("PRAGMA integrity_check")
        assert [sums.values["calls"] for sums in reader.sums("all")] == [160_000]


def test_tags_go_with_the_last_row_that_has_them(path: Path, read: Read) -> None:
    """A set of tags does not outlive its rows, and a place that comes back gets its tags back.

    Seen red: with sets of tags never deleted; with their numbers used again, the new call had another's tags.
    """
    store = SQLiteStore(path)
    setup(store)
    with track("agent", customer="first"):
        pass
    assert flush()
    tidy_all(store, time.time(), upkeep.Retention(max_bytes=1))
    assert next(read().rows("SELECT count(*) FROM labels")) == (0,)
    with track("agent", customer="second"):
        pass
    with track("agent", customer="first"):
        pass
    assert flush()
    reader = read()
    assert [call.tags for call in reader.calls(order="oldest")] == [{"customer": "second"}, {"customer": "first"}]
    assert {sums.name: sums.values["calls"] for sums in reader.sums("tag:customer")} == {"first": 2, "second": 1}


def test_the_upkeep_is_done_with_the_batches(
    path: Path, read: Read, calls_of: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process does it, every ten minutes. Seen red: with `_tidy` never called."""
    store = SQLiteStore(path, max_days=1)
    store.write([call_at(NOW - 3 * DAY)])
    assert len(read().calls()) == 1
    monkeypatch.setattr(upkeep, "UPKEEP_EVERY_S", 0.0)
    store._writer._next_upkeep = 0.0
    store.write(calls_of(1))
    assert len(read().calls()) == 1
    store.close()


# --- forgetting ---------------------------------------------------------------------------------------------------


def test_what_a_tag_names_is_forgotten_down_to_the_bytes(path: Path, read: Read) -> None:
    """A customer's calls, those inside them, and all that only they were tagged with; the sums of the rest stay.

    Seen red: with `secure_delete = 0`, the name was still in the file; without the calls inside, one row stayed.
    """
    store = SQLiteStore(path)
    setup(store)
    for customer in ("acme-secret", "other"):
        tags = {"customer": customer, "order": f"order-of-{customer}", "shared": "yes"}
        with track("agent", **tags), track("search") as call:
            call.fail(f"bad {customer}")
        with track("late") as call:
            with track("inside"):
                pass
            call.record(customer=customer)
    assert flush()
    deleted = store._writer.forget("customer", "acme-secret")
    assert (deleted["rows"], deleted["labels"]) == (4, 3)
    reader = read()
    assert sorted(call.tool_name for call in reader.calls()) == ["agent", "inside", "late", "search"]
    assert [sums.name for sums in reader.sums("tag:customer")] == ["other"]
    assert [sums.name for sums in reader.sums("tag:order")] == ["order-of-other"]
    assert [sums.name for sums in reader.sums("tag:shared")] == ["yes"]
    assert [sums.values["calls"] for sums in reader.sums("all")] == [8]
    for file in path.parent.iterdir():
        assert b"acme-secret" not in file.read_bytes(), file.name
    with track("agent", customer="acme-secret"):  # numbers from before are not used any more
        pass
    assert flush()
    assert [call.tags["customer"] for call in reader.calls(limit=1)] == ["acme-secret"]


def test_the_budget_of_a_customer_is_forgotten(path: Path) -> None:
    """Its name is in the file nowhere. Seen red: with the ledger left alone."""
    store = SQLiteStore(path)
    setup(store, budget=Budget(limit_usd=5, per="day", tag="customer"))
    for customer in ("acme-secret", "other"):
        with track("agent", customer=customer, cost=0.5):
            pass
    shutdown()
    store._writer.forget("customer", "acme-secret")
    store._writer.close()
    assert b"acme-secret" not in path.read_bytes()
    assert b"[other]" in path.read_bytes()


def test_an_old_clock_breaks_nothing(store: SQLiteStore, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back by a day writes to that day. Seen red: with sums by the time of writing."""
    store.write([call_at(NOW)])
    monkeypatch.setattr(clock, "_offsets", [(float("-inf"), clock._offsets[-1][1] - DAY)])
    store.write([ToolCall("ocr", "success", 0.1, monotonic_s())])
    reader = read()
    assert [sums.values["calls"] for sums in reader.sums("all")] == [2]
    assert len(reader.calls(until=NOW - 3_600)) == 1
