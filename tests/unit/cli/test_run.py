"""A program runs under `toolweaver-monitor run` as it does under `python`, and its tools are reported at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

LOOK = """
import pickle, sys
class Kind: pass
print(sys.argv, __name__, __file__, __package__, __spec__ if __spec__ is None else __spec__.name)
print(sys.path[0], sys.modules["__main__"].__dict__ is globals(), type(pickle.loads(pickle.dumps(Kind()))).__module__)
"""
TOOLS = """
import atexit, threading, time
from toolweaver_monitor import monitored
@monitored("ocr", cost=0.5)
def ocr(): return 1
ocr()
atexit.register(ocr)
threading.Thread(target=lambda: (time.sleep(0.1), ocr())).start()
"""


def run(folder: Path, *args: str, plain: bool = False, report: str = "--no-report") -> subprocess.CompletedProcess[str]:
    ours = ["-m", "toolweaver_monitor", "run", *filter(None, [report])]
    command = [sys.executable, *([] if plain else ours)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([*command, *args], cwd=folder, capture_output=True, text=True, timeout=60, env=environment)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A file, a folder, a zip file and a package, each of which prints what it finds."""
    (tmp_path / "app.py").write_text(LOOK)
    for name in ("folder", "package"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(LOOK)
    (tmp_path / "package" / "__init__.py").write_text("")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [["app.py", "-m", "--json", "x"], ["-m", "package", "-x"], ["-m", "app"], ["folder", "x"], ["app.zip"]],
    ids=" ".join,
)
def test_a_program_finds_what_it_finds_under_python(programs: Path, args: list[str]) -> None:
    """Its arguments, its name, its file, the first folder of `sys.path`, and `__main__` as the module that it is."""
    plain, ours = run(programs, *args, plain=True), run(programs, *args)
    assert plain.returncode == 0, plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit",
        "raise SystemExit(3)",
        "raise SystemExit('no')",
        "def deep():\n    raise ValueError('bad')\ndeep()",
        "import nowhere",
        "this is no code",
        pytest.param(
            "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)",
            marks=pytest.mark.skipif(os.name != "posix", reason="signals"),
        ),
        pytest.param(
            "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)",
            marks=pytest.mark.skipif(os.name != "posix", reason="signals"),
        ),
    ],
)
def test_a_program_ends_as_it_does_under_python(tmp_path: Path, source: str) -> None:
    """With the same exit code, or by the same signal, and with the same traceback."""
    (tmp_path / "app.py").write_text(source)
    plain, ours = run(tmp_path, "app.py", plain=True), run(tmp_path, "app.py")
    assert ours.returncode == plain.returncode
    assert ours.stderr == plain.stderr


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the exit code of `python`, and nothing else. Seen red: a report of no calls came after it."""
    ours = run(tmp_path, "lost.py", report="")
    told = "toolweaver-monitor: can't open file 'lost.py': No such file or directory\n"
    assert (ours.returncode, ours.stderr) == (2, told)
    module, plain = run(tmp_path, "-m", "lost", report=""), run(tmp_path, "-m", "lost", plain=True)
    assert (module.returncode, module.stderr) == (plain.returncode, plain.stderr)


def test_the_report_comes_last_and_counts_everything(tmp_path: Path) -> None:
    """What threads and `atexit` hooks call as well; on stderr, so that the program's output stays its own."""
    (tmp_path / "app.py").write_text(TOOLS)
    done = run(tmp_path, "app.py", report="--json")
    summary = json.loads(done.stderr)
    assert (done.returncode, done.stdout, summary["count"], summary["total_cost_usd"]) == (0, "", 3, 1.5)
    told = run(tmp_path, "app.py", report="").stderr
    assert "3 calls, 0 failed" in told
    assert told.endswith("Monitored\n  no known framework or client was imported\n")
    assert run(tmp_path, "app.py").stderr == ""
    (tmp_path / "app.py").write_text("")
    told = run(tmp_path, "app.py", report="").stderr
    assert told.endswith("was imported; put @monitored on your tools, or name them with instrument()\n")


def test_the_report_of_a_program_that_sets_up_itself_has_its_calls(tmp_path: Path) -> None:
    """Seen red: `0 calls`, of the setup that the program's own had replaced."""
    (tmp_path / "app.py").write_text("from toolweaver_monitor import setup, track\nsetup()\nwith track('ocr'): pass")
    assert json.loads(run(tmp_path, "app.py", report="--json").stderr)["count"] == 1
    (tmp_path / "app.py").write_text("from toolweaver_monitor import setup, track\nwith setup(), track('ocr'): pass")
    assert "1 call, 0 failed" in run(tmp_path, "app.py", report="").stderr


def test_a_client_that_the_program_imports_is_monitored(tmp_path: Path) -> None:
    """By the functions of the module that stands here for LiteLLM; the report says what was seen of it."""
    (tmp_path / "litellm.py").write_text("def completion(model): return {'tokens_used': 7, 'cost': 0.5}\n")
    (tmp_path / "app.py").write_text("import litellm\nfor _ in range(2): litellm.completion('gpt-4o-mini')\n")
    told = run(tmp_path, "app.py", report="").stderr
    assert "gpt-4o-mini" in told
    assert told.endswith("Monitored\n  litellm (completion): 2 calls\n")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_still_reports(tmp_path: Path) -> None:
    """A program that is stopped by Ctrl-C tells what it has done so far, and dies by the signal."""
    (tmp_path / "app.py").write_text(f"{TOOLS}\nimport os, signal\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)")
    done = run(tmp_path, "app.py", report="--json")
    assert done.returncode == -signal.SIGINT
    assert json.loads(done.stderr[done.stderr.index("{") :])["count"] == 3
