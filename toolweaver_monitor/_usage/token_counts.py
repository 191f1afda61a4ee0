"""Token counts of every provider, converted to one way of counting.

Input tokens include those read from the provider's cache and those written to it; output tokens include the model's
thinking. Each provider documents its own way:

- OpenAI chat: https://platform.openai.com/docs/api-reference/chat/object (`prompt_tokens` includes cached tokens)
- Anthropic's names of the cache beside `prompt_tokens`, which include them (LiteLLM's proxy, Databricks):
  https://docs.litellm.ai/docs/completion/prompt_caching
- OpenAI responses: https://platform.openai.com/docs/api-reference/responses/object (`input_tokens` includes them)
- Anthropic: https://docs.claude.com/en/docs/build-with-claude/prompt-caching (`input_tokens` counts only tokens neither
  read from the cache nor written to it; the three counts add up); for an answer that took several rounds,
  https://platform.claude.com/docs/en/build-with-claude/compaction (the rounds in `iterations` add up)
- xAI: https://docs.x.ai/docs/guides/reasoning, and Gemini in OpenAI's format (`completion_tokens` excludes the
  thinking; only `total_tokens` includes it)
- Amazon Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (as Anthropic)
- Gemini: https://ai.google.dev/api/generate-content#UsageMetadata (`promptTokenCount` includes cached tokens; thoughts
  and tool-use prompts are counted separately)
- Perplexity: https://docs.perplexity.ai/getting-started/pricing (`completion_tokens` excludes reasoning and citations)
- Llama on Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
- Cohere: https://docs.cohere.com/reference/chat (`billed_units` are the tokens that are paid for)
- LangChain: `langchain_core.messages.ai.UsageMetadata`, and PydanticAI: `pydantic_ai.usage.RunUsage` (both as OpenAI)
"""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._usage.fields import (
    Fields,
    get_field,
    has_none_of,
    read_count,
    read_fields,
    read_first_count,
    read_first_fields,
    read_positive_count,
)
from toolweaver_monitor._usage.parts import INPUT_DETAILS, OUTPUT_DETAILS, TokenParts, read_parts

TOTAL_NAMES: tuple[str, ...] = (
    "tokens_used", "total_tokens", "tokens", "totalTokens", "total_token_count", "totalTokenCount",
)  # fmt: skip
SPLIT_NAMES: tuple[str, ...] = (
    "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "inputTokens", "outputTokens",
    "prompt_token_count", "promptTokenCount", "prompt_eval_count", "eval_count", "total_input_tokens",
    "total_output_tokens", "billed_units",
)  # fmt: skip

_GEMINI_NAMES = (
    (
        "prompt_token_count", "tool_use_prompt_token_count", "cached_content_token_count",
        ("candidates_token_count", "response_token_count"), "thoughts_token_count",
    ),
    (
        "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount",
        ("candidatesTokenCount", "responseTokenCount"), "thoughtsTokenCount",
    ),
)  # fmt: skip
_COUNT_NAMES = frozenset(
    (
        *TOTAL_NAMES, *SPLIT_NAMES, "generation_token_count",
        *(name for row in _GEMINI_NAMES for cell in row for name in ((cell,) if isinstance(cell, str) else cell)),
    )
)  # fmt: skip
"""Fields with none of these names contain no token counts."""

_CACHE_READ_NAMES = (
    "cached_tokens", "cache_read_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "total_cached_tokens",
)  # fmt: skip
_CACHE_NAMES = frozenset({
    *_CACHE_READ_NAMES, "cache_write_tokens", "cache_write_1h_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens",
})  # fmt: skip
_WRITE_NAMES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation", "cache_creation_input_tokens")
_WRITE_DETAILS = frozenset({*_WRITE_NAMES, "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"})
_PERPLEXITY_NAMES = frozenset({"reasoning_tokens", "citation_tokens"})

MAX_ROUNDS = 1_000
"""Rounds read from one answer; a server's tools may take many."""


class TokenCounts:
    """The token counts of one result. None is a count that the result does not report."""

    __slots__ = (
        "cache_write", "cache_write_1h", "cached", "input", "other_models", "output", "parts", "provider", "total",
    )  # fmt: skip

    def __init__(self) -> None:
        self.input: int | None = None
        self.output: int | None = None
        self.total: int | None = None
        self.cached = 0
        self.cache_write = 0
        self.cache_write_1h = 0
        self.parts: TokenParts = {}
        """The parts of the input and output that may have prices of their own, by name."""
        self.other_models = 0
        """Tokens of other models that were called within this answer: the prices of this model do not apply to them."""
        self.provider: str | None = None
        """The provider, if it is the only one with this format."""

    @classmethod
    def from_fields(cls, fields: Fields) -> TokenCounts | None:
        """Return the token counts that these fields report, or None if they report none."""
        if has_none_of(fields, _COUNT_NAMES):
            return None
        counts = cls()
        for read_format in (_read_openai, _read_llama, _read_gemini, _read_bedrock, _read_cohere, _read_ollama):
            read_format(fields, counts)
            if not counts.has_only_total:
                counts.parts = read_parts(fields, gemini=counts.provider == "google")
                break
        counts.total = read_first_count(fields, *TOTAL_NAMES)
        if counts.has_only_total and counts.total is None:
            counts.parts = read_parts(fields, gemini=False)  # a rerank is billed in other units than tokens
            return counts if "other_units" in counts.parts else None
        return counts

    @classmethod
    def sum(cls, several: list[TokenCounts]) -> TokenCounts:
        """Return the sum of several requests' counts."""
        if len(several) == 1:
            return several[0]
        total = cls()
        for counts in several:
            total.input = (total.input or 0) + (counts.input or 0)
            total.output = (total.output or 0) + (counts.output or 0)
            total.other_models += counts.unsplit
            total.cached += counts.cached
            total.cache_write += counts.cache_write
            total.cache_write_1h += counts.cache_write_1h
            for name, count in counts.parts.items():
                total.parts[name] = total.parts.get(name, 0) + count
            total.provider = total.provider or counts.provider
        return total

    @property
    def has_only_total(self) -> bool:
        """Whether neither input nor output is reported."""
        return self.input is None and self.output is None

    @property
    def unsplit(self) -> int:
        """The tokens that are neither input nor output: those of other models, and the rest of an unsplit total."""
        if self.total is None or (self.input is not None and self.output is not None):
            return self.other_models
        return max(0, self.total - (self.input or 0) - (self.output or 0)) + self.other_models


def _read_openai(fields: Fields, counts: TokenCounts) -> None:
    """Read OpenAI's format, which most others use as well, and Anthropic's, which counts the cache separately."""
    prompt = read_count(fields, "prompt_tokens")
    counts.input = prompt if prompt is not None else read_first_count(fields, "input_tokens", "total_input_tokens")
    counts.output = read_first_count(fields, "completion_tokens", "output_tokens", "total_output_tokens")
    if counts.input is None:
        return
    details = read_first_fields(fields, *INPUT_DETAILS)
    cached = cache_write = 0
    writes = False
    if details:
        cached = read_positive_count(details, "cached_tokens", "cache_read", "cache_read_input_tokens")
        if writes := not has_none_of(details, _WRITE_DETAILS):
            cache_write = read_positive_count(details, *_WRITE_NAMES)
    if not has_none_of(fields, _CACHE_NAMES):
        # A gateway that translates may say 0 in the details, and the real count beside them.
        cached = cached or read_positive_count(fields, *_CACHE_READ_NAMES)
        cache_write = cache_write or read_positive_count(fields, "cache_write_tokens")
        counts.cache_write_1h = read_count(fields, "cache_write_1h_tokens") or 0
        read, written = read_count(fields, "cache_read_input_tokens"), read_count(fields, "cache_creation_input_tokens")
        if prompt is not None:
            cached, cache_write = cached or read or 0, cache_write or written or 0
            counts.cache_write_1h = counts.cache_write_1h or _read_anthropic_1h(fields)
            if prompt < cached + cache_write and (read or written):  # a few gateways leave the cache out of the prompt
                counts.input += cached + cache_write
        elif (read, written) != (None, None):
            counts.provider = "anthropic"
            rounds: Any = get_field(fields, "iterations")
            if type(rounds) is list and rounds:
                _add_anthropic_rounds(rounds, counts)
                return
            cached, cache_write = read or 0, written or 0
            counts.input += cached + cache_write
            counts.cache_write_1h = _read_anthropic_1h(fields)
    if writes:
        cache_write = _read_langchain_cache_write(details, cache_write, counts)
    counts.cached, counts.cache_write = cached, cache_write
    if not has_none_of(fields, _PERPLEXITY_NAMES):
        _add_perplexity_parts(fields, counts)
    _reconcile_total(fields, counts)
    thoughts, tool_use = read_count(fields, "total_thought_tokens"), read_count(fields, "total_tool_use_tokens")
    if (thoughts, tool_use) != (None, None):  # Google's Interactions API
        counts.output = (counts.output or 0) + (thoughts or 0)
        counts.input += tool_use or 0
        counts.provider = "google"


def _read_langchain_cache_write(details: Fields, cache_write: int, counts: TokenCounts) -> int:
    """Read what LangChain's details of an answer by Anthropic say of the cache; return the tokens written to it."""
    write_5m = read_count(details, "ephemeral_5m_input_tokens")
    write_1h = read_count(details, "ephemeral_1h_input_tokens")
    if (write_5m, write_1h) == (None, None):
        return cache_write
    counts.cache_write_1h = write_1h or 0
    return max(cache_write, (write_5m or 0) + counts.cache_write_1h)


def _add_perplexity_parts(fields: Fields, counts: TokenCounts) -> None:
    """Add Perplexity's reasoning and citations, which neither `completion_tokens` nor `total_tokens` includes."""
    reasoning, citations = (
        read_positive_count(fields, "reasoning_tokens"),
        read_positive_count(fields, "citation_tokens"),
    )
    if counts.output is not None and (reasoning or citations):
        marks = ("citation_tokens", "num_search_queries", "search_context_size")
        is_perplexity = any(get_field(fields, name) is not None for name in marks)
        if is_perplexity or reasoning > counts.output:
            counts.output += reasoning + citations


def _add_anthropic_rounds(rounds: list[Any], counts: TokenCounts) -> None:
    """Add up the rounds of an answer by Anthropic. Each is billed, and the top-level counts exclude compaction."""
    counts.input = counts.output = 0
    for item in rounds[:MAX_ROUNDS]:
        fields = read_fields(item)
        if fields is None:
            continue
        cached = read_count(fields, "cache_read_input_tokens") or 0
        cache_write = read_count(fields, "cache_creation_input_tokens") or 0
        input_tokens = (read_count(fields, "input_tokens") or 0) + cached + cache_write
        output_tokens = read_count(fields, "output_tokens") or 0
        if get_field(fields, "type") == "advisor_message":
            counts.other_models += input_tokens + output_tokens
            continue
        counts.input += input_tokens
        counts.output += output_tokens
        counts.cached += cached
        counts.cache_write += cache_write
        counts.cache_write_1h += _read_anthropic_1h(fields)


def _read_anthropic_1h(fields: Fields) -> int:
    return read_count(read_first_fields(fields, "cache_creation"), "ephemeral_1h_input_tokens") or 0


def _reconcile_total(fields: Fields, counts: TokenCounts) -> None:
    """Add tokens that only the total includes: to the input if they equal the cache, else to the output (thinking)."""
    total = read_count(fields, "total_tokens")
    if total is None or counts.input is None or counts.output is None:
        return
    excess = total - counts.input - counts.output
    if excess <= 0:
        return
    details = read_first_fields(fields, *OUTPUT_DETAILS)
    in_cache = counts.cached + counts.cache_write
    if excess == in_cache and excess != read_first_count(details, "reasoning_tokens", "reasoning"):
        counts.input += excess
    else:
        counts.output += excess


def _read_llama(fields: Fields, counts: TokenCounts) -> None:
    """Read Meta's format, as Bedrock passes it on. Its `prompt_token_count` is also a name of Gemini's."""
    counts.output = read_count(fields, "generation_token_count")
    if counts.output is not None:
        counts.input = read_count(fields, "prompt_token_count")


def _read_gemini(fields: Fields, counts: TokenCounts) -> None:
    for prompt_name, tool_use_name, cached_name, answer_names, thoughts_name in _GEMINI_NAMES:
        prompt, tool_use = read_count(fields, prompt_name), read_count(fields, tool_use_name)
        answer, thoughts = read_first_count(fields, *answer_names), read_count(fields, thoughts_name)
        if prompt is None and tool_use is None and answer is None and thoughts is None:
            continue
        counts.provider = "google"
        counts.input = (prompt or 0) + (tool_use or 0)
        counts.output = (answer or 0) + (thoughts or 0)
        counts.cached = read_count(fields, cached_name) or 0
        return


def _read_bedrock(fields: Fields, counts: TokenCounts) -> None:
    uncached = read_count(fields, "inputTokens")
    counts.output = read_count(fields, "outputTokens")
    if uncached is None:
        return
    counts.cached = read_first_count(fields, "cacheReadInputTokens", "cacheReadInputTokenCount") or 0
    counts.cache_write = read_first_count(fields, "cacheWriteInputTokens", "cacheWriteInputTokenCount") or 0
    counts.input = uncached + counts.cached + counts.cache_write
    details: Any = get_field(fields, "cacheDetails")
    if type(details) is list:
        for detail in details[:8]:
            if type(detail) is dict and get_field(detail, "ttl") == "1h":
                counts.cache_write_1h += read_count(detail, "inputTokens") or 0
    counts.provider = "aws"


def _read_cohere(fields: Fields, counts: TokenCounts) -> None:
    for name in ("billed_units", "tokens"):
        units = read_first_fields(fields, name)
        counts.input, counts.output = read_count(units, "input_tokens"), read_count(units, "output_tokens")
        if not counts.has_only_total:
            counts.cached = min(read_count(fields, "cached_tokens") or 0, counts.input or 0)
            return


def _read_ollama(fields: Fields, counts: TokenCounts) -> None:
    counts.input, counts.output = read_count(fields, "prompt_eval_count"), read_count(fields, "eval_count")
