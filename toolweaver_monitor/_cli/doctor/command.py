"""Is all well with monitoring here, and if not, what is to be done? `toolweaver-monitor doctor`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import toolweaver_monitor
from toolweaver_monitor._cli.doctor import running_program, settings, sink_checks
from toolweaver_monitor._cli.doctor.findings import Finding, lines, note, refused, wrong
from toolweaver_monitor._cli.doctor.subprocesses import Child, clean_environment
from toolweaver_monitor._core import config
from toolweaver_monitor._runtime.options import IN_MEMORY, NAMES
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._wandb.run import INSTALL

PROBE_S = 60.0
SETTINGS = "Settings"

Section = tuple[str, list[Finding]]
"""What was looked at, and what was found."""

DESCRIPTION = """\
Finds out what is configured, whether each sink can be reached, and whether they agree on a handful of calls
made for the purpose. Nothing is sent anywhere: W&B is tried offline, in a folder that is thrown away. Where neither
the command nor the environment names a sink, all are tried, and one that cannot work is told but is no fault.
"""

EXAMPLES = """\
examples:
  toolweaver-monitor doctor                     all there is, as this environment configures it
  toolweaver-monitor doctor --sinks prometheus --port 9100
  toolweaver-monitor doctor --url http://localhost:8000/metrics
                                                a program that runs right now: calls, drops, queues
  toolweaver-monitor doctor --json | jq .ok     for scripts

exit code: 0 all is well, 1 something is wrong, 2 the command line cannot be understood
"""


def add(commands: Any) -> None:
    """Give the command its options."""
    parser = commands.add_parser(
        "doctor",
        help="find out whether all is well, and what to do if not",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sinks", type=_names, metavar="NAME,...", help=f"try only these: {', '.join(NAMES)}")
    parser.add_argument("--port", type=_port, metavar="N", help="try this port for /metrics; 0 takes a free one")
    parser.add_argument("--url", type=_url, help="examine the program that serves its metrics there, and nothing else")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the bearer token that --url wants; - is stdin")
    parser.add_argument("--online", action="store_true", help="ask the W&B server whether the key is good")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything, and say what was found, each section as soon as it is known."""
    token = _token(options.token_file)
    prices: dict[str, Any] = {}
    sections = _program(options.url, token) if options.url else _everything(options, token, prices)
    found: list[Section] = []
    if not options.json:
        print(f"toolweaver_monitor {toolweaver_monitor.__version__}, Python {platform.python_version()},", end=" ")
        print(f"{platform.system()} {platform.machine()}\n", flush=True)
    for about, findings in sections:
        found.append((about, findings))
        if not options.json:
            head = settings.lines() if about == SETTINGS else [about]
            print(*head, *lines(findings), "", sep="\n", flush=True)
    count = sum(finding.state == "wrong" for _, findings in found for finding in findings)
    if options.json:
        print(json.dumps(_report(found, prices, well=not count), indent=2))
    else:
        print(f"{count} thing{' is' if count == 1 else 's are'} wrong." if count else "All is well.")
    return 1 if count else 0


def _report(found: list[Section], prices: dict[str, Any], *, well: bool) -> dict[str, Any]:
    """For scripts."""
    report = {
        "ok": well,
        "version": toolweaver_monitor.__version__,
        "python": platform.python_version(),
        "settings": [row._asdict() for row in settings.rows()],
        "findings": [{"about": about} | one.told() for about, findings in found for one in findings],
    }
    return report | ({"prices": prices} if prices else {})


def _program(url: str, token: str | None) -> Iterator[Section]:
    yield f"Program at {url}", running_program.examine(url, token)


def _everything(options: argparse.Namespace, token: str | None, prices: dict[str, Any]) -> Iterator[Section]:
    """Look at all there is here; what scripts may want to know of prices beside the finding goes into `prices`."""
    asked = options.sinks if options.sinks is not None else _configured()
    tried = tuple(dict.fromkeys(asked)) or NAMES
    with tempfile.TemporaryDirectory(prefix="toolweaver-doctor-", ignore_cleanup_errors=True) as folder:
        wandb = "wandb" in tried and sink_checks.installed("wandb")
        probe = ["collectors", "agreement", *(["--wandb"] if wandb else [])]
        check = Child("self-check", probe, clean_environment(folder), folder)
        account = _account(options.online, folder) if wandb else None
        yield SETTINGS, settings.findings()
        found: list[Finding] = []
        programs: list[str] = []
        for name in tried:
            found += _sink(name, options.port, token, account, programs, asked=bool(asked))
        yield "Sinks", found
        yield from chain.from_iterable(_program(program, token) for program in programs)
        finding, status = sink_checks.prices()
        prices |= status
        yield "Prices", [finding]
        yield "Self-check", check.findings(PROBE_S)


def _sink(
    name: str, port: int, token: str | None, account: Child | None, programs: list[str], *, asked: bool
) -> list[Finding]:
    """What is found of one sink; where a program shows its figures on our port already, its address is added."""
    if name == "prometheus":
        finding, program = sink_checks.prometheus(port, token)
        if program is not None:
            programs.append(program)
        return [_unless_asked(finding, asked or port is not None or _endpoint_is_set())]
    if name == "log":
        return [sink_checks.log()]
    if name == "wandb":
        accounts = account.findings(PROBE_S) if account else [refused("wandb", INSTALL)]
        return [_unless_asked(one, asked) for one in accounts]
    return [] if name in IN_MEMORY else [_no_such_sink(name)]


def _account(online: bool, folder: str) -> Child:
    """Looks at the user's own W&B, as their programs would find it; what it logs is kept in a folder."""
    environment = os.environ | {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": folder}
    return Child("wandb", ["wandb", *(["--online"] if online else [])], environment)


def _configured() -> tuple[str, ...]:
    try:
        return config.SINKS.value()
    except ConfigurationError:
        return ()


def _endpoint_is_set() -> bool:
    return any(os.environ.get(one.variable, "").strip() for one in (config.PROMETHEUS_PORT, config.PROMETHEUS_ADDR))


def _unless_asked(finding: Finding, asked: bool) -> Finding:
    """What keeps a sink from working is a fault only for those who want that sink."""
    if asked or finding.state != "wrong":
        return finding
    return note(finding.name, f"{finding.says}; no fault, since nothing here asks for it", finding.cure)


def _no_such_sink(name: str) -> Finding:
    return wrong(name, "TOOLWEAVER_MONITOR_SINKS names it, and there is no such sink", f"there are {', '.join(NAMES)}")


# --- options --------------------------------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    names = config.as_names(text)
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of sinks; there are {', '.join(NAMES)}")
    return names


def _port(text: str) -> int:
    try:
        return config.as_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give {error}") from None


def _url(text: str) -> str:
    from urllib.parse import urlsplit

    url = text if "//" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is no such address; give one such as http://localhost:8000/metrics")
    return url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}/metrics"


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        sys.stderr.write(f"toolweaver-monitor: cannot read {file} ({error.strerror})\n")
        raise SystemExit(2) from None
    except UnicodeDecodeError:
        text = ""
    token = text.strip()
    if not (token and token.isascii() and token.isprintable()):
        sys.stderr.write(f"toolweaver-monitor: {file} holds no token; it is one line of printable ASCII\n")
        raise SystemExit(2)
    return token
