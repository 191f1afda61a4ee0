"""Test monitored code and your own sinks. This library's own tests use the same tools.

With pytest there is nothing to import: the fixture `toolweaver` gives each test a new `ToolRecorder`.
"""

from toolweaver_monitor.testing._contract import check_sink, sample_calls
from toolweaver_monitor.testing._recorder import ToolRecorder

__all__ = ["ToolRecorder", "check_sink", "sample_calls"]
