"""`Budget`: a limit, the calls it applies to and its window, validated when it is made."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import msgspec

from toolweaver_monitor._budget.window import Per
from toolweaver_monitor._core.sanitize import MAX_COUNT, TagValue, round_nanodollars
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import BudgetExceeded, ConfigurationError

Unit = Literal["usd", "tokens", "calls", "repeats"]
MAX_LIMIT_USD = 1_000_000_000
MAX_LIMIT_REPEATS = 1_000
NEVER = sys.maxsize
"""A sum that is never spent."""


class BudgetStatus(TypedDict):
    """The state of one limit of one account; plain values, ready for JSON. Dollars are floats.

    Attributes:
        name: the entry's name, which is unique.
        budget: the name of the `Budget`.
        account: the value of the tag that the account is for; None if the budget is not split by a tag.
        unit: `usd`, `tokens`, `calls` or `repeats`.
        per: `run`, `minute`, `hour`, `day` or `month`.
        limit: the amount that may be spent, in `unit`.
        spent: the amount spent in the window, in `unit`. Always 0 for `repeats`, which each call counts for its own.
        reserved: the amount set aside for running calls, in `unit`.
        remaining: the rest of the limit, never below 0, in `unit`.
        rejections: the number of calls rejected.
        overruns: the number of calls that `on_exceed` let run past the limit.
        unknown_cost_calls: the number of calls that ended with tokens or a model and without a known cost. Each was
            charged the budget's `reserve`, or nothing if it has none. Always 0 for a limit of tokens or calls.
        frees_in_s: seconds until there is room again; 0.0 if there is room, None if the time is unknown.
    """

    name: str
    budget: str
    account: str | None
    unit: str
    per: str
    limit: float
    spent: float
    reserved: float
    remaining: float
    rejections: int
    overruns: int
    unknown_cost_calls: int
    frees_in_s: float | None


class _SuggestKeywords(msgspec.StructMeta):
    """The metaclass of `Budget`: rejects a wrong argument and suggests the right one."""

    if not TYPE_CHECKING:  # to a type checker the arguments are the fields

        def __call__(cls, *args: Any, **fields: Any) -> Any:  # noqa: N805 - a metaclass
            if args:
                raise ConfigurationError(f"Budget({args[0]!r}) does not name what it limits", hint=_GIVE_A_LIMIT)
            for name in fields:
                if name not in cls.__struct_fields__:
                    raise ConfigurationError(
                        f"a Budget has no {name}=", hint=_suggest_keyword(name, cls.__struct_fields__)
                    )
            return super().__call__(**fields)


class Budget(msgspec.Struct, frozen=True, kw_only=True, metaclass=_SuggestKeywords):
    """A limit on what tools may spend. A call that would exceed it does not run.

    Give one limit or several; a call must fit them all. A limit of 0 is allowed and means that nothing may be spent:
    only calls that are declared as free run (and under `limit_calls=0` none).

    Args:
        limit_usd: dollars.
        limit_tokens: tokens, input and output together. The usage of a call is known when it ends (or records it), so
            a call is admitted while any room is left.
        limit_calls: calls admitted, however they end.
        limit_repeats: how often one tool may run with the same arguments inside one outermost call, however these calls
            end; outermost calls themselves within `per`. Stops agents that go round in a loop. A call is never a repeat
            if one of its arguments but `self` is not plain data: text, bytes, numbers, None, and lists, tuples and
            dicts of these.
        per: `"run"` counts from `setup()` on and never frees. `"minute"`, `"hour"` and `"day"` slide: they count the
            last 60 s, 3,600 s, 86,400 s of the monotonic clock. `"month"` is the calendar month in UTC.
        tool: count only the calls of this tool.
        tag: count only calls with this tag: `("customer", "acme")` or `"customer=acme"`. `"customer"` alone gives
            each customer the whole limit. A call without the tag belongs to the nearest call around it that has it.
        on_exceed: `"raise"` rejects the call with `BudgetExceeded`. `"warn"` lets it run and logs a warning, at most
            once a minute. A plain function receives the `BudgetExceeded` and lets the call run by returning True;
            anything else that it returns or raises rejects the call.
        reserve: dollars to set aside for a call whose cost is not known before it runs (one without `cost=`), until
            it ends. A call inside takes over the reserve of the call around it. If the reserve is at least what a call
            and those open inside it, one inside the other, cost together, the limit is never exceeded, however many
            calls run at once. Without a reserve, the calls running when the limit is reached may exceed it. A call
            whose cost stays unknown is charged the reserve.
        warn_at: the share of the limit, such as 0.9, at which a WARNING is logged and `on_warn` is called: at most once
            a window, and once a run.
        on_warn: a plain function that receives the `BudgetStatus`. It runs between calls and should be quick.
        name: the budget's name in messages, health and Prometheus. By default it is made from the limits and the scope.

    Raises:
        ConfigurationError: a value cannot be used; the hint tells what to give.
    """

    limit_usd: float | Decimal | None = None
    limit_tokens: int | None = None
    limit_calls: int | None = None
    limit_repeats: int | None = None
    per: Per = "run"
    tool: str | None = None
    tag: str | tuple[str, TagValue] | None = None
    on_exceed: Literal["raise", "warn"] | Callable[[BudgetExceeded], object] = "raise"
    reserve: float | Decimal | None = None
    warn_at: float | None = None
    on_warn: Callable[[BudgetStatus], object] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        usd = parse_nanousd("limit_usd", self.limit_usd)
        parse_count("limit_tokens", self.limit_tokens)
        parse_count("limit_calls", self.limit_calls)
        validate_repeats(self.limit_repeats)
        if not self.limits:
            raise ConfigurationError("a Budget without a limit limits nothing", hint=_GIVE_A_LIMIT)
        reserve = parse_nanousd("reserve", self.reserve)
        if reserve is not None and usd is None:
            raise ConfigurationError(
                "reserve= sets dollars aside, but this Budget does not limit dollars", hint="give limit_usd=, too"
            )
        if reserve is not None and usd is not None and reserve > usd:
            raise ConfigurationError(
                f"reserve={self.reserve!r} is more than limit_usd={self.limit_usd!r}, so no call of unknown cost could "
                "ever run",
                hint="give a smaller reserve=",
            )
        if type(self.per) is not str or self.per not in get_args(Per):
            raise ConfigurationError(
                f"per={self.per!r} is not a window", hint="give per='run', 'minute', 'hour', 'day' or 'month'"
            )
        _validate_text("tool", self.tool, "the name of a tool, for example tool='ocr'")
        _validate_text("name", self.name, "some text, for example name='daily money'")
        self.tag_key_and_value  # noqa: B018 - raises for an invalid tag
        _validate_on_exceed(self.on_exceed)
        _validate_warning(self.warn_at, self.on_warn, self.limits)

    @property
    def limits(self) -> dict[Unit, int]:
        """The limits by unit, as integers: nano-dollars, tokens, calls."""
        limits: dict[Unit, int | None] = {
            "usd": parse_nanousd("limit_usd", self.limit_usd),
            "tokens": parse_count("limit_tokens", self.limit_tokens),
            "calls": parse_count("limit_calls", self.limit_calls),
            "repeats": self.limit_repeats,
        }
        return {unit: limit for unit, limit in limits.items() if limit is not None}

    def compute_warn_level(self, limit: int) -> int:
        """Return the amount at which to warn, for a limit in its smallest unit; `NEVER` without `warn_at`."""
        if self.warn_at is None:
            return NEVER
        return max(1, math.ceil(Decimal(str(self.warn_at)) * limit))

    @property
    def reserve_nanousd(self) -> int:
        """Nano-dollars that are set aside for a call of unknown cost; 0 without a reserve."""
        return parse_nanousd("reserve", self.reserve) or 0

    @property
    def tag_key_and_value(self) -> tuple[str, str | None] | None:
        """The tag that a call must have. The value is None if each value has an account of its own."""
        tag = self.tag
        if tag is None:
            return None
        if type(tag) is str:
            key, equals, text = tag.partition("=")
            if key and (text or not equals):
                return key, text if equals else None
        elif type(tag) is tuple and len(tag) == 2:
            key, value = tag
            if type(key) is str and key and type(value) in (str, int, float, bool):
                return key, str(value)
        raise ConfigurationError(
            f"tag={tag!r} is not a tag",
            hint="give tag='customer', tag='customer=acme' or tag=('customer', 'acme')",
        )

    @property
    def names(self) -> dict[Unit, str]:
        """The name of each limit. A single limit has the budget's name."""
        label = self.label
        return {unit: label if len(self.limits) == 1 else f"{label} {unit}" for unit in self.limits}

    @property
    def label(self) -> str:
        """The name, or one made from the limits and the scope: `usd/day tool=ocr`."""
        if self.name is not None:
            return self.name
        words = ["+".join(self.limits) + "/" + self.per]
        if self.tool is not None:
            words.append(f"tool={self.tool}")
        tag = self.tag_key_and_value
        if tag is not None:
            words.append(f"by {tag[0]}" if tag[1] is None else f"{tag[0]}={tag[1]}")
        if not isinstance(self.on_exceed, str):
            words.append("ask")
        elif self.on_exceed == "warn":
            words.append("warn")
        return " ".join(words)


_FIELD_OF_WORD = {
    "limit": "limit_usd", "budget": "limit_usd", "amount": "limit_usd", "max": "limit_usd", "usd": "limit_usd",
    "cost": "limit_usd", "dollar": "limit_usd", "money": "limit_usd", "token": "limit_tokens", "call": "limit_calls",
    "request": "limit_calls", "tool": "tool", "window": "per", "minute": "per", "hour": "per", "day": "per",
    "month": "per", "period": "per", "interval": "per", "every": "per", "customer": "tag", "exceed": "on_exceed",
    "action": "on_exceed", "label": "name", "warn": "warn_at", "threshold": "warn_at", "alert": "warn_at",
    "callback": "on_warn", "repeat": "limit_repeats", "loop": "limit_repeats",
}  # fmt: skip
"""Words in other libraries' names for a field -> the field. Later words take precedence."""

_GIVE_A_LIMIT = "give limit_usd=, limit_tokens=, limit_calls= or limit_repeats="


def _suggest_keyword(name: str, fields: Sequence[str]) -> str:
    close = [field for word, field in reversed(_FIELD_OF_WORD.items()) if word in name.lower()] or suggest(name, fields)
    if close:
        return f"did you mean {close[0]}=?"
    return f"give {', '.join(f'{field}=' for field in fields[:-1])} or {fields[-1]}="


def check_clashes(budgets: Sequence[Budget]) -> None:
    """Check that no two budgets have the same name, or limit the same calls in the same way.

    Raises:
        ConfigurationError: two budgets do.
    """
    labels: set[str] = set()
    scopes: dict[object, str] = {}
    for budget in budgets:
        label = budget.label
        for unit in budget.limits:
            policy = budget.on_exceed if isinstance(budget.on_exceed, str) else id(budget.on_exceed)
            scope = (unit, budget.per, budget.tool, budget.tag_key_and_value, policy)
            if scope in scopes:
                raise ConfigurationError(
                    f"budgets {scopes[scope]!r} and {label!r} both limit {unit} per {budget.per} for the same calls",
                    hint="remove the larger one, which has no effect",
                )
            scopes[scope] = label
        for name in {label, *budget.names.values()}:
            if name in labels:
                raise ConfigurationError(f"two budgets are named {name!r}", hint="give each a name= of its own")
            labels.add(name)


def parse_nanousd(field: str, value: object) -> int | None:
    """Return dollars as nano-dollars, and None as None.

    Raises:
        ConfigurationError: they are not an amount of money.
    """
    if value is None:
        return None
    dollars = value
    if isinstance(dollars, float) and math.isfinite(dollars):
        dollars = Decimal(str(float(dollars)))  # as written: a float multiplied would be off for large sums
    elif isinstance(dollars, bool) or (isinstance(dollars, Decimal) and not dollars.is_finite()):
        dollars = None
    if isinstance(dollars, int | Decimal) and 0 <= dollars <= MAX_LIMIT_USD:
        nano = round_nanodollars(Decimal(dollars))
        if nano or not dollars:
            return nano
        raise ConfigurationError(
            f"{field}={value!r} is less than a billionth of a dollar, the unit in which money is counted",
            hint=f"give {field}=0, or a billionth of a dollar or more",
        )
    raise ConfigurationError(
        f"{field}={value!r} is not an amount of money",
        hint=f"give dollars from 0 to {MAX_LIMIT_USD:,}, such as {field}=5.00, or leave it out",
    )


def parse_count(field: str, value: object) -> int | None:
    """Return a limit of tokens or calls as an integer, and None as None.

    Raises:
        ConfigurationError: it is not a count.
    """
    if value is None:
        return None
    if (type(value) is int or (type(value) is float and value.is_integer())) and 0 <= value <= MAX_COUNT:
        return int(value)
    raise ConfigurationError(
        f"{field}={value!r} is not a count",
        hint=f"give a whole number from 0 to {MAX_COUNT:,}, for example {field}=1000, or leave it out",
    )


def validate_repeats(limit: object) -> None:
    """Check that a limit of repeats is one.

    Raises:
        ConfigurationError: it is not a number of calls.
    """
    if limit is not None and (type(limit) is not int or not 1 <= limit <= MAX_LIMIT_REPEATS):
        raise ConfigurationError(
            f"limit_repeats={limit!r} is not a number of calls", hint=f"give one from 1 to {MAX_LIMIT_REPEATS:,}"
        )


def _validate_text(field: str, text: object, wanted: str) -> None:
    if text is not None and (type(text) is not str or not text.strip() or not text.isprintable() or len(text) > 128):
        raise ConfigurationError(
            f"{field}={text!r} cannot be used", hint=f"give {wanted} (printable, at most 128 characters)"
        )


def _validate_on_exceed(on_exceed: object) -> None:
    if type(on_exceed) is str and on_exceed in ("raise", "warn"):
        return
    if isinstance(on_exceed, type) or not callable(on_exceed) or inspect.iscoroutinefunction(on_exceed):
        raise ConfigurationError(
            f"on_exceed={on_exceed!r} cannot decide about a call",
            hint="give 'raise', 'warn', or a plain function (no async one) that takes the BudgetExceeded and returns "
            "True to let the call run",
        )


def _validate_warning(warn_at: object, on_warn: object, limits: Mapping[Unit, int]) -> None:
    if warn_at is None:
        if on_warn is not None:
            raise ConfigurationError("on_warn= is never called without warn_at=", hint="give warn_at=0.9, too")
        return
    if set(limits) == {"repeats"}:
        raise ConfigurationError(
            "warn_at= needs a limit to spend", hint="give limit_usd=, limit_tokens= or limit_calls="
        )
    if type(warn_at) not in (int, float) or not 0 < warn_at <= 1:  # type: ignore[operator]
        raise ConfigurationError(
            f"warn_at={warn_at!r} is not a share of the limit", hint="give one, such as warn_at=0.9"
        )
    if on_warn is not None and (not callable(on_warn) or inspect.iscoroutinefunction(on_warn)):
        raise ConfigurationError(
            f"on_warn={on_warn!r} cannot be called with a status",
            hint="give a plain function (no async one) that takes a BudgetStatus",
        )
