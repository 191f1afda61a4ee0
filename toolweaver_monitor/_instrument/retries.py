"""The number of an attempt, where a library of retries runs the tool again, or is a part of the tool.

Nothing is looked for until a call fails. Then the frames between the call and the one around it show whether tenacity,
stamina, backoff, LangGraph or PydanticAI will run it again, and which attempt this was. Until that has happened, or the
retries have ended, calls open by way of `number_attempt`, which gives the next call of the tool from there its number.

Of a function that tenacity has decorated, `count_attempts` asks tenacity how many it made in a call.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import islice
from types import BuiltinMethodType, FrameType, FunctionType
from typing import Any, NamedTuple

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.introspect import name_of
from toolweaver_monitor._usage import get_field, read_fields

_WRAPPERS = "toolweaver_monitor._instrument.wrappers"
"""The module of the outermost frame of a call."""
MAX_FRAMES = 24
MAX_PENDING = 1_000


class Retries(NamedTuple):
    """A retried operation that is under way."""

    token: Any
    """An object that lives as long as this operation, and is no other's."""
    number: int
    """The number of the attempt that runs now, or another one that grows from attempt to attempt."""


class PendingRetry(NamedTuple):
    """A retried operation of which an attempt has failed."""

    token: weakref.ref[Any]
    number: int
    attempt: int
    """The attempt that has failed, from 1."""


_pending: dict[tuple[int, str], PendingRetry] = {}
"""By the id of their token, and the tool."""


class Seen:
    """What failures have found.

    Attributes:
        modules_without: how many modules were loaded when none of `_READERS` was among them.
    """

    modules_without = 0


def note_failure(call: ToolCall) -> None:
    """Expect another attempt of a call that has failed and is about to close, if a library of retries runs it."""
    loaded = len(sys.modules)
    if loaded == Seen.modules_without:  # most programs have no such library, and pay for one look
        return
    if sys.modules.keys().isdisjoint(_READERS):
        Seen.modules_without = loaded
        return
    retries = find_retries(call)
    if retries is not None and len(_pending) < MAX_PENDING:
        attempt = 1 if call._ensure_details().holds_attempts else call.attempt
        failed = PendingRetry(weakref.ref(retries.token), retries.number, attempt)
        _pending[id(retries.token), call.tool_name] = failed
        bus.configure(number_attempt=number_attempt)


def number_attempt(call: ToolCall) -> None:
    """Set the number of a new call if it is the next attempt of a retried operation; forget operations that ended."""
    retries = None
    for key, pending in list(_pending.items()):
        token = pending.token()
        if token is None:
            _pending.pop(key, None)
        elif key[1] == call.tool_name:
            retries = retries or find_retries(call)
            if retries is not None and retries.token is token and retries.number > pending.number:
                _pending.pop(key, None)
                call._ensure_details().attempt = pending.attempt + 1
    if not _pending:
        bus.configure(number_attempt=None)
        if _pending:  # of another thread, just now
            bus.configure(number_attempt=number_attempt)


def find_retries(call: ToolCall) -> Retries | None:
    """Return the retried operation between a call that opens or closes here and the call around it, or None."""
    inner: FrameType | None = sys._getframe(1)
    module = ""
    while inner is not None and _is_own(inner) and module != _WRAPPERS:  # those of the call itself
        module, inner = _module_of(inner), inner.f_back
    for frame in islice(_frames_from(inner), MAX_FRAMES):
        if _is_own(frame):  # the call around
            return None
        module = _module_of(frame)
        read = _READERS.get(module) or _READERS.get(module.partition(".")[0])
        if read is _read_thread and call._parent_serial is not None:
            read = None  # nothing tells whether the call around is inside the node, which then retries that one
        if read is not None and (found := read(frame)) is not None:
            return found
    return None


def _frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those around it: around a task, those of the task that awaits it, as LangChain's do.

    That one is known by its wakeup among the callbacks of the other (CPython 3.11 to 3.13).
    """
    try:
        task: Any = sys.modules["asyncio"].current_task()
    except (KeyError, RuntimeError):  # no loop runs here
        task = None
    outermost = task and getattr(task.get_coro(), "cr_frame", None)
    while frame is not None:
        yield frame
        frame = None if frame is outermost else frame.f_back
    while task is not None:
        found = [each for each, _ in getattr(task, "_callbacks", None) or () if type(each) is BuiltinMethodType]
        task = found[0].__self__ if found and found[0].__name__ == "task_wakeup" else None
        suspended, awaited = [], task and task.get_coro()
        while (around := getattr(awaited, "cr_frame", None)) is not None:
            suspended.append(around)
            awaited = awaited.cr_await
        if type(awaited).__name__ != "FutureIter":  # an async generator, whose frames are not to be seen
            return
        yield from reversed(suspended)


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""


def _is_own(frame: FrameType) -> bool:
    return _module_of(frame).startswith("toolweaver_monitor.")


def _fields_of(thing: object) -> dict[str, Any]:
    return read_fields(thing) or {}


def _operation_of(state: object) -> Retries | None:
    """Read tenacity's state, which is made for one operation."""
    number = get_field(_fields_of(state), "attempt_number")
    is_known = name_of(type(state)) == "RetryCallState" and type(number) is int
    return Retries(state, number) if is_known else None


def _read_tenacity(frame: FrameType) -> Retries | None:
    return _operation_of(frame.f_locals.get("retry_state"))


def _read_stamina(frame: FrameType) -> Retries | None:
    """Read stamina's loop, which stands on tenacity."""
    inner = get_field(_fields_of(frame.f_locals.get("attempt")), "_t_attempt")
    return _operation_of(get_field(_fields_of(inner), "retry_state"))


def _read_backoff(frame: FrameType) -> Retries | None:
    """Read backoff's loop: its generator of waits is made for one operation."""
    waits, number = frame.f_locals.get("wait"), frame.f_locals.get("tries")
    return Retries(waits, number) if hasattr(type(waits), "gi_frame") and type(number) is int else None


def _read_langgraph(frame: FrameType) -> Retries | None:
    """Read LangGraph's loop over the attempts of a node. An async node runs in a task of its own, below its config."""
    names: Any = frame.f_locals
    if frame.f_code.co_name == "ainvoke":
        return _node_of(names.get("config"))
    task, failed = names.get("task"), names.get("attempts")
    is_known = name_of(type(task)) == "PregelExecutableTask" and type(failed) is int and names.get("retry_policy")
    return Retries(task, failed + 1) if is_known else None


def _read_langchain(frame: FrameType) -> Retries | None:
    """Read the loop of LangChain's `with_retry()`, which stands on tenacity."""
    return _operation_of(get_field(_fields_of(frame.f_locals.get("attempt")), "retry_state"))


def _read_thread(frame: FrameType) -> Retries | None:
    """Read the config of a sync node that an async graph runs in a thread."""
    is_in_thread = frame.f_code.co_name == "wrapper"
    return _node_of(_variable("langchain_core.runnables.config", "var_child_runnable_config")) if is_in_thread else None


def _node_of(config: object) -> Retries | None:
    """Read the attempt of a node of LangGraph. What reads its state is made once for all attempts."""
    settings = _fields_of(get_field(_fields_of(config), "configurable"))
    info = get_field(_fields_of(get_field(settings, "__pregel_runtime")), "execution_info")
    number = get_field(_fields_of(info), "node_attempt")
    token = get_field(settings, "__pregel_read")
    return Retries(token, number) if type(number) is int and type(token) is functools.partial else None


def _read_pydantic_ai(_frame: FrameType) -> Retries | None:
    """Read the run in which PydanticAI calls a tool: after a `ModelRetry` the model is asked, and may call it again."""
    run = _variable("pydantic_ai._run_context", "_CURRENT_RUN_CONTEXT")
    usage = get_field(_fields_of(run), "usage")
    requests = get_field(_fields_of(usage), "requests")
    is_known = name_of(type(usage)) == "RunUsage" and type(requests) is int
    return Retries(usage, requests) if is_known else None


def _variable(module: str, name: str) -> Any:
    """Return the value of a framework's context variable, or None."""
    variable = vars(sys.modules.get(module, sys)).get(name)
    return variable.get(None) if type(variable) is ContextVar else None


_READERS: dict[str, Callable[[FrameType], Retries | None]] = {
    "tenacity": _read_tenacity,
    "stamina": _read_stamina,
    "backoff": _read_backoff,
    "langgraph": _read_langgraph,
    "langchain_core.runnables.config": _read_thread,
    "langchain_core.runnables.retry": _read_langchain,
    "pydantic_ai": _read_pydantic_ai,
}
"""What finds an operation by a frame, by the module or the package of the frame."""


def note_attempts(call: ToolCall, count: int) -> None:
    """Note that so many attempts of one operation ran inside a call, unless it is one of several itself."""
    if count > 1 and call.attempt == 1 and call.outcome == "open":
        details = call._ensure_details()
        details.attempt, details.holds_attempts = count, True


class _Attempts:
    """The attempts that tenacity makes in one call of a function. It has one dict of statistics for all its calls."""

    __slots__ = ("before", "call", "function", "is_alone", "running")

    def __init__(self, function: FunctionType, running: set[_Attempts]) -> None:
        self.function, self.running = function, running
        self.is_alone = True

    def __enter__(self) -> None:
        self.call = None if bus.active is None else current.get()
        self.before = self._statistics().get("start_time")
        self.running.add(self)
        for other in self.running - {self}:
            other.is_alone = self.is_alone = False

    def __exit__(self, *_: object) -> None:
        found = self._statistics()
        number = found.get("attempt_number")
        began = found.get("start_time") is not self.before  # another object for each operation
        if self.call is not None and self.is_alone and began and type(number) is int:
            note_attempts(self.call, number)
        self.running.discard(self)  # last: what begins from now on has not changed what was read

    def _statistics(self) -> dict[str, Any]:
        found = vars(self.function).get("statistics")
        if found is None:  # tenacity < 8.4
            found = getattr(vars(self.function).get("retry"), "statistics", None)
        return found if type(found) is dict else {}


def count_attempts(function: FunctionType) -> FunctionType:
    """Return a function that counts in its call the attempts that tenacity makes; any other function as it is.

    They are not counted for calls of the function that overlap: the statistics may be those of another one.
    """
    if function.__globals__.get("__name__") not in ("tenacity", "tenacity.asyncio", "tenacity._asyncio"):
        return function
    running: set[_Attempts] = set()

    def run(*args: Any, **kwargs: Any) -> Any:
        with _Attempts(function, running):
            return function(*args, **kwargs)

    async def run_async(*args: Any, **kwargs: Any) -> Any:
        with _Attempts(function, running):
            return await function(*args, **kwargs)

    return run_async if inspect.iscoroutinefunction(function) else run  # type: ignore[return-value]
