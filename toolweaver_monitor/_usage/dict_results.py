"""Usage read from plain dicts, the most common results and therefore the fastest path.

Only strings of this library are looked up, with the methods of `dict` itself: no code of a dict's subclass, keys or
values is called.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails, CompactDetails
from toolweaver_monitor._core.known_results import ALONE, displace, is_known, kept, recent, remember
from toolweaver_monitor._core.sanitize import MAX_COUNT, MAX_FAST, MAX_LABEL_CHARS, NANO, Diagnostics
from toolweaver_monitor._text.redact import AHEAD
from toolweaver_monitor._usage.counted_ids import ID_KEYS, id_of, mark_counted
from toolweaver_monitor._usage.extract import (
    DICT_KEYS,
    ENVELOPE_KEYS,
    PROVIDER_ALIASES,
    TIER_KEYS,
    extract_usage,
    unwrap_envelope,
)
from toolweaver_monitor._usage.failures import FAILURE_KEYS, apply_failure
from toolweaver_monitor._usage.fields import Fields
from toolweaver_monitor._usage.usage import Usage, apply_usage

RAW_KEY = "raw"
"""The key of the answer in a dict of LangChain's `include_raw` (see `readers.answers_in`)."""

MESSAGES_KEY = "messages"
"""A key of a graph's state, whose messages are read as a list of them (see `readers.messages_in`)."""

_READ_KEYS = DICT_KEYS | FAILURE_KEYS | {RAW_KEY, MESSAGES_KEY}
_has_only_amounts = (_READ_KEYS - {"tokens_used", "cost"}).isdisjoint
_has_only_common_keys = ((_READ_KEYS | TIER_KEYS) - {"tokens_used", "cost", "model", "provider", "cached"}).isdisjoint
_has_only_amounts_without_id = (_READ_KEYS - {"tokens_used", "cost"} | ID_KEYS).isdisjoint
_has_nothing_to_read = _READ_KEYS.isdisjoint
_has_no_flag = FAILURE_KEYS.isdisjoint

_DIRECT_KEYS = tuple(DICT_KEYS.difference(ENVELOPE_KEYS))

SMALL_DICT = 64
"""Up to this number of keys, one set operation is faster than a lookup of each name that means usage."""

MAX_NOTED_KEYS = 8


def apply_dict(call: ToolCall, result: Fields) -> bool:
    """Apply the usage that an exact dict reports to the call that returned it, unless it was counted before.

    Equivalent to `apply_usage(call, read_dict(result))`, in a tenth of the time for the keys that tools use most.
    Tokens and cost alone take 0.25 us: they are converted off the caller's path (see `CompactDetails`: 0.2 us less),
    and names are looked up with `in`, which takes half the time of `dict.get`. To recognize a result that comes again
    takes 0.06 us more: the steps of `known_results.displace` are written out.

    Args:
        call: a call that is about to close. Nothing is declared for its tool, and no call is around it.
        result: an exact dict.

    Returns:
        True if the call needs no price: the result reports nothing, or tokens and cost only (`CompactDetails`).
    """
    names = None
    try:
        if len(result) <= SMALL_DICT:
            names = {*result}  # takes the hashes from the dict; a set built by iteration would call each __hash__
            if _has_only_amounts(names) and call._details is None:
                if "cost" in names:
                    tokens, cost = result["tokens_used"] if "tokens_used" in names else 0, result["cost"]
                    if type(tokens) is int and type(cost) is float and 0 <= tokens <= MAX_FAST and 0.0 <= cost <= 1e6:
                        held = recent[0]
                        if getrefcount(held) <= ALONE and recent[0] is held and not kept:
                            recent[0] = result
                        elif displace(result):
                            call._ensure_details().is_repeat = True
                            return False
                        call._details = CompactDetails(tokens, cost, True)
                        return True
                elif "tokens_used" not in names:
                    return True
            elif _has_nothing_to_read(names):
                return True
        if is_known(result):
            call._ensure_details().is_repeat = True
            apply_failure(call, result)
            return False
        if not read_into(call, result, names):
            if call._details is not None:
                remember(result)
                mark_counted(id_of(result))
            return False
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a user's key with the hash of one of our names, which raises when compared
        Diagnostics.invalid_values += 1
        return False
    return True


def apply_amounts(call: ToolCall, result: Fields) -> bool:
    """Do as `apply_dict` for a call inside another, if the dict tells tokens and cost only, and no id.

    Returns:
        True if that is all. False, with nothing applied, if the dict tells more or was counted before.
    """
    try:
        if len(result) > SMALL_DICT:
            return False
        names = {*result}
        if _has_nothing_to_read(names):
            return True
        if "cost" in names and _has_only_amounts_without_id(names):
            tokens, cost = result["tokens_used"] if "tokens_used" in names else 0, result["cost"]
            if type(tokens) is int and type(cost) is float and 0 <= tokens <= MAX_FAST and 0.0 <= cost <= 1e6:
                held = recent[0]
                if getrefcount(held) <= ALONE and recent[0] is held and not kept:
                    recent[0] = result
                elif displace(result):
                    return False
                call._details = CompactDetails(tokens, cost, True)
                return True
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - as above; the slower steps count it
        return False
    return False


def read_into(call: ToolCall, result: Fields, names: set[Any] | None = None) -> bool:
    """Do as `apply_dict` for a result that is not known, and do not remember it.

    Args:
        call: the call.
        result: an exact dict.
        names: its keys, if they are known.
    """
    try:
        if len(result) <= SMALL_DICT:
            names = names or {*result}
            if _has_nothing_to_read(names):
                return True
            if not _has_no_flag(names):
                if apply_failure(call, result):
                    _apply_any_dict(call, result)
                    return False
                names -= FAILURE_KEYS
                if _has_nothing_to_read(names):
                    return True
            if call._details is None and _has_only_common_keys(names) and _apply_common_keys(call, result):
                return False
        return _apply_any_dict(call, result)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - as above
        Diagnostics.invalid_values += 1
    return False


def _apply_any_dict(call: ToolCall, result: Fields) -> bool:
    """Do as `apply_dict` for any dict. Separate, since a variable used in a generator expression is slower to read."""
    if len(result) > SMALL_DICT and not any(name in result for name in _READ_KEYS):
        return True
    if any(name in result for name in _DIRECT_KEYS) or unwrap_envelope(result) is not None:
        usage = extract_usage(result, is_plain_dict=True)
        if usage is not None:
            apply_usage(call, usage)
    if len(result) > SMALL_DICT:
        apply_failure(call, result)
    return False


def _apply_common_keys(call: ToolCall, result: Fields) -> bool:
    """Apply valid values under the most common names. Return False, and applies nothing, if they are invalid."""
    tokens = result.get("tokens_used", 0)
    cost = result.get("cost", 0.0)
    model = result.get("model")
    if not (type(tokens) is int and 0 <= tokens <= MAX_COUNT and type(cost) is float and 0.0 <= cost <= 1e6):
        return False
    if model is not None and type(model) is not str:
        return False
    if "cost" in result:
        call._details = details = CallDetails(tokens, 0, 0, 0, round(cost * NANO), "reported")
    else:
        call._details = details = CallDetails(tokens)
    if model:
        details.model = model[: MAX_LABEL_CHARS + AHEAD]
    provider = result.get("provider")
    if type(provider) is str:
        details.provider = PROVIDER_ALIASES.get(provider, provider)[: MAX_LABEL_CHARS + AHEAD]
    if result.get("cached") is True:
        details.cached = True
    return True


def read_dict(result: Fields) -> Usage | None:
    """Return the usage that a dict, or a dict of a subclass, reports, or None if it reports none."""
    try:
        return extract_usage(result, is_plain_dict=True)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - as above
        Diagnostics.invalid_values += 1
        return None


def is_spending(result: Fields) -> bool:
    """Return whether a dict is what one call spent, and no statistics: the rule for modules instrumented as a whole.

    It has `cost` or `tokens_used`, or `usage` beside `model`, and no key such as `total_tokens` or `call_count`.
    """
    names = [name for name in [*dict.keys(result)] if type(name) is str]
    if any(str.startswith(name, "total_") or str.endswith(name, "_count") for name in names):
        return False
    return "cost" in names or "tokens_used" in names or ("usage" in names and "model" in names)


def figure_keys(result: Fields) -> str:
    """Return the keys of a dict that report usage, for a note; an empty text if it reports none."""
    usage = read_dict(result)
    if usage is None or not (usage.cost or usage.tokens or usage.input_tokens or usage.output_tokens):
        return ""
    names = [name for name in [*dict.keys(result)] if type(name) is str and name in DICT_KEYS]
    return ", ".join(names[:MAX_NOTED_KEYS])
