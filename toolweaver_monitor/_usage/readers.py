"""The reader for each type of result that carries usage.

The type alone decides, once per type. It is recognized by the module and the name of its classes: no SDK is imported
for it, and no metaclass is called. Reading (see `fields`) runs no code of the class either.
"""

from __future__ import annotations

from collections.abc import Callable

from toolweaver_monitor._core.introspect import mro_of, name_of, vars_of
from toolweaver_monitor._usage.dict_results import read_dict
from toolweaver_monitor._usage.extract import ProviderOf, extract_usage
from toolweaver_monitor._usage.fields import read_fields
from toolweaver_monitor._usage.usage import Usage

Reader = Callable[[object], Usage | None]

_OPENAI_MODELS = (
    "gpt-", "o1", "o3", "o4", "chatgpt-", "ft:", "text-embedding-", "dall-e", "whisper-", "tts-", "codex-",
    "computer-use", "omni-", "sora-", "davinci", "babbage",
)  # fmt: skip


def _recognize_openai(model: str | None) -> str | None:
    """Return "openai" for its own models. Its SDK also serves many other providers, whose models have other names."""
    if (
        model is None or not model.startswith(_OPENAI_MODELS) or model.startswith("gpt-oss")
    ):  # open weights, served by many
        return None
    return "openai"


def _always(provider: str) -> ProviderOf:
    return lambda _: provider


SDKS: dict[str, ProviderOf | None] = {
    "openai": _recognize_openai,
    "anthropic": _always("anthropic"),
    "google.genai": _always("google"),
    "mistralai": _always("mistral"),
    "cohere": _always("cohere"),
    "groq": _always("groq"),
    "ollama": _always("ollama"),
    "litellm": None,  # this one and those below name the provider in the result
    "langchain_core": None,
    "pydantic_ai": None,
    "mcp": None,
    "mcp_types": None,
}
"""Packages whose results are read, with the provider of results that do not name it themselves."""


def reader_for(kind: type) -> Reader | None:
    """Return the reader for results of exactly this type, or None if they carry no usage.

    Call it once per type and keep the answer.

    Args:
        kind: `type(result)`.
    """
    bases = mro_of(kind)
    if dict in bases:
        return read_dict  # type: ignore[return-value]
    for base in bases:
        module = vars_of(base).get("__module__")
        if type(module) is not str:
            continue
        package = module.split(".", 1)[0]
        if package == "google":
            package = ".".join(module.split(".", 2)[:2])
        if package in SDKS:
            return _make_reader(SDKS[package], increment=_is_increment(package, kind))
    return None


def _is_increment(package: str, kind: type) -> bool:
    """Return whether results of this type add up in a stream. Most chunks cover the whole stream so far."""
    return package == "langchain_core" or "Embed" in name_of(kind)


def _make_reader(provider_of: ProviderOf | None, *, increment: bool) -> Reader:
    def read(result: object) -> Usage | None:
        fields = read_fields(result)
        return None if fields is None else extract_usage(fields, provider_of, increment=increment)

    return read
