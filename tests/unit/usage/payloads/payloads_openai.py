"""What do OpenAI's answers say, and those of the many that answer in OpenAI's words?"""

from __future__ import annotations

from typing import Any

from payload_kit import Case

CHAT = "https://platform.openai.com/docs/api-reference/chat/create"
CHUNK = "https://platform.openai.com/docs/api-reference/chat-streaming/streaming"
CACHING = "https://platform.openai.com/docs/guides/prompt-caching"
REASONING = "https://platform.openai.com/docs/guides/reasoning"
EMBEDDINGS = "https://platform.openai.com/docs/api-reference/embeddings/create"
COMPLETIONS = "https://platform.openai.com/docs/api-reference/completions/create"
RESPONSES = "https://platform.openai.com/docs/api-reference/responses/create"
EVENTS = "https://platform.openai.com/docs/api-reference/responses-streaming"

COMPLETION = "openai.types.chat:ChatCompletion"


def chat(model: str, usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    said = {"role": "assistant", "content": "Hello! How can I assist you today?", "refusal": None}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
        "model": model, "choices": [choice], "usage": usage, "service_tier": "default", **more,
    }  # fmt: skip


def chunk(model: str, usage: dict[str, Any] | None = None, id: str = "chatcmpl-123") -> dict[str, Any]:  # noqa: A002
    """One chunk of a stream; the one with the usage has no choices."""
    choices = [] if usage else [{"index": 0, "delta": {"content": "Hello"}, "logprobs": None, "finish_reason": None}]
    return {
        "id": id, "object": "chat.completion.chunk", "created": 1694268190, "model": model, "choices": choices,
        "usage": usage,
    }  # fmt: skip


def response(model: str, usage: dict[str, Any] | None, status: str = "completed") -> dict[str, Any]:
    """A response of the Responses API."""
    text = {"type": "output_text", "text": "In a peaceful grove ...", "annotations": []}
    message = {"type": "message", "id": "msg_67ccd2bf17f0", "status": status, "role": "assistant", "content": [text]}
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc054267", "object": "response", "created_at": 1741476542,
        "status": status, "error": None, "incomplete_details": None, "instructions": None, "model": model,
        "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0,
        "top_p": 1.0, "metadata": {}, "usage": usage,
    }  # fmt: skip


def responded(given: int, made: int, *, cached: int = 0, thought: int = 0) -> dict[str, Any]:
    """The usage of the Responses API."""
    return {
        "input_tokens": given, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": given + made,
    }  # fmt: skip


def used(given: int, made: int, *, cached: int = 0, **made_details: int) -> dict[str, Any]:
    """The usage of a chat completion."""
    return {
        "prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, **made_details},
    }  # fmt: skip


OPENAI = {"provider": None, "sdk_provider": "openai"}

CASES = [
    Case("chat", CHAT, chat("gpt-4.1-2025-04-14", used(19, 10)), 19, 10, model="gpt-4.1-2025-04-14",
         costs="19 x 2.00 + 10 x 8.00", sdk=COMPLETION, **OPENAI),
    Case("chat about an image", CHAT, chat("gpt-4.1", used(1117, 46)), 1117, 46, model="gpt-4.1",
         costs="1117 x 2.00 + 46 x 8.00", sdk=COMPLETION, **OPENAI),
    Case("chat with tools", CHAT, chat("gpt-4o-mini", used(82, 17)), 82, 17, model="gpt-4o-mini",
         costs="82 x 0.15 + 17 x 0.60", sdk=COMPLETION, **OPENAI),
    Case("chat with log probabilities", CHAT, chat("gpt-4.1-mini", used(9, 9)), 9, 9, model="gpt-4.1-mini",
         costs="9 x 0.40 + 9 x 1.60", sdk=COMPLETION, **OPENAI),
    Case("chat with a cached prompt: cached tokens are a part of the prompt's", CACHING,
         chat("gpt-4o", used(2006, 300, cached=1920)), 2006, 300, cached=1920, model="gpt-4o",
         costs="86 x 2.50 + 1920 x 1.25 + 300 x 10.00", sdk=COMPLETION, **OPENAI),
    Case("chat with reasoning: it is a part of the completion", REASONING,
         chat("o4-mini", used(75, 1186, reasoning_tokens=1024)), 75, 1186, model="o4-mini",
         costs="75 x 1.10 + 1186 x 4.40", sdk=COMPLETION, **OPENAI),
    Case("chat with predicted output: rejected tokens are paid, and in the completion already",
         "https://platform.openai.com/docs/guides/predicted-outputs",
         chat("gpt-4.1", used(273, 110, accepted_prediction_tokens=60, rejected_prediction_tokens=30)), 273, 110,
         model="gpt-4.1", costs="273 x 2.00 + 110 x 8.00", sdk=COMPLETION, **OPENAI),
    Case("chat without usage: what it costs is unknown, not $0.00", CHAT, chat("gpt-4o", None), model="gpt-4o",
         costs=None, sdk=COMPLETION, **OPENAI),
    Case("stream that was not asked for its usage", CHUNK, [chunk("gpt-4o"), chunk("gpt-4o")], model="gpt-4o",
         costs=None, sdk="openai.types.chat:ChatCompletionChunk", **OPENAI),
    Case("chat with a fine-tuned model that no table knows", CHAT,
         chat("ft:gpt-4o-mini-2024-07-18:acme::abc123", used(19, 10)), 19, 10,
         model="ft:gpt-4o-mini-2024-07-18:acme::abc123", costs=None, sdk=COMPLETION, **OPENAI),
    Case("embedding, small", EMBEDDINGS,
         {"object": "list", "data": [{"object": "embedding", "embedding": [0.0023], "index": 0}],
          "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}, 8,
         model="text-embedding-3-small", costs="8 x 0.02", sdk="openai.types:CreateEmbeddingResponse", **OPENAI),
    Case("embedding, large", EMBEDDINGS,
         {"object": "list", "data": [{"object": "embedding", "embedding": [0.1], "index": 0}],
          "model": "text-embedding-3-large", "usage": {"prompt_tokens": 5, "total_tokens": 5}}, 5,
         model="text-embedding-3-large", costs="5 x 0.13", sdk="openai.types:CreateEmbeddingResponse", **OPENAI),
    Case("completion, the old way", COMPLETIONS,
         {"id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7", "object": "text_completion", "created": 1589478378,
          "model": "gpt-3.5-turbo-instruct",
          "choices": [{"text": "This is a test", "index": 0, "logprobs": None, "finish_reason": "length"}],
          "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}, 5, 7,
         model="gpt-3.5-turbo-instruct", costs="5 x 1.50 + 7 x 2.00", sdk="openai.types:Completion", **OPENAI),
    Case("stream with its usage in the last chunk", CHUNK,
         [chunk("gpt-4o-mini"), chunk("gpt-4o-mini"), chunk("gpt-4o-mini", used(19, 10, cached=0))], 19, 10,
         model="gpt-4o-mini", costs="19 x 0.15 + 10 x 0.60", sdk="openai.types.chat:ChatCompletionChunk", **OPENAI),
    Case("stream whose every chunk says the usage so far", CHUNK,
         [chunk("gpt-4o", used(19, 1)), chunk("gpt-4o", used(19, 5)), chunk("gpt-4o", used(19, 10))], 19, 10,
         model="gpt-4o", costs="19 x 2.50 + 10 x 10.00", sdk="openai.types.chat:ChatCompletionChunk", **OPENAI),
    Case("two answers in one stream", CHUNK,
         [chunk("gpt-4o", id="a"), chunk("gpt-4o", used(19, 10), id="a"), chunk("gpt-4o", used(30, 20), id="b")],
         49, 30, model="gpt-4o", costs="49 x 2.50 + 30 x 10.00", sdk="openai.types.chat:ChatCompletionChunk", **OPENAI),
    Case("response", RESPONSES, response("gpt-4.1-2025-04-14", responded(36, 87)), 36, 87, model="gpt-4.1-2025-04-14",
         costs="36 x 2.00 + 87 x 8.00", sdk="openai.types.responses:Response", **OPENAI),
    Case("response about an image", RESPONSES, response("gpt-4.1", responded(328, 52)), 328, 52, model="gpt-4.1",
         costs="328 x 2.00 + 52 x 8.00", sdk="openai.types.responses:Response", **OPENAI),
    Case("response that searched files", RESPONSES, response("gpt-4.1", responded(18307, 348)), 18307, 348,
         model="gpt-4.1", costs="18307 x 2.00 + 348 x 8.00", sdk="openai.types.responses:Response", **OPENAI),
    Case("response that called a function", RESPONSES, response("gpt-4.1", responded(291, 23)), 291, 23,
         model="gpt-4.1", costs="291 x 2.00 + 23 x 8.00", sdk="openai.types.responses:Response", **OPENAI),
    Case("response with reasoning: it is a part of the output", RESPONSES,
         response("o3", responded(81, 1035, thought=832)), 81, 1035, model="o3", costs="81 x 2.00 + 1035 x 8.00",
         sdk="openai.types.responses:Response", **OPENAI),
    Case("response with a cached prompt", CACHING, response("gpt-5", responded(2006, 300, cached=1920, thought=64)),
         2006, 300, cached=1920, model="gpt-5", costs="86 x 1.25 + 1920 x 0.125 + 300 x 10.00",
         sdk="openai.types.responses:Response", **OPENAI),
    Case("response as a stream of events", EVENTS,
         [{"type": "response.created", "sequence_number": 0, "response": response("gpt-4.1", None, "in_progress")},
          {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
           "content_index": 0, "delta": "Hi", "logprobs": []},
          {"type": "response.completed", "sequence_number": 2, "response": response("gpt-4.1", responded(37, 11))}],
         37, 11, model="gpt-4.1", costs="37 x 2.00 + 11 x 8.00",
         sdk=("openai.types.responses:ResponseCreatedEvent", "openai.types.responses:ResponseTextDeltaEvent",
              "openai.types.responses:ResponseCompletedEvent"), **OPENAI),
    Case("Azure OpenAI", "https://learn.microsoft.com/azure/ai-services/openai/reference",
         chat("gpt-4o-2024-08-06", used(33, 557), prompt_filter_results=[{"prompt_index": 0}]), 33, 557,
         model="gpt-4o-2024-08-06", costs="33 x 2.50 + 557 x 10.00", sdk=COMPLETION, **OPENAI),
    Case("Groq, through OpenAI's SDK", "https://console.groq.com/docs/api-reference#chat-create",
         chat("llama-3.3-70b-versatile",
              {"queue_time": 0.037493756, "prompt_tokens": 18, "prompt_time": 0.000680594, "completion_tokens": 556,
               "completion_time": 0.463333333, "total_tokens": 574, "total_time": 0.464013927}), 18, 556,
         model="llama-3.3-70b-versatile", costs="18 x 0.59 + 556 x 0.79", sdk=COMPLETION),
    Case("DeepSeek: hits of the cache have a name of their own",
         "https://api-docs.deepseek.com/api/create-chat-completion",
         chat("deepseek-chat", {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050,
                                "prompt_cache_hit_tokens": 640, "prompt_cache_miss_tokens": 360}), 1000, 50,
         cached=640, model="deepseek-chat", costs=None, sdk=COMPLETION),
    Case("OpenRouter says the cost itself", "https://openrouter.ai/docs/use-cases/usage-accounting",
         chat("openai/gpt-4o", {**used(194, 2), "cost": 0.95, "is_byok": False}), 194, 2, model="openai/gpt-4o",
         costs="950000", source="reported", sdk=COMPLETION),
    Case("Perplexity says the cost in parts", "https://docs.perplexity.ai/api-reference/chat-completions-post",
         chat("sonar-pro", {"prompt_tokens": 9, "completion_tokens": 320, "total_tokens": 329,
                            "cost": {"input_tokens_cost": 0.000027, "output_tokens_cost": 0.0048,
                                     "request_cost": 0.006, "total_cost": 0.010827}}), 9, 320, model="sonar-pro",
         costs="10827", source="reported", sdk=COMPLETION),
    Case("vLLM, without the total", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
         chat("gpt-4o", {"prompt_tokens": 100, "completion_tokens": 20}), 100, 20, model="gpt-4o",
         costs="100 x 2.50 + 20 x 10.00"),
    Case("Ollama at home: known to cost nothing", "https://github.com/ollama/ollama/blob/main/docs/api.md",
         {"model": "llama3.2", "created_at": "2023-08-04T19:22:45.499127Z", "done": True,
          "message": {"role": "assistant", "content": "Hello!"}, "total_duration": 4883583458,
          "prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4799921000}, 26, 298, model="llama3.2",
         costs="26 x 0 + 298 x 0"),
]  # fmt: skip
