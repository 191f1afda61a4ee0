"""Streams that a function returns: the call of the function stays open until their end.

A generator is replaced by one that takes its steps, since nothing else can see them. The stream of an SDK stays the
object that it is: the generator that it keeps in a field is replaced, or the request with which it is opened.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.introspect import definer, own_namespace, vars_of
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
        return None if in_place or not tool.watches_generators else _observe(tool, call, result)
    try:
        if _watch_sdk(tool, call, result):
            return result
        if tool.usage is not False and bus.policy.read_results:
            closing.note_unknown_cost(call)
    except Exception as error:  # noqa: BLE001 - the stream must reach its consumer in any case
        report_internal_error(error)
    return None


def _observe(tool: ToolSpec, call: ToolCall, body: Any, *, is_charged: bool = False) -> Any:
    """Return a generator that takes the steps of another one under an open call, and closes the call at the end."""
    observer = StreamObserver(call, tool, is_charged=is_charged)
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
            fields[name] = _observe(tool, call, items, is_charged=True)
            return True
    for name in fields:
        if name.endswith(_REQUEST):
            _watch_request(tool, call, stream, fields, name)
            return True
    return False


def _make_items(stream: Any, name: str) -> Any:
    """Return the generator that a stream makes when its field is first read, as Anthropic's do; None for others."""
    owner = definer(type(stream), name)
    lazy = vars_of(owner)[name] if owner is not None else None
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
