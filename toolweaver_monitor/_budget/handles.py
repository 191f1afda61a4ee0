"""The limits of a running setup, by name: `Monitor.budgets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolweaver_monitor._budget.budget import Unit, parse_count, parse_nanousd, validate_repeats
from toolweaver_monitor._budget.ledger import Ledger
from toolweaver_monitor._budget.messages import convert_amount
from toolweaver_monitor._budget.scope import Scope
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError


class BudgetHandle:
    """One limit of a running setup: how much of it is left, and a way to raise it. `Monitor.budgets` has them by name.

    Attributes:
        name: its name: that of the `Budget`, with the unit behind it if the budget has several limits.
        unit: `usd`, `tokens`, `calls` or `repeats`.
    """

    def __init__(self, name: str, unit: Unit, scope: Scope, ledger: Ledger) -> None:
        self.name = name
        self.unit: Unit = unit
        self._scope = scope
        self._ledger = ledger

    def __repr__(self) -> str:
        return f"<BudgetHandle {self.name!r}: limit {self.limit:,} {self.unit}>"

    @property
    def limit(self) -> float:
        """The amount that may be spent, in `unit`; of a budget by tag, by each account."""
        return convert_amount(self._scope.limits[self.unit], self.unit)

    def remaining(self, account: str | None = None) -> float:
        """Return the amount that is neither spent nor set aside for running calls, in `unit`; never below 0.

        Args:
            account: the value of the tag, for a budget that gives each value the whole limit.

        Raises:
            ConfigurationError: such a budget was asked without an account, or another one with one.
        """
        by_account = self._scope.tag is not None and self._scope.value is None
        if by_account and account is None:
            raise ConfigurationError(
                f"budget {self.name!r} has an account for each {self._scope.tag}", hint="give one: remaining('acme')"
            )
        if account is not None and not by_account:
            raise ConfigurationError(f"budget {self.name!r} has no accounts", hint="call remaining() without one")
        left = self._ledger.left(self._scope, self.unit, account if by_account else self._scope.value)
        return convert_amount(max(0, left), self.unit)

    def raise_to(self, limit: float) -> None:
        """Raise the limit; what is spent stays spent. Calls that wait are not told, so try them again.

        Args:
            limit: the new limit in `unit`; of a budget by tag, of each account.

        Raises:
            ConfigurationError: it is no amount, or less than the present limit.
        """
        if self.unit == "repeats":
            validate_repeats(limit)
        parse = parse_nanousd if self.unit == "usd" else parse_count
        amount = parse("limit", limit)
        if amount is None or amount < self._scope.limits[self.unit]:
            raise ConfigurationError(
                f"budget {self.name!r} cannot be raised to {limit!r}, which is less than its limit of {self.limit:,}",
                hint="give more, or start a new run with setup() for a lower limit",
            )
        self._ledger.raise_limit(self._scope, self.unit, amount)


class BudgetHandles(Mapping[str, BudgetHandle]):
    """The limits of a setup by name; empty without budgets."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._handles = {
            name: BudgetHandle(name, unit, scope, ledger)
            for scope in (ledger.scopes if ledger is not None else ())
            for unit, name in scope.budget.names.items()
            if ledger is not None
        }

    def __getitem__(self, name: str) -> BudgetHandle:
        try:
            return self._handles[name]
        except KeyError:
            close = suggest(name, tuple(self._handles)) if isinstance(name, str) else []
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self._handles) or 'none'}"
            raise KeyError(f"there is no budget {name!r}; {hint}") from None

    def __repr__(self) -> str:
        return f"<BudgetHandles: {', '.join(map(repr, self._handles)) or 'none'}>"

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)
