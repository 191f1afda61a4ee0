"""What is configured, and where does each setting come from?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from toolweaver_monitor._cli.doctor.findings import Finding, refused, wrong
from toolweaver_monitor._core import config
from toolweaver_monitor._text.display import escape, pad, width
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError


class Row(NamedTuple):
    """One setting as it is now."""

    name: str
    value: Any
    source: str


def rows() -> list[Row]:
    """Every setting, its value, and the environment variable or `default` that it comes from."""
    return list(_rows())


def _rows() -> Iterator[Row]:
    for setting in config.SETTINGS:
        source = setting.variable if os.environ.get(setting.variable, "").strip() else "default"
        try:
            value = setting.value()
        except ConfigurationError:
            value = os.environ[setting.variable]
        yield Row(setting.name, list(value) if isinstance(value, tuple) else value, source)


def findings() -> list[Finding]:
    """Variables that cannot be used, and such as no setting reads."""
    found = []
    for setting in config.SETTINGS:
        try:
            setting.value()
        except ConfigurationError as error:
            found.append(refused(setting.name, error))
    if "ENABLED" not in {finding.name for finding in found} and not config.ENABLED.value():
        found.append(wrong("ENABLED", "nothing is watched", f"unset {config.ENABLED.variable}, or setup(enabled=True)"))
    known = {setting.variable for setting in config.SETTINGS}
    for variable in sorted(os.environ):
        if variable.startswith(config.PREFIX) and variable not in known:
            near = suggest(variable, known)
            cure = f"write {near[0]}, or unset it" if near else "unset it"
            found.append(wrong(variable.removeprefix(config.PREFIX), f"no setting reads {variable}", cure))
    return found


def lines() -> list[str]:
    """Every setting as text: name, value and source in columns."""
    found = [(row.name, escape(shown(row.value)), row.source) for row in rows()]
    names, values = (max(width(row[at]) for row in found) for at in (0, 1))
    title = "Settings (what setup() is given beats the environment, which beats the default)"
    return [title, *(f"  {pad(name, names)}  {pad(value, values)}  {source}" for name, value, source in found)]


def shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
