"""Names made safe and bounded, and suggestions for misspelt ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from toolweaver_monitor._text import redact

MAX_NAME_CHARS = 128
UNNAMED = "unnamed"

OVERFLOW = "__overflow__"
"""The name for everything beyond a cap, so that totals stay exact and memory bounded (OpenTelemetry's rule)."""

MAX_NAMES = 2_000

declared_names: set[str] = set()
"""Tool names written in the code (`@monitored("ocr")`). Names invented at run time cannot take their place."""

exposed_tools: dict[str, bool] = {}
"""The tools of `@monitored` and of `costs=`, which are exposed before their first call, each with whether a cost is
declared for it."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of what cannot be seen: controls, format characters (bidi, zero width), surrogates, private use,
unassigned, line and paragraph separators."""


def safe_name(name: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return a name in Unicode's composed form (NFC), without secrets and without characters that cannot be seen.

    Args:
        name: any text.
        limit: the most characters to return.
    """
    try:
        return _clean(name[: limit + redact.AHEAD], limit)
    except Exception:  # noqa: BLE001 - as in redact.scrub; and raised up to here, so that the cache keeps no failure
        return redact.UNSCRUBBABLE


def suggest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that a misspelt one may stand for, the closest first, whatever their case.

    Args:
        name: the misspelt name.
        known: the names that exist.
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
def _clean(name: str, limit: int) -> str:
    if not (name.isascii() and name.isprintable()):
        if "\x1b" in name:  # remove the whole colour code, not only the escape character that begins it
            name = re.sub(r"\x1b\[[\d;]{0,16}[A-Za-z]", "", name)
        name = unicodedata.normalize("NFC", "".join(c for c in name if unicodedata.category(c) not in _INVISIBLE))
    return redact.scrub_or_raise(name, limit).strip() or UNNAMED
