"""Streams that a function returns: the call of the function stays open until their end.

A generator is replaced by one that takes its steps, since nothing else can see them. The stream of an SDK stays the
object that it is: the generator that it keeps in a field is replaced, or the request with which it is opened. One that
makes each item by itself, as LiteLLM's does, gets a class below its own, whose `__next__` takes the step.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.introspect import can_be_changed, definer, mro_of, name_of, own_namespace, vars_of
from toolweaver_monitor._instrument import closing
from toolweaver_monitor._instrument.generators import run_async_generator, run_generator
from toolweaver_monitor._instrument.hot_path import finish_with_error, publish
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.stream import StreamObserver
from toolweaver_monitor._instrument.tool import ToolSpec

_ITEM_FIELDS = ("_iterator", "generator")
"""Where streams keep the generator of their items: OpenAI, Anthropic, Groq; Mistral."""
_REQUEST = "__api_request"
"""How the field ends in which a stream manager keeps the request that `with` sends: a function, or a coroutine."""


def watch(tool: ToolSpec, call: ToolCall, result: Any, in_place: bool) -> Any:
    """Keep a call open until the end of the stream that its function returned (see `hot_path.watch_stream`)."""
    if type(result) is types.GeneratorType or type(result) is types.AsyncGeneratorType:
        return None if in_place or tool.of_module else _observe(tool, result, StreamObserver(call, tool))
    try:
        if _watch_sdk(tool, call, result):
            return result
        if tool.usage is not False and bus.policy.read_results:
            closing.note_unknown_cost(call)
    except Exception as error:  # noqa: BLE001 - the stream must reach its consumer in any case
        report_internal_error(error)
    return None


def _observe(tool: ToolSpec, body: Any, observer: StreamObserver) -> Any:
    """Return a generator that takes the steps of another one under the observer's call, and closes that at the end."""
    run: Callable[..., Any] = run_generator if type(body) is types.GeneratorType else run_async_generator
    items = run(body, tool, None, (), {}, observer)
    items.__name__, items.__qualname__ = body.__name__, body.__qualname__
    weakref.finalize(items, _abandon, observer).atexit = False
    return items


def _abandon(observer: StreamObserver) -> None:
    """Close the call of a stream that was dropped before its first item was requested."""
    call = observer.call
    if not observer.has_started and call.outcome == "open":
        call._ensure_details()
        call.duration_s = monotonic_s() - call._opened_at
        if observer.is_charged:
            closing.note_unknown_cost(call)
        publish(call, "abandoned")


def _watch_sdk(tool: ToolSpec, call: ToolCall, stream: Any) -> bool:
    """Watch the stream of an SDK, or what opens one, in place. Return whether that is possible."""
    fields = own_namespace(stream)
    if fields is None:
        return False
    if "_raw_stream" in fields:  # the events of a helper; those that the provider sent have the usage
        return _watch_sdk(tool, call, fields["_raw_stream"])
    for name in _ITEM_FIELDS:
        items = fields[name] if name in fields else _make_items(stream, name)
        if type(items) is types.GeneratorType or type(items) is types.AsyncGeneratorType:
            fields[name] = _observe(tool, items, StreamObserver(call, tool, is_charged=True))
            return True
    for name in fields:
        if name.endswith(_REQUEST):
            _watch_request(tool, call, stream, fields, name)
            return True
    return _watch_steps(tool, call, stream, fields)


def _make_items(stream: Any, name: str) -> Any:
    """Return the generator that a stream makes when its field is first read, as Anthropic's do; None for others."""
    lazy = _attribute_of(type(stream), name)
    return lazy.func(stream) if isinstance(lazy, functools.cached_property) else None


def _watch_request(tool: ToolSpec, call: ToolCall, manager: Any, fields: dict[str, Any], name: str) -> None:
    """Watch the stream that a manager opens with the request in a field of it."""
    request = fields[name]
    observer = StreamObserver(call, tool)

    def note_opened(stream: Any) -> Any:
        if not _watch_sdk(tool, call, stream):
            closing.note_unknown_cost(call)
            publish(call, "success")
        return stream

    def send() -> Any:
        observer.has_started, fields[name] = True, request  # a manager that is entered again sends another one
        try:
            return note_opened(request())
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    async def send_async() -> Any:
        observer.has_started = True
        try:
            return note_opened(await request)
        except BaseException as error:
            finish_with_error(tool, call, error)
            raise

    if type(request) is types.CoroutineType:
        sending: Any = send_async()
        fields[name] = sending
        sending.__name__, sending.__qualname__ = request.__name__, request.__qualname__
    else:
        fields[name] = send
    weakref.finalize(manager, _drop_request, observer, request).atexit = False


def _drop_request(observer: StreamObserver, request: Any) -> None:
    """Close the call of a manager that was dropped before it sent its request."""
    if not observer.has_started and type(request) is types.CoroutineType:
        request.close()  # Python warns about the coroutine that stands for it, not about both
    _abandon(observer)


def _watch_steps(tool: ToolSpec, call: ToolCall, stream: Any, fields: dict[str, Any]) -> bool:
    """Watch a stream whose class takes the steps. Return whether its class can be replaced by one below it."""
    kind: Any = type(stream)
    below, field = _class_below(kind)
    if below is None:
        return False
    this, observer = weakref.ref(stream), StreamObserver(call, tool, is_charged=True)  # the stream keeps its generators
    fields[field] = (
        _observe(tool, _take_steps(_attribute_of(kind, "__next__"), this), observer),
        _observe(tool, _take_async_steps(_attribute_of(kind, "__anext__"), this), observer),
    )
    try:
        stream.__class__ = below
    except TypeError:  # slots, or a class that is not made in Python
        observer.has_started = True
        del fields[field]
        return False
    return True


@functools.lru_cache(maxsize=256)
def _class_below(kind: type) -> tuple[type | None, str]:
    """Return a class below that of a stream, which takes the steps of a watched one, and the field that it uses."""
    field = f"_toolweaver_items_{len(mro_of(kind))}"  # another one for each of several calls that return the stream
    step, async_step = _attribute_of(kind, "__next__"), _attribute_of(kind, "__anext__")

    def take_step(self: Any) -> Any:
        items = own_namespace(self)[field][0]  # type: ignore[index]
        return step(self) if items.gi_frame is None else next(items)

    async def take_async_step(self: Any) -> Any:
        items = own_namespace(self)[field][1]  # type: ignore[index]
        return await (async_step(self) if items.ag_frame is None else anext(items))

    def begin(self: Any) -> Any:
        begun = iter_of(self)
        return self if begun is self else own_namespace(self)[field][0]  # type: ignore[index]

    def begin_async(self: Any) -> Any:
        begun = aiter_of(self)
        return self if begun is self else own_namespace(self)[field][1]  # type: ignore[index]

    iter_of, aiter_of = _attribute_of(kind, "__iter__"), _attribute_of(kind, "__aiter__")
    members: dict[str, Any] = {"__slots__": (), "__module__": kind.__module__, "__qualname__": name_of(kind)}
    if step is not None:
        members |= {"__next__": take_step, "__iter__": begin}
    if async_step is not None:
        members |= {"__anext__": take_async_step, "__aiter__": begin_async}
    is_possible = (step or async_step) is not None and can_be_changed(kind)
    return type(kind.__name__, (kind,), members) if is_possible else None, field


def _attribute_of(kind: type, name: str) -> Any:
    """Return what a class has under a name, unbound; None if it has nothing."""
    owner = definer(kind, name)
    return vars_of(owner)[name] if owner is not None else None


def _take_steps(step: Any, this: Callable[[], Any]) -> Generator[Any, None, None]:
    try:
        while True:
            yield step(this())
    except StopIteration:
        pass


async def _take_async_steps(step: Any, this: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    try:
        while True:
            yield await step(this())
    except StopAsyncIteration:
        pass
