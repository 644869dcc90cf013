"""A route, and what stands around each: who asks, errors in one shape, headers, the access log."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consensus.errors import ConsensusError
from consensus.server.errors import ApiError, as_api_error
from consensus.server.hangup import HungUp
from consensus.server.keys import Caller
from consensus.server.service import Service
from consensus.server.settings import is_loopback
from consensus.server.streams import json_bytes

__all__ = [
    "Access",
    "Endpoint",
    "Frame",
    "Handler",
    "Spec",
    "error_response",
    "http_error",
    "log_bug",
    "plain",
]

Handler: TypeAlias = Callable[[Service, Caller, Request], Awaitable[Response]]

HUNG_UP = 499
"""What the access log says of a client that went away; nobody receives it."""

access_log = logging.getLogger("consensus.server.access")
log = logging.getLogger("consensus.server")


@dataclass(slots=True)
class Access:
    """What the access log tells of a request, beside status and time. No text of the caller's."""

    route: str = "-"
    caller: str = "-"
    receipt: str = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A route as the OpenAPI document describes it, and the function behind it.

    Attributes:
        request: the body's model; None: no body.
        responses: status → (description, model or media type).
        public: answered without a key.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    request: type[BaseModel] | None = None
    responses: dict[int, tuple[str, type[BaseModel] | str]] = field(default_factory=dict)
    public: bool = False
    tag: str = "decisions"


class Endpoint:
    """One route as an ASGI application: authentication, then the handler, then its response."""

    def __init__(self, spec: Spec, service: Service) -> None:
        self.spec, self._service = spec, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        access: Access = scope["access"]
        access.route = self.spec.path
        request = Request(scope, receive)
        try:
            caller = Caller(None)
            if not self.spec.public:
                caller = self._service.caller(_token(request))
                access.caller = caller.name
            response = await self.spec.handle(self._service, caller, request)
        except ApiError as error:
            self._service.metrics.refused.labels(error.code).inc()
            response = error_response(error)
        except ConsensusError as error:
            as_error = as_api_error(error)
            self._service.metrics.refused.labels(as_error.code).inc()
            if as_error.status >= 500:
                log.error("%s %s: %s", self.spec.method, self.spec.path, error)
            response = error_response(as_error)
        access.receipt = response.headers.get("x-consensus-receipt", "-")
        await response(scope, receive, send)


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key")


def error_response(error: ApiError) -> Response:
    """An error as it is sent."""
    response = plain(error.body(), status=error.status)
    response.headers.update(error.headers)
    return response


def http_error(_request: Request, error: Exception) -> Response:
    """The router's own: no such path, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    said = HTTPStatus(error.status_code).phrase
    return error_response(ApiError(error.status_code, code, said, headers=error.headers))


class Frame:
    """Around the whole application: security headers, the access log, the last line of defence.

    Args:
        loopback_only: answer only requests that name a loopback host. A page in a browser can
            point a name of its own at 127.0.0.1 and would otherwise be taken for this machine's
            user.
    """

    HEADERS = {  # noqa: RUF012 - never changed
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
    }

    def __init__(self, app: ASGIApp, service: Service, *, loopback_only: bool) -> None:
        self._app, self._service, self._loopback_only = app, service, loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = scope["access"] = Access()
        scope["app"] = self  # the router then raises for an unknown path, and does not answer
        began = time.perf_counter()
        status = 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self.HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if self._loopback_only and not _names_loopback(scope):
                refusal = ApiError(
                    421, "wrong_host", "without keys only requests to localhost are answered"
                )
                await error_response(refusal)(scope, receive, framed)
            else:
                await self._app(scope, receive, framed)
        except HungUp:
            status = HUNG_UP
        except Exception as error:  # noqa: BLE001 - one bug must not end the server, or be silent
            log_bug(error)
            if status == 0:
                bug = ApiError(500, "internal", "this should not have happened; the log has it")
                await error_response(bug)(scope, receive, framed)
        finally:
            seconds = time.perf_counter() - began
            method = _known_method(scope)
            self._service.metrics.requests.labels(access.route, method, str(status)).inc()
            self._service.metrics.seconds.labels(access.route).observe(seconds)
            access_log.info(
                "%s %s %d %.0f ms key=%s receipt=%s",
                method, access.route, status, seconds * 1000, access.caller, access.receipt,
            )  # fmt: skip


def log_bug(error: Exception) -> None:
    """Say where an unexpected exception came from; its message could hold judged text."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("bug: %s\n%s", type(error).__name__, frames)


def _known_method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"} else "other"


def _names_loopback(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    host = hosts[0]
    name = host[: host.index("]") + 1] if "]" in host else host.partition(":")[0]
    return is_loopback(name.lower())


def plain(data: Any, *, status: int = 200, receipt: str | None = None) -> Response:
    """A body of JSON."""
    headers = {} if receipt is None else {"x-consensus-receipt": receipt}
    return Response(json_bytes(data), status, headers, media_type="application/json")
