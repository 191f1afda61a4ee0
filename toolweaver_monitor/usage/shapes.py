"""Where in a result do its tokens, cost and model stand? By name, for every provider's own words.

`counting` knows how each provider counts; this file knows where in a result to look.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from toolweaver_monitor.call import Invalid
from toolweaver_monitor.usage.counting import SPLIT_NAMES, TOTAL_NAMES, Counts
from toolweaver_monitor.usage.fields import View, get, view
from toolweaver_monitor.usage.figures import Usage

_COSTS = ("cost", "cost_usd", "total_cost_usd", "response_cost")
_HERE = ("usage", "usage_metadata", "usageMetadata", "token_usage", "meta")
"""What holds the figures of the very result it stands in."""
DEEPER = (
    "message", "response", "data", "delta", "metadata", "response_metadata", "llm_output", "_state", "raw_response",
    "structured_content", "structuredContent", "_meta", "_hidden_params",
)  # fmt: skip
"""What holds another result, or what is said about this one."""
_MODELS = ("model", "model_name", "model_version", "modelVersion", "modelId", "model_id")
_PROVIDERS = ("provider", "provider_name", "model_provider", "custom_llm_provider")

DICT_KEYS = frozenset((*TOTAL_NAMES, *SPLIT_NAMES, *_COSTS, *_HERE, *DEEPER, *_MODELS, *_PROVIDERS, "cached"))
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
    result: View, told: Callable[[str | None], str | None] | None = None, *, plain: bool = False
) -> Usage | None:
    """What these fields say of usage, or None where they say nothing.

    Args:
        result: the fields of a result (see `fields.view`).
        told: given the model's name, who serves results of this type where they do not say so themselves.
        plain: it is a dict that may be about anything, where the name of a model somewhere inside means nothing.
    """
    found = Found()
    look(result, found, 0)
    counts = found.counts or Counts()
    if found.counts is None and found.cost is None and not found.cached:
        if found.model is None or (plain and text(result, _MODELS) is None):
            return None
    provider = found.provider or counts.provider or (told(found.model) if told is not None else None)
    return Usage(
        tokens=counts.unsplit,
        input_tokens=counts.input or 0,
        output_tokens=counts.output or 0,
        cached_tokens=counts.cached,
        cache_write_tokens=counts.written,
        cache_write_1h_tokens=counts.written_1h,
        cost=found.cost,
        model=found.model,
        provider=None if provider is None else PROVIDERS.get(provider, provider),
        cached=found.cached,
    )


def look(result: View, found: Found, depth: int) -> None:
    """Add to `found` what it does not have yet and these fields say."""
    take(result, found)
    for name in _HERE:
        inner = get(result, name)
        if inner is not None and (fields := view(inner)) is not None:
            take(fields, found)
    if depth < MAX_DEPTH and (found.counts is None or found.model is None or found.provider is None):
        for name in DEEPER:
            inner = get(result, name)
            if inner is not None and (fields := view(inner)) is not None:
                look(fields, found, depth + 1)


def take(fields: View, found: Found) -> None:
    """As `look`, in these very fields and no deeper."""
    if found.counts is None:
        found.counts = Counts.of(fields)
    if found.cost is None:
        found.cost = cost_in(fields)
    found.model = found.model or text(fields, _MODELS)
    found.provider = found.provider or text(fields, _PROVIDERS)
    found.cached = found.cached or get(fields, "cached") is True


def cost_in(fields: View) -> float | Decimal | None:
    """The first figure that is named as a cost in dollars. What is no figure is left out and counted as invalid."""
    for name in _COSTS:
        value = get(fields, name)
        if type(value) is dict:  # Perplexity: {"total_cost": ...}
            value = get(value, "total_cost")
        kind = type(value)
        if kind is float or kind is int or kind is Decimal:
            return value  # type: ignore[no-any-return]
        if isinstance(value, float):  # numpy.float64
            return float.__float__(value)
        if kind is bool or kind is str:
            Invalid.figures += 1
    return None


def text(fields: View, names: tuple[str, ...]) -> str | None:
    """The first of these that holds a text which is not empty."""
    for name in names:
        value = get(fields, name)
        if type(value) is str and value:
            return value
    return None
