"""Each primitive that the hot path cannot do without, timed by itself.

Their sum is what CPython allows: no arrangement of the same parts is cheaper. The rest of a call is the path between
them, timed here as `begin` and `finish`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks import loops, ours, peers
from benchmarks.bodies import RESULT, bare
from benchmarks.harness import Contender, interleaved
from benchmarks.options import Options
from benchmarks.ours import BURST, USUAL
from benchmarks.results import Results
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.details import CompactDetails
from toolweaver_monitor._instrument import hot_path
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._usage.extract import DICT_KEYS

new: Any = ToolCall  # its other fields have defaults
CALL = new("tool")
TOOL = ToolSpec("tool")


class _On:
    on = True


def _stages() -> dict[str, Callable[[], object]]:
    begin, finish = hot_path.begin, hot_path.finish

    def begin_and_finish() -> None:
        finish(TOOL, begin(new("tool", "open", 0.0, perf_counter()), TOOL, (), {}), None)

    return {"begin + finish": begin_and_finish}


def _primitives() -> dict[str, Callable[[], object]]:
    make = new
    get, put, reset = current.get, current.set, current.reset
    box: deque[ToolCall] = deque(maxlen=10)
    append = box.append
    listed: set[ToolCall] = set()
    add, discard = listed.add, listed.discard
    switch = _On()
    kinds: dict[type, object] = {type(None): None}
    look = kinds.get

    def inner(tool: object, args: object, kwargs: object) -> None:
        pass

    def new_call() -> None:
        make("tool")

    def context() -> None:
        reset(put(CALL))

    def parent() -> None:
        get()

    def clock_twice() -> None:
        perf_counter()
        perf_counter()

    def inbox() -> None:
        append(CALL)

    def listing() -> None:
        add(CALL)
        discard(CALL)

    def two_fields() -> None:
        CALL._opened_at = 1.0
        CALL.duration_s = 0.0

    def result_type() -> None:
        look(type(None), CALL)

    def one_switch() -> None:
        if not switch.on:
            return

    def python_call() -> None:
        inner(None, None, None)

    def length() -> None:
        if len(box) > 100:
            return

    return {
        "ToolCall()": new_call,
        "contextvar set + reset": context,
        "contextvar get": parent,
        "perf_counter() twice": clock_twice,
        "deque.append": inbox,
        "set add + discard": listing,
        "two fields stored": two_fields,
        "handler looked up by type": result_type,
        "one attribute tested": one_switch,
        "one Python call of three arguments": python_call,
        "len() compared": length,
    }


def _reading() -> dict[str, Callable[[], object]]:
    names, ours_among, keep = {*RESULT}, DICT_KEYS.isdisjoint, CompactDetails

    def names_of_a_dict() -> None:
        _ = {*RESULT}

    def names_compared() -> None:
        ours_among(names)

    def figures_kept() -> None:
        keep(812, 0.0104)

    return {
        "names of a dict as a set": names_of_a_dict,
        "names compared with ours": names_compared,
        "figures kept": figures_kept,
    }


def parts(results: Results, options: Options) -> None:
    """Nanoseconds of the primitives of the hot path, and of its two halves."""
    found = [Contender("bare", loops.calls(bare), over=None), Contender("floor", loops.calls(peers.floor(bare)))]
    found += [Contender(name, loops.calls(part)) for name, part in (_primitives() | _reading()).items()]
    for name, part in _stages().items():
        found.append(Contender(name, loops.calls(part), drain=ours.drain, enter=USUAL.enter, at_most=BURST))
    tool = ours.monitored("tool")(bare)
    found.append(Contender("ours", loops.calls(tool), drain=ours.drain, enter=USUAL.enter, at_most=BURST))
    rounds = interleaved(found, rounds=options.rounds, turn_ns=8_000_000)
    for name in rounds.names[1:]:
        results.put("parts", name, "ns", rounds.added(name), "ns")
        results.put("parts", name, "floors", rounds.ratio(name, "floor"), "x")
