"""Answers of Anthropic, whose input tokens are those neither read from the cache nor written to it."""

from __future__ import annotations

from typing import Any

from payload_kit import ANTHROPIC_SDK, Case, recorded

MESSAGES = "https://docs.claude.com/en/api/messages"
CACHING = "https://docs.claude.com/en/docs/build-with-claude/prompt-caching"
STREAMING = "https://docs.claude.com/en/docs/build-with-claude/streaming"
FIXTURES = ANTHROPIC_SDK + "lib/streaming/fixtures/"
ANSWERS = "models/cassettes/test_anthropic/"

MESSAGE = "anthropic.types:Message"
START, DELTA, STOP = (f"anthropic.types:RawMessage{what}Event" for what in ("Start", "Delta", "Stop"))
BETA = "anthropic.types.beta:BetaMessage"
BETA_START, BETA_DELTA, BETA_STOP = (
    f"anthropic.types.beta:BetaRawMessage{what}Event" for what in ("Start", "Delta", "Stop")
)


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


def used(given: int, made: int, *, read: int = 0, written: int = 0, **more: Any) -> dict[str, Any]:
    """The usage of an answer, as it is today."""
    return {
        "input_tokens": given, "output_tokens": made, "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}, **more,
    }  # fmt: skip


def round_of(kind: str, given: int, made: int, *, read: int = 0, **more: Any) -> dict[str, Any]:
    """One of several rounds that an answer took."""
    return {**used(given, made, read=read), "type": kind, **more}


STOPPED = {"type": "message_stop"}
CLAUDE = {"provider": None, "sdk_provider": "anthropic"}

CASES = [
    Case("message", recorded("models/anthropic/cassettes/test_output/test_mixed_tools_basemodel_output"),
         message("claude-sonnet-4-5-20250929", used(781, 74)), 781, 74, model="claude-sonnet-4-5-20250929",
         provider="anthropic", costs="781 x 3.00 + 74 x 15.00", sdk=MESSAGE),
    Case("message with thinking: it is a part of the output",
         recorded("cassettes/test_cache_prefix_stability/test_anthropic_thinking_agui_0_1_10_drops_prefix"),
         message("claude-sonnet-4-5-20250929", used(51, 162, output_tokens_details={"thinking_tokens": 112})), 51, 162,
         model="claude-sonnet-4-5-20250929", provider="anthropic", costs="51 x 3.00 + 162 x 15.00", sdk=MESSAGE),
    Case("message, the reference's figures: read from the cache and written to it", MESSAGES + ", Response: usage",
         message("claude-sonnet-4-5",
                 {"cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 2051},
                  "cache_creation_input_tokens": 2051, "cache_read_input_tokens": 2051, "input_tokens": 2095,
                  "output_tokens": 503, "service_tier": "standard"}),
         6197, 503, cached=2051, written=2051, model="claude-sonnet-4-5", provider="anthropic",
         costs="2095 x 3.00 + 2051 x 0.30 + 2051 x 3.75 + 503 x 15.00", sdk=MESSAGE),
    Case("first call with a long prompt: it goes into the cache", CACHING + ", How to implement: the first usage",
         message("claude-haiku-4-5", {"cache_creation_input_tokens": 188086, "cache_read_input_tokens": 0,
                                      "input_tokens": 21, "output_tokens": 393}),
         188107, 393, written=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 1.25 + 393 x 5.00", sdk=MESSAGE),
    Case("second call with it: it comes out of the cache", CACHING + ", How to implement: the second usage",
         message("claude-haiku-4-5", {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 188086,
                                      "input_tokens": 21, "output_tokens": 393}),
         188107, 393, cached=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 0.10 + 393 x 5.00", sdk=MESSAGE),
    Case("conversation that reads from the cache and adds to it",
         recorded(ANSWERS + "test_anthropic_cache_real_api", 2),
         message("claude-sonnet-4-5-20250929", used(3, 33, read=1111, written=418)), 1532, 33, cached=1111,
         written=418, model="claude-sonnet-4-5-20250929", provider="anthropic",
         costs="3 x 3.00 + 1111 x 0.30 + 418 x 3.75 + 33 x 15.00", sdk=MESSAGE),
    Case("long conversation in a container",
         recorded("cassettes/test_code_execution_files_vcr/"
                  "test_anthropic_code_execution_files_cache_prefix_stable[automatic-sonnet-5]", 2),
         message("claude-sonnet-5", used(6, 489, read=20443, written=574,
                                         output_tokens_details={"thinking_tokens": 77})), 21023, 489, cached=20443,
         written=574, model="claude-sonnet-5", provider="anthropic",
         costs="6 x 2.00 + 20443 x 0.20 + 574 x 2.50 + 489 x 10.00", sdk=MESSAGE),
    Case("prompt that goes into the cache of the largest model",
         recorded("models/cassettes/test_anthropic_mid_conversation_system/"
                  "test_inline_system_prompt_cache_prefix_is_reused"),
         message("claude-opus-4-8", used(2, 4, written=1590)), 1592, 4, written=1590, model="claude-opus-4-8",
         provider="anthropic", costs="2 x 5.00 + 1590 x 6.25 + 4 x 25.00", sdk=MESSAGE),
    Case("message that searched the web, which costs a cent",
         recorded(ANSWERS + "test_anthropic_text_parts_ahead_of_built_in_tool_call"),
         message("claude-sonnet-4-5-20250929", used(16083, 165, server_tool_use={
             "web_fetch_requests": 0, "web_search_requests": 1})), 16083, 165, model="claude-sonnet-4-5-20250929",
         provider="anthropic", costs="16083 x 3.00 + 165 x 15.00 + 10000", sdk=MESSAGE),
    Case("conversation that was compacted: the whole leaves out that round",
         recorded(ANSWERS + "test_anthropic_compaction_end_to_end"),
         message("claude-sonnet-4-6", used(220, 8, iterations=[
             round_of("compaction", 55196, 125), round_of("message", 220, 8)])), 55416, 133, model="claude-sonnet-4-6",
         provider="anthropic", costs="55416 x 3.00 + 133 x 15.00", sdk=BETA, made_by="construct"),
    Case("conversation that was compacted, as a stream with a cached prompt",
         recorded(ANSWERS + "test_anthropic_compaction_usage_with_cache_streaming"),
         [start("claude-sonnet-4-6", used(100, 7, read=55096)),
          delta(**used(181, 8), iterations=[round_of("compaction", 100, 83, read=55096), round_of("message", 181, 8)]),
          STOPPED], 55377, 91, cached=55096, model="claude-sonnet-4-6", provider="anthropic",
         costs="281 x 3.00 + 55096 x 0.30 + 91 x 15.00", sdk=(BETA_START, BETA_DELTA, BETA_STOP), made_by="construct"),
    Case("message in one round", recorded(ANSWERS + "test_anthropic_task_budget_adds_output_config_and_beta"),
         message("claude-opus-4-7", used(53, 14, iterations=[round_of("message", 53, 14)])), 53, 14,
         model="claude-opus-4-7", provider="anthropic", costs="53 x 5.00 + 14 x 25.00", sdk=BETA, made_by="construct"),
    Case("message that asked a larger model for advice: at one model's prices it cannot be counted",
         recorded(ANSWERS + "test_anthropic_advisor_tool"),
         message("claude-sonnet-5", used(2390, 121, iterations=[
             round_of("message", 1128, 110), round_of("advisor_message", 2518, 22, model="claude-opus-4-8"),
             round_of("message", 1262, 11)])), 2390, 121, unsplit=2540, model="claude-sonnet-5", provider="anthropic",
         costs=None, sdk=BETA, made_by="construct"),
    Case("cache kept for five minutes and for an hour", CACHING,
         message("claude-opus-4-1-20250805",
                 {"input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
                  "output_tokens": 503,
                  "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100}}),
         4096, 503, cached=1800, written=248, written_1h=100, model="claude-opus-4-1-20250805", provider="anthropic",
         costs="2048 x 15.00 + 1800 x 1.50 + 148 x 18.75 + 100 x 30.00 + 503 x 75.00", sdk=MESSAGE, documented=False),
    Case("cache fields that say null", MESSAGES,
         message("claude-sonnet-4-5", {"input_tokens": 25, "output_tokens": 15, "cache_creation_input_tokens": None,
                                       "cache_read_input_tokens": None}),
         25, 15, model="claude-sonnet-4-5", costs="25 x 3.00 + 15 x 15.00", sdk=MESSAGE, documented=False, **CLAUDE),
    Case("stream: input at the start, output so far at the end", FIXTURES + "basic_response.txt",
         [start("claude-3-opus-latest", {"input_tokens": 11, "output_tokens": 1}),
          {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
          delta(output_tokens=6), STOPPED],
         11, 6, model="claude-3-opus-latest", costs="11 x 15.00 + 6 x 75.00",
         sdk=(START, "anthropic.types:RawContentBlockDeltaEvent", DELTA, STOP), **CLAUDE),
    Case("stream with tools", FIXTURES + "tool_use_response.txt",
         [start("claude-sonnet-4-20250514", {"input_tokens": 377, "cache_creation_input_tokens": 0,
                                             "cache_read_input_tokens": 0, "output_tokens": 1,
                                             "service_tier": "standard"}), delta(output_tokens=65), STOPPED],
         377, 65, model="claude-sonnet-4-20250514", provider="anthropic", costs="377 x 3.00 + 65 x 15.00",
         sdk=(START, DELTA, STOP)),
    Case("stream that ran into its limit", FIXTURES + "incomplete_partial_json_response.txt",
         [start("claude-3-7-sonnet-20250219", {"input_tokens": 450, "cache_creation_input_tokens": 0,
                                               "cache_read_input_tokens": 0, "output_tokens": 1}),
          delta(output_tokens=124), STOPPED],
         450, 124, model="claude-3-7-sonnet-20250219", provider="anthropic", costs="450 x 3.00 + 124 x 15.00",
         sdk=(START, DELTA, STOP)),
    Case("stream that searched the web: the end says the input again, with what was found",
         STREAMING + ", Streaming response with web search tool use",
         [start("claude-sonnet-4-5", {"input_tokens": 2679, "cache_creation_input_tokens": 0,
                                      "cache_read_input_tokens": 0, "output_tokens": 3}),
          delta(input_tokens=10682, cache_creation_input_tokens=0, cache_read_input_tokens=0, output_tokens=510,
                server_tool_use={"web_search_requests": 1, "web_fetch_requests": 0}), STOPPED],
         10682, 510, model="claude-sonnet-4-5", provider="anthropic", costs="10682 x 3.00 + 510 x 15.00 + 10000",
         sdk=(START, DELTA, STOP)),
    Case("stream with a cached prompt: said at the start, and not added again at the end", STREAMING,
         [start("claude-haiku-4-5", {"input_tokens": 21, "cache_creation_input_tokens": 0,
                                     "cache_read_input_tokens": 188086, "output_tokens": 1}),
          delta(input_tokens=21, cache_creation_input_tokens=0, cache_read_input_tokens=188086, output_tokens=393),
          STOPPED],
         188107, 393, cached=188086, model="claude-haiku-4-5", provider="anthropic",
         costs="21 x 1.00 + 188086 x 0.10 + 393 x 5.00", sdk=(START, DELTA, STOP), documented=False),
    Case("Bedrock, Claude's own body", recorded(ANSWERS + "test_anthropic_cache_bedrock_real_api", 2),
         message("claude-haiku-4-5-20251001", used(3, 44, read=9511, written=1956)), 11470, 44, cached=9511,
         written=1956, model="claude-haiku-4-5-20251001", provider="anthropic",
         costs="3 x 1.00 + 9511 x 0.10 + 1956 x 1.25 + 44 x 5.00"),
]  # fmt: skip
