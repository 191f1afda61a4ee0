"""Find and mask the secrets in a text.

Every rule of `secret_patterns` looks at the original text, never at the result of another rule. A rule runs only if the
text contains one of its cues. Each cue is searched for once, so for most texts hardly any rule runs.
"""

from __future__ import annotations

import re

from toolweaver_monitor._text.secret_patterns import AS_WRITTEN, IN_LOWER_CASE, INVISIBLE, KEYS, OUTLINE

MASK = "[redacted]"
UNSCRUBBABLE = "<unscrubbable>"
"""Shown for a text on which the scrubber failed. The text itself is never shown."""

AHEAD = 512
"""Characters that the scrubber reads beyond those shown, so that it recognises a secret that the cut would halve."""


def scrub(text: str, limit: int = 256) -> str:
    """Return the text without secrets, cut to `limit` characters, and always encodable as UTF-8.

    Args:
        text: any text; give `limit + AHEAD` characters of it if it has as many.
        limit: the most characters to return. No text from beyond them moves up, however much the masks have shortened
            what stands before.
    """
    try:
        return scrub_or_raise(text, limit)
    except Exception:  # noqa: BLE001 - a text that cannot be made safe is not shown
        return UNSCRUBBABLE


def scrub_or_raise(text: str, limit: int) -> str:
    """Return the same as `scrub`, or raise if it fails, as it does on a stack with no room left."""
    window = escape_surrogates(text[: limit + AHEAD])
    secrets = _find_secrets(window)
    return (_mask(window[:limit], secrets) if secrets else window)[:limit]


def escape_surrogates(text: str) -> str:
    """Return the text with lone surrogates escaped, on which a sink's file, socket or JSON writer would fail."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_secret_name(name: str) -> bool:
    """Return whether the value of this name (a parameter, a dict key, a header) is a secret, whatever it looks like."""
    return re.search(_SECRET_NAME, _CAMEL.sub("_", name[:128]).lower()) is not None


Span = tuple[int, int]


_RULES = (*AS_WRITTEN, *IN_LOWER_CASE)
_BY_CUE = {cue: [n for n, rule in enumerate(_RULES) if cue in rule.cues] for rule in _RULES for cue in rule.cues}
_TEXT_CUES = tuple(cue for cue in _BY_CUE if isinstance(cue, str))
_RUN_CUES = tuple(cue for cue in _BY_CUE if isinstance(cue, bytes))


def _find_secrets(text: str) -> list[Span]:
    """Return where the secrets are, in order. One may lie inside another."""
    spans = _find_in(text)
    if not text.replace("\n", "").isprintable() or "\\" in text:
        visible_at: list[int] = []
        end = 0
        for gap in INVISIBLE.finditer(text):
            visible_at += range(end, gap.start())
            end = gap.end()
        if end:  # a secret with an invisible character inside is still a secret to a reader who copies it
            visible_at += range(end, len(text))
            joined = "".join([text[at] for at in visible_at])
            spans += ((visible_at[start], visible_at[end - 1] + 1) for start, end in _find_in(joined) if start < end)
    spans.sort()
    return spans


def _find_in(text: str) -> list[Span]:
    """Return where the secrets are in a text as it is written."""
    lowered = text.replace("\u0130", "i").lower()  # the one letter that grows in lower case, and moves what follows
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
