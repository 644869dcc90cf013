"""``/v1/chat/completions`` and ``/v1/models``: an existing client, routed by its base URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from consensus.decisions import Decision
from consensus.errors import ConsensusError
from consensus.jobs import unanswered
from consensus.server.bodies import JSON, json_of, read_body
from consensus.server.chat import answer, chunks, fields_of
from consensus.server.endpoint import plain
from consensus.server.errors import ApiError, as_api_error, refuse
from consensus.server.hangup import ended, while_connected
from consensus.server.keys import Caller
from consensus.server.repeats import AGAIN, HEADER, named
from consensus.server.service import Service
from consensus.server.shapes import ChatRequest
from consensus.server.streams import Streamed, event
from consensus.tasks import describe

__all__ = ["complete_chat", "model", "models"]

DONE = "[DONE]"


async def complete_chat(service: Service, caller: Caller, request: Request) -> Response:
    """Answer a chat completion whose model is a task type."""
    settings = service.settings
    data, _ = await read_body(
        request, types=JSON, max_bytes=settings.max_body_bytes, within_s=settings.body_s
    )
    given = json_of(data, max_depth=settings.max_depth)
    try:
        asked = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise refuse(describe(error), param=_first_field(error)) from None
    service.permit(caller, asked.model)
    if not service.knows(asked.model):
        raise _no_such_model()
    row = service.table.tasks.get(asked.model)
    made = fields_of(asked, {} if row is None else row.task_defaults())
    task = service.task_of(made.fields)
    identity = caller.decision_id()
    name = named(request.headers.get(HEADER), caller.name, request.url.path, data)
    again = False

    async def decided() -> Decision:
        nonlocal identity, again
        decision, again = await service.decide(
            caller, task, decision_id=identity, request=name, anew=unanswered
        )
        identity = decision.receipt_id or identity
        if unanswered(decision):
            why = f"no provider answered: {decision.failures[0].failure}"
            headers = _headers(decision)
            raise ApiError(502, "no_provider_answered", why, headers=headers)
        return decision

    if not asked.stream:
        decision = await while_connected(request.receive, decided())
        said = answer(decision, model=asked.model, identity=identity, ignored=made.ignored)
        response = plain(said)
        response.headers.update(_headers(decision))
        if again:
            response.headers[AGAIN] = "true"
        return response

    def pieces(decision: Decision) -> Iterable[dict[str, Any]]:
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return chunks(
            decision, model=asked.model, identity=identity, ignored=made.ignored, usage=usage
        )

    deciding = asyncio.create_task(decided())

    async def end() -> None:
        await ended(deciding)

    try:
        # A decision that comes soon has its own status and headers; a slow one begins without.
        await while_connected(request.receive, _soon(deciding, settings.heartbeat_s))
        headers = _headers(deciding.result()) if deciding.done() else {}
    except BaseException:
        await end()
        raise
    return Streamed(
        _streamed(lambda: asyncio.shield(deciding), pieces),
        "sse",
        every_s=settings.heartbeat_s,
        headers=headers,
        at_end=end,
    )


async def _soon(deciding: asyncio.Task[Decision], within_s: float) -> None:
    await asyncio.wait((deciding,), timeout=within_s)


async def _streamed(
    decided: Callable[[], Awaitable[Decision]],
    pieces: Callable[[Decision], Iterable[dict[str, Any]]],
) -> AsyncGenerator[bytes, None]:
    try:
        for piece in pieces(await decided()):
            yield event(piece)
    except ApiError as error:
        yield event(error.body())
    except ConsensusError as error:
        yield event(as_api_error(error).body())
    yield event(DONE)


def _headers(decision: Decision) -> dict[str, str]:
    headers: dict[str, str] = {"x-consensus-action": decision.action}
    if decision.receipt_id is not None:
        headers["x-consensus-receipt"] = decision.receipt_id
    return headers


def _first_field(error: ValidationError) -> str | None:
    path = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
    return str(path[0]) if path else None


def _no_such_model() -> ApiError:
    return ApiError(
        404,
        "model_not_found",
        "no such task type: the model of a request is a row of the policy (GET /v1/models)",
        param="model",
    )


async def models(service: Service, caller: Caller, request: Request) -> Response:
    """List the task types that this caller may use."""
    names = [name for name in service.table.tasks if caller.may(name)]
    return plain({"object": "list", "data": [_model(service, name) for name in names]})


async def model(service: Service, caller: Caller, request: Request) -> Response:
    """Show one task type as a model."""
    name = request.path_params["model"]
    if not (caller.may(name) and service.knows(name)):
        raise _no_such_model()
    return plain(_model(service, name))


def _model(service: Service, name: str) -> dict[str, Any]:
    row = service.table.tasks.get(name)
    return {
        "id": name,
        "object": "model",
        "created": int(service.engine.policy_status.loaded_at),
        "owned_by": (row.owner if row is not None else None) or "consensus",
    }
