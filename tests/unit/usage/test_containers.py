"""Answers beside other values in a tuple, a list, or LangChain's `include_raw`."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor._usage import answers_in, reader_for

ANSWER = {"model": "m", "usage": {"prompt_tokens": 100, "completion_tokens": 20}}
OTHER = {**ANSWER}
FIGURES = {"prompt_tokens": 100, "completion_tokens": 20}


class OfAnSdk:
    """An answer of an SDK, by the module that its class names."""

    def __init__(self) -> None:
        self.usage = FIGURES
        self.model = "m"

    def __bool__(self) -> bool:
        raise AssertionError

    __len__ = __eq__ = __hash__ = __bool__  # type: ignore[assignment]


class HumanMessage(OfAnSdk):
    """What was said to a model."""


OfAnSdk.__module__ = HumanMessage.__module__ = "langchain_core.messages"
MESSAGE = OfAnSdk()


@pytest.mark.parametrize(
    ("container", "found"),
    [
        ((ANSWER, "text"), [ANSWER]),
        ([ANSWER, OTHER], [ANSWER, OTHER]),
        ([ANSWER, ANSWER], [ANSWER]),
        ((ANSWER, FIGURES), [ANSWER]),
        (("text", FIGURES), [FIGURES]),
        ((MESSAGE, {"langgraph_node": "agent"}), [MESSAGE]),
        ((MESSAGE, MESSAGE, FIGURES), [MESSAGE]),
        ({"raw": MESSAGE, "parsed": None, "parsing_error": None}, [MESSAGE]),
        ({"raw": MESSAGE, "parsed": None}, [MESSAGE]),
        ({"raw": MESSAGE, "text": "hi"}, []),
        ([HumanMessage(), MESSAGE], []),  # a conversation: its answers belong to the calls that got them
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", **ANSWER}], []),
        (({"cost": 3.5}, {"cost": 4}), []),  # rows of a table
        ([ANSWER] * 5, []),
        ((), []), ([], []), ({}, []), (("text", 1, None, b""), []), ("text", []), ({"raw": MESSAGE}, []),
        ({"messages": [MESSAGE]}, []), (MESSAGE, []),
    ],
)  # fmt: skip
def test_answers_are_found_one_level_down(container: Any, found: list[Any]) -> None:
    """A tuple or list of up to four values, and no other dict. No code of the values runs."""
    answers = answers_in(container)
    assert len(answers) == len(found)
    assert all(answer is expected for answer, expected in zip(answers, found, strict=True))


def test_what_is_found_has_a_usage() -> None:
    """Each is read by the reader of its own type."""
    for container in ((ANSWER, "text"), ("text", FIGURES), (MESSAGE, {})):
        (answer,) = answers_in(container)
        read = reader_for(type(answer))
        assert read is not None
        usage = read(answer)
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (100, 20)
