"""Run ToolWeaver's own samples and tests plain and with `instrument("toolweaver")`, and compare how they end.

    python tests/toolweaver_samples.py CHECKOUT            # the samples, a table
    python tests/toolweaver_samples.py CHECKOUT --tests    # its tests as well

Each sample runs in a copy of the checkout and a forked process, so that what ToolWeaver imports from elsewhere is
loaded once. That a plain run runs a tool is found without this library: by a profile hook that notes ToolWeaver's
functions of `RUNS`, and the functions of the sample that ToolWeaver calls.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from toolweaver_monitor import instrument, setup

RUNS = {
    "A2AClient.delegate_stream", "A2AClient.delegate_to_agent", "CompositionExecutor._execute_step",
    "MCPClientShim.call_tool", "MCPClientShim.call_tool_stream", "Orchestrator.execute_skill",
    "ProgrammaticToolExecutor._execute_tool", "WorkflowExecutor._call_tool", "_FunctionDecoratorPlugin.execute",
    "function_call_worker",
}  # fmt: skip
"""Where ToolWeaver runs a tool, whatever the tool is."""

HEAVY = ("sentence_transformers", "anthropic", "openai", "aiohttp", "wandb")
"""What ToolWeaver imports if it is there."""


def note_what_runs(root: Path, file: Path) -> None:
    """Write at the exit which tools were run."""
    ran: set[str] = set()
    package, samples = f"{root}/orchestrator/", f"{root}/samples/"

    def note(frame: Any, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(f"{root}/"):
            return
        if code.co_filename.startswith(package):
            if code.co_qualname in RUNS:
                ran.add(code.co_qualname)
        elif (
            code.co_filename.startswith(samples)
            and "<" not in code.co_name
            and frame.f_back is not None
            and frame.f_back.f_code.co_filename.startswith(package)
        ):
            ran.add(code.co_qualname)

    atexit.register(lambda: (sys.setprofile(None), file.write_text(json.dumps(sorted(ran)))))
    threading.setprofile(note)
    sys.setprofile(note)


def give_the_line(file: Path) -> None:
    """Monitor, and write at the exit how often each tool was seen."""
    monitor = setup()

    def write() -> None:
        file.write_text(json.dumps(Counter(each["operation"] for each in monitor.metrics.operations)))

    atexit.register(write)
    instrument("toolweaver")


def run_sample(root: Path, sample: Path, noted: Path, *, with_line: bool) -> int:
    """Run a sample as `python sample.py` would, in this process, and return its exit code."""
    os.setsid()
    output = os.open(noted.with_suffix(".txt"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(target, stream)
    os.chdir(sample.parent)
    sys.argv[:], sys.path[:0] = [str(sample)], [str(sample.parent), str(root)]
    if with_line:
        give_the_line(noted)
    else:
        note_what_runs(root, noted)
    try:
        runpy.run_path(str(sample), run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends a program
        traceback.print_exc()
        return 1
    return 0


def wait_for(child: int, limit_s: float) -> int | str:
    """Return the exit code of a process; end its group if it takes longer."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


def compare_samples(checkout: Path, folder: Path, only: str, limit_s: float) -> bool:
    """Print a row for each sample, and return whether all end alike and no tool is missed."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", WANDB_MODE="offline", HOME=str(folder))
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    roots = {}
    for kind in ("plain", "line"):
        roots[kind] = folder / kind
        shutil.copytree(checkout, roots[kind], ignore=shutil.ignore_patterns(".git"))
    samples = [file for file in sorted(checkout.glob("samples/*/*.py")) if '__name__ == "__main__"' in file.read_text()]
    rows = []
    print(f"{'sample':<62}{'plain':>9}{'line':>9}  tools seen", flush=True)
    for sample in (sample.relative_to(checkout) for sample in samples if only in str(sample)):
        ended, noted = {}, {}
        for kind, root in roots.items():
            notes = folder / f"{sample.parent.name}-{sample.stem}-{kind}.json"
            child = os.fork()
            if not child:
                sys.exit(run_sample(root, root / sample, notes, with_line=kind == "line"))
            ended[kind] = wait_for(child, limit_s)
            noted[kind] = json.loads(notes.read_text()) if notes.exists() else []
        rows.append((ended["plain"] == ended["line"], bool(noted["plain"]), bool(noted["line"])))
        told = ", ".join(noted["line"]) or (f"- (but {', '.join(noted['plain'])})" if noted["plain"] else "-")
        print(f"{sample.relative_to('samples')!s:<62}{ended['plain']:>9}{ended['line']:>9}  {told}", flush=True)
    alike, with_tools = sum(row[0] for row in rows), [row for row in rows if row[1]]
    seen = sum(row[2] for row in with_tools)
    print(f"{len(rows)} samples, {alike} end alike; {len(with_tools)} run a tool, which is seen in {seen}")
    return alike == len(rows) and seen == len(with_tools)


def compare_tests(checkout: Path, folder: Path) -> bool:
    """Run ToolWeaver's tests twice, and return whether all end alike."""
    (folder / "the_line.py").write_text(
        "from toolweaver_monitor import instrument, setup\nsetup()\ninstrument('toolweaver')\n"
    )
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    outcomes = {}
    for kind, plugin in (("plain", []), ("line", ["-p", "the_line"])):
        file = folder / f"{kind}.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(file), *plugin]
        shutil.copytree(checkout, folder / f"tests-{kind}", ignore=shutil.ignore_patterns(".git"))
        run = subprocess.run(
            command, cwd=folder / f"tests-{kind}", env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(f"tests, {kind}: {run.stdout.splitlines()[-1]}", flush=True)
        outcomes[kind] = {
            f"{case.get('classname')}::{case.get('name')}": ",".join(
                each.tag for each in case if each.tag in ("failure", "error", "skipped")
            )
            for case in ET.parse(file).iter("testcase")
        }
    other = [name for name, outcome in outcomes["plain"].items() if outcomes["line"].get(name) != outcome]
    print(f"{len(outcomes['plain'])} tests, {len(other)} end differently", *other, sep="\n  ")
    return not other


def main() -> int:
    """Compare, and return 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a checkout of ToolWeaver, whose requirements are installed")
    parser.add_argument("--tests", action="store_true", help="run its tests as well")
    parser.add_argument("--only", default="", metavar="TEXT", help="the samples with this text in their path")
    parser.add_argument("--limit-s", type=float, default=300, metavar="S", help="seconds a sample may take (300)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="toolweaver-samples-"))
    print(f"what each printed: {folder}", flush=True)
    good = compare_samples(options.checkout.resolve(), folder, options.only, options.limit_s)
    if options.tests:
        good = compare_tests(options.checkout.resolve(), folder) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
