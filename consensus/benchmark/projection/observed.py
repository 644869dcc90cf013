"""Traffic and routes as the ledger saw them: a projection without an audit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus.ballots import PICO
from consensus.benchmark.projection.measurement import (
    FrontierCost,
    Leg,
    Measurement,
    seat_legs,
)
from consensus.benchmark.projection.tariff import Tokens
from consensus.benchmark.projection.traffic import Flow
from consensus.errors import DataError
from consensus.ledger.attribution import observed_days
from consensus.models.protocol import BESIDE
from consensus.policy.route import Route, route_type
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from consensus.ledger.store import Ledger

__all__ = ["Observed", "observe"]

MONTH_DAYS = 30

MOST = 5_000
"""Decisions a task type that are resampled one by one; of more, mean and deviation say as much."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Traffic and measurements of one stretch of the ledger.

    Attributes:
        flows: a task type each, scaled to 30 days.
        measurements: by task type.
        days: whole days from the first decision to the last.
        decisions: how many.
    """

    flows: tuple[Flow, ...]
    measurements: dict[str, Measurement]
    days: int
    decisions: int

    @property
    def words(self) -> str:
        """Where the traffic comes from."""
        days = "day" if self.days == 1 else "days"
        return f"{self.decisions:,} decisions of {self.days} {days} in the ledger, as 30 days"


@dataclass(slots=True)
class _Seen:
    costs: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    frontier: list[float] = field(default_factory=list)
    escalations: int = 0
    retries: int = 0
    graders: int = 0
    calls: dict[tuple[str, bool], list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0.0] * 5)
    )


def observe(
    ledger: Ledger, table: PolicyTable, *, since: float | None = None, until: float | None = None
) -> Observed:
    """What the ledger saw of each task type.

    Replayed answers count as if they were paid: production would pay for them. A decision that
    went through more than one hop escalated; a call belongs to an escalation if its model has no
    seat in the route's first hop.

    Raises:
        DataError: the ledger holds no decision of that time.
        LedgerError: it cannot be read.
        PolicyError: a route cannot be followed.
    """
    days = observed_days(ledger, since=since, until=until)
    if not days:
        raise DataError("holds no decision of that time", where=ledger.where)
    span = (since, until)
    firsts: dict[str, set[str]] = {}

    def gather(connection: Connection) -> dict[str, _Seen]:
        seen: dict[str, _Seen] = defaultdict(_Seen)
        stream = connection.execution_options(yield_per=5_000)
        for row in stream.execute(_decisions(span)).mappings():
            mine = seen[row["task_type"]]
            mine.costs.append(row["cost_pico"] / PICO)
            mine.latencies.append(row["latency_s"])
            mine.escalations += row["hops"] > 1
            if row["frontier_cost_pico"] is not None:
                mine.frontier.append(row["frontier_cost_pico"] / PICO)
        for row in connection.execute(_calls(span)).mappings():
            name = row["task_type"]
            if name not in firsts:
                firsts[name] = set(route_type(table, name).hops[0].models)
            _add_calls(seen[name], row, firsts[name])
        return seen

    seen = ledger.read(gather)
    flows, measurements = [], {}
    for name, mine in sorted(seen.items()):
        way = route_type(table, name)
        row = table.tasks.get(name)
        flows.append(
            Flow(
                task_type=name,
                group=way.row.tier or way.hops[0].name,
                owner=(row.owner or "") if row else "",
                monthly=len(mine.costs) * MONTH_DAYS / days,
            )
        )
        measurements[name] = _measured(mine, way)
    return Observed(tuple(flows), measurements, days, sum(len(one.costs) for one in seen.values()))


def _add_calls(mine: _Seen, row: Any, first: set[str]) -> None:
    purpose, cost = row["purpose"], int(row["cost_pico"])
    if purpose == "grade":
        mine.graders += cost
    elif purpose == "repair" or row["failed"]:
        mine.retries += cost
    else:
        escalation = row["requested_model"] not in first
        model = row["served_model"] or row["requested_model"]
        sums = mine.calls[model, escalation]
        for i, name in enumerate(("calls", "prompt", "cached", "output", "reasoning")):
            sums[i] += int(row[name])


def _measured(mine: _Seen, way: Route) -> Measurement:
    n = len(mine.costs)
    legs = []
    for (model, escalation), (calls, prompt, cached, output, reasoning) in mine.calls.items():
        of = mine.escalations if escalation else n
        tokens = Tokens(prompt - cached, cached, output - reasoning, reasoning)
        legs.append(Leg(model, calls / max(1, of), tokens * (1 / calls), escalation))
    if len(way.hops) > 1 and not any(leg.escalation for leg in legs):
        # Nothing escalated yet: what it would cost is the next hop's seats at the usual length.
        usual = Measurement("ledger", n, tuple(legs)).call_tokens
        legs += seat_legs(way.hops[1], way.hops[1].seats, usual, escalation=True)
    frontier = None
    if mine.frontier:
        frontier = FrontierCost(float(np.mean(mine.frontier)), len(mine.frontier))
    p50, p95 = np.quantile(mine.latencies, [0.5, 0.95])
    costs = np.array(mine.costs)
    return Measurement(
        source="ledger",
        n=n,
        legs=tuple(legs),
        usd=float(costs.mean()),
        usd_sd=float(costs.std()),
        costs=costs if n <= MOST else None,
        escalations=mine.escalations,
        retries_usd=mine.retries / PICO / n,
        graders_usd=mine.graders / PICO / n,
        latency_p50_s=float(p50),
        latency_p95_s=float(p95),
        frontier=frontier,
    )


def _decisions(span: tuple[float | None, float | None]) -> Select[Any]:
    from sqlalchemy import select

    from consensus.ledger.schema import decisions as d

    names = ("task_type", "cost_pico", "latency_s", "hops", "frontier_cost_pico")
    return _within(select(*(d.c[name] for name in names)), d.c.created_at, span)


def _calls(span: tuple[float | None, float | None]) -> Select[Any]:
    """Calls of the decisions of that time, frontier calls beside them left out."""
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    failed = case((c.c.failure.is_not(None), 1), else_=0).label("failed")
    keys = (c.c.task_type, c.c.requested_model, c.c.served_model, c.c.purpose, failed)
    prompt = (
        c.c.input_tokens + c.c.cache_read_tokens + c.c.cache_write_tokens
        + c.c.cache_write_1h_tokens
    )  # fmt: skip
    query = (
        select(
            *keys,
            func.count().label("calls"),
            func.sum(prompt).label("prompt"),
            func.sum(c.c.cache_read_tokens).label("cached"),
            func.sum(c.c.output_tokens).label("output"),
            func.sum(c.c.reasoning_tokens).label("reasoning"),
            func.sum(c.c.cost_pico).label("cost_pico"),
        )
        .join_from(c, d, c.c.decision_id == d.c.receipt_id)
        .where(c.c.purpose.not_in(BESIDE))
    )
    return _within(query, d.c.created_at, span).group_by(*keys)


def _within(
    query: Select[Any], column: Any, span: tuple[float | None, float | None]
) -> Select[Any]:
    since, until = span
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)
