"""Text for terminals: aligned tables, widths, plurals, escaped control characters."""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import SupportsIndex, TypeVar

from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.errors import ConfigurationError

DEFAULT_ROWS = 20
"""Rows of a table in a report, unless another limit is given."""
WIDE_EMOJI = "\ufe0f"
"""Variation selector 16: the character before it is shown as an emoji, which takes two columns."""

T = TypeVar("T")


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    East Asian wide characters and emoji take two, combining marks none, following Unicode's East Asian Width (UAX #11).
    Ambiguous characters take one, as they do outside of old CJK fonts.
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
    """Return the text, padded with spaces on the right to a number of columns."""
    return text + " " * (columns - width(text))


def shorten(text: str, columns: int) -> str:
    """Return the text, cut if it takes more columns of a terminal than these."""
    if width(text) <= columns:
        return text
    text = text[: columns - 3]  # at once, however long it is; characters of no width count here as well
    while width(text) > columns - 3:
        text = text[:-1]
    return text + "..."


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows of text as lines with aligned columns, the first column to the left and the others to the right."""
    cells_of = [list(row) for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells_of, strict=True)]
    lines = []
    for first, *others in cells_of:
        cells = [pad(first, widths[0])]
        cells += [" " * (columns - width(cell)) + cell for cell, columns in zip(others, widths[1:], strict=True)]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def format_seconds(value: float) -> str:
    """Return a duration in the unit in which it is easiest to read."""
    if value >= 1:
        return f"{value:,.2f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} us"


def format_wait(seconds: float) -> str:
    """Return how long to wait as text; from two minutes on in whole minutes, hours or days that are long enough."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{max(seconds, 0.1):.1f} s"


def rank_rows(
    rows: Mapping[str, T], weight: Callable[[T], float], limit: int | None
) -> tuple[list[tuple[str, T]], list[str]]:
    """Return the rows of most weight, and the line that states how many more there are.

    `__overflow__`, which stands for many names, is always included, and comes last.

    Args:
        rows: what to rank, by name.
        weight: the weight of a row.
        limit: the most rows to return besides `__overflow__`; None for all.

    Raises:
        ConfigurationError: `limit` is neither None nor a whole number from 1 up.
    """
    validate_limit(limit)
    named = sorted((item for item in rows.items() if item[0] != OVERFLOW), key=lambda item: (-weight(item[1]), item[0]))
    shown = named[:limit]
    if OVERFLOW in rows:
        shown.append((OVERFLOW, rows[OVERFLOW]))
    return shown, more(len(named[:limit]), len(named))


def more(shown: int, of: int) -> list[str]:
    """Return the line that states how many rows a table leaves out, or no line if it has them all."""
    return [f"  and {of - shown:,} more: report(limit=None) shows all"] if of > shown else []


def validate_n(n: SupportsIndex) -> int:
    """Return `n` as an `int` that is not below 0.

    Raises:
        ConfigurationError: `n` is not a whole number.
    """
    try:
        return max(0, operator.index(n))
    except TypeError:
        hint = "give a whole one, such as n=5"
        raise ConfigurationError(f"n={n!r} is not a number of things to show", hint=hint) from None


def validate_limit(limit: object) -> None:
    """Check that `limit` is a number of rows, or None for all.

    Raises:
        ConfigurationError: it is neither.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigurationError(
            f"limit={limit!r} shows no rows", hint="give a whole number from 1 up, or None for all"
        )


def pluralize(count: int, noun: str) -> str:
    """Return a number of things: `1 call`, `2,000 calls`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def escape(text: str) -> str:
    """Return the text with every invisible character escaped: controls, line ends, bidi and zero-width characters.

    The result can move no cursor, start no new line and reverse no text. A backslash stays as it is.
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(c if c.isprintable() and c not in _BLANK else ascii(c)[1:-1] for c in text)


_BLANK = "\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800"
"""Characters that Unicode calls letters and symbols, and that show nothing."""


def html_paragraphs(lines: Sequence[str]) -> str:
    """Return lines of text as HTML, in which nothing is read as HTML."""
    from html import escape as html_escape

    return "".join([f"<p>{html_escape(line)}</p>\n" for line in lines])


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text, the first of which is the header, as an HTML table; nothing in them is read as HTML."""
    from html import escape as html_escape

    if len(rows) < 2:
        return "<p>no calls yet</p>"
    head, *body = [[html_escape(cell) for cell in row] for row in rows]
    lines = ["<table>", f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body]
    return "\n".join([*lines, "</table>"])
