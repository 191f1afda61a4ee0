"""Numbers of every type that are tokens or money, and those that are not."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, monitored, setup, track
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars, token_count
from toolweaver_monitor.testing import ToolRecorder


class Level(enum.IntEnum):
    """Whole numbers with names."""

    THREE = 3


class Count(int):
    """A number of the user's own, whose methods may not be run."""

    def __index__(self) -> int:
        raise AssertionError

    __int__ = __float__ = __eq__ = __hash__ = __lt__ = __le__ = __index__  # type: ignore[assignment]


class Money(float):
    """As above."""

    def __float__(self) -> float:
        raise AssertionError


class Price(Decimal):
    """As above."""

    def is_finite(self) -> bool:
        raise AssertionError


class Lookalike:
    """No number, though it can be turned into one by its own code."""

    def __index__(self) -> int:
        raise AssertionError

    __float__ = __index__


@pytest.fixture(scope="module")
def numpy() -> Any:
    return pytest.importorskip("numpy")


def invalid(work: Callable[[], Any]) -> tuple[Any, int]:
    """Return what it returns, and how many values it counted as invalid."""
    before = Diagnostics.invalid_values
    return work(), Diagnostics.invalid_values - before


@pytest.mark.parametrize("tokens", [3, 3.0, Decimal(3), Fraction(6, 2), Level.THREE, Count(3), Money(3.0), Price(3)])
def test_a_whole_number_of_any_type_is_a_count(tokens: Any) -> None:
    """Three tokens are three tokens, whichever type says so. Seen red: only exact `int` and `float` counted."""
    assert invalid(lambda: token_count(tokens)) == (3, 0)
    assert type(token_count(tokens)) is int


@pytest.mark.parametrize("dollars", [0.25, Decimal("0.25"), Fraction(1, 4), Money(0.25), Price("0.25")])
def test_a_number_of_any_type_is_money(dollars: Any) -> None:
    """A quarter is 250,000,000 nano-dollars. Seen red: fractions and subclasses of Decimal were invalid."""
    assert invalid(lambda: nanodollars(dollars)) == (250_000_000, 0)


def test_a_fraction_is_rounded_once() -> None:
    """A third of a dollar, and one nano-dollar and a half, which goes to the even one."""
    assert nanodollars(Fraction(1, 3)) == 333_333_333
    assert nanodollars(Fraction(3, 2_000_000_000)) == 2
    assert nanodollars(Fraction(5, 2_000_000_000)) == 2


@pytest.mark.parametrize(
    "value",
    [
        -1, float("nan"), float("inf"), True, "3", b"3", [3], 3j, object(), Lookalike(), Decimal("NaN"),
        Decimal("sNaN"), Decimal("Infinity"), 10**4_000, Fraction(-1, 2), Fraction(1, 2**2_000), Count(-1),
        Money("nan"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_invalid_and_never_raises(value: Any) -> None:
    """It is left out and counted, and none of its own code runs."""
    assert invalid(lambda: token_count(value)) == (0, 1)
    assert invalid(lambda: nanodollars(value)) == (None, 1)


def test_a_part_of_a_token_is_invalid() -> None:
    """There are no half tokens."""
    assert invalid(lambda: token_count(Fraction(1, 2))) == (0, 1)
    assert invalid(lambda: token_count(2.5)) == (0, 1)


def test_nothing_is_not_invalid() -> None:
    """None says that nothing is known."""
    assert invalid(lambda: (token_count(None), nanodollars(None))) == ((0, None), 0)


@pytest.mark.parametrize("name", ["int64", "int32", "uint8", "float32", "float16", "float64"])
def test_numpys_numbers_are_numbers(numpy: Any, name: str) -> None:
    """`attention_mask.sum()` is a numpy.int64. Seen red: 0 tokens."""
    value = getattr(numpy, name)(3)
    assert invalid(lambda: (token_count(value), nanodollars(value))) == ((3, 3_000_000_000), 0)


def test_numpys_arrays_of_no_dimension_are_numbers_and_others_are_not(numpy: Any) -> None:
    """An array of one element is a list; numpy warns when it is used as a number, and warnings are errors here."""
    assert invalid(lambda: (token_count(numpy.array(3)), nanodollars(numpy.array(0.25)))) == ((3, 250_000_000), 0)
    for value in (
        numpy.array([3]),
        numpy.array([[3.0]]),
        numpy.bool_(True),
        numpy.timedelta64(3, "s"),
        numpy.str_("3"),
    ):
        assert invalid(lambda value=value: (token_count(value), nanodollars(value))) == ((0, None), 2)
    assert invalid(lambda: nanodollars(numpy.float32("nan"))) == (None, 1)


@pytest.mark.parametrize("number", [Level.THREE, Fraction(3), Count(3), Decimal(3), Money(3.0)])
def test_such_a_number_counts_wherever_it_is_said(number: Any) -> None:
    """In a result, in a usage inside it, as its cost, in `record()`, and by a budget of tokens. Seen red: 0."""

    @monitored("tool")
    def tool(result: Any) -> Any:
        return result

    with ToolRecorder() as recorder:
        tool({"tokens_used": number, "cost": number})
        tool({"model": "m", "usage": {"prompt_tokens": number, "completion_tokens": number}})
        with track("tool") as call:
            call.record(tokens=number, cost=number)
        first, second, third = recorder.calls("tool")
    assert (first.tokens, first._cost_nanousd) == (third.tokens, third._cost_nanousd) == (3, 3_000_000_000)
    assert (second.input_tokens, second.output_tokens) == (3, 3)


def test_a_budget_of_tokens_holds_for_them() -> None:
    """Two calls of 600 are more than 1,000. Seen red: ten ran."""
    monitor = setup(budget=Budget(limit_tokens=1_000))
    ran = 0

    @monitored("tool")
    def tool() -> Any:
        nonlocal ran
        ran += 1
        return {"tokens_used": Fraction(600)}

    for _ in range(10):
        try:
            tool()
        except BudgetExceeded:
            break
    assert ran == 2
    assert monitor.summary()["total_tokens"] == 1_200


def test_a_number_that_makes_no_sense_in_a_dict_is_counted_as_invalid() -> None:
    """As in `record()`. Seen red: a Fraction below 0 was left out without a word."""

    @monitored("tool")
    def tool() -> Any:
        return {"tokens_used": Fraction(-3)}

    with ToolRecorder() as recorder:
        assert invalid(tool)[1] == 1
        assert recorder.calls("tool")[0].tokens == 0
