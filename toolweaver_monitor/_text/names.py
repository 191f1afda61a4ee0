"""How does foreign text become a name that can be shown anywhere, and any text safe for a terminal?"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from toolweaver_monitor._text import redact

MAX_NAME_CHARS = 128
UNNAMED = "unnamed"

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
        return _safe(name[: limit + redact.AHEAD], limit)
    except Exception:  # noqa: BLE001 - as in redact.scrub; and raised to here, so that a failure is not remembered
        return redact.UNSCRUBBABLE


@lru_cache(maxsize=1_024)
def _safe(kept: str, limit: int) -> str:
    if not (kept.isascii() and kept.isprintable()):
        if "\x1b" in kept:  # all of a colour goes, not only the escape that begins it
            kept = re.sub(r"\x1b\[[\d;]{0,16}[A-Za-z]", "", kept)
        kept = unicodedata.normalize("NFC", "".join(c for c in kept if unicodedata.category(c) not in _UNSEEN))
    return redact.scrubbed(kept, limit).strip() or UNNAMED


def counted(count: int, noun: str) -> str:
    """A number of things: `1 call`, `2,000 calls`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def visible(text: str) -> str:
    """Text in which every character can be seen: controls, line ends, bidi and zero-width characters as escapes.

    What comes out can move no cursor, start no new line and turn no text around. A backslash stays as it is.
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(c if c.isprintable() and c not in _BLANK else ascii(c)[1:-1] for c in text)


_BLANK = "\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800"
"""Letters and signs to Unicode, and to the eye nothing at all."""
