"""The price of a call whose model has been seen, the digest of its arguments, and its roll-up in the drain."""

from __future__ import annotations

import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from benchmarks.bodies import bare
from benchmarks.harness import Contender, interleaved
from benchmarks.loops import calls
from benchmarks.options import Options
from benchmarks.results import Results
from toolweaver_monitor._budget.repeats import compute_digest
from toolweaver_monitor._core.call import ToolCall, detached
from toolweaver_monitor._core.context_tree import tool_key
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._usage.pricing import PriceBook

BATCH = 1_024
TABLE = {"gpt-4o": {"input": 2.50, "cached_input": 1.25, "output": 10.00}}


def priced(model: str) -> ToolCall:
    """A call of that model, closed but for its cost."""
    details = CallDetails(input_tokens=2_006, output_tokens=300, cached_tokens=1_920, model=model)
    return ToolCall("chat", "success", 0.1, time.perf_counter(), _details=details)


def price(results: Results, options: Options) -> None:
    """Microseconds to price a call: by the user's table, by genai-prices, and with no known price."""
    book = PriceBook(TABLE)
    book.start_loading()
    while not book.ready:
        time.sleep(0.01)
    ways = {"by the table": "gpt-4o", "unknown": "home-made"}
    if any(source.startswith("genai-prices") for source in book.sources()):
        ways["by genai-prices"] = "gpt-4.1"
    found = [Contender("bare", calls(bare), over=None)]
    for name, model in ways.items():
        found.append(Contender(name, calls(_pricing(book, priced(model)))))
    rounds = interleaved(found, rounds=options.rounds, turn_ns=8_000_000)
    for name in ways:
        results.put("price", name, "time", [ns / 1000 for ns in rounds.added(name)], "us")


def repeats(results: Results, options: Options) -> None:
    """Microseconds to make the digest of a call's arguments, which only a limit of repeats needs."""
    text = "a word or two " * 80
    ways: dict[str, tuple[Any, ...]] = {
        "1 KiB of text": (text[:1_024],),
        "five words and numbers": ("search", "weather in Rome", 5, True, None),
        "1 KiB in a dict of 16": ({f"key {n}": text[:56] for n in range(16)},),
        "a list of 100 numbers": ([*range(100)],),
    }
    found = [Contender("bare", calls(bare), over=None)]
    for name, args in ways.items():
        found.append(Contender(name, calls(_digesting(args))))
    rounds = interleaved(found, rounds=options.rounds, turn_ns=8_000_000)
    for name in ways:
        results.put("repeats", name, "time", [ns / 1000 for ns in rounds.added(name)], "us")


def _digesting(args: tuple[Any, ...]) -> Callable[[], Any]:
    def once() -> None:
        compute_digest("search", ("query", "place", "count", "exact", "since"), args, {})

    return once


def _pricing(book: PriceBook, call: ToolCall) -> Callable[[], Any]:
    cost = book.cost_nanousd

    def once() -> None:
        cost(call)

    return once


def rollup(results: Results, options: Options) -> None:
    """Microseconds that counting takes a call, off its caller's path: plain, with a cost, and inside a receipt."""
    for name, make in {"plain": _plain, "with a cost": _with_cost, "inside a receipt": _inside}.items():
        tallies = StatsAggregator()
        found = []
        for _ in range(options.scaled(200)):
            batch = make()
            start = perf_counter_ns()
            tallies.add_batch(batch)
            found.append((perf_counter_ns() - start) / len(batch) / 1000)
        results.put("rollup", name, "time", found, "us")


OCR, RECEIPT = tool_key("ocr"), tool_key("receipt", {"customer": "acme"})


def _plain() -> list[ToolCall]:
    return [ToolCall("ocr", "success", 0.001) for _ in range(BATCH)]


def _details() -> CallDetails:
    return CallDetails(812, 0, 0, 0, 10_400_000, "reported")


def _with_cost() -> list[ToolCall]:
    return [ToolCall("ocr", "success", 0.001, _details=_details()) for _ in range(BATCH)]


def _inside() -> list[ToolCall]:
    found = []
    for _ in range(BATCH // 4):
        receipt = ToolCall("receipt", "success", 0.01)
        receipt._node = detached.root.child(RECEIPT)
        for _ in range(3):
            call = ToolCall("ocr", "success", 0.001, _details=_details())
            call._set_parent(receipt)
            call._node = receipt._node.child(OCR)
            found.append(call)
        found.append(receipt)
    return found
