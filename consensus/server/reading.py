"""What can be read: the policy, receipts, health, metrics, the API's own description."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from consensus._version import __version__
from consensus.errors import DataError, LedgerError
from consensus.ledger.feedback import queue
from consensus.policy.route import route_type
from consensus.server.endpoint import plain
from consensus.server.errors import ApiError, no_such_receipt
from consensus.server.keys import Caller
from consensus.server.service import Service

__all__ = ["health", "may_judge", "metrics", "policy", "ready", "receipt", "waiting"]


async def policy(service: Service, caller: Caller, request: Request) -> Response:
    """Show the table in force, as far as this caller may use it."""
    status = service.engine.policy_status
    table = service.table
    rows = {name: _row(service, name) for name in table.tasks if caller.may(name)}
    return plain(
        {
            "version": table.version_hash,
            "current": status.current,
            "error": status.error if caller.key is None or "*" in caller.key.types else None,
            "loaded_at": status.loaded_at,
            "reloads": status.reloads,
            "tasks": rows,
        }
    )


def _row(service: Service, name: str) -> dict[str, Any]:
    way = route_type(service.table, name)
    row, first = way.row, way.hops[0]
    certificate = row.certificate
    return {
        "kind": row.kind,
        "description": row.description,
        "owner": row.owner,
        "consequence": row.consequence,
        "strategy": first.spec.orchestrator,
        "seats": first.spec.seats,
        "models": list(first.models),
        "route": [hop.name for hop in way.hops],
        "gate": row.gate,
        "oracle": row.oracle,
        "max_usd": row.max_usd,
        "deadline_s": row.deadline_s,
        "certificate": None
        if certificate is None
        else certificate.model_dump(mode="json", exclude_none=True),
    }


async def receipt(service: Service, caller: Caller, request: Request) -> Response:
    """Show one decision's full record: to its own caller, and to who reviews its type."""
    wanted = request.path_params["receipt_id"]
    ledger = service.engine.ledger
    if ledger is None or not await may_judge(service, caller, wanted):
        raise no_such_receipt()
    found = await asyncio.to_thread(ledger.receipt, wanted)
    return plain(found.model_dump(mode="json"), receipt=found.receipt_id)


async def may_judge(service: Service, caller: Caller, receipt_id: str) -> bool:
    """Whether a caller may read and label a decision: its own, or one of a type it reviews."""
    if caller.owns(receipt_id):
        return True
    ledger = service.engine.ledger
    if caller.reviews == () or ledger is None:
        return False
    try:
        found = await asyncio.to_thread(ledger.receipt, receipt_id)
    except (DataError, LedgerError):
        return False
    return caller.may_review(found.decision.task_type)


async def waiting(service: Service, caller: Caller, request: Request) -> Response:
    """Show the decisions that wait for a person, the oldest first, of the types it reviews.

    ``?type=`` only of this type; ``?limit=`` at most so many (100; 1,000 at the most).
    """
    ledger = service.engine.ledger
    if ledger is None:
        raise ApiError(404, "no_ledger", "nothing is kept here: the engine has no ledger")
    named = request.query_params.get("type")
    if caller.reviews == () or (named is not None and not caller.may_review(named)):
        of = "no task type" if named is None else "not this task type"
        raise ApiError(403, "review_not_allowed", f"this key reviews {of}", param="type")
    limit = _limit(request)
    found = await asyncio.to_thread(queue, ledger, task_type=named or caller.reviews, limit=limit)
    return plain({"waiting": [one.to_json() for one in found], "more": len(found) == limit})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= 1000):
        raise ApiError(400, "invalid_value", "limit must lie from 1 to 1000", param="limit")
    return int(text)


async def health(service: Service, caller: Caller, request: Request) -> Response:
    """Say that the process is alive, and of several workers how many are."""
    return plain({**service.health(), "version": __version__})


async def ready(service: Service, caller: Caller, request: Request) -> Response:
    """Say whether new work is taken: 200, or 503 while the server goes down."""
    state = service.ready()
    return plain(state, status=200 if state["ready"] else 503)


async def metrics(service: Service, caller: Caller, request: Request) -> Response:
    """Show Prometheus what all callers do; a key needs ``metrics = true``."""
    if not caller.may_read_metrics():
        raise ApiError(403, "metrics_not_allowed", "this key may not read metrics")
    from prometheus_client import CONTENT_TYPE_LATEST

    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})
