"""How does each provider count tokens? Here all become one way.

Input tokens include what was read from the provider's cache and what was written to it; output tokens include the
model's thinking. Where each provider's own words are documented:

- OpenAI chat: https://platform.openai.com/docs/api-reference/chat/object (`prompt_tokens` include the cached ones)
- OpenAI responses: https://platform.openai.com/docs/api-reference/responses/object (`input_tokens` include them)
- Anthropic: https://docs.claude.com/en/docs/build-with-claude/prompt-caching (`input_tokens` are those neither read
  from the cache nor written to it; the three are to be added); where an answer took several rounds,
  https://platform.claude.com/docs/en/build-with-claude/compaction (the rounds in `iterations` are to be added)
- xAI: https://docs.x.ai/docs/guides/reasoning, and Gemini in OpenAI's words (`completion_tokens` leave the thinking
  out; only `total_tokens` has it)
- Amazon Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (the same)
- Gemini: https://ai.google.dev/api/generate-content#UsageMetadata (`promptTokenCount` includes the cached ones;
  thoughts and tool-use prompts are counted apart)
- Llama on Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
- Cohere: https://docs.cohere.com/reference/chat (`billed_units` are what is paid for)
- LangChain: `langchain_core.messages.ai.UsageMetadata` (as OpenAI); PydanticAI: `pydantic_ai.usage.RunUsage` (too)
"""

from __future__ import annotations

from typing import Any, cast

from toolweaver_monitor._core.sanitize import Diagnostics, token_count
from toolweaver_monitor._usage.fields import Fields, get_field, read_fields

TOTAL_NAMES: tuple[str, ...] = (
    "tokens_used", "total_tokens", "tokens", "totalTokens", "total_token_count", "totalTokenCount",
)  # fmt: skip
SPLIT_NAMES: tuple[str, ...] = (
    "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "inputTokens", "outputTokens",
    "prompt_token_count", "promptTokenCount", "prompt_eval_count", "eval_count", "total_input_tokens",
    "total_output_tokens", "billed_units",
)  # fmt: skip

MAX_ROUNDS = 1_000
"""Of an answer; a server's tools may take many."""


class Counts:
    """The tokens of one result. None is what was not said."""

    __slots__ = (
        "audio", "cached", "foreign", "input", "output", "provider", "total", "written", "written_1h",
    )  # fmt: skip

    def __init__(self) -> None:
        self.input: int | None = None
        self.output: int | None = None
        self.total: int | None = None
        self.cached = 0
        self.written = 0
        self.written_1h = 0
        self.audio = (0, 0, 0)
        """Of the input, of that what was cached, of the output."""
        self.foreign = 0
        """Tokens of another model that was asked within: at this one's prices they cannot be counted."""
        self.provider: str | None = None
        """Who counts in these words, where nobody else does."""

    @classmethod
    def of(cls, fields: Fields) -> Counts | None:
        """What these fields say of tokens, or None where they say nothing."""
        if type(fields) is dict and _SAID.isdisjoint({*fields}):  # a set made of a dict calls no __hash__ of its keys
            return None
        counts = cls()
        for way in (_as_openai, _as_llama, _as_gemini, _as_bedrock, _as_cohere, _as_ollama):
            way(fields, counts)
            if counts.input is not None or counts.output is not None:
                counts.audio = audio_in(fields, gemini=counts.provider == "google")
                break
        counts.total = first(fields, *TOTAL_NAMES)
        return None if counts.input is None and counts.output is None and counts.total is None else counts

    @property
    def only_total(self) -> bool:
        """Whether nothing was said but how many there were in all."""
        return self.input is None and self.output is None

    @property
    def unsplit(self) -> int:
        """What the total has beyond input and output, where one of the two was not said; and another model's tokens."""
        if self.total is None or (self.input is not None and self.output is not None):
            return self.foreign
        return max(0, self.total - (self.input or 0) - (self.output or 0)) + self.foreign


def _as_openai(fields: Fields, counts: Counts) -> None:
    """OpenAI's words, which most others have taken over; Anthropic's, too, where the cache is counted apart."""
    prompt = number(fields, "prompt_tokens")
    counts.input = prompt if prompt is not None else first(fields, "input_tokens", "total_input_tokens")
    counts.output = first(fields, "completion_tokens", "output_tokens", "total_output_tokens")
    if counts.input is None:
        return
    details = inside(fields, *INPUT_DETAILS)
    cached = first(details, "cached_tokens", "cache_read")
    if cached is None:
        cached = first(
            fields, "cached_tokens", "cache_read_tokens", "prompt_cache_hit_tokens", "num_cached_tokens",
            "total_cached_tokens",
        )  # fmt: skip
    written = first(details, "cache_write_tokens", "cache_creation_tokens", "cache_creation")
    if written is None:
        written = number(fields, "cache_write_tokens")
    counts.written_1h = number(fields, "cache_write_1h_tokens") or 0
    apart = number(fields, "cache_read_input_tokens"), number(fields, "cache_creation_input_tokens")
    if prompt is None and apart != (None, None):
        counts.provider = "anthropic"
        rounds: Any = get_field(fields, "iterations")
        if type(rounds) is list and rounds:
            _in_rounds(rounds, counts)
            return
        cached, written = apart
        counts.input += (cached or 0) + (written or 0)
        counts.written_1h = number(inside(fields, "cache_creation"), "ephemeral_1h_input_tokens") or 0
    by_life = first(details, "ephemeral_5m_input_tokens"), first(details, "ephemeral_1h_input_tokens")
    if by_life != (None, None):  # LangChain, of Anthropic
        counts.written_1h = by_life[1] or 0
        written = max(written or 0, (by_life[0] or 0) + counts.written_1h)
    counts.cached, counts.written = cached or 0, written or 0
    _reconcile_total(fields, counts)
    google = number(fields, "total_thought_tokens"), number(fields, "total_tool_use_tokens")
    if google != (None, None):  # the Interactions API
        counts.output = (counts.output or 0) + (google[0] or 0)
        counts.input += google[1] or 0
        counts.provider = "google"


def _in_rounds(rounds: list[Any], counts: Counts) -> None:
    """Anthropic's, of an answer that took several: each is paid for, and the whole leaves those of a compaction out."""
    counts.input = counts.output = 0
    for one in rounds[:MAX_ROUNDS]:
        fields = read_fields(one)
        if fields is None:
            continue
        read = number(fields, "cache_read_input_tokens") or 0
        written = number(fields, "cache_creation_input_tokens") or 0
        given = (number(fields, "input_tokens") or 0) + read + written
        made = number(fields, "output_tokens") or 0
        if get_field(fields, "type") == "advisor_message":
            counts.foreign += given + made
            continue
        counts.input += given
        counts.output += made
        counts.cached += read
        counts.written += written
        counts.written_1h += number(inside(fields, "cache_creation"), "ephemeral_1h_input_tokens") or 0


def _reconcile_total(fields: Fields, counts: Counts) -> None:
    """Where the total is more than input and output: thinking that is counted apart, or else the cache."""
    total = number(fields, "total_tokens")
    if total is None or counts.input is None or counts.output is None:
        return
    beyond = total - counts.input - counts.output
    if beyond <= 0:
        return
    details = inside(fields, *OUTPUT_DETAILS)
    if beyond == counts.cached + counts.written and beyond != first(details, "reasoning_tokens", "reasoning"):
        counts.input += beyond
    else:
        counts.output += beyond


def _as_llama(fields: Fields, counts: Counts) -> None:
    """Meta's own words, as Bedrock hands them on; half of them are Gemini's, too."""
    counts.output = number(fields, "generation_token_count")
    if counts.output is not None:
        counts.input = number(fields, "prompt_token_count")


def _as_gemini(fields: Fields, counts: Counts) -> None:
    for prompt, tools, cached, answers, thoughts in _GEMINI:
        given, used, said = first(fields, prompt), first(fields, tools), first(fields, *answers)
        thought = first(fields, thoughts)
        if given is None and used is None and said is None and thought is None:
            continue
        counts.provider = "google"
        counts.input = (given or 0) + (used or 0)
        counts.output = (said or 0) + (thought or 0)
        counts.cached = first(fields, cached) or 0
        return


_GEMINI = (
    (
        "prompt_token_count", "tool_use_prompt_token_count", "cached_content_token_count",
        ("candidates_token_count", "response_token_count"), "thoughts_token_count",
    ),
    (
        "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount",
        ("candidatesTokenCount", "responseTokenCount"), "thoughtsTokenCount",
    ),
)  # fmt: skip


_SAID = frozenset(
    (
        *TOTAL_NAMES, *SPLIT_NAMES, "generation_token_count",
        *(name for way in _GEMINI for part in way for name in ((part,) if isinstance(part, str) else part)),
    )
)  # fmt: skip
"""Fields with none of these say nothing of tokens."""


def _as_bedrock(fields: Fields, counts: Counts) -> None:
    given = number(fields, "inputTokens")
    counts.output = number(fields, "outputTokens")
    if given is None:
        return
    counts.cached = first(fields, "cacheReadInputTokens", "cacheReadInputTokenCount") or 0
    counts.written = first(fields, "cacheWriteInputTokens", "cacheWriteInputTokenCount") or 0
    counts.input = given + counts.cached + counts.written
    by_life: Any = get_field(fields, "cacheDetails")
    if type(by_life) is list:
        for detail in by_life[:8]:
            if type(detail) is dict and get_field(detail, "ttl") == "1h":
                counts.written_1h += number(detail, "inputTokens") or 0
    counts.provider = "aws"


def _as_cohere(fields: Fields, counts: Counts) -> None:
    billed, counted = inside(fields, "billed_units"), inside(fields, "tokens")
    for part in (billed, counted):
        counts.input, counts.output = number(part, "input_tokens"), number(part, "output_tokens")
        if counts.input is not None or counts.output is not None:
            counts.cached = min(number(fields, "cached_tokens") or 0, counts.input or 0)
            return


def _as_ollama(fields: Fields, counts: Counts) -> None:
    counts.input, counts.output = number(fields, "prompt_eval_count"), number(fields, "eval_count")


INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")


def number(fields: Fields, name: str) -> int | None:
    """A number of tokens, or None where there is none. What can be no number of tokens is counted as invalid."""
    value = get_field(fields, name)
    kind = type(value)
    if kind is int or kind is float:
        return token_count(value)
    if kind is bool or kind is str:
        Diagnostics.invalid_values += 1
    return None


def first(fields: Fields, *names: str) -> int | None:
    """The first of these that is there."""
    for name in names:
        found = number(fields, name)
        if found is not None:
            return found
    return None


def inside(fields: Fields, *names: str) -> Fields:
    """The fields of the first of these that has any."""
    for name in names:
        inner = get_field(fields, name)
        if inner is not None and (found := read_fields(inner)) is not None:
            return found
    return {}


def audio_in(fields: Fields, *, gemini: bool) -> tuple[int, int, int]:
    """Of the input, of that what came out of the cache, of the output; most say nothing.

    Args:
        fields: what says how many tokens there were.
        gemini: whether it does so in Gemini's words.
    """
    if gemini:
        return (
            _by_modality(fields, "prompt_tokens_details", "promptTokensDetails"),
            _by_modality(fields, "cache_tokens_details", "cacheTokensDetails"),
            _by_modality(
                fields, "candidates_tokens_details", "candidatesTokensDetails", "response_tokens_details",
                "responseTokensDetails",
            ),
        )  # fmt: skip
    given, made = inside(fields, *INPUT_DETAILS), inside(fields, *OUTPUT_DETAILS)
    if not given and not made:  # PydanticAI, if anyone
        return (
            number(fields, "input_audio_tokens") or 0,
            number(fields, "cache_audio_read_tokens") or 0,
            number(fields, "output_audio_tokens") or 0,
        )
    heard = first(given, "audio_tokens", "audio") or 0
    cached = number(inside(given, "cached_tokens_details"), "audio_tokens") if heard else 0
    return heard, cached or 0, first(made, "audio_tokens", "audio") or 0


def _by_modality(fields: Fields, *names: str) -> int:
    """Gemini's tokens of audio: it has a list of kinds, each with its count."""
    for name in names:
        kinds: Any = get_field(fields, name)
        if type(kinds) is list:
            for one in kinds[:16]:
                part = read_fields(one)
                if part is not None:
                    kind = get_field(part, "modality")
                    if issubclass(type(kind), str) and str.__eq__(cast(str, kind), "AUDIO"):  # an enum's member, too
                        return first(part, "token_count", "tokenCount") or 0
            return 0
    return 0
