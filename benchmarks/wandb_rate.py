"""100,000 calls to offline W&B, spread over 5 s and all at once."""

from __future__ import annotations

import importlib.util
import tempfile

from benchmarks.child import answer
from benchmarks.harness import say
from benchmarks.options import Options
from benchmarks.results import Results

PROGRAM = """
import json, sys, time
calls, over_s = int(sys.argv[1]), float(sys.argv[2])
from benchmarks.bodies import bare_result
from toolweaver_monitor import flush, get_monitor, monitored, setup, shutdown
from toolweaver_monitor.sinks import WandBLogger
monitor = setup(WandBLogger(project="benchmarks"))
tool = monitored("tool")(bare_result)
tool()
flush(timeout=60)  # the run has started
began = time.perf_counter()
chunk = 200
for done in range(0, calls, chunk):
    for _ in range(chunk):
        tool()
    ahead = began + over_s * (done + chunk) / calls - time.perf_counter()
    if ahead > 0:
        time.sleep(ahead)
called = time.perf_counter() - began
flushed = flush(timeout=120)
delivered = time.perf_counter() - began
health = monitor.health()
shutdown(timeout=30)
print(json.dumps({"called": called, "flushed": flushed, "delivered": delivered, "health": health}, default=str))
"""


def wandb(results: Results, options: Options) -> None:
    """Seconds until 100,000 calls are with W&B, and how many were lost on the way."""
    if importlib.util.find_spec("wandb") is None:
        results.notes.append("W&B was not measured: it is not installed.")
        return
    calls = options.scaled(100_000)
    for name, over_s in (("spread over 5 s", calls / 20_000), ("all at once", 0.0)):
        say(f"  {calls:,} calls, {name}")
        with tempfile.TemporaryDirectory() as folder:
            found = answer(
                PROGRAM, calls, over_s, cwd=folder, WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=folder
            )
        books = _books(found["health"])
        results.put("wandb", name, "calls made in", [found["called"]], "s")
        results.put("wandb", name, "all delivered in", [found["delivered"]], "s")
        for word in ("delivered", "dropped", "failed"):
            results.put("wandb", name, word, [float(books.get(word, -1))], "calls")


def _books(health: object) -> dict[str, float]:
    """The W&B sink's own counts, wherever `health()` keeps them."""
    if isinstance(health, dict):
        if "delivered" in health:
            return {
                word: float(sum(kept.values()) if isinstance(kept, dict) else kept)
                for word in ("emitted", "delivered", "dropped", "failed")
                if (kept := health.get(word, 0)) is not None
            }
        for key in sorted(health, key=lambda name: "wandb" not in str(name)):
            found = _books(health[key])
            if found:
                return found
    if isinstance(health, list):
        for one in health:
            found = _books(one)
            if found:
                return found
    return {}
