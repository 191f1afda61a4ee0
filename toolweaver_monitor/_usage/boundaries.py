"""Where one answer ends and the next begins, in a stream that carries several."""

from __future__ import annotations

from typing import Literal

from toolweaver_monitor._usage.fields import Fields, get_field, read_fields

Kind = Literal["answer", "first", "continued", "chunk", "last"]
"""The part of an answer that an item is: a whole one, its first part, a later part that names no answer, any part of
it, or its last part.
"""

_WHOLE = frozenset({"chat.completion", "text_completion", "response", "list", "message", "completion"})
"""What a whole answer calls itself, as `object` or `type`. Parts of OpenAI's old completions do as well; they have an
id.
"""
_FIRST = frozenset({"message_start", "message-start", "response.created"})
_CONTINUED = frozenset({"message_delta"})
_LAST = frozenset({
    "message_stop", "message-end", "response.completed", "response.incomplete", "response.failed", "response.done",
})  # fmt: skip
_PART_KEYS = ("delta", "candidates", "usageMetadata", "usage_metadata", "event", "event_type", "type", "object", "data")
"""Keys of dicts that are parts of a stream, or may be; a dict with none of them is a whole answer."""
_TURN_ENDS = ("turn_complete", "turnComplete", "generation_complete", "generationComplete")


def kind_of(fields: Fields) -> Kind:
    """Return which part of an answer an item with a usage is.

    An item that does not say what it is counts as a part if its keys are those of a stream, else as a whole answer.
    """
    kind = get_field(fields, "type")
    if type(kind) is str:
        if kind in _FIRST:
            return "first"
        if kind in _CONTINUED:
            return "continued"
        if kind in _LAST:
            return "last"
        if kind in _WHOLE:
            return "answer"
    name = get_field(fields, "object")
    if type(name) is str and name in _WHOLE:
        return "answer"
    chunk = read_fields(get_field(fields, "data")) or fields  # Mistral's events hold the chunk
    choices = get_field(chunk, "choices")
    if type(choices) is list:
        if not choices:  # OpenAI's last chunk has the usage only
            return "last"
        if get_field(read_fields(choices[0]) or {}, "delta") is not None:
            return "chunk"
    candidates = get_field(fields, "candidates")
    if type(candidates) is list and candidates:
        candidate = read_fields(candidates[0]) or {}
        ended = get_field(candidate, "finish_reason"), get_field(candidate, "finishReason")
        return "chunk" if ended == (None, None) else "last"
    metadata = read_fields(get_field(fields, "metadata"))
    if metadata is not None and get_field(metadata, "usage") is not None:  # Bedrock sends it once an answer
        return "last"
    if any(get_field(fields, key) is not None for key in _PART_KEYS):
        return "chunk"
    return "answer"


def is_begin_mark(fields: Fields) -> bool:
    """Return whether an item without a usage says that another answer begins."""
    kind = get_field(fields, "type")
    return (type(kind) is str and kind in _FIRST) or get_field(fields, "messageStart") is not None  # Bedrock


def is_end_mark(fields: Fields) -> bool:
    """Return whether an item says that an answer has ended. Its usage may still follow, or be repeated."""
    kind = get_field(fields, "type")
    if type(kind) is str and kind in _LAST:
        return True
    for name in ("server_content", "serverContent"):  # Gemini's Live API
        content = read_fields(get_field(fields, name))
        if content is not None and any(get_field(content, end) is True for end in _TURN_ENDS):
            return True
    return False


def read_response_id(fields: Fields) -> str | None:
    """Return the id of the response that a chunk belongs to, or None."""
    for name in ("message", "response", "data"):
        value = get_field(fields, name)
        inner = read_fields(value) if value is not None else None
        if inner is not None:
            fields = inner
            break
    for name in ("run_id", "id", "response_id", "responseId"):  # run_id first, for a step of an OpenAI assistant's run
        value = get_field(fields, name)
        if type(value) is str and value:
            return value
    return None
