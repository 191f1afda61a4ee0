"""Lists of messages: only answers that no call has counted are this call's."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import monitored, setup
from toolweaver_monitor._usage import counted_ids

FIGURES = {"prompt_tokens": 100, "completion_tokens": 20}


class AIMessage:
    """An answer of LangChain, by its class and module."""

    def __init__(self, answer_id: str | None) -> None:
        self.content = "hi"
        self.id = answer_id
        self.usage_metadata = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}


class HumanMessage:
    def __init__(self) -> None:
        self.content = "hello"


AIMessage.__module__ = HumanMessage.__module__ = "langchain_core.messages"


def of_langchain(answer_id: str | None) -> list[Any]:
    return [HumanMessage(), AIMessage(answer_id)]


def of_dicts(answer_id: str | None) -> list[Any]:
    answer = {"role": "assistant", "content": "hi", "model": "m", "usage": FIGURES}
    return [{"role": "user", "content": "hello"}, answer if answer_id is None else {**answer, "id": answer_id}]


KINDS = [of_langchain, of_dicts]
WAYS = {"a list": lambda messages: messages, "a state": lambda messages: {"messages": messages, "step": 1}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_only_answers_that_no_call_has_counted_are_those_of_this_call(kind: Any, way: str) -> None:
    """A conversation grows by one answer a turn, and comes back whole, as copies, each time.

    Seen red: with no id ever counted.
    """
    monitor = setup()

    @monitored("agent")
    def agent(turns: int) -> Any:
        return WAYS[way]([message for turn in range(turns) for message in kind(f"id-{turn}")])

    for turns in range(1, 8):
        agent(turns)
    assert monitor.summary()["total_tokens"] == 7 * 120
    assert monitor.costs.by("tool")["agent"]["unpriced"] == 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_answers_that_a_call_inside_has_counted_are_left_out(kind: Any, way: str) -> None:
    """The model's call returned the message, and the graph's state has a copy of it."""
    monitor = setup()
    chat = monitored("chat")(lambda turn: kind(f"id-{turn}")[1])

    @monitored("graph")
    def graph() -> Any:
        chat(0)
        chat(1)
        return WAYS[way]([*kind("id-0"), *kind("id-1")])

    graph()
    assert monitor.summary()["total_tokens"] == 240
    assert monitor.costs.by("tool")["graph"]["unpriced"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_answers_without_an_id_are_not_counted_and_the_call_is_unpriced(kind: Any) -> None:
    """They may be of earlier turns: unknown is not zero."""
    monitor = setup()
    monitored("agent")(lambda: kind(None) * 4)()
    assert monitor.summary()["total_tokens"] == 0
    assert monitor.summary()["unpriced_calls"] == 1


def test_a_conversation_without_figures_is_a_result_like_any_other() -> None:
    """It costs nothing, and is not unpriced."""
    monitor = setup()
    monitored("history")(lambda: [{"role": "user", "content": "hello"}] * 8)()
    monitored("rows")(lambda: [{"cost": 3}] * 8)()
    assert monitor.summary()["unpriced_calls"] == 0
    assert monitor.summary()["total_cost_usd"] == 0


def test_ids_are_bounded_and_forgotten_by_the_next_setup() -> None:
    """At most 10,000, the latest ones."""
    setup()
    for number in range(counted_ids.MAX_IDS + 500):
        counted_ids.mark_counted(f"id-{number}")
    assert len(counted_ids._counted) <= counted_ids.MAX_IDS
    assert counted_ids.is_counted(f"id-{counted_ids.MAX_IDS + 499}")
    assert not counted_ids.is_counted(None)
    setup()
    assert not counted_ids.is_counted(f"id-{counted_ids.MAX_IDS + 499}")


RERANKS: dict[str, Any] = {
    "search units": {"results": [], "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}},
    "classifications": {"meta": {"billed_units": {"classifications": 3}}},
    "seconds of audio": {"text": "hello", "usage": {"type": "duration", "seconds": 8.5}},
    "in usage": {"model": "rerank", "usage": {"billed_units": {"search_units": 2}}},
}


@pytest.mark.parametrize("case", RERANKS)
def test_an_answer_that_is_billed_in_other_units_is_unpriced(case: str) -> None:
    """Its tokens are none, and its cost is unknown, not 0.

    Seen red: without `other_units` in `from_fields`.
    """
    monitor = setup()
    monitored("rerank")(lambda: dict(RERANKS[case]))()
    assert monitor.summary()["unpriced_calls"] == 1
    monitored("declared", cost=0.002)(lambda: dict(RERANKS[case]))()
    assert monitor.summary()["total_cost_usd"] == 0.002
    assert monitor.summary()["unpriced_calls"] == 1


def test_the_report_counts_calls_of_unknown_cost_beside_their_budget() -> None:
    """A column of its own, only where there are any."""
    monitor = setup(budget=1.0)
    assert "unknown cost" not in monitor.report()
    monitored("rerank")(lambda: dict(RERANKS["search units"]))()
    lines = monitor.report().splitlines()
    header = next(line for line in lines if line.startswith("  budget "))
    assert header.split()[-2:] == ["unknown", "cost"]
    assert lines[lines.index(header) + 1].split()[-1] == "1"
