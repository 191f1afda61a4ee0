"""Figures that `record()` and `track()` are given under the names that they have in results."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Usage, current_call, monitored, setup, track
from toolweaver_monitor._instrument import track as track_module
from toolweaver_monitor.testing import ToolRecorder

DETAILS = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}}


def fail() -> None:
    raise OSError


class CompletionUsage:
    """The usage of an answer of an SDK."""

    def __init__(self) -> None:
        self.prompt_tokens = 100
        self.completion_tokens = 20
        self.total_tokens = 120
        self.prompt_tokens_details = {"cached_tokens": 40}


CompletionUsage.__module__ = "openai.types.completion_usage"


class Completion:
    """An answer of an SDK."""

    def __init__(self) -> None:
        self.model = "m"
        self.usage = CompletionUsage()


Completion.__module__ = "openai.types.chat"


class OwnUsage:
    """A class of the user, whose properties are not run."""

    def __init__(self) -> None:
        self.prompt_tokens = 100
        self.completion_tokens = 20

    @property
    def total_tokens(self) -> int:
        raise AssertionError


WORDS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int, float | None]]] = {
    "cost_usd": ({"cost_usd": 0.25}, (0, 0, 0, 0, 0.25)),
    "response_cost": ({"response_cost": 0.25}, (0, 0, 0, 0, 0.25)),
    "prompt and completion": ({"prompt_tokens": 100, "completion_tokens": 20}, (0, 100, 20, 0, None)),
    "with their total": (
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "cost_usd": 0.25},
        (0, 100, 20, 0, 0.25),
    ),
    "total": ({"total_tokens": 120}, (120, 0, 0, 0, None)),
    "tokens_used": ({"tokens_used": 120}, (120, 0, 0, 0, None)),
    "usage of an SDK": ({"usage": CompletionUsage()}, (0, 100, 20, 40, None)),
    "answer of an SDK": ({"usage": Completion()}, (0, 100, 20, 40, None)),
    "usage of a dict": ({"usage": DETAILS}, (0, 100, 20, 40, None)),
    "usage of a class": ({"usage": OwnUsage()}, (0, 100, 20, 0, None)),
    "a Usage": ({"usage": Usage(input_tokens=100, output_tokens=20, cost=0.25)}, (0, 100, 20, 0, 0.25)),
    "usage and cost": ({"usage": CompletionUsage(), "cost_usd": 0.25}, (0, 100, 20, 40, 0.25)),
}


@pytest.mark.parametrize("way", ["record", "track", "function"])
@pytest.mark.parametrize("case", WORDS)
def test_figures_may_have_the_names_that_they_have_in_results(case: str, way: str) -> None:
    """They are no tags. Seen red: all of them were tags, and their money was lost."""
    words, figures = WORDS[case]
    with ToolRecorder() as recorder:
        if way == "track":
            with track("llm", **words, customer="acme"):
                pass
        elif way == "record":
            with track("llm") as call:
                call.record(**words, customer="acme")
        else:
            monitored("llm")(lambda: current_call().record(**words, customer="acme"))()
        (call,) = recorder.calls()
    told = call.tokens - call.input_tokens - call.output_tokens, call.input_tokens, call.output_tokens
    assert (*told, call.cached_tokens, call.cost_usd) == figures
    assert call.tags == {"customer": "acme"}
    assert call.model == ("m" if case == "answer of an SDK" else None)


def test_figures_under_another_name_add_up() -> None:
    """Over several records, with those under their own names, and with their parts."""
    with ToolRecorder() as recorder:
        with track("llm", tokens=1) as call:
            call.record(usage=CompletionUsage())
            call.record(usage=CompletionUsage(), cost_usd=0.25)
            call.record(tokens=5, cost=0.5)
        (call,) = recorder.calls()
    assert (call.tokens, call.input_tokens, call.cached_tokens, call.cost_usd) == (246, 200, 80, 0.75)


TWICE: dict[str, tuple[dict[str, Any], tuple[int, int, int, int, float | None]]] = {
    "tokens that agree": ({"tokens": 120, "usage": CompletionUsage()}, (0, 100, 20, 40, None)),
    "other tokens": ({"tokens": 90, "usage": CompletionUsage()}, (90, 0, 0, 0, None)),
    "input and output": ({"input_tokens": 100, "output_tokens": 20, "usage": DETAILS}, (0, 100, 20, 40, None)),
    "other input": ({"input_tokens": 90, "usage": DETAILS}, (0, 90, 20, 0, None)),
    "cached": ({"cached_tokens": 30, "usage": DETAILS}, (0, 100, 20, 30, None)),
    "two words": ({"tokens": 120, "total_tokens": 120}, (120, 0, 0, 0, None)),
    "input by its own name": ({"input_tokens": 100, "completion_tokens": 20}, (0, 100, 20, 0, None)),
    "words and usage": ({"usage": DETAILS, "prompt_tokens": 100, "completion_tokens": 20}, (0, 100, 20, 40, None)),
    "words and another usage": ({"usage": DETAILS, "total_tokens": 90}, (0, 100, 20, 40, None)),
    "cost": ({"cost": 0.25, "cost_usd": 0.25}, (0, 0, 0, 0, 0.25)),
    "other cost": ({"cost": 0.25, "usage": Usage(tokens=120, cost=0.5)}, (120, 0, 0, 0, 0.25)),
    "cost of usage": ({"usage": Usage(tokens=120, cost=0.25), "cost_usd": 0.5}, (120, 0, 0, 0, 0.25)),
}


@pytest.mark.parametrize("way", ["first", "later"])
@pytest.mark.parametrize("case", TWICE)
def test_a_figure_that_one_record_tells_twice_counts_once(case: str, way: str) -> None:
    """Its own name counts, then `usage=`, then the other names; of those that agree, the one with the most detail.

    Seen red: each of them was added.
    """
    words, figures = TWICE[case]
    with ToolRecorder() as recorder:
        with track("llm") as call:
            if way == "later":
                call.record(tokens=7, cost=1.0)
            call.record(**words, model="m")
        (call,) = recorder.calls()
    unsplit = call.tokens - call.input_tokens - call.output_tokens
    cost = call.cost_usd
    if way == "later":
        unsplit, cost = unsplit - 7, None if cost == 1.0 else (cost or 0) - 1
    assert (unsplit, call.input_tokens, call.output_tokens, call.cached_tokens, cost) == figures
    assert call.model == "m"


def test_a_usage_that_cannot_be_read_is_counted_as_invalid() -> None:
    """It is no tag either."""
    monitor = setup()
    before = monitor.health()["invalid"]["invalid_values"]
    with track("llm") as call:
        call.record(usage=object())
    assert monitor.health()["invalid"]["invalid_values"] == before + 1
    assert call.tags == {}


@pytest.mark.parametrize("way", ["record", "track"])
def test_the_entries_of_a_mapping_named_tags_are_the_tags(way: str) -> None:
    """As in `monitored(tags=...)`."""
    with ToolRecorder() as recorder:
        with track("ocr", **({"tags": {"customer": "acme"}, "team": "a"} if way == "track" else {})) as call:
            if way == "record":
                call.record(tags={"customer": "acme"}, team="a")
        (call,) = recorder.calls()
    assert call.tags == {"customer": "acme", "team": "a"}


def test_tags_that_are_no_mapping_are_a_tag() -> None:
    """A text is a value as any other."""
    with ToolRecorder() as recorder:
        with track("ocr", tags="new"):
            pass
        assert recorder.calls()[0].tags == {"tags": "new"}


def test_the_cost_of_a_block_is_declared() -> None:
    """It is charged for a success only, and what the block records goes before it."""
    monitor = setup()
    for outcome in ("success", "failure", "recorded"):
        try:
            with track("ocr", cost=0.25, customer="acme") as call:
                if outcome == "failure":
                    fail()
                if outcome == "recorded":
                    call.record(cost=0.5)
        except OSError:
            pass
    assert monitor.summary()["total_cost_usd"] == 0.75
    assert [entry["cost"] for entry in monitor.metrics.operations] == [0.25, 0.0, 0.5]


def test_a_budget_refuses_a_block_whose_declared_cost_exceeds_it() -> None:
    """The cost is known before the block runs, as with `monitored(cost=...)`."""
    monitor = setup(budget=Budget(limit_usd=0.5))
    for _ in range(2):
        with track("ocr", cost=0.25):
            pass
    with pytest.raises(BudgetExceeded), track("ocr", cost=0.25):
        raise AssertionError
    assert monitor.health()["budgets"][0]["spent"] == 0.5


def test_costs_that_are_worked_out_take_no_more_memory() -> None:
    """Beyond 256 different ones they are recorded, and all are counted.

    Seen red: with no `MAX_DECLARED` for their tools.
    """
    monitor = setup()
    for cents in range(1, 1_001):
        with track("ocr", cost=cents / 100):
            pass
    assert monitor.summary()["total_cost_usd"] == 5_005
    assert len(track_module._declared) <= track_module.MAX_DECLARED


def test_a_block_with_figures_that_is_entered_again_records_them_again() -> None:
    """Each run is a call of its own."""
    block = track("ocr", tokens=3)
    with ToolRecorder() as recorder:
        for _ in range(2):
            with block as call:
                call.record(tokens=1)
        assert [call.tokens for call in recorder.calls()] == [4, 4]


def test_a_cost_that_is_none_is_ignored() -> None:
    """Never an error in the user's code."""
    monitor = setup()
    before = monitor.health()["invalid"]["invalid_values"]
    with track("ocr", cost="much"):
        pass
    assert monitor.summary()["total_cost_usd"] == 0
    assert monitor.health()["invalid"]["invalid_values"] == before + 1


def test_a_block_with_figures_has_the_price_of_the_model_that_is_named_beside_them() -> None:
    """`model=` and `provider=` are tags, and with figures the call's own as well; without any they are tags only.

    Seen red: without the names in `_with_figures`.
    """
    setup(prices={"m": {"input": 1.0, "output": 5.0, "provider": "p"}})
    with track("llm", model="m", provider="p", prompt_tokens=1_000_000, completion_tokens=0) as priced:
        pass
    with track("llm", model="m") as plain:
        pass
    assert (priced.model, priced.provider, priced.cost_usd) == ("m", "p", 1.0)
    assert dict(priced.tags) == {"model": "m", "provider": "p"}
    assert (plain.model, plain.cost_usd, dict(plain.tags)) == (None, None, {"model": "m"})


TOKENS: dict[str, dict[str, Any]] = {"own": {"input_tokens": 100}, "other": {"usage": {"prompt_tokens": 100}}}


@pytest.mark.parametrize("words", TOKENS)
def test_tokens_of_two_models_in_one_call_have_no_price(words: str) -> None:
    """They do not tell how many are whose. A second name of the model without tokens, and known costs, are fine.

    Seen red: without the look at the model before, all tokens had the price of the second.
    """
    prices = {"small": {"input": 1, "output": 1}, "large": {"input": 100, "output": 100}}
    with ToolRecorder(prices=prices) as recorder:
        for second in ({**TOKENS[words], "model": "small"}, {"model": "large"}, {**TOKENS[words], "model": "large"}):
            with track("models") as call:
                call.record(**TOKENS[words], model="small")
                call.record(**second)
        with track("models") as call:
            call.record(**TOKENS[words], model="small", cost=0.25)
            call.record(**TOKENS[words], model="large", cost=0.5)
        found = [(call.tokens, call._cost_nanousd) for call in recorder.calls()]
    assert found == [(200, 200_000), (100, 10_000_000), (200, None), (200, 750_000_000)]


@pytest.mark.parametrize(
    "name", ["usd", "costUSD", "total_cost", "token_count", "prompt_token", "completionTokens", "total_token"]
)
def test_other_words_for_a_cost_or_tokens_are_no_silent_tags(name: str) -> None:
    """A number under a word that is no figure, but was surely meant as one, is a problem.

    Seen red: without the word among the synonyms.
    """
    monitor = setup()
    with track("llm") as call:
        call.record(**{name: 3})
        call.record(completion_time=3, max_tokens=3, total_items=3)
    (problem,) = monitor.health()["problems"]
    assert repr(name) in problem
