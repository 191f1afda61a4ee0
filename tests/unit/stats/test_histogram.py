"""A latency distribution that merges exactly."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor._stats import histogram

durations = st.floats(min_value=1e-8, max_value=1e5, allow_nan=False)


@given(durations)
def test_a_duration_lies_within_the_bounds_of_its_bucket(duration_s: float) -> None:
    """The upper bound belongs to the bucket, the lower one does not."""
    bucket = histogram.bucket_of(duration_s)
    assert (
        histogram.upper_bound_s(bucket - 1) * (1 - 1e-12) <= duration_s <= histogram.upper_bound_s(bucket) * (1 + 1e-12)
    )


@pytest.mark.parametrize("exponent", range(-20, 12))
def test_a_power_of_two_belongs_to_the_bucket_that_it_bounds(exponent: int) -> None:
    """`le` is inclusive, so 2**e seconds count under le=2**e, and the next larger duration does not."""
    bucket = histogram.bucket_of(2.0**exponent)
    assert histogram.upper_bound_s(bucket) == 2.0**exponent
    assert histogram.at_most({bucket: 1}, [exponent - 1, exponent]) == [0, 1]
    assert histogram.bucket_of(2.0**exponent * (1 + 1e-9)) == bucket + 1


@given(st.lists(durations))
def test_counting_many_is_counting_each(durations_s: list[float]) -> None:
    """The loop of the drain gives what the single question gives."""
    found: Counter[int] = Counter()
    histogram.count_into(found, sorted(durations_s))
    assert found == Counter(map(histogram.bucket_of, durations_s))


@pytest.mark.parametrize("duration_s", [0.0, 1e-300, 1e300, math.inf])
def test_what_is_out_of_range_is_counted_at_the_edge(duration_s: float) -> None:
    """Nothing is lost and nothing raises, however odd a duration is."""
    assert histogram.bucket_of(duration_s) in (-240, 160)


@pytest.mark.parametrize(
    "draw",
    [
        lambda r: r.lognormvariate(-2, 1.5),
        lambda r: r.gauss(0.1, 0.005) if r.random() < 0.5 else r.gauss(2.0, 0.1),
        lambda r: 0.01 * r.paretovariate(1.5),
        lambda r: 0.25,
    ],
    ids=["lognormal", "bimodal", "pareto", "constant"],
)
def test_merged_percentiles_are_within_five_percent_of_the_truth(draw: object) -> None:
    """Eight workers, one of them small and slow, merged by adding: p50, p95 and p99 of all their calls."""
    rng = random.Random(7)
    everything: list[float] = []
    merged: dict[int, int] = {}
    for worker in range(8):
        mine = [abs(draw(rng)) * (5 if worker == 7 else 1) for _ in range(50 if worker == 7 else 2_000)]  # type: ignore[operator]
        everything += mine
        for bucket in map(histogram.bucket_of, mine):
            merged[bucket] = merged.get(bucket, 0) + 1
    everything.sort()
    found = histogram.percentiles(merged, [0.5, 0.95, 0.99], everything[0], everything[-1])
    for share, percentile in zip((0.5, 0.95, 0.99), found, strict=True):
        truth = everything[math.ceil(share * len(everything)) - 1]
        assert percentile == pytest.approx(truth, rel=0.05)


def test_percentiles_of_nothing_are_zero() -> None:
    """An empty summary has all its keys."""
    assert histogram.percentiles({}, [0.5, 0.99], math.inf, 0.0) == [0.0, 0.0]
