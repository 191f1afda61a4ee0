"""What can a caller of this library catch?"""

from __future__ import annotations


class ToolweaverMonitorError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigurationError(ToolweaverMonitorError, ValueError):
    """A setting, a sink or a decorator was given something it cannot use; the message ends with the cure."""


class BudgetExceeded(ToolweaverMonitorError):
    """A budget refused the call, so the tool did not run. The only error of this library that a running call can meet.

    Attributes:
        budget: the name of the budget that refused.
        limit: its limit, in `unit`.
        spent: what had been spent and set aside when it refused, in `unit`.
        asked: what the call would have added, in `unit`.
        unit: `"usd"`, `"tokens"` or `"calls"`.
        frees_in_s: seconds until the window has room again; None for a budget per run, which never frees.
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
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.limit = limit
        self.spent = spent
        self.asked = asked
        self.unit = unit
        self.frees_in_s = frees_in_s

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the figures when the error crosses a process pool."""
        return _rebuild, (str(self), {name: getattr(self, name) for name in _FIGURES})


_FIGURES = ("budget", "limit", "spent", "asked", "unit", "frees_in_s")


def _rebuild(message: str, figures: dict[str, object]) -> BudgetExceeded:
    return BudgetExceeded(message, **figures)  # type: ignore[arg-type]


class SinkUnavailable(ToolweaverMonitorError):
    """Raised by a sink that cannot work until it is set up again (a package missing, logged out).

    The message ends with the cure. It is logged once and shown by `health()`; later calls are counted as dropped.
    """
