"""`fork_import`: what the thread that loads prices was importing at a fork can be imported in the child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROGRAM = """
import os, signal, sys, sysconfig, threading, warnings
from toolweaver_monitor._usage.pricing.fork_import import discard_partial_imports

warnings.simplefilter("ignore")  # 3.12 warns of every fork in a process with threads
sys.stage = threading.Event()

def fork_during(work):
    "Fork once `work` has set `sys.stage`, on a thread of its own. Return in the child, without what it left half done."
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert sys.stage.wait(20)
    child = os.fork()
    if child: os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    signal.alarm(20)  # it may hang
    discard_partial_imports(thread.ident)
    sys.stage = None
"""


def run(program: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, timeout=60, cwd=folder
    )
    assert ended.returncode == 0, ended.stderr


def test_a_package_that_was_half_imported_has_the_modules_that_were_whole(tmp_path: Path) -> None:
    """As `asyncio`, which takes names from its modules and then looks at them as attributes of its own.

    Seen red: with a new object made for the package, `part` was not defined in it, and in the child `asyncio` could not
    be imported, nor the list of prices loaded; with nothing discarded the child hung.
    """
    package = tmp_path / "half"
    package.mkdir()
    (package / "part.py").write_text("import half\n__all__ = ['NAME']\nNAME = 'part'\nwhole = half\n")
    (package / "__init__.py").write_text(
        "import sys, threading\n"
        "from half.part import *\n"
        "if sys.stage is not None: sys.stage.set(); threading.Event().wait()\n"
        "__all__ = part.__all__\n"
    )
    run(
        """
sys.path.insert(0, "")
fork_during(lambda: __import__("half"))
import half, half.part
assert half.__all__ == ["NAME"]
assert half.part.whole is half is sys.modules["half"]
assert half.NAME == "part"
""",
        tmp_path,
    )


def test_the_configuration_of_python_that_was_half_read_is_read_again(tmp_path: Path) -> None:
    """`zoneinfo` needs it, and with it pydantic.

    Seen red: without `_reset_config_vars` the child hung (CPython >= 3.12), or had half of the variables (3.11).
    """
    run(
        """
real = sysconfig._init_posix
def stay(found): sys.stage.set(); threading.Event().wait()
sysconfig._init_posix = stay
fork_during(sysconfig.get_config_vars)
sysconfig._init_posix = real
assert {"srcdir", "userbase"} <= sysconfig.get_config_vars().keys()
""",
        tmp_path,
    )
