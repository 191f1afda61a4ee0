"""Answers that a function returns in a tuple or a list, beside other values."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import Usage, monitored, setup
from toolweaver_monitor._instrument.results import may_hold_answers
from toolweaver_monitor.testing import ToolRecorder

FIGURES = {"prompt_tokens": 100, "completion_tokens": 20}


def answer() -> dict[str, Any]:
    return {"model": "m", "usage": dict(FIGURES)}


class OfAnSdk:
    """An answer of an SDK, by the module that its class names."""

    def __init__(self) -> None:
        self.usage = dict(FIGURES)
        self.model = "m"


OfAnSdk.__module__ = "openai.types.chat"

ONE = answer()
CONTAINERS: dict[str, tuple[Any, int]] = {
    "an answer and its text": ((answer(), "text"), 120),
    "an object and its text": ((OfAnSdk(), "text"), 120),
    "two answers": ([answer(), answer()], 240),
    "a text and figures": (("text", FIGURES), 120),
    "an answer and its figures": ((ONE, ONE["usage"]), 120),
    "an answer and a copy of its figures": ((answer(), dict(FIGURES)), 120),
    "an answer twice": ([ONE, ONE], 120),
    "a conversation": ([{"role": "user", "content": "Hi"}, {"role": "assistant", **answer()}], 0),
    "rows": (({"cost": 3.5}, {"cost": 4}), 0),
    "many": ([answer()] * 5, 0),
    "the raw message beside what was parsed": ({"raw": OfAnSdk(), "parsed": 1, "parsing_error": None}, 120),
    "the raw message without the error": ({"raw": OfAnSdk(), "parsed": 1}, 120),
    "plain values": (("text", 1), 0),
}


@pytest.mark.parametrize("case", CONTAINERS)
@pytest.mark.parametrize("way", ["function", "coroutine", "awaitable", "declared"])
async def test_answers_in_what_a_function_returns_count(case: str, way: str) -> None:
    """Each once, and a call with tokens lacks a price.

    Seen red: with tuples and lists among the types that report nothing; with figures beside their answer, and an answer
    that comes twice, not left out by `answers_in`.
    """
    container, tokens = CONTAINERS[case]

    async def coroutine() -> Any:
        return container

    with ToolRecorder() as recorder:
        if way == "coroutine":
            assert await monitored("chat")(coroutine)() is container
        elif way == "awaitable":
            assert await monitored("chat")(functools.partial(coroutine))() is container
        else:
            tag = {"team": "a"} if way == "declared" else {}
            assert monitored("chat", tags=tag)(lambda: container)() is container
        (call,) = recorder.calls()
    assert call.tokens == tokens
    assert call.cost_usd is None
    is_unpriced = bool(tokens) or case == "a conversation"  # without ids its answers may be of earlier turns
    assert call._details is None or call._details.lacks_price is is_unpriced


def first_of(container: Any) -> Any:
    return container["raw"] if isinstance(container, dict) else container[0]


HANDED_ON: dict[str, Callable[[Any], Any]] = {
    "the answer in a tuple": lambda one: (one, "text"),
    "its figures in a tuple": lambda one: ("text", one["usage"]),
    "a copy of its figures": lambda one: ("text", copy.copy(one["usage"])),
    "the answer as a raw message": lambda one: {"raw": one, "parsed": 1, "parsing_error": None},
    "the answer in a list": lambda one: [one],
}


@pytest.mark.parametrize("way", HANDED_ON)
def test_an_answer_that_is_handed_on_in_a_container_counts_once(way: str) -> None:
    """Through any number of calls, put into containers and taken out of them again.

    Seen red: without `is_already_read` in `read_answers`, without `mark_read_by_parent` there, and with bare figures
    counted whatever calls inside have told.
    """
    chat = monitored("chat")(answer)
    with ToolRecorder() as recorder:
        agent = monitored("agent")(lambda: HANDED_ON[way](chat()))
        outer = monitored("outer")(lambda: (first_of(agent()), 1))
        last = monitored("last")(lambda: outer()[0])
        last()
        assert [call.tokens for call in recorder.calls()].count(120) == 1
        assert sum(call.tokens for call in recorder.calls()) == 120


@pytest.mark.parametrize("usage", [None, lambda result: Usage(tokens=120)])
def test_an_answer_of_a_container_is_known_when_it_comes_out_alone(usage: Any) -> None:
    """The call that returned the container has told it, also by a `usage=` of its own.

    Seen red: without the elements marked in `mark_read`.
    """
    chat = monitored("chat", usage=usage)(lambda: (answer(), "text"))
    with ToolRecorder() as recorder:
        for take in (lambda: chat()[0], lambda: (chat()[0], 1), chat):
            monitored("agent")(take)()
        assert sum(call.tokens for call in recorder.calls()) == 360


def test_an_answer_in_an_item_that_usage_has_read_is_known() -> None:
    """A generator's `usage=` has told what is in its pairs, and the call that consumes them hands on a part.

    Seen red: with the elements marked in `mark_read_by_parent` only.
    """

    @monitored("pairs", usage=lambda item: Usage(tokens=120))
    def pairs() -> Any:
        yield answer(), {"node": "agent"}

    with ToolRecorder() as recorder:
        monitored("agent")(lambda: [one for one, _ in pairs()])()
        assert sum(call.tokens for call in recorder.calls()) == 120


def test_a_new_answer_beside_one_that_is_handed_on_counts() -> None:
    """Of the two only the one that no call inside has told."""
    chat = monitored("chat")(answer)
    with ToolRecorder() as recorder:
        monitored("agent")(lambda: (chat(), answer()))()
        assert sorted(call.tokens for call in recorder.calls()) == [120, 120]


def test_containers_are_not_read_where_reading_is_off() -> None:
    """By `usage=False` of the tool, and by `setup(usage=False)`."""
    with ToolRecorder() as recorder:
        monitored("chat", usage=False)(lambda: (answer(), "text"))()
        assert recorder.calls()[0].tokens == 0
    monitor = setup(usage=False)
    monitored("chat")(lambda: (answer(), "text"))()
    assert monitor.summary()["total_tokens"] == 0
    monitor.shutdown()


@pytest.mark.parametrize("plain", [(), [], ("text", 1), [1, 2, 3], [1.0] * 1_000, [answer()] * 5, ([1], (2,), None)])
def test_most_containers_are_passed_without_a_look_at_their_elements(plain: Any) -> None:
    """Long ones and those of plain values take the fast way."""
    assert not may_hold_answers(plain)


@pytest.mark.parametrize("usage", [None, lambda result: Usage(tokens=120)])
def test_a_raw_message_is_told_by_the_innermost_call_only(usage: Any) -> None:
    """The calls around it hand on the dict, then the message alone.

    Seen red: without `RAW_KEY` in `read_usage`, and without it in `mark_read`.
    """
    raw = {"raw": OfAnSdk(), "parsed": 1, "parsing_error": None}
    chain = monitored("chain", usage=usage)(lambda: raw)
    with ToolRecorder() as recorder:
        agent = monitored("agent")(lambda: chain()["raw"])
        monitored("outer")(agent)()
        assert {call.tool_name: call.tokens for call in recorder.calls()} == {"chain": 120, "agent": 0, "outer": 0}
