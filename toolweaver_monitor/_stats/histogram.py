"""Percentiles of durations that merge exactly, from a base-2 exponential histogram.

Bucket `k` holds the durations in `(2**(k/8), 2**((k+1)/8)]` seconds: OpenTelemetry's exponential histogram at scale 3
(data model, "ExponentialHistogram"), so a percentile read from it is within 4.5 % of the truth. The scale is fixed and
the range is clamped to 1 ns .. 12 days, so two histograms always share their buckets and merging is adding.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import accumulate
from math import ceil

PER_OCTAVE = 8
LOWEST = -30 * PER_OCTAVE
"""The bucket of everything up to its upper bound."""
_HIGHEST = 20 * PER_OCTAVE
_BOUNDS_S = [2.0 ** ((bucket + 1) / PER_OCTAVE) for bucket in range(LOWEST, _HIGHEST)]
"""The largest duration in each bucket except the last, which has no bound."""
_MIDDLES_S = [2.0 ** ((bucket + 0.5) / PER_OCTAVE) for bucket in range(LOWEST, _HIGHEST + 1)]

Buckets = Mapping[int, int]


def bucket_of(duration_s: float) -> int:
    """Return the bucket to which a duration in seconds belongs."""
    return LOWEST + bisect_left(_BOUNDS_S, duration_s)


def count_into(buckets: MutableMapping[int, int], rising: Sequence[float]) -> None:
    """Add durations, sorted from short to long, to the counts of their buckets.

    This is the inner loop of the drain. It takes one step for each bucket that is hit, not for each duration: a quarter
    of the time of one `bucket_of` per duration.
    """
    at, end = 0, len(rising)
    while at < end:
        bucket = bisect_left(_BOUNDS_S, rising[at])
        after = bisect_right(rising, _BOUNDS_S[bucket], at) if bucket < len(_BOUNDS_S) else end
        buckets[LOWEST + bucket] += after - at
        at = after


def upper_bound_s(bucket: int) -> float:
    """Return the largest duration in seconds that belongs to a bucket."""
    return float(2.0 ** ((bucket + 1) / PER_OCTAVE))


def percentiles(buckets: Buckets, shares: Iterable[float], lowest_s: float, highest_s: float) -> list[float]:
    """Return the durations below which each share (0..1) of the calls lies, or 0.0 for an empty histogram.

    A bucket is represented by the geometric middle of its bounds, clamped to the durations that occurred.

    Args:
        buckets: the number of calls by bucket.
        shares: the shares of the calls, from 0 to 1.
        lowest_s: the shortest duration that occurred, in seconds.
        highest_s: the longest duration that occurred, in seconds.
    """
    ordered = sorted(buckets)
    sums = list(accumulate(map(buckets.__getitem__, ordered)))
    if not sums:
        return [0.0 for _ in shares]
    last = len(sums) - 1
    durations = []
    for share in shares:
        rank = ceil(share * sums[last]) or 1  # nearest-rank percentile
        middle = _MIDDLES_S[ordered[bisect_left(sums, rank, 0, last)] - LOWEST]
        durations.append(lowest_s if middle < lowest_s else min(middle, highest_s))
    return durations


def at_most(buckets: Buckets, exponents: Iterable[int]) -> list[int]:
    """Return how many durations were at most `2**e` seconds, for each rising `e`: exactly Prometheus' `le` buckets."""
    ordered = sorted(buckets.items())
    counts, seen, at = [], 0, 0
    for exponent in exponents:
        while at < len(ordered) and ordered[at][0] < exponent * PER_OCTAVE:
            seen += ordered[at][1]
            at += 1
        counts.append(seen)
    return counts
