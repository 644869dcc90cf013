"""The application: every route in one table."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from consensus.server import chat_routes, decisions, reading
from consensus.server.endpoint import Endpoint, Frame, Spec, http_error, plain
from consensus.server.keys import Caller
from consensus.server.openapi import openapi
from consensus.server.page.route import show_page
from consensus.server.service import Service
from consensus.server.settings import is_loopback
from consensus.server.shapes import (
    ChatAnswer,
    ChatRequest,
    DecisionRow,
    FeedbackBody,
    KeptLabel,
    ManyTasks,
    Model,
    ModelList,
    PolicyReport,
    QueueList,
    Ready,
    ReceiptBody,
    TaskBody,
)

__all__ = ["ROUTES", "build_app"]


async def describe_api(service: Service, caller: Caller, request: Request) -> Response:
    """Show this API's OpenAPI document."""
    return plain(openapi(ROUTES))


ROUTES: tuple[Spec, ...] = (
    Spec(
        method="POST", path="/v1/decide", handle=decisions.decide,
        summary="Decide one task", request=TaskBody,
        responses={200: ("the decision", DecisionRow)},
    ),
    Spec(
        method="POST", path="/v1/decide/stream", handle=decisions.decide_stream,
        summary="Decide many tasks, a row each in input order (NDJSON; SSE where asked for)",
        request=ManyTasks, responses={200: ("a decision a line", "application/x-ndjson")},
    ),
    Spec(
        method="POST", path="/v1/chat/completions", handle=chat_routes.complete_chat,
        summary="OpenAI's chat completion; the model is a task type", request=ChatRequest,
        responses={200: ("the outcome as an answer", ChatAnswer)}, tag="openai",
    ),
    Spec(
        method="GET", path="/v1/models", handle=chat_routes.models,
        summary="The task types that this key may use",
        responses={200: ("task types", ModelList)}, tag="openai",
    ),
    Spec(
        method="GET", path="/v1/models/{model}", handle=chat_routes.model,
        summary="One task type", responses={200: ("a task type", Model)}, tag="openai",
    ),
    Spec(
        method="POST", path="/v1/feedback", handle=decisions.feedback,
        summary="Say what would have been right in place of a decision", request=FeedbackBody,
        responses={200: ("the label as it is kept", KeptLabel)},
    ),
    Spec(
        method="GET", path="/v1/queue", handle=reading.waiting,
        summary="What waits for a person, of the types that this key reviews",
        responses={200: ("decisions without a label", QueueList)}, tag="reading",
    ),
    Spec(
        method="GET", path="/v1/policy", handle=reading.policy,
        summary="The table in force", responses={200: ("the table", PolicyReport)}, tag="reading",
    ),
    Spec(
        method="GET", path="/v1/receipts/{receipt_id}", handle=reading.receipt,
        summary="One decision's full record", responses={200: ("the receipt", ReceiptBody)},
        tag="reading",
    ),
    Spec(
        method="GET", path="/metrics", handle=reading.metrics,
        summary="Prometheus metrics", responses={200: ("metrics", "text/plain")}, tag="operation",
    ),
    Spec(
        method="GET", path="/", handle=show_page, summary="A page to look at, for a browser",
        responses={200: ("the page", "text/html"), 401: ("one that asks for a key", "text/html")},
        public=True, tag="operation",
    ),
    Spec(
        method="GET", path="/health", handle=reading.health, summary="Whether the process is alive",
        responses={200: ("alive", "application/json")}, public=True, tag="operation",
    ),
    Spec(
        method="GET", path="/ready", handle=reading.ready, summary="Whether new work is taken",
        responses={200: ("yes", Ready), 503: ("no", Ready)}, public=True, tag="operation",
    ),
    Spec(
        method="GET", path="/openapi.json", handle=describe_api, summary="This document",
        responses={200: ("OpenAPI 3.1", "application/json")}, public=True, tag="operation",
    ),
)  # fmt: skip


def build_app(service: Service) -> ASGIApp:
    """The ASGI application of a service.

    Its engine is opened and closed by whoever made it (``async with Engine(...)``), in the event
    loop that serves.
    """
    router = Router(
        [
            Route(spec.path, Endpoint(spec, service), methods=[spec.method], name=spec.path)
            for spec in ROUTES
        ],
        redirect_slashes=False,
    )
    # Not Starlette(): its outermost layer answers a bug itself, and the server logs its message.
    app = ExceptionMiddleware(router, handlers={HTTPException: http_error})
    open_here = service.keys is None and is_loopback(service.settings.host)
    return Frame(app, service, loopback_only=open_here)
