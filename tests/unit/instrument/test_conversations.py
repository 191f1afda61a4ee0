"""Answers among messages of other calls: what graphs yield and return."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import monitored, setup
from toolweaver_monitor.testing import ToolRecorder

_numbers = itertools.count()


def class_of(name: str) -> Any:
    class Message:
        def __init__(self, tokens: int = 0, message_id: str | None = None) -> None:
            self.id = message_id
            self.response_metadata = {"model_name": "m"}
            self.usage_metadata = {"input_tokens": tokens, "output_tokens": 0} if tokens else None

    Message.__qualname__, Message.__module__ = name, "langchain_core.messages"
    return Message


AIMessage, AIMessageChunk, HumanMessage = map(class_of, ("AIMessage", "AIMessageChunk", "HumanMessage"))


@pytest.fixture
def recorder() -> Iterator[ToolRecorder]:
    with ToolRecorder() as recorder:
        yield recorder


def returned(recorder: ToolRecorder, result: Any) -> tuple[int, bool]:
    """Return the tokens of a call that returns this, and whether it is unpriced."""
    name = f"graph {next(_numbers)}"

    @monitored(name)
    def graph() -> Any:
        return result

    assert graph() is result
    (call,) = recorder.calls(name)
    return call.tokens, call._details is not None and call._details.lacks_price


def yielded(recorder: ToolRecorder, *items: Any) -> tuple[int, bool]:
    """Return the same for a call that yields these."""
    name = f"graph {next(_numbers)}"

    @monitored(name)
    def graph() -> Iterator[Any]:
        yield from items

    assert list(graph()) == list(items)
    (call,) = recorder.calls(name)
    return call.tokens, call._details is not None and call._details.lacks_price


def test_the_message_of_a_pair_is_counted(recorder: ToolRecorder) -> None:
    """LangGraph's `stream_mode="messages"`, also with several modes, and from subgraphs. Seen red: 0 tokens."""
    metadata = {"langgraph_node": "agent"}
    chunks = [AIMessageChunk(tokens, "run-1") for tokens in (0, 7, 3)]
    assert yielded(recorder, *((chunk, metadata) for chunk in chunks)) == (10, True)
    chunks = [AIMessageChunk(tokens, "run-2") for tokens in (7, 3)]
    assert yielded(recorder, *(("messages", (chunk, metadata)) for chunk in chunks)) == (10, True)
    chunks = [AIMessageChunk(tokens, "run-3") for tokens in (7, 3)]
    assert yielded(recorder, *((("agent:1",), "messages", (chunk, metadata)) for chunk in chunks)) == (10, True)
    assert yielded(recorder, ("text", 1), [1.0, 2.0], (("a", 1), ("b", 2))) == (0, False)


def test_the_new_answers_of_a_state_are_counted(recorder: ToolRecorder) -> None:
    """Those whose id no call of this setup has counted, each once."""
    history = [HumanMessage(), AIMessage(5, "run-1"), HumanMessage(), AIMessage(7, "run-2"), AIMessage(7, "run-2")]
    assert returned(recorder, {"messages": history}) == (12, True)
    assert returned(recorder, {"messages": [*history, HumanMessage(), AIMessage(3, "run-3")]}) == (3, True)
    assert returned(recorder, {"messages": [AIMessage(3, "run-3")]}) == (0, False)
    assert returned(recorder, {"messages": [HumanMessage()], "step": 1}) == (0, False)
    setup(recorder._calls)
    recorder.monitor = setup(recorder._calls)
    assert returned(recorder, {"messages": history}) == (12, True)


def test_the_states_that_a_graph_yields_are_counted_once(recorder: ToolRecorder) -> None:
    """`stream_mode="values"` repeats the state, and `"updates"` names the node."""
    first, second = AIMessage(5, "run-1"), AIMessage(7, "run-2")
    assert yielded(recorder, {"messages": [first]}, {"messages": [first, second]}) == (12, True)
    third = AIMessage(3, "run-3")
    assert yielded(recorder, {"agent": {"messages": [third]}}, ("values", {"messages": [first, third]})) == (3, True)


def test_what_a_call_inside_has_counted_is_left_out(recorder: ToolRecorder) -> None:
    """Known by its id, as a copy of it."""
    llm: Any = monitored("llm")(lambda message: message)
    llm(AIMessage(5, "run-1"))
    state = {"messages": [HumanMessage(), AIMessage(5, "run-1")]}
    assert returned(recorder, state) == (0, False)


def test_answers_without_an_id_leave_the_call_unpriced(recorder: ToolRecorder) -> None:
    """Any of them may have been counted before: none is, unless it is the very object."""
    seen = AIMessage(5)
    monitored("llm")(lambda: seen)()
    assert returned(recorder, {"messages": [HumanMessage(), seen]}) == (0, False)
    assert returned(recorder, {"messages": [HumanMessage(), AIMessage(5)]}) == (0, True)
    assert yielded(recorder, {"messages": [AIMessage(5)]}) == (0, True)
    assert returned(recorder, [HumanMessage(), AIMessage(5)]) == (0, True)
    assert returned(recorder, {"messages": ["text", 1, None]}) == (0, False)
    assert returned(recorder, {"messages": "none"}) == (0, False)


def test_a_dict_with_figures_of_its_own_tells_those(recorder: ToolRecorder) -> None:
    """The messages in it are not read as well."""
    assert returned(recorder, {"messages": [AIMessage(5, "run-1")], "tokens_used": 9})[0] == 9
    assert yielded(recorder, {"messages": [AIMessage(5, "run-1")], "tokens_used": 9})[0] == 9
