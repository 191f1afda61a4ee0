"""Prices written down by hand, compared with another list and with what is really charged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from payload_kit import Case, micro_dollars
from price_pages import PRICES
from test_payloads import CASES, returned

from toolweaver_monitor._usage.pricing import PriceBook

CHARGED = [case for case in CASES if case.cost_source == "reported" and case.name.startswith("OpenRouter, ")]
HOSTS = {"Groq": "groq", "Cerebras": "cerebras", "Mistral": "mistral"}
"""Providers that serve others' models at their own prices, as genai-prices names them, by the row's first word."""
MOVED = {"mistral-large-latest": "Mistral Large 3 since December 2025; genai-prices 0.2.3 still has Large 2 under it"}
NAMED = sorted(
    {
        (case.model, "openai" if case.model.startswith("text-embedding") else HOSTS.get(case.name.split(",")[0], ""))
        for case in CASES
        if case.model and case.documented and case.cost_source == "priced" and case.costs
    }
)


@pytest.fixture(autouse=True)
def only_the_price_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """genai-prices stays out of the calls; the test that compares with it calls it directly."""
    monkeypatch.setattr(PriceBook, "start_loading", lambda _: None)


def without_cost(thing: Any) -> Any:
    """Return the same payload of a gateway that reports no cost."""
    if isinstance(thing, list):
        return [without_cost(part) for part in thing]
    if isinstance(thing, dict):
        return {key: without_cost(value) for key, value in thing.items() if key != "cost"}
    return copy.copy(thing)


@pytest.mark.parametrize("case", CHARGED, ids=lambda case: case.name)
def test_a_price_table_comes_to_what_a_gateway_really_charged(case: Case) -> None:
    """Without its cost, each recorded answer of OpenRouter costs by the table what was charged, to the nano-dollar."""
    charged = returned(case.payload, case.tool)._cost_nanousd
    assert charged is not None
    apart = 10_000_000 if "search on the web" in case.name else 0  # a cent for the search, which no token pays for
    priced = returned(without_cost(case.payload), case.tool)
    assert priced.cost_source == "priced"
    assert priced._cost_nanousd == charged - apart


@pytest.mark.parametrize(("model", "host"), NAMED)
def test_prices_written_by_hand_are_those_of_genai_prices(
    model: str, host: str, require_package: Callable[[str, str], None]
) -> None:
    """If it knows the model: an independent second list, which plays no part in working out what is expected."""
    require_package("genai_prices", "pip install 'toolweaver_monitor[prices]'")
    import genai_prices

    if model in MOVED:
        return
    rates = PriceBook(PRICES)._periods(model)[0].rates
    when = datetime(2026, 8, 1, tzinfo=UTC)
    for kind, ours in (("input_tokens", rates.input), ("output_tokens", rates.output)):
        if ours is None:
            continue
        usage = genai_prices.Usage(**{kind: 1_000})
        try:
            answer = genai_prices.calc_price(usage, model, provider_id=host or None, genai_request_timestamp=when)
        except LookupError:
            pytest.skip(f"genai-prices {genai_prices.__version__} does not know {model}")
        assert Fraction(answer.total_price) == Fraction(ours * 1_000, rates.denominator * 10**9), kind


def test_gateways_charges_are_written_as_sums_too() -> None:
    """What OpenRouter charged is what the row's sum comes to: two accounts of the same money."""
    assert len(CHARGED) >= 6
    for case in CHARGED:
        assert returned(case.payload, case.tool)._cost_nanousd == micro_dollars(case.costs or "") * 1_000, case.name
