"""`ToolRecorder`: record the tools that the code under test calls, and assert on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ENDED, Outcome, ToolCall
from toolweaver_monitor._core.sanitize import NANO, TagValue
from toolweaver_monitor._runtime.setup import get_monitor, setup
from toolweaver_monitor._text.display import escape, pluralize
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink
from toolweaver_monitor.testing._call_tree import format_calls


class ToolRecorder:
    """A monitor for tests: it keeps every call in memory and has assertions. The pytest fixture `toolweaver` is one.

    As a context manager it ends with the block. It replaces an earlier `setup()` and ignores sinks and budgets of the
    environment, so that a test sees its own calls and nothing else.

    Args:
        **settings: for `setup()`: `budget`, `prices`, `tags`, `usage`, `capture`, `error_text`, `redact`,
            `max_operations`.

    Attributes:
        monitor: the `Monitor`, for `summary()`, `costs`, `errors`.
    """

    def __init__(self, **settings: Any) -> None:
        self._calls = _CallKeeper()
        self._has_failed = False
        """Whether an assertion of this recorder has failed, whose message has the calls."""
        options: dict[str, Any] = {"budget": [], "redact": True, "enabled": True} | settings
        self.monitor = setup(self._calls, **options)

    def calls(self, tool_name: str | None = None) -> list[ToolCall]:
        """Return the calls that have ended, in that order, of one tool or of all. Includes those that were `rejected`.

        Raises:
            ConfigurationError: the code under test has called `setup()` or `shutdown()` itself, so that this recorder
                no longer receives calls.
        """
        current = get_monitor()
        if current is not self.monitor:
            function = "shutdown()" if current is None else "setup()"
            raise ConfigurationError(
                f"the code under test has called {function} itself, so this recorder no longer receives calls",
                hint="keep that call out of the tested code, for example behind `if __name__ == '__main__'`",
            )
        kept = self._calls.list_calls()
        return kept if tool_name is None else [call for call in kept if call.tool_name == tool_name]

    def assert_called(
        self,
        tool_name: str,
        *,
        times: int | None = None,
        outcome: Outcome | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_duration_s: float | None = None,
        tags: Mapping[str, TagValue] | None = None,
    ) -> list[ToolCall]:
        """Assert that the tool ran. Calls that a budget rejected did not run; select those with `outcome="rejected"`.

        Args:
            tool_name: the tool.
            times: the exact number of calls; at least one if not given.
            outcome: count only calls with this outcome: success, failure, timeout, cancelled, interrupted, rejected or
                abandoned.
            max_cost: dollars that these calls may cost in total. The assertion fails for a call that used tokens or a
                model and has no known price: unknown is not 0.
            max_tokens: tokens that these calls may use in total.
            max_duration_s: seconds that each of these calls may take.
            tags: count only calls with all of these tags.

        Returns:
            The calls counted.

        Raises:
            AssertionError: the tool did not run so; the message shows the calls that there were, as a tree.
            ConfigurationError: there is no such outcome.
        """
        __tracebackhide__ = True
        if outcome is not None and outcome not in ENDED:
            raise ConfigurationError(f"outcome={outcome!r} is not an outcome", hint=f"give {', '.join(ENDED)}")
        ran = [call for call in self.calls(tool_name) if call.outcome != "rejected"]
        counted = ran if outcome is None else [call for call in self.calls(tool_name) if call.outcome == outcome]
        wanted = tags or {}
        counted = [call for call in counted if all(call.tags.get(key) == value for key, value in wanted.items())]
        which = escape(tool_name) + (f" with outcome {outcome}" if outcome else "")
        which += f" with tags {dict(wanted)}" if wanted else ""
        if times is None and not counted:
            self._fail(f"{which} was not called")
        if times is not None and len(counted) != times:
            self._fail(f"{which} was called {_format_times(len(counted))}, not {_format_times(times)}")
        if max_cost is not None:
            self._check_cost(which, counted, max_cost)
        tokens = sum(call.tokens for call in counted)
        if max_tokens is not None and tokens > max_tokens:
            self._fail(f"{which} used {tokens:,} tokens, more than {max_tokens:,}")
        for call in counted:
            if max_duration_s is not None and call.duration_s > max_duration_s:
                self._fail(f"a call of {which} took {call.duration_s:.3f} s, more than {max_duration_s} s")
        return counted

    def assert_not_called(self, tool_name: str | None = None) -> None:
        """Assert that the tool did not run, or that no tool did.

        Raises:
            AssertionError: it did; the message shows the calls that there were, as a tree.
        """
        __tracebackhide__ = True
        ran = [call for call in self.calls(tool_name) if call.outcome != "rejected"]
        if ran:
            self._fail(f"{escape(tool_name or ran[0].tool_name)} was called {_format_times(len(ran))}")

    def assert_no_errors(self, tool_name: str | None = None) -> None:
        """Assert that no call of the tool, or of any tool, failed or timed out.

        Raises:
            AssertionError: one did; the message shows the errors, and the calls around them.
        """
        __tracebackhide__ = True
        errors = [call for call in self.calls(tool_name) if call.is_error]
        if errors:
            self._fail(f"{pluralize(len(errors), 'call')} failed", errors)

    def clear(self) -> None:
        """Remove the calls recorded so far. The monitor's totals stay."""
        self.calls()
        self._calls.remove_all()

    def close(self) -> None:
        """Stop monitoring."""
        self.monitor.shutdown()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop monitoring."""
        self.close()

    def _check_cost(self, which: str, calls: Sequence[ToolCall], max_cost: float) -> None:
        __tracebackhide__ = True
        unknown = [call for call in calls if call.cost_usd is None and (call.tokens or call.model)]
        if unknown:
            self._fail(f"the cost of {which} is not known for {pluralize(len(unknown), 'call')}", unknown)
        cost_nanousd = sum(call._cost_nanousd or 0 for call in calls)
        if cost_nanousd > round(max_cost * NANO):
            self._fail(f"{which} cost ${cost_nanousd / NANO:.6g}, more than ${max_cost:.6g}")

    def _fail(self, message: str, only: Sequence[ToolCall] | None = None) -> None:
        __tracebackhide__ = True
        self._has_failed = True
        raise AssertionError(f"{message}\n{self.call_tree(only)}")

    def call_tree(self, only: Sequence[ToolCall] | None = None) -> str:
        """Return the calls as text: in the order in which they started, each below the call inside which it ran.

        Calls that still run are included. With pytest, a test that fails shows this text.

        Args:
            only: show no more than these calls and the calls around them.
        """
        lines = format_calls(self._calls.list_calls(), bus.open_calls(), only)
        return "\n".join(["calls:", *lines]) if lines else "no tool was called"


class _CallKeeper(InMemorySink):
    """A sink that keeps the calls themselves. As an in-memory sink it has no thread of its own and loses no call."""

    name = "recorder"
    _sees_calls = True

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[ToolCall] = []

    def _observe(self, calls: Sequence[ToolCall]) -> None:
        """Keep a batch."""
        self._kept.extend(calls)

    def list_calls(self) -> list[ToolCall]:
        """Return all calls that have ended."""
        self._sources()
        return list(self._kept)

    def remove_all(self) -> None:
        """Remove every call."""
        self._kept.clear()


def _format_times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
