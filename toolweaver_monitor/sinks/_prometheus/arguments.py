"""Arguments of the exporter, validated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolweaver_monitor._core import config
from toolweaver_monitor.errors import ConfigurationError


def validate_registry(registry: Any) -> Any:
    """Return an application's registry, or None.

    Raises:
        ConfigurationError: `registry` is neither.
    """
    methods = ("register", "unregister", "collect")
    if registry is None or all(callable(getattr(registry, method, None)) for method in methods):
        return registry
    raise ConfigurationError(
        f"registry={registry!r} is not a registry",
        hint="give a prometheus_client.CollectorRegistry, such as prometheus_client.REGISTRY",
    )


def validate_buckets(buckets: Iterable[float] | None, name: str = "buckets") -> tuple[float, ...] | None:
    """Return upper bounds of buckets in seconds, or None.

    Raises:
        ConfigurationError: there are none, they do not rise, or one is not a positive number.
    """
    try:
        return None if buckets is None else config.rising_bounds(buckets)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"{name}={buckets!r} are not bucket bounds", hint="give seconds from low to high, such as [0.1, 0.5, 1, 5]"
        ) from None
