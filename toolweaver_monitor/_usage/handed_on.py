"""Usage that a call hands on from calls inside it: an agent returns the usage of the model calls that it made."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._usage.extract import DATE_SUFFIX

MAX_RESULTS = 1_024
"""Results that a call remembers of calls inside it."""
MAX_FIGURES = 256
"""Calls inside whose figures are compared one by one, at least the latest half. Their total has all of them."""


class Figures(NamedTuple):
    """What one call used, or several together. None is a cost that is unknown, or that no result reported."""

    tokens: int
    split: tuple[int, int] | None
    """Input and output; None if not all tokens are split."""
    reported_nanousd: int | None
    cost_nanousd: int | None
    models: frozenset[str]

    @classmethod
    def of(cls, told: tuple[int, int, int, int | None, bool, str | None]) -> Figures:
        """Return the figures of one call, as `UsageInside` keeps them."""
        unsplit, given, produced, cost, is_reported, model = told
        return cls(
            unsplit + given + produced,
            None if unsplit else (given, produced),
            cost if is_reported else None,
            cost,
            _models(model),
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

    __slots__ = ("_each", "_handed_on", "_rest", "_saved", "results")

    def __init__(self) -> None:
        self.results: set[int] = set()
        self._each: list[tuple[int, int, int, int | None, bool, str | None]] = []
        """Their figures as they came: unsplit tokens, input, output, cost, whether it was reported, model."""
        self._handed_on: tuple[Figures, ...] = ()
        """What calls inside have handed on: totals of some of the others, which a call around may hand on again."""
        self._rest = NO_FIGURES
        """The total of those that `_each` has no room for."""
        self._saved = NO_FIGURES
        """The total of the figures that were not charged, since a cache had answered. A call around may tell them."""

    def add(self, details: CallDetails) -> None:
        """Add a call that has ended, with what ended inside it."""
        if details.inside is not None and details.inside is not self:
            self._merge(details.inside)
        unsplit, given, produced, cost = (
            details.unsplit_tokens,
            details.input_tokens,
            details.output_tokens,
            details.cost_nanousd,
        )
        if unsplit or given or produced or cost:
            self._each.append((unsplit, given, produced, cost, details.cost_source == "reported", details.model))
            if len(self._each) > MAX_FIGURES:
                self._fold()

    def add_saved(self, told: CallDetails, saved_nanousd: int | None, *, are_tokens_counted: bool) -> None:
        """Add the figures of a call that has ended, as far as they are not charged since a cache had answered.

        Args:
            told: the figures as its result told them.
            saved_nanousd: what they would have cost; None if that is unknown.
            are_tokens_counted: whether its tokens and its model are given to `add`.
        """
        unsplit, given, produced = told.unsplit_tokens, told.input_tokens, told.output_tokens
        whole = Figures.of((unsplit, given, produced, saved_nanousd, told.cost_source == "reported", told.model))
        self._handed_on = (*self._handed_on, whole)[-MAX_FIGURES:]
        if are_tokens_counted:
            whole = whole._replace(tokens=0, split=(0, 0), models=frozenset())
        self._saved += whole

    def _merge(self, other: UsageInside) -> None:
        self._each += other._each
        self._rest += other._rest
        self._saved += other._saved
        self._handed_on = (*self._handed_on, *other._handed_on)[-MAX_FIGURES:]
        if len(self._each) > MAX_FIGURES:
            self._fold()
        if len(self.results) < MAX_RESULTS:
            self.results |= other.results

    def _fold(self) -> None:
        """Keep the total of the older half only."""
        older, self._each = self._each[: -MAX_FIGURES // 2], self._each[-MAX_FIGURES // 2 :]
        self._rest = sum(map(Figures.of, older), self._rest)

    def mark(self, result: object) -> None:
        """Remember that a call inside has told the figures of this result."""
        if len(self.results) < MAX_RESULTS:
            self.results.add(id(result))

    def covers(self, details: CallDetails) -> bool:
        """Return whether the figures of the call around are those of one call inside, or of all together.

        If so, they are remembered: the call around that one may hand them on again. A model without figures is that of
        calls inside that have told it with theirs.
        """
        reported = details.cost_source == "reported"
        if not details.tokens and not (reported and details.cost_nanousd):
            told = (self._rest.models, self._saved.models, *[_models(each[5]) for each in self._each])
            is_alone = details.cost_nanousd is None and not details.rare_parts and details.model is not None
            return is_alone and any(_models(details.model) <= models for models in told)
        outer = Figures.of((
            details.unsplit_tokens, details.input_tokens, details.output_tokens, details.cost_nanousd, reported,
            details.model,
        ))  # fmt: skip
        each = list(map(Figures.of, self._each))
        total = sum(each, self._rest)
        if not any(one.covers(outer) for one in (total, total + self._saved, *each, *self._handed_on)):
            return False
        self._handed_on = (*self._handed_on, outer)[-MAX_FIGURES:]
        return True


@lru_cache(maxsize=256)
def _models(name: str | None) -> frozenset[str]:
    """Return a model's name without a gateway's prefix and a date, which a request or its answer may have alone."""
    return frozenset() if name is None else frozenset({DATE_SUFFIX.sub("", name.rsplit("/", 1)[-1])})


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


USAGE_FIELDS = (
    "unsplit_tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_nanousd", "cost_source",
    "cache_write_tokens", "cache_write_1h_tokens", "model", "provider", "audio_tokens", "rare_parts", "service_tier",
    "has_cost_of_result",
)  # fmt: skip


def clear_usage(details: CallDetails) -> None:
    """Leave out what the call used: it is counted elsewhere."""
    defaults = dict(zip(CallDetails.__struct_fields__, CallDetails.__struct_defaults__, strict=True))
    for name in USAGE_FIELDS:
        setattr(details, name, defaults[name])
