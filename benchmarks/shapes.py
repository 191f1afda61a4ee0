"""The calls that carry money, tokens, tags, parents and errors, beside hand-written counters that do the same work."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

from benchmarks import least_counted, loops, ours, peers
from benchmarks.bodies import RESULT, bare
from benchmarks.harness import Contender, Rounds, interleaved
from benchmarks.options import Options
from benchmarks.ours import BURST, USUAL
from benchmarks.results import Results
from toolweaver_monitor import current_call, track

INSIDE = 3
"""Calls inside a receipt."""

CALLS = {
    "nested": 2,
    "receipt": 1 + INSIDE,
    "least: nested": 2,
    "least: receipt": 1 + INSIDE,
    "guide's receipt": 1 + INSIDE,
    "cached receipt": 1 + INSIDE,
}
"""Calls in one round of a shape, where there is more than one: every value is a call's."""

ABOVE = ("result dict", "record(tokens, cost)", "record(..., model)", "block, tag and cost")
"""Shapes that are compared with a plain call by what they add to it."""
BESIDE = ("declared cost", "fixed tags", "nested", "receipt")
"""Shapes that are compared with a plain call as a multiple of it."""
LEAST = ("nested", "receipt", *ABOVE)
"""Shapes of which the least code that does the same is measured as well, and compared with a plain call of its kind."""


def _dict() -> dict[str, object]:
    return dict(RESULT)


def _fail() -> None:
    raise ValueError("unreadable receipt")


def _swallow(function: Callable[[], object]) -> Callable[[], object]:
    def swallow() -> None:
        try:
            function()
        except ValueError:
            pass

    return swallow


def _receipt(inner: Callable[[], object]) -> Callable[[], object]:
    def receipt() -> None:
        for _ in repeat(None, INSIDE):
            inner()

    return receipt


def contenders() -> list[Contender]:
    """Every shape, the bare functions and the hand-written counters."""
    guide = peers.Guide()
    monitored = ours.monitored

    def mine(name: str, function: Callable[[], object], over: str = "bare") -> Contender:
        n = CALLS.get(name, 1)
        return Contender(
            name, loops.calls(function), over=over, drain=ours.drain, enter=USUAL.enter, at_most=BURST // n
        )

    @monitored("records")
    def records() -> None:
        current_call().record(tokens=812, cost=0.0104)

    @monitored("recmodel")
    def records_model() -> None:
        current_call().record(input_tokens=800, output_tokens=12, model="gpt-4o", cost=0.0104)

    def block() -> None:
        with track("block", customer="acme") as call:
            call.record(tokens=120, cost=0.002)

    declared = monitored("declared", cost=0.01)(bare)
    receipt = monitored("receipt", tags={"customer": "acme"})(_receipt(declared))
    return [
        Contender("bare", loops.calls(bare), over=None),
        Contender("bare dict", loops.calls(_dict), over=None),
        Contender("bare failing", loops.calls(_swallow(_fail)), over=None),
        Contender("floor", loops.calls(peers.floor(bare))),
        Contender("guide", loops.calls(guide.wrap(bare)), at_most=BURST),
        Contender("guide, cached", loops.calls(guide.wrap_cached(bare)), at_most=BURST),
        Contender("guide, failing", loops.calls(_swallow(guide.wrap(_fail))), over="bare failing", at_most=BURST),
        Contender("guide's receipt", loops.calls(guide.wrap(_receipt(guide.wrap(bare)))), at_most=BURST // 4),
        Contender(
            "cached receipt", loops.calls(guide.wrap_cached(_receipt(guide.wrap_cached(bare)))), at_most=BURST // 4
        ),
        mine("plain", monitored("plain")(bare)),
        mine("declared cost", declared),
        mine("fixed tags", monitored("tagged", tags={"customer": "acme"})(bare)),
        mine("nested", monitored("outer")(monitored("plain")(bare))),
        mine("receipt", receipt),
        mine("result dict", monitored("rdict")(_dict), over="bare dict"),
        mine("record(tokens, cost)", records),
        mine("record(..., model)", records_model),
        mine("block, tag and cost", block),
        mine("raising", _swallow(monitored("fails")(_fail)), over="bare failing"),
    ]


def least_contenders() -> list[Contender]:
    """The least code for the shapes whose targets are hard to reach, and for a plain call."""
    monitored = least_counted.monitored

    def least(name: str, function: Callable[[], object], over: str = "bare") -> Contender:
        name = f"least: {name}"
        at_most = BURST // CALLS.get(name, 1)
        return Contender(name, loops.calls(function), over=over, drain=least_counted.drain, at_most=at_most)

    @monitored("records")
    def records() -> None:
        least_counted.current_call().record(tokens=812, cost=0.0104)

    @monitored("recmodel")
    def records_model() -> None:
        least_counted.current_call().record(input_tokens=800, output_tokens=12, model="gpt-4o", cost=0.0104)

    def block() -> None:
        with least_counted.block("block", customer="acme") as call:
            call.record(tokens=120, cost=0.002)

    declared = monitored("declared", cost=0.01)(bare)
    return [
        least("plain", monitored("plain")(bare)),
        least("nested", monitored("outer")(monitored("plain")(bare))),
        least("receipt", monitored("receipt", tags=(("customer", "acme"),))(_receipt(declared))),
        least("result dict", monitored("rdict")(_dict), over="bare dict"),
        least("record(tokens, cost)", records),
        least("record(..., model)", records_model),
        least("block, tag and cost", block),
    ]


def shapes(results: Results, options: Options) -> None:
    """Calls with a cost, tags, parents, usage and errors: what each adds, a call; CPU has the drain inside."""
    wall = interleaved([*contenders(), *least_contenders()], rounds=options.rounds)
    cpu = interleaved([*contenders(), *least_contenders()], rounds=options.rounds, sustained=True)
    put(results, wall, cpu)


def put(results: Results, wall: Rounds, cpu: Rounds) -> None:
    """Keep what each shape adds a call, and its ratios."""
    by_hand = ("guide", "guide, cached", "guide, failing", "guide's receipt", "cached receipt")
    least = [f"least: {name}" for name in ("plain", *LEAST)]
    for name in ("floor", *by_hand, "plain", *BESIDE, *ABOVE, "raising", *least):
        n = CALLS.get(name, 1)
        results.put("shapes", name, "added", [ns / 1000 / n for ns in wall.added(name)], "us")
        results.put("shapes", name, "floors", [ratio / n for ratio in wall.ratio(name, "floor")], "x")
        results.put("shapes", name, "CPU", [ns / 1000 / n for ns in cpu.added(name, cpu=True)], "us")
    put_receipt(results, cpu)
    for name in ("plain", *BESIDE, *ABOVE, *least):
        if name in ("receipt", "least: receipt"):
            continue
        n = CALLS.get(name, 1)
        results.put("shapes", name, "CPU of guide", [one / n for one in cpu.ratio(name, "guide", cpu=True)], "x")
        results.put(
            "shapes", name, "CPU of cached", [one / n for one in cpu.ratio(name, "guide, cached", cpu=True)], "x"
        )
    results.put("shapes", "raising", "CPU of guide", cpu.ratio("raising", "guide, failing", cpu=True), "x")
    for name in BESIDE:
        put_beside(results, wall, cpu, name, "plain")
    for name in ABOVE:
        put_above(results, wall, cpu, name, "plain")
    for name in LEAST:
        (put_above if name in ABOVE else put_beside)(results, wall, cpu, f"least: {name}", "least: plain")


def put_beside(results: Results, wall: Rounds, cpu: Rounds, name: str, plain: str) -> None:
    """Keep a shape as a multiple of a plain call."""
    n = CALLS.get(name, 1)
    results.put("shapes", name, "of plain", [one / n for one in wall.ratio(name, plain)], "x")
    results.put("shapes", name, "CPU of plain", [one / n for one in cpu.ratio(name, plain, cpu=True)], "x")


def put_above(results: Results, wall: Rounds, cpu: Rounds, name: str, plain: str) -> None:
    """Keep what a shape adds to a plain call."""
    results.put("shapes", name, "floors above plain", wall.extra(name, plain, "floor"), "x")
    above = zip(
        cpu.added(name, cpu=True), cpu.added(plain, cpu=True), cpu.added("guide, cached", cpu=True), strict=True
    )
    shares = [(mine - other) / cached for mine, other, cached in above if cached > 0]
    results.put("shapes", name, "CPU of cached above plain", shares, "x")


def put_receipt(results: Results, cpu: Rounds) -> None:
    """Keep the CPU of a receipt beside that of plain calls, and of hand-written counters for the same receipt."""
    a_call = [ratio / CALLS["receipt"] for ratio in cpu.ratio("receipt", "plain", cpu=True)]
    results.put("shapes", "receipt", "CPU of plain", a_call, "x")
    results.put("shapes", "receipt", "CPU of guide", cpu.ratio("receipt", "guide's receipt", cpu=True), "x")
    results.put("shapes", "receipt", "CPU of cached", cpu.ratio("receipt", "cached receipt", cpu=True), "x")
