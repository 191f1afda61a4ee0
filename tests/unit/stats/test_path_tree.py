"""The calling context as a tree: by the path of tools."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest

from toolweaver_monitor import MetricsCollector, Monitor, current_call, monitored, setup, track
from toolweaver_monitor._core import context_tree
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import ContextTree
from toolweaver_monitor._text.display import width
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.errors import ConfigurationError


@pytest.fixture
def monitor() -> Monitor:
    return setup()


KEY = context_tree.tool_key("ocr")


@monitored("search", cost=0.01)
def search() -> None:
    """Search."""


@monitored("agent", tags={"customer": "acme"})
def agent(searches: int) -> None:
    current_call().record(cost=0.5)
    for _ in range(searches):
        search()


def rows(monitor: Monitor) -> dict[str, tuple[int, int, float, float]]:
    """Return calls, errors, cost and own cost by path."""

    def walk(found: list[dict[str, object]], around: str) -> None:
        for one in found:
            path = f"{around}{one['tool_name']}"
            shown[path] = (one["calls"], one["errors"], one["cost_usd"], one["own_cost_usd"])  # type: ignore[assignment]
            walk(one["children"], f"{path} > ")  # type: ignore[arg-type]

    shown: dict[str, tuple[int, int, float, float]] = {}
    walk(monitor.tree().as_dict()["paths"], "")
    return shown


def test_a_call_stands_on_the_path_on_which_the_calls_inside_it_stand(monitor: Monitor) -> None:
    """An agent inside itself with another tag, and further in a step that an earlier turn of the agent had, too.

    Seen red: with `llm` in the step of the earlier turn, which looked as if calls had run at once.
    """
    tools = [("agent", 1), ("step", 0), ("agent", 2), ("check", 2), ("step", 0), ("llm", 0)]
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(track(tool, turn=turn)) for tool, turn in tools]
        calls[-1].record(cost=1.0)
    assert {path: row[2] for path, row in rows(monitor).items()} == {
        "agent": 1.0,
        "agent > step": 0.0,
        "agent > check": 1.0,
        "agent > check > step": 1.0,
        "agent > check > step > llm": 1.0,
    }


def test_money_stands_at_the_path_on_which_it_was_spent(monitor: Monitor) -> None:
    """The same tool inside another and by itself are two paths; a path's cost has all that ran inside.

    Seen red: with the cost of children left out of `PathStats.cost_nanousd`.
    """
    agent(3)
    agent(1)
    search()
    with track("agent", customer="globex") as call:
        search()
        call.fail("no result")
    assert rows(monitor) == {
        "agent": (3, 1, 1.05, 1.0),
        "agent > search": (5, 0, 0.05, 0.05),
        "search": (1, 0, 0.01, 0.01),
    }


def test_a_tool_inside_itself_counts_at_the_place_where_it_stands_first(monitor: Monitor) -> None:
    """Recursion makes no endless path, and its time is not counted twice.

    Seen red: without `Node.again`, whose calls then make a path of five.
    """

    @monitored("solve", cost=0.01)
    def solve(depth: int) -> None:
        if depth:
            search()
            solve(depth - 1)

    solve(4)
    assert rows(monitor) == {"solve": (5, 0, 0.09, 0.05), "solve > search": (4, 0, 0.04, 0.04)}
    solved = monitor.tree().root.children["solve"]
    assert not solved.is_concurrent
    assert 0 < solved.own_s < solved.time_s


def test_own_time_is_what_the_calls_inside_leave_and_never_below_zero(monitor: Monitor) -> None:
    """Calls that ran at once take more time together than the call around them; the tree notes that."""

    @monitored("wait")
    async def wait() -> None:
        await asyncio.sleep(0.05)

    @monitored("gather")
    async def gather() -> None:
        await asyncio.gather(*(wait() for _ in range(5)))

    asyncio.run(gather())
    gathered = monitor.tree().root.children["gather"]
    assert gathered.is_concurrent
    assert gathered.own_s == 0
    assert "gather *" in str(monitor.tree())
    assert "ran at once" in str(monitor.tree())


def test_folded_stacks_carry_what_is_each_paths_own(monitor: Monitor) -> None:
    """Flame-graph viewers add up what is inside by themselves; a semicolon in a name cannot split a path."""
    agent(2)
    with track("a;b\n"):
        search()
    assert monitor.tree().folded() == "agent 500000000\nagent;search 20000000\na,b;search 10000000"
    assert monitor.tree().folded("calls") == "agent 1\nagent;search 2\na,b 1\na,b;search 1"
    assert all(int(line.rpartition(" ")[2]) >= 0 for line in monitor.tree().folded("time").splitlines())
    with pytest.raises(ConfigurationError, match="give 'cost', 'time' or 'calls'"):
        monitor.tree().folded("tokens")  # type: ignore[arg-type]


def test_the_text_fits_a_terminal_and_shows_the_heaviest_paths(monitor: Monitor) -> None:
    """Eighty columns, the most expensive first, with their parents; control characters are visible."""
    for n in range(60):
        with track(f"tool-{n:02} with a name that is longer than a column"), track("inner") as call:
            call.record(cost=n + 1)
    lines = str(monitor.tree()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[0] == "tool-59"
    assert lines[-1] == "  and 70 more paths: text(limit=None) shows all"
    assert len(monitor.tree().text(None).splitlines()) == 1 + 120
    assert "\x1b" not in str(setup().tree())
    assert str(setup().tree()) == "  no call has ended yet"


def test_the_report_has_the_tree_if_tools_ran_inside_others(
    monitor: Monitor, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flat program needs no tree."""
    search()
    assert "Where it went" not in monitor.report()
    agent(1)
    assert "Where it went" in monitor.report()
    capsys.readouterr()


def test_a_flood_of_paths_and_tags_is_bounded_and_totals_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a call counts at the overflow path of its tool, and its tags where they belong.

    Seen red: with the tags of overflow nodes not counted; with nodes beyond the limit kept in the tree.
    """
    monkeypatch.setattr(context_tree, "MAX_NODES", 20)
    monitor = setup()
    for n in range(100):
        with track(f"agent-{n}"), track("agent", customer=f"c{n}"):
            search()
    shown = rows(monitor)
    assert sum(row[0] for row in shown.values()) == 300
    assert shown[f"{OVERFLOW} > search"][0] == shown[f"{OVERFLOW} > agent"][0] + 1 == 94
    by_customer = monitor.costs.by_tag("customer")
    assert by_customer.pop("(none)")["calls"] == 100
    assert len(by_customer) == 100
    assert {row["calls"] for row in by_customer.values()} == {2}
    assert monitor.costs.by("tool")["search"]["cost_usd"] == 1.0
    assert monitor.metrics.by_operation()["agent"]["count"] == 100


def test_a_flood_of_tags_leaves_the_paths_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit for tags of single calls, a call counts at its path without them, and for its tags all the same.

    Seen red: with the tags of calls without a node of their own not counted.
    """
    monkeypatch.setattr(context_tree, "MAX_TAGGED_NODES", 10)
    monitor = setup()
    for n in range(100):
        with track("agent", customer=f"c{n}", team="a") as call:
            search()
            call.record(team="b", page=n)
            agent(1)
    assert {path: row[0] for path, row in rows(monitor).items()} == {"agent": 200, "agent > search": 200}
    assert {name: row["calls"] for name, row in monitor.costs.by_tag("team").items()} == {"b": 400}
    by_customer = monitor.costs.by_tag("customer")
    assert {row["calls"] for name, row in by_customer.items() if name != "acme"} == {2}
    assert by_customer["acme"]["calls"] == 200
    assert {row["calls"] for row in monitor.costs.by_tag("page").values()} == {4}


def test_two_threads_make_one_node_for_one_place() -> None:
    """Get-then-assign would make two now and then, and count the calls of one apart.

    Seen red: with `children[key] = node` in the place of `setdefault`.
    """
    for _ in range(300):
        tree = context_tree.ContextTree()
        start = threading.Barrier(2)
        found: list[object] = []

        def place(
            root: context_tree.Node = tree.root, start: threading.Barrier = start, found: list[object] = found
        ) -> None:
            start.wait()
            found.append(root.child(KEY))

        threads = [threading.Thread(target=place) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found[0] is found[1]


def test_values_of_tags_that_are_equal_and_of_other_types_are_told_apart(monitor: Monitor) -> None:
    """1, 1.0 and True are three labels, as the text of each shows."""
    for value in (1, 1.0, True, "1"):
        with track("ocr", page=value):
            pass
    assert {name: row["calls"] for name, row in monitor.costs.by_tag("page").items()} == {"1": 2, "1.0": 1, "True": 1}


def test_a_tree_is_plain_data_and_works_without_setup() -> None:
    """The tree of a collector that is used alone has the calls recorded by hand."""
    metrics = MetricsCollector()
    metrics.record("ocr", 0.5, cost=0.1)
    tree = metrics._tree()
    assert json.loads(json.dumps(tree.as_dict()))["paths"][0]["cost_usd"] == 0.1
    assert repr(tree) == "<PathTree: 1 paths>"


def test_tools_inside_each_other_have_their_own_time() -> None:
    """Two tools that call each other take turns: the own times of both add up to the time of the outermost call.

    Seen red: with the time of a repeated tool taken from the place where it stands first, not from the tool around it.
    """
    tree, calls = ContextTree(), []
    node = tree.root
    for depth, tool in enumerate(("agent", "search", "agent", "search")):
        node = node.child(context_tree.tool_key(tool))
        calls.append(ToolCall(tool, "success", 10.0 - depth, _node=node))
    tracker = MetricsCollector()
    tracker.write(calls)
    shown = dict(tracker._tree().root.walk())
    assert {path: stats.own_s for path, stats in shown.items()} == {("agent",): 2.0, ("agent", "search"): 8.0}
    assert not any(stats.is_concurrent for stats in shown.values())


def test_a_tool_inside_itself_with_other_tags_is_at_the_same_path(monitor: Monitor) -> None:
    """A recursion that tags each level must not make a path as deep as itself, which no program could draw.

    Seen red: with only nodes of equal tags put at the place where a tool stands first.
    """

    def visit(depth: int) -> None:
        if depth:
            with track("visit", depth=depth) as call:
                call.record(cost=0.01)
                visit(depth - 1)

    visit(300)
    assert rows(monitor) == {"visit": (300, 0, 3.0, 3.0)}


def test_more_tools_inside_each_other_than_the_stack_is_deep(monitor: Monitor) -> None:
    """The text of the tree is made without recursion.

    Seen red: with a `walk` and a cost that descend by calling themselves.
    """
    with contextlib.ExitStack() as stack:
        for depth in range(1_200):
            stack.enter_context(track(f"tool-{depth}")).record(cost=0.001)
    tree = monitor.tree()
    assert tree.root.cost_nanousd == 1_200_000_000
    assert "tool-1199" in tree.text(limit=None)
    assert tree.folded().endswith("tool-1199 1000000")


def test_wide_letters_keep_the_line(monitor: Monitor) -> None:
    """A terminal shows a Chinese letter in two columns.

    Seen red: with names cut by their letters.
    """
    with track("搜索" * 30), track("é" * 90) as call:
        call.record(cost=12_345.5)
    lines = str(monitor.tree()).splitlines()
    assert max(map(width, lines)) <= 80
    assert len({width(line) for line in lines[1:3]}) == 1


def test_tags_that_are_only_equal_are_told_apart_in_a_recursion(monitor: Monitor) -> None:
    """In Python 1 equals True; as the values of a tag they are two.

    Seen red: with the tags of a repeated tool compared by `==`.
    """
    with track("agent", page=1), track("search"), track("ocr", page=True), track("search"), track("parse"):
        pass
    assert {name: row["calls"] for name, row in monitor.costs.by_tag("page").items()} == {"1": 2, "True": 3}


def test_outermost_calls_beyond_the_limit_are_counted_as_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs` of all names together is the number of outermost calls.

    Seen red: with the runs of calls without a node of their own left out.
    """
    monkeypatch.setattr(context_tree, "MAX_NODES", 10)
    monitor = setup()
    for n in range(20):
        with track(f"flood-{n}"):
            search()
    by_root = monitor.costs.by("root")
    assert sum(row["runs"] for row in by_root.values()) == 20
    assert by_root[OVERFLOW]["runs"] >= 15


def test_tags_of_the_setup_leave_the_limits_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `setup(tags=...)`, tags of single calls do not take the places that tools need.

    Seen red: with the tags of the setup and of the call merged into one key of the tool.
    """
    monkeypatch.setattr(context_tree, "MAX_TAGGED_NODES", 10)
    monkeypatch.setattr(context_tree, "MAX_NODES", 50)
    monitor = setup(tags={"stage": "test"})
    for n in range(100):
        with track("agent", customer=f"c{n}"):
            pass
    assert {name: row["runs"] for name, row in monitor.costs.by("root").items()} == {"agent": 100}
    assert len(monitor.costs.by_tag("customer")) == 100
    assert monitor.costs.by_tag("stage")["test"]["calls"] == 100


def test_a_flood_of_names_before_leaves_a_tool_with_tags_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has seen more names than there are keys for gives tools their places all the same.

    Seen red: with no key interned any more at the limit, every call had a node of its own.
    """
    monkeypatch.setattr(context_tree, "MAX_KEYS", 100)
    monkeypatch.setattr(context_tree, "MAX_NODES", 50)
    monkeypatch.setattr(context_tree, "_keys", {})
    for n in range(100):
        context_tree.tool_key(f"made up {n}")
    monitor = setup(tags={"stage": "test"})
    for _ in range(100):
        with track("agent"):
            pass
    assert {name: row["runs"] for name, row in monitor.costs.by("root").items()} == {"agent": 100}
