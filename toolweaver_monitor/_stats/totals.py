"""Usage and cost of a group of calls.

All sums are whole nano-dollars, tokens and counts: exact, and the same in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW


class UsageTotals:
    """The usage and cost of some calls together."""

    __slots__ = (
        "cache_hits", "cached_tokens", "calls", "cost_nanousd", "costed", "errors", "input_tokens", "output_tokens",
        "rejected", "retries", "runs", "saved_nanousd", "unpriced", "unsplit_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.runs = 0
        """The outermost ones of these calls."""
        self.retries = 0
        """Of these calls, the second and later attempts of an operation."""
        self.errors = 0
        self.rejected = 0
        self.costed = 0
        self.unpriced = 0
        self.cache_hits = 0
        self.cost_nanousd = 0
        self.saved_nanousd = 0
        self.unsplit_tokens = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0

    @classmethod
    def of(cls, call: ToolCall) -> UsageTotals:
        """Return the usage of one call alone, without what ran inside it."""
        sums = cls()
        sums.count(call)
        return sums

    def count(self, call: ToolCall) -> None:
        """Add one call alone, without what ran inside it."""
        self.calls += 1
        if call._parent_serial is None:
            self.runs += 1
        details = call._details
        if details is None:
            return
        if call.outcome != "success":
            self.errors += call.outcome in ERROR_OUTCOMES
            self.rejected += call.outcome == "rejected"
        if details.attempt > 1:
            self.retries += 1
        cost = details.cost_nanousd
        if cost is not None:
            self.costed += 1
            self.cost_nanousd += cost
        elif details.lacks_price:
            self.unpriced += 1
        if details.cached:
            self.cache_hits += 1
            self.saved_nanousd += details.saved_nanousd
        self.unsplit_tokens += details.unsplit_tokens
        self.input_tokens += details.input_tokens
        self.output_tokens += details.output_tokens
        self.cached_tokens += details.cached_tokens

    def count_plain(self, calls: Sequence[ToolCall]) -> None:
        """Add many outermost calls whose details are `CompactDetails`."""
        details: list[Any] = [call._details for call in calls]
        self.calls += len(calls)
        self.runs += len(calls)
        self.costed += len(calls)
        self.cost_nanousd += sum([round(each.cost * NANO) for each in details])
        self.unsplit_tokens += sum([each.unsplit_tokens for each in details])

    def add(self, other: UsageTotals) -> None:
        """Add the usage of other calls."""
        self.calls += other.calls
        self.runs += other.runs
        self.retries += other.retries
        self.errors += other.errors
        self.rejected += other.rejected
        self.costed += other.costed
        self.unpriced += other.unpriced
        self.cache_hits += other.cache_hits
        self.cost_nanousd += other.cost_nanousd
        self.saved_nanousd += other.saved_nanousd
        self.unsplit_tokens += other.unsplit_tokens
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens

    def take_away(self, other: UsageTotals) -> None:
        """Subtract what `add` has added."""
        for name in UsageTotals.__slots__:
            setattr(self, name, getattr(self, name) - getattr(other, name))

    @property
    def tokens(self) -> int:
        """Input, output and unsplit tokens. Cached tokens are a part of the input."""
        return self.unsplit_tokens + self.input_tokens + self.output_tokens

    def shown(self) -> dict[str, Any]:
        """Return the totals for people and for JSON; see `CostTracker.by`."""
        return {
            "calls": self.calls,
            "operations": self.calls - self.retries,
            "retries": self.retries,
            "errors": self.errors,
            "rejected": self.rejected,
            "cost_usd": self.cost_nanousd / NANO if self.costed or not self.unpriced else None,
            "unpriced": self.unpriced,
            "saved_usd": self.saved_nanousd / NANO,
            "cache_hits": self.cache_hits,
            "tokens": self.tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
        }


class TotalsByName(dict[str, UsageTotals]):
    """Totals by name, for at most `MAX_NAMES` names; all others together as `__overflow__`."""

    def at(self, name: str) -> UsageTotals:
        """Return the totals of this name, to be added to."""
        sums = self.get(name)
        if sums is None:
            if len(self) >= MAX_NAMES and name != OVERFLOW:
                return self.at(OVERFLOW)
            sums = self[name] = UsageTotals()
        return sums

    def absorb(self, others: Mapping[str, UsageTotals]) -> None:
        """Add the totals of another table, name by name."""
        for name, sums in others.items():
            self.at(name).add(sums)
