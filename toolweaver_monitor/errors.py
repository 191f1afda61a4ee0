"""The exceptions that callers of this library can catch.

ToolweaverMonitorError
|-- ConfigurationError   misuse, raised at decoration or setup (also a ValueError)
|-- BudgetExceeded       a budget refused the call, so the tool did not run
`-- SinkUnavailable      raised by a sink that cannot work until it is set up again
"""

from __future__ import annotations


class ToolweaverMonitorError(Exception):
    """Base of every error that this library raises on purpose.

    Attributes:
        hint: how to fix it. The error's text ends with the hint, after a semicolon. Empty if there is none.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.hint = hint


class ConfigurationError(ToolweaverMonitorError, ValueError):
    """A setting, a sink or a decorator received a value that it cannot use."""


class BudgetExceeded(ToolweaverMonitorError):
    """A budget refused the call, so the tool did not run. No other error of this library is raised by a monitored call.

    The refused call is counted as `rejected`. A monitored call around it that lets this error through ends as
    `interrupted`. Neither is a success or an error.

    Attributes:
        budget: the name of the budget that refused the call.
        limit: its limit, in `unit`.
        spent: what was spent and held by running calls at that moment, in `unit`; the runs of a repeat.
        asked: what the call would have added, in `unit`.
        unit: `"usd"`, `"tokens"`, `"calls"` or `"repeats"`.
        frees_in_s: seconds until the window has room again; None for a budget per run, which never frees.
        hint: how to fix it; the error's text ends with it.
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str,
        limit: float,
        spent: float,
        asked: float,
        unit: str,
        frees_in_s: float | None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.budget = budget
        self.limit = limit
        self.spent = spent
        self.asked = asked
        self.unit = unit
        self.frees_in_s = frees_in_s

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickle, attributes included, so that the error survives a process pool."""
        return _rebuild, (str(self), {name: getattr(self, name) for name in (*_ATTRIBUTES, "hint")})


_ATTRIBUTES = ("budget", "limit", "spent", "asked", "unit", "frees_in_s")


def _rebuild(text: str, attributes: dict[str, object]) -> BudgetExceeded:
    hint = str(attributes.pop("hint", ""))  # an error pickled by an earlier version has none
    error = BudgetExceeded(text, **attributes)  # type: ignore[arg-type]  # the text ends with the hint already
    error.hint = hint
    return error


class SinkUnavailable(ToolweaverMonitorError):
    """A sink cannot work until it is set up again: a package is missing, or the user is logged out.

    Raise it from a sink of your own for such a fault. Its text, with the hint, is logged once and shown by `health()`;
    later calls are counted as dropped.
    """
