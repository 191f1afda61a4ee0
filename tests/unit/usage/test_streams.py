"""The usage of a stream, collected from its items."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor._usage import StreamUsage

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
