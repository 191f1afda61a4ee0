"""The price of a call: the user's own table first, then genai-prices."""

from __future__ import annotations

from toolweaver_monitor._usage.pricing.book import PriceBook

__all__ = ["PriceBook"]
