"""Many calls at once, by threads and by tasks, and the longest wait of a caller."""

from __future__ import annotations

import asyncio
import gc
import threading
from array import array
from collections.abc import Awaitable, Callable
from itertools import repeat
from time import perf_counter_ns

from benchmarks import least, ours, peers
from benchmarks.bodies import bare
from benchmarks.harness import Contender, interleaved, say
from benchmarks.loops import Run
from benchmarks.options import Options
from benchmarks.ours import USUAL
from benchmarks.results import Results

THREADS = 8
TASKS = (1_000, 10_000)
TAIL_CALLS = 1_000_000
TAIL_PASSES = 3


def _shared(function: Callable[[], object], number: int) -> Run:
    """Make n calls in all, shared among that many threads."""

    def run(n: int) -> None:
        def work() -> None:
            for _ in repeat(None, n // number):
                function()

        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def threads(results: Results, options: Options) -> None:
    """Calls a second of 8 threads together beside those of one thread; the drain inside the clock."""
    guide = peers.Guide()
    wrapped = {
        "floor": peers.floor(bare),
        "guide": guide.wrap(bare),
        "guide, cached": guide.wrap_cached(bare),
        "ours": ours.monitored("tool")(bare),
    }
    contenders = []
    for name, function in wrapped.items():
        drain, enter = (ours.drain, USUAL.enter) if name == "ours" else (lambda: None, lambda: None)
        for number in (1, THREADS):
            run = _shared(function, number)
            contenders.append(Contender(f"{name} x{number}", run, over=None, drain=drain, enter=enter))
    calls = options.scaled(160_000)
    rounds = interleaved(contenders, rounds=max(9, options.rounds // 2), calls=calls, sustained=True)
    for name in wrapped:
        one, many = f"{name} x1", f"{name} x{THREADS}"
        results.put("threads", name, "one thread", [1e9 / ns for ns in rounds.wall[one]], "calls/s")
        results.put("threads", name, f"{THREADS} threads", [1e9 / ns for ns in rounds.wall[many]], "calls/s")
        results.put("threads", name, "rate of one", rounds.times(one, many), "x")


async def _sleeping() -> None:
    await asyncio.sleep(0.001)


def tasks(results: Results, options: Options) -> None:
    """Time a task of 1,000 and 10,000 concurrent ones whose body sleeps 1 ms, beside the bare time."""
    guide = peers.Guide()
    wrapped: dict[str, Callable[[], Awaitable[object]]] = {
        "bare": _sleeping,
        "wraps": peers.wraps_async(_sleeping),
        "guide": guide.wrap_async(_sleeping),
        "bare minimum": least.coroutine(_sleeping),
        "ours": ours.monitored("tool")(_sleeping),
    }
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        def at_once(function: Callable[[], Awaitable[object]]) -> Run:
            async def run(n: int) -> None:
                await asyncio.gather(*[function() for _ in range(n)])

            return lambda n: loop.run_until_complete(run(n))

        contenders = [
            Contender(
                name,
                at_once(function),
                over=None,
                drain={"ours": ours.drain, "bare minimum": least.drain}.get(name, lambda: None),
                enter=USUAL.enter if name == "ours" else (lambda: None),
            )
            for name, function in wrapped.items()
        ]
        for number in TASKS:
            rounds = interleaved(contenders, rounds=options.rounds if number < 5_000 else 15, calls=number)
            for name in wrapped:
                results.put("tasks", name, f"{number:,} tasks", [ns / 1000 for ns in rounds.wall[name]], "us")
                results.put("tasks", name, f"{number:,} of bare", rounds.times(name, "bare"), "x")
        gc.disable()
        try:
            rounds = interleaved(contenders, rounds=7, calls=number)
        finally:
            gc.enable()
        for name in wrapped:
            results.put("tasks", name, f"{number:,} of bare, collector off", rounds.times(name, "bare"), "x")


def _each_timed(function: Callable[[], object], calls: int) -> list[float]:
    """p50, p99, p99.9 and the maximum of the microseconds of single calls."""
    found = array("q", bytes(8 * calls))
    clock = perf_counter_ns
    for at in range(calls):
        began = clock()
        function()
        found[at] = clock() - began
    ordered = sorted(found)
    return [ordered[min(calls - 1, int(calls * share))] / 1000 for share in (0.5, 0.99, 0.999, 1)]


def tail(results: Results, options: Options) -> None:
    """Percentiles of 1,000,000 calls, each timed, beside those of the bare function."""
    guide = peers.Guide()
    wrapped = {
        "bare": bare,
        "floor": peers.floor(bare),
        "guide": guide.wrap(bare),
        "guide, cached": guide.wrap_cached(bare),
        "ours": ours.monitored("tool")(bare),
    }
    words = ("p50", "p99", "p99.9", "max")
    found: dict[str, list[list[float]]] = {name: [] for name in wrapped}
    for number in range(TAIL_PASSES):
        say(f"  pass {number + 1} of {TAIL_PASSES}")
        for name, function in wrapped.items():
            if name == "ours":
                USUAL.enter()
            gc.collect()
            found[name].append(_each_timed(function, options.scaled(TAIL_CALLS)))
            if name == "ours":
                ours.drain()
    for name, passes in found.items():
        for at, word in enumerate(words):
            results.put("tail", name, word, [one[at] for one in passes], "us")
            if name != "bare" and word != "max":
                pairs = zip(passes, found["bare"], strict=True)
                results.put("tail", name, f"{word} over bare", [one[at] - other[at] for one, other in pairs], "us")
