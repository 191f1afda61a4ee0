"""Sessions against the built wheel on every supported Python. `nox -l` lists them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False  # reported and skipped
nox.options.sessions = ["lint", "types", "tests", "bare", "lowest"]

PROJECT = nox.project.load_toml("pyproject.toml")
LOWEST = ("--resolution", "lowest-direct")  # of uv: of what is named, and not of what that needs
QUICK = ("-m", "not slow and not system")


def group(*names: str) -> list[str]:
    """Return the requirements of dependency groups."""
    return list(nox.project.dependency_groups(PROJECT, *names))


def pytest(session: nox.Session, *args: str, env: dict[str, str] | None = None, silent: bool = False) -> object:
    """Run pytest on the installed wheel, not on the checkout; return what it printed if it is silent."""
    return session.run("python", "-P", "-m", "pytest", "-q", *args, *session.posargs, env=env, silent=silent)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """All tests but the slow ones, with every extra."""
    session.install(".[all]", *group("test"))
    pytest(session, "-m", "not slow")


@nox.session
def quick(session: nox.Session) -> None:
    """The tests that need nothing but Python, as on macOS and Windows."""
    session.install(".[all]", *group("test"))
    pytest(session, *QUICK, "tests/unit", "tests/contract", "tests/property", "tests/conformance")


@nox.session(python="3.11")
def bare(session: nox.Session) -> None:
    """The unit tests with no extra at all."""
    session.install(".", *group("test"))
    pytest(session, *QUICK, "tests/unit", env={"CI": ""})  # what is missing here is missing on purpose


@nox.session(python=["3.11", "3.13"], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The unit and contract tests with every extra, and the lowest versions that pyproject.toml allows."""
    session.install(*LOWEST, ".", "-r", "pyproject.toml", "--extra", "all", *group("test"))
    old_proxies = ("--deselect", "tests/unit/instrument/patching/test_hostile_targets.py")  # wrapt's own, as targets
    pytest(session, *QUICK, *old_proxies, "tests/unit", "tests/contract")


EXTRAS = ("", *PROJECT["project"]["optional-dependencies"])


@nox.session(python=["3.11", "3.13"], venv_backend="uv")
def packages(session: nox.Session) -> None:
    """The wheel and the sdist: checked, contents compared, installed with no extra and with each, newest and lowest."""
    session.install("build", "twine")
    built = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", built)
    files = sorted(str(path) for path in Path(built).iterdir() if path.is_file())
    session.run("twine", "check", "--strict", *files)
    session.run("python", "tests/packages.py", *files)
    python, wheel = f"{built}/with/bin/python", next(file for file in files if file.endswith(".whl"))
    for extra, versions in product(EXTRAS, ((), LOWEST)):
        wanted = [*versions, wheel, "-r", "pyproject.toml", *(["--extra", extra] if extra else [])]
        session.run("uv", "venv", "--clear", "--quiet", "--python", str(session.python), f"{built}/with", external=True)
        session.run("uv", "pip", "install", "--quiet", "--python", python, *wanted, external=True)
        doctor = session.run(python, "-m", "toolweaver_monitor", "doctor", "--json", external=True, silent=True)
        session.log(
            f"[{extra}] {'lowest' if versions else 'newest'}: {str(doctor).count('wrong')} faults found by the doctor"
        )


@nox.session
def grafana(session: nox.Session) -> None:
    """The dashboards, compiled against the types that Grafana publishes on npm."""
    session.install(".")
    session.run("python", "-P", "tests/grafana_types.py", session.create_tmp())


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Lines and branches that the tests reach in this process; fails below the figure in pyproject.toml."""
    session.install("--editable", ".[all]", *group("test", "servers", "coverage"))
    session.run("coverage", "run", "-m", "pytest", "-q", *QUICK, *session.posargs)
    session.run("coverage", "report")


@nox.session
def sdks(session: nox.Session) -> None:
    """The table of provider payloads, built with the classes of every SDK whose results are read."""
    session.install(".[prices]", *group("test", "sdks"))
    pytest(session, "tests/unit/usage/payloads", env={"TOOLWEAVER_SDKS_EXPECTED": "1"})  # a missing SDK fails


@nox.session(python="3.11")
def frameworks(session: nox.Session) -> None:
    """Monitored functions as the tools of five frameworks, and the how-to of each."""
    session.install(".", *group("test", "frameworks"))
    session.run("python", "-P", "-c", "import agents, fastmcp, langchain_core, mcp, pydantic_ai")  # else they skip
    pytest(session, "tests/frameworks")


FRAMEWORKS = {
    "agno": ("agno", "openai"),
    "autogen": ("autogen-agentchat",),
    "clients": ("openai>=3", "anthropic>=2", "litellm>=1.100"),
    "google_adk": ("google-adk",),
    "haystack": ("haystack-ai",),
    "langgraph": ("langgraph", "langchain>=1"),
    "llama_index": ("llama-index-core",),
    "llm": ("llm",),
    "semantic_kernel": ("semantic-kernel",),
    "smolagents": ("smolagents",),
    "strands": ("strands-agents",),
}
"""What each file of `tests/frameworks` needs whose pins do not fit those of the session `frameworks`."""


@nox.session(python="3.11")
@nox.parametrize("name", [nox.param(name, id=name) for name in FRAMEWORKS])
def framework(session: nox.Session, name: str) -> None:
    """The tools, failures, tokens and costs of one framework: `nox -s "framework(smolagents)"`."""
    session.install(".", *group("test"), *FRAMEWORKS[name])
    done = pytest(session, f"tests/frameworks/test_{name}.py", "-ra", silent=True)
    session.log(done)
    if "skipped" in str(done):
        session.error(f"{name} was not tested, since its package is missing")


@nox.session(python="3.11")
def toolweaver(session: nox.Session) -> None:
    """Every way in which ToolWeaver runs a tool, and its samples and tests: `nox -s toolweaver -- CHECKOUT --tests`."""
    if not session.posargs:
        session.error("name a checkout of ToolWeaver: nox -s toolweaver -- FOLDER")
    checkout, *options = session.posargs
    session.install(".[all]", "--editable", checkout, *group("test"), "pytest-mock")
    ways = ("python", "-P", "-m", "pytest", "-q", "tests/unit/integrations")
    session.run(*ways, env={"TOOLWEAVER_CHECKOUT": checkout})
    session.run("python", "-P", "tests/toolweaver_samples.py", checkout, *options)


@nox.session(python="3.11")
@nox.parametrize("package", [nox.param(name, id=name) for name in ("rotel==0.0.1a15", "arize-phoenix>=20")])
def receivers(session: nox.Session, package: str) -> None:
    """What a receiver of OTLP that others wrote has, beside what a program did; prints what it compared."""
    session.install(".[otlp]", *group("test"), package)
    plugins = ("-p", "pytest_asyncio.plugin")  # and not that of Phoenix, which warns at its import
    pytest(
        session, "tests/receivers/test_receivers.py", "-s", "-rs", *plugins, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    )


@nox.session(python="3.11")
def queues(session: nox.Session) -> None:
    """One trace through Celery and through RQ, with OpenTelemetry's instrumentation of them."""
    celery = "celery", "opentelemetry-instrumentation-celery"
    rq = "rq<3", "fakeredis[lua]", "opentelemetry-instrumentation-rq"  # 0.1.4 cannot patch rq 3
    session.install(".[otlp]", *group("test"), *celery, *rq)
    pytest(session, "tests/receivers/test_queues.py", "-rs")


@nox.session(python="3.13")
def conformance(session: nox.Session) -> None:
    """The decorator beside others', row by row; writes docs/reference/conformance.md."""
    session.install(".", *group("test"), "prometheus-async", "opentelemetry-sdk", "logfire", "sentry-sdk")
    session.run("python", "-P", "tests/conformance", *session.posargs)


@nox.session(python="3.13")
def transparency(session: nox.Session) -> None:
    """Other libraries' own tests with every function of theirs monitored; writes docs/reference/transparency.md."""
    session.install(".", *group("test"), "pip", "typing_extensions>=4")  # pip fetches their sources, and uv brings none
    session.run("python", "-P", "tests/transparency", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Ruff, codespell and the metadata."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("validate-pyproject", "pyproject.toml", silent=True)


@nox.session(python=["3.11", "3.13"])
def types(session: nox.Session) -> None:
    """Strict mypy over the package, and what mypy and pyright see of it, by the oldest and the newest Python."""
    session.install(".[all]", *group("test", "types"))
    session.run("mypy", "--python-version", str(session.python))
    pytest(session, "tests/typing")
