"""The attributes of monitored objects: those of the object itself, not those of its proxy."""

from __future__ import annotations

import asyncio
import collections.abc
import copy
import functools
import inspect
import types
import typing
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, setup, uninstrument


class Pages:
    """An iterator, sync and async, whose own steps are monitored."""

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
    assert monitor.errors.latest == []
    with pytest.raises(ZeroDivisionError):
        next(Pages(6))
    with pytest.raises(StopIteration):
        monitored("tool")(lambda: next(iter([])))()
    assert [error["tool_name"] for error in monitor.errors.latest] == ["step", "tool"]


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
    """Annotations and type hints of a monitored object are the object's own.

    Mutation: annotate an attribute in a class of the proxy; a bound method then had `_self_rewrap` for its parameter.
    """
    assert tool.__annotations__ == plain.__annotations__ == {"page": "int", "return": "list[str]"}
    assert inspect.get_annotations(tool) == plain.__annotations__
    assert typing.get_type_hints(tool) == typing.get_type_hints(plain) == {"page": int, "return": list[str]}


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_call_of_a_class_or_static_method(kind: Any) -> None:
    """An object whose `__call__` is a static or class method shows that method's signature, and is monitored.

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
    """As above, where `instrument()` has put the monitored object into a module."""
    module: Any = types.ModuleType("pages")
    module.cached = functools.cache(cached.__wrapped__)
    module.cached.__module__ = "pages"
    instrument(module)
    try:
        assert type(module.cached) is not type(cached)
        assert typing.get_type_hints(module.cached) == {"page": int, "return": list[str]}
    finally:
        uninstrument(module)


class Chain:
    """A callable with operators, as pipelines have them."""

    name = "chain"

    def __init__(self, *steps: object) -> None:
        self.steps = steps

    def __call__(self, value: int) -> int:
        return value

    def __or__(self, other: object) -> Any:
        return Chain(*self.steps, other) if callable(other) else NotImplemented

    def __ror__(self, other: object) -> Any:
        return Chain(other, *self.steps)

    def __ior__(self, other: object) -> Chain:
        self.steps = (*self.steps, other)
        return self

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> object:
        return self.steps[index]

    __hash__ = None  # type: ignore[assignment]


def test_operators_are_those_of_the_object() -> None:
    """A monitored object takes part in an operation as the object does, on either side and in place.

    Seen red: with `wrapt.ObjectProxy` as the base, `partial | chain` put the partial into the chain unmonitored.
    """
    monitor = setup()
    step, chain = monitored("step")(functools.partial(abs)), monitored("chain")(Chain(1, 2))
    assert (step | Chain()).steps == (step,)
    (step | Chain()).steps[0](-1)
    assert monitor.summary()["count"] == 1
    assert (chain | len).steps == (1, 2, len)
    with pytest.raises(TypeError, match="unsupported operand"):
        chain | 3
    with pytest.raises(TypeError, match="unsupported operand"):
        step + 1
    plain, before = chain.__wrapped__, chain
    chain |= len
    assert chain is before
    assert plain.steps == (1, 2, len)
    assert (len(chain), list(chain), 2 in chain, bool(chain), list(reversed(chain))[-1]) == (
        3,
        [1, 2, len],
        True,
        True,
        1,
    )


def test_what_a_type_rules_out_is_ruled_out() -> None:
    """`__hash__ = None` makes an object unhashable, monitored or not, and a sequence without `__iter__` no Iterable.

    Seen red: `None` left out of `_special_methods`; without it `Hashable` was true.
    """
    chain = monitored("chain")(Chain())
    for kind in (collections.abc.Hashable, collections.abc.Iterable, collections.abc.Sized, collections.abc.Container):
        assert isinstance(chain, kind) == isinstance(Chain(), kind), kind
    with pytest.raises(TypeError, match="unhashable"):
        hash(chain)
    assert not chain  # it is empty


def test_the_namespace_is_that_of_the_object() -> None:
    """What is set on one is on the other, also for those who look past `__getattribute__`, as `typing.Protocol` does.

    Seen red: with a namespace of the proxy's own; `getattr_static` found no `steps`.
    """

    @typing.runtime_checkable
    class Steps(typing.Protocol):
        steps: tuple[object, ...]

    chain = monitored("chain")(Chain(1))
    assert isinstance(chain, Steps)
    assert inspect.getattr_static(chain, "steps") == (1,)
    chain.label = "a"
    assert chain.__wrapped__.label == "a"
    chain.__wrapped__.label = "b"
    assert chain.label == "b"
    assert vars(chain) == vars(chain.__wrapped__)
    del chain.label
    assert not hasattr(chain.__wrapped__, "label")
    assert copy.copy(chain).__wrapped__ is not chain.__wrapped__
    assert set(dir(chain)) == set(dir(chain.__wrapped__))
    with pytest.raises(AttributeError, match="'Chain' object has no attribute 'missing'"):
        chain.missing  # noqa: B018 - reading it is the test


def test_errors_are_those_of_the_object_s_type() -> None:
    """A partial has no length and is no block, and Python says so in its own words.

    Seen red: with special methods that are None on the proxy, `len` said that None is not callable.
    """
    step = monitored("step")(functools.partial(abs))
    with pytest.raises(TypeError, match=r"object of type .* has no len\(\)"):
        len(step)
    with pytest.raises(TypeError, match="not iterable"):
        iter(step)
    with pytest.raises(TypeError, match="context manager"), step:
        pass


class Reads:
    """A descriptor that gives another object, which is no method, at each look."""

    def __call__(self) -> int:
        return 1

    def __get__(self, instance: object, owner: type) -> Any:
        return Chain(1) if instance else functools.partial(self.__call__)


def test_what_is_read_from_an_instance_is_no_more_than_the_object() -> None:
    """A proxy made at a look has the special methods of what it stands for, whichever type that is.

    Seen red: with the class of the first look kept for all; the partial had a length.
    """
    holder = type("Holder", (), {"tool": monitored("tool")(Reads())})
    for _ in range(2):
        assert isinstance(holder().tool, collections.abc.Sized)
        assert not isinstance(holder.tool, collections.abc.Sized)  # type: ignore[attr-defined]
    monitor = setup()
    assert (holder().tool(5), holder.tool()) == (5, 1)  # type: ignore[attr-defined]
    assert monitor.summary()["count"] == 2


def test_an_object_that_hides_its_namespace() -> None:
    """A `__dict__` of the user's own that raises does no harm where the object is decorated.

    Seen red: without the `except` in `Proxy.__init__`.
    """

    class Hidden:
        @property
        def __dict__(self) -> Any:
            raise RuntimeError

        def __call__(self) -> int:
            return 1

    assert monitored("hidden")(Hidden())() == 1
