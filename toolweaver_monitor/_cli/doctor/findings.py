"""What does the doctor find, and how does it read? Findings, as text and as JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from toolweaver_monitor._text.display import escape, pad, width

State = Literal["ok", "note", "wrong"]
MOST_COLUMNS = 100


class Finding(NamedTuple):
    """One thing that was looked at."""

    state: State
    name: str
    says: str
    cure: str = ""

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def ok(name: str, says: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", name, says)


def note(name: str, says: str, cure: str = "") -> Finding:
    """It is not a fault but worth knowing."""
    return Finding("note", name, says, cure)


def wrong(name: str, says: str, cure: str) -> Finding:
    """It is a fault, with what to do."""
    return Finding("wrong", name, says, cure)


def refused(name: str, error: object) -> Finding:
    """A fault in one of our own messages, which say what is wrong, and then the cure."""
    says, _, cure = str(error).partition("; ")
    return wrong(name, says, cure)


def lines(findings: Sequence[Finding]) -> Iterable[str]:
    """Findings as text: state, name, what was found, and below it the cure; safe for a terminal."""
    indent = max((width(escape(finding.name)) for finding in findings), default=0) + 11
    for finding in findings:
        head = f"  {finding.state:<5}  {escape(finding.name)}"
        yield from _wrapped(pad(head, indent) + escape(finding.says), indent)
        if finding.cure:
            yield from _wrapped(" " * indent + "-> " + escape(finding.cure), indent + 3)


def _wrapped(text: str, indent: int) -> list[str]:
    columns = max(indent + 30, min(MOST_COLUMNS, shutil.get_terminal_size((MOST_COLUMNS, 24)).columns))
    return textwrap.wrap(text, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
