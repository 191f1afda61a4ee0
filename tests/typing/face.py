"""Types of the public names. The lines marked `# wrong:` must be errors, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_type

import toolweaver_monitor
from toolweaver_monitor import (
    Budget,
    BudgetStatus,
    CostTracker,
    Health,
    MetricsCollector,
    Monitor,
    Sink,
    Summary,
    ToolCall,
    Usage,
    current_call,
    instrument,
    monitored,
    setup,
    tagged,
    track,
)
from toolweaver_monitor.sinks import LogSink, PrometheusExporter


class Above:
    @monitored("made")
    @classmethod
    def made(cls, n: int) -> str:
        return str(n)

    @monitored("size")
    @staticmethod
    def size(n: int) -> str:
        return str(n)


assert_type(Above.made(1), str)
assert_type(Above().made(1), str)
assert_type(Above.size(1), str)
assert_type(Above().size(1), str)
Above.made("1")  # wrong: arg-type reportArgumentType


class Model:
    def __call__(self, prompt: str) -> str:
        return prompt


model = monitored("model")(Model())
assert_type(model, Model)
assert_type(model("hello"), str)
assert_type(monitored("len")(len)([1]), int)


@tagged(team="search")
async def find(query: str) -> list[str]:
    return [query]


async def use_tagged() -> None:
    assert_type(await find("coffee"), list[str])


with tagged(customer="acme", pages=3) as nothing:
    assert_type(nothing, None)

with track("parse", customer="acme", pages=3) as call:
    assert_type(call, ToolCall)
    call.record(tokens=120, cost=0.002, customer="acme")
    call.record(tokens="many")  # wrong: arg-type reportArgumentType
    call.fail("no total")


async def use_track() -> None:
    async with track("parse") as call:
        assert_type(call, ToolCall)


track()  # wrong: call-overload reportCallIssue
track(3)  # wrong: call-overload reportCallIssue,reportArgumentType
assert_type(track(name="parse").__enter__(), ToolCall)
track("parse")(len)  # wrong: arg-type reportArgumentType
assert_type(current_call(), ToolCall)
assert_type(call.cost_usd, float | None)
assert_type(call.tokens, int)
assert_type(call.parent_id, int | None)
call.tokens = 3  # wrong: misc reportAttributeAccessIssue


def usage_of(result: Any) -> Usage:
    return Usage(input_tokens=3)


monitored("tool", cost=0.1)
monitored("tool", cost=lambda result: 0.1, usage=usage_of, tags={"customer": "acme", "pages": 3})
monitored(tool_name=lambda tool: f"run_{tool}")
monitored("tool", cost="0.10")  # wrong: call-overload reportArgumentType,reportCallIssue
monitored("tool", price=0.1)  # wrong: call-overload reportCallIssue
monitored("tool", usage=3)  # wrong: call-overload reportArgumentType,reportCallIssue
monitored(3)  # wrong: call-overload,type-var reportArgumentType,reportCallIssue
monitored(None)  # wrong: call-overload,type-var reportArgumentType,reportCallIssue
monitored("tool")(3)  # wrong: arg-type,type-var reportArgumentType


class Kept:
    name = "kept"

    def write(self, calls: Sequence[ToolCall]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


sink: Sink = Kept()
assert_type(setup(sink, "log", print, budget=5.0), Monitor)


class HalfASink:
    name = "half"

    def write(self, calls: Sequence[ToolCall]) -> None: ...


class AsyncSink:
    name = "async"

    async def write(self, calls: Sequence[ToolCall]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class BatchSink(Sink):
    def __init__(self) -> None:
        self.name = "batches"

    def write(self, batch: Sequence[ToolCall]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class OtherWord:
    name = "other"

    def write(self, batch: Sequence[ToolCall]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def keep(call: ToolCall) -> bool:
    return call.outcome == "success"


def keep_text(line: str) -> None: ...


setup(
    Kept(),
    BatchSink(),
    OtherWord(),
    keep,
    lambda call: print(call.tool_name),
    LogSink(),
    PrometheusExporter(port=0),
    MetricsCollector(),
)
setup("promethus")  # wrong: arg-type reportArgumentType
setup(HalfASink())  # wrong: arg-type reportArgumentType
setup(AsyncSink())  # wrong: arg-type reportArgumentType
setup(Kept)  # wrong: arg-type reportArgumentType
setup([sink])  # wrong: arg-type reportArgumentType
setup(keep_text)  # wrong: arg-type reportArgumentType
setup(None)  # wrong: arg-type reportArgumentType
setup(budget=Budget(limit_usd=5.0, per="hour"))
setup(error_text="args")
setup(error_text="repr")  # wrong: arg-type reportArgumentType
Budget(limit_usd=5.0, per="fortnight")  # wrong: arg-type reportArgumentType
setup(buget=5.0)  # wrong: call-arg reportCallIssue
with setup() as monitor:
    assert_type(monitor, Monitor)
    assert_type(monitor.health(), Health)
    assert_type(monitor.health()["problems"], list[str])
    assert_type(monitor.health()["budgets"], list[BudgetStatus])
    assert_type(monitor.health()["budgets"][0]["remaining"], float)
    assert_type(monitor.summary(), Summary)
    assert_type(monitor.metrics.by_operation()["ocr"]["success_rate"], float | None)
    monitor.summary()["counts"]  # wrong: typeddict-item reportGeneralTypeIssues
    assert_type(monitor.metrics, MetricsCollector)
    assert_type(monitor.costs, CostTracker)
    assert_type(monitor.closed, bool)


class Orchestrator:
    def execute_tool(self, tool: str) -> str:
        return tool


assert_type(instrument(Orchestrator()), Orchestrator)
assert_type(instrument(Orchestrator), type[Orchestrator])
instrument(Orchestrator(), methods=3)  # wrong: arg-type reportArgumentType
nothing = toolweaver_monitor.nothing  # wrong: attr-defined reportAttributeAccessIssue
unused: tuple[object, ...] = (Callable, Mapping)
