"""S8: nothing in the package can run its input as code, or unpickle data from outside."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import toolweaver_monitor

PACKAGE = Path(toolweaver_monitor.__file__).parent

MODULES = {
    "pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "code", "codeop",
    "pty",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
METHODS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp", "yaml.load",
    "ssl._create_unverified_context", "random.seed", "os.chmod", "os.umask",
}  # fmt: skip
EXPECTED = {
    "_budget/repeats.py": {"marshal"},  # `dumps` alone: the bytes of arguments for a digest, which nothing reads back
    "_cli/run.py": {"compile", "exec"},  # the program that the user names, as `python` runs it
}
"""What single files must have, and why."""
KEYWORDS = {("shell", True), ("verify", False), ("check_hostname", False), ("allow_pickle", True)}


def dangers(source: str) -> list[str]:
    """Return the imports and calls in a file that this library must not have, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [module for module in [(node.module or "").partition(".")[0]] if module in MODULES]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            names = (
                [called] if called in CALLS or called in METHODS or called.removeprefix("builtins.") in CALLS else []
            )
            names += [
                f"{keyword.arg}={keyword.value.value}"
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in KEYWORDS
            ]
        elif isinstance(node, ast.Assert):
            names = ["assert, which -O takes out"]
        found += [f"line {node.lineno}: {name}" for name in names]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_s8_no_pickle_eval_exec_marshal_shell_or_yaml(path: Path) -> None:
    """JSON is the only format that is read back, and no text ever becomes code or a command line.

    Mutations that turned it red: `import pickle` in `tally.py`; `shell=True` in `cli/doctor/children.py`.
    """
    expected = EXPECTED.get(str(path.relative_to(PACKAGE)), set())
    assert [found for found in dangers(path.read_text()) if found.rpartition(" ")[2] not in expected] == []


def test_s8_marshal_is_only_written() -> None:
    """Reading it back could crash the interpreter.

    Mutation that turned it red: `import marshal` in `_budget/repeats.py`.
    """
    tree = ast.parse((PACKAGE / "_budget" / "repeats.py").read_text())
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [text for text in imports if "marshal" in text] == ["from marshal import dumps"]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from marshal import loads", "import yaml.cyaml", "eval('1')", "builtins.exec('x')",
        "subprocess.run('ls', shell=True)", "os.system('ls')", "def f():\n    import shelve", "__import__('os')",
        "numpy.load(f, allow_pickle=True)", "requests.get(u, verify=False)", "assert x",
    ],
)  # fmt: skip
def test_s8_the_look_itself_finds_what_it_is_for(source: str) -> None:
    """Each of these is found, inside functions, too.

    Mutations that turned it red: the keywords of a call not looked at; `from` imports not looked at; only what stands
    at the top of a file looked at.
    """
    assert dangers(source) != []
