"""The documents: every block of code runs, and every name and link exists.

How a document is written:

- The `python` blocks of a file run in order, in one program, in an empty folder. `port=8000` becomes a free port.
- A `text` block under a line that ends with "prints" is compared with what the python block above it printed.
  Durations, moments, ids and ports are not compared, runs of spaces count as one, a line `...` is any lines.
- `<!-- run with pytest -->` above a python block: it is a test file of its own.
- `<!-- not run: REASON -->` above a block: it cannot run here, and says why.
- `<!-- needs PACKAGE -->`: without that package the file is not run.
- `py` blocks are signatures, which nothing runs.
- `yaml` blocks that begin with `scrape_configs:` are read by promtool, and so are queries in tables.
- `sh` blocks: programs, make targets, extras, and the options of our own command must exist.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import OURS

import toolweaver_monitor
from toolweaver_monitor._cli import parser
from toolweaver_monitor._core import config
from toolweaver_monitor.sinks._prometheus import catalog

ROOT = Path(__file__).parents[2]
"""The blocks run what these tests run: the checkout, or the wheel."""
RUN_ELSEWHERE = ROOT / "docs" / "how-to" / "frameworks"
"""Each of these needs a framework of its own: tests/frameworks runs them."""
STAND_INS = {"toolweaver.md": ROOT / "tests" / "unit" / "integrations" / "stand_in"}
"""What a page needs that is in no registry, written for these tests."""
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(
    r"(?P<above>(?:^[^\n]*\S[^\n]*\n)?\n*)^```(?P<kind>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: \S.+ -->")
PROGRAMS = {
    ".",
    "cd",
    "curl",
    "docker",
    "export",
    "git",
    "gunicorn",
    "kubectl",
    "make",
    "pip",
    "prometheus",
    "promtool",
    "pytest",
}
PROGRAMS |= {"python", "toolweaver-monitor", "uvicorn", "wandb"}
GUIDES = (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md")
NOT_THERE = {"sinks/_statsd.py", "tests/frameworks/test_kit.py"}
"""The files that CONTRIBUTING.md makes up."""


class Block(NamedTuple):
    """One block of a document."""

    kind: str
    code: str
    line: int
    above: str


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(found["kind"], found["code"], text.count("\n", 0, found.start("code")) + 1, found["above"].strip())
        for found in FENCE.finditer(text)
    ]


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


LEFT_BY_WANDB = "ignore:Implicitly cleaning up:ResourceWarning"
"""A temporary folder that W&B keeps for tables until the interpreter ends."""

RUNNER = """
import contextlib, io, json, sys
from pathlib import Path
blocks = json.loads(Path("blocks.json").read_text())
namespace = {"__name__": "__main__"}
for block in blocks:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\\n" * (block["line"] - 1) + block["code"], block["file"], "exec"), namespace)
    block["printed"] = out.getvalue()
Path("printed.json").write_text(json.dumps(blocks))
"""


def run(command: list[str], folder: Path, stand_in: Path | None = None) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "TOOLWEAVER_MONITOR_"))}
    homes = dict.fromkeys(("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(folder))
    set_up = {"TOOLWEAVER_MONITOR_PROMETHEUS_PORT": "0", "WANDB_MODE": "offline", "PYTHONPATH": OURS}
    if stand_in is not None:
        set_up["PYTHONPATH"] = os.pathsep.join([OURS, str(stand_in)])
    return subprocess.run(
        command, cwd=folder, env=own | homes | set_up, capture_output=True, text=True, timeout=120, check=False
    )


def masked(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", "WHEN", text)
    text = re.sub(r"\b\d+(\.\d+)? (us|ms|s)\b", "DURATION", text)
    text = re.sub(r"(duration_s=|\"(?:duration_s|started_at)\": |localhost:|127\.0\.0\.1:)[\d.e-]+", r"\1N", text)
    text = re.sub(r'"[0-9a-f]{16,32}"', "ID", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def matches(printed: list[str], shown: list[str]) -> bool:
    """Whether the lines are those shown, `...` standing for any number of lines."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(matches(printed[count:], shown[1:]) for count in range(len(printed) + 1))
    return bool(printed) and printed[0] == shown[0] and matches(printed[1:], shown[1:])


def outputs(path: Path, folder: Path) -> list[tuple[Block, str]]:
    """Run the python blocks of a document; return each block of output with what was printed."""
    programs, shown = [], []
    for block in blocks(path):
        if block.kind == "python" and not NOT_RUN.search(block.above):
            if "<!-- run with pytest -->" in block.above:
                passes_as_a_test_file(block, folder / f"line_{block.line}")
            else:
                code = block.code.replace("port=8000", "port=0")
                programs.append({"file": str(path), "line": block.line, "code": code})
        elif block.kind == "text" and block.above.rstrip(":").endswith("prints"):
            shown.append((block, len(programs) - 1))
    if not programs:
        return []
    (folder / "blocks.json").write_text(json.dumps(programs))
    command = [sys.executable, "-P", "-W", "error", "-W", LEFT_BY_WANDB, "-c", RUNNER]
    done = run(command, folder, STAND_INS.get(path.name))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    printed = json.loads((folder / "printed.json").read_text())
    return [(block, printed[number]["printed"]) for block, number in shown]


@pytest.mark.parametrize("path", named([path for path in DOCUMENTS if RUN_ELSEWHERE not in path.parents]))
def test_every_block_of_python_runs_and_prints_what_is_shown(
    path: Path, require_package: Callable[[str, str], None], tmp_path: Path
) -> None:
    """Code in a document is code."""
    for package in re.findall(r"<!-- needs (\w+) -->", path.read_text()):
        require_package(package, "pip install 'toolweaver_monitor[all]'")
    for block, printed in outputs(path, tmp_path):
        says = f"{path}:{block.line}: it prints otherwise (`make docs` writes it):"
        assert matches(masked(printed), masked(block.code)), f"{says}\n{printed}"


def write_outputs() -> None:
    """Update the outputs in the documents to what the code prints now."""
    for path in DOCUMENTS:
        if RUN_ELSEWHERE not in path.parents:
            with tempfile.TemporaryDirectory() as folder:
                for block, printed in reversed(outputs(path, Path(folder))):
                    if not matches(masked(printed), masked(block.code)):
                        lines = path.read_text().splitlines(keepends=True)
                        lines[block.line - 1 : block.line - 1 + block.code.count("\n")] = [printed.strip("\n"), "\n"]
                        path.write_text("".join(lines))
                        print(f"written: {path}:{block.line}")


def passes_as_a_test_file(block: Block, folder: Path) -> None:
    folder.mkdir()
    (folder / "test_it.py").write_text(block.code)
    plugin = ["-p", "_toolweaver_monitor_pytest"] if importlib.util.find_spec("_toolweaver_monitor_pytest") else []
    listed = run([sys.executable, "-m", "pytest", "--fixtures", "-q"], folder)
    plugin = [] if "toolweaver" in listed.stdout else plugin
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin], folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", named(DOCUMENTS))
def test_every_command_that_is_shown_exists(path: Path) -> None:
    """Programs, make targets, extras, modules, and the options of our own command."""
    for block in blocks(path):
        if block.kind in ("sh", "shell", "bash", "console") and not NOT_RUN.search(block.above):
            for line in block.code.replace("\\\n", " ").splitlines():
                words = [word for word in shlex.split(line, comments=True) if word != "$"]
                while words and "=" in words[0]:
                    words.pop(0)
                if words:
                    assert words[0] in PROGRAMS, f"{path}:{block.line}: what is {words[0]}?"
                    CHECKS.get(words[0], lambda _: None)(words)


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words[1:] if "=" not in word and word not in targets] == []


def check_pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.fullmatch(r"toolweaver[_-]monitor\[(.+)\]", word):
            assert set(found[1].split(",")) <= extras.keys()


def check_ours(words: list[str]) -> None:
    ended = next((at for at, word in enumerate(words) if word in ("|", ">")), len(words))
    with contextlib.suppress(SystemExit) if {"--help", "--version"} & set(words) else contextlib.nullcontext():
        parser().parse_args(words[1:ended])


def check_python(words: list[str]) -> None:
    if "-m" in words:
        module = words[words.index("-m") + 1]
        here = ROOT.joinpath(*module.split("."))
        assert here.is_dir() or here.with_suffix(".py").exists() or importlib.util.find_spec(module), module
        if module == "toolweaver_monitor":
            check_ours(words[words.index("-m") + 1 :])


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "toolweaver-monitor": check_ours,
    "python": check_python,
}


def test_prometheus_takes_every_configuration_and_query(require_program: Callable[..., str], tmp_path: Path) -> None:
    """What is to be pasted into `prometheus.yml`, or asked, is read by promtool."""
    promtool = require_program("promtool", "apt-get install prometheus")
    configurations = 0
    for path in DOCUMENTS:
        for block in blocks(path):
            if block.kind == "yaml" and block.code.startswith("scrape_configs:"):
                (tmp_path / "prometheus.yml").write_text(block.code)
                done = run([promtool, "check", "config", "--syntax-only", "prometheus.yml"], tmp_path)
                assert done.returncode == 0, f"{path}:{block.line}: {done.stderr}"
                configurations += 1
    queries = re.findall(r"\| `([^`]*toolweaver_[^`]*)` \|", (ROOT / "docs" / "how-to" / "prometheus.md").read_text())
    rules = [{"record": f"asked:{n}", "expr": query.replace(r"\|", "|")} for n, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    done = run([promtool, "check", "rules", "rules.yml"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert configurations
    assert len(queries) > 5


FORMER_METRICS = {"toolweaver_tool_errors_total"}
"""Names that only the list of changes and the page on upgrading may tell."""


@pytest.mark.parametrize("path", named(DOCUMENTS))
def test_every_metric_and_variable_that_is_named_exists(path: Path) -> None:
    """A name in a document is a name of the catalogue or of the settings."""
    text = path.read_text()
    metrics = {metric.name for metric in catalog.METRICS} | (
        FORMER_METRICS if path.name in ("CHANGELOG.md", "upgrade.md") else set()
    )
    for name in set(re.findall(r"\btoolweaver_(?:tool|active|budget|monitor)_\w+[a-z]\b", text)):
        if name.startswith("toolweaver_monitor_") and f"_{name}" in text:
            continue  # the pytest plugin's module
        assert re.sub(r"_(bucket|sum|count)$", "", name) in metrics, f"{path}: there is no metric {name}"
    variables = {setting.variable for setting in config.SETTINGS}
    assert set(re.findall(r"\bTOOLWEAVER_MONITOR_[A-Z_]*[A-Z]\b", text)) <= variables


@pytest.mark.parametrize("path", named([*DOCUMENTS, *GUIDES]))
def test_every_link_leads_somewhere(path: Path) -> None:
    """Files and headings, here in the repository."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, heading = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        assert other.exists(), f"{path}: {target} leads nowhere"
        if heading:
            headings = [
                re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in other.read_text().splitlines()
                if line.startswith("#")
            ]
            assert heading in headings, f"{path}: {target} has no such heading"


@pytest.mark.parametrize("path", named(list(GUIDES)))
def test_every_file_that_a_guide_names_is_there(path: Path) -> None:
    """A map of the code is of use as long as it is true.

    Seen red: `tests/quality/test_layers.py` for a file of `tests/unit`.
    """
    room = "(?:_[a-z]+/|sinks/|testing/|integrations/|tests/|docs/)"
    files = set(re.findall(rf"`({room}[\w/.]*)`", path.read_text())) - NOT_THERE
    assert len(files) > 10
    assert [
        file for file in files if not any((root / file).exists() for root in (ROOT, ROOT / "toolweaver_monitor"))
    ] == []


def test_the_changes_open_with_those_of_this_version() -> None:
    """Seen red: with 0.2.0 among the changes, and 0.1.0 in the package."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == toolweaver_monitor.__version__


def test_the_index_leads_to_every_document() -> None:
    """Every page can be reached from the index."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index.read_text())}
    folders = [target for target in linked if target.is_dir()]
    pages = {page for page in (ROOT / "docs").rglob("*.md") if not any(folder in page.parents for folder in folders)}
    assert {str(page.relative_to(ROOT)) for page in pages - linked - {index}} == set()


def test_the_reference_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages made from settings, metrics, docstrings and help are current; `make docs` makes them so."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    monkeypatch.setenv("COLUMNS", "110")
    for name in generate.PAGES:
        if name == "cli.md" and sys.version_info >= (3, 13):
            continue  # its argparse writes an option with two names in another way
        current = (ROOT / "docs" / "reference" / name).read_text().split()
        assert current == generate.page(name).split(), f"{name} is behind: run `make docs`"


if __name__ == "__main__":
    write_outputs()
