"""The other ways to monitor: `with track`, `async with track`, and the steps of generators."""

from __future__ import annotations

import asyncio

from benchmarks import least, loops, ours, peers
from benchmarks.bodies import bare, bare_async, bare_async_generator, bare_generator
from benchmarks.harness import Contender, interleaved
from benchmarks.options import Options
from benchmarks.ours import BURST, USUAL
from benchmarks.results import Results


def _mine(name: str, run: loops.Run, over: str) -> Contender:
    return Contender(name, run, over=over, drain=ours.drain, enter=USUAL.enter, at_most=BURST)


def _least(name: str, run: loops.Run, over: str) -> Contender:
    return Contender(name, run, over=over, drain=least.drain, at_most=BURST)


def track(results: Results, options: Options) -> None:
    """`with track` and `async with track` beside the decorator."""
    manager = ours.toolweaver_monitor.track
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        rounds = interleaved(
            [
                Contender("bare", loops.calls(bare), over=None),
                Contender("bare async", loops.awaits(loop, bare_async), over=None),
                Contender("floor", loops.calls(peers.floor(bare))),
                _mine("decorator", loops.calls(ours.monitored("tool")(bare)), "bare"),
                _mine("with track", loops.blocks(manager, bare), "bare"),
                _least("bare minimum", loops.blocks(least.Block, bare), "bare"),
                _mine("async decorator", loops.awaits(loop, ours.monitored("tool")(bare_async)), "bare async"),
                _mine("async with track", loops.async_blocks(loop, manager, bare_async), "bare async"),
                _least("bare minimum, async", loops.async_blocks(loop, least.Block, bare_async), "bare async"),
            ],
            rounds=options.rounds,
        )
    ways = (("with track", "decorator"), ("bare minimum", "decorator"))
    ways += (("async with track", "async decorator"), ("bare minimum, async", "async decorator"))
    results.put_added("track", rounds, ["decorator", "async decorator", *(name for name, _ in ways)])
    for name, decorator in ways:
        results.put("track", name, "of decorator", rounds.ratio(name, decorator), "x")


def generators(results: Results, options: Options) -> None:
    """One step of a monitored generator, beside the floor of a whole call."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        rounds = interleaved(
            [
                Contender("bare", loops.calls(bare), over=None),
                Contender("bare async", loops.awaits(loop, bare_async), over=None),
                Contender("bare generator", loops.steps(bare_generator), over=None),
                Contender("bare async generator", loops.async_steps(loop, bare_async_generator), over=None),
                Contender("floor", loops.calls(peers.floor(bare))),
                Contender("floor async", loops.awaits(loop, peers.floor_async(bare_async)), over="bare async"),
                _mine("generator step", loops.steps(ours.monitored("tool")(bare_generator)), "bare generator"),
                _mine(
                    "async generator step",
                    loops.async_steps(loop, ours.monitored("tool")(bare_async_generator)),
                    "bare async generator",
                ),
                _least("bare minimum", loops.steps(least.generator(bare_generator)), "bare generator"),
                _least(
                    "bare minimum, async",
                    loops.async_steps(loop, least.async_generator(bare_async_generator)),
                    "bare async generator",
                ),
            ],
            rounds=options.rounds,
        )
    steps = ["generator step", "bare minimum", "async generator step", "bare minimum, async"]
    results.put_added("generators", rounds, ["floor", "floor async", *steps])
    for name in steps[2:]:
        results.put("generators", name, "async floors", rounds.ratio(name, "floor async"), "x")
