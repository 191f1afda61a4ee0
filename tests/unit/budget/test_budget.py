"""What a budget can limit, and what is rejected when it is made."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from ledger_kit import ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor.errors import BudgetExceeded, ConfigurationError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give limit_usd="),
        ({"per": "day"}, "give limit_usd="),
        *[
            ({"limit_usd": bad}, "give dollars from 0")
            for bad in (
                -1,
                -0.01,
                float("nan"),
                float("inf"),
                True,
                "5",
                1e10,
                10**400,
                Decimal("NaN"),
                Decimal("sNaN"),
                Decimal("Infinity"),
                Decimal("1e400"),
                1j,
                [5],
            )
        ],
        *[
            ({field: bad}, "give a whole number from 0")
            for field in ("limit_tokens", "limit_calls")
            for bad in (-1, 0.5, float("nan"), float("inf"), True, "5", 10**400, Decimal(5))
        ],
        *[({"limit_usd": 5, "reserve": bad}, "give dollars from 0") for bad in (-1, float("nan"), True, "1")],
        ({"limit_calls": 5, "reserve": 0.1}, "give limit_usd=, too"),
        ({"limit_usd": 1, "reserve": 1.01}, "give a smaller reserve="),
        *[({"limit_usd": 5, "per": bad}, "give per='run'") for bad in ("week", "", None, 60, ["run"])],
        *[({"limit_usd": 5, "tool": bad}, "give the name of a tool") for bad in ("", " ", 5, "a\nb", "a" * 129)],
        *[({"limit_usd": 5, "name": bad}, "give some text") for bad in ("", 5, "a\x1b[0m")],
        *[
            ({"limit_usd": 5, "tag": bad}, "give tag='customer'")
            for bad in (
                "",
                "=acme",
                "customer=",
                5,
                (),
                ("customer",),
                ("", "acme"),
                ("customer", None),
                ("a", "b", "c"),
            )
        ],
        *[({"limit_usd": 5, "on_exceed": bad}, "give 'raise', 'warn'") for bad in ("stop", None, True, 5, ValueError)],
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_when_made_and_told_how_to_cure(settings: Any, said: str) -> None:
    """What cannot be a limit, a window, a scope or a policy raises at once; the message says what to give instead."""
    with pytest.raises(ConfigurationError) as caught:
        Budget(**settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("limit", "limit_usd"), ("max_usd", "limit_usd"), ("limit_dollars", "limit_usd"),
        ("max_tokens", "limit_tokens"), ("max_calls", "limit_calls"), ("limit_call", "limit_calls"),
        ("window", "per"), ("customer", "tag"), ("tags", "tag"), ("on_exceeded", "on_exceed"), ("tool_name", "tool"),
        ("reserv", "reserve"),
    ],
)  # fmt: skip
def test_a_wrong_keyword_is_told_with_the_one_that_could_be_meant(wrong: str, meant: str) -> None:
    """Others call limits by other names; the error says ours."""
    with pytest.raises(ConfigurationError, match=f"a Budget has no {wrong}=; did you mean {meant}="):
        Budget(**{wrong: 5})  # type: ignore[arg-type]


def test_an_argument_like_no_field_is_rejected_with_all_names() -> None:
    """And so is a bare number, which could be dollars, tokens or calls."""
    with pytest.raises(ConfigurationError, match=r"a Budget has no colour=; give limit_usd=, .* or name="):
        Budget(colour="red")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"Budget\(5.0\) does not name what it limits; give limit_usd="):
        Budget(5.0)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize("field", ["limit_usd", "reserve"])
@pytest.mark.parametrize("tiny", [1e-12, 4e-10, Decimal("1e-30")])
def test_less_than_a_billionth_of_a_dollar_is_refused_and_not_taken_for_nothing(field: str, tiny: Any) -> None:
    """A limit of 0 is another thing: it lets nothing run."""
    with pytest.raises(
        ConfigurationError, match=f"{field}=.* is less than a billionth of a dollar.*; give {field}=0, or"
    ):
        Budget(**{"limit_usd": 1, field: tiny})
    assert Budget(limit_usd=1e-9).limits == {"usd": 1}


def test_an_async_on_exceed_is_refused() -> None:
    """A coroutine function would never be awaited, so it is no answer."""

    async def ask(_: BudgetExceeded) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="no async one"):
        Budget(limit_usd=5, on_exceed=ask)


def test_a_budget_cannot_be_changed_and_equals_its_like() -> None:
    """It is a value: what was checked stays so."""
    budget = Budget(limit_usd=5.00)
    with pytest.raises(AttributeError):
        budget.limit_usd = 6.00  # type: ignore[misc]
    assert budget == Budget(limit_usd=5.00)
    assert pickle.loads(pickle.dumps(budget)) == budget


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [
        (0.1, 10**8),
        (Decimal("0.000000001"), 1),
        (1e9, 10**18),
        (123_456_789.123456789, 123_456_789_123_456_790),
        (3, 3 * NANO),
    ],
)
def test_limits_are_exact_nano_dollars(dollars: Any, nano: int) -> None:
    """Dollars are taken as they are written, not as binary floats multiply."""
    assert Budget(limit_usd=dollars).limits == {"usd": nano}


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"limit_usd": 5}, "usd/run"),
        ({"limit_usd": 5, "limit_calls": 3, "per": "day", "tool": "ocr"}, "usd+calls/day tool=ocr"),
        ({"limit_tokens": 1e6, "per": "hour", "tag": "customer"}, "tokens/hour by customer"),
        ({"limit_usd": 5, "tag": ("tier", 1), "on_exceed": "warn"}, "usd/run tier=1 warn"),
        ({"limit_usd": 5, "on_exceed": print}, "usd/run ask"),
        ({"limit_usd": 5, "name": "pocket money"}, "pocket money"),
    ],
)
def test_a_budget_without_a_name_is_called_after_what_it_limits(settings: Any, label: str) -> None:
    """Messages and metrics can name every budget."""
    assert Budget(**settings).label == label


@pytest.mark.parametrize(
    "pair",
    [
        ({"limit_usd": 5}, {"limit_usd": 6, "name": "other"}),
        ({"limit_usd": 5}, {"limit_usd": 6, "limit_calls": 9}),
        ({"limit_usd": 5, "tag": "a=1"}, {"limit_usd": 6, "tag": ("a", 1), "name": "other"}),
        ({"limit_usd": 5, "name": "one"}, {"limit_calls": 5, "name": "one"}),
    ],
)
def test_clashing_budgets_are_an_error(pair: Any) -> None:
    """Two budgets of one name, or for the same calls, unit and window, are a mistake."""
    with pytest.raises(ConfigurationError, match=r"remove the larger one|a name= of its own"):
        Ledger([Budget(**settings) for settings in pair])


def test_a_soft_limit_below_a_hard_one_is_no_clash(caplog: pytest.LogCaptureFixture) -> None:
    """Warn at $1, refuse at $2: both budgets are for the same calls, and both act."""
    ledger = Ledger([Budget(limit_usd=1, on_exceed="warn"), Budget(limit_usd=2)])
    for _ in range(2):
        ended(opened(ledger, NANO), cost=1)
    assert "usd/run warn" in caplog.text
    assert refused(ledger, NANO).budget == "usd/run"


@pytest.mark.parametrize("budgets", [[], (), [5.0], Budget(limit_usd=5), None])
def test_a_ledger_wants_budgets(budgets: Any) -> None:
    """Nothing, or something that is not a list of budgets, is an error with a cure."""
    with pytest.raises(ConfigurationError, match="give Budget objects"):
        Ledger(budgets)
