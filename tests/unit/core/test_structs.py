"""Attribute stores on msgspec structs, and calls as plain data."""

from __future__ import annotations

import copy
import dis
import json
import pickle
import sys
from collections.abc import Callable

import msgspec
import pytest

from toolweaver_monitor import monitored, track
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import NO_DETAILS, CallDetails
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor.testing import ToolRecorder


def _store(record: msgspec.Struct, field: str) -> set[str]:
    """Store into a field until the interpreter knows it again; gives what it made of the instruction."""
    space: dict[str, dis.Instruction] = {}
    exec(f"def store(record):\n    record.{field} = None", space)
    store = space["store"]
    for _ in range(200):
        store(record)  # type: ignore[operator]
    return {step.opname for step in dis.get_instructions(store, adaptive=True)}  # type: ignore[arg-type]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the names of CPython's instructions")
@pytest.mark.parametrize(("record", "field"), [(ToolCall("ocr"), "_token"), (CallDetails(), "model")])
def test_the_interpreter_stores_without_asking_the_class(record: msgspec.Struct, field: str) -> None:
    """A store into a call or its details is specialised to one into a slot (without `use_plain_setattr` it is not)."""
    if sys.gettrace() is not None:
        pytest.skip("CPython specialises nothing while it is traced, as for coverage")
    assert "STORE_ATTR_SLOT" in _store(record, field)


def test_a_record_is_still_a_record() -> None:
    """It compares, copies and shows itself as before, and takes no field that it does not have."""

    class Point(msgspec.Struct, gc=False):
        x: int = 0
        y: int = 0

    point = use_plain_setattr(Point(1))
    point.y = 2
    assert (point, msgspec.structs.replace(point, x=3)) == (Point(1, 2), Point(3, 2))
    assert repr(point) == "Point(x=1, y=2)"
    assert msgspec.json.encode(point) == b'{"x":1,"y":2}'
    with pytest.raises(AttributeError):
        point.z = 3  # type: ignore[attr-defined]
    del point.y
    with pytest.raises(AttributeError):
        point.y  # noqa: B018


@pytest.mark.parametrize("remade", [lambda call: pickle.loads(pickle.dumps(call)), copy.deepcopy])
def test_a_call_can_be_sent_to_another_process(remade: Callable[[ToolCall], ToolCall]) -> None:
    """A sink may hand calls to a `multiprocessing.Queue`, whatever was said of them, under a budget too.

    Seen red: calls with tokens could not be pickled for their lack of tags, and any call not under a budget.
    """
    with ToolRecorder(budget=5.00) as recorder:
        with track("plain"):
            pass
        with track("priced") as call:
            call.record(tokens=812, cost=0.10)
        with track("unpriced", customer="acme") as call:
            call.record(tokens=7)
        again = track("again")
        with again, again:
            assert remade(again).tool_name == "again"
        with pytest.raises(ValueError, match="torn"), track("failed"):
            raise ValueError("torn")
        calls = recorder.calls()
    assert len(calls) == 6
    for call in calls:
        arrived = remade(call)
        assert type(arrived) is type(call)
        for field in (*ToolCall.__struct_fields__[:4], "call_id", "trace_id", "error"):
            assert getattr(arrived, field) == getattr(call, field), field
        for field in CallDetails.__struct_fields__:
            if field not in ("raw_error", "redacted", "seen"):
                theirs, mine = arrived._details or NO_DETAILS, call._details or NO_DETAILS
                assert getattr(theirs, field) == getattr(mine, field), field


def test_where_it_cannot_be_done_nothing_is_done() -> None:
    """Where the classes of msgspec cannot be changed, their records stay as slow as they were."""

    class Closed(type):
        def __setattr__(cls, name: str, value: object) -> None:
            raise TypeError("a class that cannot be changed")

    class Point(metaclass=Closed):
        __struct_fields__ = ("x",)
        x = 1

    point = Point()
    assert use_plain_setattr(point) is point  # type: ignore[type-var]
    assert point.x == 1


def test_a_call_is_given_as_plain_data_for_json() -> None:
    """Also one that says no tags, or nothing but the figures of its result; what says nothing is left out."""
    with ToolRecorder() as recorder:
        with track("plain"):
            pass
        monitored("figures")(lambda: {"tokens_used": 3, "cost": 0.25})()
        with track("outer"), track("said") as call:
            call.record(input_tokens=5, model="a-model", attempt=2)
        with track("tagged", customer="acme") as call:
            call.fail("no")
        given = {call.tool_name: call.as_dict() for call in recorder.calls()}
    assert json.loads(json.dumps(given)) == msgspec.json.decode(msgspec.json.encode(given)) == given
    always = {"tool_name", "outcome", "duration_s", "started_at", "call_id", "trace_id"}
    assert given["plain"].keys() == always
    assert {key: given["figures"][key] for key in given["figures"].keys() - always} == {
        "tokens": 3, "cost_usd": 0.25, "cost_source": "reported",
    }  # fmt: skip
    assert {key: given["said"][key] for key in given["said"].keys() - always} == {
        "parent_id": given["outer"]["call_id"], "tokens": 5, "input_tokens": 5, "model": "a-model", "attempt": 2,
    }  # fmt: skip
    assert given["tagged"]["tags"] == {"customer": "acme"}
    assert (given["tagged"]["outcome"], given["tagged"]["error"]) == ("failure", "no")
