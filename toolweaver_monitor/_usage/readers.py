"""Which results carry usage, and how is it read? Told by the result's type alone, once a type.

A type is known by the module and name that its classes carry: no SDK is ever imported for it, and no metaclass is
asked. What it is then read by (see `fields`) runs no code of the class either.
"""

from __future__ import annotations

from collections.abc import Callable

from toolweaver_monitor._core.introspect import mro_of, name_of, vars_of
from toolweaver_monitor._usage.dict_results import read_dict
from toolweaver_monitor._usage.extract import read
from toolweaver_monitor._usage.fields import read_fields
from toolweaver_monitor._usage.usage import Usage

Reader = Callable[[object], Usage | None]

_OPENAI_MODELS = (
    "gpt-", "o1", "o3", "o4", "chatgpt-", "ft:", "text-embedding-", "dall-e", "whisper-", "tts-", "codex-",
    "computer-use", "omni-", "sora-", "davinci", "babbage",
)  # fmt: skip


def _of_openai(model: str | None) -> str | None:
    """OpenAI's SDK is used for many other providers, whose models have other names."""
    if model is None or not model.startswith(_OPENAI_MODELS) or model.startswith("gpt-oss"):  # free for all to serve
        return None
    return "openai"


def _is(provider: str) -> Callable[[str | None], str | None]:
    return lambda _: provider


SDKS: dict[str, Callable[[str | None], str | None] | None] = {
    "openai": _of_openai,
    "anthropic": _is("anthropic"),
    "google.genai": _is("google"),
    "mistralai": _is("mistral"),
    "cohere": _is("cohere"),
    "groq": _is("groq"),
    "ollama": _is("ollama"),
    "litellm": None,  # these say who served it
    "langchain_core": None,
    "pydantic_ai": None,
    "mcp": None,
    "mcp_types": None,
}
"""The packages whose results are read, and who serves them where they do not say so themselves."""


def reader_for(kind: type) -> Reader | None:
    """How results of exactly this type are read, or None if they carry no usage.

    Ask once a type and keep the answer.

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
        sdk = module.split(".", 1)[0]
        if sdk == "google":
            sdk = ".".join(module.split(".", 2)[:2])
        if sdk in SDKS:
            return _fields_reader(SDKS[sdk], adds=_adds(sdk, kind))
    return None


def _adds(sdk: str, kind: type) -> bool:
    """Whether results of this type, met in a stream, are to be added up; most chunks hold for the whole stream."""
    return sdk == "langchain_core" or "Embed" in name_of(kind)


def _fields_reader(told: Callable[[str | None], str | None] | None, *, adds: bool) -> Reader:
    def read_result(result: object) -> Usage | None:
        fields = read_fields(result)
        return None if fields is None else read(fields, told, adds=adds)

    return read_result
