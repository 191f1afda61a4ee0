"""`limit_repeats`: a tool that is called with the same arguments again and again is stopped."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_kit import Clock

from toolweaver_monitor import Budget, BudgetExceeded, instrument, monitored, setup, track, uninstrument
from toolweaver_monitor._budget import Ledger, repeats
from toolweaver_monitor._budget.repeats import compute_digest
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import ConfigurationError


@monitored("search")
def search(query: Any, count: int = 3) -> str:
    return f"{count} results"


@monitored("failing")
def fail(query: str) -> None:
    raise ValueError(query)


class Browser:
    """An object whose calls an agent repeats."""

    @monitored("open")
    def open(self, address: str) -> str:
        return address


def run(times: int, tool: Any, *args: Any, **kwargs: Any) -> int:
    """Return how many calls ran."""
    ran = 0
    for _ in range(times):
        try:
            tool(*args, **kwargs)
            ran += 1
        except ValueError:
            ran += 1
        except BudgetExceeded:
            pass
    return ran


def test_the_sixth_call_with_the_same_arguments_is_refused() -> None:
    """Five run, whatever the query before; the error tells what to do.

    Seen red: with the calls counted when they were refused; with those of all tools counted together.
    """
    monitor = setup(budget=Budget(limit_repeats=5))
    with track("agent"):
        assert run(10, search, "weather") == 5
        assert run(10, search, "weather in Rome") == 5
        assert run(5, fail, "weather") == 5
        with pytest.raises(BudgetExceeded) as caught:
            search("weather")
    assert str(caught.value) == (
        "budget 'repeats/run' exceeded: call to 'search' rejected (it ran 5 times with the same arguments); "
        "call it with other arguments or raise limit_repeats"
    )
    error = caught.value
    assert (error.unit, error.limit, error.spent, error.asked, error.frees_in_s) == ("repeats", 5, 5, 1, None)
    (entry,) = monitor.health()["budgets"]
    assert (entry["unit"], entry["limit"], entry["rejections"]) == ("repeats", 5, 11)


def test_failed_calls_are_repeats_too() -> None:
    """An agent that tries again what fails is in a loop as well."""
    setup(budget=Budget(limit_repeats=3))
    with track("agent"):
        assert run(5, fail, "weather") == 3


@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
def test_every_kind_of_function_is_limited(kind: str) -> None:
    """Coroutines, generators and async generators as plain functions."""

    @monitored("plain")
    async def coroutine(query: str) -> None:
        pass

    @monitored("generator")
    def generator(query: str) -> Any:
        yield query

    @monitored("async generator")
    async def async_generator(query: str) -> Any:
        yield query

    async def drain(query: str) -> None:
        async for _ in async_generator(query):
            pass

    steps = {
        "coroutine": lambda: asyncio.run(coroutine("q")),
        "generator": lambda: list(generator("q")),
        "async generator": lambda: asyncio.run(drain("q")),
    }
    setup(budget=Budget(limit_repeats=2))
    assert run(4, steps[kind]) == 2


def test_each_trace_counts_for_itself() -> None:
    """Another outermost call may ask the same; depth inside one does not matter. Seen red: with one count for all."""
    setup(budget=Budget(limit_repeats=2))
    for _ in range(3):
        with track("agent"), track("step"):
            assert run(1, search, "weather") == 1
            with track("deeper"):
                assert run(3, search, "weather") == 1


def test_outermost_calls_count_within_the_window() -> None:
    """Without a call around them they count per run, or in the last minute, which frees one after the other."""
    clock = Clock()
    ledger = Ledger([Budget(limit_repeats=2, per="minute")], now=clock)

    def admitted() -> bool:
        try:
            ledger.admit(ToolCall("search"), None, b"digest")
        except BudgetExceeded as refusal:
            waits.append(refusal.frees_in_s)
            return False
        return True

    waits: list[float | None] = []
    assert [admitted(), admitted(), admitted()] == [True, True, False]
    clock.now_s += 59
    assert not admitted()
    clock.now_s += 1.1
    assert [admitted(), admitted(), admitted()] == [True, True, False]
    assert waits[:2] == [60.0, 1.0]
    setup(budget=Budget(limit_repeats=2))
    assert run(4, search, "weather") == 2


def test_outermost_calls_of_a_new_month_begin_anew() -> None:
    """The calendar month counts for repeats as for money."""
    clock = Clock()
    clock.now_s = 1_769_900_000.0  # 31 January 2026, 22:53 UTC
    ledger = Ledger([Budget(limit_repeats=1, per="month")], wall_s=clock)
    ledger.admit(ToolCall("search"), None, b"digest")
    with pytest.raises(BudgetExceeded) as caught:
        ledger.admit(ToolCall("search"), None, b"digest")
    assert caught.value.frees_in_s == 1_769_904_000.0 - clock.now_s
    clock.now_s += caught.value.frees_in_s
    ledger.admit(ToolCall("search"), None, b"digest")


def test_a_method_is_the_same_for_every_object() -> None:
    """`self` is left out: an agent that makes its client anew is in the same loop. Seen red: with `self` looked at."""
    setup(budget=Budget(limit_repeats=2))
    with track("agent"):
        assert sum(run(1, Browser().open, "example.org") for _ in range(4)) == 2


def test_an_instrumented_executor_is_limited_by_tool_and_arguments() -> None:
    """What `instrument()` patches counts each tool that it runs."""

    class Orchestrator:
        def execute_tool(self, name: str, arguments: dict[str, Any]) -> str:
            return name

    orchestrator = Orchestrator()
    instrument(orchestrator)
    try:
        setup(budget=Budget(limit_repeats=2))
        with track("agent"):
            assert run(3, orchestrator.execute_tool, "search", {"q": "a", "n": 1}) == 2
            assert run(3, orchestrator.execute_tool, "search", {"n": 1, "q": "a"}) == 0
            assert run(3, orchestrator.execute_tool, "read", {"q": "a", "n": 1}) == 2
    finally:
        uninstrument(orchestrator)


def test_a_block_is_never_a_repeat() -> None:
    """What a block does is not in its arguments."""
    setup(budget=Budget(limit_repeats=1))
    with track("agent"):
        for page in range(3):
            with track("page", number=page):
                pass


def test_a_scope_limits_only_its_tool_and_its_customer() -> None:
    """`tool=` and `tag=` choose the calls; each customer counts for its own."""
    setup(budget=[Budget(limit_repeats=1, tool="search"), Budget(limit_repeats=2, tag="customer")])
    with track("agent", customer="acme"):
        assert run(3, search, "weather") == 1
        assert run(3, Browser().open, "example.org") == 2
    with track("agent"):
        assert run(3, Browser().open, "example.org") == 3


def test_a_call_that_another_budget_refuses_is_not_counted() -> None:
    """All budgets are charged, or none. Seen red: with repeats counted before the others were asked."""
    monitor = setup(budget=[Budget(limit_repeats=2), Budget(limit_calls=1, name="calls", tool="search")])
    with track("agent"):
        assert run(3, search, "weather") == 1
        monitor.budgets["calls"].raise_to(9)
        assert run(3, search, "weather") == 1


def test_a_refused_repeat_charges_nothing() -> None:
    """Money that another limit had set aside is given back."""
    monitor = setup(budget=Budget(limit_usd=1, reserve=0.10, limit_repeats=1, name="all"))
    with track("agent"):
        assert run(3, search, "weather") == 1
    assert monitor.budgets["all usd"].remaining() == 1.0
    assert [entry["reserved"] for entry in monitor.health()["budgets"]] == [0, 0]


def test_a_loop_can_be_warned_of_or_decided_on(caplog: pytest.LogCaptureFixture) -> None:
    """`on_exceed` works as for every other limit."""
    monitor = setup(budget=Budget(limit_repeats=2, on_exceed="warn"))
    with track("agent"):
        assert run(4, search, "weather") == 4
    assert monitor.health()["budgets"][0]["overruns"] == 2
    assert len([1 for record in caplog.records if "it ran 2 times" in record.message]) == 1
    setup(budget=Budget(limit_repeats=2, on_exceed=lambda refusal: refusal.spent < 4))
    with track("agent"):
        assert run(9, search, "weather") == 4


def test_a_limit_of_repeats_can_be_raised() -> None:
    """As any other."""
    monitor = setup(budget=Budget(limit_repeats=1, name="loop"))
    with track("agent"):
        assert run(3, search, "weather") == 1
        monitor.budgets["loop"].raise_to(3)
        assert run(5, search, "weather") == 2


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "5", 1_001])
def test_a_limit_of_repeats_is_a_small_whole_number(bad: Any) -> None:
    """From 1 to 1,000."""
    with pytest.raises(ConfigurationError, match="give one from 1 to 1,000"):
        Budget(limit_repeats=bad)
    with pytest.raises(ConfigurationError, match="needs a limit to spend"):
        Budget(limit_repeats=1, warn_at=0.5)


def test_at_most_a_thousand_traces_and_digests_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recent is forgotten, so memory is bounded however many arguments and traces there are."""
    monkeypatch.setattr(repeats, "MAX_DIGESTS", 3)
    monkeypatch.setattr(repeats, "MAX_TRACES", 2)
    ledger = setup(budget=Budget(limit_repeats=1))._components.ledger
    assert ledger is not None
    counter = ledger.scopes[0]._repeats
    for _ in range(4):
        with track("agent"):
            for number in range(5):
                assert run(2, search, number) == 1
            assert run(1, search, 4) == 0
            assert run(1, search, 0) == 1
    for number in range(9):
        assert run(2, search, number) == 1
    assert len(counter._traces) == 2
    assert max(map(len, counter._traces.values())) == 3
    assert len(counter._outermost) == 3


# --- digests --------------------------------------------------------------------------------------------------------


def digest(*args: Any, **kwargs: Any) -> bytes | None:
    return compute_digest("search", ("query", "count"), args, kwargs)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def shape(value: Any) -> Any:
    """The value with its types, so that 1, 1.0 and True differ, and each NaN equals itself."""
    if type(value) in (list, tuple):
        return type(value), [shape(one) for one in value]
    if type(value) is dict:
        return dict, sorted((key, shape(one)) for key, one in value.items()) if len(value) < 2 else {
            key: shape(one) for key, one in value.items()
        }
    return type(value), repr(value)


@given(values, values)
def test_two_arguments_have_one_digest_only_if_they_are_equal(one: Any, other: Any) -> None:
    """Types count, and the order in which a dict was filled does not."""
    first, second = digest(one), digest(other)
    if first is not None and second is not None:
        assert (first == second) == (shape(one) == shape(other))
    if type(one) is dict:
        assert digest(dict(reversed(one.items()))) == first


def test_an_argument_is_the_same_by_position_and_by_name() -> None:
    """But another one under another name is not."""
    assert digest("a", 5) == digest("a", count=5) == digest(count=5, query="a")
    assert len({digest("a", 5), digest("a"), digest(5, "a"), digest("a", other=5), digest("a", 5, 5)}) == 5


class Text(str):
    """A string whose methods are the user's."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        raise AssertionError

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    def __lt__(self, other: object) -> bool:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


class Whole(int):
    """A number whose methods are the user's."""

    def bit_length(self) -> int:
        raise AssertionError


def nested(depth: int) -> Any:
    return 1 if not depth else [nested(depth - 1)]


@pytest.mark.parametrize(
    "argument",
    [
        object(), Text("a"), Whole(5), [Text("a")], {Text("a"): 1}, {"a": Text("a")}, {"a", "b"}, bytearray(b"a"),
        memoryview(b"a"), 1j, ..., range(3), nested(5), {"a": nested(4)}, "a" * 65_537, b"a" * 65_537, 1 << 600_000,
        [None] * 65_537, ["a" * 40_000, "b" * 40_000], [["a" * 40_000], ["b" * 40_000]], {(1, 2): 3}, {1: 2, "a": 3},
    ],
    ids=lambda argument: f"{type(argument).__name__}",
)  # fmt: skip
def test_what_is_not_plain_too_deep_or_too_large_is_never_a_repeat(argument: Any) -> None:
    """No method of the user's is run to find out."""
    assert digest(argument) is None
    assert compute_digest("search", (), (argument,), {}) is None
    assert compute_digest("search", (), (), {"query": argument}) is None
    setup(budget=Budget(limit_repeats=1))
    assert run(2, search, argument) == 2


def test_the_deepest_and_the_largest_that_count() -> None:
    """Four levels and nearly 64 KiB are looked at."""
    assert digest(nested(4)) is not None
    assert digest("a" * 65_000) is not None
    assert digest(["a" * 30_000, ["b" * 30_000]]) is not None


def test_the_work_on_large_arguments_is_bounded() -> None:
    """A list of lists of one long text, 60 GB written out, takes less than 1 MiB. Seen red: without the sum."""
    large = [["a" * 60_000] * 1_000] * 1_000
    tracemalloc.start()
    try:
        assert digest(large) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_list_inside_itself_is_never_a_repeat() -> None:
    """It is deeper than any limit."""
    loop: list[Any] = []
    loop.append(loop)
    assert digest(loop) is None


def test_arguments_cannot_be_guessed_from_a_digest() -> None:
    """The digest is keyed: the same arguments have another one in another process."""
    code = "from toolweaver_monitor._budget.repeats import compute_digest as d; print(d('t', (), ('a',), {}).hex())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = compute_digest("t", (), ("a",), {})
    assert here is not None
    assert len(there) == 32
    assert there != here.hex()


def test_without_a_limit_of_repeats_no_argument_is_looked_at() -> None:
    """Calls then open on the short path, as without budgets."""
    monitor = setup(budget=Budget(limit_usd=1))
    assert (bus.policy.digest, bus.policy.needs_slow_open) == (None, False)
    assert monitor._components.ledger is not None
    assert monitor._components.ledger._only is not None
