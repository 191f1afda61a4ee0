"""Roll-ups add up to their single calls, however these were opened, closed and counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from copy import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from toolweaver_monitor import CostTracker
from toolweaver_monitor._core.call import ENDED, ToolCall
from toolweaver_monitor._core.context_tree import ContextTree, tool_key
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import NO_TAGS, merge_tags

FIGURES = (
    "calls", "operations", "retries", "errors", "rejected", "unpriced", "cache_hits", "tokens", "input_tokens",
    "output_tokens", "cached_tokens", "nano", "saved_nano",
)  # fmt: skip

used = st.one_of(
    st.none(),
    st.builds(
        CallDetails,
        unsplit_tokens=st.integers(0, 9),
        input_tokens=st.integers(0, 9),
        output_tokens=st.integers(0, 9),
        cached_tokens=st.integers(0, 9),
        cost_nanousd=st.one_of(st.none(), st.integers(0, 10**12)),
        saved_nanousd=st.integers(0, 10**9),
        model=st.sampled_from([None, "small", "large"]),
        cached=st.booleans(),
        attempt=st.integers(1, 3),
    ),
)
labels = st.dictionaries(st.sampled_from(["customer", "workflow"]), st.sampled_from(["a", "b", 7]), max_size=2)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("open"), st.integers(0, 9), st.sampled_from(["ocr", "parse", "agent"]), st.tuples(used, labels)
        ),
        st.tuples(st.just("tag"), st.integers(0, 9), st.none(), labels),
        st.tuples(st.just("close"), st.integers(0, 30), st.sampled_from(ENDED), st.none()),
        st.tuples(st.just("count"), st.integers(0, 1), st.none(), st.none()),
    ),
    min_size=12,  # or most would be too short to nest
    max_size=60,
)


class Run:
    """Calls opened, closed and counted in the order that the steps say; what is left is closed and counted last."""

    def __init__(self, program: list[Any], trackers: list[CostTracker], read: Callable[[Run], object]) -> None:
        self.calls: list[ToolCall] = []
        self.counted: list[ToolCall] = []
        self.parent: dict[int, ToolCall | None] = {}
        running: list[ToolCall] = []
        waiting: list[ToolCall] = []

        for tracker in trackers:
            tracker._own._open_calls = lambda: running
        tree = ContextTree()

        def count() -> None:
            for which, tracker in enumerate(trackers):  # a tree goes to one of them as a whole
                tracker.write([call for call in waiting if self.trees(call) % len(trackers) == which])
            self.counted += waiting
            waiting.clear()
            read(self)

        for step, number, word, values in program:
            if step == "open":
                details, tags = values
                call = ToolCall(word, _details=copy(details))
                parent = ([None, *running])[number % (len(running) + 1)]
                around = tree.root
                if parent is not None:
                    call._set_parent(parent)
                    assert parent._node is not None
                    around = parent._node
                call._node = around.child(tool_key(word, merge_tags(NO_TAGS, tags)))
                self.parent[id(call)] = parent
                self.calls.append(call)
                running.append(call)
            elif step == "tag" and running:
                if values:
                    running[number % len(running)]._add_tags(values)
            elif step == "close" and running:
                waiting.append(closed(running.pop(number % len(running)), word))
            elif step == "count":
                count()
        waiting.extend(closed(call, "success") for call in running)
        count()

    def around(self, call: ToolCall) -> list[ToolCall]:
        """The call and those around it, innermost first."""
        found: list[ToolCall] = []
        at: ToolCall | None = call
        while at is not None:
            found.append(at)
            at = self.parent[id(at)]
        return found

    def trees(self, call: ToolCall) -> int:
        return next(n for n, other in enumerate(self.calls) if other is self.around(call)[-1])


def closed(call: ToolCall, outcome: Any) -> ToolCall:
    call.outcome = "success" if call._details is None else outcome  # a plain call is a success
    return call


def sums(calls: list[ToolCall]) -> dict[str, int]:
    """What the calls come to, added up the plain way."""
    found = dict.fromkeys(FIGURES, 0)
    for call in calls:
        details = call._details or CallDetails()
        found["calls"] += 1
        found["operations"] += details.attempt == 1
        found["retries"] += details.attempt > 1
        found["errors"] += call.outcome in ("failure", "timeout")
        found["rejected"] += call.outcome == "rejected"
        found["unpriced"] += details.cost_nanousd is None and bool(details.tokens or details.model)
        found["cache_hits"] += details.cached
        found["nano"] += details.cost_nanousd or 0
        found["saved_nano"] += details.saved_nanousd * details.cached
        found["tokens"] += details.tokens
        for name in ("input_tokens", "output_tokens", "cached_tokens"):
            found[name] += getattr(details, name)
    return found


def shown(figures: dict[str, Any]) -> dict[str, int]:
    """A row of a roll-up, dollars as whole nano-dollars."""
    whole = {
        **figures,
        "nano": round((figures["cost_usd"] or 0) * 1e9),
        "saved_nano": round(figures["saved_usd"] * 1e9),
    }
    return {name: whole[name] for name in FIGURES}


def table(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    return {name: shown(row) for name, row in rows.items()}


def grouped(calls: list[ToolCall], name_of: Callable[[ToolCall], object]) -> dict[str, dict[str, int]]:
    groups: dict[str, list[ToolCall]] = defaultdict(list)
    for call in calls:
        groups[str(name_of(call))].append(call)
    return {name: sums(group) for name, group in groups.items()}


def check_tables(tracker: CostTracker, run: Run) -> None:
    """Every way of cutting it, against the calls that have been counted."""

    def tag_of(call: ToolCall, key: str) -> object:
        return next((one.tags[key] for one in run.around(call) if key in one.tags), "(none)")

    assert table(tracker.by("tool")) == grouped(run.counted, lambda call: call.tool_name)
    assert table(tracker.by("model")) == grouped(run.counted, lambda call: call.model or "(none)")
    assert table(tracker.by("root")) == grouped(run.counted, lambda call: run.around(call)[-1].tool_name)
    for key in ("customer", "workflow"):
        assert table(tracker.by_tag(key)) == grouped(run.counted, lambda call, key=key: tag_of(call, key))
    runs = {name: row["runs"] for name, row in tracker.by("root").items()}
    assert runs == {
        name: sum(run.parent[id(call)] is None and call.tool_name == name for call in run.counted) for name in runs
    }
    assert sum(row["calls"] for row in tracker.unpriced()) == sums(run.counted)["unpriced"]


def check(tracker: CostTracker, run: Run) -> None:
    """The same, and what each single call came to with all inside it."""
    check_tables(tracker, run)
    for call in run.calls:
        if call.outcome == "open" or call in run.counted:
            figures = tracker.of(call)
            assert figures is not None
            told = [*run.counted, call] if call.outcome == "open" else run.counted
            assert shown(figures) == sums([other for other in told if call in run.around(other)])


@settings(max_examples=150, deadline=None)
@given(steps)
def test_every_roll_up_is_the_sum_over_its_calls_in_any_interleaving(program: list[Any]) -> None:
    """Attempts, cache hits, failures, calls that outlive the one around them: each counts once, wherever one looks."""
    tracker = CostTracker()
    check(tracker, Run(program, [tracker], lambda _: None))


@settings(max_examples=150, deadline=None)
@given(steps)
def test_what_ended_inside_open_calls_is_in_every_table_already(program: list[Any]) -> None:
    """A customer's receipt that is still being read has cost what its tools have cost so far, and so has a part of it.

    Seen red: with a part that knew nothing of what had ended inside open calls below it.
    """
    tracker = CostTracker()
    check(tracker, Run(program, [tracker], lambda run: check(tracker, run)))


@settings(max_examples=100, deadline=None)
@given(steps)
def test_merged_roll_ups_are_those_of_one(program: list[Any]) -> None:
    """Counted apart and put together, trees of calls come to the same."""
    one, other = CostTracker(), CostTracker()
    run = Run(program, [one, other], lambda _: None)
    one._own.merge(other._own)
    check(one, run)
