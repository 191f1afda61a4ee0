"""The settings in force, and where each comes from."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from toolweaver_monitor._cli.doctor.findings import Finding, from_error
from toolweaver_monitor._core import config
from toolweaver_monitor._text.display import escape, pad, width
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError

TOOLWEAVERS_OWN = {
    "MONITORING_BACKENDS": "TOOLWEAVER_MONITOR_SINKS",
    "PROMETHEUS_PORT": "TOOLWEAVER_MONITOR_PROMETHEUS_PORT",
    "PROMETHEUS_HOST": "TOOLWEAVER_MONITOR_PROMETHEUS_ADDR",
    "TOOLWEAVER_PROMETHEUS_PORT": "TOOLWEAVER_MONITOR_PROMETHEUS_PORT",
    "TOOLWEAVER_WANDB_PROJECT": "TOOLWEAVER_MONITOR_WANDB_PROJECT",
    "TOOLWEAVER_WANDB_ENTITY": "TOOLWEAVER_MONITOR_WANDB_ENTITY",
}
"""Variables that configure ToolWeaver's own monitoring (0.13.9), and what this library reads in their place."""


class SettingRow(NamedTuple):
    """One setting in force."""

    name: str
    variable: str
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
        found.append(SettingRow(setting.name, setting.variable, value, setting.variable if text else "default"))
    return found


def findings() -> list[Finding]:
    """Return the variables that cannot be used, and those that no setting reads."""
    found = []
    for setting in config.SETTINGS:
        try:
            if setting.value() is False and setting is config.ENABLED:
                cure = f"unset {setting.variable}, or setup(enabled=True)"
                found.append(Finding("wrong", setting.variable, "monitoring is off", cure))
        except ConfigurationError as error:
            found.append(from_error(setting.variable, error))
    known = {setting.variable for setting in config.SETTINGS}
    for variable in sorted(os.environ):
        if variable in known:
            continue
        close = suggest(variable, known, cutoff=0.9)  # a letter or two, also in the prefix
        if variable.startswith(config.PREFIX) or (close and variable not in TOOLWEAVERS_OWN):
            close = close or config.meant_variables(variable)
            cure = f"write {close[0]}, or unset it" if close else "unset it"
            found.append(Finding("wrong", variable, "no setting reads this variable", cure))
        elif variable in TOOLWEAVERS_OWN:
            says = "ToolWeaver's own monitoring reads this variable, and this library does not"
            found.append(Finding("note", variable, says, f"for this library, set {TOOLWEAVERS_OWN[variable]}"))
    return found


def lines() -> list[str]:
    """Return every setting as text: name, value and source in columns."""
    found = [(row.variable, escape(_shown(row.value)), "set" if row.source != "default" else "") for row in rows()]
    names, values = (max(width(row[at]) for row in found) for at in (0, 1))
    title = "Settings (an argument of setup() overrides the environment, which overrides the default)"
    return [title, *(f"  {pad(name, names)}  {pad(value, values)}  {source}".rstrip() for name, value, source in found)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
