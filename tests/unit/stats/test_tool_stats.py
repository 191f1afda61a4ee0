"""Statistics per tool."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor._core.call import ENDED, ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text import names
from toolweaver_monitor._text.names import OVERFLOW

details = st.one_of(
    st.none(),
    st.builds(
        CallDetails,
        unsplit_tokens=st.integers(0, 9),
        input_tokens=st.integers(0, 9),
        output_tokens=st.integers(0, 9),
        cost_nanousd=st.one_of(st.none(), st.integers(0, 10**12)),
        model=st.sampled_from([None, "m"]),
        error_type=st.sampled_from([None, "ValueError", "KeyError"]),
        cached=st.booleans(),
        attempt=st.integers(1, 3),
        items=st.one_of(st.none(), st.integers(0, 5)),
        first_item_s=st.one_of(st.none(), st.integers(1, 1024).map(lambda n: n / 1024)),
    ),
)
calls = st.lists(
    st.builds(
        ToolCall,
        st.sampled_from(["ocr", "parse"]),
        st.sampled_from(ENDED),
        st.floats(min_value=1e-6, max_value=100).map(lambda x: round(x * 1024) / 1024),
        _details=details,
    ).filter(lambda call: call._details is not None or call.outcome == "success"),
    max_size=40,
)


def counted(batch: list[ToolCall]) -> ToolStats:
    found = ToolStats()
    if batch:
        found.usage.add_details(found.count(batch, None, runs=len(batch)))
    return found


def state(of: ToolStats) -> dict[str, object]:
    own = {name: getattr(of, name) for name in ToolStats.__slots__ if name != "usage"}
    return own | of.usage.as_dict()


@given(calls, calls)
def test_adding_two_gives_what_one_would_have_counted(one: list[ToolCall], other: list[ToolCall]) -> None:
    """Statistics merge exactly, in any order."""
    forth, back = counted(one), counted(other)
    forth.add(counted(other))
    back.add(counted(one))
    assert state(forth) == state(back) == state(counted(one + other))


@given(calls)
def test_every_call_is_counted_once_by_outcome_and_bucket(batch: list[ToolCall]) -> None:
    """Counts, outcomes and the histogram never disagree."""
    found = counted(batch)
    assert found.calls == len(batch) == sum(found.outcomes.values())
    assert found.executed == sum(call.outcome != "rejected" for call in batch) == sum(found.buckets.values())


def test_what_a_budget_rejected_is_no_part_of_the_durations() -> None:
    """A call that did not run took no time: were its 0 s counted, tools would seem to get faster as money runs out."""
    rejected = ToolCall("a", "rejected", 0.0, _details=CallDetails(error_type="BudgetExceeded"))
    found = counted([ToolCall("a", "success", 2.0), rejected, rejected])
    assert (found.calls, found.executed, found.duration_sum_s, found.duration_min_s) == (3, 1, 2.0, 2.0)
    assert counted([rejected]).buckets == {}


def test_a_call_with_tokens_and_no_cost_is_unpriced_and_one_with_neither_is_not() -> None:
    """Unknown is counted as unknown; a call that has nothing to do with money is simply without cost."""
    found = counted(
        [
            ToolCall("a", "success", 0.1, _details=CallDetails(unsplit_tokens=5)),
            ToolCall("a", "success", 0.1, _details=CallDetails(model="m")),
            ToolCall("a", "success", 0.1, _details=CallDetails(unsplit_tokens=5, cost_nanousd=0)),
            ToolCall("a", "success", 0.1),
        ]
    )
    assert (found.usage.unpriced, found.usage.costed, found.calls) == (2, 1, 4)


def test_a_flood_of_names_ends_in_overflow_and_totals_stay_exact() -> None:
    """Series stay bounded, and no call is lost."""
    stats = StatsAggregator(max_names=100)
    for start in range(0, 5_000, 500):
        stats.add_batch([ToolCall(f"made-up-{n}", "success", 0.01) for n in range(start, start + 500)])
    assert len(stats.by_tool()) == 101
    assert stats.total().calls == 5_000
    assert stats.by_tool()[OVERFLOW].calls == 4_900


def test_a_name_written_in_the_code_keeps_its_place_in_a_flood() -> None:
    """An agent that makes up names cannot push a real tool out of its series."""
    names.declared_names.add("written-in-code")
    try:
        stats = StatsAggregator(max_names=10)
        stats.add_batch([ToolCall(f"made-up-{n}", "success", 0.01) for n in range(50)])
        stats.add_batch([ToolCall("written-in-code", "success", 0.01)])
        assert stats.by_tool()["written-in-code"].calls == 1
    finally:
        names.declared_names.discard("written-in-code")


def test_the_last_calls_are_kept_and_totals_are_all_time() -> None:
    """The cure for memory that grows: what rotates out is still counted."""
    stats = StatsAggregator(max_operations=10)
    for n in range(100):
        stats.record(ToolCall("a", "success", n / 100))
    stats.sync()
    assert stats.total().calls == 100
    assert [call.duration_s for call in stats.operations] == [n / 100 for n in range(90, 100)]
