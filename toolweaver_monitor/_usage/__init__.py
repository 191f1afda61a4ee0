"""What did a call use, and what did that cost? Tokens and money out of results; prices out of tables."""

from __future__ import annotations

from toolweaver_monitor._usage.dict_results import apply_dict
from toolweaver_monitor._usage.pricing.book import PriceBook
from toolweaver_monitor._usage.readers import reader_for
from toolweaver_monitor._usage.streams import StreamUsage
from toolweaver_monitor._usage.usage import Usage, absorb

__all__ = ["PriceBook", "StreamUsage", "Usage", "absorb", "apply_dict", "reader_for"]
