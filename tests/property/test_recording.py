"""Several threads, or a signal handler, record and return at once; nothing is lost, and nothing counted twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from interleaving import in_threads
from opcodes import interrupted

from toolweaver_monitor import ToolCall
from toolweaver_monitor._core import known_results
from toolweaver_monitor._core.call import _recording
from toolweaver_monitor._core.locks import locked
from toolweaver_monitor._usage.dict_results import apply_amounts, apply_dict

Step = Callable[[ToolCall], None]

STEPS: dict[str, Step] = {
    "usage": lambda call: call.record(tokens=3, cost=0.25),
    "model": lambda call: call.record(input_tokens=2, model="gpt-4o"),
    "attempt": lambda call: call.record(tokens=1, attempt=2),
    "failure": lambda call: call.fail("no total"),
}
FIGURES = {"usage": (3, 0.25), "model": (2, 0.0), "attempt": (1, 0.0), "failure": (0, 0.0)}


@pytest.mark.parametrize("before", [None, "usage", "model", "attempt"])
@pytest.mark.parametrize("mine", STEPS)
@pytest.mark.parametrize("theirs", STEPS)
def test_a_record_loses_nothing_that_comes_in_its_middle(mine: str, theirs: str, before: str | None) -> None:
    """At each place where another thread or a signal handler can run, what it records is added as well.

    Seen red: with `self._details = UsageDetails()` before the sums; with a copy in the call of `CallDetails` in
    `_ensure_details`; with each sum made by a function.
    """
    steps = [mine, theirs, *([before] if before else [])]
    tokens, dollars = (sum(FIGURES[step][at] for step in steps) for at in (0, 1))
    for place in count(1):
        call = ToolCall("shared")
        if before:
            STEPS[before](call)
        struck = interrupted(lambda call=call: STEPS[mine](call), place, lambda call=call: STEPS[theirs](call))
        if not struck:
            break
        assert (call.tokens, call.cost_usd or 0.0) == (tokens, dollars), place
        assert call.model == ("gpt-4o" if "model" in steps else None), place
        assert call.attempt == (2 if "attempt" in steps else 1), place
        assert call.error == ("no total" if "failure" in steps else ""), place
    assert place > 3  # it was struck


@pytest.mark.parametrize(
    "record", [ToolCall.record, locked(_recording, ToolCall.record)], ids=["with a GIL", "without"]
)
def test_what_threads_record_at_once_adds_up(record: Callable[..., None]) -> None:
    """Figures under all their names, and the tags of each thread.

    Seen red: with tags added outside the lock.
    """
    call = ToolCall("shared")

    def work(number: int) -> None:
        for n in range(1_000):
            record(call, tokens=1, cost=0.001)
            record(call, total_tokens=3, usage={"input_tokens": 2, "output_tokens": 1}, **{f"tag{number}": n})

    in_threads(work, range(4))
    assert call.tokens == 16_000
    assert call.cost_usd == 4.0
    assert dict(call.tags) == {f"tag{number}": 999 for number in range(4)}


SHARED = {"tokens_used": 7, "cost": 0.02}
READS: dict[str, Callable[[], object]] = {
    "another result": lambda: apply_dict(ToolCall("ocr"), {"tokens_used": 7, "cost": 0.01}),
    "another result inside a call": lambda: apply_amounts(ToolCall("ocr"), {"tokens_used": 7, "cost": 0.01}),
    "another item": lambda: known_results.remember({}),
    "a drain": known_results.forget_dropped,
}


@pytest.mark.parametrize("read", READS)
def test_a_result_is_known_at_every_moment_while_another_takes_its_place(read: str) -> None:
    """A thread that returns the same dict again just then counts it as served from a cache, not a second time.

    Seen red: with what left `recent` put into `kept` only afterwards.
    """
    for place in count(1):
        known_results.forget_all()
        known_results.remember(SHARED)
        known: list[bool] = []
        if not interrupted(READS[read], place, lambda known=known: known.append(known_results.is_known(SHARED))):
            break
        assert known == [True], place
    assert place > 3
    assert known_results.is_known(SHARED)
