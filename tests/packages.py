"""Compare a wheel and an sdist with the checkout: `python tests/packages.py FILE...` ends with 1 if they differ.

The wheel has every file of the package, the plugin for pytest and the dashboards, and nothing else; the sdist has every
file that git knows, but for those that only this repository needs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONLY_HERE = (".ci/", ".github/", ".pre-commit-config.yaml")


def tracked() -> set[str]:
    """The files that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def of_wheel(path: Path) -> tuple[set[str], set[str]]:
    """What is in a wheel, and what must be."""
    with zipfile.ZipFile(path) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {name for name in tracked() if name.startswith("toolweaver_monitor/")} | {"_toolweaver_monitor_pytest.py"}
    dashboards = {name for name in tracked() if name.startswith("docs/dashboards/")}
    return found, wanted | {name.replace("docs/", "toolweaver_monitor/", 1) for name in dashboards}


def of_sdist(path: Path) -> tuple[set[str], set[str]]:
    """What is in an sdist, and what must be."""
    with tarfile.open(path) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames() if not sdist.getmember(name).isdir()} - {
            "PKG-INFO"
        }
    return found, {name for name in tracked() if not name.startswith(ONLY_HERE)}


def main(paths: list[str]) -> int:
    """Print what is missing and what is too much, and return the exit code."""
    faults = 0
    for path in map(Path, paths):
        found, wanted = of_wheel(path) if path.suffix == ".whl" else of_sdist(path)
        for name in sorted(wanted - found):
            print(f"{path.name}: {name} is missing")
        for name in sorted(found - wanted):
            print(f"{path.name}: {name} should not be there")
        print(f"{path.name}: {len(found)} files")
        faults += len(wanted ^ found)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
