"""ToolWeaver: every way in which it runs a tool, seen once and under the tool's name.

`instrument("toolweaver")` switches it on, before or after ToolWeaver is imported, and `uninstrument("toolweaver")`
off. `UsageMonitor` takes the place of ToolWeaver's own `ToolUsageMonitor`.
"""

from __future__ import annotations

from toolweaver_monitor.integrations.toolweaver._patches import instrument, uninstrument
from toolweaver_monitor.integrations.toolweaver._usage_monitor import UsageMonitor

__all__ = ["UsageMonitor", "instrument", "uninstrument"]
