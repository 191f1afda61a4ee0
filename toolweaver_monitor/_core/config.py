"""All settings in one table: name, environment variable, type, default and one sentence.

An argument beats the environment, and the environment beats the default. `docs/reference/settings.md` is generated from
the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError

T = TypeVar("T")
PREFIX = "TOOLWEAVER_MONITOR_"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def as_bool(text: str) -> bool:
    """Parse `1 true yes on` or `0 false no off`, in any case."""
    lowered = text.strip().lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise ValueError("one of 1, 0, true, false, yes, no, on, off")


def as_names(text: str) -> tuple[str, ...]:
    """Parse names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def as_count(text: str) -> int:
    """Parse a whole number from 1 up."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("a whole number from 1 up")
    return int(text)


def as_port(text: str) -> int:
    """Parse a port from 0 to 65535."""
    if not text.strip().isdecimal() or int(text) > 65535:
        raise ValueError("a port from 0 to 65535")
    return int(text)


def as_dollars(text: str) -> float:
    """Parse an amount of dollars from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e9:
        raise ValueError("dollars from 0 up")
    return value


def rising_bounds(values: Iterable[Any]) -> tuple[float, ...]:
    """Return the upper bounds of buckets in seconds, without infinity, which every histogram has.

    Raises:
        ValueError: there are none, they do not rise, or one is not a positive number.
    """
    bounds = tuple(bound for bound in map(float, values) if bound != float("inf"))
    if not bounds or not all(bound > 0 for bound in bounds) or list(bounds) != sorted(set(bounds)):
        raise ValueError("bounds that do not rise from above 0")
    return bounds


def as_bounds(text: str) -> tuple[float, ...]:
    """Parse rising seconds that are separated by commas."""
    try:
        return rising_bounds(text.split(","))
    except ValueError:
        raise ValueError("seconds from low to high, such as 0.1,0.5,1,5") from None


class _Setting(NamedTuple):
    name: str
    parse: Callable[[str], Any]
    default: Any
    sentence: str


class Setting(_Setting, Generic[T]):
    """One setting."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name

    def value(self, argument: T | None = None) -> T:
        """Return the argument unless it is None, else the environment's value, else the default.

        Raises:
            ConfigurationError: the environment variable holds a value that cannot be parsed.
        """
        given = self.given(argument)
        if given is None:
            default: T = self.default
            return default
        return given

    def given(self, argument: T | None = None) -> T | None:
        """Return the argument unless it is None, else the environment's value, else None.

        Raises:
            ConfigurationError: the environment variable holds a value that cannot be parsed.
        """
        if argument is not None:
            return argument
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return None
        try:
            value: T = self.parse(text)
        except ValueError as error:
            hint = f"give {error}, or unset it"
            raise ConfigurationError(f"{self.variable}={text!r} cannot be used", hint=hint) from None
        return value


ENABLED = Setting[bool]("ENABLED", as_bool, True, "Whether calls are monitored at all.")
SINKS = Setting[tuple[str, ...]](
    "SINKS", as_names, (), "Sinks to use if setup() gets none: prometheus, wandb, otlp, sqlite, log."
)
PROMETHEUS_PORT = Setting[int](
    "PROMETHEUS_PORT", as_port, 8000, "Port of /metrics; 0 picks a free one. Under a web server the default is 9464."
)
PROMETHEUS_ADDR = Setting[str]("PROMETHEUS_ADDR", str, "127.0.0.1", "Address that /metrics is bound to.")
BUCKETS = Setting[tuple[float, ...] | None](
    "BUCKETS_S", as_bounds, None, "Upper bounds of the duration buckets; else powers of two up to 1,024 s."
)
FIRST_ITEM_BUCKETS = Setting[tuple[float, ...] | None](
    "FIRST_ITEM_BUCKETS_S", as_bounds, None, "The same for the time to the first item of a stream."
)
WANDB_PROJECT = Setting[str]("WANDB_PROJECT", str, "", "W&B project.")
WANDB_ENTITY = Setting[str]("WANDB_ENTITY", str, "", "W&B entity (user or team).")
STORE = Setting[str]("STORE", str, "toolweaver.db", "The file of the sink sqlite.")
DASHBOARD = Setting[int | None](
    "DASHBOARD", as_port, None, "Port of the page, which is served if this is set; 0 picks a free one."
)
SHARED = Setting[str](
    "SHARED", str, "", "The folder in which the workers of a host join their counts, which are joined if this is set."
)
BUDGET_USD = Setting[float | None]("BUDGET_USD", as_dollars, None, "Dollars that one run may spend.")
MAX_OPERATIONS = Setting[int]("MAX_OPERATIONS", as_count, 10_000, "How many of the latest calls are kept in memory.")
MAX_LABEL_VALUES = Setting[int](
    "MAX_LABEL_VALUES",
    as_count,
    2_000,
    "Tools told apart, and tools by their labels; all others become __overflow__.",
)
REDACT = Setting[bool]("REDACT", as_bool, True, "Whether secrets are removed from error texts and tags.")
LOG_LEVEL = Setting[str]("LOG_LEVEL", str, "INFO", "Level of the log sink's lines for calls that succeeded.")
HANDLE_SIGTERM = Setting[bool](
    "HANDLE_SIGTERM", as_bool, True, "Whether waiting calls are delivered at SIGTERM before the process ends."
)

SETTINGS: tuple[Setting[Any], ...] = (
    ENABLED, SINKS, PROMETHEUS_PORT, PROMETHEUS_ADDR, BUCKETS, FIRST_ITEM_BUCKETS, WANDB_PROJECT, WANDB_ENTITY, STORE,
    DASHBOARD, SHARED, BUDGET_USD, MAX_OPERATIONS, MAX_LABEL_VALUES, REDACT, LOG_LEVEL, HANDLE_SIGTERM,
)  # fmt: skip


def meant_variables(variable: str) -> list[str]:
    """Return the variables that may be meant by one that no setting reads, the likeliest first."""
    word = variable.removeprefix(PREFIX)
    names = [setting.name for setting in SETTINGS]
    return [PREFIX + each for each in [each for each in names if word in each.split("_")] or suggest(word, names)]


def unread_variables() -> dict[str, list[str]]:
    """Return the variables of the environment that no setting reads, and which ones may be meant."""
    known = {setting.variable for setting in SETTINGS}
    return {each: meant_variables(each) for each in sorted(os.environ) if each.startswith(PREFIX) and each not in known}
