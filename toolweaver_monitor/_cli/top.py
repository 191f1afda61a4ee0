"""The command `toolweaver-monitor top`: what runs, fails, takes long and costs, live in a terminal."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolweaver_monitor._cli import http_get, terminal
from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli.store.dashboard import make_feed
from toolweaver_monitor._text.display import escape, format_seconds, pluralize, shorten
from toolweaver_monitor.errors import SinkUnavailable

TOP_PURPOSE = """\
Watch a store or a running program live. Shows what runs, fails, takes long and costs, until Ctrl-C. A program must
serve the page. The extra cli adds colours.
"""
TOP_USES = """\
examples:
  toolweaver-monitor top runs.db
  toolweaver-monitor top machine-1.db machine-2.db
  toolweaver-monitor top localhost:8000
  toolweaver-monitor top runs.db --once --since 1h
  toolweaver-monitor top localhost:8000 --json | jq .total.cost

exit code: 0, or 2 if there is no store that can be read, or no program answers at first
"""
ADDRESS = re.compile(r"https?://.+|(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}(/.*)?")
NAME_COLUMNS = 30
"""Of a name on a live screen, where a row has one line."""
LEFT_OUT = ("history", "cost_nanousd")

Poll = Callable[[str], bytes | None]
"""Returns what has changed since a cursor as JSON; None if nothing has."""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "top", TOP_PURPOSE, TOP_USES)
    parser.add_argument(
        "source",
        metavar="STORE|ADDRESS",
        nargs="*",
        help="files, or the address of a program; default: TOOLWEAVER_MONITOR_STORE, else toolweaver.db",
    )
    common.add_period(parser)
    parser.add_argument("--every", type=_seconds, default=1.0, metavar="SECONDS", help="time between two looks (1)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the bearer token of a program; - reads stdin"
    )
    parser.add_argument("--once", action="store_true", help="print the figures once, and end")
    parser.add_argument("--json", action="store_true", help="print them once, as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the figures, once or until Ctrl-C."""
    with _open_source(options) as (name, poll):
        figures = LiveTop(name)
        figures.take(poll(""))
        if options.json:
            print(json.dumps(figures.as_dict(), indent=2))
        elif options.once:
            terminal.show(*figures.blocks())
        else:
            _watch(figures, poll, options.every)
    return 0


@contextmanager
def _open_source(options: argparse.Namespace) -> Iterator[tuple[str, Poll]]:
    """Open what the command line names, and yield its name and what asks for its figures."""
    source = options.source[0] if len(options.source) == 1 else ""
    if source and ADDRESS.fullmatch(source) and not Path(source).exists():
        token = http_get.read_token(options.token_file)
        address = _page_of(source)
        yield address, lambda cursor: _ask_program(f"{address}data.json?since={cursor}", token)
        return
    options.store = options.source
    with common.open_store(options) as store:
        feed = make_feed(store, options)
        yield store.path.name, lambda cursor: feed.poll(cursor)[1]


def _page_of(text: str) -> str:
    """Return the address of a program's page, to which the names of its files are added."""
    try:
        url = http_get.parse_url(text)
    except argparse.ArgumentTypeError as error:
        raise SinkUnavailable(str(error)) from None
    return url.removesuffix("metrics").rstrip("/") + "/"


def _ask_program(url: str, token: str | None) -> bytes:
    """Return the figures that a program's page would show.

    Raises:
        SinkUnavailable: it does not answer, or serves no page.
    """
    reply = http_get.get(url, token)
    address = escape(url.partition("data.json")[0])
    if reply.fault:
        raise SinkUnavailable(f"{address}: {reply.fault}", hint=reply.cure)
    if reply.status == 200 and reply.body.startswith("{"):
        return reply.body.encode()
    cures = {
        401: "pass its token with --token-file FILE",
        404: "the page is at / of a PrometheusExporter on this machine or with a token, or of setup(dashboard=8050)",
    }
    hint = cures.get(reply.status, "give the address of a program that serves the page of toolweaver_monitor")
    raise SinkUnavailable(f"{address} answered {reply.status} without figures", hint=hint)


def _watch(figures: LiveTop, poll: Poll, every_s: float) -> None:
    """Draw the figures again and again, until Ctrl-C. A terminal keeps the last ones."""
    try:
        with _screen() as draw:
            while True:
                draw(figures)
                time.sleep(every_s)
                try:
                    figures.take(poll(figures.cursor))
                except SinkUnavailable as error:
                    figures.fault = str(error)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            terminal.show(*figures.blocks())


@contextmanager
def _screen() -> Iterator[Callable[[LiveTop], None]]:
    """Take over the terminal for a block, and yield what draws. In a pipe, the figures follow each other."""
    console = terminal.rich_console()
    if console is not None:
        from rich.live import Live

        with Live(console=console, screen=True, auto_refresh=False) as live:

            def refresh(figures: LiveTop) -> None:
                blocks = figures.blocks(console.size.height)
                live.update(terminal.as_rich(*blocks, is_cut=True), refresh=True)

            yield refresh
        return
    if not sys.stdout.isatty():
        yield lambda figures: print(*terminal.as_lines(*figures.blocks()), "", sep="\n", flush=True)
        return

    def draw(figures: LiveTop) -> None:
        columns, height = shutil.get_terminal_size()
        lines = [shorten(line, columns) for line in terminal.as_lines(*figures.blocks(height))]
        sys.stdout.write("\033[H" + "".join(f"{line}\033[K\r\n" for line in lines[: height - 1]) + "\033[J")
        sys.stdout.flush()

    sys.stdout.write("\033[?1049h\033[?25l")  # the other screen, without a cursor
    try:
        yield draw
    finally:
        sys.stdout.write("\033[?25h\033[?1049l")
        sys.stdout.flush()


class LiveTop:
    """The figures of a store or a program, brought up to date by the answers to polls.

    Args:
        name: what is shown if an answer names nothing.
    """

    def __init__(self, name: str) -> None:
        self.cursor = ""
        self.fault = ""
        self._name = name
        self._parts: dict[str, Any] = {}
        self._tools: dict[str, dict[str, Any]] = {}
        self._before: tuple[float, dict[str, int]] | None = None
        self._rates: dict[str, float] = {}

    def take(self, answer: bytes | None) -> None:
        """Take over what has changed; None if nothing has.

        Raises:
            SinkUnavailable: the answer has no figures.
        """
        self.fault = ""
        if answer is not None:
            found = json.loads(answer)
            if "v" not in found:
                raise SinkUnavailable(str(found.get("problem") or f"{self._name} answers without figures"))
            if found["full"]:
                self._tools.clear()
            self.cursor = found["v"]
            self._tools |= {row["name"]: row for row in found["tools"]}
            self._parts |= {name: value for name, value in found.items() if name not in ("v", "full", "tools")}
            self._parts["about"] = self._parts.get("stored", {}) | self._parts.get("about", {})
        self._measure()

    def _measure(self) -> None:
        """Work out how many calls of each tool ended a second since the time before."""
        now = time.monotonic()
        counts = {name: row["calls"] for name, row in self._tools.items()}
        if self._before is not None and now > self._before[0]:
            at, earlier = self._before
            self._rates = {name: (count - earlier.get(name, 0)) / (now - at) for name, count in counts.items()}
        self._before = now, counts

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        tools = [{key: value for key, value in row.items() if key not in LEFT_OUT} for row in self._ranked()]
        names = ("about", "total", "active", "budgets", "problems", "errors", "latest")
        return {name: self._parts[name] for name in names if name in self._parts} | {"tools": tools}

    def _ranked(self) -> list[dict[str, Any]]:
        return sorted(self._tools.values(), key=lambda row: (-row["cost_nanousd"], -row["calls"], row["name"]))

    def blocks(self, height: int | None = None) -> list[terminal.Block]:
        """Return the figures as lines and a table.

        Args:
            height: the lines that there are; None for any number.
        """
        head = [self._headline(), self._totals(), *self._running(), *self._budgets()]
        head += [f"  {escape(problem)}" for problem in self._parts.get("problems", ())]
        ranked = self._ranked()
        room = len(ranked) if height is None else max(1, height - len(head) - 6)
        rows = [["tool", "calls", "a second", "failed", "p50", "p95", "p99", "tokens", "cost", "last error"]]
        rows += [self._row(row, None if height is None else NAME_COLUMNS) for row in ranked[:room]]
        if height is None and not self._rates:  # after one look
            rows = [row[:2] + row[3:] for row in rows]
        left = [f"  and {len(ranked) - room:,} more"] if len(ranked) > room else []
        return [*head, "", *([terminal.FigureRows(rows)] if ranked else ["  no call yet"]), *left]

    def _headline(self) -> str:
        about = self._parts.get("about", {})
        words = [escape(about.get("name") or self._name)]
        if about.get("pid"):
            words.append(f"pid {about['pid']}")
        if about.get("runs"):
            words.append(pluralize(about["runs"], "run"))
        if about.get("since"):
            words.append(f"since {common.when(about['since'])}")
        state = "ended; these are its last figures" if about.get("closed") else common.when(time.time())[11:]
        return "  ".join([*words, f"{self.fault}; these are the last figures" if self.fault else state])

    def _totals(self) -> str:
        total = self._parts["total"]
        rate = f" ({total['failed'] / total['rated']:.1%})" if total["rated"] else ""
        words = [pluralize(total["calls"], "call"), f"{total['failed']:,} failed{rate}", f"{total['tokens']:,} tokens"]
        words.append("cost unknown" if total["cost"] is None and total["unpriced"] else f"${total['cost'] or 0:,.4f}")
        words += [f"{total['unpriced']:,} unpriced"] if total["unpriced"] else []
        return "  " + ", ".join(words)

    def _running(self) -> list[str]:
        active = self._parts.get("active", ())
        now = self._parts.get("now", time.time())
        shown = [
            f"{escape(tool)} {count:,} (oldest {format_seconds(max(0.0, now - at))})" for tool, count, at in active
        ]
        return [f"  running now: {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}"] if shown else []

    def _budgets(self) -> list[str]:
        lines = []
        for budget in self._parts.get("budgets", ()):
            unit = budget["unit"]
            spent, limit = (
                f"${budget[key]:,.4f}" if unit == "usd" else f"{budget[key]:,} {unit}" for key in ("spent", "limit")
            )
            rejected = f", {budget['rejections']:,} rejected" if budget["rejections"] else ""
            lines.append(f"  budget {escape(budget['name'])}: {spent} of {limit}{rejected}")
        return lines

    def _row(self, row: dict[str, Any], columns: int | None) -> list[str]:
        times = ["-" if row[key] is None else format_seconds(row[key]) for key in ("p50", "p95", "p99")]
        rate = f"{self._rates[row['name']]:,.1f}" if row["name"] in self._rates else "-"
        last = row["last"]
        error = "-" if last is None else f"{shorten(escape(last['type'] or ''), 30)} {common.when(last['at'])[11:]}"
        name = escape(row["name"]) if columns is None else shorten(escape(row["name"]), columns)
        counts = [name, f"{row['calls']:,}", rate, f"{row['failed']:,}"]
        cost = f"${row['cost']:,.4f}" if row["cost"] is not None else "unknown" if row["unpriced"] else "-"
        return [*counts, *times, f"{row['tokens']:,}", cost, error]


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 3_600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time between two looks; give seconds, such as 0.5 or 10")
    return found
