"""What does one test watched code, and sinks of one's own, with? What this library is tested with itself.

With pytest there is nothing to import: the fixture `toolweaver` gives each test a fresh `ToolRecorder`.
"""

from toolweaver_monitor.testing.contract import check_sink, sample_calls
from toolweaver_monitor.testing.recorder import ToolRecorder

__all__ = ["ToolRecorder", "check_sink", "sample_calls"]
