"""Memory stays flat however many calls there are, and totals stay exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if not Path("/proc/self/status").exists():
    pytest.skip("only Linux tells the peak of this very process", allow_module_level=True)

PROGRAM = """
import json, sys, time
from toolweaver_monitor import current_call, monitored, setup, track

CALLS = int(sys.argv[1])

@monitored("plain")
def plain(): ...

@monitored("told", cost=0.001)
def told(n): return {"text": "...", "tokens_used": 7}

@monitored("failing")
def failing(n): raise ValueError(f"number {n} cannot be read")

def peak_mib():  # ru_maxrss would be the parent's
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024

monitor = setup()
while monitor.health()["prices"]["genai_prices"] == "loading":
    time.sleep(0.01)  # a list of prices takes what it takes, once
plain()
monitor.summary()
before = peak_mib()
for n in range(CALLS // 10):
    for _ in range(6):
        plain()
    told(n)
    told(n)
    try:
        failing(n)
    except ValueError:
        pass
    with track("block", customer=f"customer {n}") as call:
        call.record(tokens=3, cost=0.0001, page=n)
summary = monitor.summary()
print(json.dumps({
    "more_mib": peak_mib() - before,
    "summary": summary,
    "costs": monitor.costs.costs,
    "rates": {tool: monitor.errors.error_rate(tool) for tool in monitor.errors.total_calls},
    "kept": [len(monitor.metrics.operations), len(monitor.errors.latest)],
}))
"""


def run(calls: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(calls)], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("calls", [200_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_is_flat_and_totals_are_exact(calls: int) -> None:
    """Under 32 MiB more at the peak, with defaults, for plain calls, costs, failures and tags that never repeat.

    About a third of it are totals of the 10,000 values of a tag, and nodes and keys for the first of these.
    Mutation: keep the operations in a list; the peak goes past 32 MiB long before 200,000 calls.
    """
    found = run(calls)
    assert found["more_mib"] < 32
    tenth = calls // 10
    summary = found["summary"]
    assert (summary["count"], summary["failures"], summary["total_tokens"]) == (calls + 1, tenth, 17 * tenth)
    assert summary["success_rate"] == pytest.approx((9 * tenth + 1) / (calls + 1), abs=1e-12)
    assert found["costs"] == {"told": 2 * tenth / 1000, "block": tenth / 10_000}
    assert summary["total_cost_usd"] == (2 * tenth * 10 + tenth) / 10_000
    assert found["rates"] == {"plain": 0.0, "told": 0.0, "failing": 1.0, "block": 0.0}
    assert found["kept"] == [10_000, 1_000]
