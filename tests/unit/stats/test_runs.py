"""Totals of calls with others inside them, in bounded memory."""

from __future__ import annotations

import asyncio
import contextvars
import os
import pickle
import threading
from collections.abc import Sequence

import pytest

from toolweaver_monitor import CostTracker, MetricsCollector, Monitor, current_call, monitored, setup, track
from toolweaver_monitor._core import context_tree
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import ContextTree, tool_key
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import NANO, NO_TAGS, merge_tags
from toolweaver_monitor._stats import aggregator, runs
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW
from toolweaver_monitor.errors import ConfigurationError


def cost(dollars: float, **more: object) -> CallDetails:
    return CallDetails(cost_nanousd=round(dollars * NANO), **more)  # type: ignore[arg-type]


class Tools:
    """Makes closed calls in a tree of its own."""

    def __init__(self) -> None:
        self.tree = ContextTree()

    def __call__(
        self, tool: str, details: CallDetails | None = None, inside: ToolCall | None = None, **tags: object
    ) -> ToolCall:
        call = ToolCall(tool, "success", 0.1, _details=details)
        around = self.tree.root
        if inside is not None:
            call._set_parent(inside)
            assert inside._node is not None
            around = inside._node
        call._node = around.child(tool_key(tool, merge_tags(NO_TAGS, tags)))
        return call


@pytest.fixture
def ended() -> Tools:
    return Tools()


@pytest.fixture
def monitor() -> Monitor:
    return setup()


def test_one_receipt_costs_what_it_says_itself_and_all_that_runs_inside_it(monitor: Monitor) -> None:
    """The figure people ask for: a call with everything inside it, at any depth, while it runs and afterwards."""

    @monitored("ocr")
    def ocr() -> dict[str, object]:
        return {"cost": 0.01, "tokens_used": 100}

    @monitored("agent")
    def agent() -> None:
        ocr()
        ocr()

    with track("receipt") as receipt:
        receipt.record(cost=0.001)
        agent()
        so_far = monitor.costs.of(receipt)
    assert so_far is not None
    assert so_far["cost_usd"] == 0.021
    figures = monitor.costs.of(receipt)
    assert figures is not None
    assert (figures["cost_usd"], figures["calls"], figures["tokens"]) == (0.021, 4, 200)
    assert monitor.costs.by("root")["receipt"]["cost_usd"] == 0.021
    assert monitor.costs.by("root")["receipt"]["runs"] == 1
    assert monitor.costs.by("tool")["receipt"]["cost_usd"] == 0.001
    last = monitor.costs.roots()[-1]
    assert (last["tool_name"], last["cost_usd"], last["outcome"]) == ("receipt", 0.021, "success")


def test_a_call_costs_what_has_ended_inside_calls_that_still_run(monitor: Monitor) -> None:
    """At any depth below it, and also if it has ended before them.

    Seen red: with nothing of what only the outermost call knew.
    """
    outer = track("step")
    with track("receipt"):
        step = outer.__enter__()
        with track("pages"), track("page"):
            with track("ocr") as ocr:
                ocr.record(cost=0.01)
            while_open = monitor.costs.of(step)
            outer.__exit__(None, None, None)
            afterwards = monitor.costs.of(step)
    for figures in (while_open, afterwards, monitor.costs.of(step)):
        assert figures is not None
        assert figures["cost_usd"] == 0.01


async def test_a_customer_costs_what_runs_for_it_in_any_task(monitor: Monitor) -> None:
    """Tags reach what runs inside, also in tasks that end after the call that started them."""
    late = asyncio.Event()

    @monitored("ocr")
    async def ocr() -> dict[str, object]:
        await late.wait()
        return {"cost": 0.01}

    async def serve(customer: str, times: int) -> list[asyncio.Task[object]]:
        async with track("receipt", customer=customer):
            tasks = [asyncio.create_task(ocr()) for _ in range(times)]
            await asyncio.sleep(0)
            return tasks

    tasks = [*await serve("acme", 2), *await serve("globex", 3)]
    late.set()
    await asyncio.gather(*tasks)
    by_customer = monitor.costs.by_tag("customer")
    assert {name: row["cost_usd"] for name, row in by_customer.items()} == {"acme": 0.02, "globex": 0.03}
    assert monitor.costs.by("root")["receipt"]["cost_usd"] == 0.05


def test_a_retried_operation_is_one_with_the_cost_of_all_its_attempts(monitor: Monitor) -> None:
    """Attempts and operations are counted separately, and the cost of failed attempts is included."""

    @monitored("ocr")
    def ocr(attempt: int) -> str:
        current_call().record(attempt=attempt, cost=0.01)
        if attempt < 3:
            raise ConnectionError
        return "text"

    with track("receipt") as receipt:
        for attempt in (1, 2, 3):
            try:
                ocr(attempt)
            except ConnectionError:
                pass
    figures = monitor.costs.of(receipt)
    assert figures is not None
    ocr_row = monitor.costs.by("tool")["ocr"]
    assert (ocr_row["calls"], ocr_row["operations"], ocr_row["retries"], ocr_row["errors"]) == (3, 1, 2, 2)
    assert ocr_row["cost_usd"] == figures["cost_usd"] == 0.03


def test_a_cached_call_costs_nothing_and_says_what_it_saved(monitor: Monitor) -> None:
    """Served from a cache of the user's: its price goes to `saved_usd`, and no budget or bill sees it."""

    @monitored("ocr", cost=0.02)
    def ocr(hit: bool) -> str:
        current_call().record(cached=hit)
        return "text"

    for hit in (False, True, True):
        ocr(hit)
    row = monitor.costs.by("tool")["ocr"]
    assert (row["cost_usd"], row["saved_usd"], row["cache_hits"]) == (0.02, 0.04, 2)


def test_unknown_costs_are_listed_by_tool_and_model_with_the_cure(monitor: Monitor) -> None:
    """Unknown is None, never $0.00; the report says whose price is missing and where to put it."""

    @monitored("chat")
    def chat(model: str) -> dict[str, object]:
        return {"model": model, "tokens_used": 10}

    chat("home-made-1")
    chat("home-made-1")
    chat("home-made-2")
    assert monitor.costs.unpriced() == [
        {"tool_name": "chat", "model": "home-made-1", "calls": 2, "tokens": 20},
        {"tool_name": "chat", "model": "home-made-2", "calls": 1, "tokens": 10},
    ]
    assert monitor.costs.by("tool")["chat"]["cost_usd"] is None
    assert monitor.costs.by("model")["home-made-1"]["unpriced"] == 2
    text = monitor.costs._text()
    assert "chat 2 calls (home-made-1), chat 1 call (home-made-2)" in text
    assert 'setup(prices={"home-made-1": {"input": ..., "output": ...}})' in text


def test_there_are_three_ways_to_look_and_any_tag() -> None:
    """An unknown grouping raises an error that lists the known ones."""
    with pytest.raises(ConfigurationError, match="give 'tool', 'model' or 'root', or a tag's key to by_tag"):
        CostTracker().by("customer")  # type: ignore[arg-type]
    assert CostTracker().by_tag("customer") == {}


def test_names_past_the_cap_share_one_row_and_totals_stay_exact(ended: Tools) -> None:
    """A flood of made-up models, tags and tools fills no memory and loses no nano-dollar."""
    tracker = CostTracker()
    many = MAX_NAMES + 500
    for n in range(many):
        tracker.write([ended(f"one of many: {n}", cost(0.000000001, model=f"model-{n}"), customer=str(n))])
    for rows in (tracker.by("tool"), tracker.by("model"), tracker.by("root")):
        assert len(rows) == MAX_NAMES + 1
        assert rows[OVERFLOW]["calls"] == 500
        assert sum(round(row["cost_usd"] * NANO) for row in rows.values()) == many
    assert {row["calls"] for row in tracker.by_tag("customer").values()} == {1}
    assert len(tracker.by_tag("customer")) == many


def test_tag_keys_and_unpriced_models_are_bounded(ended: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for keys made up at run time, and for models without a known price."""
    monkeypatch.setattr(context_tree, "MAX_NODES", 1_000)
    tracker = CostTracker()
    for n in range(3_000):
        tracker.write([ended("ocr", CallDetails(unsplit_tokens=1, model=f"m{n}"), **{f"key-{n}": "x"})])
    assert len(tracker._own.tag_keys()) == 1_000 + aggregator.MAX_TAG_KEYS
    unpriced = tracker.unpriced()
    assert len(unpriced) == MAX_NAMES + 1
    assert sum(row["calls"] for row in unpriced) == 3_000


def test_values_of_many_tags_are_bounded(ended: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags full of request ids take a bounded number of nodes and rows; the total of each key stays exact."""
    monkeypatch.setattr(aggregator, "MAX_TAG_VALUES", 100)
    monkeypatch.setattr(context_tree, "MAX_NODES", 50)
    tracker = CostTracker()
    for n in range(300):
        tracker.write([ended("ocr", cost(1), **{f"key-{k}": n for k in range(5)})])
    assert len(tracker._own.by_node) == 50 + 1
    tables = [tracker.by_tag(f"key-{k}") for k in range(5)]
    assert [len(rows) for rows in tables] == [100 + 1] * 5
    assert [sum(row["calls"] for row in rows.values()) for rows in tables] == [300] * 5


def test_what_closed_long_ago_is_forgotten_and_said_to_be(ended: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown is None, not the part that is left; the tables have it all the same."""
    monkeypatch.setattr(runs, "MAX_ROOTS", 10)
    monkeypatch.setattr(runs, "MAX_UNSORTED", 20)
    tracker = CostTracker()
    receipts = [ended("receipt") for _ in range(30)]
    for receipt in receipts:
        tracker.write([ended("ocr", cost(1), inside=receipt), receipt])
    assert tracker.of(receipts[0]) is None
    last = tracker.of(receipts[-1])
    assert last is not None
    assert last["cost_usd"] == 1
    assert tracker.by("root")["receipt"]["cost_usd"] == 30


def test_open_calls_without_end_are_bounded(ended: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for calls that never close makes room for others, and stays in the total."""
    monkeypatch.setattr(runs, "MAX_OPEN", 10)
    tracker = CostTracker()
    for _ in range(30):
        tracker.write([ended("ocr", cost(1), inside=ended("never closed"))])
    rows = tracker.by("root")
    assert {name: row["cost_usd"] for name, row in rows.items()} == {"never closed": 30}
    tracker._own.runs.sort()
    assert len(tracker._own.runs._runs) == 10


def test_motley_tags_inside_one_call_stay_exact(ended: Tools) -> None:
    """However many sets of tags there are inside one call, each call counts once for each tag."""
    tracker = CostTracker()
    workflow = ended("workflow", customer="acme")
    calls = [ended("ocr", cost(1), workflow, **{f"k{n % 7}": 1, f"l{n % 8}": 1, f"m{n % 9}": 1}) for n in range(504)]
    tracker.write([*calls, workflow])
    rows = tracker.by_tag("customer")
    assert sum(row["calls"] for row in rows.values()) == 505
    assert tracker.by_tag("k0")["1"]["calls"] == 72


def test_a_tracker_that_goes_on_keeps_what_is_still_inside_an_open_call() -> None:
    """`setup()` again while calls run: the same total, and the open call's part is there when it is asked for."""
    costs = CostTracker()
    setup(costs)
    with track("receipt") as receipt:
        with track("ocr") as call:
            call.record(cost=1)
        setup(costs)
        figures = costs.of(receipt)
    assert figures is not None
    assert figures["cost_usd"] == 1
    assert sum(row["cost_usd"] for row in costs.by("root").values()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_starts_from_nothing(monitor: Monitor) -> None:
    """What was counted before the fork is the parent's; nothing is counted in two processes."""
    with track("receipt", customer="acme") as call:
        call.record(cost=1, model="m")
    assert monitor.costs.by_tag("customer")["acme"]["cost_usd"] == 1
    pid = os.fork()
    if not pid:
        rows = [monitor.costs.by("model"), monitor.costs.by("root"), monitor.costs.by_tag("customer")]
        os._exit(int(any(rows) or bool(monitor.costs.roots())))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert monitor.costs.by("root")["receipt"]["runs"] == 1


def test_threads_and_readers_at_once_lose_nothing(monitor: Monitor) -> None:
    """Exact under any interleaving, with someone looking all the time."""

    @monitored("ocr")
    def ocr() -> dict[str, object]:
        return {"cost": 0.000000001, "model": "m", "tokens_used": 1}

    def work(customer: int) -> None:
        for _ in range(300):
            with track("receipt", customer=customer):
                ocr()
                ocr()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert all(row["calls"] >= row["runs"] for row in monitor.costs.by("root").values())
        for rows in (monitor.costs.by("model"), monitor.costs.by_tag("customer")):
            assert all(row["calls"] > 0 and row["tokens"] >= 0 for row in rows.values())  # as of one moment
    for worker in workers:
        worker.join()
    assert {name: row["tokens"] for name, row in monitor.costs.by_tag("customer").items()} == {
        str(n): 600 for n in range(4)
    }
    assert monitor.costs.by("model")["m"]["cost_usd"] == 2_400 / NANO
    assert monitor.costs.by("root")["receipt"]["runs"] == 1_200


def test_the_report_says_what_was_spent_on_models_and_tags_where_anything_was(monitor: Monitor) -> None:
    """One line a way of looking, the most expensive first; a tag that no money went to is left out."""
    for customer, cost_usd in (("acme", 0.25), ("globex", 0.5)):
        with track("receipt", customer=customer, page=1) as call:
            call.record(cost=cost_usd, model="m")
    with track("csv", rows=3):
        pass
    lines = monitor.costs._text().splitlines()
    assert "  by model: m $0.7500" in lines
    assert "  by customer: globex $0.5000, acme $0.2500" in lines
    assert "  by page: 1 $0.7500" in lines
    assert not any(line.startswith("  by rows") for line in lines)


def test_a_tag_called_like_what_stands_for_no_tag_loses_nothing() -> None:
    """A customer named `(none)` shares that line with the calls that have no customer; the total stays the total."""
    monitor = setup()
    for tags in ({"customer": "(none)"}, {"customer": "acme"}, {}):
        with track("ocr", **tags) as call:
            call.record(cost=1)
    rows = monitor.costs.by_tag("customer")
    assert {name: (row["cost_usd"], row["calls"]) for name, row in rows.items()} == {"(none)": (2, 2), "acme": (1, 1)}


def test_tags_that_come_late_reach_what_ended_before_however_many_they_are(monitor: Monitor) -> None:
    """A server tags each request once it knows the customer, after the first calls inside have ended.

    Seen red: with the late tags of only the last 4,096 calls remembered.
    """

    @monitored("login", cost=0.01)
    def login() -> None:
        """Find out who asks."""

    for n in range(5_000):
        with track("request") as call:
            login()
            call.record(customer=f"c{n % 2}")
    assert {name: row["calls"] for name, row in monitor.costs.by_tag("customer").items()} == {"c0": 5_000, "c1": 5_000}


def test_a_call_that_ends_last_counts_for_tags_that_came_late(monitor: Monitor) -> None:
    """It ends after the call around it, of which much has been added up before.

    Seen red: with late tags looked for only in what was not added up yet.
    """
    slow = track("slow")
    with track("agent") as call:
        for _ in range(runs.FOLD_AT):
            with track("search"):
                pass
        context = contextvars.copy_context()
        context.run(slow.__enter__)
        call.record(customer="acme")
    assert monitor.costs.by_tag("customer")["acme"]["calls"] == runs.FOLD_AT + 1
    context.run(slow.__exit__, None, None, None)
    assert {name: row["calls"] for name, row in monitor.costs.by_tag("customer").items()} == {"acme": runs.FOLD_AT + 2}


def test_sums_inside_a_deep_run_take_the_same_room_at_any_depth(ended: Tools) -> None:
    """What differs in no tag that can still change is one sum: a run 300 calls deep has 300 sums or so, not 45,000.

    Seen red: with a part for each node.
    """
    tracker = CostTracker()
    chain = [ended("agent", cost(1.0))]
    for depth in range(300):
        chain.append(ended(f"tool-{depth}", cost(1.0), inside=chain[-1], customer=f"c{depth % 2}"))
    chain[100]._add_tags({"region": "eu"})
    tracker.write(chain[::-1])
    assert tracker.by_tag("region")["eu"]["calls"] == 201
    assert {name: row["calls"] for name, row in tracker.by_tag("customer").items()} == {
        "(none)": 1,
        "c0": 150,
        "c1": 150,
    }
    families = tracker._own.runs._closed.values()
    assert len(families) >= 300
    assert max(len(family.parts) for family in families) <= 8


def test_a_late_tag_reaches_its_calls_past_a_thousand_others(ended: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first late tag finds calls that are not sorted yet.

    Seen red: with the calls of outermost ones that are not listed any more left out as without late tags.
    """
    monkeypatch.setattr(context_tree.ToolKey, "any_late", False)
    tracker = CostTracker()
    agent = ended("agent")
    search = ended("search", cost(1.0), inside=agent)
    tracker.write([search])
    agent._add_tags({"customer": "not used elsewhere"})
    tracker.write([agent, *(ended("ocr", cost(0.01)) for _ in range(runs.MAX_ROOTS))])
    assert tracker.by_tag("customer")["not used elsewhere"]["calls"] == 2


def test_a_call_inside_one_that_was_alone_when_it_closed_adds_to_it(monitor: Monitor) -> None:
    """The outermost call had been counted before anything ran in its context.

    Seen red: with only what came later in the answer.
    """
    with track("agent") as agent:
        agent.record(cost=1.0)
        context = contextvars.copy_context()
    assert monitor.costs.of(agent)["cost_usd"] == 1.0  # type: ignore[index]

    def search() -> None:
        with track("search") as call:
            call.record(cost=2.0)

    context.run(search)
    assert monitor.costs.of(agent)["cost_usd"] == 3.0  # type: ignore[index]


def test_a_call_with_nothing_inside_keeps_its_answer(monitor: Monitor) -> None:
    """Also if its number was made by somebody who asked for it after the call had closed.

    Seen red: with such a call taken for a forgotten one.
    """
    with track("agent"):
        with track("search") as search:
            search.record(cost=2.0)
        with track("ocr") as ocr:
            assert ocr.call_id
    assert len(monitor.costs.roots()) == 1
    assert search.call_id
    assert monitor.costs.of(search)["cost_usd"] == 2.0  # type: ignore[index]
    assert monitor.costs.of(ocr)["calls"] == 1  # type: ignore[index]


def test_sinks_that_outlive_several_setups_count_each_for_itself() -> None:
    """What two sinks take over from one setup belongs to neither.

    Seen red: with the statistics of a node taken over, not copied, so that each of the sinks added to them.
    """
    metrics, costs = MetricsCollector(), CostTracker()
    block, context = track("agent"), contextvars.copy_context()

    def search() -> None:
        with track("search") as call:
            call.record(cost=1.0)

    setup(metrics, costs)
    context.run(block.__enter__)
    for _ in range(3):
        context.run(search)
        setup(metrics, costs)
    context.run(block.__exit__, None, None, None)
    assert costs.by("tool")["search"]["calls"] == metrics.by_operation()["search"]["count"] == 3


def test_calls_from_another_process_keep_their_place(monitor: Monitor) -> None:
    """A tracker that is given unpickled calls sums them up by the outermost call, and by the tags around them.

    Seen red: with only a call's own tool and tags in the pickle.
    """

    class Sink:
        name = "pickles"

        def __init__(self) -> None:
            self.pickles: list[bytes] = []

        def write(self, calls: Sequence[ToolCall]) -> None:
            self.pickles.append(pickle.dumps(list(calls)))

        def flush(self) -> None:
            """Do nothing."""

        def close(self) -> None:
            """Do nothing."""

    sink = Sink()
    monitor = setup(sink)
    with track("agent", customer="acme"), track("search", page=1), track("ocr") as call:
        call.record(cost=1.0)
    monitor.flush()
    tracker = CostTracker()
    for calls in sink.pickles:
        tracker.write(pickle.loads(calls))
    assert {name: row["calls"] for name, row in tracker.by("root").items()} == {"agent": 3}
    assert {name: row["calls"] for name, row in tracker.by_tag("customer").items()} == {"acme": 3}
    assert tracker.by_tag("page")["1"]["cost_usd"] == 1.0


def test_keys_of_tags_are_safe_names(monitor: Monitor) -> None:
    """They are shown in the report, and so can hold no secret.

    Seen red: with the keys as they were given.
    """
    key = "sk-proj-" + "a1B2c3D4" * 6
    with track("agent", **{key: "x", "we\x1bird": "y"}) as call:
        call.record(cost=1.0)
    assert key not in monitor.costs.report()
    assert monitor.costs.by_tag("weird")["y"]["calls"] == 1
