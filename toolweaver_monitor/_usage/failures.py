"""Failures that a result tells, since many tools return their errors: of MCP, of frameworks, of one's own conventions.

Only stored fields are read (see `fields`), and the flags must be exactly `True`, `False` or these texts.
"""

from __future__ import annotations

import types
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.introspect import mro_of, vars_of
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._text import safe_repr
from toolweaver_monitor._usage.fields import Fields, get_field, read_fields

FAILURE_KEYS = frozenset({"isError", "is_error", "success", "status", "error"})
"""The fields that can tell a failure."""

_TEXTS = ("error", "error_message", "message", "content", "result", "blocks")
"""The fields that say which failure it is."""


def find_failure(result: object, fields: Fields) -> str | None:
    """Return the text of the failure that a result tells, or None if it tells none.

    A result tells a failure if

    - `isError` or `is_error` is True (MCP, LlamaIndex, AutoGen);
    - `success` is False, and an `error` stands there or in `metadata` (ToolWeaver);
    - `status` is `"error"`, of an object also `"failure"`, and it says which error (LangChain, Strands, ADK, Agno);
    - it is a dict with a text as `error`, and nothing else (ADK, ToolWeaver).

    Args:
        result: what a tool returned.
        fields: its fields.
    """
    if get_field(fields, "isError") is True or get_field(fields, "is_error") is True:
        return _first_text(fields, *_TEXTS) or "the result says that it is an error"
    is_dict = issubclass(type(result), dict)
    if get_field(fields, "success") is False:
        metadata = read_fields(get_field(fields, "metadata"))
        return _first_text(fields, "error") or (None if metadata is None else _first_text(metadata, "error"))
    status = get_field(fields, "status")
    if type(status) is str and (status == "error" or (status == "failure" and not is_dict)):
        is_content = not is_dict or type(get_field(fields, "content")) is list  # and not the text of a page
        return _first_text(fields, "error", "error_message", "message", *(("content",) if is_content else ()))
    if is_dict and dict.__len__(fields) == 1:
        error = get_field(fields, "error")
        return error if type(error) is str and error else None
    return None


def _first_text(fields: Fields, *names: str, depth: int = 2) -> str | None:
    """Return the first text that stands in one of these fields, or None."""
    return next(filter(None, (_text_of(get_field(fields, name), depth) for name in names)), None)


def _text_of(value: Any, depth: int) -> str | None:
    """Return an error's text: of a text, an exception, a message, or the first piece of a content. None if empty."""
    if type(value) is list:
        value = value[0] if value else None
    if type(value) is str:
        return value or None
    if issubclass(type(value), BaseException):
        return safe_repr.error_text(value, source="args") or safe_repr.type_name(value)
    fields = read_fields(value) if depth else None
    return None if fields is None else _first_text(fields, "text", "message", "content", depth=depth - 1)


def can_tell_failure(kind: type) -> bool:
    """Return whether objects of this type may tell a failure: dicts, and those with fields of such names.

    The names are taken from what the class declares, or sets in its `__init__`; no code of it runs. Call it once per
    type and keep the answer.
    """
    bases = mro_of(kind)
    if dict in bases or types.SimpleNamespace in bases:
        return True
    names: set[object] = set()
    for base in bases:
        own = vars_of(base)
        for key in ("__annotations__", "__dataclass_fields__", "__pydantic_fields__"):
            declared = own.get(key)
            names.update(declared if type(declared) is dict else ())
        init = own.get("__init__")
        names.update(init.__code__.co_names if type(init) is types.FunctionType else ())
        names.update(name for name, member in own.items() if type(member) is types.MemberDescriptorType)
    return (
        not names.isdisjoint({"isError", "is_error"})
        or ("success" in names and not names.isdisjoint({"error", "metadata"}))
        or ("status" in names and not names.isdisjoint({"error", "error_message", "tool_call_id"}))
    )


def apply_failure(call: ToolCall, result: object) -> bool:
    """Mark a call as failed if its result tells a failure, and return whether the call is marked.

    Like all reading, it runs no code of the result. A call that the program has marked itself keeps its own text.
    """
    try:
        if call.error_type is None:
            fields = read_fields(result)
            text = find_failure(result, fields) if fields is not None else None
            if text is not None:
                call.fail(text)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a key with the hash of one of these names, which raises when compared
        Diagnostics.invalid_values += 1
    return call.error_type is not None
