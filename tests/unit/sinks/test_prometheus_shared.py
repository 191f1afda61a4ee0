"""One `/metrics` for all workers of a host: `setup("prometheus", shared=True)`."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import wait_until

from toolweaver_monitor import BudgetExceeded, Monitor, get_monitor, monitored, setup, track
from toolweaver_monitor._store.lock_file import LockFile
from toolweaver_monitor._store.shared.ledger import RunLedger
from toolweaver_monitor._text.names import MAX_NAMES
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._prometheus.families import Snapshot
from toolweaver_monitor.sinks._prometheus.tallies import MergedTallies, Tallies

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Setup = Callable[..., Monitor]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run"
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", str(path))
    return path


@pytest.fixture
def begin(folder: Path) -> Iterator[Setup]:
    """Set up with a free port, and end it after the test."""
    monitors: list[Monitor] = []

    def started(exporter: PrometheusExporter | None = None, **arguments: object) -> Monitor:
        monitors.append(setup(exporter or PrometheusExporter(port=0), shared=True, **arguments))  # type: ignore[arg-type]
        return monitors[-1]

    yield started
    for monitor in monitors:
        monitor.shutdown()


def in_child(work: Callable[[], object], *, leaves: bool = True) -> int:
    """Run something in a forked child, which ends as a program does, or not at all."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        monitor = get_monitor()
        if leaves and monitor is not None:
            monitor.shutdown()
        code = 0
    finally:
        if not leaves and not code:
            time.sleep(60)
        os._exit(code)


def wait_for(pid: int) -> None:
    assert os.waitpid(pid, 0)[1] == 0


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def delete(folder: Path) -> None:
    """Delete a folder at once, so that no worker makes a file in it meanwhile."""
    folder.rename(folder.with_name("away"))
    shutil.rmtree(folder.with_name("away"))


def ask(monitor: Monitor) -> dict[str, float]:
    """What a scrape shows; nothing while it is refused."""
    try:
        return scrape(monitor)
    except urllib.error.HTTPError:
        return {}


def scrape(monitor: Monitor) -> dict[str, float]:
    with urllib.request.urlopen(monitor.sinks[0].url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def series(name: str, tool: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'toolweaver_tool_{name}{{tool_name="{tool}"{more}}}'


@monitored("shared.plain", cost=0.01)
def plain() -> None:
    pass


def repeat(times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            plain()

    return work


SUCCESSES = series("executions_total", "shared.plain", status="success")


def test_a_scrape_answers_for_all_workers(begin: Setup) -> None:
    """For itself, for a worker that lives, and for one that has ended."""
    monitor = begin()
    repeat(3)()
    wait_for(in_child(repeat(20)))
    living = in_child(repeat(100), leaves=False)
    try:
        wait_until(lambda: scrape(monitor)[SUCCESSES] == 123)
        found = scrape(monitor)
        assert found[series("duration_seconds_count", "shared.plain")] == 123
        assert found[series("cost_usd_total", "shared.plain")] == pytest.approx(1.23)
    finally:
        end(living)
    assert scrape(monitor)[SUCCESSES] == 123, "a counter never falls"


def record(monitor: Monitor, calls: slice) -> None:
    """A known part of calls of every kind."""
    for n in range(60)[calls]:
        monitor.record("shared.kinds", duration_s=0.001 * (n + 1) ** 2, input_tokens=n, output_tokens=1, cost=0.25)
        monitor.record("shared.kinds", duration_s=0.5, outcome="timeout", error="late", attempt=2, customer=f"c{n % 3}")
        monitor.record("shared.kinds", duration_s=0.5, tokens=7, model="a-model-that-nobody-prices", cached=True)


def test_counts_of_several_workers_are_those_of_one(begin: Setup) -> None:
    """Outcomes, errors, histograms, tokens, cost, labels: what three workers did is shown as if one had done it."""

    def exporter() -> PrometheusExporter:
        return PrometheusExporter(port=0, labels=["customer"], buckets=[0.1, 0.5, 2.0])

    with setup(exporter(), shared=False) as alone:
        record(alone, slice(None))
        expected = scrape(alone)
    monitor = begin(exporter())
    record(monitor, slice(0, 10))
    wait_for(in_child(lambda: record(get_monitor() or monitor, slice(10, 30))))
    living = in_child(lambda: record(get_monitor() or monitor, slice(30, None)), leaves=False)
    try:
        total = series("duration_seconds_count", "shared.kinds")
        wait_until(lambda: scrape(monitor)[total] == 180)
        found = {name: value for name, value in scrape(monitor).items() if "shared.kinds" in name}
    finally:
        end(living)
    assert found == pytest.approx({name: value for name, value in expected.items() if "shared.kinds" in name})
    assert len(found) > 20


def test_calls_that_run_are_summed_over_living_workers(begin: Setup) -> None:
    """A worker that is killed in the middle of a call has none open. Seen red: with the departed's counted as well."""
    monitor = begin()

    def work() -> None:
        with track("shared.open"):
            time.sleep(60)

    child = in_child(work)
    name = series("active_operations", "shared.open")
    try:
        with track("shared.open"):
            wait_until(lambda: scrape(monitor).get(name) == 2)
    finally:
        end(child)
    assert scrape(monitor)[name] == 0


def test_a_worker_that_is_killed_loses_at_most_a_fifth_of_a_second(begin: Setup) -> None:
    """What it counted before is in its file, which outlives it. Seen red: with what it counted written at its end."""
    monitor = begin()
    child = in_child(repeat(50), leaves=False)
    time.sleep(1.0)  # more than enough for its first 200 ms
    end(child)
    assert scrape(monitor)[SUCCESSES] == 50
    assert scrape(monitor)[SUCCESSES] == 50, "counted once"


def test_the_folder_does_not_grow(begin: Setup, folder: Path) -> None:
    """The files of workers that are gone become one."""
    monitor = begin()
    for _ in range(12):
        wait_for(in_child(repeat(2)))
    assert scrape(monitor)[SUCCESSES] == 24
    assert len(list(folder.iterdir())) <= 1 + 8
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in folder.iterdir()} == {"600"}


def spend(budget_calls: list[int]) -> Callable[[], None]:
    def work() -> None:
        deadline, admitted = time.monotonic() + 20, 0
        while time.monotonic() < deadline:
            try:
                plain()
                admitted += 1
            except BudgetExceeded:
                time.sleep(0.3)  # what the others have leased and not used comes back
                budget_calls.append(0)
                if len(budget_calls) > 6:
                    break
            else:
                budget_calls.clear()

    return work


def test_a_budget_of_the_run_holds_over_all_workers(begin: Setup) -> None:
    """$5.00 are exactly 500 calls of $0.01, by all workers. Seen red: with a budget for each process, 2,000."""
    monitor = begin(budget=5.00)
    children = [in_child(spend([])) for _ in range(4)]
    for child in children:
        wait_for(child)
    found = scrape(monitor)
    assert found[SUCCESSES] == 500
    assert found['toolweaver_budget_limit_usd{budget="usd/run"}'] == 5.0
    assert found['toolweaver_budget_spent_usd{budget="usd/run"}'] == pytest.approx(5.0)
    assert found['toolweaver_budget_rejections_total{budget="usd/run"}'] >= 4
    with pytest.raises(BudgetExceeded):
        plain()


def test_a_forked_worker_takes_the_port_of_one_that_is_gone(folder: Path, tmp_path: Path) -> None:
    """The parent stops serving; its child answers within two seconds, on the same port."""
    monitor = setup(PrometheusExporter(port=0), shared=True)
    child = in_child(repeat(5), leaves=False)
    try:
        repeat(5)()
        wait_until(lambda: scrape(monitor)[SUCCESSES] == 10)
        url = monitor.sinks[0].url
        monitor.shutdown()
        began = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    text = answer.read().decode()
                break
            except OSError:
                assert time.monotonic() < began + 10
                time.sleep(0.05)
        assert f"{SUCCESSES} 10" in text
    finally:
        end(child)


def test_a_folder_that_is_deleted_is_made_again(begin: Setup, folder: Path) -> None:
    """With the counts of those that live, and of the dead as they were last seen; `health()` says so.

    Seen red: with the folder made again at the next call only, and without a word; with the dead forgotten.
    """
    monitor = begin(budget=1.0)
    repeat(5)()
    wait_for(in_child(repeat(2)))
    child = in_child(repeat(3), leaves=False)
    try:
        wait_until(lambda: scrape(monitor)[SUCCESSES] == 10)
        delete(folder)
        wait_until(lambda: any("were deleted" in text for text in monitor.health()["problems"]))
        wait_until(lambda: ask(monitor).get(SUCCESSES) is not None)
        assert scrape(monitor)[SUCCESSES] == 10
        wait_until(lambda: len(monitor.health()["problems"]) == 1)
        (problem,) = monitor.health()["problems"]
        assert problem.startswith(f"files of {folder} were deleted")
        assert "set TOOLWEAVER_MONITOR_SHARED to another folder" in problem
    finally:
        end(child)
    assert scrape(monitor)[SUCCESSES] == 10


def test_what_budgets_had_spent_outlives_the_folder(begin: Setup, folder: Path) -> None:
    """Each worker writes again what it knew: the most that one knew counts. Seen red: with the sums begun from 0."""
    monitor = begin(budget=0.50)
    wait_for(in_child(repeat(20)))
    wait_until(lambda: monitor.budgets["usd/run"].remaining() == pytest.approx(0.50 - 0.20))
    delete(folder)
    wait_until(lambda: folder.joinpath("budgets").exists())
    assert monitor.budgets["usd/run"].remaining() == pytest.approx(0.50 - 0.20)


def test_a_folder_that_cannot_be_used_is_one_problem(
    begin: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls go on, and the worker serves its own counts. The problem is the folder that cannot be made.

    Seen red: `setup()` raised; with the lock file named, which is missing since the folder is.
    """
    tmp_path.joinpath("file").write_text("mine")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", str(tmp_path / "file" / "run"))
    monitor = begin(budget=1.0)
    repeat(5)()
    assert scrape(monitor)[SUCCESSES] == 5
    problems = monitor.health()["problems"]
    assert len(problems) == 1
    assert "workers are not joined" in problems[0]
    assert "set TOOLWEAVER_MONITOR_SHARED to a folder" in problems[0]
    assert "/file/run'" in problems[0]


def test_a_full_disk_is_a_problem_until_there_is_room(begin: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written last stays; counts that could not be written are written later."""
    monitor = begin()
    repeat(5)()
    assert scrape(monitor)[SUCCESSES] == 5
    write = os.pwrite

    def fail(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    repeat(5)()
    assert scrape(monitor)[SUCCESSES] == 10
    assert "No space left" in " ".join(monitor.health()["problems"])
    monkeypatch.setattr(os, "pwrite", write)
    wait_until(lambda: monitor.health()["problems"] == [])


def test_a_lock_that_a_stopped_worker_holds_is_a_problem_until_it_goes_on(
    begin: Setup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapes are answered, and the cure is to end that worker. Seen red: with another folder for a cure."""
    monkeypatch.setattr("toolweaver_monitor._store.shared.folder.SharedFolder.exchange.__defaults__", (0.2,))
    monitor = begin()
    repeat(5)()
    child = in_child(lambda: hold_stopped(folder / "lock"))
    os.waitpid(child, os.WUNTRACED)
    try:
        assert scrape(monitor)[SUCCESSES] == 5
        (problem,) = monitor.health()["problems"]
        assert problem.endswith("another process holds lock; look for a worker that is stopped, and end it")
    finally:
        os.kill(child, signal.SIGCONT)
        wait_for(child)
    wait_until(lambda: monitor.health()["problems"] == [])


def hold_stopped(path: Path) -> None:
    with LockFile(path).held(1.0):
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_damaged_file_of_a_worker_fails_no_scrape(begin: Setup, folder: Path) -> None:
    """A living worker counts with what was seen of it last; it is whole again once it has written anew."""
    monitor = begin()
    child = in_child(repeat(50), leaves=False)
    try:
        wait_until(lambda: scrape(monitor).get(SUCCESSES) == 50)
        for path in folder.glob("worker-*"):
            with path.open("r+b") as file:
                file.seek(20)
                file.write(b"damage")
        assert scrape(monitor)[SUCCESSES] == 50
    finally:
        end(child)
    assert scrape(monitor)[SUCCESSES] == 50, "nor once it is gone"


def test_damaged_files_are_no_error(begin: Setup, folder: Path) -> None:
    """Whatever stands in them: a scrape answers with what this worker knows."""
    monitor = begin()
    repeat(3)()
    wait_for(in_child(repeat(2)))
    assert scrape(monitor)[SUCCESSES] == 5
    folder.joinpath("departed").write_bytes(os.urandom(300))
    folder.joinpath("worker-0123456789abcdef").write_bytes(b"")
    folder.joinpath("worker-0123456789abcdee").write_bytes(os.urandom(300))
    wait_until(lambda: ask(monitor).get(SUCCESSES) == 5)
    assert "were deleted or damaged" in monitor.health()["problems"][0]


def test_a_damaged_file_of_budgets_is_a_problem_until_it_is_deleted(
    begin: Setup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit then holds for each worker alone, which it must not keep to itself. Seen red: no problem at all."""
    monkeypatch.setattr("toolweaver_monitor._runtime.shared_budgets.RETRY_S", 0.1)
    monitor = begin(budget=5.00)
    plain()
    assert monitor.health()["problems"] == []
    folder.joinpath("budgets").write_bytes(b"no sums")
    wait_until(lambda: monitor.health()["problems"] != [])
    (problem,) = monitor.health()["problems"]
    assert problem.startswith(f"budget 'usd/run' counts this process only: {folder / 'budgets'} is damaged")
    plain()
    folder.joinpath("budgets").unlink()
    wait_until(lambda: monitor.health()["problems"] == [])


def test_a_counter_never_falls_in_a_flood_of_names(begin: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are shown up to the cap, those shown first stay, and the total is exact."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_LABEL_VALUES", "20")
    monitor = begin()
    seen: dict[str, float] = {}
    for round_ in range(6):

        def work(round_: int = round_) -> None:
            for n in range(8):
                with track(f"shared.flood.{8 * round_ + n}"):
                    pass

        wait_for(in_child(work))
        found = {name: value for name, value in scrape(monitor).items() if "executions_total" in name}
        assert all(found.get(name, 0) >= value for name, value in seen.items())
        flood = {name: value for name, value in found.items() if "flood" in name or "__overflow__" in name}
        assert sum(flood.values()) == 8 * (round_ + 1)
        seen = found
    assert len([name for name in seen if "flood" in name and 'status="success"' in name]) <= 20


def test_customers_of_workers_that_are_gone_take_little_room() -> None:
    """Accounts of budgets have a name up to the cap; beyond it their rejections add up. Seen red: 10,000 names."""

    def account(number: int, rejections: int) -> dict[str, object]:
        sums = {"limit": 1.0, "spent": 0.5, "rejections": rejections}
        return {"name": f"b [c{number}]", "account": f"c{number}", "unit": "usd", **sums}

    whole = {"name": "all", "account": None, "unit": "usd", "limit": 9.0, "spent": 2.0, "rejections": 1}
    departed = MergedTallies(Snapshot({}))
    for worker in range(10):
        accounts = [account(number, 1) for number in range(worker * 1_000, worker * 1_000 + 1_000)]
        departed.add(Tallies(tools={}, budgets=[whole, *accounts]))
    living = MergedTallies(Snapshot({}))
    living.add(Tallies(tools={}, budgets=[account(number, 3) for number in range(9_990, 10_010)]), living=True)
    departed.admit(living)
    shown = departed.tallies().budgets
    assert len(shown) == MAX_NAMES + 1
    assert sum(each["rejections"] for each in shown) == 10_010
    assert sum(each["rejections"] for each in shown if each["name"] == "all") == 10


def test_a_setup_that_is_replaced_is_counted_once(begin: Setup) -> None:
    """With the same exporter its worker goes on; with another its counts are those of one that is gone."""
    exporter = PrometheusExporter(port=0)
    repeat(1)()  # before any setup
    begin(exporter)
    repeat(3)()
    again = begin(exporter)
    repeat(2)()
    assert scrape(again)[SUCCESSES] == 5
    other = begin(PrometheusExporter(port=0))
    repeat(4)()
    assert scrape(other)[SUCCESSES] == 9


def test_the_end_does_not_wait_for_a_thread_that_waits_for_it(begin: Setup) -> None:
    """A signal handler that ends the program may have interrupted what that thread waits for.

    Seen red: with the lock waited for without a limit, for ever.
    """
    monitor = begin()
    workers = monitor._components.workers
    assert workers is not None
    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with workers.tallies._lock:
            held.set()
            ended.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    began = time.monotonic()
    monitor.shutdown()
    ended.set()
    thread.join()
    assert time.monotonic() - began < 5


def test_the_last_counts_are_written_while_a_thread_waits_for_the_folder(begin: Setup, folder: Path) -> None:
    """As a short-lived worker's does on a busy machine. Seen red: they were lost, 91 of 1,000 workers'."""
    monitor = begin()
    repeat(2)()
    assert monitor.sinks[0].text()
    stopped = in_child(lambda: hold_stopped(folder / "lock"))
    os.waitpid(stopped, os.WUNTRACED)
    waiting = threading.Thread(target=monitor.sinks[0].text)
    waiting.start()
    try:
        workers = monitor._components.workers
        assert workers is not None
        wait_until(lambda: not workers.tallies._lock.acquire(blocking=False) or workers.tallies._lock.release())
        repeat(5)()
        monitor.shutdown()
    finally:
        os.kill(stopped, signal.SIGCONT)
        waiting.join()
    wait_for(stopped)
    assert scrape(begin())[SUCCESSES] == 7


def test_joined_metrics_can_be_mounted_without_an_exporter(folder: Path) -> None:
    """`monitor.asgi()` and `wsgi()` answer for all workers, too."""
    with setup(shared=True) as monitor:
        repeat(3)()
        wait_for(in_child(repeat(2)))
        status: list[str] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"}
        body = b"".join(monitor.wsgi()(environ, lambda line, headers: status.append(line)))
        assert status[0].startswith("200")
        assert f"{SUCCESSES} 5" in body.decode()


def test_nothing_is_said_of_prometheus_clients_files_if_workers_are_joined(
    begin: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are neither read nor written; without `shared=` the note says what to set."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "theirs"))
    assert "PROMETHEUS_MULTIPROC_DIR" not in " ".join(begin().health()["notes"])
    with setup(PrometheusExporter(port=0), shared=False) as alone:
        assert "setup('prometheus', shared=True) joins them" in " ".join(alone.health()["notes"])
    assert not tmp_path.joinpath("theirs").exists()


def test_a_later_setup_is_joined_only_if_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder that a setup writes into the environment is for children, not for the next setup without `shared=`."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SHARED", "")  # so that in the end it is as it was: not there
    monkeypatch.delenv("TOOLWEAVER_MONITOR_SHARED")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with setup(PrometheusExporter(port=0), shared=True):
        written = os.environ["TOOLWEAVER_MONITOR_SHARED"]
        assert Path(written).parent.parent == tmp_path
    with setup(PrometheusExporter(port=0)) as monitor:
        assert monitor._components.workers is None
    monkeypatch.delenv("TOOLWEAVER_MONITOR_SHARED", raising=False)


def test_what_budgets_had_spent_is_written_again_once_their_file_can_be_locked(begin: Setup, folder: Path) -> None:
    """That of workers that are gone, too. Mutation that turned it red: tried only when files are found deleted."""
    workers = begin(budget=5.00)._components.workers
    assert workers is not None
    assert workers._ledger is not None
    account = "usd/run", "run", "usd"
    gone = RunLedger(folder).request(*account, 5_000_000_000, 0, 4_000_000_000)
    seen = workers._ledger.request(*account, 5_000_000_000, 0, 0)
    assert gone is not None
    assert seen is not None
    assert seen.spent == gone.spent >= 4_000_000_000
    with LockFile(folder / "budgets.lock").held(2):
        for name in ("departed", "budgets", *(path.name for path in folder.glob("worker-*"))):
            folder.joinpath(name).unlink()
        wait_until(lambda: workers.folder.remade_at)
        time.sleep(0.5)  # ticks that cannot lock it
        assert not folder.joinpath("budgets").exists()

    def spent() -> int:
        found = RunLedger(folder).request(*account, 5_000_000_000, 0, 0)
        return found.spent if found is not None else 0

    wait_until(lambda: spent() == gone.spent)
