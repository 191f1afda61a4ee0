"""How are durations distributed? A base-2 exponential histogram: percentiles that merge exactly.

Bucket `k` holds the durations in `(2**(k/8), 2**((k+1)/8)]` seconds: OpenTelemetry's exponential histogram at scale 3
(data model, "ExponentialHistogram"), so a percentile read from it is within 4.5 % of the truth. The scale is fixed and
the range is clamped to 1 ns .. 12 days, so two histograms always share their buckets and merging is adding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import frexp

PER_OCTAVE = 8
_JUST_BELOW = 1 - 2**-53  # puts a duration that is exactly a bound into the bucket below it: bounds are inclusive
_LOWEST = -30 * PER_OCTAVE
_HIGHEST = 20 * PER_OCTAVE

Buckets = Mapping[int, int]


def bucket_of(duration_s: float) -> int:
    """The bucket that a duration in seconds belongs to."""
    x = duration_s * _JUST_BELOW
    x *= x
    x *= x
    x *= x  # now x**8, whose exponent is the bucket: one frexp is half the price of a logarithm
    return frexp(x)[1] - 1 if 1e-72 < x < 1e48 else (_LOWEST if x < 1 else _HIGHEST)


def buckets_of(durations_s: Iterable[float]) -> list[int]:
    """`bucket_of` for many; the loop of the drain."""
    just_below, lowest, highest = _JUST_BELOW, _LOWEST, _HIGHEST
    found = []
    for duration_s in durations_s:
        x = duration_s * just_below
        x2 = x * x
        x4 = x2 * x2
        x = x4 * x4
        found.append(frexp(x)[1] - 1 if 1e-72 < x < 1e48 else (lowest if x < 1 else highest))
    return found


def upper_bound_s(bucket: int) -> float:
    """The largest duration in seconds that belongs to a bucket."""
    return float(2.0 ** ((bucket + 1) / PER_OCTAVE))


def percentiles(buckets: Buckets, shares: Iterable[float], lowest_s: float, highest_s: float) -> list[float]:
    """The durations below which each share (0..1) of the calls lies; 0.0 for an empty histogram.

    A bucket is represented by the geometric middle of its bounds, and never lies outside what was seen.
    """
    total = sum(buckets.values())
    wanted = list(shares)
    if not total:
        return [0.0] * len(wanted)
    ordered = sorted(buckets.items())
    found = []
    for share in wanted:
        rank = max(1, -int(-share * total // 1))  # the ceiling: nearest-rank percentile
        middle = float(2.0 ** ((_at_rank(ordered, rank) + 0.5) / PER_OCTAVE))
        found.append(min(max(middle, lowest_s), highest_s))
    return found


def _at_rank(ordered: list[tuple[int, int]], rank: int) -> int:
    seen = 0
    for bucket, count in ordered:
        seen += count
        if seen >= rank:
            return bucket
    return ordered[-1][0]


def at_most(buckets: Buckets, exponents: Iterable[int]) -> list[int]:
    """How many durations were at most `2**e` seconds, for each `e` rising: Prometheus' `le` buckets, exactly."""
    ordered = sorted(buckets.items())
    found, seen, at = [], 0, 0
    for exponent in exponents:
        while at < len(ordered) and ordered[at][0] < exponent * PER_OCTAVE:
            seen += ordered[at][1]
            at += 1
        found.append(seen)
    return found
