"""Does a sink of your own do what `setup()` counts on?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from toolweaver_monitor._core.call import ENDED, ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.timeouts import validate_timeout
from toolweaver_monitor._runtime.options import make_sink
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import Mergeable, Reporting, Sink, Startable

WAIT_S = 30.0


def sample_calls() -> list[ToolCall]:
    """Closed calls of every outcome, with few fields and with all of them: what a sink may meet."""
    now = monotonic_s()
    calls = [ToolCall("bare", "success", 0.0, now)]
    for number, outcome in enumerate(ENDED, start=1):
        details = CallDetails(
            unsplit_tokens=number,
            input_tokens=10 * number,
            output_tokens=5 * number,
            cached_tokens=2 * number,
            cost_nanousd=None if number % 3 == 0 else 10_000_000 * number,
            cost_source=None if number % 3 == 0 else "reported",
            model="a-model",
            provider="a-provider",
            cached=number % 2 == 0,
            attempt=number,
            tags={"customer": "acme", "page": number, "share": 0.5, "draft": True},
            error_type="ValueError" if outcome in ERROR_OUTCOMES else None,
            raw_error='a text with a quote ", a comma, a\nnew line and \u20ac' if outcome in ERROR_OUTCOMES else "",
            redacted=True,
            first_item_s=0.001,
            items=number,
        )
        calls.append(ToolCall(f'tool "{number}" \u00e4\\{{}}', outcome, 0.25 * number, now, details))
    return calls


def check_sink(sink: Any, *, delivered: Callable[[], int] | None = None) -> None:
    """Try a sink with everything that it will meet. It is closed at the end: give it one made for the purpose.

    Args:
        sink: a `Sink`, or a callable that takes a `ToolCall`.
        delivered: returns how many calls have arrived where the sink sends them; asked after `flush()`.

    Raises:
        AssertionError: it breaks the contract; the message lists how, and what to do instead.
    """
    __tracebackhide__ = True
    try:
        sink = make_sink(sink)
    except ConfigurationError as error:
        raise AssertionError(str(error)) from None
    check = _Check(sink)
    check.grace()
    check.starting()
    check.writing(delivered)
    check.status()
    check.ending()
    if check.breaches:
        raise AssertionError("\n  ".join([f"the sink {sink.name!r} breaks the contract:", *check.breaches]))


class _Check:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.breaches: list[str] = []

    def grace(self) -> None:
        """Check `grace_s`, which the end of the program ignores if it is invalid."""
        try:
            validate_timeout(getattr(self.sink, "grace_s", 0.0))
        except ConfigurationError:
            self.breaches.append(f"grace_s is {getattr(self.sink, 'grace_s', None)!r}; give a number of seconds")

    def starting(self) -> None:
        if isinstance(self.sink, Startable):
            self._does("start()", self.sink.start)

    def writing(self, delivered: Callable[[], int] | None) -> None:
        self._does("flush() before the first call", self.sink.flush)
        self._does("write(()), a batch of none", lambda: self.sink.write(()))
        calls = sample_calls()
        before = [_frozen(call) for call in calls]
        first, rest = calls[:2], calls[2:]
        self._does("write(calls)", lambda: self.sink.write(tuple(first)))
        self._does("write(calls) again", lambda: self.sink.write(tuple(rest)))
        self._does("flush()", self.sink.flush)
        self._does("flush() twice", self.sink.flush)
        if [_frozen(call) for call in calls] != before:
            self.breaches.append("write() changes the calls, which other sinks get, too; make what you need from them")
        if delivered is not None:
            arrived = delivered()
            if arrived != len(calls):
                self.breaches.append(
                    f"{arrived} of {len(calls)} calls have arrived after flush(); send on all that write() has kept"
                )
        sink = self.sink
        if isinstance(sink, Mergeable):
            self._does("merge(calls)", lambda: sink.merge(tuple(sample_calls())))
            self._does("write(()) after merge(calls)", lambda: self.sink.write(()))

    def status(self) -> None:
        if not isinstance(self.sink, Reporting):
            return
        try:
            json.dumps(dict(self.sink.status()))
        except Exception as error:  # noqa: BLE001 - whatever it raises is a finding
            self.breaches.append(f"status() gives nothing that JSON can hold ({_named(error)}); give plain figures")

    def ending(self) -> None:
        self._does("close()", self.sink.close)
        self._does("close() twice", self.sink.close)

    def _does(self, what: str, step: Callable[[], object]) -> None:
        """Take a step as a runner does: on a thread that has not made the sink."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - whatever it raises is a finding
                raised.append(error)

        thread = threading.Thread(target=run, name="check_sink", daemon=True)
        thread.start()
        thread.join(WAIT_S)
        if thread.is_alive():
            self.breaches.append(f"{what} takes longer than {WAIT_S:.0f} s; give what it waits for a timeout")
        elif raised:
            self.breaches.append(f"{what} raises {_named(raised[0])}")


def _frozen(call: ToolCall) -> object:
    details = None if call._details is None else msgspec.structs.astuple(call._details)
    tags = dict(call.tags)
    return call.tool_name, call.outcome, call.duration_s, call._opened_at, details, tags


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
