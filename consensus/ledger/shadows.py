"""What a stronger route said beside decisions, after their callers had the answer.

A row's ``shadow`` share is drawn by a hash of the decision's id, so by nothing that has to do with
its content: every shadow is kept with the chance that it had, and what was drawn and not answered
(dropped under load, cut off when the engine was closed, failed) is kept as such and not left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from consensus.ballots import PICO, Answer
from consensus.ledger.rows import SECONDS_A_DAY, TEXTUAL
from consensus.tasks import Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger

__all__ = ["Shadow", "ShadowStatus", "keep_shadow", "shadow_of", "shadow_outcomes"]

ShadowStatus = Literal["answered", "undecided", "failed", "dropped", "cancelled"]
"""``undecided``: the stronger route came to no outcome. ``dropped``: too many were waiting.
``cancelled``: the engine was closed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A stronger route beside one decision.

    Attributes:
        route: the tier, strategy or model that the row names.
        inclusion: the chance that this decision had to be drawn.
        outcome: what the route said; None without an outcome, and in lists of texts and rankings.
        agrees: whether that is what was acted upon; None where either side has no outcome.
        cost_pico: of every call of it, in pico-dollars; no part of the decision's own cost.
        latency_s: from the first call to the outcome.
        reason: why there is no outcome.
        created_at: when it was kept, in seconds since 1970.
    """

    receipt_id: str
    task_type: str
    route: str
    inclusion: float
    status: ShadowStatus
    outcome: Answer | None = None
    agrees: bool | None = None
    served_models: tuple[str, ...] = ()
    cost_pico: int = 0
    latency_s: float = 0.0
    reason: str | None = None
    policy_version: str = ""
    created_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As a published row: money in dollars."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["cost"] = {"usd": data.pop("cost_pico") / PICO}
        return data


def keep_shadow(
    ledger: Ledger, shadow: Shadow, *, kind: Kind, created_at: float | None = None
) -> Shadow:
    """Keep a shadow, with the cost and the models of its calls as the ledger has them; blocks.

    Raises:
        LedgerError: it could not be kept, or there is one for this decision already.
    """
    from sqlalchemy import func, insert, select, update

    from consensus.ledger.schema import calls, shadows

    at = time.time() if created_at is None else created_at
    own = (calls.c.decision_id == shadow.receipt_id, calls.c.purpose == "shadow")

    def write(connection: Connection) -> tuple[int, tuple[str, ...]]:
        cost = connection.scalar(select(func.sum(calls.c.cost_pico)).where(*own)) or 0
        answered = select(calls.c.served_model).where(*own, calls.c.served_model.is_not(None))
        models = tuple(sorted(set(connection.scalars(answered))))
        shown = shadow.outcome is not None and kind not in TEXTUAL
        connection.execute(
            insert(shadows).values(
                receipt_id=shadow.receipt_id,
                task_type=shadow.task_type,
                route=shadow.route,
                inclusion=shadow.inclusion,
                status=shadow.status,
                outcome=json.dumps(shadow.outcome) if shown else None,
                agrees=shadow.agrees,
                served_models=json.dumps(models),
                cost_pico=int(cost),
                latency_s=shadow.latency_s,
                reason=shadow.reason,
                policy_version=shadow.policy_version,
                created_at=at,
                day=int(at // SECONDS_A_DAY),
            )
        )
        if not ledger.store_text:
            connection.execute(update(calls).where(*own).values(completion=None))
        return int(cost), models

    cost, models = ledger.work(write)
    return replace(shadow, cost_pico=cost, served_models=models, created_at=at)


def shadow_of(ledger: Ledger, receipt_id: str) -> Shadow | None:
    """The shadow beside one decision; None where it was not drawn, or is still under way."""
    found = _find(ledger, receipt_id=receipt_id)
    return found[0] if found else None


def shadow_outcomes(
    ledger: Ledger, task_type: str | None = None, since: float | None = None
) -> tuple[Shadow, ...]:
    """Shadows in the order in which they were kept.

    Args:
        task_type: only of this type.
        since: only those kept at this time or later, in seconds since 1970.
    """
    return _find(ledger, task_type=task_type, since=since)


def _find(
    ledger: Ledger,
    *,
    receipt_id: str | None = None,
    task_type: str | None = None,
    since: float | None = None,
) -> tuple[Shadow, ...]:
    from sqlalchemy import select

    from consensus.ledger.schema import shadows as s

    query = select(*(s.c[name] for name in Shadow.__dataclass_fields__))
    if receipt_id is not None:
        query = query.where(s.c.receipt_id == receipt_id)
    if task_type is not None:
        query = query.where(s.c.task_type == task_type)
    if since is not None:
        query = query.where(s.c.created_at >= since)
    query = query.order_by(s.c.created_at, s.c.receipt_id)
    rows: Sequence[Any] = ledger.read(lambda connection: connection.execute(query).mappings().all())
    return tuple(
        Shadow(
            **{
                **row,
                "outcome": None if row["outcome"] is None else json.loads(row["outcome"]),
                "served_models": tuple(json.loads(row["served_models"])),
            }
        )
        for row in rows
    )
