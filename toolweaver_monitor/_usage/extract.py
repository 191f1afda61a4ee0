"""Find usage, cost and model in a result by the names that each provider uses.

This module knows where in a result to look; `token_counts` knows how each provider counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from toolweaver_monitor._core.sanitize import EXACT, Diagnostics, nanodollars, plain_number
from toolweaver_monitor._usage.fields import Fields, get_field, has_none_of, read_fields
from toolweaver_monitor._usage.parts import normalize_tier
from toolweaver_monitor._usage.token_counts import MAX_ROUNDS, SPLIT_NAMES, TOTAL_NAMES, TokenCounts
from toolweaver_monitor._usage.usage import Usage

_COST_KEYS = ("cost", "cost_usd", "total_cost_usd", "response_cost")
USAGE_KEYS = ("usage", "usage_metadata", "usageMetadata", "token_usage", "meta")
"""Where a result holds its own usage."""
_NESTED_KEYS = (
    "message", "response", "data", "delta", "metadata", "response_metadata", "llm_output", "_state", "raw_response",
    "structured_content", "structuredContent", "_meta", "meta", "_hidden_params", "x_groq",
)  # fmt: skip
"""Where a result of an SDK holds another result, or metadata about itself."""
MODEL_KEYS = ("model", "model_name", "model_version", "modelVersion", "modelId", "model_id")
DATE_SUFFIX = re.compile(r"[-@:](\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
"""What one of two names of a model may have at its end."""
TIER_KEYS = frozenset({"service_tier", "serviceTier", "traffic_type", "trafficType"})
_PROVIDER_KEYS = ("provider", "provider_name", "model_provider", "custom_llm_provider")

ENVELOPE_KEYS = ("message", "response", "delta", "metadata", "structuredContent", "_meta", "x_groq", "choices")
"""Where a plain dict holds the usage if it is a provider's event or an MCP result (see `unwrap_envelope`)."""
DICT_KEYS = frozenset(
    (
        *TOTAL_NAMES, *SPLIT_NAMES, *_COST_KEYS, *USAGE_KEYS, *MODEL_KEYS, *_PROVIDER_KEYS, *ENVELOPE_KEYS,
        "cached",
    )
)  # fmt: skip
"""A dict with none of these keys reports no usage."""

MAX_NESTING = 3

PROVIDER_ALIASES = {
    "google_genai": "google", "google-gla": "google", "google-vertex": "google", "google_vertexai": "google",
    "gemini": "google", "vertex_ai": "google", "gcp.gemini": "google", "gcp.vertex_ai": "google",
    "bedrock": "aws", "bedrock_converse": "aws", "amazon_bedrock": "aws", "aws.bedrock": "aws", "aws_bedrock": "aws",
    "mistralai": "mistral", "mistral_ai": "mistral", "azure_openai": "azure", "azure.ai.openai": "azure",
    "openai-chat": "openai", "openai-responses": "openai", "x_ai": "x-ai", "xai": "x-ai", "cohere_chat": "cohere",
}  # fmt: skip
"""The one name used here for a provider that has several."""

ProviderOf = Callable[[str | None], str | None]
"""Returns the provider that serves a model of this name, or None if it is not known."""


class Extraction:
    """The usage found in one result so far. Of each kind of value, the first that is found counts."""

    __slots__ = ("cached", "cost", "counts", "has_other_models", "model", "provider", "tier")

    def __init__(self) -> None:
        self.counts: TokenCounts | None = None
        self.cost: float | Decimal | None = None
        self.model: str | None = None
        self.provider: str | None = None
        self.cached = self.has_other_models = False
        self.tier: str | None = None

    def search(self, result: Fields, depth: int) -> None:
        """Read a result and, down to `MAX_NESTING`, what is nested in it."""
        self.read(result)
        self.read_usage_keys(result)
        self._read_choices(result)
        if depth < MAX_NESTING and (self.counts is None or self.model is None or self.provider is None):
            for name in _NESTED_KEYS:
                value = get_field(result, name)
                if value is not None and (fields := read_fields(value)) is not None:
                    self.search(fields, depth + 1)
            if self.counts is None or self.model is None:
                self._read_generations(result, depth)
        if self.model is None:
            self._read_message_history(result)

    def read_usage_keys(self, result: Fields) -> None:
        """Read the fields in which a result holds its own usage."""
        for name in USAGE_KEYS:
            value = get_field(result, name)
            if value is not None and (fields := read_fields(value)) is not None:
                if name == "meta" and get_field(fields, "billed_units") is None and get_field(fields, "tokens") is None:
                    continue
                self.read(fields)
                if self.counts is None and _is_duration(fields):
                    self.counts = TokenCounts()
                    self.counts.parts["other_units"] = 1

    def _read_choices(self, result: Fields) -> None:
        """Read the usage that the first choice of a chunk holds (Moonshot), if the chunk itself holds none."""
        if self.counts is None:
            choices = get_field(result, "choices")
            if type(choices) is list and choices and (fields := read_fields(choices[0])) is not None:
                self.read_usage_keys(fields)

    def _read_generations(self, result: Fields, depth: int) -> None:
        """Read LangChain's results: one generation for each answer, or a list of them for each prompt.

        The answers to one prompt each report the usage of the whole request, and prompts add up.
        """
        generations = get_field(result, "generations")
        if type(generations) is not list:
            return
        requests: list[Extraction] = []
        for answers in generations[:MAX_ROUNDS] if generations and type(generations[0]) is list else [generations]:
            request = Extraction()
            for answer in answers[:MAX_ROUNDS] if type(answers) is list else ():
                if request.counts is None and (fields := read_fields(answer)) is not None:
                    request.search(fields, depth + 1)
            requests.append(request)
        if self.counts is None and (counts := [each.counts for each in requests if each.counts is not None]):
            self.counts = TokenCounts.sum(counts)
            costs = [nanodollars(each.cost) for each in requests]
            if self.cost is None and None not in costs:
                self.cost = EXACT.scaleb(Decimal(sum(costs)), -9)  # type: ignore[arg-type]
        for each in requests:
            self.model, self.provider = self.model or each.model, self.provider or each.provider

    def read(self, fields: Fields) -> None:
        """Read these fields only, nothing nested in them."""
        if self.counts is None:
            self.counts = TokenCounts.from_fields(fields)
        elif self.counts.has_only_total:
            split = TokenCounts.from_fields(fields)
            if split is not None and (split.input or 0) + (split.output or 0) == self.counts.total:
                self.counts = split  # the same tokens, split into input and output: these have a price
        if self.cost is None:
            self.cost = read_cost(fields)
        self.model = self.model or read_text(fields, MODEL_KEYS)
        self.provider = self.provider or read_text(fields, _PROVIDER_KEYS)
        self.cached = self.cached or get_field(fields, "cached") is True
        if self.tier is None:
            self.tier = _read_tier(fields, is_anthropic=self.counts is not None and self.counts.provider == "anthropic")

    def _read_message_history(self, result: Fields) -> None:
        """Read the model that an agent's run (PydanticAI) called last, from its messages.

        If the run has called others as well (`FallbackModel`), the tokens are not those of one model.
        """
        messages, run = get_field(result, "message_history"), read_text(result, ("run_id",))
        for message in reversed(messages[-MAX_ROUNDS:]) if type(messages) is list else ():
            fields = read_fields(message) or {}
            model = read_text(fields, MODEL_KEYS)
            if model is not None and self.model is None:
                self.model, self.provider = model, self.provider or read_text(fields, _PROVIDER_KEYS)
            elif model not in (None, self.model) and read_text(fields, ("run_id",)) == run is not None:
                self.has_other_models = True
                return


def extract_usage(
    result: Fields, provider_of: ProviderOf | None = None, *, is_plain_dict: bool = False, increment: bool = False
) -> Usage | None:
    """Return the usage that a result reports, or None if it reports none.

    Args:
        result: the fields of a result (see `fields.read_fields`).
        provider_of: returns the provider for results of this type that do not name it themselves.
        is_plain_dict: the result is a dict, which may be about anything and may hold results of other tools; what is
            nested in it is read only if it is a known envelope.
        increment: in a stream, results of this type add up.
    """
    found = Extraction()
    if is_plain_dict:
        found.read(result)
        increment = found.counts is not None or found.cost is not None
        found.read_usage_keys(result)
        inner = unwrap_envelope(result)
        if inner is not None:
            found.search(inner, MAX_NESTING)
    else:
        found.search(result, 0)
    if found.counts is None and found.cost is None and found.model is None and not found.cached:
        return None
    counts = found.counts or TokenCounts()
    if found.has_other_models:
        counts.parts["other_units"] = 1
    provider = found.provider or counts.provider or (provider_of(found.model) if provider_of is not None else None)
    return Usage(
        tokens=counts.unsplit,
        input_tokens=counts.input or 0,
        output_tokens=counts.output or 0,
        cached_tokens=counts.cached,
        cache_write_tokens=counts.cache_write,
        cache_write_1h_tokens=counts.cache_write_1h,
        **counts.parts,
        service_tier=found.tier,
        cost=found.cost,
        model=found.model,
        provider=None if provider is None else PROVIDER_ALIASES.get(provider, provider),
        cached=found.cached,
        increment=increment,
    )


def unwrap_envelope(result: Fields) -> Fields | None:
    """Return the fields that hold the usage of a provider's event or of an MCP result; None for any other dict.

    Other dicts are not unwrapped: what a tool passes on under "data" or "response" may be the result of another tool,
    whose usage is counted already.
    """
    kind = get_field(result, "type")
    if type(kind) is str:
        if kind == "message_start":  # Anthropic
            return read_fields(get_field(result, "message"))
        if kind.startswith("response."):  # OpenAI responses
            return read_fields(get_field(result, "response"))
        if kind == "message-end":  # Cohere
            return read_fields(get_field(result, "delta"))
    if get_field(result, "object") == "chat.completion.chunk":
        fields = read_fields(get_field(result, "x_groq"))
        if fields is not None:
            return fields
        choices = get_field(result, "choices")
        if type(choices) is list and choices and (fields := read_fields(choices[0])) is not None:
            return fields if get_field(fields, "usage") is not None else None
    metadata = read_fields(get_field(result, "metadata"))
    usage = read_fields(get_field(metadata, "usage")) if metadata is not None else None
    if usage is not None and get_field(usage, "inputTokens") is not None:  # Bedrock
        return metadata
    if type(get_field(result, "content")) is list:  # MCP
        for name in ("_meta", "structuredContent"):
            fields = read_fields(get_field(result, name))
            if fields is not None and not DICT_KEYS.isdisjoint([key for key in fields if type(key) is str]):
                return fields
    return None


def _is_duration(usage: Fields) -> bool:
    """Return whether a usage is the length of an audio, as of OpenAI's transcriptions that are billed by it."""
    kind, seconds = get_field(usage, "type"), plain_number(get_field(usage, "seconds"))
    return type(kind) is str and kind == "duration" and seconds is not None and seconds > 0


def read_cost(fields: Fields) -> float | Decimal | None:
    """Return the first valid cost in dollars, or None. Invalid ones are counted as invalid."""
    for name in _COST_KEYS:
        value = get_field(fields, name)
        if type(value) is dict:  # Perplexity: {"total_cost": ...}
            value = get_field(value, "total_cost")
        if value is None:
            continue
        kind = type(value)
        if kind is bool or kind is str:
            Diagnostics.invalid_values += 1
            continue
        if kind is not float and kind is not int and kind is not Decimal:
            value = plain_number(value)
        nano = nanodollars(value)
        if nano is None:
            continue
        if get_field(fields, "is_byok") is True:
            return _add_upstream_cost(fields, nano)
        return value  # type: ignore[no-any-return]
    return None


def _read_tier(fields: Fields, *, is_anthropic: bool) -> str | None:
    """Return the service tier that an answer names, if it is not the default one."""
    if not has_none_of(fields, TIER_KEYS):
        for name in TIER_KEYS:
            value = get_field(fields, name)
            if type(value) is dict:  # Bedrock
                value = get_field(value, "type")
            if value is not None and (tier := normalize_tier(value)) is not None:
                return tier
    speed = get_field(fields, "speed") if is_anthropic else None
    return speed if type(speed) is str and speed == "fast" else None


def _add_upstream_cost(fields: Fields, nano: int) -> Decimal | None:
    """Add what the provider charges, for OpenRouter used with the user's own key: its cost is only OpenRouter's fee."""
    details = read_fields(get_field(fields, "cost_details"))
    charged = nanodollars(get_field(details, "upstream_inference_cost")) if details is not None else None
    return None if charged is None else EXACT.scaleb(Decimal(nano + charged), -9)


def read_text(fields: Fields, names: tuple[str, ...]) -> str | None:
    """Return the first of these values that is a non-empty text, or None."""
    for name in names:
        value = get_field(fields, name)
        if type(value) is str and value:
            return value
    return None
