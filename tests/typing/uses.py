"""Types of monitored functions: those without the decorator.

`test_types.py` has this file checked twice, once with its `@monitored` lines taken out: every type that is revealed and
every error must be the same. The lines marked `# wrong:` must be errors, and no others.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, overload, reveal_type

from toolweaver_monitor import monitored

T = TypeVar("T")
P = ParamSpec("P")


@monitored("lookup")
def lookup(word: str, /, limit: int = 3, *more: bytes, exact: bool, **others: float) -> list[str]:
    return [word]


reveal_type(lookup)
reveal_type(lookup("a", exact=True))
lookup("a", 2, b"", exact=True, score=1.0)
lookup(1, exact=True)  # wrong: arg-type reportArgumentType
lookup("a")  # wrong: call-arg reportCallIssue
lookup(word="a", exact=True)  # wrong: call-arg,arg-type reportCallIssue
lookup("a", exact=True, score="high")  # wrong: arg-type reportArgumentType
count: int = lookup("a", exact=True)  # wrong: assignment reportAssignmentType


@monitored
def bare(x: int) -> int:
    return x


reveal_type(bare)
bare("1")  # wrong: arg-type reportArgumentType


@monitored()
def called(x: int) -> int:
    return x


reveal_type(called)
called("1")  # wrong: arg-type reportArgumentType


@monitored(tool_name=lambda tool, **_: tool, cost=0.1, usage=False, tags={"customer": "acme"})
def run(tool: str, *, quick: bool = True) -> bytes:
    return tool.encode()


reveal_type(run)
run("ocr", quick=1)  # wrong: arg-type reportArgumentType


@monitored("read")
async def read(page: int) -> str:
    return str(page)


async def use_read() -> None:
    reveal_type(read)
    reveal_type(await read(1))
    await read("1")  # wrong: arg-type reportArgumentType
    assigned: str = read(1)  # wrong: assignment reportAssignmentType
    reveal_type(assigned)
    reveal_type(await asyncio.gather(read(1), read(2)))


@monitored("pages")
def pages(upto: int) -> Iterator[str]:
    yield from map(str, range(upto))


reveal_type(pages)
for page in pages(3):
    reveal_type(page)
pages("3")  # wrong: arg-type reportArgumentType


@monitored("stream")
async def stream(upto: int) -> AsyncIterator[str]:
    for page in range(upto):
        yield str(page)


async def use_stream() -> None:
    reveal_type(stream)
    async for page in stream(3):
        reveal_type(page)
    await stream(3)  # wrong: misc reportGeneralTypeIssues


class Shelf:
    def __init__(self, n: int) -> None:
        self.n = n

    @monitored("take")
    def take(self, page: int) -> str:
        return str(page)

    @monitored("fetch")
    async def fetch(self, page: int) -> str:
        return str(page)

    @classmethod
    @monitored("made")
    def made(cls, n: int) -> Shelf:
        return cls(n)

    @staticmethod
    @monitored("size")
    def size(n: int) -> float:
        return n

    @property
    @monitored("first")
    def first(self) -> str:
        return "first"


reveal_type(Shelf.take)
reveal_type(Shelf(1).take)
reveal_type(Shelf(1).fetch)
reveal_type(Shelf.made)
reveal_type(Shelf.made(1))
reveal_type(Shelf.size)
reveal_type(Shelf(1).first)
Shelf(1).take("1")  # wrong: arg-type reportArgumentType
Shelf.made("1")  # wrong: arg-type reportArgumentType
Shelf.size("1")  # wrong: arg-type reportArgumentType


class Reader(Shelf):
    @monitored("take")
    def take(self, page: str) -> str:  # wrong: override reportIncompatibleMethodOverride
        return page


@overload
def twice(x: int) -> int: ...
@overload
def twice(x: str) -> str: ...
@monitored("twice")
def twice(x: int | str) -> int | str:
    return x * 2


reveal_type(twice)
reveal_type(twice(1))
reveal_type(twice("a"))
twice(1.5)  # wrong: call-overload reportArgumentType,reportCallIssue


@monitored("first")
def first(things: list[T]) -> T:
    return things[0]


reveal_type(first)
reveal_type(first([1]))
reveal_type(first(["a"]))


@monitored("apply")
def apply(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    return function(*args, **kwargs)


reveal_type(apply(read, 1))
apply(read, "1")  # wrong: arg-type reportArgumentType


class Box(Generic[T]):
    def __init__(self, thing: T) -> None:
        self.thing = thing

    @monitored("open")
    def open(self) -> T:
        return self.thing


reveal_type(Box(1).open())
part = functools.partial(lookup, exact=True)
reveal_type(part("a"))


def anything(function: Callable[[int], int]) -> None: ...


anything(bare)
anything(lookup)  # wrong: arg-type reportArgumentType
untyped: Any = lookup
