"""The command `toolweaver-monitor doctor`: its options, the order of its checks, and its output."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import toolweaver_monitor
from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli.doctor import running_program, settings, sink_checks
from toolweaver_monitor._cli.doctor.findings import Finding, lines
from toolweaver_monitor._cli.doctor.subprocesses import ProbeProcess, clean_environment
from toolweaver_monitor._cli.options import port
from toolweaver_monitor._core import config
from toolweaver_monitor._instrument.patching.everywhere import installed_frameworks
from toolweaver_monitor._runtime.options import IN_MEMORY, NAMES
from toolweaver_monitor._text.display import more, pluralize, table
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable

PROBE_S = 60.0
SETTINGS_TITLE = "Settings"
NO_WANDB = Finding("wrong", "wandb", "wandb is not installed", "run `pip install 'toolweaver_monitor[wandb]'`")

MAX_TOOL_ROWS = 50


class Section(NamedTuple):
    """What is found out together."""

    title: str
    findings: list[Finding]
    tools: Sequence[list[str]] = ()
    """The table of a program's tools, its header first."""


DESCRIPTION = """\
Shows what is configured, checks that each sink can be reached, and makes a handful of calls to check that all sinks
count the same. Nothing is sent anywhere: W&B runs offline, in a temporary folder. If neither the command nor the
environment names a sink, all are tried; a sink that is not configured is reported but does not fail the command.
"""

EXAMPLES = """\
examples:
  toolweaver-monitor doctor                     check everything that this environment configures
  toolweaver-monitor doctor --sinks prometheus --port 9100
  toolweaver-monitor doctor --url http://localhost:8000/metrics
                                                check a running program: calls, drops, queues
  toolweaver-monitor doctor --json | jq .ok     for scripts

exit code: 0 all is well, 1 something is wrong, 2 the command line cannot be understood
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "doctor",
        help="check that everything works, and show what to do if not",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sinks", type=_names, metavar="NAME,...", help=f"check only these: {', '.join(NAMES)}")
    parser.add_argument("--port", type=port, metavar="N", help="serve /metrics on this port; 0 takes a free one")
    parser.add_argument(
        "--url", type=http_get.parse_url, help="check only the program that serves its metrics at this address"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the bearer token for --url; - reads stdin"
    )
    parser.add_argument("--online", action="store_true", help="check the API key with the W&B server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the checks, and print each section as soon as it is known."""
    token = http_get.read_token(options.token_file)
    prices: dict[str, Any] = {}
    sections = _program(options.url, token) if options.url else _environment(options, token, prices)
    done: list[Section] = []
    if not options.json:
        print(f"toolweaver_monitor {toolweaver_monitor.__version__}, Python {platform.python_version()},", end=" ")
        print(f"{platform.system()} {platform.machine()}\n", flush=True)
    for section in sections:
        done.append(section)
        if not options.json:
            head = settings.lines() if section.title == SETTINGS_TITLE else [section.title]
            tools = ["", *table(section.tools[: MAX_TOOL_ROWS + 1])] if section.tools else []
            left_out = more(MAX_TOOL_ROWS, len(section.tools) - 1) if section.tools else []
            print(*head, *lines(section.findings), *tools, *left_out, "", sep="\n", flush=True)
    faults = sum(finding.state == "wrong" for section in done for finding in section.findings)
    if options.json:
        print(json.dumps(_report(done, prices, ok=not faults), indent=2))
    elif faults:
        print(f"{pluralize(faults, 'thing')} {'is' if faults == 1 else 'are'} wrong.")
    else:
        print("All is well.")
    return 1 if faults else 0


def _report(sections: list[Section], prices: dict[str, Any], *, ok: bool) -> dict[str, Any]:
    """Return the output of `--json`."""
    report = {
        "ok": ok,
        "version": toolweaver_monitor.__version__,
        "python": platform.python_version(),
        "settings": [row._asdict() for row in settings.rows()],
        "findings": [{"about": each.title} | one._asdict() for each in sections for one in each.findings],
        "tools": [dict(zip(each.tools[0], row, strict=True)) for each in sections for row in each.tools[1:]],
    }
    return report | ({"prices": prices} if prices else {})


def _program(url: str, token: str | None) -> Iterator[Section]:
    yield Section(f"Program at {url}", *running_program.inspect_endpoint(url, token))


def _sinks(
    names: Iterable[str],
    options: argparse.Namespace,
    token: str | None,
    wandb: ProbeProcess | None,
    *,
    is_requested: bool,
) -> tuple[list[Finding], list[str]]:
    """Return the findings about sinks, and the addresses of our endpoints that already answer."""
    found: list[Finding] = []
    running: list[str] = []
    for name in names:
        if name == "prometheus":
            finding, url = sink_checks.prometheus(options.port, token)
            running += [url] if url else []
            is_wanted = is_requested or options.port is not None or _endpoint_is_configured()
            found.append(_unless_requested(finding, is_wanted))
        elif name == "log":
            found.append(sink_checks.log())
        elif name == "sqlite":
            found.append(_unless_requested(sink_checks.sqlite(), is_requested))
        elif name == "otlp":
            found.append(_unless_requested(sink_checks.otlp(), is_requested))
        elif name == "wandb":
            checks = wandb.findings(PROBE_S) if wandb else [NO_WANDB]
            found += [_unless_requested(one, is_requested) for one in checks]
        elif name not in IN_MEMORY:
            says = "TOOLWEAVER_MONITOR_SINKS names it, but there is no such sink"
            found.append(Finding("wrong", name, says, f"there are {', '.join(NAMES)}"))
    return found, running


def _environment(options: argparse.Namespace, token: str | None, prices: dict[str, Any]) -> Iterator[Section]:
    """Yield the findings about this environment; `prices` is filled with the status of the prices, for `--json`."""
    requested = options.sinks if options.sinks is not None else _configured_sinks()
    names = tuple(dict.fromkeys(requested)) or NAMES
    with _temporary_folder() as folder:
        has_wandb = "wandb" in names and sink_checks.installed("wandb")
        probes = ["collectors", "agreement", *(["--wandb"] if has_wandb else [])]
        self_check = ProbeProcess("self-check", probes, clean_environment(folder), folder)
        wandb = _wandb_probe(options.online, folder) if has_wandb else None
        yield Section(SETTINGS_TITLE, settings.findings())
        found, running = _sinks(names, options, token, wandb, is_requested=bool(requested))
        yield Section("Sinks", found)
        for url in running:
            yield from _program(url, token)
        finding, status = sink_checks.prices()
        prices |= status
        yield Section("Prices", [finding])
        yield Section("Dashboards", [_dashboards()])
        if known := [Finding("ok", name, version) for name, version in installed_frameworks().items()]:
            yield Section("Frameworks that `toolweaver-monitor run` and instrument() know", known)
        yield Section("Self-check", self_check.findings(PROBE_S))


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="toolweaver-doctor-", ignore_cleanup_errors=True)
    except OSError as error:  # such as in a container with a read-only root
        fault = f"there is no folder for temporary files ({error.strerror})"
        raise SinkUnavailable(fault, hint="set TMPDIR to a folder that can be written, such as /dev/shm") from None


def _dashboards() -> Finding:
    """Name the dashboard and the alert rules: in the package, or in docs/ of a checkout."""
    package = Path(toolweaver_monitor.__file__).parent
    for folder in (package / "dashboards", package.parent / "docs" / "dashboards"):
        if folder.is_dir():
            return Finding("ok", "grafana", f"{folder / 'grafana.json'} and {folder / 'alerts.yml'}")
    return Finding("note", "grafana", "no dashboard is installed", "`toolweaver-monitor grafana` prints one")


def _wandb_probe(online: bool, folder: str) -> ProbeProcess:
    """Start a check of the user's own W&B, as their programs find it; what W&B logs goes to `folder`."""
    environment = os.environ | {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": folder}
    return ProbeProcess("wandb", ["wandb", *(["--online"] if online else [])], environment)


def _configured_sinks() -> tuple[str, ...]:
    try:
        return config.SINKS.value()
    except ConfigurationError:
        return ()


def _endpoint_is_configured() -> bool:
    return any(os.environ.get(one.variable, "").strip() for one in (config.PROMETHEUS_PORT, config.PROMETHEUS_ADDR))


def _unless_requested(finding: Finding, is_requested: bool) -> Finding:
    """Turn the fault of a sink that was not requested into a note."""
    if is_requested or finding.state != "wrong":
        return finding
    return finding._replace(state="note", says=f"{finding.says}; no fault, since this sink is not configured")


# --- options --------------------------------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    names = config.as_names(text)
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of sinks; there are {', '.join(NAMES)}")
    return names
