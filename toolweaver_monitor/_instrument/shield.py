"""Keep errors of this library and of the user's extractors away from the monitored program, and count them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._core.sanitize import Diagnostics

log = logging.getLogger("toolweaver_monitor")

_throttle = LogThrottle()


def report_internal_error(error: BaseException) -> None:
    """Count an error of this library that was kept from the user's code, and log it at most once a minute."""
    Diagnostics.internal_errors += 1
    if _throttle.ready():
        log.error("toolweaver_monitor: internal error (%s); please report it", type(error).__name__)


def call_extractor(function: Callable[[Any], Any], argument: Any, *, failed: Any = None) -> Any:
    """Call a user's extractor.

    Args:
        function: the `cost` or `usage` callable of a tool.
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
    except BaseException:  # noqa: BLE001 - the extractor is the user's code, and its tool has already succeeded
        Diagnostics.extractor_errors += 1
        return failed
