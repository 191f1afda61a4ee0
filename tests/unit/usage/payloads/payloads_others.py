"""Answers of Mistral, Cohere and Amazon Bedrock."""

from __future__ import annotations

from typing import Any

from payload_kit import Case, recorded

MISTRAL = "https://docs.mistral.ai/api/endpoint/chat"
MISTRAL_MODELS = "mistralai.client.models"
COHERE = "https://docs.cohere.com/reference/chat"
COHERE_STREAM = "https://docs.cohere.com/docs/streaming"
CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"
USAGE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"
INVOKE = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html"


def mistral(model: str, usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Claude Monet."}, "finish_reason": "stop"}
    return {
        "id": "cmpl-e5cc70bb28c444948073e77776eb30ef", "object": "chat.completion", "created": 1702256327,
        "model": model, "choices": [choice], "usage": usage, **more,
    }  # fmt: skip


def mistral_event(model: str, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    """One event of a stream, as the SDK hands it on."""
    choice = {"index": 0, "delta": {"content": "Claude"}, "finish_reason": "stop" if usage else None}
    return {"data": {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1702256327, "model": model,
                     "choices": [choice], **({"usage": usage} if usage else {})}}  # fmt: skip


def cohere(usage: dict[str, Any]) -> dict[str, Any]:
    """An answer of the v2 API."""
    said = {"role": "assistant", "content": [{"type": "text", "text": "LLMs stand for ..."}]}
    return {"id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4", "finish_reason": "COMPLETE", "message": said, "usage": usage}


def converse(usage: dict[str, Any]) -> dict[str, Any]:
    """An answer of Bedrock's Converse."""
    said = {"message": {"role": "assistant", "content": [{"text": "Here is a list ..."}]}}
    return {"output": said, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1275}}


COHERE_CHAT = "cohere.v2.types:V2ChatResponse"

CASES = [
    Case("Mistral, chat", recorded("cassettes/test_settings/test_stop_settings[mistral]"),
         mistral("ministral-8b-latest", {"prompt_tokens": 28, "completion_tokens": 6, "total_tokens": 34}), 28, 6,
         model="ministral-8b-latest", sdk_provider="mistral", costs=None,
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse"),
    Case("Mistral, chat with a word about the cache",
         recorded("models/cassettes/test_mistral/test_mistral_forwards_penalties"),
         mistral("mistral-large-latest", {"prompt_tokens": 4, "completion_tokens": 36, "total_tokens": 40,
                                          "prompt_tokens_details": {"cached_tokens": 0}}), 4, 36,
         model="mistral-large-latest", sdk_provider="mistral", costs="4 x 0.50 + 36 x 1.50",
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse"),
    Case("Mistral, chat with thinking",
         recorded("models/cassettes/test_mistral/test_mistral_model_thinking_part", 2),
         mistral("magistral-medium-latest", {"prompt_tokens": 664, "completion_tokens": 747, "total_tokens": 1411}),
         664, 747, model="magistral-medium-latest", sdk_provider="mistral", costs="664 x 2.00 + 747 x 5.00",
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse"),
    Case("Mistral, stream", recorded("models/cassettes/test_mistral/test_mistral_model_thinking_part_iter"),
         [mistral_event("magistral-medium-latest"),
          mistral_event("magistral-medium-latest", {"prompt_tokens": 10, "total_tokens": 242,
                                                    "completion_tokens": 232})], 10, 232,
         model="magistral-medium-latest", sdk_provider="mistral", costs="10 x 2.00 + 232 x 5.00",
         sdk=f"{MISTRAL_MODELS}:CompletionEvent", plain=False),
    Case("Mistral, chat with a cached prompt", MISTRAL,
         mistral("mistral-large-2512", {"prompt_tokens": 1024, "completion_tokens": 12, "total_tokens": 1036,
                                        "prompt_tokens_details": {"cached_tokens": 960}}), 1024, 12, cached=960,
         model="mistral-large-2512", sdk_provider="mistral", costs="64 x 0.50 + 960 x 0.05 + 12 x 1.50",
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse", documented=False),
    Case("Mistral, code in the middle", "https://docs.mistral.ai/api/endpoint/fim",
         mistral("codestral-2508", {"prompt_tokens": 31, "completion_tokens": 90, "total_tokens": 121}), 31, 90,
         model="codestral-2508", sdk_provider="mistral", costs="31 x 0.30 + 90 x 0.90",
         sdk=f"{MISTRAL_MODELS}:FIMCompletionResponse", documented=False),
    Case("Mistral, embedding", "https://docs.mistral.ai/api/endpoint/embeddings",
         {"id": "embd-aad6fc62b17349b192ef09225058bc45", "object": "list", "model": "mistral-embed",
          "data": [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}],
          "usage": {"prompt_tokens": 15, "completion_tokens": 0, "total_tokens": 15}}, 15, model="mistral-embed",
         sdk_provider="mistral", costs="15 x 0.10", sdk=f"{MISTRAL_MODELS}:EmbeddingResponse", documented=False),
    Case("Cohere, chat: what is billed counts", recorded("models/cassettes/test_cohere/test_cohere_model_instructions"),
         cohere({"billed_units": {"input_tokens": 13, "output_tokens": 61},
                 "tokens": {"input_tokens": 542, "output_tokens": 63}}), 13, 61, tool="ask-command-r7b",
         sdk_provider="cohere", costs="13 x 0.0375 + 61 x 0.15", sdk=COHERE_CHAT),
    Case("Cohere, chat that stopped", recorded("cassettes/test_settings/test_stop_settings[cohere]"),
         cohere({"billed_units": {"input_tokens": 25, "output_tokens": 9},
                 "tokens": {"input_tokens": 91, "output_tokens": 11}}), 25, 9, tool="ask-command-r7b",
         sdk_provider="cohere", costs="25 x 0.0375 + 9 x 0.15", sdk=COHERE_CHAT),
    Case("Cohere, chat with a cached prompt: of what is billed, no more than that can be cached",
         recorded("models/cassettes/test_cohere/test_request_usage_with_cached_tokens"),
         cohere({"billed_units": {"input_tokens": 2406, "output_tokens": 2},
                 "tokens": {"input_tokens": 2935, "output_tokens": 4}, "cached_tokens": 2928}), 2406, 2, cached=2406,
         tool="ask-command-r7b", sdk_provider="cohere", costs="2406 x 0.0375 + 2 x 0.15", sdk=COHERE_CHAT),
    Case("Cohere, embedding", recorded("cassettes/test_embeddings/TestCohere.test_documents"),
         {"id": "199299d7-f43d-45af-903c-347fff81bbe4", "embeddings": {"float": [[0.016, -0.008]]},
          "texts": ["hello", "world"], "response_type": "embeddings_by_type",
          "meta": {"api_version": {"version": "2"}, "billed_units": {"image_tokens": 0, "input_tokens": 2}}}, 2,
         tool="embed-with-cohere", sdk_provider="cohere", costs="2 x 0.12", sdk="cohere.types:EmbedByTypeResponse"),
    Case("Cohere, stream", COHERE_STREAM,
         [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "LLM"}}}},
          {"type": "message-end", "id": "29f14a5a", "delta": {
              "finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 14, "output_tokens": 85},
                                                     "tokens": {"input_tokens": 209, "output_tokens": 85}}}}],
         14, 85, tool="ask-command-a", sdk_provider="cohere", costs="14 x 2.50 + 85 x 10.00",
         sdk=("cohere.v2.types:ContentDeltaV2ChatStreamResponse", "cohere.v2.types:MessageEndV2ChatStreamResponse"),
         documented=False),
    Case("Cohere, the v1 way of it", "https://docs.cohere.com/v1/reference/chat",
         {"text": "LLMs ...", "generation_id": "67a3c2a1", "meta": {
             "api_version": {"version": "1"}, "billed_units": {"input_tokens": 25, "output_tokens": 59},
             "tokens": {"input_tokens": 91, "output_tokens": 59}}}, 25, 59, tool="ask-command-a",
         sdk_provider="cohere", costs="25 x 2.50 + 59 x 10.00", sdk="cohere.types:NonStreamedChatResponse",
         documented=False),
    Case("Cohere, reranking: paid by the call", "https://docs.cohere.com/reference/rerank",
         {"id": "07734bd2", "results": [{"index": 3, "relevance_score": 0.99}],
          "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}},
         tool="rerank-with-cohere", costs="2000", sdk="cohere.v2.types:V2RerankResponse", sdk_provider="cohere",
         documented=False),
    Case("Bedrock, Converse", CONVERSE + ", Examples: the response",
         converse({"inputTokens": 30, "outputTokens": 628, "totalTokens": 658}), 30,
         628, tool="ask-nova-lite", provider="aws", costs="30 x 0.06 + 628 x 0.24", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with Nova that stopped", recorded("cassettes/test_settings/test_stop_settings[bedrock]"),
         converse({"inputTokens": 25, "outputTokens": 4, "totalTokens": 29}), 25, 4, tool="ask-nova-micro",
         provider="aws", costs="25 x 0.035 + 4 x 0.14", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with a cached prompt: counted apart, as Anthropic does",
         recorded("models/cassettes/test_bedrock/test_bedrock_cache_messages_with_document_as_last_content", 2),
         converse({"inputTokens": 3, "outputTokens": 121, "totalTokens": 2072, "cacheReadInputTokens": 1712,
                   "cacheWriteInputTokens": 236, "cacheDetails": [{"ttl": "5m", "inputTokens": 236}]}), 1951, 121,
         cached=1712, written=236, tool="ask-claude-on-bedrock", provider="aws",
         costs="3 x 3.00 + 1712 x 0.30 + 236 x 3.75 + 121 x 15.00", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with each count under two names",
         recorded("models/cassettes/test_bedrock/test_bedrock_cache_usage_includes_cache_tokens"),
         converse({"inputTokens": 13, "outputTokens": 5, "totalTokens": 1522, "cacheReadInputTokens": 1504,
                   "cacheReadInputTokenCount": 1504, "cacheWriteInputTokens": 0, "cacheWriteInputTokenCount": 0,
                   "serverToolUsage": {}}), 1517, 5, cached=1504, tool="ask-claude-on-bedrock", provider="aws",
         costs="13 x 3.00 + 1504 x 0.30 + 5 x 15.00"),
    Case("Bedrock, Converse with Nova, whose prompt went into the cache",
         recorded("models/bedrock/cassettes/test_cache/test_bedrock_single_tool_choice_preserves_cache[nova]"),
         converse({"inputTokens": 22, "outputTokens": 13, "totalTokens": 2527, "cacheReadInputTokens": 0,
                   "cacheWriteInputTokens": 2492}), 2514, 13, written=2492, tool="ask-nova-lite", provider="aws",
         costs="2514 x 0.06 + 13 x 0.24", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with a cache kept for an hour", USAGE,
         converse({"inputTokens": 12, "outputTokens": 100, "totalTokens": 1112, "cacheWriteInputTokens": 1000,
                   "cacheDetails": [{"ttl": "1h", "inputTokens": 600}, {"ttl": "5m", "inputTokens": 400}]}),
         1012, 100, written=1000, written_1h=600, tool="ask-claude-on-bedrock", provider="aws",
         costs="12 x 3.00 + 400 x 3.75 + 600 x 6.00 + 100 x 15.00", sdk="bedrock", made_by="converse",
         documented=False),
    Case("Bedrock, Converse as a stream: the metadata comes last",
         "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html",
         [{"messageStart": {"role": "assistant"}},
          {"contentBlockDelta": {"delta": {"text": "Here"}, "contentBlockIndex": 0}},
          {"messageStop": {"stopReason": "end_turn"}},
          {"metadata": {"usage": {"inputTokens": 47, "outputTokens": 20, "totalTokens": 67},
                        "metrics": {"latencyMs": 100}}}], 47, 20, tool="ask-nova-lite", provider="aws",
         costs="47 x 0.06 + 20 x 0.24", documented=False),
    Case("Bedrock, Llama's own body",
         "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html",
         {"generation": "Hi", "prompt_token_count": 25, "generation_token_count": 512, "stop_reason": "length"},
         25, 512, tool="ask-llama-on-bedrock", costs="25 x 0.72 + 512 x 0.72", documented=False),
    Case("Bedrock, Nova's own body", "https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html",
         {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn",
          "usage": {"inputTokens": 26, "outputTokens": 11, "cacheReadInputTokenCount": 0,
                    "cacheWriteInputTokenCount": 0}}, 26, 11, tool="ask-nova-lite", provider="aws",
         costs="26 x 0.06 + 11 x 0.24", documented=False),
]  # fmt: skip
