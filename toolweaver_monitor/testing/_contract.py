"""Check that a sink does what `setup()` relies on."""

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
    """Return closed calls of every outcome, with few fields and with all of them, as a sink may receive them."""
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
            error_type="ValueError" if outcome in ERROR_OUTCOMES else None,
            raw_error='a text with a quote ", a comma, a\nnew line and \u20ac' if outcome in ERROR_OUTCOMES else "",
            redacted=True,
            first_item_s=0.001,
            items=number,
        )
        calls.append(ToolCall(f'tool "{number}" \u00e4\\{{}}', outcome, 0.25 * number, now, _details=details))
    return calls


def check_sink(sink: Any, *, delivered: Callable[[], int] | None = None) -> None:
    """Exercise a sink with everything that it will meet. It is closed at the end, so give one made for this purpose.

    Args:
        sink: a `Sink`, or a callable that takes a `ToolCall`.
        delivered: returns the number of calls that have arrived at the sink's destination; called after `flush()`.

    Raises:
        AssertionError: the sink breaks the contract; the message lists each breach and what to do instead.
    """
    __tracebackhide__ = True
    try:
        sink = make_sink(sink)
    except ConfigurationError as error:
        raise AssertionError(str(error)) from None
    check = _ContractCheck(sink)
    check.verify_grace()
    check.verify_start()
    check.verify_writes(delivered)
    check.verify_status()
    check.verify_close()
    if check.breaches:
        raise AssertionError("\n  ".join([f"the sink {sink.name!r} breaks the contract:", *check.breaches]))


class _ContractCheck:
    """The checks of one sink, and the breaches found so far."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.breaches: list[str] = []

    def verify_grace(self) -> None:
        """Check `grace_s`, which the end of the program ignores if it is invalid."""
        try:
            validate_timeout(getattr(self.sink, "grace_s", 0.0))
        except ConfigurationError:
            self.breaches.append(f"grace_s is {getattr(self.sink, 'grace_s', None)!r}; give a number of seconds")

    def verify_start(self) -> None:
        if isinstance(self.sink, Startable):
            self._run("start()", self.sink.start)

    def verify_writes(self, delivered: Callable[[], int] | None) -> None:
        self._run("flush() before the first call", self.sink.flush)
        self._run("write(()), a batch of none", lambda: self.sink.write(()))
        calls = sample_calls()
        before = [_snapshot(call) for call in calls]
        first, rest = calls[:2], calls[2:]
        self._run("write(calls)", lambda: self.sink.write(tuple(first)))
        self._run("write(calls) again", lambda: self.sink.write(tuple(rest)))
        self._run("flush()", self.sink.flush)
        self._run("flush() twice", self.sink.flush)
        if [_snapshot(call) for call in calls] != before:
            self.breaches.append(
                "write() changes the calls, which other sinks receive as well; make what you need from them"
            )
        if delivered is not None:
            arrivals = delivered()
            if arrivals != len(calls):
                self.breaches.append(
                    f"{arrivals} of {len(calls)} calls have arrived after flush(); send what write() buffered"
                )
        sink = self.sink
        if isinstance(sink, Mergeable):
            self._run("merge(calls)", lambda: sink.merge(tuple(sample_calls())))
            self._run("write(()) after merge(calls)", lambda: self.sink.write(()))

    def verify_status(self) -> None:
        if not isinstance(self.sink, Reporting):
            return
        try:
            json.dumps(dict(self.sink.status()))
        except Exception as error:  # noqa: BLE001 - whatever it raises is a breach
            self.breaches.append(f"status() is not ready for JSON ({_describe_error(error)}); return plain values")

    def verify_close(self) -> None:
        self._run("close()", self.sink.close)
        self._run("close() twice", self.sink.close)

    def _run(self, what: str, step: Callable[[], object]) -> None:
        """Run a step as a sink's runner does: on a thread other than the one that made the sink."""
        raised: list[BaseException] = []

        def attempt() -> None:
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - whatever it raises is a breach
                raised.append(error)

        thread = threading.Thread(target=attempt, name="check_sink", daemon=True)
        thread.start()
        thread.join(WAIT_S)
        if thread.is_alive():
            self.breaches.append(f"{what} takes longer than {WAIT_S:.0f} s; wait with a timeout")
        elif raised:
            self.breaches.append(f"{what} raises {_describe_error(raised[0])}")


def _snapshot(call: ToolCall) -> object:
    details = None if call._details is None else msgspec.structs.astuple(call._details)
    tags = dict(call.tags)
    return call.tool_name, call.outcome, call.duration_s, call._opened_at, details, tags


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
