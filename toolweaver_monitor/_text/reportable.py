"""Print a report and return its text."""

from __future__ import annotations

import json
import sys
from typing import Any

from toolweaver_monitor._text.display import DEFAULT_ROWS
from toolweaver_monitor._text.guesses import AnswersGuesses


class PrintedText(str):
    """A report that has been printed, which a notebook does not show a second time."""

    __slots__ = ()

    def _ipython_display_(self) -> None:
        """Show nothing."""


class Reportable(AnswersGuesses):
    """Base of everything that has a report to print, and figures to hand on."""

    def to_dict(self) -> dict[str, Any]:
        """Return its figures as plain values, ready for JSON."""
        raise NotImplementedError

    def to_json(self, indent: int | None = 2) -> str:
        """Return the same figures as JSON text.

        Args:
            indent: spaces for each level; None for one line.
        """
        return json.dumps(self.to_dict(), indent=indent)

    def report(self, limit: int | None = DEFAULT_ROWS) -> str:
        r"""Print the report and return it.

        Characters that the console's encoding does not have are printed as escapes, such as `\u8bfb`.

        Args:
            limit: the most rows in each part, the most important first; None shows all. Totals always cover all.

        Returns:
            The whole text, with these characters as they are. As a notebook's last line it is not shown again.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self._text(limit)
        try:
            print(text)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # the error's own says only `charmap`
            print(text.encode(encoding, "backslashreplace").decode(encoding))
        return PrintedText(text)

    def _text(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Return the text of the report, safe for a terminal."""
        raise NotImplementedError
