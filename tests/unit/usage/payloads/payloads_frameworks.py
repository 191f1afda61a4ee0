"""Results of frameworks and of MCP tools, and the plain dicts that most tools return."""

from __future__ import annotations

from typing import Any

from payload_kit import Case

LITELLM = "https://docs.litellm.ai/docs/completion/output"
LITELLM_CACHE = "https://docs.litellm.ai/docs/completion/prompt_caching"
LANGCHAIN = "https://reference.langchain.com/python/langchain-core/messages/ai/UsageMetadata, Example"
PYDANTIC_AI = "https://ai.pydantic.dev/api/usage/"
MCP = "https://modelcontextprotocol.io/specification/2025-06-18/server/tools#tool-result"
OURS = "docs/reference/usage.md"


def lite(model: str, usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    """LiteLLM's answer: OpenAI's words for every provider."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": model,
            "choices": [choice], "usage": usage, **more}  # fmt: skip


def ai(usage: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """A LangChain message."""
    return {"content": "Hi", "usage_metadata": usage, "response_metadata": metadata}


def mcp(text: str = "42", **more: Any) -> dict[str, Any]:
    """The result of an MCP tool."""
    return {"content": [{"type": "text", "text": text}], "isError": False, **more}


MESSAGE = "langchain_core.messages:AIMessage"
CHUNK = "langchain_core.messages:AIMessageChunk"
LLM_RESULT = "https://reference.langchain.com/python/langchain-core/outputs/llm_result/LLMResult"
SAID = ai({"input_tokens": 8, "output_tokens": 592, "total_tokens": 600}, model_name="gpt-4o")

CASES = [
    Case("LiteLLM", LITELLM, lite("gpt-4o", {"prompt_tokens": 18, "completion_tokens": 23, "total_tokens": 41}), 18, 23,
         model="gpt-4o", costs="18 x 2.50 + 23 x 10.00", sdk="litellm:ModelResponse", made_by="call", documented=False),
    Case("LiteLLM, cached: Anthropic's counts are in the prompt already", LITELLM_CACHE,
         lite("claude-haiku-4-5", {"prompt_tokens": 2100, "completion_tokens": 30, "total_tokens": 2130,
                                   "prompt_tokens_details": {"cached_tokens": 1500, "cache_creation_tokens": 500},
                                   "cache_creation_input_tokens": 500, "cache_read_input_tokens": 1500}),
         2100, 30, cached=1500, written=500, model="claude-haiku-4-5",
         costs="100 x 1.00 + 1500 x 0.10 + 500 x 1.25 + 30 x 5.00", sdk="litellm:ModelResponse", made_by="call",
         documented=False),
    Case("LiteLLM says the cost itself", "https://docs.litellm.ai/docs/completion/token_usage#6-completion_cost",
         lite("gpt-4o", {"prompt_tokens": 18, "completion_tokens": 23, "total_tokens": 41},
              _hidden_params={"response_cost": 0.000275, "custom_llm_provider": "openai"}), 18, 23, model="gpt-4o",
         provider="openai", costs="275", cost_source="reported", sdk="litellm:ModelResponse", made_by="hidden",
         plain=False, documented=False),
    Case("LiteLLM, stream", LITELLM,
         [{"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
           "choices": [{"index": 0, "delta": {"content": "Hi"}}]},
          {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
           "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 18, "completion_tokens": 23, "total_tokens": 41}}], 18, 23, model="gpt-4o",
         costs="18 x 2.50 + 23 x 10.00", sdk="litellm:ModelResponseStream", made_by="call", documented=False),
    Case("LangChain, message", "https://docs.langchain.com/oss/python/langchain/messages, Token usage",
         ai({"input_tokens": 8, "output_tokens": 304, "total_tokens": 312,
             "input_token_details": {"audio": 0, "cache_read": 0},
             "output_token_details": {"audio": 0, "reasoning": 256}}, model_name="gpt-5-nano",
            model_provider="openai"), 8, 304, model="gpt-5-nano", provider="openai",
         costs="8 x 0.05 + 304 x 0.40", sdk=MESSAGE, made_by="call", plain=False),
    Case("LangChain, message, the reference's figures", LANGCHAIN,
         ai({"input_tokens": 350, "output_tokens": 240, "total_tokens": 590,
             "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
             "output_token_details": {"audio": 10, "reasoning": 200}}, model_name="claude-sonnet-4-5",
            model_provider="anthropic"), 350, 240, cached=100, written=200, heard=10, spoken=10,
         model="claude-sonnet-4-5", provider="anthropic", costs="50 x 3.00 + 100 x 0.30 + 200 x 3.75 + 240 x 15.00",
         sdk=MESSAGE, made_by="call", plain=False),
    Case("LangChain, message with a cache kept for an hour", LANGCHAIN,
         ai({"input_tokens": 1000, "output_tokens": 10, "total_tokens": 1010,
             "input_token_details": {"cache_read": 0, "ephemeral_5m_input_tokens": 100,
                                     "ephemeral_1h_input_tokens": 300}}, model_name="claude-sonnet-4-5"),
         1000, 10, written=400, written_1h=300, model="claude-sonnet-4-5",
         costs="600 x 3.00 + 100 x 3.75 + 300 x 6.00 + 10 x 15.00", sdk=MESSAGE, made_by="call", plain=False,
         documented=False),
    Case("LangChain, message of one who counts the cache apart: the total says so", LANGCHAIN,
         ai({"input_tokens": 12, "output_tokens": 100, "total_tokens": 3112,
             "input_token_details": {"cache_read": 2000, "cache_creation": 1000}}, model_name="claude-sonnet-4-5"),
         3012, 100, cached=2000, written=1000, model="claude-sonnet-4-5",
         costs="12 x 3.00 + 2000 x 0.30 + 1000 x 3.75 + 100 x 15.00", sdk=MESSAGE, made_by="call", plain=False,
         documented=False),
    Case("LangChain, message of one who counts reasoning apart", LANGCHAIN,
         ai({"input_tokens": 32, "output_tokens": 9, "total_tokens": 135, "output_token_details": {"reasoning": 94}},
            model_name="gpt-5-nano"), 32, 103, model="gpt-5-nano", costs="32 x 0.05 + 103 x 0.40", sdk=MESSAGE,
         made_by="call", plain=False, documented=False),
    Case("LangChain, stream: chunks are made to be added up", LANGCHAIN,
         [ai({"input_tokens": 25, "output_tokens": 1, "total_tokens": 26}, model_name="claude-sonnet-4-5"),
          ai({"input_tokens": 0, "output_tokens": 14, "total_tokens": 14})], 25, 15, model="claude-sonnet-4-5",
         costs="25 x 3.00 + 15 x 15.00", sdk=CHUNK, made_by="call", plain=False, documented=False),
    Case("LangChain, the result of a chain",
         "https://reference.langchain.com/python/langchain-core/outputs/llm_result/LLMResult",
         {"generations": [[]], "llm_output": {"token_usage": {"prompt_tokens": 11, "completion_tokens": 13,
                                                              "total_tokens": 24}, "model_name": "gpt-4o"}},
         11, 13, model="gpt-4o", costs="11 x 2.50 + 13 x 10.00", sdk="langchain_core.outputs:LLMResult",
         made_by="call", plain=False, documented=False),
    *(Case(f"LangChain, {name}", LLM_RESULT, {"generations": generations, "llm_output": output}, given, made,
           model=model, costs=f"{given} x 2.50 + {made} x 10.00", sdk=f"langchain_core.outputs:{kind}",
           made_by="generations", plain=False, documented=False)
      for name, kind, generations, output, given, made, model in [
          ("result whose output is empty", "LLMResult", [[SAID]], {}, 8, 592, "gpt-4o"),
          ("result without an output", "LLMResult", [[SAID]], None, 8, 592, "gpt-4o"),
          ("result that names the model only", "LLMResult", [[SAID]], {"model_name": "gpt-4o"}, 8, 592, "gpt-4o"),
          ("result that says it twice: once", "LLMResult", [[SAID]], {"token_usage": {
              "prompt_tokens": 8, "completion_tokens": 592, "total_tokens": 600}, "model_name": "gpt-4o"}, 8, 592,
           "gpt-4o"),
          ("result of two prompts", "LLMResult", [[SAID], [SAID]], {}, 16, 1184, "gpt-4o"),
          ("result of one prompt with two answers, each of which has the usage of both", "LLMResult", [[SAID, SAID]],
           {}, 8, 592, "gpt-4o"),
          ("chat result", "ChatResult", [SAID], {}, 8, 592, "gpt-4o"),
      ]),
    Case("PydanticAI, a run of an agent: it says the cost itself", PYDANTIC_AI,
         {"usage": {"input_tokens": 57, "output_tokens": 8}, "model_name": "gpt-4o", "provider_name": "openai"},
         57, 8, model="gpt-4o", provider="openai", costs="57 x 2.50 + 8 x 10.00", cost_source="reported",
         sdk="agent", made_by="agent",
         plain=False, documented=False),
    Case("PydanticAI, a run with a cached prompt", PYDANTIC_AI,
         {"usage": {"input_tokens": 2100, "cache_read_tokens": 1500, "cache_write_tokens": 500, "output_tokens": 30},
          "model_name": "claude-haiku-4-5", "provider_name": "anthropic"}, 2100, 30, cached=1500, written=500,
         model="claude-haiku-4-5", provider="anthropic", costs="100 x 1.00 + 1500 x 0.10 + 500 x 1.25 + 30 x 5.00",
         cost_source="reported", sdk="agent", made_by="agent", plain=False, documented=False),
    Case("MCP, figures in the structured content", MCP,
         mcp(structuredContent={"answer": 42, "model": "gpt-4o-mini", "usage": {"input_tokens": 100,
                                                                               "output_tokens": 7}}),
         100, 7, model="gpt-4o-mini", costs="100 x 0.15 + 7 x 0.60", sdk="mcp.types:CallToolResult", documented=False),
    Case("MCP, figures in the metadata", MCP, mcp(_meta={"cost_usd": 0.0031, "tokens_used": 250}), unsplit=250,
         costs="3100", cost_source="reported", sdk="mcp.types:CallToolResult", documented=False),
    Case("MCP, no figures: nothing to read", MCP, mcp(), costs=None, sdk="mcp.types:CallToolResult", documented=False),
    Case("a tool's dict with tokens and cost", OURS, {"text": "TOTAL 12.50", "tokens_used": 812, "cost": 0.0104},
         unsplit=812, costs="10400", cost_source="reported", documented=False),
    Case("a tool's dict with its model and usage", OURS,
         {"answer": "yes", "model": "gpt-4o", "usage": {"input_tokens": 100, "output_tokens": 5}}, 100, 5,
         model="gpt-4o", costs="100 x 2.50 + 5 x 10.00", documented=False),
    Case("a tool's dict with tokens that are not split: unknown, as input and output cost differently", OURS,
         {"text": "TOTAL 12.50", "tokens_used": 812, "model": "gpt-4o"}, unsplit=812, model="gpt-4o", costs=None,
         documented=False),
    Case("a tool's dict that came out of a cache", OURS,
         {"text": "TOTAL 12.50", "tokens_used": 812, "cost": 0.0104, "cached": True}, unsplit=812, costs="0",
         cost_source="reported", cache_hit=True, documented=False),
    Case("a tool's dict with a cost of 0: known to be free", OURS, {"text": "TOTAL 12.50", "cost": 0}, costs="0",
         cost_source="reported", documented=False),
    Case("a tool's dict about something else", OURS, {"text": "TOTAL 12.50", "total": 12.5}, costs=None,
         documented=False),
]  # fmt: skip
