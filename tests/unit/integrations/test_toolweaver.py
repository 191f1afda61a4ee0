"""`instrument("toolweaver")`: every way in which ToolWeaver runs a tool is one call, under the tool's name.

The package `orchestrator` is a stand-in written for these tests, whose names and paths are ToolWeaver's. With
`TOOLWEAVER_CHECKOUT` set to a checkout of the real one, whose requirements are installed, they run on that
(`nox -s toolweaver -- CHECKOUT`).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, instrument, monitored, setup, track, uninstrument
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.integrations.toolweaver import UsageMonitor

CHECKOUT = os.environ.get("TOOLWEAVER_CHECKOUT")
PACKAGE = CHECKOUT or str(Path(__file__).parent / "stand_in")


class World(SimpleNamespace):
    """ToolWeaver with a tool of every kind registered, and a monitor that counts."""

    def __getattr__(self, name: str) -> Any:
        """Find a name in the module that ToolWeaver has it in."""
        for path in (
            "", ".tools.composition", ".tools.sub_agent", "._internal.workflows.workflow",
            "._internal.runtime.orchestrator", "._internal.dispatch.hybrid_dispatcher",
            "._internal.execution.programmatic_executor", "._internal.execution.skill_library",
        ):  # fmt: skip
            module = importlib.import_module(f"orchestrator{path}")
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)

    def calls(self) -> list[tuple[str, str]]:
        """Return name and outcome of every call so far."""
        assert self.monitor.flush()
        return [(each["operation"], each["outcome"]) for each in self.monitor.metrics.operations]

    def agents(self, **costs: float) -> Any:
        """Return a client of agents that answer at once."""

        class Client(self.A2AClient):  # type: ignore[misc, name-defined]
            async def _delegate_http(self, agent: Any, request: Any) -> Any:
                if agent.agent_id == "broken":
                    raise ValueError("out of order")
                return {"result": 1}

            async def _delegate_stream(self, agent: Any, request: Any, chunk_timeout: Any) -> Any:
                for word in ("one", "two"):
                    yield word

        client = Client(max_retries=0)
        for name in ("analyst", "broken"):
            client.register_agent(
                self.AgentCapability(
                    name=name, description="", agent_id=name, endpoint="http://agent", cost_estimate=costs.get(name)
                )
            )
        return client

    def plan(self, **step: Any) -> Any:
        """Run a plan of one step."""
        client = step.pop("a2a_client", None)
        plan = {"request_id": "1", "steps": [{"id": "1", **step}], "final_synthesis": {"prompt_template": ""}}
        return self.execute_plan(plan, a2a_client=client)

    def add_worker(self, name: str, worker: Any) -> None:
        """Register a worker as a file of tools does."""
        loaders = importlib.import_module("orchestrator.tools.loaders")
        if not CHECKOUT:
            loaders.add_worker(name, worker)
            return
        module = types.ModuleType("workers_of_the_test")
        module.worker = worker  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        Path("tools.yaml").write_text(
            f"tools:\n  - name: {name}\n    type: mcp\n    description: x\n    worker: {module.__name__}.worker\n"
        )
        assert loaders.load_tools_from_yaml("tools.yaml") == 1


def register_tools(world: World) -> None:
    async def ocr(image: str = "") -> dict[str, Any]:
        """Read."""
        return {"text": image, "cost": 0.01}

    world.ocr = world.mcp_tool()(ocr)
    world.plain = world.tool(name="plain")(lambda params: {"given": params})
    world.register_function("compute_tax")(lambda amount: {"tax": amount})
    world.template = world.FunctionToolTemplate(name="from_template", description="x", function=lambda x: {"x": x})
    world.register_template(world.template)
    world.add_worker("from_file", lambda x: {"x": x})


@pytest.fixture(params=["imported before", "imported after"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.syspath_prepend(PACKAGE)
    monkeypatch.chdir(tmp_path)
    kept = {name: module for name, module in sys.modules.copy().items() if CHECKOUT and name.startswith("orchestrator")}
    with setup() as monitor:
        world = World(monitor=monitor)
        if request.param == "imported before":
            importlib.import_module("orchestrator")
            register_tools(world)
            instrument("toolweaver")
        else:
            instrument("toolweaver")
            register_tools(world)
        yield world
    uninstrument("toolweaver")
    for name in [name for name in sys.modules.copy() if name.partition(".")[0] == "orchestrator"]:
        if not kept and not CHECKOUT:
            del sys.modules[name]
    if CHECKOUT:
        importlib.import_module("orchestrator.plugins.registry").get_registry()._plugins.clear()


async def read_all(stream: Any) -> list[Any]:
    return [item async for item in stream]


def client_with_stream(world: World) -> Any:
    async def stream(payload: Any) -> Any:
        for word in ("one", "two"):
            yield word

    client = world.MCPClientShim()
    client.tool_map["streamer"] = stream
    return client


def orchestrator_with_agents(world: World) -> Any:
    orchestrator = world.Orchestrator()
    orchestrator.a2a = world.agents()
    return orchestrator


def programmatic(world: World) -> Any:
    if not CHECKOUT:
        definition = SimpleNamespace(name="compute_tax", type="function")
        return world.ProgrammaticToolExecutor({"compute_tax": definition}).execute("compute_tax", amount=3)
    models = importlib.import_module("orchestrator.shared.models")
    catalog = models.ToolCatalog(source="test", version="1")
    catalog.tools["compute_tax"] = models.ToolDefinition(
        name="compute_tax", type="function", description="x",
        parameters=[models.ToolParameter(name="amount", type="number", required=True, description="")],
    )  # fmt: skip
    return world.ProgrammaticToolExecutor(catalog, enable_stubs=False).execute("x = await compute_tax(amount=3)")


async def composition(world: World) -> Any:
    def worker(x: int) -> Any:
        return {"x": x}

    steps = world.CompositionChain(name="chain")
    steps.add_step(world.CompositionStep(name="first", tool_ref=worker))
    return await world.CompositionExecutor().execute(steps, {"x": 1})


async def workflow(world: World) -> Any:
    class OfTheUser:
        async def execute(self, name: str, parameters: Any) -> Any:
            return await world.MCPClientShim().call_tool(name, parameters)

    step = world.WorkflowStep(step_id="s", tool_name="ocr", parameters={})
    template = world.WorkflowTemplate(name="w", description="x", steps=[step])
    return await world.WorkflowExecutor(OfTheUser()).execute(template)


async def dispatch(world: World) -> Any:
    async def agent(prompt: str, arguments: Any, name: str, model: str) -> Any:
        return {"answer": prompt, "cost": 0.03}

    given = [{"x": str(id(world))}]  # not answered yet
    return await world.dispatch_agents("{x}", given, agent_name="helper", executor=agent)


async def skill(world: World) -> Any:
    world.save_skill("add_up", "total = 1 + 2\n")
    return await world.Orchestrator().execute_skill("add_up")


async def loaded_skill(world: World) -> Any:
    world.save_skill("double", "def double(x):\n    return 2 * x\n")
    return world.load_tool_from_skill("double")[1](4)


WAYS: dict[str, tuple[str, Callable[[World], Any]]] = {
    "execute_tool": ("ocr", lambda w: w.Orchestrator().execute_tool("ocr", {})),
    "execute_tool, built in": (
        "receipt_ocr",
        lambda w: w.Orchestrator().execute_tool("receipt_ocr", {"image_uri": "x"}),
    ),
    "execute_agent_step": (
        "agent_analyst",
        lambda w: orchestrator_with_agents(w).execute_agent_step(agent_name="analyst", request={"task": "t"}),
    ),
    "execute_skill": ("add_up", skill),
    "a plan's MCP step": ("ocr", lambda w: w.plan(tool="ocr", input={})),
    "a plan's function call": (
        "compute_tax",
        lambda w: w.plan(tool="function_call", input={"name": "compute_tax", "args": {"amount": 1}}),
    ),
    "a plan's code": ("code_exec", lambda w: w.plan(tool="code_exec", input={"code": "output = 1", "input_data": {}})),
    "a plan's agent": (
        "agent_analyst",
        lambda w: w.plan(tool="agent_analyst", input={"task": "t"}, a2a_client=w.agents()),
    ),
    "run_step, agent": (
        "agent_analyst",
        lambda w: w.run_step({"type": "agent", "agent_id": "analyst"}, {}, w.MCPClientShim(), None, w.agents()),
    ),
    "run_step, agent, streamed": (
        "agent_analyst",
        lambda w: w.run_step(
            {"type": "agent", "agent_id": "analyst", "stream": True}, {}, w.MCPClientShim(), None, w.agents()
        ),
    ),
    "call_tool_stream": ("streamer", lambda w: read_all(client_with_stream(w).call_tool_stream("streamer", {}))),
    "the decorated function": ("ocr", lambda w: w.ocr({})),
    "a plain decorated function": ("plain", lambda w: w.plain({"x": 1})),
    "a plugin": ("ocr", lambda w: w.get_plugin("decorators").execute("ocr", {})),
    "a tool of a file": ("from_file", lambda w: w.MCPClientShim().call_tool("from_file", {"x": 1})),
    "a template": ("from_template", lambda w: w.MCPClientShim().call_tool("from_template", {"x": 1})),
    "a template itself": ("from_template", lambda w: asyncio.sleep(0, w.template.execute({"x": 1}))),
    "tool_executor.call_tool": (
        "ocr",
        lambda w: importlib.import_module("orchestrator.tools.tool_executor").call_tool("finance", "ocr", {}),
    ),
    "ProgrammaticToolExecutor": ("compute_tax", programmatic),
    "CompositionExecutor": ("worker", composition),
    "WorkflowExecutor": ("ocr", workflow),
    "dispatch_agents": ("agent_helper", dispatch),
    "a skill loaded as a function": ("double", loaded_skill),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_one_call_under_the_name_of_the_tool(world: World, way: str) -> None:
    """Seen red, way by way: without its row of `_ways.WAYS` there is no call, or one of another name.

    And `health()` says that it was seen: None, before the names were counted.
    """
    name, run = WAYS[way]

    async def main() -> None:
        await run(world)

    asyncio.run(main())
    assert world.calls() == [(name, "success")]
    assert [each["calls"] for each in world.monitor.health()["instrumented"]] == [1]


def test_a_tool_that_calls_itself_is_a_call_each_time(world: World) -> None:
    """Seen red: with levels left out, only the outermost was counted."""

    async def countdown(n: int) -> dict[str, Any]:
        """Call yourself."""
        return await decorated({"n": n - 1}) if n else {}

    decorated = world.mcp_tool()(countdown)
    asyncio.run(decorated({"n": 2}))
    asyncio.run(world.MCPClientShim().call_tool("countdown", {"n": 2}))
    assert world.calls() == [("countdown", "success")] * 6


def test_a_monitored_function_below_the_decorator_counts_itself(world: World) -> None:
    """Seen red: without `is_monitored_tool`, the client counted it once more."""

    async def parse(text: str = "") -> dict[str, Any]:
        """Parse."""
        return {"text": text}

    decorated = world.mcp_tool(name="parse")(monitored("parse_items")(parse))
    asyncio.run(decorated({}))
    asyncio.run(world.MCPClientShim().call_tool("parse", {}))
    assert world.calls() == [("parse_items", "success")] * 2


def test_a_block_of_the_same_name_around_the_tool_is_its_call(world: World) -> None:
    async def main() -> None:
        async with track("ocr"):
            await world.ocr({})

    asyncio.run(main())
    assert world.calls() == [("ocr", "success")]


def test_answers_from_caches_cost_nothing_and_count_as_cached(world: World) -> None:
    """Seen red: without the clients' events, the second answer cost as much as the first."""
    agents = world.agents(analyst=0.05)

    async def main() -> None:
        client = world.MCPClientShim()
        for _ in range(2):
            await client.call_tool("ocr", {}, idempotency_key=f"key of {id(client)}")
            await agents.delegate_to_agent(world.AgentDelegationRequest("analyst", "t", idempotency_key="k"))

        for _ in range(2):
            await dispatch(world)

    asyncio.run(main())
    assert sorted(world.calls()) == sorted(
        [("ocr", "success"), ("agent_analyst", "success"), ("agent_helper", "success")] * 2
    )
    assert world.monitor.metrics.cost_by_operation() == {"agent_analyst": 0.05, "agent_helper": 0.03, "ocr": 0.01}
    assert world.monitor.metrics._total().usage.cache_hits == 3


def test_what_toolweaver_says_that_a_tool_costs_is_its_cost(world: World) -> None:
    """The metadata's `cost_per_call`, and an agent's `cost_estimate`, also of a stream."""

    async def paid(x: int = 0) -> dict[str, Any]:
        """Pay."""
        return {"x": x}

    decorated = world.mcp_tool(metadata={"cost_per_call": 0.02})(paid)
    agents = world.agents(analyst=0.05)

    async def main() -> None:
        await decorated({})
        await world.MCPClientShim().call_tool("paid", {})
        await read_all(agents.delegate_stream(world.AgentDelegationRequest("analyst", "t")))

    asyncio.run(main())
    assert world.monitor.flush()
    assert world.monitor.metrics.cost_by_operation() == {"agent_analyst": 0.05, "paid": 0.04}


def test_a_failure_told_by_an_agent_is_a_failure(world: World) -> None:
    """Seen red: without `usage=`, an answer with `success=False` was a success."""
    answer = asyncio.run(world.agents().delegate_to_agent(world.AgentDelegationRequest("broken", "t")))
    assert answer.success is False
    assert world.calls() == [("agent_broken", "failure")]
    assert world.monitor.metrics.operations[-1]["error"] == "out of order"


@pytest.mark.parametrize("by", ["retry policy", "workflow"])
def test_a_second_try_is_a_second_attempt(world: World, by: str) -> None:
    """Seen red: without `next_try`, both calls were first attempts."""
    fail_first = [True]

    async def shaky(x: int = 0) -> dict[str, Any]:
        """Fail once."""
        if fail_first and fail_first.pop():
            raise ValueError("at first")
        return {}

    world.mcp_tool()(shaky)

    class OfTheUser:
        async def execute(self, name: str, parameters: Any) -> Any:
            return await world.MCPClientShim().call_tool(name, parameters)

    async def main() -> None:
        if by == "workflow":
            step = world.WorkflowStep(step_id="s", tool_name="shaky", parameters={}, retry_count=2)
            template = world.WorkflowTemplate(name="w", description="x", steps=[step])
            await world.WorkflowExecutor(OfTheUser()).execute(template)
        else:
            step = {"id": "1", "tool": "shaky", "input": {}, "retry_policy": {"retries": 3, "backoff_s": 0}}
            await world.run_step(step, {}, world.MCPClientShim())

    asyncio.run(main())
    assert world.calls() == [("shaky", "failure"), ("shaky", "success")]
    assert world.monitor.metrics._stats_of("shaky").usage.retries == 1


def test_a_client_that_tries_again_itself_is_one_operation(world: World) -> None:
    """Seen red: with `record(attempt=...)` it was a retry of no operation."""
    left = iter((True, True, False))

    async def shaky(x: int = 0) -> dict[str, Any]:
        """Fail twice."""
        if next(left):
            raise ValueError("at first")
        return {}

    world.mcp_tool()(shaky)
    asyncio.run(world.MCPClientShim(max_retries=2).call_tool("shaky", {}))
    counts = world.monitor.costs.by("tool")["shaky"]
    assert (counts["calls"], counts["operations"], counts["retries"]) == (1, 1, 2)


def test_tokens_of_the_planner_are_counted(world: World) -> None:
    class Completions:
        async def create(self, **_: Any) -> Any:
            return Answer()

    class Answer(dict):  # type: ignore[type-arg]
        choices = (SimpleNamespace(message=SimpleNamespace(content='{"steps": []}')),)

        def __init__(self) -> None:
            super().__init__(model="gpt-4o", usage={"prompt_tokens": 2000, "completion_tokens": 300})
            self["choices"] = ['{"steps": []}']

    planner = object.__new__(world.LargePlanner)
    planner.client = SimpleNamespace(chat=SimpleNamespace(completions=Completions()))
    planner.provider, planner.model, planner.tool_catalog = "openai", "gpt-4o", None
    planner.use_tool_search, planner.search_threshold, planner.use_programmatic_calling = False, 20, False
    for _ in range(2):
        assert asyncio.run(planner.generate_plan("read the receipt")) == {"steps": []}
    assert world.calls() == [("planner", "success")] * 2
    assert world.monitor.summary()["total_tokens"] == 4600


def test_a_budget_holds_for_the_tools_of_a_plan(world: World) -> None:
    ran: list[int] = []

    async def counted(x: int = 0) -> dict[str, Any]:
        """Count."""
        ran.append(x)
        return {}

    decorated = world.mcp_tool()(counted)
    with setup(budget=Budget(limit_calls=1)) as monitor:
        asyncio.run(decorated({}))
        with pytest.raises(BudgetExceeded):
            asyncio.run(decorated({}))
        assert ran == [0]
        assert [each["outcome"] for each in monitor.metrics.operations] == ["success", "rejected"]


def test_arguments_that_do_not_fit_raise_as_they_did(world: World) -> None:
    with pytest.raises(TypeError, match="Failed to execute tool 'ocr'"):
        asyncio.run(world.ocr({"nothing": 1}))
    assert world.calls() == [("ocr", "failure")]


def test_uninstrument_puts_back_what_was_there(world: World) -> None:
    uninstrument("toolweaver")
    asyncio.run(world.ocr({}))
    asyncio.run(world.MCPClientShim().call_tool("ocr", {}))
    assert world.calls() == []
    assert not hasattr(world.MCPClientShim.call_tool, "__wrapped__")
    instrument("toolweaver")
    asyncio.run(world.ocr({}))
    assert world.calls() == [("ocr", "success")]


def test_the_stand_in_for_its_monitor_counts_once_and_answers_in_its_words(world: World, tmp_path: Path) -> None:
    monitor = UsageMonitor()
    asyncio.run(world.Orchestrator(monitoring=monitor).execute_tool("ocr", {}))
    asyncio.run(world.agents().delegate_to_agent(world.AgentDelegationRequest("broken", "t")))
    assert len(world.calls()) == 2
    with track("model"):
        monitor.log_token_usage(10, 5, cached_tokens=2)
    metrics = monitor.get_tool_metrics("ocr")
    assert (metrics["total_calls"], metrics["errors"], metrics["error_rate"]) == (1, 0, 0)
    assert metrics["latency"]["min"] == metrics["latency"]["max"] > 0
    assert monitor.get_tool_metrics("unseen") == {"error": "No metrics for tool 'unseen'"}
    summary = monitor.get_summary()
    assert summary["overview"]["total_tool_calls"] == 3
    assert summary["overview"]["total_errors"] == 1
    assert summary["token_usage"] == {"input": 10, "output": 5, "cached": 2}
    assert [error["tool_name"] for error in monitor.get_recent_errors()] == ["agent_broken"]
    monitor.export_metrics(str(tmp_path / "metrics.json"))
    assert '"agent_broken"' in (tmp_path / "metrics.json").read_text()
    if CHECKOUT:
        importlib.import_module("orchestrator._internal.observability.monitoring").print_metrics_report(monitor)


def test_another_package_of_that_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orchestrator", types.ModuleType("orchestrator"))
    with pytest.raises(ConfigurationError, match="not ToolWeaver's"):
        instrument("toolweaver")


def test_other_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes no other argument"):
        instrument("toolweaver", tool_name="x")


def run_program(program: str, tmp_path: Path) -> str:
    path = os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_function_that_a_module_took_before_is_told_with_a_cure(tmp_path: Path) -> None:
    """Seen red: without the search for other names, nothing was said and the agents were not counted."""
    shown = run_program(
        """
        import logging, sys
        logging.basicConfig(stream=sys.stdout)
        from orchestrator.tools.sub_agent import dispatch_agents
        from toolweaver_monitor import instrument

        instrument("toolweaver")
        """,
        tmp_path,
    )
    assert "__main__.dispatch_agents was taken from ToolWeaver before" in shown


def test_a_function_that_a_module_took_before_is_a_problem_until_it_is_taken_again(tmp_path: Path) -> None:
    """Seen red: before, `health()` said that all was well; and `__mp_main__` was named beside `__main__`."""
    shown = run_program(
        """
        import sys
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])  # as multiprocessing has it
        from orchestrator.tools.sub_agent import dispatch_agents
        import orchestrator.tools.sub_agent
        from toolweaver_monitor import instrument, setup, uninstrument

        monitor = setup()
        instrument("toolweaver")
        print(*monitor.health()["problems"])
        (watched,) = monitor.health()["instrumented"]
        print(watched["target"], "dispatch_agents" in watched["methods"])
        dispatch_agents = orchestrator.tools.sub_agent.dispatch_agents
        print(monitor.health()["problems"])
        uninstrument("toolweaver")
        print(monitor.health()["instrumented"])
        """,
        tmp_path,
    )
    problem, *rest = shown.splitlines()[-4:]  # ToolWeaver itself logs above them
    assert problem.startswith("__main__:dispatch_agents: imported before instrument() was given toolweaver, and")
    assert problem.endswith("; call instrument('toolweaver') before these imports")
    assert rest == ["toolweaver True", "[]", "[]"]


def test_it_waits_for_the_import(tmp_path: Path) -> None:
    shown = run_program(
        """
        import asyncio
        from toolweaver_monitor import instrument, setup

        instrument("toolweaver")
        monitor = setup()
        from orchestrator.tools.sub_agent import dispatch_agents
        import orchestrator

        async def main():
            async def agent(prompt, arguments, name, model): return {}
            await dispatch_agents("{x}", [{"x": "1"}], agent_name="helper", executor=agent)
            await orchestrator.MCPClientShim().call_tool("receipt_ocr", {"image_uri": "x"})

        asyncio.run(main())
        print(sorted(monitor.metrics.by_operation()), monitor.health()["ok"])
        """,
        tmp_path,
    )
    assert "['agent_helper', 'receipt_ocr'] True" in shown
