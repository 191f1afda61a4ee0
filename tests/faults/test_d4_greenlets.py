"""D4, among greenlets: processes in which gevent or eventlet replaces threads."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import TOOL, delivered, run_program

pytestmark = pytest.mark.system

GREEN = """
import warnings
warnings.simplefilter("ignore")  # of being patched so late
def patch():
    from gevent import monkey
    monkey.patch_all()
"""

USED = """
import gevent
def many():
    jobs = [gevent.spawn(tool) for _ in range(100)]
    gevent.joinall(jobs, timeout=10)
    assert all(job.ready() for job in jobs)
    assert flush(5)
"""


@pytest.mark.parametrize("first", ["patched", "imported"])
def test_d4_a_process_of_greenlets_goes_on_and_delivers(
    first: str, require_package: Callable[..., None], tmp_path: Path
) -> None:
    """Threads become greenlets before this package is imported, or after it: 100 of 100 calls.

    Seen red: with the flag that a thread waits for made once, where the package is imported, the dispatcher's greenlet
    waited in C and the whole program with it, forever.
    """
    require_package("gevent", "pip install gevent")
    out = tmp_path / "calls"
    order = [GREEN + "patch()", TOOL] if first == "patched" else [TOOL, GREEN + "patch()"]
    ended = run_program("\n".join([*order, USED, "setup(FileSink())\nmany()"]), str(out))
    assert (ended.code, ended.err) == (0, "")
    assert len(delivered(out)) == 100


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_d4_a_fork_that_becomes_a_process_of_greenlets_delivers_everything(
    require_package: Callable[..., None], tmp_path: Path
) -> None:
    """As `gunicorn --preload -k gevent` has it: `setup()` in the master, patched in each worker. Every call, once.

    Seen red: as above, and no request was ever answered.
    """
    require_package("gevent", "pip install gevent")
    out = tmp_path / "calls"
    code = """
setup(FileSink())
tool()
if os.fork():
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
else:
    patch()
    exec(used)
    many()
"""
    program = "\n".join([GREEN, TOOL, f"used = {USED!r}", code])
    ended = run_program(program, str(out), options=("-W", "ignore::DeprecationWarning"))
    assert (ended.code, ended.err) == (0, "")
    assert sorted(Counter(process for _, process in delivered(out)).values()) == [1, 100]


def test_d4_a_fork_that_becomes_a_process_of_greenlets_has_its_own_wandb_run(
    require_package: Callable[..., None], tmp_path: Path
) -> None:
    """The same with a W&B logger made in the master, which made no call: the child's run has all 100 rows.

    Seen red: with the queue of W&B's thread made in the master, its greenlet waited in C, and the child forever.
    """
    require_package("gevent", "pip install gevent")
    require_package("wandb", "pip install 'toolweaver_monitor[wandb]'")
    code = """
from toolweaver_monitor.sinks import WandBLogger
sink = WandBLogger()
monitor = setup(sink)
import time
while not monitor._components.prices.ready: time.sleep(0.01)  # a child cannot end an import that it was forked in
if os.fork():
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
else:
    patch()
    exec(used)
    many()
    assert sink.status()["rows"] == 100
    assert shutdown(10)
"""
    program = "\n".join([GREEN, TOOL, f"used = {USED.replace('flush(5)', 'flush(15)')!r}", code])
    homes = {name: str(tmp_path / "home") for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    env = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "FAULT_HANG_S": "50", **homes}  # wandb is imported
    ended = run_program(program, options=("-W", "ignore::DeprecationWarning"), cwd=tmp_path, env=env)
    assert (ended.code, ended.err) == (0, "")
