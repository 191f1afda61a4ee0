"""What does a plain dict say of tokens and money? The result that most tools return, so the fastest to be read.

Only our own strings are looked up, with the methods of `dict` itself: of a dict's subclass, of its keys and of its
values nothing is ever called.
"""

from __future__ import annotations

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails, CompactDetails
from toolweaver_monitor._core.sanitize import MAX_COUNT, MAX_LABEL_CHARS, NANO, Diagnostics
from toolweaver_monitor._text.redact import AHEAD
from toolweaver_monitor._usage.extract import DICT_KEYS, ENVELOPE_KEYS, PROVIDERS, read, unwrap_envelope
from toolweaver_monitor._usage.fields import Fields
from toolweaver_monitor._usage.usage import Usage, apply_usage

_nothing_but_figures = (DICT_KEYS - {"tokens_used", "cost"}).isdisjoint
_nothing_but_plain = (DICT_KEYS - {"tokens_used", "cost", "model", "provider", "cached"}).isdisjoint
_nothing_said = DICT_KEYS.isdisjoint

_said_here = tuple(DICT_KEYS.difference(ENVELOPE_KEYS))

SMALL = 64
"""Up to so many keys, one set operation is quicker than a lookup for each name that means usage."""

MANY = 1_000_000_000
"""Tokens up to here are compared in one step by CPython; more are looked at again where `MAX_COUNT` is known."""


def apply_dict(call: ToolCall, result: Fields) -> bool:
    """Put what an exact dict says of its usage into the call that returned it.

    The same as `apply_usage(call, read_dict(result))`, in a tenth of the time for the keys that tools use most. Tokens
    and cost alone take 0.25 us: what they come to is worked out off the caller's path (see `CompactDetails`: 0.2 us
    less), and a name is looked for with `in`, which takes half the time of `dict.get`.

    Args:
        call: a call that is about to close.
        result: an exact dict.

    Returns:
        True where that is all: nothing was said, or `CompactDetails`, which need no price.
    """
    try:
        if len(result) <= SMALL:
            names = {*result}  # takes the hashes from the dict; a set that iterates over it would call each __hash__
            if _nothing_but_figures(names) and call._details is None:
                if "cost" in names:
                    tokens, cost = result["tokens_used"] if "tokens_used" in names else 0, result["cost"]
                    if type(tokens) is int and type(cost) is float and 0 <= tokens <= MANY and 0.0 <= cost <= 1e6:
                        call._details = CompactDetails(tokens, cost)
                        return True
                elif "tokens_used" not in names:
                    return True
            elif _nothing_said(names):
                return True
            if call._details is None and _nothing_but_plain(names) and _absorb_plain(call, result):
                return False
        return _absorb_any(call, result)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a key of the user's that has the hash of ours, and raises when compared
        Diagnostics.invalid_values += 1
    return False


def _absorb_any(call: ToolCall, result: Fields) -> bool:
    """As `apply_dict`, for any dict. Apart, because a variable that a generator expression sees is slower to read."""
    if len(result) > SMALL and not any(name in result for name in DICT_KEYS):
        return True
    if any(name in result for name in _said_here) or unwrap_envelope(result) is not None:
        usage = read(result, plain=True)
        if usage is not None:
            apply_usage(call, usage)
    return False


def _absorb_plain(call: ToolCall, result: Fields) -> bool:
    """As `apply_dict`, for good figures under the commonest names. False where they are not, and nothing was done."""
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
        details.provider = PROVIDERS.get(provider, provider)[: MAX_LABEL_CHARS + AHEAD]
    if result.get("cached") is True:
        details.cached = True
    return True


def read_dict(result: Fields) -> Usage | None:
    """What a dict, or a dict of a subclass, says of its usage; None where it says nothing."""
    try:
        return read(result, plain=True)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - as above
        Diagnostics.invalid_values += 1
        return None
