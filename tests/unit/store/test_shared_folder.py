"""The folder of a run: who lives, what the dead have counted, and when a run ends."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import CONTAINER, OURS, require_pid_namespaces

from toolweaver_monitor._stats.packed import pack_stats, unpack_stats
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.ledger import Account, StoreLedger
from toolweaver_monitor._store.shared import folder as folder_module
from toolweaver_monitor._store.shared import ledger as shared_ledger
from toolweaver_monitor._store.shared import run, worker_file
from toolweaver_monitor._store.shared.folder import MANY_HEADS, Found, SharedFolder
from toolweaver_monitor._store.shared.ledger import RunLedger
from toolweaver_monitor._store.shared.run import Process, default_folder, describe, find_head
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.errors import SinkUnavailable

GONE = Process(2**22 + 1, "1")
"""No process: the id is beyond the largest."""


def me() -> Process:
    return describe(os.getpid()) or Process(os.getpid(), "")


class Worker:
    """A worker that counts by letters."""

    def __init__(self, path: Path, head: Process | None = None) -> None:
        self.folder = SharedFolder(path, head or me())
        self.folder.join()

    def write(self, letters: str) -> None:
        self.folder.publish(letters.encode())

    def read(self) -> str:
        """What the others have written."""
        seen = b""

        def fold(departed: bytes, living: list[Found], dead: list[Found]) -> bytes | None:
            nonlocal seen
            gone = departed + b"".join(each.payload or b"" for each in dead)
            seen = gone + b"".join(each.payload or b"" for each in living)
            return gone if dead else None

        self.folder.exchange(fold)
        return "".join(sorted(seen.decode()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def reader(path: Path) -> Iterator[Worker]:
    worker = Worker(path)
    yield worker
    worker.folder.leave()


def test_what_a_worker_has_written_outlives_it(path: Path, reader: Worker) -> None:
    """Its file becomes a part of the departed, once."""
    one, two = Worker(path), Worker(path)
    one.write("a" * 10)
    one.write("ab")
    two.write("c")
    assert reader.read() == "abc"
    one.folder.leave()
    assert [reader.read(), reader.read()] == ["abc", "abc"]
    assert sum(file.name.startswith("worker-") for file in path.iterdir()) == 2
    two.folder.leave()


def test_a_process_that_dies_while_it_folds_counts_nothing_twice(
    path: Path, reader: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written the tally, and not deleted the files. Seen red: without the names of the files in the tally."""
    one = Worker(path)
    one.write("a")
    one.folder.leave()
    with monkeypatch.context() as patch:
        patch.setattr(SharedFolder, "_delete", lambda self, names: None)
        assert reader.read() == "a"
    other = Worker(path)
    assert [other.read(), reader.read()] == ["a", "a"]
    other.folder.leave()


def test_a_process_that_dies_before_it_has_folded_loses_nothing(
    path: Path, reader: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are there until the tally is."""
    one = Worker(path)
    one.write("a")
    one.folder.leave()

    def die(self: SharedFolder, found: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(SharedFolder, "_write_departed", die)
        with pytest.raises(OSError, match="no room"):
            reader.read()
    assert reader.read() == "a"


def test_a_write_never_covers_what_is_valid(path: Path, reader: Worker) -> None:
    """A worker that is killed, or meets a full disk, in the middle of a write has what it wrote before."""
    one = Worker(path)
    for length in (1, 50, 7, 200, 199, 3_000, 10):
        one.write("x" * length)
        assert reader.read() == "x" * length
        file = next(file for file in path.glob("worker-*") if file != reader.folder._own.path)  # type: ignore[union-attr]
        assert file.stat().st_size < 6_500
    one.folder.leave()


def test_a_run_goes_on_while_its_head_lives(path: Path) -> None:
    """All workers may be gone for a moment. Seen red: with a run that ends with its last worker."""
    one = Worker(path)
    one.write("a")
    started_at = one.folder.started_at
    one.folder.leave()
    two = Worker(path)
    assert two.read() == "a"
    assert two.folder.started_at == started_at
    two.folder.leave()


def test_a_run_ends_when_its_head_and_all_workers_are_gone(path: Path) -> None:
    """The next one begins with nothing, in the same folder, and leaves the files of others alone."""
    path.mkdir()
    path.joinpath("mine.txt").write_text("mine")
    one, two = Worker(path, GONE), Worker(path, GONE)
    one.write("a")
    started_at = one.folder.started_at
    one.folder.leave()
    three = Worker(path, GONE)
    assert three.read() == "a", "a worker of the run lives"
    two.folder.leave()
    three.folder.leave()
    four = Worker(path)
    assert four.read() == ""
    assert four.folder.started_at > started_at
    assert path.joinpath("mine.txt").read_text() == "mine"
    four.folder.leave()


def test_a_run_goes_on_while_one_of_its_heads_lives(path: Path) -> None:
    """Programs of a supervisor share a folder. Seen red: with only the head that was there first."""
    with subprocess.Popen(["sleep", "60"]) as program:
        other = Worker(path, describe(program.pid))
        one = Worker(path)
        one.write("a")
        program.kill()
    other.folder.leave()
    one.folder.leave()
    two = Worker(path)
    assert two.read() == "a"
    two.folder.leave()


def test_the_heads_that_are_gone_make_room(path: Path) -> None:
    """The folder of a supervisor that starts a program a minute does not grow. Seen red: with all heads kept."""
    lasting = Worker(path)
    for pid in range(100):
        Worker(path, GONE._replace(pid=GONE.pid + pid)).folder.leave()
    found = lasting.folder._read_departed()
    assert found is not None
    assert len(found.heads) <= MANY_HEADS
    assert me()[:2] in found.heads
    lasting.folder.leave()


IN_CONTAINER = """
import os, sys
from pathlib import Path
from toolweaver_monitor._store.shared.folder import SharedFolder
from toolweaver_monitor._store.shared.run import describe
folder = SharedFolder(Path(sys.argv[1]), describe(os.getpid()))
folder.join()
folder.publish(b"b")
folder.leave()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_containers_may_share_a_folder(path: Path) -> None:
    """Neither sees the processes of the other, so a worker that is replaced must not take the run for over.

    Seen red: with only the head of one of them, which was taken for gone.
    """
    require_pid_namespaces()
    one = Worker(path)
    one.write("a")
    command = [*CONTAINER, sys.executable, "-c", IN_CONTAINER, str(path)]
    env = os.environ | {"PYTHONPATH": OURS}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == "1\n"
        one.folder.leave()
        two = Worker(path)
        assert two.read() == "ab"
        two.folder.leave()
        container.communicate()


def test_folders_of_runs_that_have_ended_are_deleted(tmp_path: Path) -> None:
    """Those beside it, once nobody needs them; that of another container, whose head cannot be seen, after a day."""
    here, elsewhere = run.namespace(), "1"
    names = [f"run-1-1-{here}", f"run-2-2-{here}", f"run-3-3-{elsewhere}", f"run-4-4-{elsewhere}", f"run-5-5-{here}"]
    over, alive, far, old = (Worker(tmp_path / name, GONE) for name in names[:4])
    for worker in (over, far, old):
        worker.folder.leave()
    os.utime(old.folder.path, (time.time() - 90_000,) * 2)
    mine = Worker(tmp_path / names[4])
    mine.folder.sweep()
    assert sorted(file.name for file in tmp_path.iterdir()) == [names[1], names[2], names[4]]
    alive.folder.leave()
    mine.folder.leave()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("/usr/bin/python3 -m gunicorn app:app", "gunicorn"),
        ("python3.12 -u -X dev /venv/bin/uvicorn app:app --workers 4", "uvicorn"),
        ("gunicorn: master [app:app]", "gunicorn"),
        ("/venv/bin/celery -A app worker", "celery"),
        ("[celeryd: celery@host:MainProcess] -active-", "celeryd"),
        ("python /venv/lib/uvicorn/__main__.py app:app", "uvicorn"),
        ("python -m celery.bin.celery worker", "celery"),
        ("python", ""),
        ("sh -c gunicorn", "sh"),
        ("", ""),
    ],
)
def test_a_server_is_known_by_its_command_line(words: str, name: str) -> None:
    """However it was started."""
    assert run._command_name(words.split()) == name


def test_the_head_of_a_worker_is_the_server_that_started_it(tmp_path: Path) -> None:
    """And of any other program itself."""
    program = tmp_path / "gunicorn"
    show = "from toolweaver_monitor._store.shared.run import find_head; import os; print(find_head().pid, os.getpid())"
    program.write_text(
        "import os, subprocess, sys\n"
        f"found = subprocess.check_output([sys.executable, '-c', {show!r}], text=True)\n"
        "print(found.split()[0] == str(os.getpid()))\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, str(program)], text=True, env=env).strip() == "True"
    if not any(run._command_name(each.command) in run.HEADS for each in run._ancestors()):
        head, own = subprocess.check_output([sys.executable, "-c", show], text=True, env=env).split()
        assert head == own


def test_a_system_without_proc_is_asked_by_ps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS."""
    monkeypatch.setattr(run, "PROC", tmp_path)
    found = describe(os.getpid())
    if found is None:
        pytest.skip("there is no ps")
    assert found.pid == os.getpid()
    assert found.parent == os.getppid()
    assert found.is_alive
    assert not found._replace(started="long-ago").is_alive
    assert describe(GONE.pid) is None
    assert find_head().started


def test_the_default_folder_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that others can write, or another user has made, is not used."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = default_folder(me())
    assert folder.parent.parent == tmp_path
    assert str(os.getpid()) in folder.name
    folder.parent.chmod(0o777)
    with pytest.raises(SinkUnavailable, match="TOOLWEAVER_MONITOR_SHARED"):
        default_folder(me())


def test_the_default_folder_is_in_memory_where_nothing_else_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container with a read-only root, where the temporary folder is the current one: there is no other.

    Seen red: with the current folder taken for a temporary one.
    """
    memory = tmp_path / "shm"
    memory.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(run, "MEMORY_DISK", str(memory))
    monkeypatch.chdir(tmp_path)
    assert default_folder(me()).parent.parent == memory
    monkeypatch.setattr(run, "MEMORY_DISK", str(tmp_path / "none"))
    with pytest.raises(SinkUnavailable, match="TOOLWEAVER_MONITOR_SHARED"):
        default_folder(me())


def test_sums_of_seconds_are_the_same_in_every_order() -> None:
    """So a sum does not fall by a rounding error when a worker ends. Seen red: without rounding."""
    chance = random.Random(7)
    parts = []
    for _ in range(50):
        stats = ToolStats()
        stats.duration_sum_s = chance.lognormvariate(0, 4)
        parts.append(pack_stats(stats))
    sums = set()
    for _ in range(200):
        chance.shuffle(parts)
        total = ToolStats()
        total.add(*map(unpack_stats, parts))
        sums.add(total.duration_sum_s)
    assert len(sums) == 1


@pytest.mark.parametrize("per", ["minute", "hour", "month", "run"])
def test_the_ledger_of_a_run_grants_what_that_of_a_store_does(per: str, tmp_path: Path) -> None:
    """Leases, what comes back, refusals, and windows that move on."""
    now = 1_000_000.0
    chance = random.Random(per)
    tmp_path.joinpath("run").mkdir()
    store = StoreLedger(StoreFile(tmp_path / "store.db"), lambda: now)
    ours = RunLedger(tmp_path / "run", lambda: now)
    account = Account("daily", per, "usd")
    for _ in range(120):
        now += chance.choice([0.0, 0.3, 2.0, 30.0])
        back = chance.choice([0, 0, 5, -20])
        need = chance.choice([0, 1, 50, 300])
        assert ours.request(*account, 1_000, back, need) == store.exchange(account, 1_000, back, need)
    store.close()


def test_accounts_of_windows_that_are_over_make_room_in_the_file_of_a_run(tmp_path: Path) -> None:
    """The file of a budget for each customer has those of its window only. Seen red: all stayed."""
    now = 1_000_000.0
    ledger = RunLedger(tmp_path, lambda: now)
    for number in range(shared_ledger.MANY_ACCOUNTS + 1):
        ledger.exchange(Account(f"b [{number}]", "minute" if number else "run", "usd"), 10, 0, 10)
    large = ledger.path.stat().st_size
    now += 120
    grant = ledger.exchange(Account("b [7]", "minute", "usd"), 10, 0, 10)
    assert grant.amount == 10
    assert ledger.path.stat().st_size < large / 100
    assert ledger.request("b [0]", "run", "usd", 10, 0, 1).amount == 0  # type: ignore[union-attr]


def test_ports_of_all_listeners_are_kept(path: Path) -> None:
    """Of metrics and of a dashboard. Seen red: with the last one only, the first was said to be taken by others."""
    one = Worker(path)
    one.folder.note_port("127.0.0.1", 9464)
    one.folder.note_port("127.0.0.1", 8050)
    assert one.folder.has_had_port("127.0.0.1", 9464)
    assert one.folder.has_had_port("127.0.0.1", 8050)
    assert not one.folder.has_had_port("127.0.0.1", 946)
    for port in range(10_000, 10_100):
        one.folder.note_port("127.0.0.1", port)
    assert path.joinpath("port").stat().st_size < 500
    one.folder.leave()


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\0", b"\0\0\0\0\1", b"some text"])
def test_a_file_of_the_run_that_is_damaged_is_set_aside(
    path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was cut off. Seen red: `IndexError` of an empty one, whose checksum is right."""
    monkeypatch.setattr(folder_module, "REJOIN_S", 0.0)
    one, two = Worker(path), Worker(path)
    one.write("a")
    path.joinpath("departed").write_bytes(data)
    assert two.read() == "a"
    assert path.joinpath("departed.damaged").read_bytes() == data
    one.folder.leave()
    two.folder.leave()


def test_the_worker_that_knew_most_of_the_dead_is_heard(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late it comes back. Seen red: with the departed as the first one knew them."""
    monkeypatch.setattr(folder_module, "REJOIN_S", 0.0)
    early = Worker(path)
    early.read()
    dead, late = Worker(path), Worker(path)
    dead.write("abc")
    dead.folder.leave()
    assert late.read() == "abc"
    shutil.rmtree(path)
    early.write("e")
    late.write("l")
    assert early.read() == "abcl"
    assert early.folder.fault.startswith(f"files of {path} were deleted or damaged")
    early.folder.leave()
    late.folder.leave()


def test_files_of_another_version_are_left_alone(path: Path, reader: Worker) -> None:
    """Those who know them count them. Seen red: a dead worker's file was deleted, and not counted."""
    one = Worker(path)
    one.write("a")
    own = one.folder._own
    assert own is not None
    with own.path.open("r+b") as file:
        head = worker_file._PREAMBLE.pack(worker_file.MAGIC, worker_file.TALLY_VERSION + 1, 0, 0, 0)
        file.write(head + worker_file._CHECKSUM.pack(zlib.crc32(head)))
    for _ in range(2):
        assert reader.read() == ""
        assert "another version" in reader.folder.fault
        assert own.path.exists()
        one.folder.leave()
    own.path.unlink()
    assert reader.read() == ""
    assert reader.folder.fault == ""


def test_a_run_of_another_version_is_left_alone(path: Path, reader: Worker) -> None:
    """Nobody can be joined to it. Seen red: its file was taken for a damaged one, and renamed."""
    data = path.joinpath("departed").read_bytes()[4:]
    newer = bytes([folder_module.RUN_VERSION + 1]) + data[1:]
    newer = zlib.crc32(newer).to_bytes(4, "little") + newer
    path.joinpath("departed").write_bytes(newer)
    with pytest.raises(SinkUnavailable, match="restart all workers with one version"):
        reader.read()
    with pytest.raises(SinkUnavailable, match="another version"):
        Worker(path)
    assert path.joinpath("departed").read_bytes() == newer


def test_a_worker_whose_folder_was_moved_away_makes_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not write where nobody looks. Seen red: with the open file looked at, and not its place."""
    monkeypatch.setattr(folder_module, "REJOIN_S", 0.0)
    one, two = Worker(path), Worker(path)
    path.rename(path.with_name("away"))
    one.write("a")
    two.write("b")
    assert one.read() == "b"
    one.folder.leave()
    two.folder.leave()
