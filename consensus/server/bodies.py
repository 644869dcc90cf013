"""Reading a request's body: its type, its size while it arrives, its depth, then JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from consensus.server.errors import ApiError, refuse
from consensus.server.hangup import HungUp

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["JSON", "LINES", "json_of", "read_body"]

DISCARD_S = 2.0
DISCARD_BYTES = 64_000_000

JSON = ("application/json",)
LINES = ("application/x-ndjson", "application/jsonl", "application/ndjson")


async def read_body(
    request: Request, *, types: Iterable[str], max_bytes: int, within_s: float
) -> tuple[bytes, str]:
    """The body and its content type; nothing is parsed, and no more than the limit is kept.

    Raises:
        ApiError: 415 another content type or a compressed body, 413 too large, 408 too slow.
        HungUp: the client went away before it was sent.
    """
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in (known := tuple(types)):
        raise ApiError(415, "unsupported_media_type", f"content-type must be {' or '.join(known)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "unsupported_media_type", "a compressed body is not taken")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        await _discard(request)
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(within_s):
            return await _collect(request, max_bytes), said
    except TimeoutError:
        raise ApiError(
            408, "too_slow", f"the body did not arrive within {within_s:g} s", headers=_CLOSE
        ) from None


async def _collect(request: Request, max_bytes: int) -> bytes:
    data = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        data += message.get("body", b"")
        if len(data) > max_bytes:
            if message.get("more_body", False):
                await _discard(request)
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return bytes(data)


async def _discard(request: Request) -> None:
    """Let the rest of a body go by, within bounds.

    A connection that is closed under a client that is still sending is reset, and the client never
    reads why.
    """
    seen = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while seen < DISCARD_BYTES:
                message = await request.receive()
                if not message.get("more_body", False):  # its end, or the client's
                    return
                seen += len(message.get("body", b""))


# What is still to come of such a body is not read: the connection cannot be used again.
_CLOSE = {"connection": "close"}


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413, "too_large", f"the body holds more than {max_bytes:,} bytes", headers=_CLOSE
    )


def json_of(data: bytes, *, max_depth: int) -> Any:
    """A body as JSON.

    Raises:
        ApiError: it is not UTF-8, not JSON, or nested too deeply; never quoting it.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise refuse(f"the body is not UTF-8 (byte {error.start})", code="not_json") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise refuse(f"the body is not JSON: {error.msg} ({where})", code="not_json") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError as error:
        raise refuse(f"the body is not JSON: {error}", code="not_json") from None
    if _deeper(value, max_depth):
        raise _too_deep(max_depth)
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def _too_deep(max_depth: int) -> ApiError:
    return refuse(f"the body is nested more than {max_depth} deep", code="too_deep")


def _deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for each in level
            for child in (
                each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            )
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
