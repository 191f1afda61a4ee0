"""How does foreign text become a name that can be shown anywhere, and any text safe for a terminal?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from toolweaver_monitor._text import redact

MAX_NAME_CHARS = 128
UNNAMED = "unnamed"

OVERFLOW = "__overflow__"
"""Stands for every name past a cap, so that totals stay exact while memory stays bounded (OpenTelemetry's rule)."""

MAX_NAMES = 2_000

declared_names: set[str] = set()
"""Tool names written in the code (`@monitored("ocr")`). No flood of made-up names can take their place."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories: controls, format characters (bidi, zero width), surrogates, private use, unassigned, separators
of lines and of paragraphs."""


def safe_name(name: str, limit: int = MAX_NAME_CHARS) -> str:
    """A name in Unicode's composed form (NFC), free of secrets and of whatever cannot be seen.

    Args:
        name: any text.
        limit: the most characters to give back.
    """
    try:
        return _clean(name[: limit + redact.AHEAD], limit)
    except Exception:  # noqa: BLE001 - as in redact.scrub; and raised to here, so that a failure is not remembered
        return redact.UNSCRUBBABLE


def suggest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that a misspelt one may stand for, the closest first, whatever their case.

    Args:
        name: what was given.
        known: what it could have been.
        count: the most names to return.
        cutoff: how alike they must be, from 0 to 1; see `difflib.get_close_matches`.
    """
    try:
        from difflib import get_close_matches  # 1 ms that only a mistake has to pay
    except ImportError:  # a program that gave up its rights may no longer read Python's own library
        return []
    spellings = {each.lower(): each for each in known}
    return [spellings[each] for each in get_close_matches(name.lower(), spellings, count, cutoff)]


@lru_cache(maxsize=1_024)
def _clean(kept: str, limit: int) -> str:
    if not (kept.isascii() and kept.isprintable()):
        if "\x1b" in kept:  # all of a colour goes, not only the escape that begins it
            kept = re.sub(r"\x1b\[[\d;]{0,16}[A-Za-z]", "", kept)
        kept = unicodedata.normalize("NFC", "".join(c for c in kept if unicodedata.category(c) not in _UNSEEN))
    return redact.scrub_or_raise(kept, limit).strip() or UNNAMED
