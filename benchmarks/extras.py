"""The cost of extras for the caller: usage in the result, budgets, I/O sinks; and of a call while monitoring is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import least, loops, ours, peers
from benchmarks.bodies import bare, bare_async, bare_result
from benchmarks.harness import Contender, Rounds, interleaved
from benchmarks.options import Options
from benchmarks.ours import BEFORE_SETUP, BURST, DISABLED, USUAL, Mode, NoOpSink
from benchmarks.results import Results
from toolweaver_monitor import Budget, instrument, uninstrument
from toolweaver_monitor.sinks import OpenTelemetryExporter, SQLiteStore


def _mine(name: str, run: loops.Run, mode: Mode, over: str = "bare") -> Contender:
    return Contender(name, run, over=over, drain=ours.drain, enter=mode.enter, at_most=BURST)


def _least(name: str, run: loops.Run, over: str) -> Contender:
    return Contender(name, run, over=over, drain=least.drain, at_most=BURST)


def _more_than_ours(results: Results, benchmark: str, rounds: Rounds, names: list[str]) -> None:
    results.put_added(benchmark, rounds, ["floor", "ours", *names])
    for name in names:
        results.put(benchmark, name, "floors more", rounds.extra(name, "ours", "floor"), "x")


def result(results: Results, options: Options) -> None:
    """A result dict that carries `cost` and `tokens_used`, beside a result of None."""
    rounds = interleaved(
        [
            Contender("bare", loops.calls(bare), over=None),
            Contender("bare result", loops.calls(bare_result), over=None),
            Contender("floor", loops.calls(peers.floor(bare))),
            _mine("ours", loops.calls(ours.monitored("tool")(bare)), USUAL),
            _mine("result dict", loops.calls(ours.monitored("tool")(bare_result)), USUAL, "bare result"),
            _least("bare minimum", loops.calls(least.function(bare)), "bare"),
            _least("bare minimum, trusting", loops.calls(least.function(bare_result, least.trusting)), "bare result"),
            _least("bare minimum, careful", loops.calls(least.function(bare_result, least.careful)), "bare result"),
        ],
        rounds=options.rounds,
    )
    _more_than_ours(results, "result", rounds, ["result dict"])
    results.put_added("result", rounds, ["bare minimum"])
    for name in ("bare minimum, trusting", "bare minimum, careful"):
        results.put_added("result", rounds, [name])
        results.put("result", name, "floors more", rounds.extra(name, "bare minimum", "floor"), "x")


def budget(results: Results, options: Options) -> None:
    """An open budget, per run and over a sliding window; nothing declared, and a declared cost of a cent."""
    run, hour = (
        Mode(options={"budget": Budget(limit_usd=1e6)}),
        Mode(options={"budget": Budget(limit_usd=1e6, per="hour")}),
    )
    tool, cent = ours.monitored("tool")(bare), ours.monitored("tool", cost=0.01)(bare)
    rounds = interleaved(
        [
            Contender("bare", loops.calls(bare), over=None),
            Contender("floor", loops.calls(peers.floor(bare))),
            _mine("ours", loops.calls(tool), USUAL),
            _mine("per run", loops.calls(tool), run),
            _mine("sliding window", loops.calls(tool), hour),
            _mine("ours, declared cost", loops.calls(cent), USUAL),
            _mine("per run, declared cost", loops.calls(cent), run),
            _mine("sliding window, declared cost", loops.calls(cent), hour),
        ],
        rounds=options.rounds,
    )
    _more_than_ours(results, "budget", rounds, ["per run", "sliding window", "ours, declared cost"])
    for name in ("per run, declared cost", "sliding window, declared cost"):
        results.put_added("budget", rounds, [name])
        results.put("budget", name, "floors more", rounds.extra(name, "ours, declared cost", "floor"), "x")


def _orchestrator() -> type:
    """Make a class that runs tools by name."""

    class Orchestrator:
        def execute_tool(self, tool_name: str, arguments: object = None) -> None:
            """Run no tool."""

    return Orchestrator


def names(results: Results, options: Options) -> None:
    """A call whose name is read from its arguments, beside one with a fixed name."""
    kinds = [_orchestrator() for _ in range(3)]
    instrument(kinds[1], tool_name="ocr")
    instrument(kinds[2])
    plain, fixed, read = (kind() for kind in kinds)
    rounds = interleaved(
        [
            Contender("bare", loops.calls(lambda: plain.execute_tool("ocr")), over=None),
            Contender("floor", loops.calls(peers.floor(lambda: plain.execute_tool("ocr")))),
            _mine("ours", loops.calls(lambda: fixed.execute_tool("ocr")), USUAL),
            _mine("ours, by keyword", loops.calls(lambda: fixed.execute_tool(tool_name="ocr")), USUAL),
            _mine("read by position", loops.calls(lambda: read.execute_tool("ocr")), USUAL),
            _mine("read by keyword", loops.calls(lambda: read.execute_tool(tool_name="ocr")), USUAL),
        ],
        rounds=options.rounds,
    )
    _more_than_ours(results, "names", rounds, ["read by position"])
    results.put_added("names", rounds, ["ours, by keyword", "read by keyword"])
    more = rounds.extra("read by keyword", "ours, by keyword", "floor")
    results.put("names", "read by keyword", "floors more", more, "x")
    for kind in kinds:
        uninstrument(kind)


def sinks(results: Results, options: Options) -> None:
    """I/O sinks beside the four in-process ones: what the caller pays more."""
    tool = ours.monitored("tool")(bare)
    four = Mode(extra=lambda: [NoOpSink(f"noop-{number}") for number in range(4)])
    rounds = interleaved(
        [
            Contender("bare", loops.calls(bare), over=None),
            Contender("floor", loops.calls(peers.floor(bare))),
            _mine("ours", loops.calls(tool), USUAL),
            _mine("a no-op sink", loops.calls(tool), Mode(extra=lambda: [NoOpSink()])),
            _mine("four no-op sinks", loops.calls(tool), four),
            _mine("LogSink", loops.calls(tool), Mode(extra=lambda: [ours.log_to_nowhere()])),
        ],
        rounds=options.rounds,
    )
    _more_than_ours(results, "sinks", rounds, ["a no-op sink", "four no-op sinks", "LogSink"])


def _beside(results: Results, benchmark: str, modes: dict[str, Mode], rounds: int, most: int = BURST) -> None:
    """A plain call with something more on, in bursts and sustained, and the CPU of the whole process."""
    tool = ours.monitored("tool")(bare)
    contenders = [
        Contender("bare", loops.calls(bare), over=None),
        Contender("floor", loops.calls(peers.floor(bare))),
        *[
            Contender(name, loops.calls(tool), drain=ours.drain, enter=mode.enter, at_most=most)
            for name, mode in {"ours": USUAL, **modes}.items()
        ],
    ]
    _more_than_ours(results, benchmark, interleaved(contenders, rounds=rounds), [*modes])
    found = interleaved(contenders, rounds=rounds, sustained=True)
    for cpu in (False, True):
        results.put_added(f"{benchmark} sustained", found, ["floor", "ours", *modes], cpu=cpu)
    ours.stop()


def store(results: Results, options: Options) -> None:
    """A plain call with the store on, in bursts and sustained, and the CPU of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Mode(extra=lambda: [SQLiteStore(Path(folder, "runs.db"))])
        _beside(results, "store", {"the store": stored}, options.rounds)


COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): ...
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
QUEUE = 4_000
"""Calls in a turn of which an I/O sink's queue drops none."""


def beyond(results: Results, options: Options) -> None:
    """A plain call of a joined worker, and with OTLP on, in bursts and sustained, and the CPU of the whole process."""
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as collector:
        try:
            port = collector.stdout.readline().strip() if collector.stdout is not None else ""
            modes = {
                "shared=True": Mode(options={"shared": True}),
                "OTLP": Mode(extra=lambda: [OpenTelemetryExporter(f"http://127.0.0.1:{port}")]),
            }
            _beside(results, "beyond", modes, options.rounds, QUEUE)
        finally:
            collector.kill()


def off(results: Results, options: Options) -> None:
    """Before `setup()` and with `enabled=False`, beside a plain `functools.wraps` wrapper of the same kind."""
    tool, coroutine = ours.monitored("tool")(bare), ours.monitored("tool")(bare_async)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        def idle(name: str, run: loops.Run, mode: Mode, over: str = "bare") -> Contender:
            return Contender(name, run, over=over, enter=mode.enter)

        rounds = interleaved(
            [
                Contender("bare", loops.calls(bare), over=None),
                Contender("bare async", loops.awaits(loop, bare_async), over=None),
                Contender("wraps", loops.calls(peers.wraps(bare))),
                Contender("wraps async", loops.awaits(loop, peers.wraps_async(bare_async)), over="bare async"),
                idle("before setup", loops.calls(tool), BEFORE_SETUP),
                idle("disabled", loops.calls(tool), DISABLED),
                idle("before setup, async", loops.awaits(loop, coroutine), BEFORE_SETUP, "bare async"),
                idle("disabled, async", loops.awaits(loop, coroutine), DISABLED, "bare async"),
            ],
            rounds=options.rounds,
        )
    for name in ("wraps", "wraps async", "before setup", "disabled", "before setup, async", "disabled, async"):
        results.put("off", name, "added", [ns / 1000 for ns in rounds.added(name)], "us")
    for name in ("before setup", "disabled"):
        results.put("off", name, "of wraps", rounds.ratio(name, "wraps"), "x")
        results.put("off", f"{name}, async", "of wraps", rounds.ratio(f"{name}, async", "wraps async"), "x")
