"""Exceptions that request an end, or steer a framework, and are no errors."""

from __future__ import annotations

import asyncio
import copy
import enum
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, ToolCall, current_call, monitored, setup, track
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.testing import ToolRecorder


def outcome(error: BaseException, **declarations: Any) -> str:
    """Return the outcome of a call that raises `error`."""

    @monitored("tool", **declarations)
    def tool() -> None:
        raise error

    with ToolRecorder() as recorder:
        with pytest.raises(type(error)):
            tool()
        (call,) = recorder.calls()
    assert isinstance(call, ToolCall)
    return call.outcome


class Status(enum.IntEnum):
    OK = 0
    BAD = 3


class Own(int):
    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = int.__hash__


CODES = {
    "": None, "None": None, "0": 0, "1": 1, "-1": -1, "False": False, "True": True, "0.0": 0.0, "''": "", "'no'": "no",
    "[]": [], "(0,)": (0,), "(0, 0)": (0, 0), "b''": b"",
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_an_exit_is_an_error_where_it_is_one_for_whoever_started_the_program(code: str) -> None:
    """The status that the interpreter ends with decides.

    Seen red: every exit was a failure, such as that of argparse's `--help` and of every click command.
    """
    ended = subprocess.run([sys.executable, "-c", f"raise SystemExit({code})"], stderr=subprocess.DEVNULL)
    raised = SystemExit(*eval(f"({code},)")) if code else SystemExit()
    assert outcome(raised) == ("failure" if ended.returncode else "interrupted")


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(Status.OK, "interrupted"), (Status.BAD, "failure"), (Own(0), "interrupted"), (Own(1), "failure")],
)
def test_an_exit_code_may_be_of_any_class_of_integers_and_runs_no_code_of_it(code: int, wanted: str) -> None:
    """The interpreter takes the number that it holds."""
    assert outcome(SystemExit(code)) == wanted


def test_each_exit_counts_by_its_own_code() -> None:
    """No outcome is remembered for the class; a class of one's own and a group are exits, too."""
    leave = type("Leave", (SystemExit,), {})
    assert [outcome(leave(code)) for code in (0, 1, 0)] == ["interrupted", "failure", "interrupted"]
    assert outcome(BaseExceptionGroup("g", [SystemExit(0), KeyboardInterrupt()])) == "interrupted"
    assert outcome(BaseExceptionGroup("g", [SystemExit(0), SystemExit(1)])) == "failure"


class Pause(Exception):
    pass


def stand_in(module: str, *names: str) -> type[BaseException]:
    """Return a class such as a framework has, below others of its module. The frameworks' pins rule each other out."""
    kind: Any = Exception
    for name in names:
        kind = type(name, (kind,), {"__module__": module})
    found: type[BaseException] = kind
    return found


# https://github.com/langchain-ai/langgraph: langgraph/errors.py; https://ai.pydantic.dev/api/exceptions/
CONTROL_FLOW = [
    stand_in("langgraph.errors", "GraphBubbleUp", "GraphInterrupt"),
    stand_in("langgraph.errors", "GraphBubbleUp", "ParentCommand"),
    stand_in("pydantic_ai.exceptions", "CallDeferred"),
    stand_in("pydantic_ai.exceptions", "ApprovalRequired"),
]
ERRORS = [
    stand_in("langgraph.errors", "GraphRecursionError"),
    stand_in("pydantic_ai.exceptions", "ModelRetry"),
    stand_in("mine", "GraphInterrupt"),
    stand_in("mine", "Retry"),
]


@pytest.mark.parametrize("kind", CONTROL_FLOW, ids=lambda kind: kind.__name__)
def test_what_steers_a_framework_is_no_error(kind: Any) -> None:
    """Nor is a class of one's own below it, nor a group of nothing but these.

    Seen red: each was a failure, and the error rate of a tool that asks a human was 1.0.
    """
    below = type("Mine", (kind,), {})
    assert [outcome(kind()), outcome(below()), outcome(ExceptionGroup("g", [kind(), below()]))] == ["interrupted"] * 3
    assert outcome(ExceptionGroup("g", [kind(), ValueError()])) == "failure"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_other_errors_of_these_frameworks_or_of_these_names_are_failures(kind: Any) -> None:
    """The name alone says nothing, and neither does the module."""
    assert outcome(kind()) == "failure"


def test_what_steers_celery_is_no_error() -> None:
    """Its own classes: `Retry`, `Ignore` and `Reject` are what a task raises to tell the worker what to do."""
    celery = pytest.importorskip("celery.exceptions")
    told = [celery.Retry(), celery.Ignore(), celery.Reject(), celery.MaxRetriesExceededError()]
    assert [outcome(error) for error in told] == ["interrupted", "interrupted", "interrupted", "failure"]
    assert [outcome(celery.SoftTimeLimitExceeded()), outcome(celery.TimeLimitExceeded())] == ["timeout"] * 2


def test_a_tool_declares_exceptions_that_are_no_errors_of_its_own() -> None:
    """A class or a tuple, those below it, and groups of them; for this tool only, whatever others made of the class.

    Seen red: with the classes of the tool not passed on in `finish_with_error`.
    """
    later = type("Later", (Pause,), {})
    assert outcome(Pause()) == "failure"
    assert outcome(Pause(), control_flow=Pause) == "interrupted"
    assert outcome(later(), control_flow=(KeyError, Pause)) == "interrupted"
    assert outcome(TimeoutError(), control_flow=TimeoutError) == "interrupted"
    assert outcome(ExceptionGroup("g", [Pause(), ValueError()]), control_flow=Pause) == "failure"
    assert outcome(BaseExceptionGroup("g", [Pause(), KeyboardInterrupt()]), control_flow=Pause) == "interrupted"
    assert outcome(Pause(), control_flow=KeyError) == outcome(Pause()) == "failure"


@pytest.mark.parametrize("wrong", [[Pause, "Pause"], "Pause", Pause("x"), int, (Pause, 1)], ids=repr)
def test_anything_but_classes_of_exceptions_is_rejected_where_it_is_written(wrong: Any) -> None:
    """Before the function is decorated."""
    with pytest.raises(ConfigurationError, match="no class of exceptions"):
        monitored("tool", control_flow=wrong)


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """Return a monitor with a budget that refuses the second call of `dear`."""
    with setup(budget=Budget(limit_calls=1, tool="dear")) as found:
        yield found


def outcomes(monitor: Monitor) -> dict[str, list[str]]:
    """Return the outcomes of the calls of each tool."""
    found: dict[str, list[str]] = {}
    for operation in monitor.metrics.operations:
        found.setdefault(operation["operation"], []).append(operation["outcome"])
    return found


@monitored("dear")
def dear() -> None:
    pass


def test_a_refusal_that_passes_through_interrupts_the_calls_around_it(monitor: Monitor) -> None:
    """The budget stopped the agent; nothing of it failed. The refused call itself is `rejected`.

    Seen red: each call around it was a failure.
    """
    dear()
    with pytest.raises(BudgetExceeded), track("agent"), track("step"):
        dear()
    assert outcomes(monitor) == {"dear": ["success", "rejected"], "step": ["interrupted"], "agent": ["interrupted"]}
    assert monitor.errors.error_rate("agent") == 0.0
    assert monitor.errors.latest == []
    assert monitor.summary()["success_rate"] == 1.0


def test_siblings_that_a_refusal_cancels_leave_the_call_around_them_interrupted(monitor: Monitor) -> None:
    """A task group raises a group of the one refusal."""

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(asyncio.to_thread(dear))

    dear()
    with pytest.raises(ExceptionGroup), track("agent"):
        asyncio.run(work())
    assert outcomes(monitor)["agent"] == ["interrupted"]


def test_a_refusal_that_the_program_raises_itself_is_a_failure(monitor: Monitor) -> None:
    """Be it one of its own, a copy, or an earlier one that it has kept, as circuit breakers do.

    Seen red: with no look at who raised it, and with no look at when.
    """
    dear()
    with pytest.raises(BudgetExceeded) as refusal:
        dear()
    own = BudgetExceeded("own", budget="b", limit=1, spent=1, asked=1, unit="usd", frees_in_s=None)
    for error in (own, copy.copy(refusal.value), pickle.loads(pickle.dumps(refusal.value)), refusal.value):
        with pytest.raises(BudgetExceeded), track("agent"):
            raise error
    assert outcomes(monitor)["agent"] == ["failure"] * 4


def test_an_error_that_is_raised_from_a_refusal_is_a_failure(monitor: Monitor) -> None:
    """The program has made an error of it."""

    @monitored("agent")
    def agent() -> None:
        try:
            dear()
        except BudgetExceeded as refusal:
            raise RuntimeError("step 3 failed") from refusal

    dear()
    with pytest.raises(RuntimeError):
        agent()
    assert outcomes(monitor)["agent"] == ["failure"]


def test_a_setup_declares_what_is_no_error_of_any_tool() -> None:
    """Functions, blocks and calls around them; only until the next setup.

    Seen red: without `policy.control_flow` in `note_error`.
    """
    for declared in ([Pause], Pause, (KeyError, Pause)):
        with setup(control_flow=declared) as monitor:
            for error in (Pause(), BaseExceptionGroup("g", [Pause(), asyncio.CancelledError()]), ValueError()):
                with pytest.raises(type(error)), track("block"):
                    monitored("tool", control_flow=KeyboardInterrupt)(raise_)(error)
            wanted = ["interrupted", "interrupted", "failure"]
            assert outcomes(monitor) == {"tool": wanted, "block": wanted}
    with setup() as monitor:
        with pytest.raises(Pause), track("block"):
            raise Pause
        assert outcomes(monitor) == {"block": ["failure"]}
    with pytest.raises(ConfigurationError, match="no class of exceptions"):
        setup(control_flow=["Pause"])  # type: ignore[list-item]


def raise_(error: BaseException) -> None:
    raise error


def test_an_interrupted_call_costs_what_it_recorded_and_not_what_is_declared() -> None:
    """It may have paid for a model before it asked a human.

    Seen red: with `interrupted` charged as a success in `set_cost`.
    """
    with setup(prices={"priced": {"per_call": 0.5}}, control_flow=Pause) as monitor:
        for name, cost, recorded in (("declared", 0.5, None), ("priced", None, None), ("recorded", 0.5, 0.25)):

            @monitored(name, cost=cost)
            def tool(recorded: float | None = recorded) -> None:
                current_call().record(cost=recorded)
                raise Pause

            with pytest.raises(Pause):
                tool()
        assert {operation["operation"]: operation["cost"] for operation in monitor.metrics.operations} == {
            "declared": 0.0, "priced": 0.0, "recorded": 0.25,
        }  # fmt: skip
        assert monitor.summary()["total_cost_usd"] == 0.25


def test_interrupted_calls_are_a_column_of_the_report_and_a_status_on_metrics() -> None:
    """They count as calls, and are neither failed nor succeeded."""
    exporter = PrometheusExporter(port=0)
    with setup(exporter, control_flow=Pause) as monitor:
        with pytest.raises(Pause), track("approve"):
            raise Pause("send it?")
        with track("approve"):
            pass
        assert 'toolweaver_tool_executions_total{tool_name="approve",status="interrupted"} 1' in exporter.text()
        assert 'toolweaver_tool_failures_total{tool_name="approve"' not in exporter.text()
        lines = monitor.report().splitlines()
    assert "  2 calls, 0 failed, 1 interrupted, 100.0% succeeded" in lines
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["tool", "calls", "failed", "interrupted"],
        ["approve", "2", "0", "1"],
    ]
