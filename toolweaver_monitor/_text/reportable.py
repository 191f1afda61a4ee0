"""Print a report and return its text."""

from __future__ import annotations

import sys

from toolweaver_monitor._text.display import DEFAULT_ROWS


class Reportable:
    """Base of everything that has a report to print."""

    def report(self, limit: int | None = DEFAULT_ROWS) -> str:
        r"""Print the report and return it.

        Characters that the console's encoding does not have are printed as escapes, such as `\u8bfb`.

        Args:
            limit: the most rows in each part, the most important first; None shows all. Totals always cover all.

        Returns:
            The whole text, with these characters as they are.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self._text(limit)
        try:
            print(text)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # the error's own says only `charmap`
            print(text.encode(encoding, "backslashreplace").decode(encoding))
        return text

    def _text(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Return the text of the report, safe for a terminal."""
        raise NotImplementedError
