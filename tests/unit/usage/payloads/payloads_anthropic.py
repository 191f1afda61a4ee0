"""What do Anthropic's answers say? Input tokens are those neither read from the cache nor written to it."""

from __future__ import annotations

from typing import Any

from payload_kit import Case

MESSAGES = "https://docs.claude.com/en/api/messages"
CACHING = "https://docs.claude.com/en/docs/build-with-claude/prompt-caching"
STREAMING = "https://docs.claude.com/en/docs/build-with-claude/streaming"

MESSAGE = "anthropic.types:Message"
START, DELTA, STOP = (f"anthropic.types:RawMessage{what}Event" for what in ("Start", "Delta", "Stop"))


def message(model: str, usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An answer."""
    return {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": "Hi! My name is Claude."}], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": usage, **more,
    }  # fmt: skip


def start(model: str, usage: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message_start", "message": message(model, usage, content=[], stop_reason=None)}


def delta(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}


STOPPED = {"type": "message_stop"}
CLAUDE = {"provider": None, "sdk_provider": "anthropic"}

CASES = [
    Case("message", MESSAGES, message("claude-sonnet-4-5-20250929", {"input_tokens": 12, "output_tokens": 6}), 12, 6,
         model="claude-sonnet-4-5-20250929", costs="12 x 3.00 + 6 x 15.00", sdk=MESSAGE, **CLAUDE),
    Case("message, the reference's figures: read from the cache and written to it", MESSAGES,
         message("claude-sonnet-4-5",
                 {"cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 2051},
                  "cache_creation_input_tokens": 2051, "cache_read_input_tokens": 2051, "input_tokens": 2095,
                  "output_tokens": 503, "service_tier": "standard"}),
         6197, 503, cached=2051, written=2051, model="claude-sonnet-4-5", provider="anthropic",
         costs="2095 x 3.00 + 2051 x 0.30 + 2051 x 3.75 + 503 x 15.00", sdk=MESSAGE),
    Case("first call with a long prompt: it goes into the cache", CACHING,
         message("claude-haiku-4-5", {"cache_creation_input_tokens": 188086, "cache_read_input_tokens": 0,
                                      "input_tokens": 21, "output_tokens": 393}),
         188107, 393, written=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 1.25 + 393 x 5.00", sdk=MESSAGE),
    Case("second call with it: it comes out of the cache", CACHING,
         message("claude-haiku-4-5", {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 188086,
                                      "input_tokens": 21, "output_tokens": 393}),
         188107, 393, cached=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 0.10 + 393 x 5.00", sdk=MESSAGE),
    Case("cache kept for five minutes and for an hour", CACHING,
         message("claude-opus-4-1-20250805",
                 {"input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
                  "output_tokens": 503,
                  "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100}}),
         4096, 503, cached=1800, written=248, written_1h=100, model="claude-opus-4-1-20250805", provider="anthropic",
         costs="2048 x 15.00 + 1800 x 1.50 + 148 x 18.75 + 100 x 30.00 + 503 x 75.00", sdk=MESSAGE),
    Case("cache fields that say null", MESSAGES,
         message("claude-sonnet-4-5", {"input_tokens": 25, "output_tokens": 15, "cache_creation_input_tokens": None,
                                       "cache_read_input_tokens": None}),
         25, 15, model="claude-sonnet-4-5", costs="25 x 3.00 + 15 x 15.00", sdk=MESSAGE, **CLAUDE),
    Case("stream: input at the start, output so far at the end", STREAMING,
         [start("claude-sonnet-4-5", {"input_tokens": 25, "output_tokens": 1}),
          {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
          delta(output_tokens=15), STOPPED],
         25, 15, model="claude-sonnet-4-5", costs="25 x 3.00 + 15 x 15.00",
         sdk=(START, "anthropic.types:RawContentBlockDeltaEvent", DELTA, STOP), **CLAUDE),
    Case("stream with tools", STREAMING,
         [start("claude-sonnet-4-5", {"input_tokens": 472, "output_tokens": 2}), delta(output_tokens=89), STOPPED],
         472, 89, model="claude-sonnet-4-5", costs="472 x 3.00 + 89 x 15.00", sdk=(START, DELTA, STOP), **CLAUDE),
    Case("stream that searched the web: the end says the input again, with what was found", STREAMING,
         [start("claude-sonnet-4-5", {"input_tokens": 2679, "cache_creation_input_tokens": 0,
                                      "cache_read_input_tokens": 0, "output_tokens": 3}),
          delta(input_tokens=10682, cache_creation_input_tokens=0, cache_read_input_tokens=0, output_tokens=510,
                server_tool_use={"web_search_requests": 1, "web_fetch_requests": 0}), STOPPED],
         10682, 510, model="claude-sonnet-4-5", provider="anthropic", costs="10682 x 3.00 + 510 x 15.00",
         sdk=(START, DELTA, STOP)),
    Case("stream with a cached prompt: said at the start, and not added again at the end", STREAMING,
         [start("claude-haiku-4-5", {"input_tokens": 21, "cache_creation_input_tokens": 0,
                                     "cache_read_input_tokens": 188086, "output_tokens": 1}),
          delta(input_tokens=21, cache_creation_input_tokens=0, cache_read_input_tokens=188086, output_tokens=393),
          STOPPED],
         188107, 393, cached=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 0.10 + 393 x 5.00", sdk=(START, DELTA, STOP)),
]  # fmt: skip
