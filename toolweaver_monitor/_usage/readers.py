"""The reader for each type of result that carries usage.

The type alone decides, once per type. It is recognized by the module and the name of its classes: no SDK is imported
for it, and no metaclass is called. Reading (see `fields`) runs no code of the class either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from toolweaver_monitor._core.introspect import mro_of, name_of, vars_of
from toolweaver_monitor._usage.dict_results import MESSAGES_KEY, RAW_KEY, read_dict
from toolweaver_monitor._usage.extract import MODEL_KEYS, USAGE_KEYS, ProviderOf, extract_usage
from toolweaver_monitor._usage.fields import MAX_CACHED_TYPES, Fields, get_field, has_none_of, read_fields
from toolweaver_monitor._usage.token_counts import SPLIT_NAMES
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
        if package in SDKS and any(name_of(base).endswith(_RAW_RESPONSES) for base in bases):
            return _make_raw_reader(SDKS[package])
        if package in SDKS:
            return _make_reader(SDKS[package], increment=_is_increment(package, kind))
    return None


MAX_ELEMENTS = 4
"""Elements up to which a tuple or list is looked into: a function returns an answer beside a few other values."""
_RAW_KEYS = ({RAW_KEY, "parsed"}, {RAW_KEY, "parsed", "parsing_error"})
_FIGURES = frozenset({*USAGE_KEYS, *SPLIT_NAMES})
_INPUT_ROLES = ("user", "system", "developer", "tool", "human")
_INPUT_MESSAGES = ("HumanMessage", "SystemMessage", "ToolMessage", "FunctionMessage", "ChatMessage")


def answers_in(container: object) -> Sequence[object]:
    """Return the elements of a tuple or list, or the message of LangChain's `include_raw`, that may carry usage.

    Costs a type lookup for each element, and runs no code of theirs. A dict among them counts only with the usage of a
    model call: one with a cost may be a row of a table. A list that has messages to a model among its elements is a
    conversation, whose answers belong to other calls as well: none of them is returned. An element comes once, and
    figures alone only if there is no answer beside them, whose figures they would be.

    Args:
        container: an exact tuple, list or dict. An element may have been read by a call inside this one: ask before
            you read it.
    """
    kind = type(container)
    if kind is dict:
        fields = cast(Fields, container)
        return (get_field(fields, RAW_KEY),) if len(fields) <= 3 and {*fields} in _RAW_KEYS else ()
    if (kind is not tuple and kind is not list) or len(cast(Sequence[object], container)) > MAX_ELEMENTS:
        return ()
    found = []
    for element in cast(Sequence[object], container):
        of = type(element)
        if of is dict:
            role = get_field(cast(Fields, element), "role")
            if type(role) is str and role in _INPUT_ROLES:
                return ()
            if not has_none_of(cast(Fields, element), _FIGURES):
                found.append(element)
        elif of not in _PLAIN and find_reader(of) is not None:
            if name_of(of) in _INPUT_MESSAGES:
                return ()
            found.append(element)
    if len(found) > 1:
        found = list({id(element): element for element in found}.values())
        return [element for element in found if not is_bare_usage(element)] or found
    return found


MAX_MESSAGES = 256
"""Messages at the end of a conversation that are looked at."""


def messages_in(result: object) -> Sequence[object]:
    """Return the answers with usage in a list of messages, or in a state that holds one as `messages`.

    They may belong to earlier calls as well: count only those whose id no call has counted. Runs no code of theirs.
    """
    if type(result) is dict:
        result = get_field(cast(Fields, result), MESSAGES_KEY)
    if type(result) is not list or not result or not _is_message(result[-1]):
        return ()
    found = []
    for message in result[-MAX_MESSAGES:]:
        reader = find_reader(type(message)) if _is_message(message) and not _is_input(message) else None
        usage = reader(message) if reader is not None else None
        if usage is not None and (usage.cost or usage.tokens or usage.input_tokens or usage.output_tokens):
            found.append(message)
    return found


def _is_message(element: object) -> bool:
    """Return whether an element is a message, by its class or its `role`."""
    of = type(element)
    if of is dict:
        return type(get_field(cast(Fields, element), "role")) is str
    return of not in _PLAIN and "Message" in name_of(of) and find_reader(of) is not None


def _is_input(message: object) -> bool:
    """Return whether a message is one to a model."""
    if type(message) is dict:
        return get_field(cast(Fields, message), "role") in _INPUT_ROLES
    return name_of(type(message)) in _INPUT_MESSAGES


def is_bare_usage(element: object) -> bool:
    """Return whether an element of a container is the usage of an answer without the answer, which names the model."""
    fields = read_fields(element)
    return (
        fields is not None
        and any(get_field(fields, name) is not None for name in SPLIT_NAMES)
        and not any(get_field(fields, name) is not None for name in (*MODEL_KEYS, *USAGE_KEYS))
    )


_PLAIN = frozenset({str, bytes, int, float, bool, type(None), list, tuple, set})
_unknown = object()
_readers: dict[type, Any] = {}


def find_reader(kind: type) -> Reader | None:
    """Return `reader_for(kind)`, looked up once per type."""
    reader = _readers.get(kind, _unknown)
    if reader is _unknown:
        if len(_readers) >= MAX_CACHED_TYPES:  # a program may create classes at run time without end
            _readers.clear()
        reader = _readers[kind] = reader_for(kind)
    return reader  # type: ignore[no-any-return]


def _is_increment(package: str, kind: type) -> bool:
    """Return whether results of this type add up in a stream. Most chunks cover the whole stream so far."""
    return package == "langchain_core" or "Embed" in name_of(kind)


def _make_reader(provider_of: ProviderOf | None, *, increment: bool) -> Reader:
    def read(result: object) -> Usage | None:
        fields = read_fields(result)
        return None if fields is None else extract_usage(fields, provider_of, increment=increment)

    return read


# --- raw HTTP responses: `with_raw_response`, `with_streaming_response` ----------------------------------------------

_RAW_RESPONSES = ("APIResponse", "ResponseContextManager", "HttpResponse")
"""How their classes end: those of the SDKs of OpenAI, Anthropic and Groq; what opens a streaming one; Cohere's."""
MAX_BODY = 4 << 20
"""Bytes up to which a body is decoded. A larger one, as of many embeddings, takes the caller's time."""
_UNKNOWN = Usage(other_units=1)


def _make_raw_reader(provider_of: ProviderOf | None) -> Reader:
    """Return the reader of responses that hold the body of an answer, or of Cohere's, which hold the parsed answer.

    A body that has not come when the call ends, is no JSON or is too large has an unknown cost.
    """

    def read(response: object) -> Usage | None:
        fields = read_fields(response) or {}
        parsed = get_field(fields, "_data")
        if parsed is not None:
            reader = find_reader(type(parsed))
            return None if reader is None else reader(parsed)
        body = get_field(read_fields(get_field(fields, "http_response")) or {}, "_content")
        if type(body) is not bytes or len(body) > MAX_BODY:
            return _UNKNOWN
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _UNKNOWN
        return extract_usage(answer, provider_of) if type(answer) is dict else None

    return read
