"""Usage that a call hands on from calls inside it: an agent returns the usage of the model calls that it made."""

from __future__ import annotations

from typing import NamedTuple

from toolweaver_monitor._core.details import CallDetails

MAX_RESULTS = 1_024
"""Results that a call remembers of calls inside it."""
MAX_FIGURES = 256
"""Different figures of calls inside that are compared one by one. Their total has all of them."""


class Figures(NamedTuple):
    """What one call used, or several together. None is a cost that is unknown, or that no result reported."""

    tokens: int
    split: tuple[int, int] | None
    """Input and output; None if not all tokens are split."""
    reported_nanousd: int | None
    cost_nanousd: int | None
    models: frozenset[str]

    @classmethod
    def of(cls, details: CallDetails) -> Figures:
        """Return the figures of one call."""
        cost = details.cost_nanousd
        return cls(
            details.tokens,
            None if details.unsplit_tokens else (details.input_tokens, details.output_tokens),
            cost if details.cost_source == "reported" else None,
            cost,
            frozenset() if details.model is None else frozenset({details.model}),
        )

    def __add__(self, other: Figures) -> Figures:  # type: ignore[override]
        """Return the figures of both together."""
        one, two = self.split, other.split
        return Figures(
            self.tokens + other.tokens,
            None if one is None or two is None else (one[0] + two[0], one[1] + two[1]),
            _sum(self.reported_nanousd, other.reported_nanousd),
            _sum(self.cost_nanousd, other.cost_nanousd),
            self.models | other.models,
        )

    def covers(self, outer: Figures) -> bool:
        """Return whether a call around tells these figures again.

        Tokens are equal, and so are model and cost where both tell one. A call around that tells no tokens tells the
        same if its cost is equal, wherever that inside comes from.
        """
        if outer.models and not outer.models <= self.models:
            return False
        if not outer.tokens:
            return outer.reported_nanousd is not None and outer.reported_nanousd == self.cost_nanousd
        if outer.tokens != self.tokens or (None not in (outer.split, self.split) and outer.split != self.split):
            return False
        costs = outer.reported_nanousd, self.reported_nanousd
        return None in costs or costs[0] == costs[1]


NO_FIGURES = Figures(0, (0, 0), 0, 0, frozenset())


class UsageInside:
    """What the calls that have ended inside an open call used.

    Attributes:
        results: the `id`s of results whose figures they told.
    """

    __slots__ = ("_each", "_total", "results")

    def __init__(self) -> None:
        self.results: set[int] = set()
        self._each: set[Figures] = set()
        self._total = NO_FIGURES

    def add(self, details: CallDetails) -> None:
        """Add a call that has ended, with what ended inside it."""
        inside: UsageInside | None = details.inside
        if inside is not None:
            self._total += inside._total
            self._each.update(list(inside._each)[: max(0, MAX_FIGURES - len(self._each))])
            if len(self.results) < MAX_RESULTS:
                self.results |= inside.results
        if details.tokens or details.cost_nanousd:
            figures = Figures.of(details)
            self._total += figures
            if len(self._each) < MAX_FIGURES:
                self._each.add(figures)

    def mark(self, result: object) -> None:
        """Remember that a call inside has told the figures of this result."""
        if len(self.results) < MAX_RESULTS:
            self.results.add(id(result))

    def covers(self, details: CallDetails) -> bool:
        """Return whether the figures of the call around are those of one call inside, or of all together."""
        outer = Figures.of(details)
        if not outer.tokens and not outer.reported_nanousd:
            return False
        return self._total.covers(outer) or any(each.covers(outer) for each in self._each)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


USAGE_FIELDS = (
    "unsplit_tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_nanousd", "cost_source",
    "cache_write_tokens", "cache_write_1h_tokens", "model", "provider", "audio_tokens", "rare_parts", "service_tier",
)  # fmt: skip


def clear_usage(details: CallDetails) -> None:
    """Leave out what the call used: it is counted elsewhere."""
    defaults = dict(zip(CallDetails.__struct_fields__, CallDetails.__struct_defaults__, strict=True))
    for name in USAGE_FIELDS:
        setattr(details, name, defaults[name])
