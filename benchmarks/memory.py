"""Growth of the process, each way in a fresh one: 1,000,000 calls of one tool, 1,000 calls of 1,000 tools."""

from __future__ import annotations

from benchmarks.child import answer
from benchmarks.harness import say
from benchmarks.options import Options
from benchmarks.results import Results

PROGRAM = """
import gc, json, sys
from itertools import repeat
way, tools, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from benchmarks import peers
from benchmarks.bodies import bare
from benchmarks.rss import now_mib, peak_mib
drain = lambda: None
if way == "ours":
    from benchmarks import ours
    ours.USUAL.enter()
    drain = ours.drain
    wrapped = [ours.monitored(f"tool-{n}")(bare) for n in range(tools)]
elif way == "guide, cached":
    guide = peers.Guide()
    wrapped = [guide.wrap_cached(bare, f"tool-{n}") for n in range(tools)]
else:
    wrapped = [peers.floor(bare) for n in range(tools)]
wrapped[0]()
drain()
gc.collect()
before, peak_before = now_mib(), peak_mib()
for function in wrapped:
    for _ in repeat(None, calls):
        function()
drain()
gc.collect()
print(json.dumps([now_mib() - before, peak_mib() - peak_before]))
"""


def memory(results: Results, options: Options) -> None:
    """Growth of the resident memory over 1,000,000 calls, from just after the first."""
    passes = 1 if options.quick else 3
    for tools, calls in ((1, 1_000_000), (1_000, 1_000)):
        for way in ("floor", "guide, cached", "ours"):
            say(f"  {way}: {tools:,} x {calls:,}")
            found = [answer(PROGRAM, way, tools, calls) for _ in range(passes)]
            results.put("memory", way, f"{tools:,} tools x {calls:,}", [one[0] for one in found], "MiB")
            results.put("memory", way, f"{tools:,} tools x {calls:,}, peak", [one[1] for one in found], "MiB")
