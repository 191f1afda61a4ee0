"""Count, time and price the calls of AI tools, and send them where you already look.

`@monitored(name)` and `track(name)` record calls; `setup()` chooses the sinks that receive them.
"""

from typing import TYPE_CHECKING, Any

from toolweaver_monitor._budget import Budget, BudgetStatus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._instrument.decorator import monitored
from toolweaver_monitor._instrument.patching.instrument import instrument, uninstrument
from toolweaver_monitor._instrument.tagged import tagged
from toolweaver_monitor._instrument.track import track
from toolweaver_monitor._runtime.health import Health
from toolweaver_monitor._runtime.monitor import Monitor
from toolweaver_monitor._runtime.setup import flush, get_monitor, setup, shutdown
from toolweaver_monitor._usage import Usage
from toolweaver_monitor.errors import BudgetExceeded
from toolweaver_monitor.sinks._base import Sink
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector, Summary

__version__ = "0.2.0"


if not TYPE_CHECKING:  # which know the names themselves

    def __getattr__(name: str) -> Any:
        """Find a sink that was looked for here; `toolweaver_monitor.sinks` is where they are."""
        from toolweaver_monitor import sinks
        from toolweaver_monitor._text.guesses import refuse_guide_name
        from toolweaver_monitor._text.names import suggest

        refuse_guide_name(__name__, name)
        if name in sinks.__all__:
            return getattr(sinks, name)
        close = suggest(name, [*__all__, *sinks.__all__]) if not name.startswith("_") else []
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}" + (f"; try {close[0]}" if close else ""))


__all__ = [
    "Budget",
    "BudgetExceeded",
    "BudgetStatus",
    "CostTracker",
    "ErrorTracker",
    "Health",
    "MetricsCollector",
    "Monitor",
    "Sink",
    "Summary",
    "ToolCall",
    "Usage",
    "__version__",
    "current_call",
    "flush",
    "get_monitor",
    "instrument",
    "monitored",
    "setup",
    "shutdown",
    "tagged",
    "track",
    "uninstrument",
]
