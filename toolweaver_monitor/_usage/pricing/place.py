"""Where in a price table is a mistake? The keys that lead to it, and the line of the file on which it stands."""

from __future__ import annotations

import re

from toolweaver_monitor.errors import ConfigurationError

Key = str | int
"""A step on the way to a mistake: a key, or which of a list of prices, from 1."""

_BRACE = re.compile(r"\{")


class Place:
    """Where in the user's table we are, for the error that says so."""

    def __init__(self, name: str, text: str | None = None) -> None:
        self.name = name
        self.text = text

    def wrong(self, what: str, cure: str, *path: Key) -> ConfigurationError:
        """The error to raise.

        Args:
            what: what is wrong.
            cure: what to write instead.
            *path: the keys that lead to it; the line is looked for in the file's text.
        """
        line = _line_of(self.text, path) if self.text is not None else None
        where = self.name if line is None else f"{self.name}, line {line}"
        inside = f" {' > '.join(f'#{key}' if isinstance(key, int) else key for key in path)}:" if path else ""
        return ConfigurationError(f"{where}:{inside} {what}; {cure}")

    def twice(self, key: str) -> ConfigurationError:
        """The error for a key that stands twice in one object of a JSON file; its line is that of the second."""
        text, name = self.text or "", re.escape(f'"{key}"')
        both = re.search(rf"{name}\s*:[^{{}}]*({name})\s*:", text) or re.search(
            rf"{name}\s*:.*({name})\s*:", text, re.DOTALL
        )
        where = self.name if both is None else f"{self.name}, line {_line_at(text, both.start(1))}"
        return ConfigurationError(f'{where}: "{key}" stands there twice; keep one of them')


def _line_of(text: str, path: tuple[Key, ...]) -> int | None:
    """The line on which the last of these begins, each looked for after the one before it."""
    at, begins, sought = 0, None, _BRACE
    for step in path:
        times = 1
        if isinstance(step, str):
            sought = _as_key(step)
        elif begins is not None and text[:begins].endswith(("[[", '[["', "[['")):
            times = step - 1  # of the tables that TOML makes a list of, the first has been found
        else:
            sought, times = _BRACE, step
        for _ in range(times):
            found = _found(sought, text, at)
            if found is None:
                return None if begins is None else _line_at(text, begins)
            begins, at = found.start(found.lastgroup or 0), found.end(found.lastgroup or 0)
    return None if begins is None else _line_at(text, begins)


def _as_key(key: str) -> re.Pattern[str]:
    """Finds it in quotes or bare, where a name can stand in JSON or TOML, and no other that only contains it."""
    return re.compile(rf"""(?:^|(?<=[\s\[{{,.]))(["']?)(?P<key>{re.escape(key)})\1(?=\s*[]:=.])""", re.MULTILINE)


def _found(sought: re.Pattern[str], text: str, at: int) -> re.Match[str] | None:
    """The next that stands in no line of comment."""
    for found in sought.finditer(text, at):
        line_so_far = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        if not line_so_far.lstrip().startswith("#"):
            return found
    return None


def _line_at(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
