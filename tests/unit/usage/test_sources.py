"""The sources of a call's cost, in their order, and that none is counted twice."""

from __future__ import annotations

import copy
import functools
import operator
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from decimal import Decimal, Inexact, localcontext
from typing import Any

import pytest

from toolweaver_monitor import (
    Budget,
    BudgetExceeded,
    ToolCall,
    Usage,
    current_call,
    instrument,
    monitored,
    setup,
    track,
    uninstrument,
)
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.testing import ToolRecorder

PRICES = {
    "gpt-4o": {"input": 2.50, "output": 10.00},
    "cached": {"input": 2.00, "cached_input": 1.00, "output": 10.00},
    "page-reader": {"per_call": 0.002},
}
MODEL_CALL = {"model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}  # $0.0035


def only_call(function: Any, **settings: Any) -> ToolCall:
    with ToolRecorder(prices=PRICES, **settings) as recorder:
        function()
        calls = recorder.calls()
    assert len(calls) == 1
    return calls[0]


@pytest.mark.parametrize(
    ("answer", "source", "invalid"),
    [
        (lambda _: None, "priced", (0, 0)),  # found nothing: the result speaks for itself
        (lambda _: Usage(), None, (0, 0)),  # found that there was nothing
        (lambda _: 1 / 0, None, (0, 1)),  # a reader of the user's own that fails is not replaced by another
        (lambda _: "much", None, (1, 0)),
    ],
    ids=["none", "empty", "raises", "text"],
)
def test_a_reader_that_finds_nothing_leaves_it_to_the_result(
    answer: Any, source: Any, invalid: tuple[int, int]
) -> None:
    """`usage=` goes before the result if it returns a `Usage`; None means that it found none."""
    before = Diagnostics.invalid_values, Diagnostics.extractor_errors
    call = only_call(monitored("chat", usage=answer)(lambda: MODEL_CALL))
    assert (call.cost_source, call.model) == ((source, "gpt-4o") if source else (None, None))
    assert (Diagnostics.invalid_values - before[0], Diagnostics.extractor_errors - before[1]) == invalid


def cost(call: ToolCall) -> tuple[float | None, str | None]:
    return call.cost_usd, call.cost_source


def test_each_source_goes_before_those_after_it_and_none_is_added_to_another() -> None:
    """record(), then usage=, then the result, then cost=, then the price table: the first that is there counts."""

    def tool(recorded: bool, used: bool, reported: bool, declared: bool) -> ToolCall:
        @monitored(
            "tool",
            cost=0.04 if declared else None,
            usage=(lambda _: Usage(cost=0.02, model="gpt-4o", input_tokens=1_000)) if used else None,
        )
        def run() -> dict[str, Any]:
            if recorded:
                current_call().record(cost=0.01)
            return MODEL_CALL | ({"cost": 0.03} if reported else {})

        return only_call(run)

    assert cost(tool(True, True, True, True)) == (0.01, "reported")
    assert cost(tool(False, True, True, True)) == (0.02, "reported")
    assert cost(tool(False, False, True, True)) == (0.03, "reported")
    assert cost(tool(False, False, False, True)) == (0.04, "declared")
    assert cost(tool(False, False, False, False)) == (0.0035, "priced")


def test_a_declared_cost_is_charged_for_a_success_only() -> None:
    """What failed did not deliver what it costs, unless it recorded what it had spent."""

    @monitored("tool", cost=0.04)
    def fails(spent: float | None = None) -> None:
        current_call().record(cost=spent)
        raise ConnectionError

    def failing(spent: float | None = None) -> Any:
        def run() -> None:
            with pytest.raises(ConnectionError):
                fails(spent)

        return run

    assert cost(only_call(failing())) == (None, None)
    assert cost(only_call(failing(0.01))) == (0.01, "reported")


def test_a_tool_in_the_table_costs_its_price_by_the_call() -> None:
    """No model, no tokens: its name is enough, for budgets, too, and before it runs."""

    @monitored("page-reader")
    def read() -> str:
        return "text"

    assert cost(only_call(read)) == (0.002, "priced")
    with ToolRecorder(prices=PRICES, budget=Budget(limit_usd=0.005)) as recorder:
        for _ in range(4):
            with suppress(BudgetExceeded):
                read()
        assert [call.outcome for call in recorder.calls()] == ["success", "success", "rejected", "rejected"]

    @monitored("page-reader")
    def fails() -> None:
        raise ConnectionError

    def failing() -> None:
        with pytest.raises(ConnectionError):
            fails()

    assert cost(only_call(failing)) == (None, None)


def test_a_call_with_tokens_or_a_model_and_no_price_is_unpriced_and_one_with_neither_is_not() -> None:
    """Unknown is unknown; what has nothing to do with money is not unknown."""
    with ToolRecorder(prices=PRICES) as recorder:
        with track("tokens") as call:
            call.record(tokens=10)
        with track("model") as call:
            call.record(model="gpt-4o")  # no tokens: its cost cannot be known
        with track("plain"):
            pass
        with track("tagged", customer="acme"):
            pass
        summary = recorder.monitor.summary()
        assert summary["unpriced_calls"] == 2
        assert [row["tool_name"] for row in recorder.monitor.costs.unpriced()] == ["model", "tokens"]
        assert recorder.monitor.metrics.operations[0]["cost"] == 0.0  # users sum it


def test_an_orchestrator_that_hands_on_the_result_of_a_tool_counts_its_money_once() -> None:
    """The very object that an inner call has read is not read again, however many calls it goes up through."""

    @monitored("ocr")
    def ocr() -> dict[str, Any]:
        return dict(MODEL_CALL)

    @monitored("page")
    def page() -> dict[str, Any]:
        return ocr()

    class Orchestrator:
        def execute_tool(self, tool_name: str) -> dict[str, Any]:
            return page()

    instrument(Orchestrator)
    try:
        with ToolRecorder(prices=PRICES) as recorder:
            Orchestrator().execute_tool("receipts")
            tools = [call.tool_name for call in recorder.calls()]
            assert tools == ["ocr", "page", "receipts"]
            assert recorder.monitor.summary()["total_cost_usd"] == 0.0035
            assert recorder.monitor.summary()["total_tokens"] == 1_100
            assert recorder.monitor.costs.by("tool")["page"]["cost_usd"] == 0
            assert recorder.monitor.costs.by("root")["receipts"]["cost_usd"] == 0.0035
    finally:
        uninstrument(Orchestrator)


def test_an_agent_that_hands_on_the_best_of_several_answers_counts_each_once() -> None:
    """Whichever of them it returns."""

    @monitored("chat")
    def chat() -> dict[str, Any]:
        return dict(MODEL_CALL)

    @monitored("best_of")
    def best_of(n: int, best: int) -> dict[str, Any]:
        return [chat() for _ in range(n)][best]

    for best in (0, 15, 29):
        with ToolRecorder(prices=PRICES) as recorder:
            best_of(30, best)
            assert recorder.monitor.summary()["total_cost_usd"] == 30 * 0.0035


def test_retries_cost_what_each_attempt_costs() -> None:
    """Three attempts that the provider bills are three costs; one that failed before it was billed is none."""

    @monitored("ocr")
    def ocr(attempt: int) -> dict[str, Any]:
        current_call().record(attempt=attempt)
        if attempt < 3:
            current_call().record(**{"input_tokens": 1_000, "model": "gpt-4o"} if attempt == 2 else {})
            raise ConnectionError
        return MODEL_CALL

    with ToolRecorder(prices=PRICES) as recorder:
        for attempt in (1, 2, 3):
            try:
                ocr(attempt)
            except ConnectionError:
                pass
        assert [call.cost_usd for call in recorder.calls()] == [None, 0.0025, 0.0035]
        row = recorder.monitor.costs.by("tool")["ocr"]
        assert (row["cost_usd"], row["operations"], row["retries"]) == (0.006, 1, 2)


def test_a_stream_counts_its_last_word_once_and_a_record_while_it_runs_goes_before_it() -> None:
    """Chunks that repeat the usage so far are not added up; what the tool records itself takes precedence."""

    def chunks() -> list[dict[str, Any]]:
        return [
            {"id": "1", "model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": n}}
            for n in (1, 50, 100)
        ]

    @monitored("chat")
    def stream(recorded: bool) -> Iterator[dict[str, Any]]:
        if recorded:
            current_call().record(input_tokens=10, output_tokens=1)
        yield from chunks()

    assert cost(only_call(lambda: list(stream(False)))) == (0.0035, "priced")
    call = only_call(lambda: list(stream(True)))
    assert (call.tokens, call.cost_usd) == (11, 0.000035)


@pytest.mark.parametrize("way", ["loop", "yield from", "last", "list"])
def test_a_stream_that_is_handed_on_counts_once(way: str) -> None:
    """An orchestrator that forwards the chunks of a monitored tool, or returns the last of them, adds no money."""

    @monitored("chat")
    def chat() -> Iterator[dict[str, Any]]:
        for output in (1, 50, 100):
            yield {"id": "1", "model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": output}}

    @monitored("orchestrator")
    def forward() -> Iterator[Any]:
        if way == "loop":
            for chunk in chat():
                current_call().record(chunks=chunk["id"])
                yield chunk
        elif way == "yield from":
            yield from chat()
        else:
            yield from list(chat())

    @monitored("collector")
    def last() -> Any:
        return list(chat())[-1]

    with ToolRecorder(prices=PRICES) as recorder:
        if way == "last":
            last()
        else:
            assert len(list(forward())) == 3
        assert recorder.monitor.summary()["total_tokens"] == 1_100
        assert recorder.monitor.summary()["total_cost_usd"] == 0.0035


async def test_an_async_stream_that_is_handed_on_counts_once() -> None:
    """The same for async generators, two deep."""

    @monitored("chat")
    async def chat() -> AsyncIterator[dict[str, Any]]:
        for output in (1, 50, 100):
            yield {"id": "1", "model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": output}}

    @monitored("step")
    async def step() -> AsyncIterator[dict[str, Any]]:
        async for chunk in chat():
            yield chunk

    @monitored("orchestrator")
    async def forward() -> AsyncIterator[dict[str, Any]]:
        async for chunk in step():
            yield chunk

    with ToolRecorder(prices=PRICES) as recorder:
        assert len([chunk async for chunk in forward()]) == 3
        assert recorder.monitor.summary()["total_cost_usd"] == 0.0035


def test_a_stream_whose_items_are_not_to_be_read_is_left_alone() -> None:
    """`usage=False` holds for generators, too."""

    @monitored("chat", usage=False)
    def chat() -> Iterator[dict[str, Any]]:
        yield {"cost": 0.5}

    assert cost(only_call(lambda: list(chat()))) == (None, None)


def test_a_stream_that_is_dropped_counts_what_it_had_used() -> None:
    """The consumer went away: what came so far was paid for."""

    @monitored("chat")
    def stream() -> Iterator[dict[str, Any]]:
        yield {"id": "1", "model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": 10}}
        yield {"id": "1", "model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": 999}}

    def first() -> None:
        items = stream()
        next(items)
        items.close()

    call = only_call(first)
    assert (call.outcome, call.output_tokens, call.cost_usd) == ("abandoned", 10, 0.0026)


def test_cached_tokens_are_a_part_of_input_and_priced_once() -> None:
    """Neither added to the input nor charged at both prices."""
    prices = {"m": {"input": 2.0, "cached_input": 0.5, "output": 8.0}}
    with ToolRecorder(prices=prices) as recorder:
        with track("chat") as call:
            call.record(input_tokens=1_000, cached_tokens=600, output_tokens=10, model="m")
        assert recorder.calls()[0].tokens == 1_010
        assert recorder.calls()[0]._cost_nanousd == 400 * 2_000 + 600 * 500 + 10 * 8_000


@pytest.mark.parametrize(
    "value",
    [-1, -0.5, float("nan"), float("inf"), float("-inf"), 10**400, 1e300, "5", b"5", True, [], object()],
    ids=lambda value: repr(value)[:12],
)
@pytest.mark.parametrize("way", ["record", "result", "usage", "cost"])
def test_an_invalid_value_reaches_no_total_and_no_caller(way: str, value: Any) -> None:
    """Negative, NaN, infinite, huge, text, bool: counted as invalid, and the tool's caller sees its result."""

    @monitored(
        "tool",
        usage=(lambda _: Usage(cost=value, input_tokens=value)) if way == "usage" else None,
        cost=(lambda _: value) if way == "cost" else None,
    )
    def run() -> dict[str, Any]:
        if way == "record":
            current_call().record(cost=value, tokens=value)
        return {"cost": value, "tokens_used": value} if way == "result" else {}

    before = Diagnostics.counts()["invalid_values"]
    with ToolRecorder() as recorder:
        assert run().keys() == ({"cost", "tokens_used"} if way == "result" else set())
        summary = recorder.monitor.summary()
        assert (summary["total_cost_usd"], summary["total_tokens"], summary["successes"]) == (0.0, 0, 1)
    if way != "result" or isinstance(value, int | float | str):  # else it is no amount, and may mean something else
        assert Diagnostics.counts()["invalid_values"] > before


@pytest.mark.parametrize("place", ["result", "usage", "details"])
def test_a_dict_is_read_without_asking_code_of_its_class(place: str) -> None:
    """A dict that loads what it holds on demand would do so for the monitor, or raise.

    Seen red: as an internal error, without tokens, for the details.
    """
    asked: list[str] = []
    errors_before = Diagnostics.internal_errors

    class Lazy(dict[str, Any]):
        def __len__(self) -> int:
            asked.append("length")
            return 0

        def __iter__(self) -> Iterator[str]:
            asked.append("keys")
            return iter(())

        def __bool__(self) -> bool:
            asked.append("truth")
            raise ValueError

    def lazy(at: str, values: dict[str, Any]) -> dict[str, Any]:
        return Lazy(values) if at == place else values

    details = lazy("details", {"cached_tokens": 20, "audio_tokens": 5})
    usage = lazy("usage", {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": details})
    answer = lazy("result", {"model": "m", "usage": usage})
    call = only_call(monitored("llm")(lambda: answer))
    assert (call.input_tokens, call.output_tokens, call.cached_tokens, call.model) == (50, 7, 20, "m")
    assert asked == []
    assert Diagnostics.internal_errors == errors_before


def test_costs_are_exact_whatever_floats_do() -> None:
    """Ten thousand tenths of a cent are ten dollars, not 9.999999999999831."""
    monitor = setup()
    for _ in range(10_000):
        with track("tool") as call:
            call.record(cost=0.001)
    assert functools.reduce(operator.add, [0.001] * 10_000) != 10.0  # sum() itself makes up for it from 3.12 on
    assert monitor.summary()["total_cost_usd"] == 10.0
    assert monitor.costs.costs == {"tool": 10.0}


def test_cached_tokens_are_never_more_than_the_input_they_are_a_part_of() -> None:
    """`record()` takes them piece by piece: a part greater than its whole is cut to it, or a call could earn money."""
    invalid = Diagnostics.invalid_values
    call = only_call(lambda: record(input_tokens=1_000, cached_tokens=90_000, model="cached"))
    assert (call.cached_tokens, cost(call)) == (1_000, (0.001, "priced"))
    assert Diagnostics.invalid_values == invalid + 1
    call = only_call(lambda: record(cached_tokens=400, input_tokens=1_000, model="cached"))
    assert (call.cached_tokens, cost(call)) == (400, (0.0016, "priced"))


@monitored("records")
def record(**values: Any) -> None:
    current_call().record(**values)


def test_the_decimals_of_the_user_are_counted_exactly_whatever_their_context() -> None:
    """A thread that computes with four digits and traps what is inexact loses no nano-dollar, and meets no error."""
    amount, exact = Decimal("1.234567891"), 1.234567891
    with localcontext() as context:
        context.prec, context.traps[Inexact] = 4, True
        assert only_call(lambda: record(cost=amount)).cost_usd == exact
        assert only_call(monitored("declares", cost=amount)(nothing)).cost_usd == exact
        assert only_call(lambda: list(streams())).cost_usd == 2 * exact
        assert Budget(limit_usd=amount).limits == Budget(limit_usd=exact).limits == {"usd": 1_234_567_891}


def nothing() -> None:
    pass


@monitored("streams")
def streams() -> Iterator[dict[str, float]]:
    yield {"cost": 1.234567891}
    yield {"cost": 1.234567891}


@pytest.mark.parametrize(("total", "expected"), [(1_100, (0.0035, "priced")), (1_200, (None, None))])
def test_a_total_beside_the_provider_s_usage_does_not_hide_what_was_input_and_what_output(
    total: int, expected: tuple[float | None, str | None]
) -> None:
    """`tokens_used` and `usage` that agree are one thing; if they differ, the tool's own value counts."""
    call = only_call(monitored("llm")(lambda: {"tokens_used": total, **MODEL_CALL}))
    assert (call.tokens, cost(call)) == (total, expected)


def test_an_empty_model_s_name_is_none() -> None:
    """It names no model: the call counts under `(none)`, and not on a line without a name."""
    assert only_call(monitored("llm")(nameless)).model is None


def nameless() -> dict[str, Any]:
    return {"model": "", "tokens_used": 5}


def test_a_call_with_parts_and_a_tier_can_be_pickled_and_copied() -> None:
    """A sink may send calls to another process."""
    answer = {
        "model": "gpt-4o", "service_tier": "flex",
        "usage": {
            "prompt_tokens": 100, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 12},
            "prompt_tokens_details": {"image_tokens": 70},
        },
    }  # fmt: skip
    call = only_call(monitored("chat")(lambda: answer))
    for other in (pickle.loads(pickle.dumps(call)), copy.deepcopy(call)):
        assert (other._audio_tokens, other._rare_parts, other._service_tier) == (
            (0, 0, 0), {"input_image_tokens": 70, "reasoning_tokens": 12}, "flex",
        )  # fmt: skip
    assert call._cost_nanousd is None  # the table has no price for that tier


def test_tokens_of_another_tier_have_no_price_in_the_fast_path_either() -> None:
    """Input and output cost the same, so that tokens that are not split have a price: at the default tier."""
    prices = {"m": {"input": 1, "output": 1}}
    with ToolRecorder(prices=prices) as recorder:
        monitored("chat")(lambda: {"tokens_used": 1_000, "model": "m"})()
        monitored("chat")(lambda: {"tokens_used": 1_000, "model": "m", "service_tier": "flex"})()
        assert [call._cost_nanousd for call in recorder.calls("chat")] == [1_000_000, None]
