"""What does a call cost? The user's own table first, then genai-prices, else nobody knows."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import MAX_COUNT, Diagnostics
from toolweaver_monitor._usage.extract import PROVIDERS
from toolweaver_monitor._usage.pricing import fork_import
from toolweaver_monitor._usage.pricing.genai_prices import GenaiPrices, Tariff
from toolweaver_monitor._usage.pricing.table import Entry, load

DAY_S = 86_400.0
PATIENCE_S = 1.0
"""How long after the start of loading anyone waits for it."""
MAX_MODELS = 4_096
"""Models whose prices are kept; a name may come from anywhere."""

_DATED = re.compile(r"[-@:](\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
_CURE = "pip install 'toolweaver_monitor[prices]'"

State = Literal["off", "cold", "loading", "ready", "missing", "failed"]


class PriceBook:
    """Prices of models, from your own table and then from genai-prices. Never waits, never goes to the network.

    Args:
        prices: your own table, or the `.json` or `.toml` file that holds it: for each model dollars per million tokens
            (`input`, `output`, `cached_input`, `cache_write`) or dollars a call (`per_call`), with `provider` if they
            hold for one only; a list of those with `from` dates where they change. A call without a model is priced by
            the entry that has its tool's name.
        genai: ask genai-prices for the models that the table has not, if it is installed.

    Raises:
        ConfigurationError: the table cannot be read or used; it says where, and what to write instead.
    """

    def __init__(self, prices: Mapping[str, Any] | str | os.PathLike[str] | None = None, *, genai: bool = True) -> None:
        self._table = {} if prices is None else load(prices)
        self._file = os.fspath(prices) if isinstance(prices, (str, os.PathLike)) else None
        self._by_lower = {name.lower(): entries for name, entries in self._table.items()}
        self._tariffs: dict[tuple[str | None, ...], Tariff] = {}
        self._genai: GenaiPrices | None = None
        self._state: State = "cold" if genai else "off"
        self._fault = ""
        self._requested = False
        self._patient_until = 0.0
        self._loader: int | None = None
        self._starting = locks.new_lock("starting to load prices")
        locks.after_fork_in_child_weak(self, PriceBook._in_child)

    @property
    def tools(self) -> frozenset[str]:
        """The names that the table gives a price by the call and none by the token: of tools, most likely."""
        return frozenset(name for name, spans in self._table.items() if all(one.rates.only_per_call for one in spans))

    @property
    def ready(self) -> bool:
        """Whether every price that will be known is known by now: genai-prices is there, or will never be."""
        return self._state not in ("cold", "loading")

    def start_loading(self) -> None:
        """Start to load genai-prices on a thread of its own, and return at once. Twice is fine."""
        with self._starting:
            self._requested = True
            if self._state != "cold":
                return
            self._state = "loading"
            self._patient_until = time.monotonic() + PATIENCE_S
            try:
                threading.Thread(target=self._load, name="toolweaver-prices", daemon=True).start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending
                self._state, self._fault = "failed", str(error)

    def wait(self, hurried: Callable[[], bool]) -> None:
        """Wait until genai-prices is loaded, if it is being loaded, but no longer than anyone should.

        Args:
            hurried: asked again and again; True ends the waiting.
        """
        while self._state == "loading" and time.monotonic() < self._patient_until and not hurried():
            time.sleep(0.002)

    def _load(self) -> None:
        self._loader = threading.get_ident()
        try:
            from importlib.util import find_spec  # slow, and on this thread only

            if find_spec("genai_prices") is None:
                self._state = "missing"
                return
            self._genai = GenaiPrices()
            self._tariffs = {}
            self._state = "ready"
        except BaseException as error:  # noqa: BLE001 - whatever it is of a package of others, calls go on unpriced
            self._fault = f"{type(error).__name__}: {error}"[:200]
            self._state = "failed"

    def cost_nanousd(self, call: ToolCall) -> int | None:
        """What a call costs by its model and tokens, in nano-dollars; None where no price is known.

        Cached tokens are a part of input and are priced once. Rounded half to even, once. Never waits.

        Args:
            call: a call whose tokens are known.
        """
        details = call._details
        if details is None:
            return None
        at = call.started_at if call._opened_at else time.time()
        model = details.model
        key = (model, details.provider) if model is not None else (None, details.provider, call.tool_name)
        tariff = self._tariffs.get(key)
        if tariff is None or not tariff.since <= at < tariff.until:
            tariff = self._find(key, at)
        cost = tariff.cost(details)
        if cost is not None and cost > MAX_COUNT:
            Diagnostics.invalid_values += 1
            return None
        return cost

    def _find(self, key: tuple[str | None, ...], at: float) -> Tariff:
        model, provider = key[0], key[1]
        if provider is not None:
            provider = PROVIDERS.get(provider.lower(), provider.lower())
        name = model if model is not None else key[2]
        tariff, until = self._in_table(name or "", provider, at)
        if tariff is None:
            if self._requested and self._state == "cold":  # a forked child
                self.start_loading()
            genai = self._genai
            if genai is None or model is None:
                tariff = Tariff(at, until if self.ready else at, ())
            else:
                tariff = genai.tariff(model, provider, at)
                if tariff.until > until:
                    tariff = Tariff(tariff.since, until, tariff.steps, tariff.source)
        if tariff.until > at:
            if len(self._tariffs) >= MAX_MODELS:
                self._tariffs = {}
            self._tariffs[key] = tariff
        return tariff

    def _in_table(self, name: str, provider: str | None, at: float) -> tuple[Tariff | None, float]:
        """What the user's table says, and the moment at which it will say something else."""
        until = float("inf")
        for entry in self._entries(name):
            if entry.provider is not None and PROVIDERS.get(entry.provider.lower(), entry.provider.lower()) != provider:
                continue
            if entry.since <= at:
                return Tariff(entry.since, until, ((0, entry.rates),), "table"), until
            until = entry.since
        return None, until

    def _entries(self, name: str) -> tuple[Entry, ...]:
        """By the name as it stands, else in small letters, without a gateway's prefix, without its date."""
        found = self._table.get(name)
        if found is None and self._table:
            lower = name.lower()
            short = lower.rsplit("/", 1)[-1]
            for spelling in (lower, short, _DATED.sub("", lower), _DATED.sub("", short)):
                found = self._by_lower.get(spelling)
                if found is not None:
                    break
        return found or ()

    def age_days(self) -> float | None:
        """At most how many days old genai-prices' list is, by its newest price; None where there is no list."""
        genai = self._genai
        return None if genai is None or genai.newest is None else max(0.0, (time.time() - genai.newest) / DAY_S)

    def sources(self) -> list[str]:
        """Where prices come from, the first that has one winning, for people to read."""
        found = []
        if self._table:
            where = "" if self._file is None else f" ({self._file})"
            found.append(f"your table{where}: {len(self._table)} models")
        if self._genai is not None:
            found.append(f"genai-prices {self._genai.version}: {self._genai.models} models")
        return found

    def status(self) -> dict[str, Any]:
        """For `health()`: `ready`, `genai_prices` (its state), `sources`, `age_days`, and a `cure` if one is needed."""
        status: dict[str, Any] = {
            "ready": self.ready,
            "genai_prices": self._state,
            "sources": self.sources(),
            "age_days": self.age_days(),
        }
        if self._state == "missing":
            status["cure"] = _CURE
        elif self._state == "failed":
            status["fault"], status["cure"] = self._fault, f"import genai_prices in a shell; else {_CURE} again"
        return status

    def _in_child(self) -> None:
        """The thread that was loading is not in the child: what it had half imported is forgotten, and loaded anew."""
        if self._state == "loading":
            self._state = "cold"
            if self._loader is not None:
                fork_import.forget(self._loader)
