"""Read several stores as one, such as those of several machines. Sums add up exactly; runs are numbered on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from toolweaver_monitor._store.reader import Order, StoredCall, StoredSums, StoreReader


class SeveralStores(StoreReader):
    """Several stores that are open for reading.

    `seq` numbers rows within their store, and `last_seq()` is 0.

    Args:
        paths: the files.

    Raises:
        SinkUnavailable: one of them cannot be read; the hint is the cure.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        with ExitStack() as opened:
            self._stores: list[StoreReader] = [opened.enter_context(StoreReader(path)) for path in paths]
            self._opened = opened.pop_all()
        self.path = Path(" + ".join(store.path.name for store in self.stores))

    def close(self) -> None:
        """Close the stores."""
        self._opened.close()

    @property
    def stores(self) -> list[StoreReader]:
        """The stores, in the order in which they were given."""
        return self._stores

    def reopen(self) -> StoreReader:
        """Open the same files again."""
        return SeveralStores([store.path for store in self.stores])

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds in each store."""
        for store in self.stores:
            yield from store.rows(query, parameters)

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs of all stores, store by store; see `StoreReader.runs`."""
        found = [run for store in self.stores for run in store.runs()]
        return [run | {"run": number} for number, run in enumerate(found, 1)]

    def last_seq(self) -> int:
        """Return 0: the stores number their rows on their own."""
        return 0

    def paths(self) -> dict[int, tuple[int, str]]:
        """Return the paths of all stores; see `StoreReader.paths`."""
        return {
            self._number(series, at): (self._number(parent, at), name)
            for at, store in enumerate(self.stores)
            for series, (parent, name) in store.paths().items()
        }

    def _names(self, kind: str) -> list[str]:
        return sorted({name for store in self.stores for name in store._names(kind)})

    def _number(self, series: int, at: int) -> int:
        """Return a number for a series that no other store has; 0 stays 0."""
        return series * len(self.stores) + at if series else 0

    def _chosen(self, run: int | None) -> Iterator[tuple[int, StoreReader, dict[int, int], int | None]]:
        """Yield the place, the store, the numbers of its runs among all, and which of them is meant."""
        before = 0
        for at, store in enumerate(self.stores):
            numbers = {each["run"]: before + number for number, each in enumerate(store.runs(), 1)}
            before += len(numbers)
            wanted = next((own for own, number in numbers.items() if number == run), None)
            if run is None or wanted is not None:
                yield at, store, numbers, wanted

    def sums(self, by: str = "tool", *, run: int | None = None, **chosen: Any) -> list[StoredSums]:
        """Return the sums of all stores, one after the other; add up those of one name. See `StoreReader.sums`."""
        self._group(by)  # raises if it is unknown to all
        found = []
        for at, store, numbers, own in self._chosen(run):
            if by.startswith("tag:") and by.removeprefix("tag:") not in store.tags():
                continue
            for sums in store.sums(by, run=own, **chosen):
                if by == "run":
                    sums.name = str(numbers[int(sums.name)])
                if sums.series is not None:
                    sums.series = self._number(sums.series, at)
                    sums.parent = self._number(sums.parent or 0, at)
                found.append(sums)
        return found

    def calls(
        self,
        *,
        run: int | None = None,
        path: int | None = None,
        order: Order = "newest",
        limit: int | None = 100,
        **chosen: Any,
    ) -> list[StoredCall]:
        """Return single calls of all stores, the newest by the time at which they ended; see `StoreReader.calls`."""
        count = len(self.stores)
        found = []
        for at, store, numbers, own in self._chosen(run):
            if path is not None and path % count != at:
                continue
            of_path = None if path is None else path // count
            for call in store.calls(run=own, path=of_path, order=order, limit=limit, **chosen):
                call.run = numbers[call.run]
                found.append(call)
        found.sort(key=_KEYS[order])
        return found[:limit]

    def trace(self, root: int) -> list[StoredCall]:
        """Return all calls under one outermost call; see `StoreReader.trace`."""
        return sorted([call for store in self.stores for call in store.trace(root)], key=lambda call: call.started_at)


def _ended_at(call: StoredCall) -> float:
    return call.started_at + call.duration_s


_KEYS = {
    "newest": lambda call: -_ended_at(call),
    "oldest": _ended_at,
    "slowest": lambda call: -call.duration_s,
    "most_expensive": lambda call: -1.0 if call.cost_usd is None else -call.cost_usd - 2.0,
}
