"""How do calls become structured log lines? Through the standard `logging`, with the fields as `extra`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from toolweaver_monitor._core import config
from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import ConfigurationError


class LogSink:
    """One log line per call: errors at WARNING, every other outcome at `level`.

    The fields of the call are on the record as `record.toolweaver` (a dict), for JSON formatters.

    Args:
        logger: a logger or its name.
        level: the level of lines for calls that are not errors, such as `"INFO"` or `logging.DEBUG`.

    Raises:
        ConfigurationError: not a logger, or a level that logging does not know.
    """

    name = "log"

    def __init__(
        self, logger: str | logging.Logger = "toolweaver_monitor.calls", level: str | int | None = None
    ) -> None:
        self.logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        if not isinstance(self.logger, logging.Logger | logging.LoggerAdapter):
            raise ConfigurationError(f"logger={logger!r} is not a logger; give a logging.Logger, or the name of one")
        self.level = _level(config.LOG_LEVEL.value() if level is None else level)

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Log each call."""
        for call in calls:
            level = logging.WARNING if call.outcome in ERROR_OUTCOMES else self.level
            if self.logger.isEnabledFor(level):
                self.logger.log(level, "%s", line(call), extra={"toolweaver": call.as_dict()})

    def flush(self) -> None:
        """Logging keeps nothing back."""

    def close(self) -> None:
        """The logger is its owner's."""


def _level(level: object) -> int:
    """The number of a level.

    Raises:
        ConfigurationError: logging knows no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigurationError(f"level={level!r} is not a log level; give one such as 'INFO' or 'DEBUG'")
    return number


def line(call: ToolCall) -> str:
    """A call as one line of text with nothing in it that could forge another."""
    parts = [f"tool={escape(call.tool_name)}", f"outcome={call.outcome}", f"duration_s={call.duration_s:.6f}"]
    if call.cost_usd is not None:
        parts.append(f"cost_usd={call.cost_usd:.6f}")
    if call.tokens:
        parts.append(f"tokens={call.tokens}")
    if call.error_type is not None:
        parts.append(f"error={escape(call.error_type)}: {escape(call.error)}")
    return " ".join(parts)
