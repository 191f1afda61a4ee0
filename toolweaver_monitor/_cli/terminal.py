"""What the commands print: plain text, or the same with colours and lines if it goes to a terminal and rich is there.

rich comes with the extra `cli`. A pipe, a file and `TERM=dumb` get plain text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from toolweaver_monitor._text.display import table

Rows = Sequence[Sequence[str]]
Block = str | Rows
"""A line of text, or the rows of a table, the first of which is its header."""

STYLES = {"worse": "red", "better": "green", "same": "dim", "failure": "red", "timeout": "red", "rejected": "yellow"}
"""The styles of cells that say these words."""

NUMBERS = ("cost", "share")
"""The last columns that are no text."""
LEAST_NAME = 16
"""Columns that names have in a narrow terminal, at the cost of what stands beside them."""
SPARED_FIRST = ("p50", "p99", "average", "p95")
"""The columns of `FigureRows` that a narrow terminal leaves out, before any other would be cut off."""
TEXT_COLUMNS = 16
"""Columns that the text in the last column of `FigureRows` has at least."""


class FigureRows(list[list[str]]):
    """The rows of a table whose columns `SPARED_FIRST` may be left out where the terminal is too narrow."""

    def fitting(self, width: int) -> Rows:
        """Return the rows with as many columns as have room in `width`."""
        rows: list[list[str]] = list(self)
        for name in SPARED_FIRST:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            widths[0] = min(widths[0], LEAST_NAME)
            widths[-1] = widths[-1] if rows[0][-1] in NUMBERS else min(widths[-1], TEXT_COLUMNS)
            if sum(widths) + 2 * (len(widths) - 1) > width and name in rows[0]:
                at = rows[0].index(name)
                rows = [row[:at] + row[at + 1 :] for row in rows]
        return rows


def show(*blocks: Block) -> None:
    """Print lines and tables."""
    console = rich_console()
    if console is None:
        sys.stdout.write("".join(f"{line}\n" for line in as_lines(*blocks)))
    else:
        console.print(as_rich(*blocks))


def as_lines(*blocks: Block) -> list[str]:
    """Return lines and tables as lines of plain text."""
    found: list[str] = []
    for block in blocks:
        found += [block] if isinstance(block, str) else table(block)
    return found


def rich_console() -> Any:
    """Return rich's console if stdout is a terminal that it can use; None if not."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:  # the extra is not installed
        return None
    return Console(file=sys.stdout, highlight=False)


def as_rich(*blocks: Block, is_cut: bool = False) -> Any:
    """Return lines and tables as one renderable of rich; nothing in them is read as markup.

    Args:
        *blocks: the lines and tables.
        is_cut: whether what is too long for a line is cut, and not shown in several lines.
    """
    from rich.console import Group
    from rich.text import Text

    how: Any = {"no_wrap": True, "overflow": "ellipsis"} if is_cut else {}
    return Group(*(Text(block, **how) if isinstance(block, str) else _Fitted(block, how) for block in blocks))


class _Fitted:
    """The rows of a table as rich shows them in the width that it has."""

    def __init__(self, rows: Rows, how: dict[str, Any]) -> None:
        self._rows = rows
        self._how = how

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Any]:
        rows = self._rows.fitting(options.max_width - 2) if isinstance(self._rows, FigureRows) else self._rows
        yield _rich_table(rows, self._how)


def _rich_table(rows: Rows, how: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    head, *body = rows
    shown = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for number, name in enumerate(head):
        is_number = number > 0 and (number < len(head) - 1 or name in NUMBERS)
        columns: Any = {"no_wrap": is_number, "overflow": "fold"} | how
        least = min(LEAST_NAME, max(len(row[0]) for row in rows)) if not number else None
        shown.add_column(Text(name), justify="right" if number else "left", min_width=least, **columns)
    for row in body:
        shown.add_row(*(Text(cell, style_of(name, cell)) for name, cell in zip(head, row, strict=True)))
    return Padding(shown, (0, 0, 0, 2))


def style_of(name: str, cell: str) -> str:
    """Return the style of a cell in the column of this name."""
    if name == "failed":
        return "red" if cell.strip("0-") else "dim"
    return STYLES.get(cell, "dim" if cell == "-" else "")


class Progress(Protocol):
    """Shows how much is done."""

    def advance(self, count: int) -> None:
        """Note how much more is done."""


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Progress]:
    """Show a bar on stderr while a block runs, if that is a terminal: without rich a number that rises.

    Args:
        what: what is counted, such as `calls`; without a total, what is done, such as `deleting`.
        total: how much there is to do; None if that is unknown.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Count(what, total, is_shown=False)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        count = _Count(what, total, is_shown=True)
        try:
            count.advance(0)
            yield count
        finally:
            sys.stderr.write("\r\033[K")
        return
    columns = [TextColumn(what), BarColumn()]
    columns += [] if total is None else [MofNCompleteColumn(), TimeRemainingColumn()]
    with RichProgress(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        yield _Bar(bars, bars.add_task("", total=total))


class _Count:
    """A number that rises in one line of a terminal; without a total, what is being done."""

    def __init__(self, what: str, total: int | None, *, is_shown: bool) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._is_shown = is_shown

    def advance(self, count: int) -> None:
        self._done += count
        if self._is_shown:
            shown = "" if self._total is None else f"{self._done:,} of {self._total:,} "
            sys.stderr.write(f"\r{shown}{self._what}{'' if shown else ' ...'}")
            sys.stderr.flush()


class _Bar:
    """A bar of rich."""

    def __init__(self, bars: Any, task: Any) -> None:
        self._bars = bars
        self._task = task

    def advance(self, count: int) -> None:
        self._bars.advance(self._task, count)
