"""The results of calls inside another one: it does not keep them alive, and knows one that is handed on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Usage, monitored, setup, track
from toolweaver_monitor._instrument.patching.frameworks import SERVER_ROW
from toolweaver_monitor._instrument.patching.known import result_reader
from toolweaver_monitor._usage.handed_on import MAX_RESULTS
from toolweaver_monitor.testing import ToolRecorder


class Image:
    """Large, as far as the tests know."""


class Answer:
    """A result of a type that takes weak references."""

    def __init__(self) -> None:
        self.image = Image()


class Slotted:
    """A result of a type that takes none."""

    __slots__ = ("image",)

    def __init__(self) -> None:
        self.image = Image()


def read_answer(result: Any) -> Usage:
    return Usage(tokens=5)


KINDS: dict[str, tuple[Callable[[], Any], int]] = {
    "dict": (lambda: {"tokens_used": 5, "image": Image()}, 1),
    "object": (Answer, 0),
    "object with slots": (Slotted, 1),
}
"""How each is made, and how many of those that were dropped may live on until the next drain."""


def image_of(result: Any) -> Image:
    image: Image = result["image"] if isinstance(result, dict) else result.image
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["function", "coroutine", "generator"])
async def test_a_result_that_is_dropped_is_freed_while_the_call_around_goes_on(kind: str, way: str) -> None:
    """An agent's session or a worker's loop may never end, and its images, files and tensors need their memory.

    Seen red: the last 32 lived on until the call around ended. After a drain: with none in `Bus._partition`.
    """
    make, most = KINDS[kind]
    images: list[weakref.ref[Image]] = []

    def work() -> Any:
        result = make()
        images.append(weakref.ref(image_of(result)))
        return result

    usage = None if kind == "dict" else read_answer
    function = monitored("ocr", usage=usage)(work)

    @monitored("ocr", usage=usage)
    async def coroutine() -> Any:
        return work()

    @monitored("ocr")
    def pages() -> Iterator[Any]:
        for _ in range(40):
            yield work()

    monitor = setup()
    gc.disable()  # the results are in no cycle
    try:
        with track("session"):
            if way == "generator":
                for _page in pages():
                    del _page
            else:
                for _ in range(40):
                    (await coroutine()) if way == "coroutine" else function()
            assert len(images) == 40
            assert sum(image() is not None for image in images) <= most
            monitor.summary()
            assert not any(image() for image in images)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_somebody_has_is_known_when_it_is_handed_on(kind: str) -> None:
    """Through any number of calls, with others and drains between, and out of several: its tokens count once.

    Seen red: with every result forgotten in `forget_dropped`.
    """
    make, _ = KINDS[kind]
    usage = None if kind == "dict" else read_answer

    @monitored("ocr", usage=usage)
    def ocr() -> Any:
        return make()

    with ToolRecorder() as recorder:

        @monitored("agent", usage=usage)
        def agent() -> Any:
            answers = [ocr() for _ in range(10)]
            for _ in range(40):
                ocr()
            recorder.calls()
            return answers[3]

        @monitored("outer", usage=usage)
        def outer() -> Any:
            return agent()

        outer()
        assert sum(call.tokens for call in recorder.calls()) == 250


@pytest.mark.parametrize("kind", KINDS)
def test_another_result_at_the_same_place_in_memory_is_another_result(kind: str) -> None:
    """Of results that are dropped nearly all give their `id` to the next; each new one counts.

    Seen red: with the `id` alone compared.
    """
    make, _ = KINDS[kind]
    usage = None if kind == "dict" else read_answer

    @monitored("ocr", usage=usage)
    def ocr() -> Any:
        return make()

    @monitored("agent", usage=usage and (lambda _: Usage(tokens=7)))
    def agent() -> Any:
        ocr()
        recorder.calls()
        result = make()
        if kind == "dict":
            result["tokens_used"] = 7  # equal figures would be those of the call inside, handed on
        return result

    with ToolRecorder() as recorder:
        for _ in range(100):
            agent()
        assert sum(call.tokens for call in recorder.calls()) == 1_200


def test_a_server_remembers_that_a_tool_inside_told_its_usage_after_the_result_is_gone() -> None:
    """What an MCP server returns is made from the tool's result, and tells the same usage again.

    Seen red: with a call that has forgotten all results taken for one that has seen none.
    """
    ocr = monitored("ocr")(lambda: {"tokens_used": 5})

    @monitored("server", usage=result_reader(SERVER_ROW))
    def server() -> dict[str, int]:
        answer = dict(ocr())
        recorder.calls()
        return answer

    with ToolRecorder() as recorder:
        server()
        assert [call.tokens for call in recorder.calls()] == [5, 0]


def test_a_call_keeps_few_results_in_mind_however_many_somebody_has() -> None:
    """Their `id`s take memory, too, and none is left once the call has ended."""
    ocr = monitored("ocr")(lambda: {"tokens_used": 5})
    setup()
    with track("session") as call:
        kept = [ocr() for _ in range(MAX_RESULTS + 100)]
        assert call._details is not None
        assert len(call._details.inside.results) == MAX_RESULTS < len(kept)
    assert call._details is None
