"""The attributes of monitored objects: those of the object itself, not those of its proxy."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
import typing
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, setup, uninstrument


class Pages:
    """An iterator, sync and async, whose own steps are watched."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __iter__(self) -> Pages:
        return self

    __aiter__ = __iter__

    @monitored("step")
    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return 10 // (self.left - 5)

    @monitored("async step")
    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


@typing.overload
def halved(page: int) -> int: ...
@typing.overload
def halved(page: float) -> float: ...
@monitored("halved")
def halved(page: Any) -> Any:
    """Half a page."""
    return page // 2


def test_overloads_are_found_where_their_implementation_is_watched() -> None:
    """`@monitored` stands on the implementation, and `typing.get_overloads` knows them all."""
    assert halved(4) == 2
    assert [inspect.get_annotations(each)["page"] for each in typing.get_overloads(halved)] == ["int", "float"]


def test_the_end_of_an_iterator_is_no_failure() -> None:
    """`StopIteration` out of `__next__` says that there is no more, as a generator's return does; others are errors."""
    monitor = setup()
    assert len(list(Pages(2))) == 2

    async def read() -> list[int]:
        return [page async for page in Pages(2)]

    assert asyncio.run(read()) == [1, 0]
    assert {tool: tally.outcomes["success"] for tool, tally in monitor.metrics._by_tool().items()} == {
        "step": 3, "async step": 3,
    }  # fmt: skip
    assert monitor.errors.errors == []
    with pytest.raises(ZeroDivisionError):
        next(Pages(6))
    with pytest.raises(StopIteration):
        monitored("tool")(lambda: next(iter([])))()
    assert [error["tool_name"] for error in monitor.errors.errors] == ["step", "tool"]


@functools.cache
def cached(page: int) -> list[str]:
    """Read a page."""
    return [str(page)]


class Reader:
    """Has what is no plain function: its bound methods, and a cached one."""

    def read(self, page: int) -> list[str]:
        """Read a page."""
        return [str(page)]

    cached = cached
    watched = monitored("cached")(cached)


@pytest.mark.parametrize(
    ("plain", "tool"),
    [
        (Reader().read, monitored("read")(Reader().read)),
        (cached, monitored("cached")(cached)),
        (Reader().cached, Reader().watched),
    ],
    ids=["a bound method", "a cached function", "a cached method"],
)
def test_annotations_are_those_of_the_object(plain: Any, tool: Any) -> None:
    """Annotations and type hints of a watched object are the object's own.

    Mutation: annotate an attribute in a class of the proxy; a bound method then had `_self_rewrap` for its parameter.
    """
    assert tool.__annotations__ == plain.__annotations__ == {"page": "int", "return": "list[str]"}
    assert inspect.get_annotations(tool) == plain.__annotations__
    assert typing.get_type_hints(tool) == typing.get_type_hints(plain) == {"page": int, "return": list[str]}


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_call_of_a_class_or_static_method(kind: Any) -> None:
    """An object whose `__call__` is a static or class method shows that method's signature, and is watched.

    Seen red: the first argument of a static one was taken for `self`, and a class one showed `(*args, **kwargs)`.
    """

    def call(first: int, second: int = 2) -> int:
        return second

    plain: Any = type("Model", (), {"__call__": kind(call)})()
    tool = monitored("tool")(plain)
    assert inspect.signature(tool.__call__) == inspect.signature(plain.__call__)
    assert typing.get_type_hints(tool.__call__) == {"first": int, "second": int, "return": int}
    monitor = setup()
    assert tool(7) == plain(7)
    assert monitor.summary()["count"] == 1


def test_annotations_of_what_is_planted_are_those_of_the_object() -> None:
    """As above, where `instrument()` has put the watched object into a module."""
    module: Any = types.ModuleType("pages")
    module.cached = functools.cache(cached.__wrapped__)
    module.cached.__module__ = "pages"
    instrument(module)
    try:
        assert type(module.cached) is not type(cached)
        assert typing.get_type_hints(module.cached) == {"page": int, "return": list[str]}
    finally:
        uninstrument(module)
