"""With what can watched code and your own sinks be tested? With what tests this library itself.

With pytest there is nothing to import: the fixture `toolweaver` gives each test a fresh `ToolRecorder`.
"""

from toolweaver_monitor.testing.contract import check_sink, sample_calls
from toolweaver_monitor.testing.recorder import ToolRecorder

__all__ = ["ToolRecorder", "check_sink", "sample_calls"]
