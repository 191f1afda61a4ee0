"""Answers of Gemini, whose prompt count includes cached tokens; thoughts and tool-use prompts are separate."""

from __future__ import annotations

from typing import Any

from payload_kit import GEMINI_COOKBOOK, GOOGLE_SDK, Case, recorded

GENERATE = "https://ai.google.dev/api/generate-content#UsageMetadata"
THINKING = "https://ai.google.dev/gemini-api/docs/thinking"
CONTENT = "google.genai.types:GenerateContentResponse"


def answer(model: str | None, usage: dict[str, Any], *, id: str = "mAitaLmkHPPlz7IPvtfUqQ4") -> dict[str, Any]:  # noqa: A002
    """An answer, or a chunk of one."""
    return {
        "candidates": [{"content": {"parts": [{"text": "Learns patterns."}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": usage, "modelVersion": model, "responseId": id,
    }  # fmt: skip


def counted(given: int, made: int, *, of: str = "TEXT", thought: int = 0, **more: Any) -> dict[str, Any]:
    """The usage of an answer."""
    thoughts = {"thoughtsTokenCount": thought} if thought else {}
    return {
        "promptTokenCount": given, "candidatesTokenCount": made, "totalTokenCount": given + made + thought,
        "promptTokensDetails": [{"modality": of, "tokenCount": given}], **thoughts, **more,
    }  # fmt: skip


CASES = [
    Case("answer", recorded("models/cassettes/test_google/test_google_httpx_client_is_not_closed"),
         answer("gemini-2.5-flash-lite", counted(8, 8)), 8, 8, model="gemini-2.5-flash-lite", provider="google",
         costs="8 x 0.10 + 8 x 0.40", sdk=CONTENT),
    Case("answer after thinking: thoughts are paid as output",
         recorded("cassettes/test_ref_sibling_wire_contract/"
                  "test_ref_sibling_wire_contract[google-structured-dict]"),
         answer("gemini-2.5-flash", counted(154, 34, thought=117)), 154, 151,
         model="gemini-2.5-flash", provider="google", costs="154 x 0.30 + 151 x 2.50", sdk=CONTENT),
    Case("answer after much thinking, the SDK's own", GOOGLE_SDK + "common/test_common.py#L629",
         answer("models/gemini-2.5-flash-preview-05-20", counted(7, 1086, thought=860)), 7, 1946,
         model="models/gemini-2.5-flash-preview-05-20", provider="google", costs=None, sdk=CONTENT),
    Case("answer of a batch, at the price outside of one", GEMINI_COOKBOOK + "Batch_mode.ipynb, request_2",
         answer("gemini-2.5-flash", counted(9, 63, thought=1180)), 9, 1243, model="gemini-2.5-flash",
         provider="google", costs="9 x 0.30 + 1243 x 2.50", sdk=CONTENT),
    Case("answer about a cached transcript", GEMINI_COOKBOOK + "Caching.ipynb, the first answer",
         answer("gemini-2.5-flash", counted(322707, 282, cachedContentTokenCount=322698)), 322707, 282, cached=322698,
         model="gemini-2.5-flash", provider="google", costs="9 x 0.30 + 322698 x 0.03 + 282 x 2.50", sdk=CONTENT),
    Case("second answer about it", GEMINI_COOKBOOK + "Caching.ipynb, the answer in a chat",
         answer("gemini-2.5-flash", counted(322795, 239, cachedContentTokenCount=322698)), 322795, 239, cached=322698,
         model="gemini-2.5-flash", provider="google", costs="97 x 0.30 + 322698 x 0.03 + 239 x 2.50", sdk=CONTENT),
    Case("answer about a cached transcript, without the SDK", GEMINI_COOKBOOK + "rest/Caching_REST.ipynb, the answer",
         answer("gemini-2.5-flash", {"promptTokenCount": 323388, "candidatesTokenCount": 397, "totalTokenCount": 323785,
                                     "cachedContentTokenCount": 323383}), 323388, 397, cached=323383,
         model="gemini-2.5-flash", provider="google", costs="5 x 0.30 + 323383 x 0.03 + 397 x 2.50", sdk=CONTENT),
    Case("answer that names no model", GEMINI_COOKBOOK + "rest/Prompting_REST.ipynb, the first answer",
         answer(None, {"promptTokenCount": 9, "candidatesTokenCount": 87, "totalTokenCount": 96}), 9, 87,
         tool="ask-gemini-flash", provider="google", costs="9 x 0.30 + 87 x 2.50", sdk=CONTENT),
    Case("answer about a recording: audio has a price of its own",
         GEMINI_COOKBOOK + "rest/Audio_REST.ipynb, the answer about a part of it",
         answer(None, {"promptTokenCount": 754, "candidatesTokenCount": 49, "totalTokenCount": 803,
                       "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4},
                                               {"modality": "AUDIO", "tokenCount": 750}],
                       "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 49}]}), 754, 49, heard=750,
         tool="ask-gemini-flash", provider="google", costs="4 x 0.30 + 750 x 1.00 + 49 x 2.50", sdk=CONTENT),
    Case("answer after a tool: what the tool said is input",
         recorded("models/cassettes/test_anthropic/"
                  "test_anthropic_server_tool_receive_history_from_another_provider"),
         answer("gemini-2.0-flash", {"promptTokenCount": 13, "toolUsePromptTokenCount": 289,
                                     "candidatesTokenCount": 194, "totalTokenCount": 496,
                                     "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 289}]}),
         302, 194, model="gemini-2.0-flash", provider="google", costs="302 x 0.10 + 194 x 0.40", sdk=CONTENT),
    Case("Gemini, embedding", recorded("cassettes/test_embeddings/test_google_task_prefix_vertex"),
         {"embedding": {"values": [-0.006532297, 0.020047152]}, "usageMetadata": {
             "promptTokenCount": 11, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}],
             "totalTokenCount": 11}}, 11, tool="embed-with-gemini", provider="google", costs="11 x 0.15"),
    Case("prompt that was blocked: it is paid all the same", GENERATE,
         {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-2.5-flash-lite",
          "usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
         40, model="gemini-2.5-flash-lite", provider="google", costs="40 x 0.10", sdk=CONTENT, documented=False),
    Case("stream: each chunk says the usage so far", GENERATE,
         [answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 3, "totalTokenCount": 11}),
          answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 40, "totalTokenCount": 48}),
          answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 77, "totalTokenCount": 85})],
         8, 77, model="gemini-2.5-flash", provider="google", costs="8 x 0.30 + 77 x 2.50", sdk=CONTENT,
         documented=False),
    Case("stream with thoughts first", THINKING,
         [answer("gemini-2.5-pro", {"promptTokenCount": 30, "thoughtsTokenCount": 60, "totalTokenCount": 90}),
          answer("gemini-2.5-pro", {"promptTokenCount": 30, "thoughtsTokenCount": 90, "candidatesTokenCount": 25,
                                    "totalTokenCount": 145})],
         30, 115, model="gemini-2.5-pro", provider="google", costs="30 x 1.25 + 115 x 10.00", sdk=CONTENT,
         documented=False),
    Case("answer that is an image", "https://ai.google.dev/gemini-api/docs/image-generation",
         answer("gemini-2.5-flash-image", {
             "promptTokenCount": 10, "candidatesTokenCount": 1290, "totalTokenCount": 1300,
             "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
             "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}),
         10, 1290, model="gemini-2.5-flash-image", provider="google", costs="10 x 0.30 + 1290 x 30.00", sdk=CONTENT,
         documented=False),
    Case("answer of provisioned throughput: what a token costs there is unknown", GENERATE,
         answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 77, "totalTokenCount": 85,
                                     "trafficType": "PROVISIONED_THROUGHPUT"}),
         8, 77, model="gemini-2.5-flash", provider="google", costs=None, sdk=CONTENT, documented=False),
    Case("answer on demand, the default", GENERATE,
         answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 77, "totalTokenCount": 85,
                                     "trafficType": "ON_DEMAND"}),
         8, 77, model="gemini-2.5-flash", provider="google", costs="8 x 0.30 + 77 x 2.50", sdk=CONTENT,
         documented=False),
    Case("answer of the Live API", "https://ai.google.dev/api/live#UsageMetadata",
         {"usageMetadata": {"promptTokenCount": 100, "responseTokenCount": 50, "totalTokenCount": 150}},
         100, 50, provider="google", costs=None, documented=False),
]  # fmt: skip
