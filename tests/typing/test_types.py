"""mypy and pyright see what they would see without the decorator, and flag what is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
USES, FACE = HERE / "uses.py", HERE / "face.py"
WRONG = re.compile(r"# wrong: (\S+) (\S+)$")

Found = dict[str, dict[int, list[tuple[str, str]]]]
"""By file name and line: what a checker says there, as (code, message); what it reveals has the code `revealed`."""


@pytest.fixture(scope="module")
def without_decorator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uses with every line taken out that decorates with `@monitored`; the lines keep their numbers."""
    path = tmp_path_factory.mktemp("without") / "without.py"
    path.write_text(re.sub(r"(?m)^ *@monitored.*$", "", USES.read_text()))
    return path


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def checked(request: pytest.FixtureRequest, without_decorator: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a checker says of the three files."""
    if importlib.util.find_spec(request.param) is None:
        message = f"{request.param} is not installed: pip install -e '.[dev]'"
        if os.environ.get("CI") and "NOX_CURRENT_SESSION" not in os.environ:
            pytest.fail(f"{message} (in CI it must be there)", pytrace=False)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp(request.param)
    ask = ask_mypy if request.param == "mypy" else ask_pyright
    return ask([USES, FACE, without_decorator], folder)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def ask_mypy(files: list[Path], folder: Path) -> Found:
    output = run(["mypy", "--strict", "--config-file=", "--no-error-summary", *map(str, files)], folder)
    found: Found = defaultdict(lambda: defaultdict(list))
    for line in output.splitlines():
        file, number, kind, text = re.fullmatch(r"(.*?):(\d+): (error|note): (.*)", line).groups()
        if kind == "note" and not text.startswith("Revealed type"):
            continue
        code = re.search(r"\[([\w-]+)\]$", text).group(1) if kind == "error" else "revealed"
        found[Path(file).name][int(number)].append((code, text.replace("without.", "uses.")))
    return found


def ask_pyright(files: list[Path], folder: Path) -> Found:
    output = run(["pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files)], folder)
    found: Found = defaultdict(lambda: defaultdict(list))
    for each in json.loads(output)["generalDiagnostics"]:
        number = each["range"]["start"]["line"] + 1
        found[Path(each["file"]).name][number].append((each.get("rule", "revealed"), each["message"]))
    return found


def test_the_types_are_those_without_the_decorator(checked: Found) -> None:
    """Each type and each error is the same with `@monitored` and without."""
    with_it, without = checked["uses.py"], checked["without.py"]
    assert with_it == without
    assert sum(code == "revealed" for said in with_it.values() for code, _ in said) == USES.read_text().count(
        "reveal_type("
    )


@pytest.mark.parametrize("path", [USES, FACE], ids=lambda path: path.stem)
def test_wrong_uses_are_flagged_and_no_others(checked: Found, path: Path, request: pytest.FixtureRequest) -> None:
    """A wrong use is an error where it stands, of the kind that is meant; a right one is none."""
    checker = ("mypy", "pyright").index(request.node.callspec.params["checked"])
    said = {number: {code for code, _ in found if code != "revealed"} for number, found in checked[path.name].items()}
    said = {number: codes for number, codes in said.items() if codes}
    meant = {
        number: set(match.groups()[checker].split(","))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := WRONG.search(line))
    }
    assert sorted(said) == sorted(meant)
    assert all(codes <= meant[number] for number, codes in said.items()), said
