"""What a price table may contain, and how a mistake in it is reported."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import setup, track
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._usage import Usage, apply_usage
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError

MILLION = 1_000_000


def dollars(
    book: PriceBook, model: str | None, *, input_tokens: int = MILLION, output_tokens: int = 0,
    provider: str | None = None, at: datetime | None = None, tool: str = "tool",
) -> float | None:  # fmt: skip
    details = CallDetails(input_tokens=input_tokens, output_tokens=output_tokens, model=model, provider=provider)
    call = ToolCall(tool, _details=details)
    if at is not None:
        call._opened_at = at.timestamp() - clock.wall_time_s(0.0)
    cost = book.cost_nanousd(call)
    return None if cost is None else cost / 1e9


def test_a_table_is_a_dict_a_json_file_or_a_toml_file(tmp_path: Path) -> None:
    """The same table, three ways; numbers in files are read as decimals, not as floats."""
    table = {"our-model": {"input": 0.1, "cached_input": 0.05, "output": 0.3}}
    json_file, toml_file = tmp_path / "prices.json", tmp_path / "prices.toml"
    json_file.write_text('{"our-model": {"input": 0.1, "cached_input": 0.05, "output": 0.3}}')
    toml_file.write_text('["our-model"]\ninput = 0.1\ncached_input = 0.05\noutput = 0.3\n')
    for prices in (table, json_file, str(json_file), toml_file, str(toml_file)):
        book = PriceBook(prices)
        assert dollars(book, "our-model", input_tokens=3, output_tokens=1) == 6e-7
        assert book.sources()[0].startswith("your table")
        assert book.sources()[0].endswith(": 1 model")


def test_prices_hold_from_their_dates_on() -> None:
    """A price list that changes: each call is priced by the day it ran on."""
    book = PriceBook({"m": [{"input": 1, "from": "2026-01-01"}, {"input": 2, "from": date(2026, 7, 1)}, {"input": 8}]})
    assert dollars(book, "m", at=datetime(2025, 12, 31, 23, 59, tzinfo=UTC)) == 8
    assert dollars(book, "m", at=datetime(2026, 1, 1, tzinfo=UTC)) == 1
    assert dollars(book, "m", at=datetime(2026, 6, 30, 23, 59, tzinfo=UTC)) == 1
    assert dollars(book, "m", at=datetime(2026, 7, 1, tzinfo=UTC)) == 2
    assert dollars(book, "m", at=datetime(2025, 1, 1, tzinfo=UTC)) == 8


def test_a_price_may_hold_for_one_provider_only() -> None:
    """The same model costs what the one that served it asks."""
    prices = {"m": [{"input": 1, "provider": "openai"}, {"input": 2, "provider": "azure"}]}
    book = PriceBook(prices)
    assert dollars(book, "m", provider="openai") == 1
    assert dollars(book, "m", provider="azure_openai") == 2
    assert dollars(book, "m", provider="someone") is None


@pytest.mark.parametrize(
    "spelling", ["gpt-4o", "GPT-4o", "gpt-4o-2024-08-06", "gpt-4o-latest", "openai/gpt-4o", "openai/gpt-4o-20240806"]
)
def test_a_model_is_found_by_its_usual_spellings(spelling: str) -> None:
    """In lower case, without a gateway's prefix, without its date."""
    assert dollars(PriceBook({"gpt-4o": {"input": 2.5}}), spelling) == 2.5


def test_the_name_as_it_stands_goes_before_its_spellings() -> None:
    """A dated model may have a price of its own."""
    book = PriceBook({"gpt-4o": {"input": 2.5}, "gpt-4o-2024-05-13": {"input": 5}})
    assert dollars(book, "gpt-4o-2024-05-13") == 5
    assert dollars(book, "gpt-4o-2024-11-20") == 2.5


def test_a_call_without_a_model_goes_by_its_tools_name() -> None:
    """For tools whose answers do not name the model that they ask."""
    book = PriceBook({"ask": {"input": 1}})
    assert dollars(book, None, tool="ask") == 1
    assert dollars(book, None, tool="other") is None


def test_a_price_per_call_of_a_tool_holds_whatever_model_its_answers_name() -> None:
    """Unless the table prices that model itself.

    Seen red: only the model's name was looked up, so a transcription by the second stayed unpriced.
    """
    book = PriceBook({"scan": {"per_call": 0.2}, "m": {"input": 1}, "ask": {"input": 1}})
    assert dollars(book, "unlisted", tool="scan") == 0.2
    assert dollars(book, "m", tool="scan") == 1
    assert dollars(book, "unlisted", tool="ask") is None
    call = ToolCall("scan")
    apply_usage(call, Usage(model="voxtral", input_tokens=10, other_units=8))
    assert book.cost_nanousd(call) == 200_000_000


def test_prices_by_token_and_by_call_add_up() -> None:
    """A search that costs a fee and its tokens."""
    book = PriceBook({"sonar": {"input": 1, "output": 1, "per_call": 0.005}})
    assert dollars(book, "sonar", input_tokens=1_000, output_tokens=1_000) == 0.007


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "int is not a price table; give a dict such as"),
        ([], "list is not a price table; give a dict such as"),
        ({"": {"input": 1}}, "'' is not a model's name; use the name of a model as the key"),
        ({5: {"input": 1}}, "5 is not a model's name"),
        ({"m": {}}, "m: has no price; add input and output, or per_call"),
        ({"m": []}, "m: has no prices; add prices, or remove the model"),
        ({"m": 5}, "m: 5 is not a set of prices; write"),
        ({"m": {"inputs": 1}}, "m > inputs: unknown key 'inputs'; the keys are input, output, cached_input"),
        ({"m": {"cached_input": 1}}, "has a price for a part of the input and none for input; add input as well"),
        (
            {"m": {"input": 1, "output_audio": 1}},
            "has a price for a part of the output and none for output; add output",
        ),
        *[({"m": {"input": bad}}, "m > input:") for bad in (-1, "1", True, None, float("nan"), float("inf"), [1])],
        (
            {"m": {"input": 2e7}},
            "price 2e+07 is out of range (1e-9 to 1,000,000 dollars per million tokens); check the unit",
        ),
        ({"m": {"input": 1e-12}}, "price 1e-12 is out of range (1e-9 to 1,000,000 dollars per million tokens)"),
        ({"m": {"input": 10**400}}, "price inf is out of range (1e-9 to 1,000,000 dollars per million tokens)"),
        ({"m": {"per_call": 2e7}}, "price 2e+07 is out of range (1e-9 to 1,000,000 dollars per call); check the unit"),
        ({"Gpt-4o": {"input": 1}, "gpt-4O": {"input": 2}}, "gpt-4O: differs from 'Gpt-4o' only in case, and names are"),
        ({"m": {"per_call": -1}}, "write dollars per call as a number, 0 or more"),
        ({"m": {"input": 1, "provider": 5}}, 'write for example "openai"'),
        ({"m": {"input": 1, "from": "soon"}}, "m > from: 'soon' is not a date; write for example"),
        ({"m": [{"input": 1}, {"input": 2}]}, 'two prices start on the same day; give each its own "from"'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_table_that_cannot_be_used_is_reported_with_the_cure(table: Any, message: str) -> None:
    """At setup, before anything runs, and never as a wrong price later."""
    with pytest.raises(ConfigurationError) as caught:
        setup(prices=table)
    assert str(caught.value).startswith("prices:")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{\n  "gpt-4o": {\n    "input": -2.5\n  }\n}', ": gpt-4o > input: -2.5 is not a price; write"),
        ("a.json", '{\n  "gpt-4o": {"input": 2.5,}\n}', "line 2, column 2"),  # 26 or 27, as the Python has it
        ("a.json", '{\n  "gpt-4o": {"input": 2.5,}\n}', "correct the JSON there"),
        ("a.json", '{\n"m": {"input": 1},\n"m": {"input": 2}}', ": m: this key occurs twice; keep one of them"),
        ("a.json", "", "correct the JSON there"),
        ("a.json", '{"m": {"input": NaN}}', "is not a price"),
        ("a.json", "[" * 100_000, "write only the prices of each model"),
        ("a.json", "5", "is not a price table"),
        ("a.toml", "[m]\ninput = 1\noutput = two\n", "line 3"),
        ("a.toml", "[m]\ninput = 1\noutput = two\n", "correct the TOML there"),
        ("a.toml", '[m]\ninput = 1\nfrom = "soon"\n', ": m > from: 'soon' is not a date"),
        ("a.json", '{\n"gpt-4o-mini": {"input": 1},\n"gpt-4o": {"input": -1}}', ": gpt-4o > input: -1 is no"),
        ("a.json", '{\n"m": [{"input": 1},\n{"input": 2,\n"from": "soon"}]}', ": m > #2 > from: 'soon' is no"),
        (
            "a.json",
            '{\n"m": {"input": 1},\n"n": {"input": 2,\n"input": 3}}',
            ": n > input: this key occurs twice; keep one of them",
        ),
        (
            "a.json",
            '{"m": [{"input": 1},\n{"input": 2, "from": "x", "from": "y"}]}',
            ": m > #2 > from: this key occurs twice",
        ),
        ("a.json", '{"m": {"input": 1e99999999999999999999}}', "1e99999999999999999999 is not a number"),
        ("a.toml", "[m]\ninput = -1\n", ": m > input: -1 is not a price"),
        ("a.toml", "[[m]]\ninput = 1\n\n[[m]]\ninput = -1\n", ": m > #2 > input: -1 is not a price"),
        ("a.toml", "m = [\n{input = 1},\n{input = -1},\n]", ": m > #2 > input: -1 is not a price"),
        ("a.toml", "[gpt-4.1]\ninput = 1\n", 'in TOML, quote the name of a model that contains a dot: ["gpt-4.1"]'),
        ("a.yaml", "m: 1", "not a price file; give the path of a .json or .toml file"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_with_its_keys_and_the_cure(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    """Which file, which keys (or which line of a syntax error), what is wrong, what to write instead."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        setup(prices=path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """The message has the path, and what to check."""
    with pytest.raises(ConfigurationError, match=r"cannot be read .No such file or directory.; check the path and its"):
        setup(prices=tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"caf\xe9": {"input": 1}}')
    with pytest.raises(ConfigurationError, match="is not UTF-8 text; save it as UTF-8"):
        setup(prices=tmp_path / "latin.json")
    with pytest.raises(ConfigurationError, match=r"is not a path .*embedded null.*; give the path of a .json or"):
        setup(prices="prices\0.json")


def test_a_mistake_in_the_table_leaves_what_was_set_up_before() -> None:
    """The running monitor goes on; nothing is half replaced."""
    monitor = setup()
    with pytest.raises(ConfigurationError):
        setup(prices={"m": {}})
    with track("tool"):
        pass
    assert monitor.summary()["count"] == 1


def test_prices_are_exact_to_the_last_nano_dollar() -> None:
    """0.1 and 0.3 are tenths, not floats, and the sum is rounded once, half to even."""
    book = PriceBook({"m": {"input": 0.1, "output": 0.3}, "half": {"input": Decimal("0.0005")}})
    assert book.cost_nanousd(ToolCall("t", _details=CallDetails(input_tokens=3, output_tokens=1, model="m"))) == 600
    half = [book.cost_nanousd(ToolCall("t", _details=CallDetails(input_tokens=n, model="half"))) for n in (1, 3, 5, 7)]
    assert half == [0, 2, 2, 4]


def test_a_price_of_a_tier_is_for_that_tier_and_others_have_none() -> None:
    """An entry without `service_tier` is for the default one."""
    book = PriceBook(
        {
            "m": [{"input": 2, "output": 4}, {"input": 1, "output": 2, "service_tier": "Flex"}],
            "n": {"input": 2, "output": 4},
            "tool": {"per_call": 0.5},
        }
    )

    def cost(model: str | None, tier: str | None) -> int | None:
        call = ToolCall("tool")
        apply_usage(call, Usage(model=model, service_tier=tier, input_tokens=1_000_000))
        return book.cost_nanousd(call)

    assert [cost("m", tier) for tier in (None, "default", "flex", "priority")] == [
        2_000_000_000, 2_000_000_000, 1_000_000_000, None,
    ]  # fmt: skip
    assert [cost("n", tier) for tier in (None, "standard", "flex")] == [2_000_000_000, 2_000_000_000, None]
    assert [cost(None, tier) for tier in (None, "flex")] == [500_000_000, 500_000_000]  # a price for the whole call


def test_a_search_costs_what_the_table_says_and_is_unknown_without() -> None:
    """Dollars per search, beside the tokens; images, video, reasoning and citations cost as their whole without one."""
    whole = {"input": 1, "output": 2}
    book = PriceBook(
        {"m": {**whole, "web_search": 0.01, "output_image": 30, "reasoning": 3}, "n": whole, "tool": {"per_call": 0.5}}
    )

    def cost(model: str, **usage: int) -> int | None:
        call = ToolCall("chat")
        apply_usage(call, Usage(model=model, input_tokens=1_000_000, output_tokens=1_000_000, **usage))
        return book.cost_nanousd(call)

    assert cost("m", web_searches=2) == 3_020_000_000
    assert cost("n", web_searches=2) is None
    assert cost("m", output_image_tokens=500_000, reasoning_tokens=500_000) == 17_500_000_000
    assert cost("n", output_image_tokens=500_000, reasoning_tokens=500_000) == 3_000_000_000
    assert cost("m", other_units=1) is None
