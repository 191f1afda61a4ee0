"""What a user sees of the public classes, in `dir()` and behind the Tab key."""

from __future__ import annotations

import pytest

from toolweaver_monitor import Monitor, setup

PUBLIC = {
    Monitor: {
        *("metrics", "costs", "errors", "sinks"),
        *("summary", "report", "active", "health"),
        *("flush", "aflush", "shutdown", "closed"),
    },
}


def public_members(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_a_class_shows_what_is_documented_and_nothing_else(kind: type) -> None:
    """What is not for users begins with an underscore."""
    assert public_members(kind) == PUBLIC[kind]


def test_a_monitor_shows_no_more_than_its_class() -> None:
    """No attribute of an instance adds a name."""
    assert public_members(setup()) == PUBLIC[Monitor]
