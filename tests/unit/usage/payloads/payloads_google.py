"""What do Gemini's answers say? The prompt includes what was cached; thoughts and tools' prompts are counted apart."""

from __future__ import annotations

from typing import Any

from payload_kit import Case

GENERATE = "https://ai.google.dev/api/generate-content#UsageMetadata"
CACHING = "https://ai.google.dev/gemini-api/docs/caching"
THINKING = "https://ai.google.dev/gemini-api/docs/thinking"
CONTENT = "google.genai.types:GenerateContentResponse"


def answer(model: str, usage: dict[str, Any], *, id: str = "mAitaLmkHPPlz7IPvtfUqQ4") -> dict[str, Any]:  # noqa: A002
    """An answer, or a chunk of one."""
    return {
        "candidates": [{"content": {"parts": [{"text": "Learns patterns."}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": usage, "modelVersion": model, "responseId": id,
    }  # fmt: skip


CASES = [
    Case("answer", GENERATE,
         answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 17, "totalTokenCount": 25}),
         8, 17, model="gemini-2.5-flash", provider="google", costs="8 x 0.30 + 17 x 2.50", sdk=CONTENT),
    Case("answer after thinking: thoughts are paid as output", THINKING,
         answer("gemini-2.5-pro", {"promptTokenCount": 30, "candidatesTokenCount": 120, "thoughtsTokenCount": 900,
                                   "totalTokenCount": 1050}),
         30, 1020, model="gemini-2.5-pro", provider="google", costs="30 x 1.25 + 1020 x 10.00", sdk=CONTENT),
    Case("answer about a cached film", CACHING,
         answer("gemini-2.0-flash", {"promptTokenCount": 696219, "cachedContentTokenCount": 696190,
                                     "candidatesTokenCount": 214, "totalTokenCount": 696433}),
         696219, 214, cached=696190, model="gemini-2.0-flash", provider="google",
         costs="29 x 0.10 + 696190 x 0.025 + 214 x 0.40", sdk=CONTENT),
    Case("answer after a tool: what the tool said is input", GENERATE,
         answer("gemini-2.5-flash", {"promptTokenCount": 15, "toolUsePromptTokenCount": 309, "candidatesTokenCount": 92,
                                     "thoughtsTokenCount": 50, "totalTokenCount": 466}),
         324, 142, model="gemini-2.5-flash", provider="google", costs="324 x 0.30 + 142 x 2.50", sdk=CONTENT),
    Case("prompt that was blocked: it is paid all the same", GENERATE,
         {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-2.5-flash-lite",
          "usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}},
         40, model="gemini-2.5-flash-lite", provider="google", costs="40 x 0.10", sdk=CONTENT),
    Case("answer by modality: the parts are in the whole", GENERATE,
         answer("gemini-2.5-flash-lite",
                {"promptTokenCount": 264, "candidatesTokenCount": 51, "totalTokenCount": 315,
                 "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6},
                                         {"modality": "IMAGE", "tokenCount": 258}],
                 "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 51}]}),
         264, 51, model="gemini-2.5-flash-lite", provider="google", costs="264 x 0.10 + 51 x 0.40", sdk=CONTENT),
    Case("stream: each chunk says the usage so far", GENERATE,
         [answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 3, "totalTokenCount": 11}),
          answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 40, "totalTokenCount": 48}),
          answer("gemini-2.5-flash", {"promptTokenCount": 8, "candidatesTokenCount": 77, "totalTokenCount": 85})],
         8, 77, model="gemini-2.5-flash", provider="google", costs="8 x 0.30 + 77 x 2.50", sdk=CONTENT),
    Case("stream with thoughts first", THINKING,
         [answer("gemini-2.5-pro", {"promptTokenCount": 30, "thoughtsTokenCount": 60, "totalTokenCount": 90}),
          answer("gemini-2.5-pro", {"promptTokenCount": 30, "thoughtsTokenCount": 90, "candidatesTokenCount": 25,
                                    "totalTokenCount": 145})],
         30, 115, model="gemini-2.5-pro", provider="google", costs="30 x 1.25 + 115 x 10.00", sdk=CONTENT),
    Case("answer of the Live API", "https://ai.google.dev/api/live#UsageMetadata",
         {"usageMetadata": {"promptTokenCount": 100, "responseTokenCount": 50, "totalTokenCount": 150}},
         100, 50, provider="google", costs=None),
]  # fmt: skip
