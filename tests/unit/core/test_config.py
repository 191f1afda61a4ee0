"""The table of settings, and which of several values wins."""

from __future__ import annotations

import re

import pytest

from toolweaver_monitor._core import config
from toolweaver_monitor.errors import ConfigurationError

WRONG = {
    "ENABLED": "maybe",
    "PROMETHEUS_PORT": "65536",
    "BUCKETS_S": "1,0.5",
    "FIRST_ITEM_BUCKETS_S": "0.1;0.5",
    "BUDGET_USD": "-1",
    "MAX_OPERATIONS": "0",
    "MAX_LABEL_VALUES": "many",
    "REDACT": "2",
}


@pytest.mark.parametrize("setting", config.SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_has_a_variable_a_default_and_a_sentence(setting: config.Setting[object]) -> None:
    """Documentation is made from the table."""
    assert setting.variable == f"TOOLWEAVER_MONITOR_{setting.name}"
    assert re.fullmatch(r"[A-Z].+\.", setting.sentence)


def test_the_argument_beats_the_environment_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """In that order; blank is not given."""
    assert config.MAX_OPERATIONS.value() == 10_000
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_OPERATIONS", " ")
    assert config.MAX_OPERATIONS.value() == 10_000
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_OPERATIONS", " 7 ")
    assert config.MAX_OPERATIONS.value() == 7
    assert config.MAX_OPERATIONS.value(3) == 3


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_variable_that_cannot_be_read_is_named_with_what_to_give(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable, its value, the cure."""
    monkeypatch.setenv(f"TOOLWEAVER_MONITOR_{name}", value)
    setting = next(setting for setting in config.SETTINGS if setting.name == name)
    told = f"^TOOLWEAVER_MONITOR_{name}='{value}' cannot be used; give .* unset it$"
    with pytest.raises(ConfigurationError, match=told):
        setting.value()
