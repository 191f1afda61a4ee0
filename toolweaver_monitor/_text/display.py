"""How do rows of text line up in a terminal, and which of them are shown where there are very many?"""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import SupportsIndex, TypeVar

from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.errors import ConfigurationError

DEFAULT_ROWS = 20
"""Rows of a table in a report, if no other limit is given."""
WIDE_EMOJI = "\ufe0f"
"""Variation selector 16: the sign before it is shown as an emoji, which takes two columns."""

T = TypeVar("T")


def width(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters and emoji two, combining marks none.

    As Unicode's East Asian Width (UAX #11) has it; ambiguous characters take one, as they do outside of old CJK fonts.
    """
    if text.isascii():
        return len(text)
    columns = last = 0
    for c in text:
        if c == WIDE_EMOJI:
            columns += last == 1
        elif unicodedata.category(c) not in ("Mn", "Me"):
            last = 2 if unicodedata.east_asian_width(c) in "WF" else 1
            columns += last
    return columns


def pad(text: str, columns: int) -> str:
    """The text, filled up with spaces to so many columns."""
    return text + " " * (columns - width(text))


def table(rows: Iterable[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows of text in aligned columns, the first to the left and the others to the right."""
    kept = [list(row) for row in rows]
    widths = [max(map(width, column)) for column in zip(*kept, strict=True)]
    lines = []
    for first, *others in kept:
        cells = [pad(first, widths[0])]
        cells += [" " * (columns - width(cell)) + cell for cell, columns in zip(others, widths[1:], strict=True)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def rank_rows(
    found: Mapping[str, T], weight: Callable[[T], float], limit: int | None
) -> tuple[list[tuple[str, T]], list[str]]:
    """Those of most weight, and the line that says how many more there are.

    `__overflow__`, which stands for many names, comes last and in any case.

    Raises:
        ConfigurationError: `limit` is neither None nor a whole number from 1 up.
    """
    validate_limit(limit)
    named = sorted(
        (item for item in found.items() if item[0] != OVERFLOW), key=lambda item: (-weight(item[1]), item[0])
    )
    shown = named[:limit]
    if OVERFLOW in found:
        shown.append((OVERFLOW, found[OVERFLOW]))
    return shown, more(len(named[:limit]), len(named))


def more(shown: int, of: int) -> list[str]:
    """The line that says how many rows a table leaves out; none where it has them all."""
    return [f"  and {of - shown:,} more: report(limit=None) shows all"] if of > shown else []


def validate_n(n: SupportsIndex) -> int:
    """How many are wanted; none where that is less than 0.

    Raises:
        ConfigurationError: it is no whole number.
    """
    try:
        return max(0, operator.index(n))
    except TypeError:
        raise ConfigurationError(f"n={n!r} is not a number of things to show; give a whole one, such as n=5") from None


def validate_limit(limit: object) -> None:
    """Make sure that it is a number of rows, or None for all.

    Raises:
        ConfigurationError: it is neither.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigurationError(f"limit={limit!r} shows no rows; give a whole number from 1 up, or None for all")


def pluralize(count: int, noun: str) -> str:
    """A number of things: `1 call`, `2,000 calls`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def escape(text: str) -> str:
    """Text in which every character can be seen: controls, line ends, bidi and zero-width characters as escapes.

    What comes out can move no cursor, start no new line and turn no text around. A backslash stays as it is.
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(c if c.isprintable() and c not in _BLANK else ascii(c)[1:-1] for c in text)


_BLANK = "\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800"
"""Letters and signs to Unicode, and to the eye nothing at all."""
