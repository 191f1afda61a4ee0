"""The table of known frameworks: which of their classes run tools or call models, by which methods, under which name.

A row is matched by the package and the name of a class or of one of its bases, so that nothing is imported. What is not
a row itself but belongs to one of these packages, such as an agent, is searched for objects that are (see `known`).
"""

from __future__ import annotations

from typing import NamedTuple

MODEL_NAME = (
    "self.model_name|self.model|self.model_id|self.id|self._model_name|self._create_args.model|self.config.model_id"
    "|self.__class__.__name__"
)
"""Where objects that call a model hold its name."""


class KnownClass(NamedTuple):
    """A class of a framework, or a module whose functions are the interface.

    Args:
        path: its module and name; only the package and the name are compared, since modules move. `*ChatGenerator`
            stands for all names that end so.
        methods: its methods or stored callables that run a tool or call a model, each once a run. `a.b` is `b` of its
            attribute `a`; `a|b` the first that it has.
        name: where the name stands: attributes of `self` or of a parameter, such as `tool.metadata.name`. `a|b`: the
            first that is text.
        usage: the fields of the result in which figures stand, such as `raw_output`, whose text is read as JSON; `""`
            is the result itself. None: the result is read as that of any tool.
        failed: fields that tell a failure. `is_error` must be true; `status=error` must be that text.
        error: the fields in which the text of a failure stands.
        is_model: whether it calls a model. The name is then that of the model, and a result that reports no tokens
            leaves the cost of the call unknown.
        holds: whether it holds tools or models that are looked for as well.
        classes: classes that are monitored in its place, as `module:Class`: their objects are made for each run.
        contexts: those of its methods that give a stream in `async with`, whose `get()` returns the answer.
    """

    path: str
    methods: tuple[str, ...] = ()
    name: str = "self.name"
    usage: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    is_model: bool = False
    holds: bool = False
    classes: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()


def _model(path: str, *methods: str, usage: tuple[str, ...] = ("",), contexts: tuple[str, ...] = ()) -> KnownClass:
    return KnownClass(path, methods, MODEL_NAME, usage, is_model=True, contexts=contexts)


MCP = (
    (
        "structured_content",
        "structuredContent",
        "meta",
        "_meta",
        "content.0.text",
        "1",
        "",
    ),  # "1": of a tuple, by mcp 1
    ("is_error", "isError"),
    ("content.0.text",),
)
"""The figures and failures in a tool's result, as the protocol has it."""

SERVER_ROW = KnownClass("fastmcp.server.server:FastMCP", ("call_tool",), "name", *MCP)
"""Servers of FastMCP are monitored by middleware (see `mcp`), and those of MCP by the method."""

_OPENAI = (
    "chat.completions.create",
    "chat.completions.parse",
    "responses.create",
    "responses.parse",
    "embeddings.create",
)
_ANTHROPIC = ("messages.create", "messages.parse", "messages.stream", "beta.messages.create")
_RESOURCES = tuple(f"{kind}{name}" for kind in ("", "Async") for name in ("Completions", "Responses", "Embeddings"))
_MESSAGES = ("Messages", "AsyncMessages")
_LITELLM = ("completion", "acompletion", "responses", "aresponses", "embedding", "aembedding")

TABLE: tuple[KnownClass, ...] = (
    # MCP and FastMCP
    KnownClass("mcp.server.mcpserver.server:MCPServer", ("call_tool",), "name", *MCP),
    KnownClass("mcp.server.fastmcp.tools.tool_manager:ToolManager", ("call_tool",), "name", *MCP),
    KnownClass("mcp.client.client:Client", ("call_tool",), "name", *MCP),
    KnownClass("mcp.client.session:ClientSession", ("call_tool",), "name", *MCP),
    KnownClass("fastmcp.client.client:Client", ("call_tool",), "name", *MCP),
    KnownClass("fastmcp.tools.base:Tool", ("run",), "self.name", *MCP),
    # PydanticAI
    KnownClass("pydantic_ai.toolsets.abstract:AbstractToolset", ("call_tool",), "name"),
    _model("pydantic_ai.models:Model", "request", "request_stream", contexts=("request_stream",)),
    # OpenAI Agents
    KnownClass("agents.tool:FunctionTool", ("on_invoke_tool._invoke_tool_impl|on_invoke_tool",)),
    _model("agents.models.interface:Model", "get_response", "stream_response", usage=("usage",)),
    # LangChain, and LangGraph by its nodes
    KnownClass(
        "langchain_core.tools.base:BaseTool",
        ("run", "arun"),
        usage=("artifact", "content", ""),
        failed=("status=error",),
        error=("content",),
    ),
    _model("langchain_core.language_models.chat_models:BaseChatModel", "invoke", "ainvoke", "stream", "astream"),
    # smolagents
    KnownClass("smolagents.agents:ToolCallingAgent", ("execute_tool_call",), "tool_name", holds=True),
    KnownClass("smolagents.tools:Tool", ("__call__",)),
    _model("smolagents.models:Model", "generate", "generate_stream", usage=("raw", "token_usage")),
    # LlamaIndex
    KnownClass(
        "llama_index.core.tools.types:BaseTool",
        ("call", "acall"),
        "self.metadata.name",
        ("raw_output",),
        ("is_error",),
        ("blocks.0.text",),
    ),
    _model(
        "llama_index.core.base.llms.base:BaseLLM",
        *("chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete"),
        usage=("raw", "additional_kwargs"),
    ),
    # AutoGen
    KnownClass("autogen_core.tools._base:BaseTool", ("run_json", "run_json_stream")),
    _model("autogen_core.models._model_client:ChatCompletionClient", "create", "create_stream", usage=("usage",)),
    # Agno
    KnownClass(
        "agno.tools.function:FunctionCall",
        ("execute", "aexecute"),
        "self.function.name",
        ("result",),
        ("status=failure",),
        ("error",),
    ),
    KnownClass("agno.tools.function:Function", holds=True, classes=("agno.tools.function:FunctionCall",)),
    KnownClass("agno.agent.agent:Agent", holds=True, classes=("agno.tools.function:FunctionCall",)),
    KnownClass("agno.team.team:Team", holds=True, classes=("agno.tools.function:FunctionCall",)),
    _model("agno.models.base:Model", "invoke", "ainvoke", "invoke_stream", "ainvoke_stream", usage=("response_usage",)),
    # Haystack
    KnownClass("haystack.tools.tool:Tool", ("invoke", "invoke_async")),
    _model("haystack.components.generators.chat:*ChatGenerator", "run", "run_async", usage=("replies.0._meta",)),
    # Strands
    KnownClass("strands.tools.decorator:DecoratedFunctionTool", ("_tool_func",), "self.tool_name"),
    KnownClass(
        "strands.tools.tools:PythonAgentTool",
        ("_tool_func",),
        "self.tool_name",
        ("content.0.json", "content.0.text"),
        ("status=error",),
        ("content.0.text",),
    ),
    KnownClass(
        "strands.tools.mcp.mcp_client:MCPClient",
        ("call_tool_async", "call_tool_sync"),
        "name",
        ("structuredContent", "content.0.text"),
        ("status=error",),
        ("content.0.text",),
    ),
    _model("strands.models.model:Model", "stream"),
    # Google ADK
    KnownClass(
        "google.adk.tools.base_tool:BaseTool",
        ("run_async",),
        failed=("status=error",),
        error=("error_message", "message", "error"),
    ),
    KnownClass(
        "google.adk.agents.llm_agent:LlmAgent",
        holds=True,
        classes=("google.adk.tools.function_tool:FunctionTool", "google.adk.models.google_llm:Gemini"),
    ),
    _model("google.adk.models.base_llm:BaseLlm", "generate_content_async", usage=("usage_metadata",)),
    # Clients of models
    *(KnownClass(f"openai._client:{name}", _OPENAI, "model") for name in ("OpenAI", "AsyncOpenAI")),
    *(KnownClass(f"anthropic._client:{name}", _ANTHROPIC, "model") for name in ("Anthropic", "AsyncAnthropic")),
    *(KnownClass(f"openai.resources:{name}", ("create", "parse"), "model") for name in _RESOURCES),
    *(KnownClass(f"anthropic.resources:{name}", ("create", "parse", "stream"), "model") for name in _MESSAGES),
    KnownClass("litellm:", _LITELLM, "model"),
    KnownClass("litellm.router:Router", _LITELLM, "model"),
)

PACKAGES = frozenset(
    ".".join(row.path.partition(":")[0].split(".")[: 2 if row.path.startswith("google.") else 1]) for row in TABLE
) | {"langgraph", "langchain", "autogen_agentchat", "haystack_integrations"}
"""The packages whose objects are searched for tools and models."""
