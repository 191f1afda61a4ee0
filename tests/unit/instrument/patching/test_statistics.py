"""In a module that is instrumented as a whole, statistics are not spending."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import Usage, instrument, monitored, setup, uninstrument

FIGURES = {"prompt_tokens": 100, "completion_tokens": 20}
SPENDING: dict[str, tuple[dict[str, Any], int, float]] = {
    "cost": ({"cost": 0.5, "text": ""}, 0, 0.5),
    "tokens_used": ({"tokens_used": 120, "text": ""}, 120, 0),
    "usage beside model": ({"model": "m", "usage": FIGURES}, 120, 0),
}
STATISTICS: dict[str, dict[str, Any]] = {
    "a total": {"total_cost_usd": 0.8},
    "a total of tokens": {"total_tokens": 120, "input_tokens": 100, "output_tokens": 20},
    "a total beside a cost": {"total_calls": 3, "cost": 0.8},
    "a count beside a cost": {"call_count": 3, "cost": 0.8},
    "usage without a model": {"usage": FIGURES},
    "tokens alone": {"tokens": 120},
    "input and output": {"input_tokens": 100, "output_tokens": 20},
}


@pytest.fixture
def made() -> Iterator[types.ModuleType]:
    module = types.ModuleType("made_up_statistics")
    vars(module)["result"] = {}
    exec(
        """
def get(): return dict(result)
async def wait(): return dict(result)
def pair(): return dict(result), "text"
class Tracker:
    def get_stats(self): return dict(result)
def retry(work): return work()
def retry_with_backoff(work, tries=3): return work()
def execute(work, *args): return retry(lambda: work(*args))
def changes(work): return {"answer": retry_with_backoff(work)["text"]}
""",
        vars(module),
    )
    instrument(module)
    yield module
    uninstrument(module)


async def run_all(module: Any, result: dict[str, Any]) -> None:
    module.result = result
    module.get()
    await module.wait()
    module.Tracker().get_stats()


@pytest.mark.parametrize("case", STATISTICS)
async def test_statistics_are_not_spending(case: str, made: Any) -> None:
    """They are not counted, however often they are read; one note names the function, the keys and the cure.

    Seen red: with `is_spending` always true: three times the sum of all that was spent.
    """
    monitor = setup()
    for _ in range(2):
        await run_all(made, STATISTICS[case])
    assert monitor.summary()["total_tokens"] == 0
    assert monitor.summary()["total_cost_usd"] == 0
    assert monitor.health()["ok"]
    notes = [note for note in monitor.health()["notes"] if "statistics" in note]
    assert [note.split()[0] for note in notes] == ["'get'", "'wait'", "'Tracker.get_stats'"]
    assert all("usage=" in note for note in notes)
    assert next(iter(key for key in STATISTICS[case] if key not in ("total_calls", "call_count"))) in notes[0]


@pytest.mark.parametrize("case", SPENDING)
async def test_what_one_call_spent_is_counted(case: str, made: Any) -> None:
    """The dicts that tools return."""
    result, tokens, cost = SPENDING[case]
    monitor = setup()
    await run_all(made, result)
    assert monitor.summary()["total_tokens"] == 3 * tokens
    assert monitor.summary()["total_cost_usd"] == 3 * cost
    assert not [note for note in monitor.health()["notes"] if "statistics" in note]


def test_an_answer_in_a_tuple_follows_the_same_rule(made: Any) -> None:
    """Seen red: with the elements of containers taken for spending."""
    monitor = setup()
    made.result = {"usage": FIGURES}
    made.pair()
    assert monitor.summary()["total_tokens"] == 0
    made.result = {"model": "m", "usage": FIGURES}
    made.pair()
    assert monitor.summary()["total_tokens"] == 120


def test_a_summary_of_this_library_that_a_module_returns_is_not_spent_again(made: Any) -> None:
    """It would double all that was spent."""
    monitor = setup()
    monitored("ocr")(lambda: {"cost": 0.25})()
    made.result = monitor.summary()
    made.get()
    assert monitor.summary()["total_cost_usd"] == 0.25


def test_a_dict_without_figures_is_not_worth_a_note(made: Any) -> None:
    """Most dicts are about something else."""
    monitor = setup()
    made.result = {"total_pages": 3, "name": "x"}
    made.get()
    assert not [note for note in monitor.health()["notes"] if "statistics" in note]


def test_usage_reads_what_the_rule_leaves_out(made: Any) -> None:
    """The cure that the note names."""
    uninstrument(made)
    instrument(made, usage=lambda result: Usage(tokens=result["tokens"]))
    monitor = setup()
    made.result = {"tokens": 120}
    made.get()
    assert monitor.summary()["total_tokens"] == 120


def test_elsewhere_all_figures_of_a_dict_count() -> None:
    """A tool that is named by the program returns what it spent."""
    monitor = setup()
    monitored("ocr")(lambda: {"total_tokens": 120, "total_cost_usd": 0.5})()
    assert monitor.summary()["total_tokens"] == 120


def test_an_object_that_several_open_calls_hand_on_is_booked_at_the_innermost(made: Any) -> None:
    """At once, when that ends."""
    monitor = setup()
    ocr = monitored("ocr")(lambda: {"cost": 0.25})
    assert made.execute(ocr) == {"cost": 0.25}
    assert {name: row["cost_usd"] for name, row in monitor.costs.by("tool").items() if row["cost_usd"]} == {"ocr": 0.25}


def test_a_function_that_retries_hands_its_figures_to_the_call_around_it(made: Any) -> None:
    """It spends nothing itself. Seen red: without `hand_to_parent`."""
    monitor = setup()
    made.execute(lambda: {"cost": 0.25})
    made.execute(lambda: {"tokens_used": 120, "model": "m", "cost": 0.25})
    assert {name: row["cost_usd"] for name, row in monitor.costs.by("tool").items()} == {"execute": 0.5, "retry": 0.0}


def test_figures_that_the_call_around_drops_are_not_lost(made: Any) -> None:
    """It returns something else than what was tried."""
    monitor = setup()
    made.changes(lambda: {"text": "x", "cost": 0.25})
    assert {name: row["cost_usd"] for name, row in monitor.costs.by("tool").items()} == {
        "changes": 0.25, "retry_with_backoff": 0.0,
    }  # fmt: skip


def test_a_function_that_retries_with_no_call_around_keeps_its_figures(made: Any) -> None:
    """Nobody else could count them."""
    monitor = setup()
    made.retry(lambda: {"cost": 0.25})
    assert monitor.summary()["total_cost_usd"] == 0.25
