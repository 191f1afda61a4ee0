"""How is text made safe: secrets out, names clean, errors read without running their code?

Provisional: the whole scrubber replaces this file.
"""

from __future__ import annotations

import re
import unicodedata

_SECRET = re.compile(
    r"(sk-[A-Za-z0-9_-]{8,}|AKIA[0-9A-Z]{12,}|ghp_[A-Za-z0-9]{10,}|xox[a-z]-[A-Za-z0-9-]+|eyJ[A-Za-z0-9_-]{10,}\.[\w.-]+"
    r"|(?i:bearer|basic)\s+\S+|(?<=:)[^:@/\s]+(?=@)|(?i:(?:password|api_?key|token|secret)\W{1,3})\S+)"
)


def scrub(text: str, limit: int = 256) -> str:
    """Text without secrets, at most `limit` characters."""
    return _SECRET.sub("[redacted]", text[: limit + 512])[:limit]


def safe_name(name: str) -> str:
    """A tool's name without control characters, at most 128 characters."""
    kept = "".join(c for c in unicodedata.normalize("NFC", name[:512]) if unicodedata.category(c)[0] != "C")
    return scrub(kept, 128).strip() or "unnamed"


def error_text(error: BaseException, limit: int = 768) -> str:
    """The text of an exception, without running code of its own."""
    args = BaseException.__dict__["args"].__get__(error)
    if type(error).__str__ in (BaseException.__str__, KeyError.__str__, OSError.__str__):
        shown = [a[:limit] if type(a) is str else str(a) for a in args if type(a) in (str, int, float, bool)]
        return " ".join(shown)[:limit]
    return f"<{type_name(error)}>"


def type_name(error: BaseException) -> str:
    """The name of an exception's class."""
    return safe_name(type.__dict__["__name__"].__get__(type(error)))


def captured(value: object, limit: int = 1024) -> str:
    """Scrubbed text of a result."""
    if type(value) in (str, int, float, bool, type(None)):
        return scrub(str(value), limit)
    return f"<{type(value).__name__}>"


def captured_arguments(args: tuple[object, ...], kwargs: dict[str, object], limit: int = 1024) -> str:
    """Scrubbed text of arguments."""
    named = [f"{k}={'[redacted]' if 'pass' in k else captured(v)}" for k, v in kwargs.items()]
    return scrub(", ".join([*(captured(a) for a in args), *named]), limit)


def visible(text: str) -> str:
    """Text with control characters as visible escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
