"""The usage of a stream, collected from its items."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor import monitored
from toolweaver_monitor._usage import StreamUsage
from toolweaver_monitor.testing import ToolRecorder

response_lists = st.lists(st.lists(st.integers(0, 1_000), min_size=1, max_size=6), max_size=5)


def chunk(response: int, output: int) -> dict[str, Any]:
    return {"id": f"r{response}", "model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": output}}


@given(response_lists, st.randoms(use_true_random=False))
def test_of_each_response_the_largest_values_count_and_responses_add_up(responses: list[list[int]], order: Any) -> None:
    """Chunks repeat the usage so far, or come late; a response used the most that its chunks report."""
    stream = StreamUsage()
    for response, counts in enumerate(responses):
        shuffled = list(counts)
        order.shuffle(shuffled)
        for output in shuffled:
            stream.observe(chunk(response, output))
            stream.observe("text between")
    usage = stream.total()
    assert (usage.output_tokens if usage else 0) == sum(max(counts) for counts in responses)
    assert (usage.input_tokens if usage else 0) == 10 * len(responses)


@given(st.lists(st.integers(0, 1_000), max_size=20))
def test_values_of_the_users_own_dicts_add_up(costs: list[int]) -> None:
    """A tool that yields a dict with its cost and tokens for each page means each of them."""
    stream = StreamUsage()
    for cents in costs:
        stream.observe({"page": 1, "cost": cents / 100, "tokens_used": cents})
    usage = stream.total()
    assert (float(usage.cost or 0) if usage else 0) == sum(costs) / 100
    assert (usage.tokens if usage else 0) == sum(costs)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10))
def test_what_is_known_so_far_never_shrinks(counts: list[int]) -> None:
    """For a budget that reads it while the stream runs."""
    stream = StreamUsage()
    known = []
    for output in counts:
        stream.observe(chunk(0, output))
        usage = stream.total()
        known.append(usage.output_tokens if usage else 0)
    assert all(before <= after for before, after in pairwise(known))


def told(*items: Any) -> tuple[int, int, int]:
    """Return input, output and unsplit tokens of a stream of these items."""
    stream = StreamUsage()
    for item in items:
        stream.observe(item)
    usage = stream.total()
    return (usage.input_tokens, usage.output_tokens, usage.tokens) if usage else (0, 0, 0)


def answer(read: int, made: int, **more: Any) -> dict[str, Any]:
    return {"model": "m", "usage": {"prompt_tokens": read, "completion_tokens": made}, **more}


def part(read: int, made: int, **more: Any) -> dict[str, Any]:
    return answer(read, made, object="chat.completion.chunk", choices=[{"delta": {"content": "a"}}], **more)


def last(read: int, made: int, **more: Any) -> dict[str, Any]:
    return part(read, made, **more) | {"choices": []}


def gemini(read: int, made: int, end: str | None = None, **more: Any) -> dict[str, Any]:
    candidate = {"content": {}, "finishReason": end} if end else {"content": {}}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": read, "candidatesTokenCount": made}} | more


def converse(read: int, made: int) -> dict[str, Any]:
    return {"metadata": {"usage": {"inputTokens": read, "outputTokens": made, "totalTokens": read + made}}}


def live(read: int, made: int) -> dict[str, Any]:
    return {"usageMetadata": {"promptTokenCount": read, "responseTokenCount": made}}


START, STOP = {"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": "end_turn"}}
TURN_END = {"serverContent": {"turnComplete": True}}
NAMED = {"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {"content": "a"}}], "usage": None}


def claude(read: int, made: int, **more: Any) -> list[dict[str, Any]]:
    start = {"model": "m", "usage": {"input_tokens": read, "output_tokens": 1}, **more}
    return [{"type": "message_start", "message": start}, {"type": "message_delta", "usage": {"output_tokens": made}},
            {"type": "message_stop"}]  # fmt: skip


def cohere(read: int, made: int) -> list[dict[str, Any]]:
    used = {"usage": {"billed_units": {"input_tokens": read, "output_tokens": made}}}
    return [{"type": "message-start"}, {"type": "message-end", "delta": used}]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([answer(100 + page, 20) for page in range(10)], (1_045, 200)),
        ([answer(100, 20)] * 3, (300, 60)),
        ([answer(100, 20, object="chat.completion")] * 3, (300, 60)),
        ([answer(100, 20, id="a"), answer(100, 20, id="a"), answer(100, 20, id="b")], (200, 40)),
        ([answer(100, 20, type="message"), answer(120, 30, type="message")], (220, 50)),
        ([part(100, 1), part(100, 2), part(100, 3)], (100, 3)),
        ([part(100, 3), last(100, 3)], (100, 3)),
        ([part(100, 3), last(100, 3), last(100, 3)], (100, 3)),
        ([part(100, 3), last(100, 3), part(100, 1), last(100, 4)], (200, 7)),
        ([last(100, 3), NAMED, last(110, 5)], (210, 8)),
        ([last(100, 3, id="a"), last(100, 3, id="b")], (200, 6)),
        ([part(100, 1, id="a"), part(100, 2, id="b"), NAMED | {"id": "c"}, last(100, 3, id="d")], (100, 3)),
        ([part(100, 1, id="a"), last(100, 2, id="b"), part(100, 1, id="c"), last(100, 9, id="d")], (200, 11)),
        ([part(100, 9), part(90, 1)], (190, 10)),
        ([gemini(10, 1), gemini(10, 5), gemini(10, 9, "STOP")], (10, 9)),
        ([gemini(10, 1), gemini(10, 9, "STOP"), gemini(12, 3), gemini(12, 20, "STOP")], (22, 29)),
        ([gemini(10, 9, "STOP", responseId="a"), gemini(10, 9, "STOP", responseId="b")], (20, 18)),
        ([START, STOP, converse(10, 5), START, STOP, converse(10, 5)], (20, 10)),
        ([converse(10, 5), converse(12, 6)], (22, 11)),
        ([*cohere(10, 5), *cohere(10, 5)], (20, 10)),
        ([live(10, 2), live(10, 5), TURN_END, live(30, 9), TURN_END], (40, 14)),
        ([*claude(11, 6), *claude(12, 8)], (23, 14)),
        ([*claude(11, 6, id="a"), *claude(11, 6, id="b")], (22, 12)),
    ],
)  # fmt: skip
def test_answers_add_up_and_parts_of_one_do_not(items: list[Any], expected: tuple[int, int]) -> None:
    """Whole answers, figures that fall and the provider's own marks begin another answer; chunks repeat the figures.

    Seen red: without ids only the largest answer of the stream counted.
    """
    assert told(*items) == (*expected, 0)


@pytest.mark.parametrize("price", [{"input": 3, "output": 9}, {"input": 3, "output": 3}, {"input": 3}])
def test_answers_of_two_models_in_one_stream_have_no_price(price: dict[str, float]) -> None:
    """All tokens are counted, those of the first model as not split: the price of the second is not theirs.

    Seen red: without `other_units`, all had the price of a model whose input and output cost the same.
    """
    made = 20 if "output" in price else 0  # of an embedding all tokens are input
    with ToolRecorder(prices={"m": {"input": 1, "output": 2}, "n": price}) as recorder:

        @monitored("pages")
        def pages(other: str) -> Any:
            yield answer(100, made)
            yield answer(100, made, model=other)

        list(pages("m"))
        list(pages("n"))
        same, mixed = recorder.calls("pages")
    assert (same.tokens, same._cost_nanousd) == (
        200 + 2 * made,
        (200 + 4 * made) * 1_000,
    )  # 100 x $1 + made x $2, twice
    assert (mixed.tokens, mixed._cost_nanousd) == (same.tokens, None)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.integers(1, 1_000)), max_size=20))
def test_whole_answers_add_up_whatever_their_figures(figures: list[tuple[int, int]]) -> None:
    """A tool that yields the answer for each page means each of them."""
    items = [answer(read, made) for read, made in figures]
    assert told(*items) == (sum(read for read, _ in figures), sum(made for _, made in figures), 0)


@pytest.mark.parametrize(
    ("items", "dollars"),
    [
        ([answer(100, 20, cost=0.5), answer(100, 20, cost=0.25)], 0.75),
        ([answer(100, 20, cost=0.5), answer(100, 20)], None),
        ([answer(100, 20), answer(100, 20, cost=0.5)], None),
        ([{"tokens_used": 5, "cost": 0.5}, {"tokens_used": 5}], None),
        ([{"tokens_used": 5}, {"cost": 0.5}], 0.5),  # the cost of those tokens
    ],
)
def test_the_cost_of_one_answer_is_not_that_of_two(items: list[Any], dollars: float | None) -> None:
    """Unknown is not zero: an answer that says no cost has one."""
    stream = StreamUsage()
    for item in items:
        stream.observe(item)
    usage = stream.total()
    assert usage is not None
    assert (None if usage.cost is None else float(usage.cost)) == dollars
