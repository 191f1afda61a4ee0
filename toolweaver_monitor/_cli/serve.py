"""The command `toolweaver-monitor serve`: `/metrics` of all workers of a host, by a process that is none of them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli import options as common
from toolweaver_monitor._core import config
from toolweaver_monitor._http.default_port import PORT_BESIDE_SERVER
from toolweaver_monitor._store.shared.folder import SharedFolder, find_runs
from toolweaver_monitor._store.shared.run import default_folder, find_head
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter
from toolweaver_monitor.sinks._prometheus.shared import SharedView

SERVE_PURPOSE = """\
Serve /metrics for all workers of a host, until Ctrl-C. Reads the folder in which setup("prometheus", shared=True) joins
them, without being a worker. If a worker has the port, this waits, and takes it within two seconds once it is free. If
there is no worker yet, a line on stderr names the folder.
"""
SERVE_USES = """\
examples:
  toolweaver-monitor serve                      the run that goes on, if there is one only
  toolweaver-monitor serve /run/receipts --port 8000
  toolweaver-monitor serve /run/receipts --addr 0.0.0.0 --token-file token

exit code: 0, or 2 if the folder cannot be used, or another program has the port
"""
WAITING = 'no worker yet: waiting for setup("prometheus", shared=True) with TOOLWEAVER_MONITOR_SHARED={}\n'
GIVE_FOLDER = "give the folder, as TOOLWEAVER_MONITOR_SHARED names it for the workers"


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "serve", SERVE_PURPOSE, SERVE_USES)
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path,
        help="default: TOOLWEAVER_MONITOR_SHARED, else that of the one run of this user that goes on",
    )  # fmt: skip
    parser.add_argument("--port", type=common.port, metavar="N", help="the port; 0 takes a free one (9464)")
    parser.add_argument("--addr", metavar="ADDRESS", help="the address to bind (127.0.0.1)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with a bearer token to ask for; - reads stdin"
    )
    parser.add_argument("--certfile", metavar="FILE", help="a TLS certificate (PEM)")
    parser.add_argument("--keyfile", metavar="FILE", help="its key, if that is in another file")
    parser.add_argument(
        "--allowed-host", action="append", metavar="NAME", help="a Host name to answer to, besides loopback's"
    )
    parser.add_argument("--insecure", action="store_true", help="listen beyond loopback without a token or TLS")
    parser.add_argument("--json", action="store_true", help="print the address and the folder as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the user ends it."""
    port = config.PROMETHEUS_PORT.given(options.port)
    exporter = PrometheusExporter(
        PORT_BESIDE_SERVER if port is None else port,
        options.addr,
        token=http_get.read_token(options.token_file),
        certfile=options.certfile,
        keyfile=options.keyfile,
        allowed_hosts=options.allowed_host,
        insecure=options.insecure,
        page=False,
    )
    folder = SharedFolder(_folder(options.folder), None)
    _open(folder)
    exporter._connect(SetupContext(shared=SharedView(folder)))
    try:
        exporter.start()
        status = exporter.status()
        if "last_error" in status:
            raise SinkUnavailable(status["last_error"].removesuffix(f"; {status['cure']}"), hint="give another --port")
        about = {"url": exporter.url, "folder": str(folder.path), "listening": status["listening"]}
        if folder.is_over():
            sys.stderr.write(WAITING.format(escape(str(folder.path))))
        waits = "" if status["listening"] else "a worker has the port, and this waits for it; "
        common.serve_until_ctrl_c(about, as_json=options.json, note=waits)
    finally:
        exporter.close()
    return 0


def _open(folder: SharedFolder) -> None:
    try:
        folder.join()
    except OSError as error:
        fault = f"{escape(str(folder.path))} cannot be used ({error.strerror or error})"
        raise SinkUnavailable(fault, hint=GIVE_FOLDER) from None


def _folder(given: Path | None) -> Path:
    """Return the folder that the command line or the environment names, else that of the only run that goes on.

    Raises:
        SinkUnavailable: there is no such run, or more than one.
    """
    if os.name == "nt":  # pragma: no cover
        raise SinkUnavailable("workers cannot be joined on Windows", hint="scrape the port of each worker")
    named = given or config.SHARED.value()
    if named:
        return Path(named).absolute()
    around = default_folder(find_head()).parent
    runs = find_runs(around)
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise SinkUnavailable(
            f"no joined workers run in {escape(str(around))}",
            hint=f'start them with setup("prometheus", shared=True); if they run elsewhere, {GIVE_FOLDER}',
        )
    found = ", ".join(escape(str(each)) for each in runs)
    raise SinkUnavailable(f"there are workers of several runs: {found}", hint=GIVE_FOLDER)
