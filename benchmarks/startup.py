"""The cost of `import toolweaver_monitor` over bare Python, and of `setup()`."""

from __future__ import annotations

from benchmarks.child import answer, wall_s
from benchmarks.options import Options
from benchmarks.results import Results

OPTIONAL = (
    "asyncio", "genai_prices", "opentelemetry", "plotly", "prometheus_client", "rich", "starlette", "uvicorn", "wandb",
    "wrapt",
)  # fmt: skip
"""Packages that cost tens of milliseconds and are to be imported where first needed only."""

IMPORTS = {
    "import toolweaver_monitor": "import toolweaver_monitor",
    "import prometheus_client": "import prometheus_client",
    "import asyncio": "import asyncio",
    "import wrapt": "import wrapt",
}

MODULES = """
import json, sys
before = set(sys.modules)
import toolweaver_monitor
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""

SETUPS = {
    "setup()": "setup()",
    "setup() with a log": 'setup("log")',
    "setup() with Prometheus": "setup(PrometheusExporter(port=0))",
}

SETUP = """
import json
from time import perf_counter
from toolweaver_monitor import setup
from toolweaver_monitor.sinks import PrometheusExporter
began = perf_counter()
{call}
print(json.dumps((perf_counter() - began) * 1000))
"""


def loaded_modules() -> list[str]:
    """The top-level modules that `import toolweaver_monitor` brings into a fresh interpreter."""
    return [str(name) for name in answer(MODULES)]


def imports(results: Results, options: Options) -> None:
    """Wall time of a fresh interpreter that imports, less that of one that does nothing, in turns."""
    bare: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for program in ("pass", *IMPORTS.values()):
        wall_s(program)  # so that every bytecode file is there
    for _ in range(max(5, options.scaled(21))):
        bare.append(wall_s("pass"))
        for name, program in IMPORTS.items():
            found[name].append(wall_s(program))
    results.put("import", "python -c pass", "wall", [s * 1000 for s in bare], "ms")
    for name, times in found.items():
        added = [(one - other) * 1000 for one, other in zip(times, bare, strict=True)]
        results.put("import", name, "over bare", added, "ms")
    modules = loaded_modules()
    extra = [name for name in modules if name in OPTIONAL]
    results.put("import", "import toolweaver_monitor", "optional packages", [float(len(extra))], "")
    results.notes.append(f"`import toolweaver_monitor` loads these top-level modules: {', '.join(modules)}.")


def setups(results: Results, options: Options) -> None:
    """Time of `setup()` in a fresh process."""
    for name, call in SETUPS.items():
        program = SETUP.replace("{call}", call)
        results.put("setup", name, "time", [answer(program) for _ in range(max(3, options.scaled(15)))], "ms")
