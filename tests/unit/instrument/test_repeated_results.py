"""A result that comes again is charged once, and counts as served from a cache."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import wait_until

from toolweaver_monitor import Budget, Monitor, Usage, instrument, monitored, setup, track
from toolweaver_monitor._core import known_results


class OfAnSdk:
    """An answer of an SDK, by the module that its class names. It takes weak references."""

    def __init__(self) -> None:
        self.usage = {"prompt_tokens": 100, "completion_tokens": 20}
        self.model = "m"


OfAnSdk.__module__ = "openai.types.chat"


def sdk_answer() -> OfAnSdk:
    return OfAnSdk()


class Slotted:
    """A result of a type that takes none."""

    __slots__ = ("image",)

    def __init__(self) -> None:
        self.image = object()


def slotted() -> Slotted:
    return Slotted()


PRICES = {"m": {"input": 1.0, "output": 5.0}}
RESULTS: dict[str, tuple[Callable[[], Any], Any, float]] = {
    "tokens and cost": (lambda: {"tokens_used": 120, "cost": 0.0002}, None, 0.0002),
    "tokens, cost and model": (lambda: {"tokens_used": 120, "cost": 0.0002, "model": "m"}, None, 0.0002),
    "usage and model": (lambda: {"model": "m", "usage": OfAnSdk().usage}, None, 0.0002),
    "many keys": (lambda: {"tokens_used": 120, "cost": 0.0002, **{f"k{n}": n for n in range(70)}}, None, 0.0002),
    "an answer of an SDK": (sdk_answer, None, 0.0002),
    "a list": (lambda: [OfAnSdk(), "text"], None, 0.0002),
    "a tuple": (lambda: (OfAnSdk(), "text"), None, 0.0002),
    "a raw message": (lambda: {"raw": OfAnSdk(), "parsed": 1, "parsing_error": None}, None, 0.0002),
    "an object with slots": (slotted, lambda result: Usage(tokens=120, cost=0.0002), 0.0002),
}


def cached_tool(make: Callable[[], Any], usage: Any, way: str) -> Callable[[], Any]:
    """Return a tool that answers its second and later calls from a cache of its own, run in one of several ways."""
    result = make()

    def answer() -> Any:
        return result

    async def coroutine() -> Any:
        return result

    def items() -> Iterator[Any]:
        yield result

    if way == "coroutine":
        tool = monitored("ocr", usage=usage)(coroutine)
        return lambda: _run(tool())
    if way == "generator":
        pages = monitored("ocr", usage=usage)(items)
        return lambda: list(pages())
    if way == "future":
        later = monitored("ocr", usage=usage)(functools.partial(coroutine))
        return lambda: _run(later())
    ocr = monitored("ocr", usage=usage)(answer)
    return (lambda: _nested(ocr)) if way == "nested" else ocr


def _run(awaitable: Any) -> Any:
    try:
        awaitable.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


def _nested(tool: Callable[[], Any]) -> Any:
    with track("session"):
        return tool()


def totals(monitor: Monitor, tool: str = "ocr") -> tuple[int, float, int, float]:
    row = monitor.costs.by("tool")[tool]
    return row["tokens"], round(row["cost_usd"], 9), row["cache_hits"], round(row["saved_usd"], 9)


@pytest.mark.parametrize("way", ["function", "coroutine", "future", "nested"])
@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_that_comes_again_is_charged_once(kind: str, way: str) -> None:
    """Caches, idempotency keys and `lru_cache`. Each later call counts as served from a cache, and saves its cost.

    Seen red: with `is_known` never true, and with `exchange` never true for "tokens and cost".
    """
    make, usage, cost = RESULTS[kind]
    monitor = setup(prices=PRICES, budget=Budget(limit_tokens=10_000))
    tool = cached_tool(make, usage, way)
    for _ in range(5):
        tool()
    tokens, dollars, hits, saved = totals(monitor)
    assert (tokens, dollars, hits) == (120, cost, 4)
    assert saved == round(4 * cost, 9)
    assert monitor.health()["budgets"][0]["spent"] == 120
    assert monitor.summary()["unpriced_calls"] == 0


@pytest.mark.parametrize("kind", ["tokens and cost", "usage and model", "an answer of an SDK"])
def test_items_that_come_again_are_charged_once(kind: str) -> None:
    """A generator that yields what it has stored. What its items would have cost is saved.

    Seen red: with `was_counted` never true; $0 was saved.
    """
    make, usage, cost = RESULTS[kind]
    monitor = setup(prices=PRICES)
    tool = cached_tool(make, usage, "generator")
    for _ in range(5):
        tool()
    assert totals(monitor) == (120, cost, 4, round(4 * cost, 9))


def test_one_object_that_a_generator_changes_and_yields_again_counts_each_time() -> None:
    """Its figures are new ones.

    Seen red: without `last_id`.
    """
    page: dict[str, Any] = {}

    @monitored("pages")
    def pages() -> Iterator[Any]:
        for number in range(1, 4):
            page["tokens_used"] = number
            yield page

    monitor = setup()
    list(pages())
    assert monitor.summary()["total_tokens"] == 6


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, "result") for kind, (_, usage, _) in RESULTS.items() if usage is None),
        ("tokens and cost", "callable"),
        ("an answer of an SDK", "callable"),
        ("usage and model", "in a pair"),
        ("an answer of an SDK", "in a pair"),
    ],
)
def test_one_object_that_a_generator_yields_twice_counts_once(kind: str, way: str) -> None:
    """Its figures are the same ones. There may be others between.

    Seen red: with every item counted that is the one before.
    """
    make, _, cost = RESULTS[kind]
    result = make()

    def usage(item: Any) -> Usage | None:
        return None if item == "text" else Usage(tokens=120, cost=cost, increment=True)

    @monitored("pages", usage=usage if way == "callable" else None)
    def pages() -> Iterator[Any]:
        yield (result, 1) if way == "in a pair" else result
        yield (result, 2) if way == "in a pair" else result
        yield "text"
        yield result

    monitor = setup(prices=PRICES)
    list(pages())
    assert totals(monitor, "pages")[:3] == (120, cost, 0)
    list(pages())
    assert totals(monitor, "pages")[:3] == (120, cost, 1)


def test_an_orchestrator_with_idempotency_keys_pays_once() -> None:
    """The result of the first call is handed out for the same key."""

    class Client:
        def __init__(self) -> None:
            self.done: dict[str, Any] = {}

        def call_tool(self, tool_name: str, arguments: Any, key: str) -> Any:
            return self.done.setdefault(key, {"cost": 0.10})

    monitor = setup(budget=Budget(limit_usd=0.25))
    client = instrument(Client())
    for _ in range(5):
        client.call_tool("ocr", {}, "key")
    assert monitor.summary()["total_cost_usd"] == 0.10
    assert monitor.health()["budgets"][0]["spent"] == 0.10


@pytest.mark.parametrize("kind", ["tokens and cost", "an answer of an SDK"])
def test_a_tool_that_passes_on_its_input_is_not_charged_for_it(kind: str) -> None:
    """Another tool returns what the first one did, after that has ended."""
    make, _, cost = RESULTS[kind]
    monitor = setup(prices=PRICES)
    ocr, check = monitored("ocr")(make), monitored("check")(lambda result: result)
    for _ in range(3):
        results = [ocr() for _ in range(10)]
        for result in results:
            check(result)
    assert totals(monitor)[:3] == (30 * 120, round(30 * cost, 9), 0)
    assert totals(monitor, "check")[:3] == (0, 0, 30)


@pytest.mark.parametrize("result", [{"tokens_used": 120}, {"tokens_used": 120, "model": "unlisted"}])
@pytest.mark.parametrize("prices", [{"ocr": {"per_call": 0.01}}, None])
def test_a_declared_cost_and_a_price_per_call_are_charged_each_time(prices: Any, result: dict[str, Any]) -> None:
    """They say what a call costs, whatever its result tells, and nothing of it is saved.

    Seen red: the price per call was charged, and counted as saved.
    """
    result = dict(result)
    monitor = setup(prices=prices)
    ocr = monitored("ocr", cost=None if prices else 0.01)(lambda: result)
    for _ in range(3):
        ocr()
    assert totals(monitor) == (120, 0.03, 2, 0.0)


def test_what_a_call_records_is_charged_though_its_result_comes_again() -> None:
    """Only the figures of the result are left out."""
    result = {"tokens_used": 120}
    monitor = setup()

    with track("session"):

        @monitored("ocr")
        def ocr() -> Any:
            from toolweaver_monitor import current_call

            current_call().record(cost=0.01)
            return result

        for _ in range(3):
            ocr()
    assert totals(monitor)[:3] == (120, 0.03, 2)


def test_one_object_twice_inside_one_result_counts_once() -> None:
    """A list that has one answer twice."""
    answer = OfAnSdk()
    monitor = setup(prices=PRICES)
    monitored("ocr")(lambda: [answer, answer])()
    assert totals(monitor)[:3] == (120, 0.0002, 0)


def test_constants_of_a_program_are_no_results_that_come_again() -> None:
    """A function returns the same tuple or text each time: the interpreter keeps the constants of its code.

    Seen red: with `tuple` left out of `_CONSTANTS`.
    """
    monitor = setup()
    pair = monitored("pair", usage=lambda result: Usage(tokens=result[1]))(lambda: ("text", 5))
    text = monitored("text", usage=lambda result: Usage(tokens=len(result)))(lambda: "done")
    for _ in range(3):
        pair()
        text()
    assert monitor.summary()["total_tokens"] == 27


def test_a_new_setup_knows_no_results() -> None:
    """What one setup has charged, another one charges, too: its figures start from 0."""
    result = {"cost": 0.10}
    ocr = monitored("ocr")(lambda: result)
    for _ in range(2):
        monitor = setup()
        ocr()
        ocr()
        assert monitor.summary()["total_cost_usd"] == 0.10


@pytest.mark.parametrize("kind", RESULTS)
def test_results_at_the_same_place_in_memory_are_different_results(kind: str) -> None:
    """Of dicts that are dropped nearly all give their `id` to the next; each counts."""
    make, usage, cost = RESULTS[kind]
    monitor = setup(prices=PRICES)
    ocr = monitored("ocr", usage=usage)(make)
    for _ in range(1_000):
        ocr()
    assert totals(monitor)[:3] == (120_000, round(1_000 * cost, 9), 0)


def test_without_a_gil_dicts_are_not_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference count does not tell there that a dict was dropped. Objects are known by their weak reference."""
    monkeypatch.setattr(known_results.Recognition, "counts_references", False)
    monitor = setup(prices=PRICES)
    for kind in ("tokens and cost", "an answer of an SDK"):
        tool = cached_tool(*RESULTS[kind][:2], "function")
        for _ in range(2):
            tool()
    assert totals(monitor)[:3] == (360, 0.0006, 1)
    assert not known_results.kept


@pytest.mark.parametrize("way", ["dropped", "variable"])
@pytest.mark.parametrize("kind", ["tokens and cost", "usage and model", "an object with slots"])
def test_of_results_that_are_dropped_one_lives_on_until_the_next(kind: str, way: str) -> None:
    """An image in a result is freed soon. The last one goes with the next drain.

    Seen red: with `_keep` that does not look at the one before.
    """
    make, usage, _ = RESULTS[kind]
    images: list[weakref.ref[Any]] = []

    class Image:
        pass

    def work() -> Any:
        result, image = make(), Image()
        images.append(weakref.ref(image))
        if isinstance(result, dict):
            result["image"] = image
        else:
            result.image = image
        return result

    ocr = monitored("ocr", usage=usage)(work)
    monitor = setup(prices=PRICES)
    gc.disable()
    try:
        for _ in range(40):
            if way == "dropped":
                ocr()
            else:
                result = ocr()
        if way == "variable":
            assert result is not None
            del result
        assert sum(image() is not None for image in images) <= 1 + (way == "variable")
        monitor.summary()
        assert not any(image() for image in images)
    finally:
        gc.enable()


def test_results_that_were_stored_and_are_dropped_are_freed_without_a_read() -> None:
    """Within 200 ms, also if nothing but memory is set up, and no call comes after them.

    Seen red: with no `on_kept`.
    """

    class Image:
        pass

    setup()
    ocr = monitored("ocr")(lambda: {"cost": 0.01, "image": Image()})
    results = [ocr() for _ in range(500)]
    images = [weakref.ref(result["image"]) for result in results]
    del results
    wait_until(lambda: not any(image() for image in images[:-1]))
    assert sum(image() is not None for image in images) <= 1


def test_few_results_are_kept_however_many_somebody_has() -> None:
    """At most 1,024, the latest ones: references take memory, too."""
    monitor = setup()
    ocr = monitored("ocr")(lambda: {"cost": 0.01})
    results = [ocr() for _ in range(3_000)]
    assert len(known_results.kept) <= known_results.MAX_STRONG
    check = monitored("check")(lambda result: result)
    check(results[-500])
    assert totals(monitor, "check")[2] == 1


def test_few_weak_references_are_kept() -> None:
    """At most 10,000."""
    setup(prices=PRICES)
    ocr = monitored("ocr")(sdk_answer)
    results = [ocr() for _ in range(known_results.MAX_WEAK + 2_000)]
    assert len(known_results._weak) <= known_results.MAX_WEAK
    assert len(results) > known_results.MAX_WEAK
