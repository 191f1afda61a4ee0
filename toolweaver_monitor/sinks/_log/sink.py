"""Write calls to the standard `logging`, with the fields as `extra`, or to a file of JSON lines."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from toolweaver_monitor._core import config
from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._text.display import escape, pluralize
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._log.json_lines import JsonLinesFile


class LoggerDisabled(RuntimeError):
    """The logger is turned off, so it drops whatever it is given. The calls wait in the queue."""


class LogSink:
    """One log line per call: errors at WARNING, every other outcome at `level`; or one line of JSON in a file.

    The fields of the call are on the record as `record.toolweaver` (a dict), for JSON formatters.

    Args:
        logger: a logger or its name. A name that ends in `.jsonl` or has a `/` is a `path`.
        level: the level of lines for calls that are not errors, such as `"INFO"` or `logging.DEBUG`.
        path: a file of JSON lines, one for each call; nothing is logged then. Each day begins a new one: that of an
            earlier day is renamed (`calls.jsonl` to `calls-2026-11-28.jsonl`). Only its owner may read it.

    Raises:
        ConfigurationError: `logger` is not a logger, logging does not know the level, or there is no folder for `path`.
    """

    name = "log"

    @suggest_keywords(file="did you mean path=?", filename="did you mean path=?")
    def __init__(
        self,
        logger: str | logging.Logger | os.PathLike[str] = "toolweaver_monitor.calls",
        level: str | int | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        if path is None and (isinstance(logger, os.PathLike) or (isinstance(logger, str) and _is_path(logger))):
            path, logger = logger, "toolweaver_monitor.calls"
        self._file = None if path is None else JsonLinesFile(path)
        found = logging.getLogger(logger) if isinstance(logger, str) else logger
        if not isinstance(found, logging.Logger | logging.LoggerAdapter):
            raise ConfigurationError(f"logger={logger!r} is not a logger", hint="give a logging.Logger or its name")
        self._logger = found
        self._level = _validate_level(config.LOG_LEVEL.value() if level is None else level)
        self._skipped = 0
        self._batch: Sequence[ToolCall] = ()
        self._done = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Log each call. A batch that is tried again resumes at the call that failed.

        Raises:
            LoggerDisabled: the logger is turned off.
            OSError: the file cannot be written.
        """
        if self._file is not None:
            self._file.write([call.as_dict() for call in calls])
            return
        if calls is not self._batch:
            self._batch, self._done = calls, 0
        while self._done < len(calls):
            self._log(calls[self._done])
            self._done += 1
        self._batch = ()

    def _log(self, call: ToolCall) -> None:
        if _unwrap(self._logger).disabled:
            raise LoggerDisabled  # `status()` has the note
        level = logging.WARNING if call.outcome in ERROR_OUTCOMES else self._level
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", format_line(call), extra={"toolweaver": call.as_dict()})
        else:
            self._skipped += 1

    def status(self) -> dict[str, Any]:
        """Return how many calls were not logged because their level is off, and a note if any were, for `health()`."""
        return {"skipped": self._skipped, "note": self._note()}

    def _note(self) -> str:
        """Return what keeps calls out of the log, with its cure; empty if nothing does."""
        logger = _unwrap(self._logger)
        if logger.disabled:
            return (
                f"logger {logger.name!r} is turned off, as logging.config does with loggers that it does not name; "
                'configure logging with "disable_existing_loggers": False'
            )
        if self._skipped:
            level = logging.getLevelName(self._level)
            return (
                f"{pluralize(self._skipped, 'call')} not logged, as logger {logger.name!r} is off for their level; "
                f"set it to {level} in your logging configuration"
            )
        return ""

    def flush(self) -> None:
        """Ask the system to write the file to disk. Logging buffers nothing."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file. A logger belongs to the program and stays as it is."""
        if self._file is not None:
            self._file.close()


def _is_path(name: str) -> bool:
    return name.endswith(".jsonl") or "/" in name or os.sep in name


def _unwrap(logger: logging.Logger | logging.LoggerAdapter[Any]) -> logging.Logger:
    """Return the logger that adapters stand before."""
    while isinstance(logger, logging.LoggerAdapter):
        logger = logger.logger
    return logger


def _validate_level(level: object) -> int:
    """Return the number of a log level.

    Raises:
        ConfigurationError: logging knows no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigurationError(f"level={level!r} is not a log level", hint="give one such as 'INFO' or 'DEBUG'")
    return number


def format_line(call: ToolCall) -> str:
    """Return a call as one line of text that cannot forge another line."""
    parts = [f"tool={escape(call.tool_name)}", f"outcome={call.outcome}", f"duration_s={call.duration_s:.6f}"]
    if call.cost_usd is not None:
        parts.append(f"cost_usd={call.cost_usd:.6f}")
    if call.tokens:
        parts.append(f"tokens={call.tokens}")
    if call.error_type is not None:
        parts.append(f"error={escape(call.error_type)}: {escape(call.error)}")
    return " ".join(parts)
