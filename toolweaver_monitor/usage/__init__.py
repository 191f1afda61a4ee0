"""What did a call use, and what did that cost? Tokens and money out of results; prices out of tables."""

from __future__ import annotations

from toolweaver_monitor.usage.dicts import absorb_dict
from toolweaver_monitor.usage.figures import Usage, absorb
from toolweaver_monitor.usage.prices import PriceBook
from toolweaver_monitor.usage.readers import reader_for
from toolweaver_monitor.usage.streams import StreamUsage

__all__ = ["PriceBook", "StreamUsage", "Usage", "absorb", "absorb_dict", "reader_for"]
