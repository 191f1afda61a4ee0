"""Answers of OpenAI."""

from __future__ import annotations

from typing import Any

from payload_kit import OPENAI_SDK, OPENAPI, Case, recorded

CACHING = "https://platform.openai.com/docs/guides/prompt-caching, Requirements: the usage object"
REASONING = "https://platform.openai.com/docs/guides/reasoning, Managing the context window: the usage object"
CHUNK = "https://platform.openai.com/docs/api-reference/chat-streaming/streaming"
PARSED = OPENAI_SDK + "lib/chat/test_completions.py"

COMPLETION = "openai.types.chat:ChatCompletion"
CHAT_CHUNK = "openai.types.chat:ChatCompletionChunk"
RESPONSE = "openai.types.responses:Response"


def chat(model: str, usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    said = {"role": "assistant", "content": "Hello! How can I assist you today?", "refusal": None}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
        "model": model, "choices": [choice], "usage": usage, "service_tier": "default", **more,
    }  # fmt: skip


def chunk(model: str, usage: dict[str, Any] | None = None, id: str = "chatcmpl-123", **more: Any) -> dict[str, Any]:  # noqa: A002
    """One chunk of a stream; the one with the usage has no choices."""
    choices = [] if usage else [{"index": 0, "delta": {"content": "Hello"}, "logprobs": None, "finish_reason": None}]
    return {
        "id": id, "object": "chat.completion.chunk", "created": 1694268190, "model": model, "choices": choices,
        "usage": usage, **more,
    }  # fmt: skip


def response(model: str, usage: dict[str, Any] | None, status: str = "completed", **more: Any) -> dict[str, Any]:
    """A response of the Responses API."""
    text = {"type": "output_text", "text": "In a peaceful grove ...", "annotations": []}
    message = {"type": "message", "id": "msg_67ccd2bf17f0", "status": status, "role": "assistant", "content": [text]}
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc054267", "object": "response", "created_at": 1741476542,
        "status": status, "error": None, "incomplete_details": None, "instructions": None, "model": model,
        "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0,
        "top_p": 1.0, "metadata": {}, "usage": usage, **more,
    }  # fmt: skip


def responded(given: int, made: int, *, cached: int = 0, written: int = 0, thought: int = 0) -> dict[str, Any]:
    """The usage of the Responses API."""
    return {
        "input_tokens": given, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": given + made,
    }  # fmt: skip


def used(given: int, made: int, *, cached: int = 0, written: int = 0, **made_details: int) -> dict[str, Any]:
    """The usage of a chat completion."""
    return {
        "prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, **made_details},
    }  # fmt: skip


def plainly_used(given: int, made: int) -> dict[str, Any]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


OPENAI = {"provider": None, "sdk_provider": "openai"}

TIERS = "https://platform.openai.com/docs/guides/flex-processing"

CASES = [
    Case("chat", OPENAPI + "#L2260, createChatCompletion, Default", chat("gpt-5.4", used(19, 10)), 19, 10,
         model="gpt-5.4", costs="19 x 2.50 + 10 x 15.00", sdk=COMPLETION, **OPENAI),
    Case("chat about an image", OPENAPI + "#L2410, createChatCompletion, Image input", chat("gpt-5.4", used(1117, 46)),
         1117, 46, model="gpt-5.4", costs="1117 x 2.50 + 46 x 15.00", sdk=COMPLETION, **OPENAI),
    Case("chat with tools", OPENAPI + "#L2744, createChatCompletion, Functions",
         chat("gpt-4o-mini", {**plainly_used(82, 17), "completion_tokens_details": {"reasoning_tokens": 0}}), 82, 17,
         model="gpt-4o-mini", costs="82 x 0.15 + 17 x 0.60", sdk=COMPLETION, **OPENAI),
    Case("chat with log probabilities", OPENAPI + "#L3017, createChatCompletion, Logprobs",
         chat("gpt-4o-mini", {**plainly_used(9, 9), "completion_tokens_details": {"reasoning_tokens": 0}}), 9, 9,
         model="gpt-4o-mini", costs="9 x 0.15 + 9 x 0.60", sdk=COMPLETION, **OPENAI),
    Case("chat that was stored", OPENAPI + "#L2085, listChatCompletions", chat("gpt-5.4", plainly_used(13, 18)), 13, 18,
         model="gpt-5.4", costs="13 x 2.50 + 18 x 15.00", sdk=COMPLETION, **OPENAI),
    Case("chat with a model of a date", PARSED + "#L44, test_parse_nothing",
         chat("gpt-4o-2024-08-06", {**plainly_used(14, 37), "completion_tokens_details": {"reasoning_tokens": 0}}),
         14, 37, model="gpt-4o-2024-08-06", costs="14 x 2.50 + 37 x 10.00", sdk=COMPLETION, **OPENAI),
    Case("chat with three answers: their tokens are in the usage together", PARSED + "#L319, multiple choices",
         chat("gpt-4o-2024-08-06", {**plainly_used(79, 44), "completion_tokens_details": {"reasoning_tokens": 0}}),
         79, 44, model="gpt-4o-2024-08-06", costs="79 x 2.50 + 44 x 10.00", sdk=COMPLETION, **OPENAI),
    Case("chat with a cached prompt: cached tokens are a part of the prompt's", CACHING,
         chat("gpt-4o", used(2006, 300, cached=1920)), 2006, 300, cached=1920, model="gpt-4o",
         costs="86 x 2.50 + 1920 x 1.25 + 300 x 10.00", sdk=COMPLETION, **OPENAI),
    Case("chat whose prompt went into the cache: it is a part of the prompt, too",
         recorded("models/cassettes/test_openai_prompt_cache/test_openai_chat_prompt_cache_e2e"),
         chat("gpt-5.6-sol", used(4020, 4, written=4012)), 4020, 4, written=4012, model="gpt-5.6-sol",
         costs="8 x 5.00 + 4012 x 6.25 + 4 x 30.00", sdk=COMPLETION, **OPENAI),
    Case("chat whose prompt came out of the cache again",
         recorded("models/cassettes/test_openai_prompt_cache/test_openai_chat_prompt_cache_e2e", 2),
         chat("gpt-5.6-sol", used(4020, 4, cached=4012)), 4020, 4, cached=4012, model="gpt-5.6-sol",
         costs="8 x 5.00 + 4012 x 0.50 + 4 x 30.00", sdk=COMPLETION, **OPENAI),
    Case("chat with reasoning: it is a part of the completion",
         recorded("models/cassettes/test_openai/test_max_completion_tokens[o3-mini]"),
         chat("o3-mini-2025-01-31", used(7, 87, reasoning_tokens=64)), 7, 87, model="o3-mini-2025-01-31",
         costs="7 x 1.10 + 87 x 4.40", sdk=COMPLETION, **OPENAI),
    Case("chat with predicted output: rejected tokens are paid, and in the completion already",
         "https://platform.openai.com/docs/guides/predicted-outputs",
         chat("gpt-4.1", used(273, 110, accepted_prediction_tokens=60, rejected_prediction_tokens=30)), 273, 110,
         model="gpt-4.1", costs="273 x 2.00 + 110 x 8.00", sdk=COMPLETION, documented=False, **OPENAI),
    Case("chat without usage: what it costs is unknown, not $0.00", OPENAPI, chat("gpt-4o", None), model="gpt-4o",
         costs=None, sdk=COMPLETION, documented=False, **OPENAI),
    Case("stream that was not asked for its usage", CHUNK, [chunk("gpt-4o"), chunk("gpt-4o")], model="gpt-4o",
         costs=None, sdk=CHAT_CHUNK, documented=False, **OPENAI),
    Case("chat with a fine-tuned model that no table knows", OPENAPI,
         chat("ft:gpt-4o-mini-2024-07-18:acme::abc123", used(19, 10)), 19, 10,
         model="ft:gpt-4o-mini-2024-07-18:acme::abc123", costs=None, sdk=COMPLETION, documented=False, **OPENAI),
    Case("embedding", OPENAPI + "#L4564, createEmbedding",
         {"object": "list", "data": [{"object": "embedding", "embedding": [0.0023064255], "index": 0}],
          "model": "text-embedding-ada-002", "usage": {"prompt_tokens": 8, "total_tokens": 8}}, 8,
         model="text-embedding-ada-002", costs="8 x 0.10", sdk="openai.types:CreateEmbeddingResponse", **OPENAI),
    Case("embedding of two texts", recorded("cassettes/test_embeddings/TestOpenAI.test_documents"),
         {"object": "list", "data": [{"object": "embedding", "embedding": [0.1], "index": 0}],
          "model": "text-embedding-3-small", "usage": {"prompt_tokens": 2, "total_tokens": 2}}, 2,
         model="text-embedding-3-small", costs="2 x 0.02", sdk="openai.types:CreateEmbeddingResponse", **OPENAI),
    Case("completion, the old way", OPENAPI + "#L34172, the completion object",
         {"id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7", "object": "text_completion", "created": 1589478378,
          "model": "gpt-4-turbo",
          "choices": [{"text": "\n\nThis is indeed a test", "index": 0, "logprobs": None, "finish_reason": "length"}],
          "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}, 5, 7,
         model="gpt-4-turbo", costs="5 x 10.00 + 7 x 30.00", sdk="openai.types:Completion", **OPENAI),
    Case("stream with its usage in the last chunk", recorded("cassettes/test_prefect/test_complex_agent_run_in_flow"),
         [chunk("gpt-4o-2024-08-06"), chunk("gpt-4o-2024-08-06"), chunk("gpt-4o-2024-08-06", used(398, 10))], 398, 10,
         model="gpt-4o-2024-08-06", costs="398 x 2.50 + 10 x 10.00", sdk=CHAT_CHUNK, **OPENAI),
    Case("stream whose every chunk says the usage so far", CHUNK,
         [chunk("gpt-4o", used(19, 1)), chunk("gpt-4o", used(19, 5)), chunk("gpt-4o", used(19, 10))], 19, 10,
         model="gpt-4o", costs="19 x 2.50 + 10 x 10.00", sdk=CHAT_CHUNK, documented=False, **OPENAI),
    Case("two answers in one stream", CHUNK,
         [chunk("gpt-4o", id="a"), chunk("gpt-4o", used(19, 10), id="a"), chunk("gpt-4o", used(30, 20), id="b")],
         49, 30, model="gpt-4o", costs="49 x 2.50 + 30 x 10.00", sdk=CHAT_CHUNK, documented=False, **OPENAI),
    Case("response", OPENAPI + "#L17430, createResponse, Text input", response("gpt-5.4", responded(36, 87)), 36, 87,
         model="gpt-5.4", costs="36 x 2.50 + 87 x 15.00", sdk=RESPONSE, **OPENAI),
    Case("response about an image", OPENAPI + "#L17592, createResponse, Image input",
         response("gpt-5.4", responded(328, 52)), 328, 52, model="gpt-5.4", costs="328 x 2.50 + 52 x 15.00",
         sdk=RESPONSE, **OPENAI),
    Case("response about a file", OPENAPI + "#L17730, createResponse, File input",
         response("gpt-5.4", responded(8438, 398)), 8438, 398, model="gpt-5.4", costs="8438 x 2.50 + 398 x 15.00",
         sdk=RESPONSE, **OPENAI),
    Case("response that searched the web", OPENAPI + "#L17896, createResponse, Web search",
         response("gpt-5.4", responded(328, 356)), 328, 356, model="gpt-5.4", costs="328 x 2.50 + 356 x 15.00",
         sdk=RESPONSE, **OPENAI),
    Case("response that searched files", OPENAPI + "#L18111, createResponse, File search",
         response("gpt-5.4", responded(18307, 348)), 18307, 348, model="gpt-5.4",
         costs="18307 x 2.50 + 348 x 15.00", sdk=RESPONSE, **OPENAI),
    Case("response that called a function: no word about the cache", OPENAPI + "#L18456, createResponse, Functions",
         response("gpt-5.4", {"input_tokens": 291, "output_tokens": 23, "total_tokens": 314,
                              "output_tokens_details": {"reasoning_tokens": 0}}), 291, 23, model="gpt-5.4",
         costs="291 x 2.50 + 23 x 15.00", sdk=RESPONSE, made_by="construct", **OPENAI),
    Case("response with reasoning: it is a part of the output", OPENAPI + "#L18580, createResponse, Reasoning",
         response("o1-2024-12-17", responded(81, 1035, thought=832)), 81, 1035, model="o1-2024-12-17",
         costs="81 x 15.00 + 1035 x 60.00", sdk=RESPONSE, **OPENAI),
    Case("response with much reasoning", REASONING, response("gpt-5", responded(75, 1186, thought=1024)), 75, 1186,
         model="gpt-5", costs="75 x 1.25 + 1186 x 10.00", sdk=RESPONSE, **OPENAI),
    Case("response that was compacted: it names no model", OPENAPI + "#L24961, compactResponse",
         {"id": "resp_001", "object": "response.compaction", "created_at": 1764967971, "output": [],
          "usage": responded(139, 438, thought=64)}, 139, 438, tool="compact-with-gpt-5.4", sdk_provider=None,
         costs="139 x 2.50 + 438 x 15.00", sdk="openai.types.responses:CompactedResponse"),
    Case("response with a cached prompt",
         recorded("models/cassettes/test_openai_responses/test_openai_responses_code_execution_return_image"),
         response("gpt-5-2025-08-07", responded(2973, 707, cached=1920, thought=512)), 2973, 707, cached=1920,
         model="gpt-5-2025-08-07", costs="1053 x 1.25 + 1920 x 0.125 + 707 x 10.00", sdk=RESPONSE, **OPENAI),
    Case("response as a stream of events", OPENAPI + "#L18235, createResponse, Streaming",
         [{"type": "response.created", "sequence_number": 0, "response": response("gpt-5.4", None, "in_progress")},
          {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
           "content_index": 0, "delta": "Hi", "logprobs": []},
          {"type": "response.completed", "sequence_number": 2, "response": response("gpt-5.4", responded(37, 11))}],
         37, 11, model="gpt-5.4", costs="37 x 2.50 + 11 x 15.00",
         sdk=("openai.types.responses:ResponseCreatedEvent", "openai.types.responses:ResponseTextDeltaEvent",
              "openai.types.responses:ResponseCompletedEvent"), **OPENAI),
    Case("response as a stream, with a cached prompt", recorded("cassettes/test_vercel_ai/test_run"),
         [{"type": "response.created", "sequence_number": 0,
           "response": response("gpt-5-2025-08-07", None, "in_progress")},
          {"type": "response.completed", "sequence_number": 263,
           "response": response("gpt-5-2025-08-07", responded(33151, 3367, cached=4352, thought=2624))}],
         33151, 3367, cached=4352, model="gpt-5-2025-08-07", costs="28799 x 1.25 + 4352 x 0.125 + 3367 x 10.00",
         sdk=("openai.types.responses:ResponseCreatedEvent", "openai.types.responses:ResponseCompletedEvent"),
         **OPENAI),
    Case("run of an assistant as a stream: its steps are in it already",
         OPENAPI + "#L19337, createThreadAndRun, Streaming",
         [{"id": "step_001", "object": "thread.run.step", "run_id": "run_123", "thread_id": "thread_123",
           "status": "completed", "usage": plainly_used(20, 11)},
          {"id": "run_123", "object": "thread.run", "thread_id": "thread_123", "status": "completed",
           "model": "gpt-4o", "usage": plainly_used(345, 11)}], 345, 11, model="gpt-4o",
         costs="345 x 2.50 + 11 x 10.00"),
    Case("transcription of speech: the model is not named", OPENAPI + "#L822, createTranscription",
         {"text": "Imagine the wildest idea ...", "usage": {
             "type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
             "output_tokens": 45, "total_tokens": 59}}, 14, 45, heard=14, tool="transcribe-with-gpt-4o",
         sdk_provider=None, costs="14 x 6.00 + 45 x 10.00", sdk="openai.types.audio:Transcription"),
    Case("image: the model is not named", OPENAPI + "#L8586, createImage",
         {"created": 1713833628, "data": [{"b64_json": "..."}], "usage": {
             "total_tokens": 100, "input_tokens": 50, "output_tokens": 50,
             "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}}, 50, 50, costs=None, sdk_provider=None,
         sdk="openai.types:ImagesResponse"),
    Case("answer of the Realtime API", OPENAPI + "#L53518, response.done",
         {"type": "response.done", "event_id": "event_CCXHxcMy86rrKhBLDdqCh", "response": {
             "id": "resp_CCXHw0UJld10EzIUXQCNh", "object": "realtime.response", "status": "completed",
             "usage": {"total_tokens": 253, "input_tokens": 132, "output_tokens": 121,
                       "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "image_tokens": 0,
                                               "cached_tokens": 64},
                       "output_token_details": {"text_tokens": 30, "audio_tokens": 91}}}},
         132, 121, cached=64, heard=13, spoken=91, tool="talk-to-gpt-realtime", sdk_provider=None,
         costs="55 x 4.00 + 64 x 0.40 + 13 x 32.00 + 30 x 16.00 + 91 x 64.00",
         sdk="openai.types.realtime:ResponseDoneEvent"),
    Case("answer of the Realtime API, most of it cached audio", OPENAPI + "#L49044, response.done, beta",
         {"type": "response.done", "event_id": "event_3132", "response": {
             "id": "resp_001", "object": "realtime.response", "status": "completed",
             "usage": {"total_tokens": 275, "input_tokens": 127, "output_tokens": 148,
                       "input_token_details": {"cached_tokens": 384, "text_tokens": 119, "audio_tokens": 8,
                                               "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 256}},
                       "output_token_details": {"text_tokens": 36, "audio_tokens": 112}}}},
         127, 148, cached=127, heard=8, heard_cached=8, spoken=112, tool="talk-to-gpt-realtime", sdk_provider=None,
         costs="119 x 0.40 + 8 x 0.40 + 36 x 16.00 + 112 x 64.00", sdk="openai.types.realtime:ResponseDoneEvent"),
    Case("chat about a recording: audio has a price of its own",
         recorded("models/cassettes/test_openai/test_audio_as_binary_content_input"),
         chat("gpt-4o-audio-preview-2024-12-17", {
             **plainly_used(64, 9),
             "prompt_tokens_details": {"audio_tokens": 44, "cached_tokens": 0, "image_tokens": 0, "text_tokens": 20},
             "completion_tokens_details": {"audio_tokens": 0, "reasoning_tokens": 0, "text_tokens": 9}}), 64, 9,
         heard=44, model="gpt-4o-audio-preview-2024-12-17", costs="20 x 2.50 + 44 x 40.00 + 9 x 10.00",
         sdk=COMPLETION, **OPENAI),
    Case("Azure OpenAI", "https://learn.microsoft.com/azure/ai-services/openai/reference",
         chat("gpt-4o-2024-08-06", used(33, 557), prompt_filter_results=[{"prompt_index": 0}]), 33, 557,
         model="gpt-4o-2024-08-06", costs="33 x 2.50 + 557 x 10.00", sdk=COMPLETION, documented=False, **OPENAI),
    *(Case(f"response of the tier {tier}", TIERS, response("gpt-5-nano", responded(1000, 100), service_tier=tier),
           1000, 100, model="gpt-5-nano", costs=costs, sdk=RESPONSE, sdk_provider="openai", documented=False)
      for tier, costs in [
          ("default", "1000 x 0.05 + 100 x 0.40"), ("auto", "1000 x 0.05 + 100 x 0.40"),
          ("flex", "1000 x 0.025 + 100 x 0.20"), ("priority", None), ("scale", None),
      ]),
    Case("answer of the tier flex, stream", TIERS,
         [chunk("gpt-5-nano", service_tier="flex"), chunk("gpt-5-nano", plainly_used(1000, 100), service_tier="flex")],
         1000, 100, model="gpt-5-nano", costs="1000 x 0.025 + 100 x 0.20", sdk=CHAT_CHUNK, sdk_provider="openai",
         documented=False),
]  # fmt: skip
