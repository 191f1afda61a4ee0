"""Tools of a LangGraph agent, run by its graph with a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, instrument, monitored, uninstrument

pytest.importorskip("langgraph", reason="installed by `nox -s frameworks`")

pytest.importorskip("langchain", reason="installed by `nox -s frameworks`")

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy

USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}


class Scripted(GenericFakeChatModel):
    """Asks for what is written down."""

    model_name: str = "gpt-4o-mini"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self.bind(tools=[])


def agent(function: Any, script: list[Any]) -> Any:
    messages = [
        AIMessage(content=step, usage_metadata=USAGE)
        if isinstance(step, str)
        else AIMessage(content="", tool_calls=[{"name": step[0], "args": step[1], "id": str(n)}], usage_metadata=USAGE)
        for n, step in enumerate(script)
    ]
    return create_agent(Scripted(messages=iter(messages)), [tool(function)])


QUESTION = {"messages": [("user", "read it")]}


def test_an_instrumented_agent_shows_tools_and_model(trial: Any) -> None:
    """The tools stand in a node of the graph, the model in a function of another; what a tool raises ends the run."""
    made = instrument(agent(trial.ocr, trial.script))
    with pytest.raises(ValueError, match="unreadable"):
        made.invoke(QUESTION)
    uninstrument(made)
    trial.check(models=2)


async def test_an_async_run_is_seen_as_well(trial: Any) -> None:
    """A sync tool runs in a thread there, and is one call all the same."""
    made = instrument(agent(trial.ocr, [trial.good, "done"]))
    await made.ainvoke(QUESTION)
    uninstrument(made)
    trial.check(models=2, tools=(("success", 7, 0.01),))


def test_a_node_of_tools_is_instrumented(trial: Any) -> None:
    """A message of the status `error`, into which the node turns what is raised, comes after the tool's own call."""
    node = ToolNode([tool(trial.ocr)])
    instrument(node)
    graph = agent(trial.ocr, [trial.good, "done"])
    graph.nodes["tools"].bound._tools_by_name["ocr"] = node._tools_by_name["ocr"]
    graph.invoke(QUESTION)
    uninstrument(node)
    trial.check(models=0, tools=(("success", 7, 0.01),))


def test_a_monitored_function_is_seen_below_the_decorator(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert tool(watched).args == tool(trial.ocr).args
    with pytest.raises(ValueError, match="unreadable"):
        agent(watched, trial.script).invoke(QUESTION)
    trial.check(models=0, name="read_receipt")


def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """As a dict with its figures, and as a message of the status `error`."""
    error = ToolMessage("unreadable", tool_call_id="0", status="error")
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        agent(monitored("read_receipt")(trial.telling(told)), [trial.good, "done"]).invoke(QUESTION)
        trial.check_told(*figures)


@pytest.mark.usefixtures("everywhere")
def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    with pytest.raises(ValueError, match="unreadable"):
        agent(trial.ocr, trial.script).invoke(QUESTION)
    trial.check(models=2)


class Busy:
    """A tool that fails a given number of times, as the node of a graph."""

    def __init__(self, fails: str) -> None:
        self.fails = iter(fails)

    @monitored("node tool")
    def tool(self) -> None:
        if next(self.fails) == "x":
            raise ConnectionError("busy")

    def node(self, state: dict[str, int]) -> dict[str, int]:
        self.tool()
        return state

    async def async_node(self, state: dict[str, int]) -> dict[str, int]:
        return self.node(state)


async def run_graph(way: str, node: Any, **more: Any) -> None:
    """Run a graph of one node, by one of the ways to run a graph."""
    graph = StateGraph(dict)
    graph.add_node("node", node, **more)
    graph.add_edge(START, "node")
    compiled = graph.compile()
    if way == "invoke":
        compiled.invoke({"x": 1})
    elif way == "ainvoke":
        await compiled.ainvoke({"x": 1})
    else:
        async for _ in compiled.astream({"x": 1}, stream_mode="messages"):
            pass


@pytest.mark.parametrize(
    ("way", "node"),
    [("invoke", "node"), ("ainvoke", "node"), ("ainvoke", "async_node"), ("astream", "async_node")],
)
async def test_the_attempts_of_a_node_with_a_policy_of_retries_are_numbered(
    way: str, node: str, calls: Callable[[], list[ToolCall]]
) -> None:
    """The graph runs the node again, which calls the tool again. A node without a policy is no retry.

    Seen red: without the readers of an async node's config, each call was attempt 1.
    """
    busy = Busy("xx.x")
    policy = RetryPolicy(initial_interval=0.01, max_attempts=3, jitter=False)
    await run_graph(way, getattr(busy, node), retry_policy=policy)
    with pytest.raises(ConnectionError):
        await run_graph(way, getattr(busy, node))
    assert [(call.outcome, call.attempt) for call in calls()] == [
        ("failure", 1), ("failure", 2), ("success", 3), ("failure", 1),
    ]  # fmt: skip


async def test_what_a_retried_node_runs_in_a_thread_is_no_retry_of_its_own(calls: Callable[[], list[ToolCall]]) -> None:
    """If the node is a call itself, that one is tried again, and its sync tool is called by a new one.

    Seen red: with a call around allowed for `_read_thread`, the second call of the tool was attempt 2.
    """
    busy = Busy("x.")

    @tool
    def sync_tool() -> None:
        """Do it."""
        busy.tool()

    @monitored("whole node")
    async def node(state: dict[str, int]) -> dict[str, int]:
        await sync_tool.ainvoke({})
        return state

    await run_graph("ainvoke", node, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False))
    attempts = [(call.tool_name, call.attempt) for call in calls()]
    assert attempts == [("node tool", 1), ("whole node", 1), ("node tool", 1), ("whole node", 2)]
