"""Keep errors of this library and of the user's extractors away from the monitored program, and count them."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._text.display import escape
from toolweaver_monitor._text.safe_repr import class_name, fault_text

log = logging.getLogger("toolweaver_monitor")

_throttle = LogThrottle()


def report_internal_error(error: BaseException) -> None:
    """Count an error of this library that was kept from the user's code, and log it at most once a minute."""
    Diagnostics.internal_errors += 1
    if _throttle.ready():
        log.error("toolweaver_monitor: internal error (%s); please report it", type(error).__name__)


def call_extractor(role: str, function: Callable[[Any], Any], argument: Any, *, failed: Any = None) -> Any:
    """Call a user's extractor.

    Args:
        role: the argument by which the function was given: `usage`, `cost` or `failed`.
        function: the callable of a tool.
        argument: the result of the call.
        failed: what to return if it raises.

    Returns:
        What the extractor returns. If it raises anything but `KeyboardInterrupt`, the error is counted, and `failed`
        is returned.
    """
    try:
        return function(argument)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the extractor is the user's code, and its tool has succeeded
        report_extractor_error(role, function, error)
        return failed


MAX_REPORTED = 1_000
_reported: set[tuple[str, str]] = set()
"""The extractors of which a fault has been logged."""


def report_extractor_error(role: str, function: Any, error: BaseException) -> None:
    """Count an error of a user's extractor, and log the first one of each: which extractor it was, and what it raised.

    Args:
        role: the argument by which the function was given.
        function: the extractor.
        error: what it raised.
    """
    Diagnostics.extractor_errors += 1
    _log_first(role, function, lambda: f"raised {class_name(type(error))}: {fault_text(error)}")


def report_extractor_answer(role: str, function: Any, answer: object, wanted: str) -> None:
    """Log the first answer of each extractor that is not what it is asked for.

    Args:
        role: the argument by which the function was given.
        function: the extractor.
        answer: what it returned.
        wanted: what it may return.
    """
    _log_first(role, function, lambda: f"returned {class_name(type(answer))}, which is no {wanted}")


def _log_first(role: str, function: Any, text: Callable[[], str]) -> None:
    if type(function) is types.FunctionType:
        function = function.__dict__.get("__wrapped__", function)  # that of the user, in one of this library
    if type(function) is types.FunctionType:
        code = function.__code__
        name = f"{code.co_qualname}, {code.co_filename}:{code.co_firstlineno}"
    else:
        name = class_name(type(function))
    if (role, name) in _reported or len(_reported) >= MAX_REPORTED:
        return
    _reported.add((role, name))
    log.warning("toolweaver_monitor: %s=%s %s; the call goes on without it", role, escape(name), text())
