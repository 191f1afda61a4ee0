"""`PriceBook`, the price of a call: from the user's own table, else from genai-prices, else unknown."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import MAX_COUNT, Diagnostics
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._usage.extract import DATE_SUFFIX, PROVIDER_ALIASES
from toolweaver_monitor._usage.pricing import fork_import
from toolweaver_monitor._usage.pricing.genai_prices import GenaiPrices, Tariff
from toolweaver_monitor._usage.pricing.table import PricePeriod, load

DAY_S = 86_400.0
MAX_WAIT_S = 1.0
"""Seconds after the start of loading during which callers of `wait` wait for the end of it."""
MAX_MODELS = 4_096
"""Models whose tariffs are cached; a model name may come from anywhere."""

_INSTALL = "pip install 'toolweaver_monitor[prices]'"

LoadState = Literal["cold", "loading", "ready", "missing", "failed"]


class PriceBook:
    """Prices of models, from your own table and then from genai-prices. Never blocks, never uses the network.

    Args:
        prices: your own table, or the `.json` or `.toml` file that holds it: for each model dollars per million tokens
            (`input`, `output`, `cached_input`, `cache_write`) or dollars per call (`per_call`), with `provider` if they
            apply to one only; a list of those with `from` dates if they change. A call without a model is priced by the
            entry with the name of its tool, and so is one whose model is not in the table if that is a price per call.

    Raises:
        ConfigurationError: the table cannot be read or used; the message names the place and what to write instead.
    """

    def __init__(self, prices: Mapping[str, Any] | str | os.PathLike[str] | None = None) -> None:
        self._table = {} if prices is None else load(prices)
        self._file = os.fspath(prices) if isinstance(prices, (str, os.PathLike)) else None
        self._by_lower = {name.lower(): periods for name, periods in self._table.items()}
        self.tools = frozenset(
            name for name, periods in self._table.items() if all(period.rates.is_per_call_only for period in periods)
        )
        """The names with a price per call and none per token in the table, which most likely are those of tools."""
        self._tariffs: dict[tuple[str | None, ...], Tariff] = {}
        self._genai: GenaiPrices | None = None
        self._state: LoadState = "cold"
        self._load_error = ""
        self._is_requested = False
        self._wait_until_s = 0.0
        self._loader_id: int | None = None
        self.on_loaded: Callable[[], object] = lambda: None
        """Called on the loading thread once genai-prices has been loaded."""
        self._starting = locks.new_lock("starting to load prices")
        locks.after_fork_in_child_weak(self, PriceBook._reset_in_child)

    @property
    def ready(self) -> bool:
        """Whether all prices are known that ever will be: genai-prices has been loaded, or will not be."""
        return self._state not in ("cold", "loading")

    def start_loading(self) -> None:
        """Start to load genai-prices on its own thread, and return at once. May be called more than once."""
        with self._starting:
            self._is_requested = True
            if self._state != "cold":
                return
            self._state = "loading"
            self._wait_until_s = time.monotonic() + MAX_WAIT_S
            try:
                threading.Thread(target=self._load, name="toolweaver-prices", daemon=True).start()
            except RuntimeError as error:  # no more threads, or the interpreter is shutting down
                self._state, self._load_error = "failed", str(error)

    def wait(self, is_urgent: Callable[[], bool]) -> None:
        """Wait for genai-prices while it is being loaded, at most until `MAX_WAIT_S` after the start.

        Args:
            is_urgent: called every few milliseconds; True ends the wait.
        """
        while self._state == "loading" and time.monotonic() < self._wait_until_s and not is_urgent():
            time.sleep(0.002)

    def _load(self) -> None:
        self._loader_id = threading.get_ident()
        try:
            from importlib.util import find_spec  # slow to import, and needed on this thread only

            if find_spec("genai_prices") is None:
                self._state = "missing"
                return
            self._genai = GenaiPrices()
            self._tariffs = {}
            self._state = "ready"
        except BaseException as error:  # noqa: BLE001 - whatever another package raises, calls go on unpriced
            self._load_error = f"{type(error).__name__}: {error}"[:200]
            self._state = "failed"
        else:
            self.on_loaded()

    def cost_nanousd(self, call: ToolCall) -> int | None:
        """Return the cost of a call by its model and tokens in nano-dollars, or None if no price is known.

        Cached tokens are part of the input and are priced once. The sum is rounded once, half to even. Never blocks.

        Args:
            call: a call whose tokens are known.
        """
        details = call._details
        if details is None:
            return None
        at = call.started_at if call._opened_at else time.time()
        model = details.model
        tool = call.tool_name if model is None or call.tool_name in self.tools else None
        key = model, details.provider, tool, details.service_tier
        tariff = self._tariffs.get(key)
        if tariff is None or not tariff.since <= at < tariff.until:
            tariff = self._find_tariff(key, at)
        cost = tariff.cost(details)
        if cost is not None and cost > MAX_COUNT:
            Diagnostics.invalid_values += 1
            return None
        return cost

    def _find_tariff(self, key: tuple[str | None, ...], at: float) -> Tariff:
        model, provider, tier = key[0], _normalize_provider(key[1]), key[3]
        tariff, until = None, float("inf")
        for name in (model, key[2]):
            if name is not None and tariff is None:
                tariff, changes = self._find_in_table(name, provider, tier, at)
                until = min(until, changes)
        if tariff is None:
            if self._is_requested and self._state == "cold":  # a forked child
                self.start_loading()
            genai = self._genai
            if genai is None or model is None:
                tariff = Tariff(at, until if self.ready else at, ())
            else:
                tariff = genai.find_tariff(model, provider, at, tier)
                if tariff.until > until:
                    tariff = Tariff(tariff.since, until, tariff.steps, tariff.source)
        if tariff.until > at:
            if len(self._tariffs) >= MAX_MODELS:
                self._tariffs = {}
            self._tariffs[key] = tariff
        return tariff

    def _find_in_table(
        self, name: str, provider: str | None, tier: str | None, at: float
    ) -> tuple[Tariff | None, float]:
        """Return the tariff of the user's table, and the time (Unix seconds) at which its answer changes.

        A model that the table has for other service tiers only has no known price, whatever genai-prices says.
        """
        until = float("inf")
        is_of_other_tier = False
        for period in self._periods(name):
            if period.provider is not None and _normalize_provider(period.provider) != provider:
                continue
            if period.since <= at:
                if period.tier == tier or (period.tier is None and period.rates.is_per_call_only):
                    return Tariff(period.since, until, ((0, period.rates),), "table"), until
                is_of_other_tier = True
            elif period.tier == tier:
                until = period.since
        return (Tariff(at, until, ()) if is_of_other_tier else None), until

    def _periods(self, name: str) -> tuple[PricePeriod, ...]:
        """Look up the exact name, then the name in lower case, without a gateway's prefix and without its date."""
        periods = self._table.get(name)
        if periods is None and self._table:
            lower = name.lower()
            short = lower.rsplit("/", 1)[-1]
            for spelling in (lower, short, DATE_SUFFIX.sub("", lower), DATE_SUFFIX.sub("", short)):
                periods = self._by_lower.get(spelling)
                if periods is not None:
                    break
        return periods or ()

    def age_days(self) -> float | None:
        """Return the greatest possible age of genai-prices' list in days, by its newest price; None without a list."""
        genai = self._genai
        return None if genai is None or genai.newest is None else max(0.0, (time.time() - genai.newest) / DAY_S)

    def sources(self) -> list[str]:
        """Return the sources of prices as text for people, in the order in which they are looked up."""
        sources = []
        if self._table:
            where = "" if self._file is None else f" ({self._file})"
            sources.append(f"your table{where}: {pluralize(len(self._table), 'model')}")
        if self._genai is not None:
            sources.append(f"genai-prices {self._genai.version}: {pluralize(self._genai.models, 'model')}")
        return sources

    def status(self) -> dict[str, Any]:
        """Return for `health()`: `ready`, `genai_prices` (its state), `sources`, `age_days`, and `cure` if needed."""
        status: dict[str, Any] = {
            "ready": self.ready,
            "genai_prices": self._state,
            "sources": self.sources(),
            "age_days": self.age_days(),
        }
        if self._state == "missing":
            status["cure"] = _INSTALL
        elif self._state == "failed":
            status["fault"] = self._load_error
            status["cure"] = f"import genai_prices in a shell to see the error, or reinstall it: {_INSTALL}"
        return status

    def _reset_in_child(self) -> None:
        """Reset the state in a forked child, which has no loading thread, and undo that thread's partial imports."""
        if self._state == "loading":
            self._state = "cold"
            if self._loader_id is not None:
                fork_import.discard_partial_imports(self._loader_id)


def _normalize_provider(provider: str | None) -> str | None:
    if provider is None:
        return None
    return PROVIDER_ALIASES.get(provider.lower(), provider.lower())
