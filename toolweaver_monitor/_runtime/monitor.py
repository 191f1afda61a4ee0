"""What `setup()` returns: statistics, health, and the way to flush and to end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from toolweaver_monitor._budget import BudgetHandle
from toolweaver_monitor._budget.handles import BudgetHandles
from toolweaver_monitor._bus import process_exit
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ENDED, ERROR_OUTCOMES, Outcome
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._core.timeouts import run_off_loop, validate_timeout
from toolweaver_monitor._instrument.by_hand import HandRecorder
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._runtime.ending import Ending
from toolweaver_monitor._runtime.health import Health, health
from toolweaver_monitor._runtime.report import report_text, totals_and_budgets
from toolweaver_monitor._stats.path_tree import PathTree
from toolweaver_monitor._text.display import DEFAULT_ROWS, html_paragraphs, pluralize
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._text.reportable import Reportable
from toolweaver_monitor.sinks._memory.metrics import Summary
from toolweaver_monitor.sinks._memory.view import is_true, make_call

if TYPE_CHECKING:
    from toolweaver_monitor._http.mounted import ASGIApp, WSGIApp


class Monitor(Reportable):
    """The statistics and sinks of one `setup()`.

    It ends with `shutdown()`, with the process, or as a sync or async context manager. Its report shows the busiest
    tools, the most expensive tools, the latest errors and the budgets with the least left.
    """

    _meant: ClassVar[Mapping[str, str]] = {
        "stats": "monitor.summary()",
        "total_cost": "monitor.costs.total",
        "cost": "monitor.costs.total",
        "calls": "monitor.metrics.operations",
        "operations": "monitor.metrics.operations",
        "tools": 'monitor.summary()["tools"]',
        "close": "monitor.shutdown()",
        "stop": "monitor.shutdown()",
        "status": "monitor.health()",
        **dict.fromkeys(("reset", "clear"), "setup(), which begins anew"),
        "print_report": "monitor.report()",
    }
    """What to write instead of a name that one guesses."""

    def __init__(self, components: Components, release: Callable[[Monitor], None]) -> None:
        self.metrics, self.costs, self.errors = components.metrics, components.costs, components.errors
        self._components = components
        self._ending = Ending(components, lambda: release(self))
        self._by_hand = HandRecorder(lambda: not components.closed)
        self._budgets = BudgetHandles(components.ledger)

    def __repr__(self) -> str:
        total = self.summary()
        counts = f"{pluralize(total['count'], 'call')}, {total['failures']:,} failed, ${total['total_cost_usd']:,.4f}"
        sinks = ", ".join(self._components.sinks) or "memory only"
        return f"<Monitor: {counts}; {sinks}{'; closed' if self.closed else ''}>"

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def sinks(self) -> tuple[Any, ...]:
        """The sinks given to `setup()`: the caller's own objects."""
        return tuple(self._components.sinks.values())

    @property
    def budgets(self) -> Mapping[str, BudgetHandle]:
        """The limits of this setup by name; empty without budgets.

        `monitor.budgets["daily"].remaining()` returns what is neither spent nor set aside, in dollars, tokens or calls,
        and `.raise_to(30)` raises the limit. `.limit`, `.unit` and `.name` describe it. A budget with several limits
        has one entry for each, such as `"daily usd"`; one by customer is asked for `.remaining("acme")`.
        """
        return self._budgets

    @property
    def closed(self) -> bool:
        """Whether this setup has ended, or is ending."""
        return self._components.closed

    def summary(self, tool_name: str | None = None) -> Summary:
        """Return all-time totals over every tool, or over one, as `MetricsCollector.summary` does.

        Args:
            tool_name: the tool. Default: all of them.
        """
        return self.metrics.summary(tool_name)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary, each tool's totals, costs, the latest errors and the budgets as plain values."""
        return {
            **self.metrics.to_dict(),
            "costs": self.costs.to_dict(),
            "errors": self.errors.latest,
            "budgets": list(self._components.budgets()),
        }

    def tree(self) -> PathTree:
        """Return the calling context: where calls, time and money went, by the path of tools.

        Returns:
            A `PathTree`: `print(monitor.tree())` shows the heaviest paths, `.as_dict()` is for JSON, and `.folded()`
            for flame-graph viewers.
        """
        return self.metrics._tree()

    def active(self) -> list[dict[str, Any]]:
        """Return the calls open right now, the longest-running first.

        Returns:
            For each `tool_name`, `running_s` (seconds), `call_id` and `tags`.
        """
        return self._components.open_calls()

    def _repr_html_(self) -> str:
        """Return the totals, the budgets with the least left, and a table of the tools, for a notebook."""
        return html_paragraphs(totals_and_budgets(self._components)) + self.metrics._repr_html_()

    def _text(self, limit: int | None = DEFAULT_ROWS) -> str:
        return report_text(self._components, limit)

    def health(self) -> Health:
        """Return whether everything works, and what to do if it does not.

        Returns:
            A `Health`: problems, notes, and the state of every sink, budget and price list. Ready for JSON.
        """
        return health(self._components)

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page with the figures of this moment as one file, which a browser opens from disk.

        The file holds the texts of errors and the values of tags; it loads nothing, and sends nothing.

        Args:
            path: the file; one that is there is replaced.

        Returns:
            The path of the file.

        Raises:
            OSError: the file cannot be written.
        """
        from toolweaver_monitor._runtime.page import write_page

        return write_page(self._components, path)

    # --- serving --------------------------------------------------------------------------------------------------

    @suggest_keywords()
    def asgi(
        self,
        *,
        token: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        page: bool = False,
    ) -> ASGIApp:
        """Return an ASGI application that serves the metrics for Prometheus, to mount in yours.

        Write `app.mount("/metrics", monitor.asgi())`. It answers at any path that it is mounted at, opens no port, and
        serves the calls of this process only, or with `setup(shared=True)` those of all workers. Without a token it
        answers only clients on this machine that come through no proxy, at a name of loopback.

        Args:
            token: a bearer token that scrapes must carry.
            allowed_hosts: Host names to answer to, besides loopback; checked only without a token.
            insecure: answer without a token everybody who can reach the application.
            page: serve the page as well, at `page/` below the path at which this is mounted. It shows the texts of
                errors and the values of tags.

        Returns:
            The application. If no argument is given, it has the access rules of the `PrometheusExporter` of this setup,
            if there is one.

        Raises:
            ConfigurationError: an argument cannot be used; its `hint` names the fix.
        """
        from toolweaver_monitor._http.mounted import ASGIMetrics
        from toolweaver_monitor._runtime.mounts import mount

        return ASGIMetrics(mount(self._components, token, allowed_hosts, insecure, page))

    @suggest_keywords()
    def wsgi(
        self,
        *,
        token: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        page: bool = False,
    ) -> WSGIApp:
        """Return a WSGI application that serves the metrics; the arguments and rules are those of `asgi`."""
        from toolweaver_monitor._runtime.mounts import mount

        return mount(self._components, token, allowed_hosts, insecure, page).wsgi

    # --- recording ------------------------------------------------------------------------------------------------

    def record(
        self,
        tool_name: str,
        *,
        duration_s: float,
        outcome: Outcome = "success",
        error: str | BaseException = "",
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        cost: float | Decimal | None = None,
        model: str | None = None,
        provider: str | None = None,
        cached: bool | None = None,
        attempt: int | None = None,
        **tags: Any,
    ) -> None:
        """Record a call that has ended elsewhere. It goes the way of all others, to budgets and sinks.

        It is inside the call that is open in this context, if there is one. Budgets are charged and never refuse it.
        Never raises; invalid values are left out and counted, as in `ToolCall.record`.

        Args:
            tool_name: the tool; anything that is not a name becomes `unnamed`.
            duration_s: seconds that it took.
            outcome: how it ended, as in `ToolCall.outcome`. Anything else is counted as invalid, and a failure.
            error: what went wrong: a text or the exception itself, without secrets. With one a success is a failure.
            tokens: tokens that are not split into input and output.
            input_tokens: tokens sent to the model, cached ones included.
            output_tokens: tokens produced by the model.
            cached_tokens: the part of `input_tokens` served from the provider's cache.
            cost: dollars.
            model: the model's name, as its price list spells it.
            provider: the name of the service, such as `"openai"`.
            cached: whether your own cache answered the whole call, which then costs 0.
            attempt: the number of this try of a retried operation, from 1.
            **tags: your own labels.
        """
        if not isinstance(outcome, str) or outcome not in ENDED:
            Diagnostics.invalid_values += 1
            outcome = "failure"
        has_error = isinstance(error, BaseException) or is_true(error)
        failed = outcome in ERROR_OUTCOMES or (outcome == "success" and has_error)
        call = make_call(tool_name, duration_s=duration_s, success=not failed, error=error)
        if outcome != "success":
            call.outcome = outcome
            call._ensure_details()  # a call without them is counted as a success
        figures = {
            "tokens": tokens, "input_tokens": input_tokens, "output_tokens": output_tokens,
            "cached_tokens": cached_tokens, "cost": cost, "model": model, "provider": provider, "cached": cached,
            "attempt": attempt,
        }  # fmt: skip
        told = {name: value for name, value in figures.items() if value is not None}
        self._by_hand.hand_in(call, figures=told | tags)

    # --- ending ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Write every call that ended before now to every sink.

        Args:
            timeout: the longest wait, in seconds; 0 or less does not wait; `float("inf")` waits for as long as it
                takes.

        Returns:
            True only if everything was written.

        Raises:
            ConfigurationError: `timeout` is not a number.
        """
        timeout = validate_timeout(timeout)
        return self._components.flush(self._components.runners, timeout)

    async def aflush(self, timeout: float = 2.0) -> bool:
        """Flush as `flush` does, without blocking the event loop."""
        validate_timeout(timeout)
        return await run_off_loop(self.flush, timeout)

    def _expedite(self) -> None:
        """Deliver every later call at once: the process may end without another flush."""
        bus.expedite()

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Write what can be written in time, close every sink, and stop monitoring. Calling it twice is fine.

        Args:
            timeout: the longest wait, in seconds; 0 or less does not wait; `float("inf")` waits for as long as it
                takes.

        Returns:
            True only if every sink accepted everything and closed in time.

        Raises:
            ConfigurationError: `timeout` is not a number; then nothing has been ended.
        """
        timeout = validate_timeout(timeout)
        if self._ending.result is not None:
            return self._ending.result
        ended = self._ending.run(timeout)
        process_exit.unregister(self)
        self._ending.print_losses()
        return ended

    def _exit_timeout_s(self) -> float:
        """Return how long the end of the program may wait for the sinks, in seconds."""
        return self._ending.timeout_s()

    def _replace_with(self, successor: Monitor) -> None:
        """End everything that the next setup does not take over."""
        self._components.hand_over(successor._components)
        self.shutdown()

    def __enter__(self) -> Self:
        """Return the monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down."""
        self.shutdown(self._exit_timeout_s())

    async def __aenter__(self) -> Self:
        """Return the monitor itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down without blocking the event loop."""
        await run_off_loop(self.shutdown, self._exit_timeout_s())
