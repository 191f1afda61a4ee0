"""Where in a result do its tokens, cost and model stand? By name, for every provider's own words.

`counting` knows how each provider counts; this file knows where in a result to look.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from toolweaver_monitor._core.sanitize import EXACT, Diagnostics, nanodollars
from toolweaver_monitor._usage.fields import Fields, get_field, read_fields
from toolweaver_monitor._usage.token_counts import SPLIT_NAMES, TOTAL_NAMES, Counts
from toolweaver_monitor._usage.usage import Usage

_COSTS = ("cost", "cost_usd", "total_cost_usd", "response_cost")
_HERE = ("usage", "usage_metadata", "usageMetadata", "token_usage", "meta")
"""What holds the figures of the very result it stands in."""
_DEEPER = (
    "message", "response", "data", "delta", "metadata", "response_metadata", "llm_output", "_state", "raw_response",
    "structured_content", "structuredContent", "_meta", "meta", "_hidden_params", "x_groq",
)  # fmt: skip
"""What, in a result of an SDK, holds another result, or what is said about this one."""
_MODELS = ("model", "model_name", "model_version", "modelVersion", "modelId", "model_id")
_PROVIDERS = ("provider", "provider_name", "model_provider", "custom_llm_provider")

ENVELOPE_KEYS = ("message", "response", "delta", "metadata", "structuredContent", "_meta", "x_groq")
"""Where a plain dict holds the figures of a provider's event or of an MCP result (see `unwrap_envelope`)."""
DICT_KEYS = frozenset((*TOTAL_NAMES, *SPLIT_NAMES, *_COSTS, *_HERE, *_MODELS, *_PROVIDERS, *ENVELOPE_KEYS, "cached"))
"""A dict with none of these keys says nothing of usage."""

MAX_DEPTH = 3

PROVIDERS = {
    "google_genai": "google", "google-gla": "google", "google-vertex": "google", "google_vertexai": "google",
    "gemini": "google", "vertex_ai": "google", "gcp.gemini": "google", "gcp.vertex_ai": "google",
    "bedrock": "aws", "bedrock_converse": "aws", "amazon_bedrock": "aws", "aws.bedrock": "aws", "aws_bedrock": "aws",
    "mistralai": "mistral", "mistral_ai": "mistral", "azure_openai": "azure", "azure.ai.openai": "azure",
    "openai-chat": "openai", "openai-responses": "openai", "x_ai": "x-ai", "xai": "x-ai", "cohere_chat": "cohere",
}  # fmt: skip
"""One name for a provider that is called by several."""


class Found:
    """What has been found so far."""

    __slots__ = ("cached", "cost", "counts", "model", "provider")

    def __init__(self) -> None:
        self.counts: Counts | None = None
        self.cost: Any = None
        self.model: str | None = None
        self.provider: str | None = None
        self.cached = False


def read(
    result: Fields, told: Callable[[str | None], str | None] | None = None, *, plain: bool = False, adds: bool = False
) -> Usage | None:
    """What these fields say of usage, or None where they say nothing.

    Args:
        result: the fields of a result (see `fields.view`).
        told: given the model's name, who serves results of this type where they do not say so themselves.
        plain: it is a dict, which may be about anything and hold other tools' results: it is not searched in depth.
        adds: in a stream, results of this type are to be added up.
    """
    found = Found()
    if plain:
        take(result, found)
        adds = found.counts is not None or found.cost is not None
        look_here(result, found)
        inner = unwrap_envelope(result)
        if inner is not None:
            look(inner, found, MAX_DEPTH)
    else:
        look(result, found, 0)
    if found.counts is None and found.cost is None and found.model is None and not found.cached:
        return None
    counts = found.counts or Counts()
    provider = found.provider or counts.provider or (told(found.model) if told is not None else None)
    return Usage(
        tokens=counts.unsplit,
        input_tokens=counts.input or 0,
        output_tokens=counts.output or 0,
        cached_tokens=counts.cached,
        cache_write_tokens=counts.written,
        cache_write_1h_tokens=counts.written_1h,
        input_audio_tokens=counts.audio[0],
        cached_audio_tokens=counts.audio[1],
        output_audio_tokens=counts.audio[2],
        cost=found.cost,
        model=found.model,
        provider=None if provider is None else PROVIDERS.get(provider, provider),
        cached=found.cached,
        increment=adds,
    )


def unwrap_envelope(result: Fields) -> Fields | None:
    """The fields that a provider's event, or an MCP result, holds its figures in, where this dict is such a one.

    Only then: what a tool passes on under "data" or "response" may be another tool's result, counted there already.
    """
    kind = get_field(result, "type")
    if type(kind) is str:
        if kind == "message_start":  # Anthropic
            return read_fields(get_field(result, "message"))
        if kind.startswith("response."):  # OpenAI responses
            return read_fields(get_field(result, "response"))
        if kind == "message-end":  # Cohere
            return read_fields(get_field(result, "delta"))
    if (
        get_field(result, "object") == "chat.completion.chunk"
        and (told := read_fields(get_field(result, "x_groq"))) is not None
    ):
        return told  # Groq
    told = read_fields(get_field(result, "metadata"))
    if (
        told is not None
        and (usage := read_fields(get_field(told, "usage"))) is not None
        and get_field(usage, "inputTokens") is not None
    ):
        return told  # Bedrock
    if type(get_field(result, "content")) is list:  # MCP
        for name in ("_meta", "structuredContent"):
            fields = read_fields(get_field(result, name))
            if fields is not None and not DICT_KEYS.isdisjoint([key for key in fields if type(key) is str]):
                return fields
    return None


def look(result: Fields, found: Found, depth: int) -> None:
    """Add to `found` what it does not have yet and these fields say."""
    take(result, found)
    look_here(result, found)
    if depth < MAX_DEPTH and (found.counts is None or found.model is None or found.provider is None):
        for name in _DEEPER:
            inner = get_field(result, name)
            if inner is not None and (fields := read_fields(inner)) is not None:
                look(fields, found, depth + 1)
    if found.model is None:
        look_back(result, found)


def look_back(result: Fields, found: Found) -> None:
    """Which model an agent's run (PydanticAI) asked last, out of its messages."""
    messages = get_field(result, "message_history")
    if type(messages) is list:
        for message in reversed(messages[-8:]):
            fields = read_fields(message)
            if fields is not None and (model := text(fields, _MODELS)) is not None:
                found.model, found.provider = model, found.provider or text(fields, _PROVIDERS)
                return


def look_here(result: Fields, found: Found) -> None:
    """As `look`, in what holds the figures of this very result."""
    for name in _HERE:
        inner = get_field(result, name)
        if inner is not None and (fields := read_fields(inner)) is not None:
            if name == "meta" and get_field(fields, "billed_units") is None and get_field(fields, "tokens") is None:
                continue
            take(fields, found)


def take(fields: Fields, found: Found) -> None:
    """As `look`, in these very fields and no deeper."""
    if found.counts is None:
        found.counts = Counts.of(fields)
    elif found.counts.only_total:
        parts = Counts.of(fields)
        if parts is not None and (parts.input or 0) + (parts.output or 0) == found.counts.total:
            found.counts = parts  # the same tokens, told apart: now they have a price
    if found.cost is None:
        found.cost = cost_in(fields)
    found.model = found.model or text(fields, _MODELS)
    found.provider = found.provider or text(fields, _PROVIDERS)
    found.cached = found.cached or get_field(fields, "cached") is True


def cost_in(fields: Fields) -> float | Decimal | None:
    """The first good figure that is named as a cost in dollars; bad ones are counted as invalid."""
    for name in _COSTS:
        value = get_field(fields, name)
        if type(value) is dict:  # Perplexity: {"total_cost": ...}
            value = get_field(value, "total_cost")
        kind = type(value)
        if issubclass(kind, float):  # numpy.float64
            value = float.__float__(value)
        elif kind is bool or kind is str:
            Diagnostics.invalid_values += 1
            continue
        elif kind is not int and kind is not Decimal:
            continue
        nano = nanodollars(value)
        if nano is None:
            continue
        if get_field(fields, "is_byok") is True:
            return _with_the_provider(fields, nano)
        return value  # type: ignore[no-any-return]
    return None


def _with_the_provider(fields: Fields, nano: int) -> Decimal | None:
    """OpenRouter, with a key of the user's own: its cost is its fee, and what the provider charges stands apart."""
    details = read_fields(get_field(fields, "cost_details"))
    charged = nanodollars(get_field(details, "upstream_inference_cost")) if details is not None else None
    return None if charged is None else EXACT.scaleb(Decimal(nano + charged), -9)


def text(fields: Fields, names: tuple[str, ...]) -> str | None:
    """The first of these that holds a text which is not empty."""
    for name in names:
        value = get_field(fields, name)
        if type(value) is str and value:
            return value
    return None
