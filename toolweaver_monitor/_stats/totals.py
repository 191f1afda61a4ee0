"""Exact sums over calls: whole nano-dollars, tokens and counts, the same in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.details import CallDetails, CompactDetails
from toolweaver_monitor._core.sanitize import NANO, sum_nanodollars
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW


class UsageTotals:
    """What a group of calls used and cost together."""

    __slots__ = (
        "cache_hits", "cached_tokens", "calls", "cost_nanousd", "costed", "errors", "input_tokens", "output_tokens",
        "rejected", "retries", "retries_inside", "runs", "saved_nanousd", "unpriced", "unsplit_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.runs = 0
        """Of these, the outermost ones."""
        self.retries = 0
        """Second and later attempts of an operation."""
        self.retries_inside = 0
        """Of these, the ones that were no calls of their own, but ran inside the call that is their operation."""
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
    def of(cls, *calls: ToolCall) -> UsageTotals:
        """Return the totals of calls, without what ran inside them."""
        totals = cls()
        totals.calls = len(calls)
        totals.runs = len([call for call in calls if call._parent_serial is None])
        detailed = [call for call in calls if call._details is not None]
        if len(detailed) < len(calls):
            declared = [call._cost_nanousd for call in calls if call._details is None]
            costs = [cost for cost in declared if cost is not None]
            totals.costed = len(costs)
            totals.cost_nanousd = sum(costs)
        if detailed:
            totals.add_details(detailed)
        return totals

    def add_details(self, calls: Sequence[ToolCall], kinds: set[type] | None = None) -> None:
        """Add what calls with details used and how they ended; their number is added elsewhere.

        Args:
            calls: the calls.
            kinds: the types of their details, if these are known.
        """
        found: list[Any] = [call._details for call in calls]
        kinds = kinds or set(map(type, found))
        if CompactDetails in kinds:
            compact = found if len(kinds) == 1 else [each for each in found if type(each) is CompactDetails]
            self.costed += len(compact)
            self.cost_nanousd += sum_nanodollars([details.cost for details in compact])
            self.unsplit_tokens += sum([details.unsplit_tokens for details in compact])
            if len(kinds) == 1:
                return
            found = [details for details in found if type(details) is not CompactDetails]
        costs = [details.cost_nanousd for details in found]
        try:
            self.cost_nanousd += sum(costs)
        except TypeError:  # one is unknown; to look for None first takes three times as long
            self.unpriced += len([details for details in found if details.lacks_price])
            costs = [cost for cost in costs if cost is not None]
            self.cost_nanousd += sum(costs)
        self.costed += len(costs)
        self.unsplit_tokens += sum([details.unsplit_tokens for details in found])
        self.input_tokens += sum([details.input_tokens for details in found])
        self.output_tokens += sum([details.output_tokens for details in found])
        self.cached_tokens += sum([details.cached_tokens for details in found])
        if CallDetails in kinds:
            self._add_ends([call for call in calls if type(call._details) is CallDetails])

    def _add_ends(self, calls: Sequence[ToolCall]) -> None:
        """Count errors, rejections, retries and answers from the user's cache."""
        for call in calls:
            details = cast("CallDetails", call._details)
            self.errors += call.outcome in ERROR_OUTCOMES
            self.rejected += call.outcome == "rejected"
            if details.attempt > 1:
                inside = details.attempt - 1 if details.holds_attempts else 0
                self.retries += inside or 1
                self.retries_inside += inside
            if details.cached:
                self.cache_hits += 1
                self.saved_nanousd += details.saved_nanousd

    def add(self, other: UsageTotals) -> None:
        """Add the totals of other calls."""
        self.calls += other.calls
        self.runs += other.runs
        self.retries += other.retries
        self.retries_inside += other.retries_inside
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

    def subtract(self, other: UsageTotals) -> None:
        """Take away the totals of calls that were added before."""
        for name in UsageTotals.__slots__:
            setattr(self, name, getattr(self, name) - getattr(other, name))

    @property
    def tokens(self) -> int:
        """Input, output and unsplit tokens; cached tokens are a part of input."""
        return self.unsplit_tokens + self.input_tokens + self.output_tokens

    @property
    def later_attempts(self) -> int:
        """Calls that were a second or later attempt of an operation."""
        return self.retries - self.retries_inside

    def as_dict(self) -> dict[str, Any]:
        """Return the totals for people and for JSON: see `CostTracker.by`."""
        return {
            "calls": self.calls,
            "operations": self.calls - self.later_attempts,
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
    """Totals by name, for a bounded number of names; the rest together as `__overflow__`."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        super().__init__()
        self.max_names = max_names

    def entry(self, name: str) -> UsageTotals:
        """Return the totals of a name, to be added to."""
        totals = self.get(name)
        if totals is None:
            if len(self) >= self.max_names and name != OVERFLOW:
                return self.entry(OVERFLOW)
            totals = self[name] = UsageTotals()
        return totals

    def merge(self, others: Mapping[str, UsageTotals]) -> None:
        """Add other totals, name by name."""
        for name, totals in others.items():
            self.entry(name).add(totals)
