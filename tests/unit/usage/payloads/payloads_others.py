"""What do the answers of Mistral, Cohere and Amazon Bedrock say?"""

from __future__ import annotations

from typing import Any

from payload_kit import Case

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
NO_PLAIN_MODEL = {"provider": None}

CASES = [
    Case("Mistral, chat", MISTRAL,
         mistral("mistral-small-2603", {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50}), 16, 34,
         model="mistral-small-2603", sdk_provider="mistral", costs="16 x 0.15 + 34 x 0.60",
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse"),
    Case("Mistral, chat with a cached prompt", MISTRAL,
         mistral("mistral-large-2512", {"prompt_tokens": 1024, "completion_tokens": 12, "total_tokens": 1036,
                                        "prompt_tokens_details": {"cached_tokens": 960}}), 1024, 12, cached=960,
         model="mistral-large-2512", sdk_provider="mistral", costs="64 x 0.50 + 960 x 0.05 + 12 x 1.50",
         sdk=f"{MISTRAL_MODELS}:ChatCompletionResponse"),
    Case("Mistral, code in the middle", "https://docs.mistral.ai/api/endpoint/fim",
         mistral("codestral-2508", {"prompt_tokens": 31, "completion_tokens": 90, "total_tokens": 121}), 31, 90,
         model="codestral-2508", sdk_provider="mistral", costs="31 x 0.30 + 90 x 0.90",
         sdk=f"{MISTRAL_MODELS}:FIMCompletionResponse"),
    Case("Mistral, embedding", "https://docs.mistral.ai/api/endpoint/embeddings",
         {"id": "embd-aad6fc62b17349b192ef09225058bc45", "object": "list", "model": "mistral-embed",
          "data": [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}],
          "usage": {"prompt_tokens": 15, "completion_tokens": 0, "total_tokens": 15}}, 15,
         model="mistral-embed", sdk_provider="mistral", costs="15 x 0.10", sdk=f"{MISTRAL_MODELS}:EmbeddingResponse"),
    Case("Mistral, stream", MISTRAL,
         [mistral_event("mistral-small-2603"),
          mistral_event("mistral-small-2603", {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50})],
         16, 34, model="mistral-small-2603", sdk_provider="mistral", costs="16 x 0.15 + 34 x 0.60",
         sdk=f"{MISTRAL_MODELS}:CompletionEvent", plain=False),
    Case("Cohere, chat: what is billed counts, not what was processed", COHERE,
         cohere({"billed_units": {"input_tokens": 5, "output_tokens": 418},
                 "tokens": {"input_tokens": 71, "output_tokens": 418}}), 5, 418, tool="ask-command-a",
         sdk_provider="cohere", costs="5 x 2.50 + 418 x 10.00", sdk=COHERE_CHAT),
    Case("Cohere, chat with a cached prompt: part of what is billed", COHERE,
         cohere({"billed_units": {"input_tokens": 500, "output_tokens": 40},
                 "tokens": {"input_tokens": 566, "output_tokens": 40}, "cached_tokens": 480}), 500, 40, cached=480,
         tool="ask-command-r7b", sdk_provider="cohere", costs="500 x 0.0375 + 40 x 0.15", sdk=COHERE_CHAT),
    Case("Cohere, stream", COHERE_STREAM,
         [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "LLM"}}}},
          {"type": "message-end", "id": "29f14a5a", "delta": {
              "finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 14, "output_tokens": 85},
                                                     "tokens": {"input_tokens": 209, "output_tokens": 85}}}}],
         14, 85, tool="ask-command-a", sdk_provider="cohere", costs="14 x 2.50 + 85 x 10.00",
         sdk=("cohere.v2.types:ContentDeltaV2ChatStreamResponse", "cohere.v2.types:MessageEndV2ChatStreamResponse")),
    Case("Cohere, the v1 way of it", "https://docs.cohere.com/v1/reference/chat",
         {"text": "LLMs ...", "generation_id": "67a3c2a1", "meta": {
             "api_version": {"version": "1"}, "billed_units": {"input_tokens": 25, "output_tokens": 59},
             "tokens": {"input_tokens": 91, "output_tokens": 59}}}, 25, 59, tool="ask-command-a",
         sdk_provider="cohere", costs="25 x 2.50 + 59 x 10.00", sdk="cohere.types:NonStreamedChatResponse"),
    Case("Cohere, embedding", "https://docs.cohere.com/reference/embed",
         {"id": "da6e531f", "embeddings": {"float": [[0.016, -0.008]]}, "texts": ["hello"],
          "response_type": "embeddings_by_type",
          "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}}}, 2,
         tool="embed-with-cohere", sdk_provider="cohere", costs="2 x 0.12", sdk="cohere.types:EmbedByTypeResponse"),
    Case("Cohere, reranking: paid by the call", "https://docs.cohere.com/reference/rerank",
         {"id": "07734bd2", "results": [{"index": 3, "relevance_score": 0.99}],
          "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}},
         tool="rerank-with-cohere", costs="2000", sdk="cohere.v2.types:V2RerankResponse"),
    Case("Bedrock, Converse", CONVERSE, converse({"inputTokens": 30, "outputTokens": 628, "totalTokens": 658}), 30,
         628, tool="ask-nova-lite", provider="aws", costs="30 x 0.06 + 628 x 0.24", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with a cached prompt: counted apart, as Anthropic does", USAGE,
         converse({"inputTokens": 12, "outputTokens": 100, "totalTokens": 3112, "cacheReadInputTokens": 2000,
                   "cacheWriteInputTokens": 1000}), 3012, 100, cached=2000, written=1000,
         tool="ask-claude-on-bedrock", provider="aws",
         costs="12 x 3.00 + 2000 x 0.30 + 1000 x 3.75 + 100 x 15.00", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse with a cache kept for an hour", USAGE,
         converse({"inputTokens": 12, "outputTokens": 100, "totalTokens": 1112, "cacheWriteInputTokens": 1000,
                   "cacheDetails": [{"ttl": "1h", "inputTokens": 600}, {"ttl": "5m", "inputTokens": 400}]}),
         1012, 100, written=1000, written_1h=600, tool="ask-claude-on-bedrock", provider="aws",
         costs="12 x 3.00 + 400 x 3.75 + 600 x 6.00 + 100 x 15.00", sdk="bedrock", made_by="converse"),
    Case("Bedrock, Converse as a stream: the metadata comes last",
         "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html",
         [{"messageStart": {"role": "assistant"}},
          {"contentBlockDelta": {"delta": {"text": "Here"}, "contentBlockIndex": 0}},
          {"messageStop": {"stopReason": "end_turn"}},
          {"metadata": {"usage": {"inputTokens": 47, "outputTokens": 20, "totalTokens": 67},
                        "metrics": {"latencyMs": 100}}}], 47, 20, tool="ask-nova-lite", provider="aws",
         costs="47 x 0.06 + 20 x 0.24"),
    Case("Bedrock, Claude's own body",
         "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html",
         {"id": "msg_bdrk_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
          "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
          "usage": {"input_tokens": 25, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                    "output_tokens": 54}}, 25, 54, model="claude-sonnet-4-5-20250929", provider="anthropic",
         costs="25 x 3.00 + 54 x 15.00"),
    Case("Bedrock, Llama's own body",
         "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html",
         {"generation": "Hi", "prompt_token_count": 25, "generation_token_count": 512, "stop_reason": "length"},
         25, 512, tool="ask-llama-on-bedrock", costs="25 x 0.72 + 512 x 0.72"),
    Case("Bedrock, Nova's own body", "https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html",
         {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn",
          "usage": {"inputTokens": 26, "outputTokens": 11, "cacheReadInputTokenCount": 0,
                    "cacheWriteInputTokenCount": 0}}, 26, 11, tool="ask-nova-lite", provider="aws",
         costs="26 x 0.06 + 11 x 0.24"),
]  # fmt: skip
