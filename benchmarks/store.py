"""`python -m benchmarks.store`: write calls to a store, and ask it, while another process reads all the time."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from toolweaver_monitor import ToolCall
from toolweaver_monitor._core import ids
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context_tree import ContextTree, tool_key
from toolweaver_monitor._core.details import CallDetails, CompactDetails, UsageDetails
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._store.reader import ERRORS, StoreReader
from toolweaver_monitor._store.schema import OUTCOMES
from toolweaver_monitor._store.upkeep import Retention, tidy
from toolweaver_monitor.sinks import SQLiteStore

BATCH = SQLiteStore.max_batch
READER = """
import sys, time
from toolweaver_monitor._store.reader import StoreReader
looks, worst = 0, 0.0
while True:
    began = time.perf_counter()
    with StoreReader(sys.argv[1]) as store:
        store.sums("tool", since=time.time() - 3600)
        store.calls(limit=100)
    looks, worst = looks + 1, max(worst, time.perf_counter() - began)
    print(looks, worst, flush=True)
    time.sleep(0.5)
"""


def percentiles(store: StoreReader, by: str) -> list[tuple[str, list[float]]]:
    """Return p50, p95 and p99 of each group."""
    found = []
    for sums in store.sums(by):
        stats = unpack(sums.values, OUTCOMES)
        low, high = stats.duration_min_s, stats.duration_max_s
        found.append((sums.name, histogram.percentiles(stats.buckets, (0.5, 0.95, 0.99), low, high)))
    return found


class Source:
    """Calls of some tools inside one of ten agents, with costs, models, tags and errors, spread over some days."""

    def __init__(self, calls: int, tools: int, days: float) -> None:
        self._tools = tools
        self._step_s = days * 86_400 / calls
        self._at = monotonic_s() - days * 86_400
        self._count = 0
        tree = ContextTree()
        agents = [tree.root.child(tool_key(f"agent-{n}", {"customer": f"customer-{n}"})) for n in range(10)]
        self._nodes = [agents[n % 10].child(tool_key(f"tool-{n:04}")) for n in range(tools)]

    def batch(self, size: int) -> list[ToolCall]:
        """Return the next calls."""
        calls = []
        root = next(ids.serials)
        for _ in range(size):
            number = self._count = self._count + 1
            self._at += self._step_s
            kind, outcome, details = number % 8, "success", None
            if kind in (4, 5):
                details = CompactDetails(812, 0.0104)
            elif kind in (6, 7):
                details = UsageDetails(0, 500, 100, 50, 2_000_000, "reported", f"model-{number % 3}", "provider")
            if number % 97 == 0:
                outcome = "failure"
                details = CallDetails(error_type="ValueError", raw_error="no such page", redacted=True)
            node = self._nodes[number * 7919 % self._tools]
            duration_s = 0.001 * (1 + number * 7919 % 1_000)
            call = ToolCall(node.key.tool_name, outcome, duration_s, self._at, _details=details)
            call._node, call._root_serial, call._parent_serial = node, root, root
            calls.append(call)
        return calls


def ask(name: str, question: Callable[[], object]) -> None:
    """Print how long a question takes, the best of three, and how much of that is CPU time."""
    took = []
    for _ in range(3):
        began, used = time.perf_counter(), time.process_time()
        question()
        took.append((time.perf_counter() - began, time.process_time() - used))
    print(f"  {name:<44} {min(took)[0] * 1e3:10.1f} ms  (CPU {min(took)[1] * 1e3:.1f} ms)")


def _write(path: Path, options: argparse.Namespace, source: Source, count: int, what: str) -> None:
    store = SQLiteStore(path, keep=options.keep, max_days=None, max_gb=None)
    store.write(source.batch(1))
    reader = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True)
    wall = cpu = 0.0
    for _ in range(count // BATCH):
        batch = source.batch(BATCH)
        began, used = time.perf_counter(), time.process_time()
        store.write(batch)
        wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
    began, more = time.perf_counter(), True
    while more:
        with store._writer.transaction() as connection:
            more = tidy(connection, Retention(), time.time())
    tidied = time.perf_counter() - began
    store.close()
    reader.kill()
    looks, worst_s = (reader.communicate()[0].split() or ["0", "0"])[-2:]
    written = count // BATCH * BATCH
    print(f"{written:,} calls {what}")
    print(f"  written by one thread, in CPU time           {written / cpu:10,.0f} calls/s")
    print(f"  CPU time of 100,000 calls                    {cpu / written * 1e5:10.2f} s")
    print(f"  written, whatever else the machine does      {written / wall:10,.0f} calls/s")
    print(f"  older sums merged to hours                   {tidied:10.1f} s")
    print(f"  size of the file                             {path.stat().st_size / written:10.1f} bytes a call")
    print(f"  a reader in another process                  {float(worst_s) * 1e3:10.1f} ms at worst, {looks} times")


def main(given: list[str] | None = None) -> None:
    """Write, ask, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="how many calls to write (1,000,000)")
    parser.add_argument("--tools", type=int, default=20, help="of how many tools (20)")
    parser.add_argument("--days", type=float, default=7.0, help="over how many days they are spread (7)")
    parser.add_argument("--keep", choices=("all", "notable"), default="all")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        print(f"calls of {options.tools:,} tools, keep={options.keep!r}")
        now = min(options.calls, 400_000)
        _write(Path(folder, "now.db"), options, Source(now, options.tools, 0.0), now, "as they end")
        path = Path(folder, "runs.db")
        _write(path, options, Source(options.calls, options.tools, options.days), options.calls,
               f"of {options.days:g} days, as fast as they can be written")  # fmt: skip
        with StoreReader(path) as reader:
            (rollups,) = next(reader.rows("SELECT count(*) FROM rollups"))
            print(f"  sums held                                    {rollups:10,}")
            (sums,) = reader.sums("all")
            print(f"  calls in the sums                            {sums.values['calls']:10,}")
            print(f"  of these failed                              {sums.values['failure']:10,}")
            print(f"  dollars in the sums                          {sums.values['cost_nanousd'] / 1e9:10,.2f}")
            ask("p50, p95, p99, cost and errors by tool", lambda: percentiles(reader, "tool"))
            ask("the same by model", lambda: percentiles(reader, "model"))
            ask("the same by customer", lambda: percentiles(reader, "tag:customer"))
            ask("calls by hour", lambda: reader.sums("all", every=3_600))
            ask("the 100 newest calls", lambda: reader.calls(limit=100))
            ask("the 20 last errors of a tool", lambda: reader.calls(tool="tool-0003", outcomes=ERRORS, limit=20))
            ask("the 20 slowest of a tool, of the last day", lambda: reader.calls(
                tool="tool-0003", since=time.time() - 86_400, order="slowest", limit=20))  # fmt: skip
            root = reader.calls(limit=1)[0].root
            ask("one trace", lambda: reader.trace(root))


if __name__ == "__main__":
    main()
