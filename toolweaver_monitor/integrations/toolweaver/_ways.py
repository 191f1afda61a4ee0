"""The ways in which ToolWeaver runs a tool: where each is, where the tool's name stands, and how far out it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._instrument.decorator import is_monitored
from toolweaver_monitor._instrument.retries import note_attempts
from toolweaver_monitor._instrument.track import track
from toolweaver_monitor._usage import Usage
from toolweaver_monitor.integrations.toolweaver._runs import (
    Level,
    Switch,
    next_try,
    retrying,
    watch_coroutine,
    watch_function,
    watch_stream,
)

Wrapper = Callable[[Any], Any]


_dispatched: ContextVar[str | None] = ContextVar("toolweaver_monitor_toolweaver_dispatched", default=None)
"""The tool's name of the agents that a dispatch is about to run."""


class Way(NamedTuple):
    """One function or method of ToolWeaver's, and what replaces it."""

    module: str
    path: str
    """The function in that module, or `Class.method`."""
    wrapper: Wrapper
    """Gets the original and returns its replacement."""
    everywhere: bool = True
    """Whether a function is replaced in all modules of ToolWeaver that hold it, and not in this one only."""


def tool_name_of(_self: Any, tool_name: str, *_args: Any, **_kwargs: Any) -> str:
    """Return the name that a client or a plugin is given."""
    return tool_name


def _skill_name(_self: Any, skill_name: str, **_kwargs: Any) -> str:
    return skill_name


def _definition_name(_self: Any, tool_def: Any, *_args: Any, **_kwargs: Any) -> str:
    return str(tool_def.name)


def _served_name(server: str, tool_name: str, *_args: Any, **_kwargs: Any) -> str:  # noqa: ARG001 - by keyword, too
    return tool_name


def _payload_name(payload: Any) -> str:
    name = payload.get("name") if isinstance(payload, dict) else None
    return name if isinstance(name, str) else "function_call"


def _agent_name(_self: Any, request: Any, **_kwargs: Any) -> str:
    return f"agent_{request.agent_id}"


def _executor_name(_prompt: str, _arguments: Any, agent_name: str, _model: str) -> str:
    return f"agent_{agent_name}"


def _step_name(_self: Any, step: Any, *_args: Any, **_kwargs: Any) -> str:
    """Return the name of a chain's step: the tool that it refers to, by name or as the callable itself."""
    reference = step.tool_ref
    if isinstance(reference, str):
        return reference
    definition = getattr(reference, "__tool_definition__", None)
    return str(getattr(definition, "name", None) or getattr(reference, "__name__", None) or step.name)


def _usage_of_response(response: Any) -> Usage:
    """Return what an agent's response says of itself, and fail the call if it says that it failed."""
    told = vars(response)
    metadata = told.get("metadata") or {}
    if told.get("success") is False:
        current_call().fail(str(metadata.get("error") or "the agent reports a failure"))
    attempts = metadata.get("attempts", metadata.get("attempt", 1))
    if isinstance(attempts, int):
        note_attempts(current_call(), attempts)
    return Usage(cost=told.get("cost"))


def _coroutine(name_of: Callable[..., str], level: Level, **declarations: Any) -> Wrapper:
    return lambda original: watch_coroutine(original, name_of, level, **declarations)


def _stream(name_of: Callable[..., str]) -> Wrapper:
    return lambda original: watch_stream(original, name_of, Level.CLIENT)


def _agent_stream(original: Any) -> Any:
    """Watch a stream of an agent, whose price stands with the client."""

    @functools.wraps(original)
    async def stream(self: Any, request: Any, **kwargs: Any) -> Any:
        agent = self.agent_map.get(request.agent_id)
        if agent is not None and agent.cost_estimate is not None:
            current_call().record(cost=agent.cost_estimate)
        items = original(self, request, **kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return watch_stream(stream, _agent_name, Level.CLIENT)


def _events(original: Any) -> Any:
    """Note in the open call what a client tells its observer: an answer from its cache, and tries made again."""

    @functools.wraps(original)
    def emit(self: Any, event: str, data: Any) -> Any:
        call = current_call()
        if Switch.on and call.tool_name in (data.get("tool"), f"agent_{data.get('agent_id')}"):
            if event.endswith(".cache_hit"):
                call.record(cached=True)
            elif event.endswith(".complete"):
                note_attempts(call, data.get("attempt", 1))
        return original(self, event, data)

    return emit


def _retry(original: Any) -> Any:
    """Watch `retry()`: what runs inside its second try is a second attempt."""

    @functools.wraps(original)
    async def retry(coro_func: Callable[[], Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        async def attempt() -> Any:
            next_try()
            return await coro_func()

        with retrying():
            return await original(attempt, *args, **kwargs)

    return retry


def _workflow_step(original: Any) -> Any:
    """Watch a workflow's step, which calls its tool again after a failure."""

    @functools.wraps(original)
    async def execute_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with retrying():
            return await original(self, *args, **kwargs)

    return execute_step


def _workflow_call(original: Any) -> Any:
    watched = watch_coroutine(original, tool_name_of, Level.EXECUTOR)

    @functools.wraps(original)
    async def call_tool(self: Any, *args: Any, **kwargs: Any) -> Any:
        next_try()
        return await watched(self, *args, **kwargs)

    return call_tool


def _dispatch(original: Any) -> Any:
    """Watch the executor that `dispatch_agents()` gives each agent's task to."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    async def dispatch_agents(*args: Any, **kwargs: Any) -> Any:
        if not Switch.on:
            return await original(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        executor = bound.arguments.get("executor") or original.__globals__["_default_executor"]
        if not is_monitored(executor):
            bound.arguments["executor"] = watch_coroutine(executor, _executor_name, Level.CLIENT)
        bound.apply_defaults()
        token = _dispatched.set(f"agent_{bound.arguments['agent_name']}")
        try:
            return await original(*bound.args, **bound.kwargs)
        finally:
            _dispatched.reset(token)

    return dispatch_agents


class _AnswerCache:
    """The cache of a dispatch, whose answers count as calls served from a cache."""

    def __init__(self, cache: Any, name: str) -> None:
        self._cache, self._name = cache, name

    def get(self, key: str) -> Any:
        """Return the answer kept under a key, or None."""
        answer = self._cache.get(key)
        if answer is not None:
            Switch.count()
            with track(self._name) as call:
                call.record(cached=True)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _dispatch_cache(original: Any) -> Any:
    @functools.wraps(original)
    def get_global_cache(*args: Any, **kwargs: Any) -> Any:
        name, cache = _dispatched.get(), original(*args, **kwargs)
        return cache if name is None else _AnswerCache(cache, name)

    return get_global_cache


def _skill_loader(original: Any) -> Any:
    """Watch the function that a skill is loaded as."""

    @functools.wraps(original)
    def load_tool_from_skill(*args: Any, **kwargs: Any) -> Any:
        definition, function = original(*args, **kwargs)
        return definition, function if is_monitored(function) else watch_function(function, definition.name)

    return load_tool_from_skill


def _template(original: Any) -> Any:
    """Watch what a template runs, unless its function is monitored."""
    watched = watch_function(original, lambda self, *_args, **_kwargs: str(self.name))

    @functools.wraps(original)
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = original if is_monitored(vars(self).get("_function")) else watched
        return run(self, *args, **kwargs)

    return execute


def _planner(original: Any) -> Any:
    """Watch the planner's model, whose answer has the tokens; the plan that is returned has none."""

    @functools.wraps(original)
    async def plan(self: Any, *args: Any, **kwargs: Any) -> Any:
        if Switch.on:
            watch_model(self)
        return await original(self, *args, **kwargs)

    return plan


MODEL_METHODS = (("chat.completions", "create"), ("messages", "create"), ("", "generate_content_async"))
"""Where the clients that a planner may have ask their model: OpenAI and Azure, Anthropic, Gemini."""


def watch_model(planner: Any) -> None:
    """Count what a planner's client asks of its model as calls of `planner`."""
    for path, method in MODEL_METHODS:
        holder = planner.client
        for part in filter(None, path.split(".")):
            holder = getattr(holder, part, None)
        function = getattr(holder, method, None)
        if function is None:
            continue
        if not is_monitored(function) and not hasattr(function, "_watched_by_toolweaver_monitor"):
            watched = watch_coroutine(function, lambda *_args, **_kwargs: "planner", Level.CLIENT)
            watched._watched_by_toolweaver_monitor = True
            setattr(holder, method, watched)
        return


_PRIVATE = "orchestrator._internal."

WAYS = (
    Way(f"{_PRIVATE}infra.mcp_client", "MCPClientShim.call_tool", _coroutine(tool_name_of, Level.CLIENT)),
    Way(f"{_PRIVATE}infra.mcp_client", "MCPClientShim.call_tool_stream", _stream(tool_name_of)),
    Way(f"{_PRIVATE}infra.mcp_client", "MCPClientShim._emit", _events),
    Way(
        f"{_PRIVATE}infra.a2a_client",
        "A2AClient.delegate_to_agent",
        _coroutine(_agent_name, Level.CLIENT, usage=_usage_of_response),
    ),
    Way(f"{_PRIVATE}infra.a2a_client", "A2AClient.delegate_stream", _agent_stream),
    Way(f"{_PRIVATE}infra.a2a_client", "A2AClient._emit", _events),
    Way(f"{_PRIVATE}dispatch.hybrid_dispatcher", "function_call_worker", _coroutine(_payload_name, Level.CLIENT)),
    Way(f"{_PRIVATE}runtime.orchestrator", "Orchestrator.execute_skill", _coroutine(_skill_name, Level.CLIENT)),
    Way(f"{_PRIVATE}runtime.orchestrator", "retry", _retry),
    Way(
        f"{_PRIVATE}execution.programmatic_executor",
        "ProgrammaticToolExecutor._execute_tool",
        _coroutine(_definition_name, Level.EXECUTOR),
    ),
    Way(f"{_PRIVATE}workflows.workflow", "WorkflowExecutor._execute_step", _workflow_step),
    Way(f"{_PRIVATE}workflows.workflow", "WorkflowExecutor._call_tool", _workflow_call),
    Way(f"{_PRIVATE}planning.planner", "LargePlanner.generate_plan", _planner),
    Way(f"{_PRIVATE}planning.planner", "LargePlanner.refine_plan", _planner),
    Way("orchestrator.tools.tool_executor", "call_tool", _coroutine(_served_name, Level.EXECUTOR)),
    Way("orchestrator.tools.composition", "CompositionExecutor._execute_step", _coroutine(_step_name, Level.EXECUTOR)),
    Way("orchestrator.tools.sub_agent", "dispatch_agents", _dispatch),
    Way("orchestrator.tools.sub_agent", "get_global_cache", _dispatch_cache, everywhere=False),
    Way("orchestrator.tools.templates", "FunctionToolTemplate.execute", _template),
    Way("orchestrator.tools.skill_bridge", "load_tool_from_skill", _skill_loader),
)
