"""The settings in force, and where each comes from."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from toolweaver_monitor._cli.doctor.findings import Finding, from_error
from toolweaver_monitor._core import config
from toolweaver_monitor._text.display import escape, pad, width
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError


class SettingRow(NamedTuple):
    """One setting in force."""

    name: str
    value: Any
    source: str


def rows() -> list[SettingRow]:
    """Return every setting, its value, and its source: the environment variable, or `default`."""
    found = []
    for setting in config.SETTINGS:
        text = os.environ.get(setting.variable, "").strip()
        try:
            value = setting.value()
        except ConfigurationError:
            value = text
        value = list(value) if isinstance(value, tuple) else value
        found.append(SettingRow(setting.name, value, setting.variable if text else "default"))
    return found


def findings() -> list[Finding]:
    """Return the variables that cannot be used, and those that no setting reads."""
    found = []
    for setting in config.SETTINGS:
        try:
            if setting.value() is False and setting is config.ENABLED:
                cure = f"unset {setting.variable}, or setup(enabled=True)"
                found.append(Finding("wrong", setting.name, "monitoring is off", cure))
        except ConfigurationError as error:
            found.append(from_error(setting.name, error))
    known = {setting.variable for setting in config.SETTINGS}
    for variable in sorted(os.environ):
        if variable.startswith(config.PREFIX) and variable not in known:
            close = suggest(variable, known)
            cure = f"write {close[0]}, or unset it" if close else "unset it"
            found.append(Finding("wrong", variable.removeprefix(config.PREFIX), f"no setting reads {variable}", cure))
    return found


def lines() -> list[str]:
    """Return every setting as text: name, value and source in columns."""
    found = [(row.name, escape(_shown(row.value)), row.source) for row in rows()]
    names, values = (max(width(row[at]) for row in found) for at in (0, 1))
    title = "Settings (an argument of setup() overrides the environment, which overrides the default)"
    return [title, *(f"  {pad(name, names)}  {pad(value, values)}  {source}" for name, value, source in found)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
