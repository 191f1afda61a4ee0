"""What is said once about figures that were not counted, for `health()`."""

from __future__ import annotations

MAX_NOTED = 20


class FigureNotes:
    """The tools whose figures were left out or misspelt, by what happened, since the last `forget`."""

    _names: dict[str, dict[str, str]] = {}  # noqa: RUF012 - one for the process, as the counts of `Diagnostics`

    @classmethod
    def add(cls, what: str, name: str, detail: str = "") -> bool:
        """Note what happened to a tool or a tag. Return whether this is the first time."""
        names = cls._names.get(what)
        if names is None:
            names = cls._names.setdefault(what, {})
        if name in names or len(names) >= MAX_NOTED:
            return False
        names[name] = detail
        return True

    @classmethod
    def of(cls, what: str) -> dict[str, str]:
        """Return the names to which this happened, each with its detail."""
        return dict(cls._names.get(what, {}))

    @classmethod
    def forget(cls) -> None:
        """Forget all of them: another setup begins."""
        cls._names = {}
