"""Who spent what: the ledger's calls and decisions summed by type, route, model, owner and day.

Money is counted once, at the leaf: a call that went out is paid for under the one decision that
sent it. An answer taken from a tape stands under every decision that used it as ``replayed`` and
is paid for in none of these. So the groups of any ``by`` add up to the ledger's total to the last
pico-dollar, and :class:`Balance` says how that total meets the decisions' own costs.

The comparison with an all-frontier service is arithmetic and marked so: one frontier call a
decision, with the mean tokens of that decision's own answered calls, at today's price. Where the
frontier was really asked beside decisions, what it really cost and said stands next to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from consensus.ballots import PICO, Usage
from consensus.errors import DeclarationError
from consensus.ledger.store import Ledger
from consensus.models.protocol import BESIDE

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

__all__ = [
    "DIMENSIONS",
    "NO_OWNER",
    "NO_RECEIPT",
    "UNSERVED",
    "Balance",
    "Beside",
    "CostGroup",
    "CostReport",
    "Dimension",
    "attribute",
    "observed_days",
]

Dimension: TypeAlias = Literal["type", "route", "requested", "served", "owner", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

NO_OWNER = "(no owner)"
NO_RECEIPT = "(no receipt)"
"""The route of calls whose decision was cut short: they were paid for all the same."""
UNSERVED = "(nobody)"
"""The served model of attempts that nobody answered."""

_OF_CALLS = frozenset({"requested", "served"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Priced(Protocol):
    def cost_pico(self, usage: Usage, *, batch: bool = False) -> int: ...


@dataclass(frozen=True, slots=True)
class Beside:
    """Decisions beside which the frontier was really asked.

    Attributes:
        n: how many.
        cost_pico: what these decisions cost themselves.
        frontier_pico: what the frontier's calls beside them cost.
        compared: those on which both sides had an outcome.
        agreed: those of them on which the outcomes were the same.
    """

    n: int
    cost_pico: int
    frontier_pico: int
    compared: int
    agreed: int


@dataclass(frozen=True, slots=True)
class CostGroup:
    """One group, or the total.

    Attributes:
        key: a value for each dimension of the report, in its order.
        decisions: of this group; grouped by a model, those in which it was asked (a decision then
            counts in several groups).
        acted, escalated, abstained: how they ended. None where grouped by a model.
        escalations: decisions for which a stronger route was asked. None where grouped by a model.
        partial: decisions that a budget or deadline cut short. None where grouped by a model.
        calls: attempts that went out.
        replayed: answers taken from a tape.
        failures: attempts that failed.
        usage: tokens of the attempts that went out.
        cost_pico: what was paid, frontier calls beside decisions included.
        beside_pico: the part of ``cost_pico`` paid for calls beside decisions: the frontier's that
            a caller asked for, and shadows.
        estimated_pico: the part of ``cost_pico`` that is an estimate: of calls that were cut off
            and whose bill nobody has told, of answers without a usage or a known price.
        replayed_pico: what the replayed answers had cost where they were paid for.
        latency_p50_s, latency_p95_s: of decisions; of calls that went out where grouped by a
            model. None without any.
        frontier_pico: one frontier call a decision, by arithmetic; None where it was not asked for,
            or grouped by a model.
        compared_pico: what the decisions behind ``frontier_pico`` cost: the other side of the
            comparison, replayed answers included, since an all-frontier service is priced whole.
        beside: decisions beside which the frontier was really asked; None where grouped by a model.
    """

    key: tuple[str, ...]
    decisions: int
    acted: int | None
    escalated: int | None
    abstained: int | None
    escalations: int | None
    partial: int | None
    calls: int
    replayed: int
    failures: int
    usage: Usage
    cost_pico: int
    beside_pico: int
    estimated_pico: int
    replayed_pico: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    frontier_pico: int | None
    compared_pico: int | None
    beside: Beside | None

    @property
    def saved_pico(self) -> int | None:
        """All-frontier less what these decisions cost; negative where one call were cheaper."""
        if self.frontier_pico is None or self.compared_pico is None:
            return None
        return self.frontier_pico - self.compared_pico

    def to_json(self, by: Sequence[str]) -> dict[str, Any]:
        """As a published row: the key's parts by name, money in dollars beside the exact number."""
        beside = self.beside
        return {
            **dict(zip(by, self.key, strict=True)),
            "decisions": self.decisions,
            "acted": self.acted,
            "escalated": self.escalated,
            "abstained": self.abstained,
            "escalations": self.escalations,
            "partial": self.partial,
            "calls": self.calls,
            "replayed": self.replayed,
            "failures": self.failures,
            "usage": self.usage.model_dump(),
            "cost": _money(self.cost_pico),
            "frontier_beside": _money(self.beside_pico),
            "estimated": _money(self.estimated_pico),
            "replayed_value": _money(self.replayed_pico),
            "latency_p50_s": self.latency_p50_s,
            "latency_p95_s": self.latency_p95_s,
            "all_frontier": None if self.frontier_pico is None else _money(self.frontier_pico),
            "compared": None if self.compared_pico is None else _money(self.compared_pico),
            "saved": None if self.saved_pico is None else _money(self.saved_pico),
            "frontier_really_asked": None
            if beside is None
            else {
                "decisions": beside.n,
                "cost": _money(beside.cost_pico),
                "frontier_cost": _money(beside.frontier_pico),
                "compared": beside.compared,
                "agreed": beside.agreed,
            },
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """How what was paid meets what the decisions say they cost, over one stretch of time.

    ``decisions + beside + unfinished == paid + replayed``, to the pico-dollar, where no decision
    straddles an end of the stretch; ``open_pico`` is the rest, and 0 over the whole ledger.
    """

    paid_pico: int
    replayed_pico: int
    decisions_pico: int
    beside_pico: int
    unfinished_pico: int

    @property
    def open_pico(self) -> int:
        """Paid and replayed, less what decisions, frontiers and unfinished work account for."""
        owed = self.decisions_pico + self.beside_pico + self.unfinished_pico
        return self.paid_pico + self.replayed_pico - owed


@dataclass(frozen=True, slots=True)
class CostReport:
    """The ledger's sums by some dimensions.

    Attributes:
        by: the dimensions, in the order of each group's key.
        since, until: seconds since 1970, UTC; from ``since`` on, before ``until``.
        frontier: the model of the all-frontier arithmetic.
        groups: dearest first; by day, in time's order.
        total: everything once.
        balance: how the total meets the decisions' own costs.
    """

    by: tuple[Dimension, ...]
    since: float | None
    until: float | None
    frontier: str | None
    groups: tuple[CostGroup, ...]
    total: CostGroup
    balance: Balance
    types: tuple[CostGroup, ...] = field(default=())

    @property
    def saved_pico(self) -> int | None:
        """Over the task types whose decisions cost less than all-frontier would: by how much."""
        return self._sum_of(1)

    @property
    def could_save_pico(self) -> int | None:
        """Over the task types for which one frontier call were cheaper: by how much."""
        return self._sum_of(-1)

    def _sum_of(self, sign: int) -> int | None:
        known = [one.saved_pico for one in self.types if one.saved_pico is not None]
        return sum(max(0, sign * value) for value in known) if known else None

    def to_json(self) -> dict[str, Any]:
        """One document; money in dollars beside the exact number of pico-dollars."""
        saved, could = self.saved_pico, self.could_save_pico
        balance = self.balance
        return {
            "by": list(self.by),
            "since": _moment(self.since),
            "until": _moment(self.until),
            "groups": [group.to_json(self.by) for group in self.groups],
            "total": self.total.to_json(()),
            "all_frontier": None
            if self.frontier is None
            else {
                "model": self.frontier,
                "basis": "arithmetic: one call a decision with the mean tokens of its own answered "
                "calls, uncached, at today's price",
                "saved": None if saved is None else _money(saved),
                "could_save": None if could is None else _money(could),
            },
            "balance": {
                name: _money(getattr(balance, f"{name}_pico"))
                for name in ("paid", "replayed", "decisions", "beside", "unfinished", "open")
            },
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Heads and rows of a flat table, for CSV: the groups, without the total."""
        heads = (
            *self.by, "decisions", "acted", "escalated", "abstained", "escalations", "partial",
            "calls", "replayed", "failures",
            *(f"{name}_tokens" for name in Usage.model_fields),
            "cost_usd", "cost_pico", "frontier_beside_usd", "estimated_usd",
            "latency_p50_s", "latency_p95_s",
            "all_frontier_usd_arithmetic", "saved_usd_arithmetic",
        )  # fmt: skip
        rows = [
            (
                *one.key, one.decisions, one.acted, one.escalated, one.abstained, one.escalations,
                one.partial, one.calls, one.replayed, one.failures,
                *(getattr(one.usage, name) for name in Usage.model_fields),
                one.cost_pico / PICO, one.cost_pico, one.beside_pico / PICO,
                one.estimated_pico / PICO, one.latency_p50_s, one.latency_p95_s,
                None if one.frontier_pico is None else one.frontier_pico / PICO,
                None if one.saved_pico is None else one.saved_pico / PICO,
            )
            for one in self.groups
        ]  # fmt: skip
        return heads, rows


def attribute(
    ledger: Ledger,
    *,
    by: Sequence[Dimension] = ("type",),
    since: float | None = None,
    until: float | None = None,
    owners: Mapping[str, str | None] | None = None,
    frontier: tuple[str, _Priced] | None = None,
) -> CostReport:
    """Sum a ledger up.

    Money and calls fall on the moment the call began, decisions on the moment they were kept.

    Args:
        ledger: an open ledger.
        by: what to group by, each once.
        since: from this time on, in seconds since 1970, UTC.
        until: before this time.
        owners: task type → who answers for it; the policy's rows know.
        frontier: the model of the all-frontier arithmetic and its price.

    Raises:
        DeclarationError: an unknown dimension, one given twice, or none.
        LedgerError: the ledger cannot be read.
    """
    dims = _checked(by)
    span = (since, until)
    names = owners or {}
    price = None if frontier is None else frontier[1]

    def gather(connection: Connection) -> CostReport:
        types = _gather(connection, ("type",), span, names, price)
        groups = types if dims == ("type",) else _gather(connection, dims, span, names, price)
        in_time = dims[0] == "day"
        ordered = sorted(
            groups.items(), key=lambda item: item[0] if in_time else (-item[1].cost, item[0])
        )
        whole = _Sums()
        for sums in types.values():
            whole.add(sums)
        total = whole.group(())
        return CostReport(
            by=dims,
            since=since,
            until=until,
            frontier=None if frontier is None else frontier[0],
            groups=tuple(sums.group(key) for key, sums in ordered),
            total=total,
            balance=_balance(connection, span, total),
            types=tuple(sums.group(key) for key, sums in sorted(types.items())),
        )

    return ledger.read(gather)


def observed_days(ledger: Ledger, *, since: float | None = None, until: float | None = None) -> int:
    """Whole days between the first and the last decision, both counted; 0 without decisions."""
    from sqlalchemy import func, select

    from consensus.ledger.schema import decisions as d

    query = _within(select(func.min(d.c.day), func.max(d.c.day)), d.c.created_at, (since, until))
    first, last = ledger.read(lambda connection: connection.execute(query).one())
    return 0 if first is None else int(last) - int(first) + 1


def _checked(by: Sequence[str]) -> tuple[Dimension, ...]:
    unknown = [name for name in by if name not in DIMENSIONS]
    if unknown or not by:
        raise DeclarationError(
            f'cannot group by "{unknown[0]}"' if unknown else "nothing to group by",
            where="--by",
            fix=f"some of {', '.join(DIMENSIONS)}",
        )
    if len(set(by)) < len(by):
        raise DeclarationError("names a dimension twice", where="--by")
    return tuple(name for name in by if name in DIMENSIONS)


@dataclass(slots=True)
class _Sums:
    """What is added up for one group."""

    decisions: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    replayed: int = 0
    failures: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: int = 0
    beside_cost: int = 0
    estimated_cost: int = 0
    replayed_cost: int = 0
    latencies: list[float] = field(default_factory=list)
    frontier: int | None = None
    compared: int | None = None
    beside: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    of_calls: bool = False

    def add(self, other: _Sums) -> None:
        """Put another group, none of whose decisions is here, into this one."""
        for name in (
            "decisions", "calls", "replayed", "failures",
            "cost", "beside_cost", "estimated_cost", "replayed_cost",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.usage += other.usage
        self.latencies += other.latencies
        for name, number in other.ends.items():
            self.ends[name] = self.ends.get(name, 0) + number
        if other.frontier is not None and other.compared is not None:
            self.frontier = (self.frontier or 0) + other.frontier
            self.compared = (self.compared or 0) + other.compared
        self.beside = [a + b for a, b in zip(self.beside, other.beside, strict=True)]

    def group(self, key: tuple[str, ...]) -> CostGroup:
        self.latencies.sort()
        end: Callable[[str], int | None] = lambda name: (  # noqa: E731
            None if self.of_calls else self.ends.get(name, 0)
        )
        return CostGroup(
            key=key,
            decisions=self.decisions,
            acted=end("act"),
            escalated=end("escalate"),
            abstained=end("abstain"),
            escalations=end("escalations"),
            partial=end("partial"),
            calls=self.calls,
            replayed=self.replayed,
            failures=self.failures,
            usage=self.usage,
            cost_pico=self.cost,
            beside_pico=self.beside_cost,
            estimated_pico=self.estimated_cost,
            replayed_pico=self.replayed_cost,
            latency_p50_s=_percentile(self.latencies, 0.5),
            latency_p95_s=_percentile(self.latencies, 0.95),
            frontier_pico=self.frontier,
            compared_pico=self.compared,
            beside=None if self.of_calls else Beside(*self.beside),
        )


def _gather(
    connection: Connection,
    dims: tuple[Dimension, ...],
    span: tuple[float | None, float | None],
    owners: Mapping[str, str | None],
    price: _Priced | None,
) -> dict[tuple[str, ...], _Sums]:
    """Every group's sums. What no index can tell apart (owners) is folded here."""
    found: dict[tuple[str, ...], _Sums] = {}
    of_calls = bool(_OF_CALLS & set(dims))

    def sums(row: Any) -> _Sums:
        key = tuple(_shown(name, row, owners) for name in dims)
        if key not in found:
            found[key] = _Sums(of_calls=of_calls)
        return found[key]

    for row in connection.execute(_calls_query(dims, span)).mappings():
        mine = sums(row)
        mine.calls += int(row["calls"])
        mine.replayed += int(row["replayed"])
        mine.failures += int(row["failed"])
        mine.usage += Usage(**{name: int(row[name]) for name in Usage.model_fields})
        mine.cost += int(row["cost_pico"])
        mine.beside_cost += int(row["beside_pico"])
        mine.estimated_cost += int(row["estimated_pico"])
        mine.replayed_cost += int(row["replayed_pico"])
        if of_calls:
            mine.decisions += int(row["decisions"])
    stream = connection.execution_options(yield_per=5_000)
    if of_calls:
        for row in stream.execute(_call_latencies(dims, span)).mappings():
            sums(row).latencies.append(row["latency_s"])
        return found
    for row in stream.execute(_decisions_query(dims, span)).mappings():
        _add_decision(sums(row), row, price)
    return found


def _add_decision(mine: _Sums, row: Any, price: _Priced | None) -> None:
    mine.decisions += 1
    mine.latencies.append(row["latency_s"])
    for name, counts in (
        (row["action"], True),
        ("escalations", row["hops"] > 1),
        ("partial", row["partial"]),
    ):
        if counts:
            mine.ends[name] = mine.ends.get(name, 0) + 1
    if row["frontier_cost_pico"] is not None:
        agrees = row["frontier_agrees"]
        seen = (1, row["cost_pico"], row["frontier_cost_pico"], agrees is not None, bool(agrees))
        mine.beside = [old + int(new) for old, new in zip(mine.beside, seen, strict=True)]
    if price is not None and row["mean_input"] is not None:
        usage = Usage(input=round(row["mean_input"]), output=round(row["mean_output"]))
        mine.frontier = (mine.frontier or 0) + price.cost_pico(usage)
        mine.compared = (mine.compared or 0) + int(row["cost_pico"])


def _calls_query(
    dims: tuple[Dimension, ...], span: tuple[float | None, float | None]
) -> Select[Any]:
    from sqlalchemy import and_, case, func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    went_out = c.c.replayed.is_(False)

    def total(value: Any, condition: Any = went_out) -> Any:
        return func.coalesce(func.sum(case((condition, value), else_=0)), 0)

    columns = _columns(dims, of_calls=True)
    # Telling decisions apart is dear, and only wanted where rows of decisions do not count them.
    by_model = bool(_OF_CALLS & set(dims))
    asked = [func.count(c.c.decision_id.distinct()).label("decisions")] if by_model else []
    query = select(
        *columns,
        *asked,
        total(1).label("calls"),
        total(1, c.c.replayed.is_(True)).label("replayed"),
        total(1, and_(went_out, c.c.failure.is_not(None))).label("failed"),
        *(total(c.c[f"{name}_tokens"]).label(name) for name in Usage.model_fields),
        total(c.c.cost_pico).label("cost_pico"),
        total(c.c.cost_pico, and_(went_out, c.c.purpose.in_(BESIDE))).label("beside_pico"),
        total(c.c.cost_pico, and_(went_out, c.c.price_basis.startswith("estimated"))).label(
            "estimated_pico"
        ),
        total(c.c.cost_pico, c.c.replayed.is_(True)).label("replayed_pico"),
    )
    if "route" in dims:
        query = query.select_from(c.outerjoin(d, c.c.decision_id == d.c.receipt_id))
    return _within(query, c.c.started_at, span).group_by(*columns)


def _call_latencies(
    dims: tuple[Dimension, ...], span: tuple[float | None, float | None]
) -> Select[Any]:
    from sqlalchemy import select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    query = select(*_columns(dims, of_calls=True), c.c.latency_s).where(c.c.replayed.is_(False))
    if "route" in dims:
        query = query.select_from(c.outerjoin(d, c.c.decision_id == d.c.receipt_id))
    return _within(query, c.c.started_at, span)


def _decisions_query(
    dims: tuple[Dimension, ...], span: tuple[float | None, float | None]
) -> Select[Any]:
    from sqlalchemy import and_, func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    prompt = (
        c.c.input_tokens + c.c.cache_read_tokens + c.c.cache_write_tokens
        + c.c.cache_write_1h_tokens
    )  # fmt: skip
    calls = (
        select(
            c.c.decision_id,
            func.avg(prompt).label("mean_input"),
            func.avg(c.c.output_tokens).label("mean_output"),
        )
        .where(and_(c.c.purpose == "ballot", c.c.failure.is_(None)))
        .group_by(c.c.decision_id)
    )
    if span != (None, None):
        # Only these decisions' calls: a week of a long ledger must not read all of it.
        calls = calls.join_from(c, d, c.c.decision_id == d.c.receipt_id)
        calls = _within(calls, d.c.created_at, span)
    answered = calls.subquery()
    query = select(
        *_columns(dims, of_calls=False),
        *(
            d.c[name]
            for name in (
                "action", "hops", "partial", "cost_pico", "latency_s", "frontier_cost_pico",
                "frontier_agrees",
            )
        ),
        answered.c.mean_input,
        answered.c.mean_output,
    ).select_from(d.outerjoin(answered, d.c.receipt_id == answered.c.decision_id))  # fmt: skip
    return _within(query, d.c.created_at, span)


def _columns(dims: Iterable[Dimension], *, of_calls: bool) -> list[ColumnElement[Any]]:
    from sqlalchemy import func

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    table = c if of_calls else d
    known: dict[str, ColumnElement[Any]] = {
        "type": table.c.task_type,
        "owner": table.c.task_type,
        "route": d.c.route,
        "day": table.c.day,
        "requested": c.c.requested_model,
        "served": func.coalesce(c.c.served_model, UNSERVED),
    }
    return [known[name].label(f"by_{name}") for name in dims]


def _shown(name: Dimension, row: Any, owners: Mapping[str, str | None]) -> str:
    value = row[f"by_{name}"]
    if name == "owner":
        return owners.get(value) or NO_OWNER
    if name == "route":
        return NO_RECEIPT if value is None else " → ".join(json.loads(value))
    if name == "day":
        return (_EPOCH + timedelta(days=int(value))).date().isoformat()
    return str(value)


def _within(
    query: Select[Any], column: ColumnElement[Any], span: tuple[float | None, float | None]
) -> Select[Any]:
    since, until = span
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)


def _balance(
    connection: Connection, span: tuple[float | None, float | None], total: CostGroup
) -> Balance:
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    def one(query: Select[Any], column: ColumnElement[Any]) -> int:
        return int(connection.scalar(_within(query, column, span)) or 0)

    kept = select(d.c.receipt_id).where(d.c.receipt_id == c.c.decision_id)
    shadows = select(func.sum(c.c.cost_pico)).where(c.c.purpose == "shadow", kept.exists())
    return Balance(
        paid_pico=total.cost_pico,
        replayed_pico=total.replayed_pico,
        decisions_pico=one(select(func.sum(d.c.cost_pico)), d.c.created_at),
        beside_pico=one(select(func.sum(d.c.frontier_cost_pico)), d.c.created_at)
        + one(shadows, c.c.started_at),
        unfinished_pico=one(select(func.sum(c.c.cost_pico)).where(~kept.exists()), c.c.started_at),
    )


def _percentile(ordered: Sequence[float], part: float) -> float | None:
    """Nearest rank: a value that really occurred."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)] if ordered else None


def _money(pico: int) -> dict[str, float | int]:
    return {"usd": pico / PICO, "pico_usd": pico}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
