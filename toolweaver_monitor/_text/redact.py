"""How are secrets removed from a text before anybody sees it?

Every rule (`secret_rules`) looks at the original text, never at what another rule made of it. A rule runs only if one
of its cues is there; each cue is looked for once, and for most texts hardly any rule runs.
"""

from __future__ import annotations

import re

from toolweaver_monitor._text.secret_patterns import AS_WRITTEN, IN_LOWER_CASE, KEYS, OUTLINE, UNSEEN

MASK = "[redacted]"
UNSCRUBBABLE = "<unscrubbable>"
"""Stands for a text that the scrubber failed on. The text itself is never the answer."""

AHEAD = 512
"""How far beyond what is shown the scrubber looks: a secret that the cut would halve is seen whole, or long enough."""


def scrub(text: str, limit: int = 256) -> str:
    """Text without secrets, at most `limit` characters, and always encodable as UTF-8.

    Args:
        text: any text; give `limit + AHEAD` characters of it where there are as many.
        limit: the most characters to give back. Nothing beyond them is shown, however much a mask has shortened the
            text before them.
    """
    try:
        return scrub_or_raise(text, limit)
    except Exception:  # noqa: BLE001 - a text that cannot be made safe is not shown
        return UNSCRUBBABLE


def scrub_or_raise(text: str, limit: int) -> str:
    """As `scrub`, but raises where that fails, as it does on a stack with no room left."""
    window = escape_surrogates(text[: limit + AHEAD])
    found = _find_secrets(window)
    return (_mask(window[:limit], found) if found else window)[:limit]


def escape_surrogates(text: str) -> str:
    """Text with lone surrogates as escapes: on them a file, a socket or a JSON writer of a sink would fail."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name (a parameter, a key of a dict, a header) is a secret whatever it looks like."""
    return re.search(_SECRET_NAME, _CAMEL.sub("_", name[:128]).lower()) is not None


Span = tuple[int, int]


_RULES = (*AS_WRITTEN, *IN_LOWER_CASE)
_BY_CUE = {cue: [n for n, rule in enumerate(_RULES) if cue in rule.cues] for rule in _RULES for cue in rule.cues}
_TEXT_CUES = tuple(cue for cue in _BY_CUE if isinstance(cue, str))
_RUN_CUES = tuple(cue for cue in _BY_CUE if isinstance(cue, bytes))


def _find_secrets(text: str) -> list[Span]:
    """Where the secrets are, in order; one may lie in another."""
    spans = _find_in(text)
    if not text.replace("\n", "").isprintable() or "\\" in text:
        seen_at: list[int] = []
        end = 0
        for gap in UNSEEN.finditer(text):
            seen_at += range(end, gap.start())
            end = gap.end()
        if end:  # a secret with one of these inside is still one to whoever copies it
            seen_at += range(end, len(text))
            joined = "".join([text[at] for at in seen_at])
            spans += ((seen_at[start], seen_at[end - 1] + 1) for start, end in _find_in(joined) if start < end)
    spans.sort()
    return spans


def _find_in(text: str) -> list[Span]:
    """Where the secrets are in a text as it is written."""
    lowered = text.replace("\u0130", "i").lower()  # the one letter that would grow, and move all that follows
    outline = text.encode("ascii", "replace").translate(OUTLINE)
    cues: list[str | bytes] = [word for word in _TEXT_CUES if word in lowered]
    cues += [row for row in _RUN_CUES if row in outline]
    spans: list[Span] = []
    for n in {n for cue in cues for n in _BY_CUE[cue]}:
        subject = text if n < len(AS_WRITTEN) else lowered
        _, pattern, likely = _RULES[n]
        for match in pattern.finditer(subject):
            start, end = match.span(match.lastindex or 0)
            if likely is None or likely(text[start:end]):
                spans.append((start, end))
    return spans


def _mask(text: str, spans: list[Span]) -> str:
    parts: list[str] = []
    shown_to = 0
    for start, end in spans:
        if start >= len(text):
            break
        if start >= shown_to:
            parts += text[shown_to:start], MASK
        shown_to = max(shown_to, end)
    return "".join(parts) + text[shown_to:]


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_SECRET_NAME = (  # not compiled here: that is 1 ms of an import
    r"(?:^|_)(?:pass|pwd|token|auth|authorization|cookies?|jwt|dsn|otp|pin|cvv|ssn|sig|signature|bearer)"
    r"(?:$|_(?:hash|value|str|string|header|\d+)$|_b(?:64|ytes)$)"
    r"|password|passwd|passphrase|passcode|secret(?!ar)|credential|apikey|connection_string|sessionid"
    rf"|(?:{'|'.join(KEYS)})_key"
)
