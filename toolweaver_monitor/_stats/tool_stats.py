"""The statistics of a group of calls: of one node of the calling-context tree, of one tool, or of all tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.totals import UsageTotals
from toolweaver_monitor._text.names import OVERFLOW

MAX_ERROR_TYPES = 50
Key = TypeVar("Key")


class Counts(dict[Key, int]):
    """Counts by key; 0 for a key that was not counted. Made in a sixth of the time of a `collections.Counter`."""

    __slots__ = ()

    def __missing__(self, key: Key) -> int:
        return 0

    def add(self, other: Mapping[Key, int]) -> None:
        """Add other counts."""
        for key, count in other.items():
            self[key] += count


class ToolStats:
    """All-time statistics of a group of calls. Two add up to what one would have counted, in either order.

    Attributes:
        usage: calls, tokens and cost.
        outcomes: calls by outcome.
        buckets: durations as an exponential histogram.
        errors: calls by the type of their error.
        items: items of generators.
    """

    __slots__ = (
        "buckets", "duration_max_s", "duration_min_s", "duration_sum_s", "errors", "first_item_buckets",
        "first_item_sum_s", "items", "outcomes", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usage = UsageTotals()
        self.outcomes: Counts[str] = Counts()
        self.duration_sum_s = 0.0
        self.duration_min_s = float("inf")
        self.duration_max_s = 0.0
        self.buckets: Counts[int] = Counts()
        self.first_item_sum_s = 0.0
        self.first_item_buckets: Counts[int] = Counts()
        self.items = 0
        self.errors: Counts[str] = Counts()

    @property
    def calls(self) -> int:
        """Calls of every outcome."""
        return self.usage.calls

    @property
    def executed(self) -> int:
        """Calls that have a duration: all but the rejected ones, which did not run."""
        return self.usage.calls - self.outcomes["rejected"]

    @property
    def failures(self) -> int:
        """Failures and timeouts."""
        return self.outcomes["failure"] + self.outcomes["timeout"]

    @property
    def rated(self) -> int:
        """The denominator of the error rate: calls that succeeded, failed or timed out."""
        return self.outcomes["success"] + self.failures

    def count(self, calls: Sequence[ToolCall], declared_nanousd: int | None, *, runs: int) -> list[ToolCall]:
        """Count closed calls of one node.

        Args:
            calls: the calls.
            declared_nanousd: the cost that is declared for a success of the tool, in nano-dollars.
            runs: how many of them are outermost calls.

        Returns:
            Those of the calls that have details; `usage.add_details` adds what they used.
        """
        usage = self.usage
        usage.calls += len(calls)
        usage.runs += runs
        durations = [call.duration_s for call in calls]
        detailed = [call for call in calls if call._details is not None]
        plain = len(calls) - len(detailed)
        if plain:
            self.outcomes["success"] += plain
            if declared_nanousd is not None:
                usage.costed += plain
                usage.cost_nanousd += plain * declared_nanousd
        if detailed:
            rejected = self.outcomes["rejected"]
            self._count_ends(detailed)
            if self.outcomes["rejected"] > rejected:  # they did not run: their 0 s would lower averages
                durations = [call.duration_s for call in calls if call.outcome != "rejected"]
                if not durations:
                    return detailed
        durations.sort()
        self.duration_sum_s += sum(durations)
        self.duration_min_s = min(self.duration_min_s, durations[0])
        self.duration_max_s = max(self.duration_max_s, durations[-1])
        histogram.count_into(self.buckets, durations)
        return detailed

    def _count_ends(self, calls: Sequence[ToolCall]) -> None:
        """Count how calls with details ended, and the items of generators; what they used is added elsewhere."""
        others = [call.outcome for call in calls if call.outcome != "success"]
        if len(others) < len(calls):
            self.outcomes["success"] += len(calls) - len(others)
        for ended in others:
            self.outcomes[ended] += 1
        for call in [call for call in calls if type(call._details) is CallDetails]:
            details: Any = call._details
            outcome = call.outcome
            if details.error_type is not None and outcome in ERROR_OUTCOMES:
                kind = details.error_type
                if kind not in self.errors and len(self.errors) >= MAX_ERROR_TYPES:
                    kind = OVERFLOW
                self.errors[kind] += 1
            if details.items is not None:
                self.items += details.items
            if details.first_item_s is not None:
                self.first_item_sum_s += details.first_item_s
                self.first_item_buckets[histogram.bucket_of(details.first_item_s)] += 1

    def add(self, *others: ToolStats) -> None:
        """Add the statistics of other calls; exact, since every part is a sum, a minimum or a maximum."""
        add_usage, outcomes, buckets = self.usage.add, self.outcomes, self.buckets  # local names: a third less
        outcome_count, bucket_count = outcomes.get, buckets.get
        sum_s = self.duration_sum_s
        for other in others:
            add_usage(other.usage)
            sum_s += other.duration_sum_s
            for outcome, count in other.outcomes.items():
                outcomes[outcome] = outcome_count(outcome, 0) + count
            for bucket, count in other.buckets.items():
                buckets[bucket] = bucket_count(bucket, 0) + count
            if other.errors:
                self.errors.add(other.errors)
            if other.first_item_buckets:
                self.first_item_buckets.add(other.first_item_buckets)
                self.first_item_sum_s += other.first_item_sum_s
            self.items += other.items
        self.duration_sum_s = sum_s
        self.duration_min_s = min([self.duration_min_s, *[other.duration_min_s for other in others]])
        self.duration_max_s = max([self.duration_max_s, *[other.duration_max_s for other in others]])

    def copy(self) -> ToolStats:
        """Return statistics of their own with the same values."""
        twin = ToolStats()
        twin.add(self)
        return twin
