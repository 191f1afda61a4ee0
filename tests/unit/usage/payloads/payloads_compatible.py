"""Answers of providers that use OpenAI's format, or nearly."""

from __future__ import annotations

from typing import Any

from payload_kit import Case, recorded
from payloads_openai import CHAT_CHUNK, COMPLETION, RESPONSE, chat, chunk, plainly_used, responded, response, used

GATEWAY = "models/openrouter/cassettes/test_cache/"
OPENROUTER = "models/cassettes/test_openrouter/"
GROQ = "models/cassettes/test_groq/"
DEEPSEEK = "models/cassettes/test_deepseek/"
OLLAMA = "https://github.com/ollama/ollama/blob/fb3076099/docs/api"


def routed(model: str, provider: str, usage: dict[str, Any], cost: float, *, own_key: bool = False,
           upstream: float | None = None) -> dict[str, Any]:  # fmt: skip
    """OpenRouter's answer: it says who served it and what it has charged."""
    details = {"upstream_inference_cost": cost if upstream is None else upstream}
    return chat(model, {**usage, "cost": cost, "is_byok": own_key, "cost_details": details}, provider=provider)


def timed(given: int, made: int, **more: Any) -> dict[str, Any]:
    """Groq's usage: it says how long each part took, too."""
    return {"queue_time": 0.1, "prompt_time": 0.002, "completion_time": 0.03, "total_time": 0.032,
            **plainly_used(given, made), **more}  # fmt: skip


def missed(given: int, made: int, hit: int) -> dict[str, Any]:
    """DeepSeek's usage: the cache's hits and misses have names of their own."""
    return {**plainly_used(given, made), "prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": given - hit}


CASES = [
    Case("Groq", "https://console.groq.com/docs/api-reference, Create chat completion",
         chat("openai/gpt-oss-20b", timed(18, 556)), 18, 556, model="openai/gpt-oss-20b",
         costs="18 x 0.075 + 556 x 0.30", sdk=COMPLETION),
    Case("Groq, Llama", recorded(GROQ + "test_extra_headers"), chat("llama-3.3-70b-versatile", timed(48, 8)), 48, 8,
         model="llama-3.3-70b-versatile", costs="48 x 0.59 + 8 x 0.79", sdk=COMPLETION),
    Case("Groq with a cached prompt and reasoning", recorded(GROQ + "test_tool_use_failed_error", 3),
         chat("openai/gpt-oss-120b", timed(336, 96, prompt_tokens_details={"cached_tokens": 256},
                                           completion_tokens_details={"reasoning_tokens": 59})), 336, 96, cached=256,
         model="openai/gpt-oss-120b", costs="80 x 0.15 + 256 x 0.075 + 96 x 0.60", sdk=COMPLETION),
    Case("Groq, stream: the usage stands under x_groq", recorded(GROQ + "test_groq_model_thinking_part_iter"),
         [chunk("deepseek-r1-distill-llama-70b"),
          chunk("deepseek-r1-distill-llama-70b", x_groq={"id": "req_01", "usage": timed(21, 988)})], 21, 988,
         model="deepseek-r1-distill-llama-70b", costs="21 x 0.75 + 988 x 0.99", sdk=CHAT_CHUNK),
    Case("DeepSeek: hits of the cache have a name of their own",
         recorded(DEEPSEEK + "test_deepseek_deferred_capability_with_thinking"),
         chat("deepseek-v4-flash", {**missed(563, 116, 512), "completion_tokens_details": {"reasoning_tokens": 60}}),
         563, 116, cached=512, model="deepseek-v4-flash", costs=None, sdk=COMPLETION),
    Case("DeepSeek, stream", recorded(DEEPSEEK + "test_deepseek_model_thinking_stream"),
         [chunk("deepseek-reasoner"), chunk("deepseek-reasoner", {**missed(6, 212, 0), "completion_tokens_details": {
             "reasoning_tokens": 198}})], 6, 212, model="deepseek-reasoner", costs=None, sdk=CHAT_CHUNK),
    Case("DeepSeek, response",
         recorded("models/cassettes/test_deepseek_responses/test_deepseek_responses[function_tool]"),
         response("deepseek-v4-flash", responded(366, 63, cached=256, thought=18)), 366, 63, cached=256,
         model="deepseek-v4-flash", costs=None, sdk=RESPONSE),
    Case("OpenRouter says the cost itself", "https://openrouter.ai/docs/use-cases/usage-accounting, Response Format",
         chat("openai/gpt-4o", {"completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 0},
                                "cost": 0.95, "cost_details": {"upstream_inference_cost": 19}, "prompt_tokens": 194,
                                "prompt_tokens_details": {"cached_tokens": 0}, "total_tokens": 196}), 194, 2,
         model="openai/gpt-4o", costs="950000", cost_source="reported", sdk=COMPLETION),
    Case("OpenRouter, a prompt that went into Claude's cache",
         recorded(GATEWAY + "test_openrouter_cache_all_settings_real_api"),
         routed("anthropic/claude-4.6-sonnet-20260217", "Amazon Bedrock", used(2572, 63, written=2569), 0.01058775),
         2572, 63, written=2569, model="anthropic/claude-4.6-sonnet-20260217", provider="Amazon Bedrock",
         costs="3 x 3.00 + 2569 x 3.75 + 63 x 15.00", cost_source="reported", sdk=COMPLETION),
    Case("OpenRouter, a prompt that came out of Claude's cache",
         recorded(GATEWAY + "test_openrouter_cache_all_settings_real_api", 2),
         routed("anthropic/claude-4.6-sonnet-20260217", "Amazon Bedrock", used(2649, 100, cached=2569, written=79),
                0.00256995), 2649, 100, cached=2569, written=79, model="anthropic/claude-4.6-sonnet-20260217",
         provider="Amazon Bedrock", costs="1 x 3.00 + 2569 x 0.30 + 79 x 3.75 + 100 x 15.00", cost_source="reported",
         sdk=COMPLETION),
    Case("OpenRouter, a prompt out of Gemini's cache",
         recorded(GATEWAY + "test_openrouter_cache_instructions_gemini_real_api", 2),
         routed("google/gemini-2.5-flash", "Google", used(2167, 99, cached=2161), 0.00031413), 2167, 99, cached=2161,
         model="google/gemini-2.5-flash", provider="Google", costs="6 x 0.30 + 2161 x 0.03 + 99 x 2.50",
         cost_source="reported", sdk=COMPLETION),
    Case("OpenRouter, response", recorded(
         "models/cassettes/test_openai_prompt_cache/test_openrouter_responses_prompt_cache_e2e", 2),
         response("openai/gpt-5.6-sol", {**responded(4020, 5, cached=4012), "cost": 0.002196, "is_byok": False,
                                         "cost_details": {"upstream_inference_cost": 0.002196}}), 4020, 5, cached=4012,
         model="openai/gpt-5.6-sol", costs="8 x 5.00 + 4012 x 0.50 + 5 x 30.00", cost_source="reported",
         sdk=RESPONSE),
    Case("OpenRouter, stream", recorded(GATEWAY + "test_openrouter_cache_streaming_e2e"),
         [chunk("anthropic/claude-4.6-sonnet-20260217", provider="Amazon Bedrock"),
          chunk("anthropic/claude-4.6-sonnet-20260217", {**used(254, 5), "cost": 0.000837, "is_byok": False},
                provider="Amazon Bedrock")], 254, 5, model="anthropic/claude-4.6-sonnet-20260217",
         provider="Amazon Bedrock", costs="254 x 3.00 + 5 x 15.00", cost_source="reported", sdk=CHAT_CHUNK),
    Case("OpenRouter, with a key of one's own: the provider's charge is no part of its cost",
         recorded(OPENROUTER + "test_openrouter_google_nested_schema"),
         routed("google/gemini-2.5-flash", "Google AI Studio", used(326, 91), 0, own_key=True, upstream=0.0003253),
         326, 91, model="google/gemini-2.5-flash", provider="Google AI Studio", costs="326 x 0.30 + 91 x 2.50",
         cost_source="reported", sdk=COMPLETION),
    Case("OpenRouter, with a search on the web that is paid apart",
         recorded(OPENROUTER + "test_openrouter_web_search_tool_usage"),
         routed("openai/gpt-4.1-mini", "OpenAI", used(8174, 30), 0.0133176), 8174, 30, model="openai/gpt-4.1-mini",
         provider="OpenAI", costs="8174 x 0.40 + 30 x 1.60 + 10000", cost_source="reported", sdk=COMPLETION),
    Case("Gemini in OpenAI's words: its thinking is only in the total",
         recorded("models/cassettes/test_openai/test_compatible_api_with_tool_calls_without_id"),
         chat("gemini-2.5-pro-preview-05-06", {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}),
         35, 74, model="gemini-2.5-pro-preview-05-06", costs="35 x 1.25 + 74 x 10.00", sdk=COMPLETION),
    Case("xAI: reasoning is counted apart", "https://docs.x.ai/docs/guides/reasoning, Usage",
         chat("grok-3-mini", {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "num_sources_used": 0,
                              "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0,
                                                        "cached_tokens": 6},
                              "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0}}), 32, 103,
         cached=6, model="grok-3-mini", costs=None, sdk=COMPLETION),
    Case("Cerebras", recorded("models/cassettes/test_cerebras/test_cerebras_thinking_part_survives_multiturn"),
         chat("gpt-oss-120b", {**used(79, 37, reasoning_tokens=25)}), 79, 37, model="gpt-oss-120b",
         costs="79 x 0.35 + 37 x 0.75", sdk=COMPLETION),
    Case("Hugging Face: the cached tokens stand beside the others",
         recorded("models/cassettes/test_huggingface/test_hf_model_instructions"),
         chat("deepseek-ai/DeepSeek-R1", {**plainly_used(16, 216), "cached_tokens": 0}), 16, 216,
         model="deepseek-ai/DeepSeek-R1", costs=None, sdk=COMPLETION),
    Case("Voyage, embedding: only a total, and all of it is input",
         recorded("cassettes/test_embeddings/TestVoyageAI.test_query"),
         {"object": "list", "data": [{"object": "embedding", "embedding": [0.1], "index": 0}], "model": "voyage-3.5",
          "usage": {"total_tokens": 3}}, unsplit=3, model="voyage-3.5", costs="3 x 0.06"),
    Case("Perplexity says the cost in parts", "https://docs.perplexity.ai/api-reference/chat-completions-post",
         chat("sonar-pro", {"prompt_tokens": 9, "completion_tokens": 320, "total_tokens": 329,
                            "cost": {"input_tokens_cost": 0.000027, "output_tokens_cost": 0.0048,
                                     "request_cost": 0.006, "total_cost": 0.010827}}), 9, 320, model="sonar-pro",
         costs="10827", cost_source="reported", sdk=COMPLETION, documented=False),
    Case("vLLM, without the total", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
         chat("gpt-4o", {"prompt_tokens": 100, "completion_tokens": 20}), 100, 20, model="gpt-4o",
         costs="100 x 2.50 + 20 x 10.00", documented=False),
    Case("Ollama at home, chat: known to cost nothing", OLLAMA + ".md#L697, Chat request (No streaming)",
         {"model": "llama3.2", "created_at": "2023-12-12T14:13:43.416799Z", "done": True,
          "message": {"role": "assistant", "content": "Hello! How are you today?"}, "total_duration": 5191566416,
          "load_duration": 2154458, "prompt_eval_count": 26, "prompt_eval_duration": 383809000, "eval_count": 298,
          "eval_duration": 4799921000}, 26, 298, model="llama3.2", costs="26 x 0 + 298 x 0"),
    Case("Ollama at home, completion", OLLAMA + "/usage.mdx#L29, Example response",
         {"model": "gemma4", "created_at": "2025-10-17T23:14:07.414671Z", "response": "Hello! How can I help you?",
          "done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 18, "eval_duration": 52479709},
         11, 18, model="gemma4", costs=None),
    Case("Ollama at home, embedding", OLLAMA + ".md#L1732, Generate Embeddings",
         {"model": "all-minilm", "embeddings": [[0.010071029, -0.0017594862]], "total_duration": 14143917,
          "load_duration": 1019500, "prompt_eval_count": 8}, 8, model="all-minilm", costs=None),
]  # fmt: skip
