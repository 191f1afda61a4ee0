"""The targets: one table, read by the report (met or missed, by how much) and by the guard in CI."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field

from benchmarks.results import Results


@dataclass(frozen=True)
class Target:
    """One value and its limit.

    Args:
        what: in words.
        key: the value, `benchmark/contender/measure`.
        limit: what it may be at most, or at least where `at_least`.
        by_python: other limits for some versions of Python.
    """

    what: str
    key: str
    limit: float
    unit: str = "floors"
    at_least: bool = False
    by_python: dict[tuple[int, int], float] = field(default_factory=dict)

    def limit_for(self, python: tuple[int, int]) -> float:
        """The limit for a Python: that of the nearest version that is not newer, else the general one."""
        older = [version for version in self.by_python if version <= python]
        return self.by_python[max(older)] if older else self.limit

    @property
    def limit_here(self) -> float:
        """The limit for this Python."""
        return self.limit_for(sys.version_info[:2])


NEWER = {(3, 12): 4.5}

TARGETS = (
    Target(
        "a receipt: one tagged call around three that cost, a call", "shapes/receipt/of plain", 1.35, "of a plain call"
    ),
    Target("a receipt, CPU", "shapes/receipt/CPU of plain", 1.35, "of a plain call"),
    Target("a receipt, CPU beside the guide's counters", "shapes/receipt/CPU of guide", 0.2, "of guide"),
    Target("a receipt, CPU beside the same cached", "shapes/receipt/CPU of cached", 0.6, "of cached"),
    Target("a declared cost", "shapes/declared cost/of plain", 1.35, "of a plain call"),
    Target("a declared cost, CPU", "shapes/declared cost/CPU of plain", 1.35, "of a plain call"),
    Target("fixed tags", "shapes/fixed tags/of plain", 1.35, "of a plain call"),
    Target("fixed tags, CPU", "shapes/fixed tags/CPU of plain", 1.35, "of a plain call"),
    Target("a call inside another, a call", "shapes/nested/of plain", 1.35, "of a plain call"),
    Target("a call inside another, CPU", "shapes/nested/CPU of plain", 1.35, "of a plain call"),
    Target("a result dict, above a plain call", "shapes/result dict/floors above plain", 2.2),
    Target("a result dict, CPU above", "shapes/result dict/CPU of cached above plain", 0.25, "of cached"),
    Target("`record(tokens=, cost=)`, above a plain call", "shapes/record(tokens, cost)/floors above plain", 5.0),
    Target(
        "`record(tokens=, cost=)`, CPU above",
        "shapes/record(tokens, cost)/CPU of cached above plain",
        0.35,
        "of cached",
    ),
    Target("`record(..., model=)`, above a plain call", "shapes/record(..., model)/floors above plain", 7.0),
    Target("`record(..., model=)`, CPU above", "shapes/record(..., model)/CPU of cached above plain", 0.5, "of cached"),
    Target("a block with a tag and a cost, above a plain call", "shapes/block, tag and cost/floors above plain", 8.0),
    Target(
        "a block with a tag and a cost, CPU above",
        "shapes/block, tag and cost/CPU of cached above plain",
        0.6,
        "of cached",
    ),
    Target("a call that raises, CPU beside the guide's failing path", "shapes/raising/CPU of guide", 1.0, "of guide"),
    Target("sync call, bursts", "sync/ours/floors", 4.0, by_python=NEWER),
    Target("sync call beside the guide's pattern", "sync/ours/of guide", 1 / 7, "of guide"),
    Target("sync call beside the hand-cached pattern", "sync/ours/of cached", 0.5, "of cached"),
    Target("async call, bursts", "async/ours/floors", 4.0, by_python=NEWER),
    Target("async call beside the guide's pattern", "async/ours/of guide", 1 / 7, "of guide"),
    Target("async call beside the hand-cached pattern", "async/ours/of cached", 0.5, "of cached"),
    Target("sync call, drains included", "sustained/ours/floors", 6.0),
    Target("async call, drains included", "sustained async/ours/floors", 6.0),
    Target("CPU of the process, sync", "sustained/ours/CPU of guide", 1 / 5, "of guide"),
    Target("CPU of the process, sync, beside hand-cached", "sustained/ours/CPU of cached", 0.7, "of cached"),
    Target("CPU of the process, async", "sustained async/ours/CPU of guide", 1 / 5, "of guide"),
    Target("CPU of the process, async, beside hand-cached", "sustained async/ours/CPU of cached", 0.7, "of cached"),
    Target("`with track`", "track/with track/of decorator", 1.3, "of the decorator"),
    Target("`async with track`", "track/async with track/of decorator", 1.3, "of the decorator"),
    Target("generator step", "generators/generator step/floors", 1.5),
    Target("async generator step", "generators/async generator step/async floors", 1.5, "async floors"),
    Target("result dict with cost and tokens", "result/result dict/floors more", 2.0, "floors more"),
    Target("open budget per run", "budget/per run/floors more", 2.0, "floors more"),
    Target("budget with a sliding window", "budget/sliding window/floors more", 4.0, "floors more"),
    Target("a name read from the arguments", "names/read by position/floors more", 2.0, "floors more"),
    Target("the same, passed by keyword", "names/read by keyword/floors more", 2.0, "floors more"),
    Target("one no-op I/O sink", "sinks/a no-op sink/floors more", 1.0, "floors more"),
    Target("four no-op I/O sinks", "sinks/four no-op sinks/floors more", 1.0, "floors more"),
    Target("a log", "sinks/LogSink/floors more", 1.0, "floors more"),
    Target("the store, bursts", "store/the store/floors more", 1.0, "floors more"),
    Target("a joined worker, bursts", "beyond/shared=True/floors more", 1.0, "floors more"),
    Target("OTLP, bursts", "beyond/OTLP/floors more", 1.0, "floors more"),
    Target("before setup, sync", "off/before setup/of wraps", 2.0, "of wraps"),
    Target("disabled, sync", "off/disabled/of wraps", 2.0, "of wraps"),
    Target("before setup, async", "off/before setup, async/of wraps", 2.0, "of wraps"),
    Target("disabled, async", "off/disabled, async/of wraps", 2.0, "of wraps"),
    Target("p99.9 of 1,000,000 calls over the bare loop's", "tail/ours/p99.9 over bare", 50.0, "us"),
    Target("8 threads beside one", "threads/ours/rate of one", 0.8, "of one thread's rate", at_least=True),
    Target("1,000 tasks that sleep 1 ms", "tasks/ours/1,000 of bare", 1.3, "of bare"),
    Target("10,000 tasks that sleep 1 ms", "tasks/ours/10,000 of bare", 1.3, "of bare"),
    Target("memory, 1,000,000 calls", "memory/ours/1 tools x 1,000,000", 16.0, "MiB"),
    Target("memory, 1,000 tools x 1,000 calls", "memory/ours/1,000 tools x 1,000", 20.0, "MiB"),
    Target("`summary()`, 1,000 tools", "summary/1,000 tools/time", 5.0, "ms"),
    Target("`summary()`, 1 tool", "summary/1 tools/time", 0.2, "ms"),
    Target("scrape of 1,000 tools", "scrape/ours/of prometheus_client", 0.5, "of prometheus_client"),
    Target(
        "scrape, every tool called since the last",
        "scrape/ours, every tool called since/of prometheus_client",
        0.5,
        "of prometheus_client",
    ),
    Target("import over bare Python", "import/import toolweaver_monitor/over bare", 60.0, "ms"),
    Target("optional packages at import", "import/import toolweaver_monitor/optional packages", 0.0, "packages"),
    Target("`setup()`", "setup/setup()/time", 20.0, "ms"),
    Target("`setup()` with a log", "setup/setup() with a log/time", 20.0, "ms"),
    Target("price of a call, model seen, by the table", "price/by the table/time", 3.0, "us"),
    Target("price of a call, model seen, by genai-prices", "price/by genai-prices/time", 3.0, "us"),
    Target("price of a call without a known price", "price/unknown/time", 3.0, "us"),
    Target("digest of 1 KiB of arguments, for a limit of repeats", "repeats/1 KiB of text/time", 5.0, "us"),
    Target("W&B: 100,000 calls at once, until all are with it", "wandb/all at once/all delivered in", 5.0, "s"),
    Target("W&B: calls lost of those at once", "wandb/all at once/dropped", 0.0, "calls"),
    Target("W&B: calls lost of those spread over 5 s", "wandb/spread over 5 s/dropped", 0.0, "calls"),
)


@dataclass(frozen=True)
class Judged:
    """A target and what was measured."""

    target: Target
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.limit if self.target.at_least else self.value <= self.limit

    @property
    def by(self) -> str:
        """How far from the limit, as a share of it."""
        if not self.limit or self.value == self.limit:
            return "just so"
        share = (self.value - self.limit) / self.limit
        return f"{abs(share):.0%} {'above' if share > 0 else 'below'}"


def judged(results: Results, python: str = platform.python_version()) -> list[Judged]:
    """Yield every target that was measured, on that version of Python."""
    major, minor = map(int, python.rsplit(maxsplit=1)[-1].split(".")[:2])
    found = [(target, results.value(target.key)) for target in TARGETS]
    return [Judged(target, value, target.limit_for((major, minor))) for target, value in found if value is not None]
