"""Which tools did the code under test call, and how did it go? Assertions in the language of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ENDED, Outcome, ToolCall
from toolweaver_monitor._core.sanitize import NANO, TagValue
from toolweaver_monitor._runtime.setup import get_monitor, setup
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink

SHOWN = 20


class ToolRecorder:
    """Watches in memory only, keeps every call, and asserts. The pytest fixture `toolweaver` is one of these.

    As a context manager it ends with the block. It ends what was set up before, and ignores sinks and budgets of the
    environment: a test sees its own calls and nothing else.

    Args:
        **settings: for `setup()`: `budget`, `prices`, `tags`, `usage`, `capture`, `error_text`, `redact`,
            `max_operations`.

    Attributes:
        monitor: the `Monitor`, for `summary()`, `costs`, `errors`.
    """

    def __init__(self, **settings: Any) -> None:
        self._calls = _Keeper()
        chosen: dict[str, Any] = {"budget": [], "redact": True, "enabled": True} | settings
        self.monitor = setup(self._calls, **chosen)

    def calls(self, tool_name: str | None = None) -> list[ToolCall]:
        """The calls that have ended, in that order; of one tool, or of all. Refused ones (`rejected`) included.

        Raises:
            ConfigurationError: the code under test has called `setup()` itself, so that this recorder sees no more.
        """
        current = get_monitor()
        if current is not self.monitor:
            what = "shutdown()" if current is None else "setup()"
            raise ConfigurationError(
                f"the code under test has called {what} itself, and this recorder sees no more; "
                "keep that call out of what you test, for example behind `if __name__ == '__main__'`"
            )
        kept = self._calls.kept()
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
        """The tool ran. Calls that a budget refused did not run; ask for those with `outcome="rejected"`.

        Args:
            tool_name: the tool.
            times: exactly how often; at least once if not given.
            outcome: count only calls that ended so: success, failure, timeout, cancelled, rejected, abandoned.
            max_cost: dollars that these calls may have cost together. A call that used tokens or a model and has no
                known price fails this: unknown is not 0.
            max_tokens: tokens that these calls may have used together.
            max_duration_s: seconds that each of these calls may have taken.
            tags: count only calls that carry these.

        Returns:
            The calls counted.

        Raises:
            AssertionError: it did not; the message lists the calls that there were.
        """
        __tracebackhide__ = True
        if outcome is not None and outcome not in ENDED:
            raise ConfigurationError(f"outcome={outcome!r} is none; there are {', '.join(ENDED)}")
        ran = [call for call in self.calls(tool_name) if call.outcome != "rejected"]
        found = ran if outcome is None else [call for call in self.calls(tool_name) if call.outcome == outcome]
        wanted = tags or {}
        found = [call for call in found if all(call.tags.get(key) == value for key, value in wanted.items())]
        which = escape(tool_name) + (f" with outcome {outcome}" if outcome else "")
        which += f" with tags {dict(wanted)}" if wanted else ""
        if times is None and not found:
            self._fail(f"{which} was not called")
        if times is not None and len(found) != times:
            self._fail(f"{which} was called {_times(len(found))}, not {_times(times)}")
        if max_cost is not None:
            self._check_cost(which, found, max_cost)
        tokens = sum(call.tokens for call in found)
        if max_tokens is not None and tokens > max_tokens:
            self._fail(f"{which} used {tokens:,} tokens, more than {max_tokens:,}")
        for call in found:
            if max_duration_s is not None and call.duration_s > max_duration_s:
                self._fail(f"a call of {which} took {call.duration_s:.3f} s, more than {max_duration_s} s")
        return found

    def assert_not_called(self, tool_name: str | None = None) -> None:
        """The tool, or any tool at all, did not run.

        Raises:
            AssertionError: it did; the message lists the calls that there were.
        """
        __tracebackhide__ = True
        ran = [call for call in self.calls(tool_name) if call.outcome != "rejected"]
        if ran:
            self._fail(f"{escape(tool_name or ran[0].tool_name)} was called {_times(len(ran))}")

    def assert_no_errors(self, tool_name: str | None = None) -> None:
        """No call of the tool, or of any tool, failed or timed out.

        Raises:
            AssertionError: one did; the message says how.
        """
        __tracebackhide__ = True
        errors = [call for call in self.calls(tool_name) if call.is_error]
        if errors:
            self._fail(f"{_plural(len(errors), 'call')} failed", errors)

    def clear(self) -> None:
        """Forget the calls so far; the monitor's totals stay."""
        self.calls()
        self._calls.forget()

    def close(self) -> None:
        """Stop watching."""
        self.monitor.shutdown()

    def __enter__(self) -> Self:
        """The recorder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching."""
        self.close()

    def _check_cost(self, which: str, found: Sequence[ToolCall], max_cost: float) -> None:
        __tracebackhide__ = True
        unknown = [call for call in found if call.cost_usd is None and (call.tokens or call.model)]
        if unknown:
            self._fail(f"the cost of {which} is not known for {_plural(len(unknown), 'call')}", unknown)
        cost_nanousd = sum(call._cost_nanousd or 0 for call in found)
        if cost_nanousd > round(max_cost * NANO):
            self._fail(f"{which} cost ${cost_nanousd / NANO:.6g}, more than ${max_cost:.6g}")

    def _fail(self, message: str, calls: Sequence[ToolCall] | None = None) -> None:
        __tracebackhide__ = True
        shown = self._calls.kept() if calls is None else calls
        lines = [message, "calls:" if shown else "no tool was called"]
        lines += [f"  {told(call)}" for call in shown[:SHOWN]]
        if len(shown) > SHOWN:
            lines.append(f"  and {len(shown) - SHOWN:,} more")
        lines += [f"  {escape(call.tool_name)}  still running" for call in bus.open_calls()]
        raise AssertionError("\n".join(lines))


def told(call: ToolCall) -> str:
    """A call as one line of an assertion's message."""
    parts = [escape(call.tool_name), call.outcome, f"{call.duration_s:.3f} s"]
    if call.cost_usd is not None:
        parts.append(f"${call.cost_usd:.6g}")
    if call.tokens:
        parts.append(f"{call.tokens:,} tokens")
    if call.tags:
        parts.append(escape(str(dict(call.tags))))
    if call.error_type is not None:
        parts.append(f"{escape(call.error_type)}: {escape(call.error)}")
    return "  ".join(parts)


class _Keeper(InMemorySink):
    """Keeps the calls themselves. A view: it is filled as the tallies are, without a thread and without a loss."""

    name = "recorder"
    _has_custom_buckets = True

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[ToolCall] = []

    def _observe(self, calls: Sequence[ToolCall]) -> None:
        """Keep a batch."""
        self._kept.extend(calls)

    def kept(self) -> list[ToolCall]:
        """All of them, everything that has ended brought in."""
        self._sources()
        return list(self._kept)

    def forget(self) -> None:
        """Keep none of them."""
        self._kept.clear()


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
