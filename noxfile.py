"""How does the built wheel do on every Python we support? `nox -s tests`; `nox -l` lists the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False  # said and skipped
nox.options.sessions = ["lint", "types", "tests", "bare", "lowest"]

FRAMEWORKS = ("fastmcp>=4", "mcp>=2", "langchain-core>=1", "pydantic-ai-slim>=2", "openai-agents>=0.20")
TESTING = ("pytest>=9", "pytest-asyncio>=1.2", "hypothesis>=6.100")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The tests against the built wheel, with every extra."""
    session.install(".[all]", *TESTING)
    session.run("python", "-P", "-m", "pytest", "-q", "-m", "not slow", *session.posargs)


@nox.session(python="3.11")
def bare(session: nox.Session) -> None:
    """The unit tests against the built wheel, with no extra at all."""
    session.install(".", *TESTING)
    env = {"CI": ""}  # what is missing here is missing on purpose
    session.run("python", "-P", "-m", "pytest", "-q", "-m", "not slow", "tests/unit", *session.posargs, env=env)


@nox.session(python="3.13")
def conformance(session: nox.Session) -> None:
    """Our decorator beside others', row by row; writes docs/reference/conformance.md."""
    session.install(".", *TESTING, "prometheus-async", "opentelemetry-sdk", "logfire", "sentry-sdk")
    session.run("python", "-P", "tests/conformance", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The unit and contract tests with the lowest versions that pyproject.toml allows."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional["wandb"], *optional["prices"], *optional["report"]]
    session.install(".", *TESTING, *(one.replace(">=", "==") for one in wanted))
    old_proxies = ["--deselect", "tests/unit/instrument/patching/test_hostile_targets.py"]  # of wrapt's own, as targets
    session.run("python", "-P", "-m", "pytest", "-q", "-m", "not slow", *old_proxies, "tests/unit", "tests/contract")


@nox.session
def sdks(session: nox.Session) -> None:
    """The table of provider payloads, built with the classes of every SDK whose results are read."""
    session.install(".[sdks]", *TESTING)
    env = {"TOOLWEAVER_SDKS_EXPECTED": "1"}  # one that is missing fails here, and is not skipped
    session.run("python", "-P", "-m", "pytest", "-q", "tests/unit/usage/payloads", *session.posargs, env=env)


@nox.session(python="3.13")
def transparency(session: nox.Session) -> None:
    """Other libraries' own tests with every function of theirs watched; writes docs/reference/transparency.md."""
    session.install(".", *TESTING, "typing_extensions>=4")
    session.run("python", "-P", "tests/transparency", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Ruff."""
    session.install("ruff>=0.15")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=["3.11", "3.13"])
def types(session: nox.Session) -> None:
    """The strict mypy over the package, and what mypy and pyright see of it, by the oldest and the newest Python."""
    session.install(".[all]", *TESTING, "mypy>=1.15", "pyright[nodejs]>=1.1.400")
    session.run("mypy", "--python-version", str(session.python))
    session.run("python", "-P", "-m", "pytest", "-q", "tests/typing")


@nox.session(python="3.11")
def frameworks(session: nox.Session) -> None:
    """Watched functions as the tools of five frameworks, and the how-to of each."""
    session.install(".", *TESTING, *FRAMEWORKS)
    session.run("python", "-P", "-c", "import agents, fastmcp, langchain_core, mcp, pydantic_ai")  # else they skip
    session.run("python", "-P", "-m", "pytest", "-q", "tests/frameworks", *session.posargs)
