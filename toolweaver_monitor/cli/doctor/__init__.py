"""Is all well with monitoring here, and if not, what is to be done? `toolweaver-monitor doctor`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import toolweaver_monitor
from toolweaver_monitor import config
from toolweaver_monitor.choices import IN_MEMORY, NAMES
from toolweaver_monitor.cli.doctor import running, settings, sinks
from toolweaver_monitor.cli.doctor.children import Child, clean_environment
from toolweaver_monitor.cli.doctor.findings import Finding, lines, note, refused, wrong
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._wandb_run import INSTALL
from toolweaver_monitor.tabular import padded, width
from toolweaver_monitor.text import visible

PROBE_S = 60.0

DESCRIPTION = """\
Finds out what is configured, whether each sink can be reached, and whether they agree on a handful of calls
made for the purpose. Nothing is sent anywhere: W&B is tried offline, in a folder that is thrown away.
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
    """Look at everything, and say what was found."""
    token = _token(options.token_file)
    report: dict[str, Any] = {}
    if options.url:
        sections = {f"Program at {options.url}": running.examine(options.url, token)}
    else:
        sections = _whole(options, token, report)
    findings = [finding for found in sections.values() for finding in found]
    well = all(finding.state != "wrong" for finding in findings)
    if options.json:
        report |= {
            "ok": well,
            "version": toolweaver_monitor.__version__,
            "python": platform.python_version(),
            "settings": [row._asdict() for row in settings.rows()],
            "findings": [{"about": about} | one.told() for about, found in sections.items() for one in found],
        }
        print(json.dumps(report, indent=2))
    else:
        print(_text(sections, findings, with_settings=not options.url))
    return 0 if well else 1


def _whole(options: argparse.Namespace, token: str | None, report: dict[str, Any]) -> dict[str, list[Finding]]:
    """Look at all there is here; what scripts may want besides the findings goes into the report."""
    asked = options.sinks if options.sinks is not None else _configured()
    tried = tuple(dict.fromkeys(asked)) or NAMES
    sections = {"Settings": settings.findings(), "Sinks": []}
    with tempfile.TemporaryDirectory(prefix="toolweaver-doctor-", ignore_cleanup_errors=True) as folder:
        wandb = "wandb" in tried and sinks.installed("wandb")
        probe = ["collectors", "agreement", *(["--wandb"] if wandb else [])]
        check = Child("self-check", probe, clean_environment(folder), folder)
        account = _account(options.online) if wandb else None
        for name in tried:
            if name == "prometheus":
                found, running_at = sinks.prometheus(options.port, token)
                sections["Sinks"].append(found)
                if running_at is not None:
                    sections[f"Program at {running_at}"] = running.examine(running_at, token)
            elif name == "log":
                sections["Sinks"].append(sinks.log())
            elif name == "wandb":
                accounts = account.findings(PROBE_S) if account else [refused("wandb", INSTALL)]
                sections["Sinks"] += [_unless_asked(one, bool(asked)) for one in accounts]
            elif name not in IN_MEMORY:
                sections["Sinks"].append(_no_such_sink(name))
        prices, report["prices"] = sinks.prices()
        sections["Prices"] = [prices]
        sections["Self-check"] = check.findings(PROBE_S)
    return sections


def _account(online: bool) -> Child:
    """Looks at the user's own W&B, as their programs would find it."""
    return Child("wandb", ["wandb", *(["--online"] if online else [])], os.environ | {"WANDB_SILENT": "true"})


def _configured() -> tuple[str, ...]:
    try:
        return config.SINKS.value()
    except ConfigurationError:
        return ()


def _unless_asked(finding: Finding, asked: bool) -> Finding:
    """W&B is an extra: what keeps it from working is a fault only for those who want it."""
    return finding if asked or finding.state != "wrong" else note(finding.name, finding.says, finding.cure)


def _no_such_sink(name: str) -> Finding:
    return wrong(name, "TOOLWEAVER_MONITOR_SINKS names it, and there is no such sink", f"there are {', '.join(NAMES)}")


def _text(sections: dict[str, list[Finding]], findings: Sequence[Finding], *, with_settings: bool) -> str:
    version, python = toolweaver_monitor.__version__, platform.python_version()
    text = [f"toolweaver_monitor {version}, Python {python}, {platform.system()} {platform.machine()}", ""]
    if with_settings:
        rows = settings.rows()
        names = max(len(row.name) for row in rows)
        values = max(width(visible(settings.shown(row.value))) for row in rows)
        text.append("Settings (what setup() is given beats the environment, which beats the default)")
        text += [
            f"  {row.name:<{names}}  {padded(visible(settings.shown(row.value)), values)}  {row.source}" for row in rows
        ]
        text += [*lines(sections.pop("Settings", [])), ""]
    for title, found in sections.items():
        text += [title, *lines(found), ""]
    count = sum(finding.state == "wrong" for finding in findings)
    text.append("All is well." if not count else f"{count} thing{' is' if count == 1 else 's are'} wrong.")
    return "\n".join(text)


# --- options --------------------------------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    names = config.as_names(text)
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of sinks; there are {', '.join(NAMES)}")
    return names


def _port(text: str) -> int:
    try:
        return config.as_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none; give {error}") from None


def _url(text: str) -> str:
    from urllib.parse import urlsplit

    url = text if "//" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is none; give an address such as http://localhost:8000/metrics")
    return url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}/metrics"


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        sys.stderr.write(f"toolweaver-monitor: cannot read {file} ({error.strerror})\n")
        raise SystemExit(2) from None
    return text.strip()
