"""What the doctor finds, as text and for JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from toolweaver_monitor._text.display import escape, pad, width
from toolweaver_monitor.errors import ToolweaverMonitorError

MAX_COLUMNS = 100


class Finding(NamedTuple):
    """The result of one check."""

    state: Literal["ok", "note", "wrong"]
    """A note is worth knowing but no fault. Of a fault the `cure` says what to do."""
    name: str
    says: str
    cure: str = ""


def from_error(name: str, error: ToolweaverMonitorError) -> Finding:
    """Return the fault that an error of this library describes."""
    return Finding("wrong", name, str(error).removesuffix(f"; {error.hint}"), error.hint)


def lines(findings: Sequence[Finding]) -> Iterable[str]:
    """Yield the lines of the findings: state, name and text, the cure below; safe for a terminal, and as wide as it."""
    indent = max((width(escape(finding.name)) for finding in findings), default=0) + 11
    columns = max(indent + 30, min(MAX_COLUMNS, shutil.get_terminal_size((MAX_COLUMNS, 24)).columns))
    for finding in findings:
        head = pad(f"  {finding.state:<5}  {escape(finding.name)}", indent)
        yield from _wrap(head + escape(finding.says), columns, indent)
        if finding.cure:
            yield from _wrap(" " * indent + "-> " + escape(finding.cure), columns, indent + 3)


def _wrap(text: str, columns: int, indent: int) -> list[str]:
    return textwrap.wrap(text, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
