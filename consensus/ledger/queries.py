"""What a ledger can be asked: its decisions in a list, and its sums.

Sums of money are added up in whole pico-dollars; nothing is rounded before it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO, Usage
from consensus.ledger.store import Ledger

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

__all__ = ["DecisionSummary", "ModelStats", "TypeStats", "list_decisions", "type_stats"]


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """One decision in a list; no judged text. ``created_at`` is seconds since 1970, UTC.

    ``outcome`` is None too where it is itself judged text (a ranking, a generated text).
    """

    receipt_id: str
    created_at: float
    task_type: str
    kind: str
    task_id: str | None
    action: str
    outcome: Any
    probability: float | None
    agreement: float
    ballots: int
    failures: int
    route: tuple[str, ...]
    cost_pico: int
    latency_s: float
    policy_version: str

    def to_json(self) -> dict[str, Any]:
        """As a published row: money in dollars."""
        data = asdict(self)
        data["cost"] = {"usd": data.pop("cost_pico") / PICO}
        return data


@dataclass(frozen=True, slots=True)
class ModelStats:
    """One served model within a task type. Calls that nobody served stand under the asked model.

    ``calls``, tokens, cost and latency are of attempts that went out; answers that came from a tape
    are counted apart, in ``replayed``. ``failures`` are attempts that ended in one.
    ``frontier_calls`` are those beside a panel, whose cost is part of ``cost_pico`` here and of no
    decision's. ``latency_s`` is the mean.
    """

    served_model: str
    decisions: int
    calls: int
    replayed: int
    failures: int
    frontier_calls: int
    usage: Usage
    cost_pico: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class TypeStats:
    """One task type: its decisions, and its calls by served model.

    ``escalations`` are decisions for which a stronger route was asked; ``escalated`` those that
    ended as ``escalate``. ``cost_pico`` is that of the decisions, frontier calls apart.
    """

    task_type: str
    decisions: int
    acted: int
    escalated: int
    abstained: int
    escalations: int
    partial: int
    cost_pico: int
    models: tuple[ModelStats, ...]

    def to_json(self) -> dict[str, Any]:
        """As a published row: money in dollars."""
        data = asdict(self)
        data["cost"] = {"usd": data.pop("cost_pico") / PICO}
        for model, stats in zip(data["models"], self.models, strict=True):
            model["usage"] = stats.usage.model_dump()
            model["cost"] = {"usd": model.pop("cost_pico") / PICO}
        return data


def several(names: str | Collection[str]) -> tuple[str, ...]:
    """One name or many as many."""
    return (names,) if isinstance(names, str) else tuple(names)


def list_decisions(
    ledger: Ledger,
    *,
    task_type: str | Collection[str] | None = None,
    action: str | None = None,
    since: float | None = None,
    limit: int | None = 50,
) -> tuple[DecisionSummary, ...]:
    """The latest decisions first.

    Args:
        task_type: only of this type, or of these.
        action: only with this action.
        since: only from this time on, in seconds since 1970.
        limit: at most this many; None for all.
    """
    from sqlalchemy import select

    from consensus.ledger.schema import decisions as d

    names = [name for name in DecisionSummary.__dataclass_fields__ if name in d.c]
    query: Select[Any] = select(*(d.c[name] for name in names))
    if task_type is not None:
        query = query.where(d.c.task_type.in_(several(task_type)))
    if action is not None:
        query = query.where(d.c.action == action)
    if since is not None:
        query = query.where(d.c.created_at >= since)
    query = query.order_by(d.c.created_at.desc(), d.c.receipt_id.desc()).limit(limit)
    rows = ledger.read(lambda connection: connection.execute(query).mappings().all())
    return tuple(
        DecisionSummary(
            **{
                **row,
                "outcome": None if row["outcome"] is None else json.loads(row["outcome"]),
                "route": tuple(json.loads(row["route"])),
            }
        )
        for row in rows
    )


def type_stats(ledger: Ledger, *, since: float | None = None) -> tuple[TypeStats, ...]:
    """Sums by task type and served model, types and models in alphabetical order.

    ``since`` counts whole days, UTC: the day that this time falls on is included.
    """
    first_day = None if since is None else int(since // 86_400)

    def query(connection: Connection) -> tuple[TypeStats, ...]:
        models: dict[str, list[ModelStats]] = {}
        for row in connection.execute(_by_model(first_day)).mappings():
            models.setdefault(row["task_type"], []).append(_model_stats(row))
        decided = {
            row["task_type"]: row for row in connection.execute(_by_type(first_day)).mappings()
        }
        return tuple(
            _type_stats(name, decided.get(name, {}), models.get(name, ()))
            for name in sorted(decided.keys() | models.keys())
        )

    return ledger.read(query)


def _by_model(first_day: int | None) -> Select[Any]:
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import calls as c

    model = func.coalesce(c.c.served_model, c.c.requested_model).label("model")
    went_out = c.c.replayed.is_(False)

    def total(value: Any) -> Any:
        return func.sum(case((went_out, value), else_=0))

    query = select(
        c.c.task_type,
        model,
        func.count(c.c.decision_id.distinct()).label("decisions"),
        total(1).label("calls"),
        func.sum(case((went_out, 0), else_=1)).label("replayed"),
        func.count(c.c.failure).label("failures"),
        total(case((c.c.purpose == "frontier", 1), else_=0)).label("frontier_calls"),
        *(total(c.c[f"{name}_tokens"]).label(name) for name in Usage.model_fields),
        total(c.c.cost_pico).label("cost_pico"),
        func.coalesce(func.avg(case((went_out, c.c.latency_s))), 0.0).label("latency_s"),
    )
    if first_day is not None:
        query = query.where(c.c.day >= first_day)
    return query.group_by(c.c.task_type, model).order_by(c.c.task_type, model)


def _by_type(first_day: int | None) -> Select[Any]:
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import decisions as d

    query = select(
        d.c.task_type,
        func.count().label("decisions"),
        *(
            func.sum(case((d.c.action == action, 1), else_=0)).label(action)
            for action in ("act", "escalate", "abstain")
        ),
        func.sum(case((d.c.hops > 1, 1), else_=0)).label("escalations"),
        func.sum(case((d.c.partial, 1), else_=0)).label("partial"),
        func.sum(d.c.cost_pico).label("cost_pico"),
    )
    if first_day is not None:
        query = query.where(d.c.day >= first_day)
    return query.group_by(d.c.task_type)


def _model_stats(row: Any) -> ModelStats:
    return ModelStats(
        served_model=row["model"],
        decisions=row["decisions"],
        calls=int(row["calls"]),
        replayed=int(row["replayed"]),
        failures=row["failures"],
        frontier_calls=int(row["frontier_calls"]),
        usage=Usage(**{name: int(row[name]) for name in Usage.model_fields}),
        cost_pico=int(row["cost_pico"]),
        latency_s=row["latency_s"],
    )


def _type_stats(name: str, row: Any, models: Sequence[ModelStats]) -> TypeStats:
    return TypeStats(
        task_type=name,
        decisions=row.get("decisions", 0),
        acted=int(row.get("act", 0)),
        escalated=int(row.get("escalate", 0)),
        abstained=int(row.get("abstain", 0)),
        escalations=int(row.get("escalations", 0)),
        partial=int(row.get("partial", 0)),
        cost_pico=int(row.get("cost_pico", 0)),
        models=tuple(models),
    )
