"""The least code that still does what a monitored block, step or result must do.

No switch, no budget, no error, no parent, no result looked at beyond what is named: a clock, a record, its place in the
inbox, and the context variable that holds the current call. What is above these in ours is the library.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import perf_counter
from types import TracebackType
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.details import CompactDetails
from toolweaver_monitor._core.sanitize import MAX_FAST
from toolweaver_monitor._usage.dict_results import SMALL_DICT
from toolweaver_monitor._usage.extract import DICT_KEYS

_box: deque[ToolCall] = deque()
_put, _get, _set, _reset = _box.append, current.get, current.set, current.reset
nothing_else = (DICT_KEYS - {"tokens_used", "cost"}).isdisjoint

drain = _box.clear


class Block:
    """A block, for `with` and `async with`."""

    __slots__ = ("call", "token")

    def __init__(self, name: str) -> None:
        self.call = ToolCall(name)

    def __enter__(self) -> ToolCall:
        """Open the call."""
        call = self.call
        call._opened_at = perf_counter()
        _put(call)
        self.token = _set(call)
        return call

    def __exit__(self, *error: object) -> None:
        """Close it."""
        call = self.call
        call.duration_s = perf_counter() - call._opened_at
        _reset(self.token)
        call.outcome = "success"

    async def __aenter__(self) -> ToolCall:
        """Open the call."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.__exit__()


def coroutine(function: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """A monitored coroutine function."""

    async def run() -> object:
        call = ToolCall("tool", "open", 0.0, perf_counter())
        _put(call)
        token = _set(call)
        result = await function()
        call.duration_s = perf_counter() - call._opened_at
        _reset(token)
        call.outcome = "success"
        return result

    return run


def function(body: Callable[[], Any], read: Callable[[ToolCall, Any], object] | None = None) -> Callable[[], Any]:
    """A monitored function, whose result is read or not."""

    def run() -> Any:
        call = ToolCall("tool", "open", 0.0, perf_counter())
        _put(call)
        token = _set(call)
        result = body()
        call.duration_s = perf_counter() - call._opened_at
        if read is not None:
            read(call, result)
        _reset(token)
        call.outcome = "success"
        return result

    return run


def trusting(call: ToolCall, result: Any) -> None:
    """Read a result dict that is known to be small and to have both values, and both of them valid."""
    names = {*result}
    if nothing_else(names):
        call._details = CompactDetails(result["tokens_used"], result["cost"])


def careful(call: ToolCall, result: Any) -> None:
    """The same where nothing is known: the size of the dict, whether each is there, and the type and range of both."""
    if len(result) <= SMALL_DICT:
        names = {*result}
        if nothing_else(names) and "cost" in names and "tokens_used" in names:
            tokens, cost = result["tokens_used"], result["cost"]
            if type(tokens) is int and type(cost) is float and 0 <= tokens <= MAX_FAST and 0.0 <= cost <= 1e6:
                call._details = CompactDetails(tokens, cost)


def generator(body: Callable[[int], Iterator[object]]) -> Callable[[int], Iterator[object]]:
    """A monitored generator: current only while its body runs, its items counted and released."""

    def run(n: int) -> Iterator[object]:
        step, items = body(n).send, 0
        token = _set(ToolCall("tool"))
        try:
            while True:
                item = step(None)
                inside = _get()
                _reset(token)
                items += 1
                yield (item,)[item := 0]
                token = _set(inside)
        except StopIteration:
            _reset(token)

    return run


def async_generator(body: Callable[[int], Any]) -> Callable[[int], AsyncIterator[object]]:
    """A monitored async generator."""

    async def run(n: int) -> AsyncIterator[object]:
        step, items = body(n).asend, 0
        token = _set(ToolCall("tool"))
        try:
            while True:
                item = await step(None)
                inside = _get()
                _reset(token)
                items += 1
                yield (item,)[item := 0]
                token = _set(inside)
        except StopAsyncIteration:
            _reset(token)

    return run
