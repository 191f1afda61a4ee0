"""What a monitored call adds to a sync or async call, with the drain between the calls and inside the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from benchmarks import loops, ours, peers, peers_extra
from benchmarks.bodies import bare, bare_async
from benchmarks.harness import Contender, interleaved
from benchmarks.options import Options
from benchmarks.ours import BURST, USUAL
from benchmarks.results import Results

SUSTAINED = 5 * BURST


def _peers(options: Options) -> list[peers.Peer]:
    return peers.by_hand() + (peers_extra.installed() if options.peers else [])


def sync_contenders(options: Options) -> list[Contender]:
    """Everything that can wrap a plain function, ours among them."""
    found = [Contender("bare", loops.calls(bare), over=None)]
    found += [
        Contender(peer.name, loops.calls(peer.wrap(bare)), drain=peer.drain, at_most=peer.at_most)
        for peer in _peers(options)
        if peer.wrap is not None
    ]
    tool = ours.monitored("tool")(bare)
    return [*found, Contender("ours", loops.calls(tool), drain=ours.drain, enter=USUAL.enter, at_most=BURST)]


def async_contenders(options: Options, loop: asyncio.AbstractEventLoop) -> list[Contender]:
    """Everything that can wrap a coroutine function, ours among them."""
    found = [Contender("bare", loops.awaits(loop, bare_async), over=None)]
    for peer in _peers(options):
        if peer.wrap_async is not None:
            run = loops.awaits(loop, peer.wrap_async(bare_async))
            found.append(Contender(peer.name, run, drain=peer.drain, at_most=peer.at_most))
    tool = ours.monitored("tool")(bare_async)
    return [*found, Contender("ours", loops.awaits(loop, tool), drain=ours.drain, enter=USUAL.enter, at_most=BURST)]


def _measured(results: Results, name: str, contenders: list[Contender], options: Options) -> None:
    rounds = interleaved(contenders, rounds=options.rounds)
    results.put_added(name, rounds, rounds.names[1:])


def sync(results: Results, options: Options) -> None:
    """Added to a sync call, in bursts drained outside the clock."""
    _measured(results, "sync", sync_contenders(options), options)


def asynchronous(results: Results, options: Options) -> None:
    """Added to an async call, in bursts drained outside the clock."""
    with asyncio.Runner() as runner:
        _measured(results, "async", async_contenders(options, runner.get_loop()), options)


def _sustained(results: Results, name: str, contenders: list[Contender], options: Options) -> None:
    longer = [
        replace(contender, at_most=SUSTAINED) if contender.at_most == BURST else contender for contender in contenders
    ]
    rounds = interleaved(longer, rounds=options.rounds, sustained=True, turn_ns=100_000_000)
    results.put_added(name, rounds, rounds.names[1:])
    results.put_added(name, rounds, rounds.names[1:], cpu=True)


def sustained(results: Results, options: Options) -> None:
    """Added to a sync call and CPU of the whole process, the drain inside the clock."""
    _sustained(results, "sustained", sync_contenders(options), options)


def sustained_async(results: Results, options: Options) -> None:
    """The same for an async call."""
    with asyncio.Runner() as runner:
        _sustained(results, "sustained async", async_contenders(options, runner.get_loop()), options)


Benchmark = Callable[[Results, Options], None]
