"""A program with a quarter of an hour of receipts behind it, for pictures of the page. Only its clock is made up.

It prints the address of its page and goes on until its input ends. Arguments: how many more tools there are, the part
of calls that fail, and a store if it writes to one.
"""

from __future__ import annotations

import random
import sys
import time

BACK_S = 900.0
MINUTE_S = 60.0
CUSTOMERS = ("acme", "globex", "initech", "umbrella")
ERRORS = (
    (OSError, "out of paper"),
    (TimeoutError, "the model did not answer within 30 s"),
    (ValueError, "could not parse the total: 'TOTAL 4,2O'"),
)


class Clock:
    """The real clock, behind by some time that `sleep` makes up."""

    def __init__(self) -> None:
        self.behind_s = BACK_S
        self._monotonic_s, self._wall_s = time.perf_counter, time.time

    def monotonic_s(self) -> float:
        return self._monotonic_s() - self.behind_s

    def wall_s(self) -> float:
        return self._wall_s() - self.behind_s

    def sleep(self, seconds: float) -> None:
        self.behind_s = max(0.0, self.behind_s - seconds)


clock = Clock()
time.perf_counter, time.time = clock.monotonic_s, clock.wall_s  # before the library takes them

from toolweaver_monitor import Budget, setup, track
from toolweaver_monitor.sinks import SQLiteStore

chance = random.Random(4)


def run(tool: str, median_s: float, cost: float, tokens: int, model: str | None, failing: float) -> None:
    with track(tool) as call:
        clock.sleep(median_s * chance.lognormvariate(0, 0.45))
        if chance.random() < failing:
            kind, text = chance.choice(ERRORS)
            raise kind(text)
        if model is not None:
            used = int(tokens * chance.uniform(0.6, 1.5))
            call.record(input_tokens=used, output_tokens=used // 8, model=model, provider="openai")
            call.record(cost=cost * used / tokens)
        if chance.random() < 0.03:
            call.record(attempt=2)


def read_receipt(failing: float) -> None:
    slow = 1.0 + 2.5 * (4 * MINUTE_S < clock.behind_s < 6 * MINUTE_S)  # two bad minutes
    with track("receipt", customer=chance.choice(CUSTOMERS)):
        run("ocr", 1.6 * slow, 0.012, 1_400, "gpt-4o", failing * slow)
        run("parse_items", 0.02, 0.0, 0, None, 0.0)
        run("categorize", 0.5, 0.002, 300, "gpt-4o-mini", failing / 8)


def main() -> None:
    tools, failing = int(sys.argv[1]), float(sys.argv[2])
    store = [SQLiteStore(sys.argv[3])] if len(sys.argv) > 3 else []
    with setup(*store, dashboard=0, budget=Budget(limit_usd=10.0, name="daily", per="day")) as monitor:
        while clock.behind_s:
            try:
                read_receipt(failing)
            except Exception:  # noqa: BLE001 - it is counted
                pass
            clock.sleep(chance.expovariate(1.0))
            if chance.random() < 0.02:
                with track("translate") as call:
                    clock.sleep(0.8)
                    call.record(input_tokens=90, model="our-own-model")
        for number in range(tools):
            with track(f"tool_{number:04d}") as call:
                call.record(cost=number * 1e-5)
        monitor.flush()
        with track("receipt", customer="acme"), track("ocr"):
            print(monitor.sinks[-1].url, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
