"""Dollars become whole nano-dollars by adding and taking away 2**52, exactly as `round` would make them."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO, sum_nanodollars

amounts = st.floats(0.0, 1e6) | st.integers(0, 10**7).map(lambda halves: halves / 2e9)


@given(amounts)
@example(0.5e-9)
@example(1.5e-9)
@example(2.5e-9)
@example(0.49999999999999994e-9)
@example(1e6)
def test_a_recorded_cost_is_rounded_half_to_even(dollars: float) -> None:
    """A call has the nano-dollars that `round` gives.

    Seen red: with `floor(cost * 1e9 + 0.5)`.
    """
    call = ToolCall("ocr")
    call.record(cost=dollars)
    assert call._cost_nanousd == round(dollars * NANO)


@given(st.lists(amounts, max_size=20))
@example([1e6] * 20)
@example([1e6] * 10 + [1e-9])
def test_a_sum_is_that_of_rounded_amounts(dollars: list[float]) -> None:
    """No nano-dollar is lost, in large sums either.

    Seen red: with `int(total)` for every sum.
    """
    assert sum_nanodollars(dollars) == sum(round(each * NANO) for each in dollars)
