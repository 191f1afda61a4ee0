"""Measured values by benchmark, contender and measure, for the JSON file, the tables and the targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.harness import Figure, Rounds, figure


@dataclass
class Results:
    """Figures under the key `benchmark/contender/measure`, in the order they were measured, and notes."""

    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, benchmark: str, contender: str, measure: str, values: Iterable[float], unit: str) -> None:
        """Keep the median and quartiles of some values."""
        found = list(values)
        if found:
            self.figures[f"{benchmark}/{contender}/{measure}"] = figure(found, unit)

    def put_added(self, benchmark: str, rounds: Rounds, contenders: Iterable[str], *, cpu: bool = False) -> None:
        """Keep what each contender adds, and its ratios to the floor and to the guide's pattern both ways."""
        word = "CPU" if cpu else "added"
        for name in contenders:
            self.put(benchmark, name, word, [ns / 1000 for ns in rounds.added(name, cpu=cpu)], "us")
            for other, measure in (("floor", "floors"), ("guide", "of guide"), ("guide, cached", "of cached")):
                if other in rounds.names and other != name:
                    label = f"CPU {measure}" if cpu else measure
                    self.put(benchmark, name, label, rounds.ratio(name, other, cpu=cpu), "x")

    def value(self, key: str) -> float | None:
        """The median of one figure, or None if it was not measured."""
        found = self.figures.get(key)
        return None if found is None else found.median

    def benchmarks(self) -> dict[str, dict[str, dict[str, Figure]]]:
        """The same as benchmark -> contender -> measure -> figure."""
        found: dict[str, dict[str, dict[str, Figure]]] = {}
        for key, value in self.figures.items():
            benchmark, contender, measure = key.split("/")
            found.setdefault(benchmark, {}).setdefault(contender, {})[measure] = value
        return found
