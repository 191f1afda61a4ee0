"""The command `top`: the figures of a store, or of a running program, in a terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolweaver_monitor import setup, track
from toolweaver_monitor._cli import main, top
from toolweaver_monitor.sinks import Dashboard, PrometheusExporter, SQLiteStore


def shown(capsys: pytest.CaptureFixture[str], *argv: Any, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["top", *map(str, argv)]) == code
    return capsys.readouterr().out


def test_a_store_is_shown_with_its_tools_the_most_expensive_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with setup(SQLiteStore(tmp_path / "runs.db")):
        with track("top_cheap") as call:
            call.fail("no\x1b[31m")
        with track("top_dear") as call:
            call.record(cost=0.25, tokens=10)
    lines = shown(capsys, tmp_path / "runs.db", "--once").splitlines()
    assert lines[0].startswith("runs.db  1 run  since ")
    assert lines[1] == "  2 calls, 1 failed (50.0%), 10 tokens, $0.2500"
    rows = [line.split() for line in lines[4:]]
    assert [(row[0], row[1], row[2]) for row in rows] == [("top_dear", "1", "0"), ("top_cheap", "1", "1")]
    assert "\x1b" not in "".join(lines)
    figures = json.loads(shown(capsys, tmp_path / "runs.db", "--json"))
    assert (figures["total"]["cost"], [tool["name"] for tool in figures["tools"]]) == (0.25, ["top_dear", "top_cheap"])


@pytest.mark.parametrize("kind", [PrometheusExporter, Dashboard])
def test_a_running_program_is_shown_by_its_address_with_what_runs_now(
    kind: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The page's address, that of its metrics, or host and port alone; with a token from a file."""
    sink = kind(port=0, token="a-token-of-the-test")
    (tmp_path / "token").write_text("a-token-of-the-test")
    with setup(sink, budget=2.0), track("top_open"):
        with track("top_done") as call:
            call.record(cost=0.5)
        for address in (f"127.0.0.1:{sink.port}", f"http://127.0.0.1:{sink.port}/", sink.url):
            text = shown(capsys, address, "--once", "--token-file", tmp_path / "token")
            assert "running now: top_open 1 (oldest " in text
            assert "budget usd/run: $0.5000 of $2.0000" in text
            assert text.splitlines()[-1].split()[:2] == ["top_done", "1"]
        assert main(["top", f"127.0.0.1:{sink.port}"]) == 2
        assert capsys.readouterr().err.endswith("answered 401 without figures; pass its token with --token-file FILE\n")


@pytest.mark.parametrize(
    ("source", "says"),
    [("127.0.0.1:1", "nothing is listening there"), ("no-such.db", "there is no file"), ("http://a:b@c/", "address")],
)
def test_what_cannot_be_watched_gets_one_line_with_the_cure(
    source: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", source, "--once"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_file_that_looks_like_an_address_is_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with setup(SQLiteStore("runs.db:1")), track("top_named"):
        pass
    assert "top_named" in shown(capsys, "runs.db:1", "--once")


def test_a_program_that_ends_meanwhile_leaves_its_last_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe one look follows the other. Seen red: without the fault in the first line the figures looked new."""
    looks = iter(range(3))

    def wait(_: float) -> None:
        match next(looks):
            case 0:
                with track("top_late"):
                    pass
            case 1:
                monitor.shutdown()
            case _:
                raise KeyboardInterrupt

    own = SimpleNamespace(sleep=wait, monotonic=time.monotonic, time=time.time)  # shutdown() sleeps as well
    monkeypatch.setattr(top, "time", own)
    sink = Dashboard(port=0)
    monitor = setup(sink)
    text = shown(capsys, f"127.0.0.1:{sink.port}")
    first, second, third = text.split("  pid ")[1:]
    assert ("top_late" in first, "top_late" in second, "top_late" in third) == (False, True, True)
    assert "nothing is listening there" in third
    assert "these are the last figures" in third
