"""Monitor the tools and models of all known frameworks in the whole process, as their modules are imported."""

from __future__ import annotations

from importlib import metadata, util

from toolweaver_monitor._instrument.patching.by_name import instrument_name
from toolweaver_monitor._instrument.patching.options import InstrumentOptions

CLASSES = (
    "agno.tools.function:FunctionCall",
    "anthropic.resources.messages.messages:AsyncMessages",
    "anthropic.resources.messages.messages:Messages",
    "autogen_core.tools._base:BaseTool",
    "fastmcp.tools.function_tool:FunctionTool",
    "google.adk.models.google_llm:Gemini",
    "google.adk.tools.function_tool:FunctionTool",
    "haystack.tools.tool:Tool",
    "langchain_core.language_models.chat_models:BaseChatModel",
    "langchain_core.tools.base:BaseTool",
    "litellm",
    "llama_index.core.tools.function_tool:FunctionTool",
    "mcp.client.session:ClientSession",
    "mcp.server.mcpserver.server:MCPServer",
    "openai.resources.chat.completions.completions:AsyncCompletions",
    "openai.resources.chat.completions.completions:Completions",
    "openai.resources.embeddings:AsyncEmbeddings",
    "openai.resources.embeddings:Embeddings",
    "openai.resources.responses.responses:AsyncResponses",
    "openai.resources.responses.responses:Responses",
    "pydantic_ai.toolsets.function:FunctionToolset",
    "smolagents.agents:ToolCallingAgent",
    "smolagents.tools:Tool",
)
"""The classes by which all tools of a framework run, and all requests of a client, or a module that is a client."""

DECORATORS = ("agents.tool:function_tool", "strands.tools.decorator:tool")
"""Where the tools of a framework have no method in common: what registers them."""


def instrument_everywhere() -> None:
    """Monitor what is known of each framework that is installed, now or when it is imported.

    A class that a version does not have is a problem in `health()`, and no error.
    """
    for name in (*CLASSES, *DECORATORS):
        if util.find_spec(name.partition(".")[0].partition(":")[0]) is not None:
            instrument_name(name, InstrumentOptions(decorator=name in DECORATORS, is_quiet=True))


def installed_frameworks() -> dict[str, str]:
    """Return the packages of known frameworks that are installed, each with its version; none is imported."""
    packages = {name.partition(":")[0].split(".")[0] for name in (*CLASSES, *DECORATORS)} - {"google"}
    distributions = metadata.packages_distributions()
    found = {name: distributions[name][0] for name in sorted(packages) if name in distributions}
    return {name: metadata.version(distribution) for name, distribution in found.items()}
