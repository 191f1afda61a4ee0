"""Whether two groups of calls differ by more than chance: the tests behind `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist, fmean, variance

_NORMAL = NormalDist()


def rank_sum_p(first: Mapping[int, int], second: Mapping[int, int]) -> float:
    """Return the two-sided p-value of the Wilcoxon-Mann-Whitney rank-sum test on two histograms.

    Calls of one bucket are ties, for which the variance is corrected (Lehmann, Nonparametrics, 1975, section 1.4); the
    normal approximation, with a continuity correction.

    Args:
        first: calls by bucket; buckets are in the order of their durations.
        second: the same for the other group.

    Returns:
        1.0 if a group is empty, or all calls are in one bucket.
    """
    n, m = sum(first.values()), sum(second.values())
    if not n or not m:
        return 1.0
    below = rank_sum = ties = 0.0
    for bucket in sorted(first.keys() | second.keys()):
        count = first.get(bucket, 0) + second.get(bucket, 0)
        rank_sum += first.get(bucket, 0) * (below + (count + 1) / 2)
        ties += count**3 - count
        below += count
    total = n + m
    spread = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if spread <= 0:
        return 1.0
    distance = max(0.0, abs(rank_sum - n * (total + 1) / 2) - 0.5)
    return _two_sided(distance / sqrt(spread))


def proportion_p(hits: int, of: int, other_hits: int, other_of: int) -> float:
    """Return the two-sided p-value of the z-test for two proportions, with the pooled variance.

    Returns:
        1.0 if a group is empty, or the proportions are both 0 or both 1.
    """
    if not of or not other_of:
        return 1.0
    pooled = (hits + other_hits) / (of + other_of)
    spread = pooled * (1 - pooled) * (1 / of + 1 / other_of)
    return 1.0 if spread <= 0 else _two_sided(abs(hits / of - other_hits / other_of) / sqrt(spread))


def mean_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p-value of Welch's test for two means, by the normal approximation.

    Returns:
        1.0 if a group has fewer than two values; 0.0 if both are constant and differ.
    """
    if len(first) < 2 or len(second) < 2:
        return 1.0
    distance = abs(fmean(first) - fmean(second))
    spread = variance(first) / len(first) + variance(second) / len(second)
    if spread <= 0:
        return 0.0 if distance > 0 else 1.0
    return _two_sided(distance / sqrt(spread))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method (1979), in the order in which they came."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = highest
    return adjusted


def _two_sided(z: float) -> float:
    return 2 * (1 - _NORMAL.cdf(z)) if z < 8 else 0.0
