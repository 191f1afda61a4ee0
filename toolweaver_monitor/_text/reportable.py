"""Print a report and return its text."""

from __future__ import annotations

from toolweaver_monitor._text.display import DEFAULT_ROWS


class Reportable:
    """Base of everything that has a report to print."""

    def report(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Print the report and return it.

        Args:
            limit: the most rows in each part, the most important first; None shows all. Totals always cover all.

        Returns:
            The printed text.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self._text(limit)
        print(text)
        return text

    def _text(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Return the text of the report, safe for a terminal."""
        raise NotImplementedError
