"""How often each tool ran, how long it took, what it cost and how it failed, in the places you already look.

`@monitored(name)` and `track(name)` feed one bus; `setup()` says where the calls go.
"""

from toolweaver_monitor.budget import Budget
from toolweaver_monitor.call import ToolCall, current_call
from toolweaver_monitor.errors import BudgetExceeded
from toolweaver_monitor.instrument.decorator import monitored
from toolweaver_monitor.instrument.patching import instrument, uninstrument
from toolweaver_monitor.instrument.tracking import track
from toolweaver_monitor.monitor import Monitor
from toolweaver_monitor.setup import flush, get_monitor, setup, shutdown
from toolweaver_monitor.sinks.base import Sink
from toolweaver_monitor.sinks.costs import CostTracker
from toolweaver_monitor.sinks.errors import ErrorTracker
from toolweaver_monitor.sinks.metrics import MetricsCollector
from toolweaver_monitor.usage import Usage

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "BudgetExceeded",
    "CostTracker",
    "ErrorTracker",
    "MetricsCollector",
    "Monitor",
    "Sink",
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
    "track",
    "uninstrument",
]
