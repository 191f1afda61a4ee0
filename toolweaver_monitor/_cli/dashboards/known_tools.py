"""The tools of a running program or a store: their labels, and how long they may take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli.doctor import running_program
from toolweaver_monitor._cli.store.sums import read_groups
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._memory.metrics import summarize
from toolweaver_monitor.sinks._prometheus import catalog

SHORTEST_TARGET_S = 1.0
"""Below it a target would fire at every pause of the machine."""


class KnownTools(NamedTuple):
    """The tools of a program or of a store, and what is known of each."""

    labels: list[str]
    """Those of `PrometheusExporter(labels=...)`; none of a store."""
    targets_s: dict[str, float | None]
    """By tool, what its 95th percentile may be: two to four times what it is. None if it has not run."""

    def check(self, tools: Iterable[str]) -> None:
        """Check that there are tools of these names.

        Raises:
            ConfigurationError: there is none.
        """
        for tool in tools:
            if tool not in self.targets_s:
                close = suggest(tool, self.targets_s)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(self.targets_s))}"
                raise ConfigurationError(f"--p95: there is no tool {tool!r}", hint=hint)


def of_program(url: str, token: str | None) -> KnownTools:
    """Return the tools of the program that serves its metrics at an address.

    Raises:
        SinkUnavailable: it does not.
    """
    answer = http_get.get(url, token)
    fault = running_program.find_fault(answer, url)
    if fault is not None:
        raise SinkUnavailable(fault.says, hint=fault.cure)
    samples = running_program.parse(answer.body) or {}
    executions = [labels for labels, _ in samples.get(catalog.EXECUTIONS.name, ())]
    bounds: dict[str, list[tuple[float, float]]] = {labels["tool_name"]: [] for labels in executions}
    for labels, count in samples.get(f"{catalog.DURATION.name}_bucket", ()):
        bounds.setdefault(labels["tool_name"], []).append((float(labels["le"]), count))
    own = {label for found in executions for label in found} - set(catalog.EXECUTIONS.labels)
    return KnownTools(sorted(own), {tool: _target(_p95(found)) for tool, found in sorted(bounds.items())})


def of_store(store: StoreReader) -> KnownTools:
    """Return the tools whose calls a store has."""
    groups = sorted(read_groups(store, "tool").items())
    return KnownTools([], {tool: _target(summarize(stats)["p95_s"]) for tool, stats in groups})


def _p95(bounds: list[tuple[float, float]]) -> float | None:
    """Return the upper bound of the bucket in which the 95th percentile lies, of cumulative counts by bound."""
    calls = max((count for _, count in bounds), default=0)
    return min((bound for bound, count in bounds if count >= 0.95 * calls), default=None) if calls else None


def _target(p95_s: float | None) -> float | None:
    """Return twice the next power of two, which is a bound of the classic buckets."""
    if not p95_s or p95_s == math.inf:  # above the highest bucket there is nothing to compare with
        return p95_s or None
    return max(SHORTEST_TARGET_S, 2.0 ** (math.ceil(math.log2(p95_s)) + 1))
