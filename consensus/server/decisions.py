"""``/v1/decide`` and ``/v1/decide/stream``: a task, or many, as tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from consensus.decisions import Decision
from consensus.engine import in_order, refused
from consensus.errors import ConsensusError, DeclarationError, TaskError
from consensus.server.bodies import JSON, LINES, json_of, read_body
from consensus.server.endpoint import log_bug, plain
from consensus.server.errors import ApiError, as_api_error, no_such_receipt, refuse
from consensus.server.hangup import while_connected
from consensus.server.keys import Caller
from consensus.server.reading import may_judge
from consensus.server.repeats import AGAIN, HEADER, Named, named
from consensus.server.service import Answered, Service
from consensus.server.shapes import FeedbackBody
from consensus.server.streams import Streamed, event, line
from consensus.tasks import describe

__all__ = ["decide", "decide_stream", "feedback", "shown"]

log = logging.getLogger("consensus.server")


def shown(decision: Decision, *, index: int | None = None) -> dict[str, Any]:
    """A decision as the API shows it: the row of an output file, and what stands in no column."""
    row = decision.to_row(index=index or 0)
    if index is None:
        del row["index"]
    more = {"task_type", "kind", "tied", "calibrated", "partial", "latency_s", "strategy"}
    more |= {"route", "policy_version", "usage"}
    return {**row, **decision.model_dump(mode="json", include=more)}


async def decide(service: Service, caller: Caller, request: Request) -> Response:
    """Decide one task."""
    settings = service.settings
    data, _ = await read_body(
        request, types=JSON, max_bytes=settings.max_body_bytes, within_s=settings.body_s
    )
    given = json_of(data, max_depth=settings.max_depth)
    name = named(request.headers.get(HEADER), caller.name, request.url.path, data)
    deciding = _decide(service, caller, given, name=name)
    decision, again = await while_connected(request.receive, deciding)
    response = plain(shown(decision), receipt=decision.receipt_id)
    response.headers["x-consensus-action"] = decision.action
    if again:
        response.headers[AGAIN] = "true"
    return response


async def _decide(
    service: Service,
    caller: Caller,
    given: object,
    *,
    bounded: bool = True,
    name: Named | None = None,
) -> Answered:
    if not isinstance(given, dict):
        raise TaskError(f"a task is an object, not {type(given).__name__}")
    fields = {name: value for name, value in given.items() if name != "frontier"}
    named = fields.get("type")
    if isinstance(named, str):  # before anything is said of the row
        service.permit(caller, named)
    task = service.task_of(fields)
    frontier = service.check_frontier(given.get("frontier"))
    return await service.decide(
        caller,
        task,
        frontier=frontier,
        decision_id=caller.decision_id(),
        bounded=bounded,
        request=name,
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """One task of a stream, read when its turn comes: a line of NDJSON, or a JSON value."""

    index: int
    value: object


async def decide_stream(service: Service, caller: Caller, request: Request) -> Response:
    """Decide many tasks; a row each, in input order, each as soon as those before it are out.

    A task that cannot be asked has its row with ``error``; the others go on.
    """
    settings = service.settings
    if HEADER in request.headers:
        raise refuse(
            "an Idempotency-Key names one decision: send it to /v1/decide", param="Idempotency-Key"
        )
    data, said = await read_body(
        request,
        types=(*JSON, *LINES),
        max_bytes=settings.max_stream_bytes,
        within_s=settings.body_s,
    )
    service.check_open()
    tasks = _lines(data) if said in LINES else _listed(data, settings.max_depth)
    if len(tasks) > settings.max_tasks:
        raise ApiError(
            413, "too_many_tasks", f"a stream holds at most {settings.max_tasks:,} tasks"
        )
    sse = "text/event-stream" in request.headers.get("accept", "")
    service.gate.enter_stream()

    async def leave() -> None:
        service.gate.leave_stream()

    return Streamed(
        _pieces(service, caller, tasks, sse=sse),
        "sse" if sse else "ndjson",
        every_s=settings.heartbeat_s,
        at_end=leave,
    )


def _lines(data: bytes) -> list[object]:
    return [each for each in data.splitlines() if each.strip()]


def _listed(data: bytes, max_depth: int) -> list[object]:
    given = json_of(data, max_depth=max_depth + 2)  # the list of tasks, and the object around it
    tasks = given.get("tasks") if isinstance(given, dict) else given
    if not isinstance(tasks, list):
        raise refuse('the body must be {"tasks": [...]}, a list of tasks, or NDJSON')
    return tasks


async def _pieces(
    service: Service, caller: Caller, tasks: list[object], *, sse: bool
) -> AsyncGenerator[bytes, None]:
    async def one(given: _Given) -> dict[str, Any]:
        return await _row(service, caller, given)

    items = (_Given(index, value) for index, value in enumerate(tasks))
    async with aclosing(in_order(items, one, service.settings.per_stream)) as rows:
        async for row in rows:
            yield event(row) if sse else line(row)
    if sse:
        yield event("[DONE]")


async def _row(service: Service, caller: Caller, given: _Given) -> dict[str, Any]:
    """One task's row, whatever becomes of it."""
    value = given.value
    try:
        if isinstance(value, bytes):
            value = json_of(value, max_depth=service.settings.max_depth)
        decision, _ = await _decide(service, caller, value, bounded=False)
    except ApiError as error:
        service.metrics.refused.labels(error.code).inc()
        decision = _not_asked(value, TaskError(error.message))
    except DeclarationError as error:
        decision = _not_asked(value, error)
    except ConsensusError as error:
        log.error("a task of a stream: %s", error)
        decision = _not_asked(value, TaskError(as_api_error(error).message))
    except Exception as error:  # noqa: BLE001 - one task's bug must not lose the others' rows
        log_bug(error)
        decision = _not_asked(value, TaskError("this should not have happened; the log has it"))
    return shown(decision, index=given.index)


def _not_asked(given: object, error: DeclarationError) -> Decision:
    return refused(given if isinstance(given, Mapping) else {}, error)


async def feedback(service: Service, caller: Caller, request: Request) -> Response:
    """Keep what would have been right: of its own decisions, and of the types it reviews."""
    settings = service.settings
    data, _ = await read_body(
        request, types=JSON, max_bytes=settings.max_body_bytes, within_s=settings.body_s
    )
    try:
        given = FeedbackBody.model_validate(json_of(data, max_depth=settings.max_depth))
    except ValidationError as error:
        raise refuse(describe(error)) from None
    if not await may_judge(service, caller, given.receipt_id):
        raise no_such_receipt()
    kept = await service.engine.feedback(
        given.receipt_id,
        given.label,
        by=_who(caller, given.by),
        source=given.source,
        probability=given.probability,
    )
    return plain(kept.to_json(), receipt=kept.receipt_id)


def _who(caller: Caller, named: str | None) -> str | None:
    """Who gave a label: whom the caller names, and the key that vouches for it."""
    if caller.key is None:
        return named
    return f"key {caller.name}" if named is None else f"{named} (key {caller.name})"
