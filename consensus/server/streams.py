"""Answers that come in pieces: NDJSON and server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from consensus.server.hangup import ended, while_connected

__all__ = ["Format", "Streamed", "event", "json_bytes", "line"]

Format = Literal["ndjson", "sse"]
MEDIA: Mapping[Format, str] = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}
BEAT: Mapping[Format, bytes] = {"ndjson": b"\n", "sse": b": still deciding\n\n"}
"""What keeps a silent connection alive: a blank line, a comment."""


def _compact(data: Any) -> str:
    """JSON on one line, without spaces."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(data: Any) -> bytes:
    """JSON as it is sent. A lone surrogate, which a model may write, becomes a question mark."""
    return _compact(data).encode("utf-8", "replace")


def line(data: Any) -> bytes:
    """One line of NDJSON."""
    return json_bytes(data) + b"\n"


def event(data: Any) -> bytes:
    """One server-sent event; a text goes as it is (``[DONE]``)."""
    return b"data: " + (data.encode() if isinstance(data, str) else json_bytes(data)) + b"\n\n"


class Streamed(Response):
    """A response in pieces. The work behind it ends with it, and with the client.

    Args:
        pieces: what is sent, closed at the end.
        fmt: NDJSON or server-sent events.
        every_s: seconds of silence after which a sign of life is sent.
        at_end: called when it is over, however it ends, even where it was never begun.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        fmt: Format,
        *,
        every_s: float,
        headers: Mapping[str, str] | None = None,
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(headers=headers, media_type=None)
        del self.headers["content-length"]
        self.headers["content-type"] = MEDIA[fmt]
        # Proxies that gather an answer before they pass it on would undo the streaming.
        self.headers["x-accel-buffering"] = "no"
        self._pieces, self._format, self._every_s, self._at_end = pieces, fmt, every_s, at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await while_connected(receive, self._send(send))
        finally:
            if self._at_end is not None:
                await self._at_end()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        async with aclosing(_beating(self._pieces, self._every_s, BEAT[self._format])) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _beating(
    pieces: AsyncGenerator[bytes, None], every_s: float, beat: bytes
) -> AsyncGenerator[bytes, None]:
    """The pieces, with a sign of life in every long silence between them."""
    async with aclosing(pieces):
        while True:
            coming = asyncio.create_task(_next(pieces))
            try:
                while not (await asyncio.wait((coming,), timeout=every_s))[0]:
                    yield beat
                piece = coming.result()
            finally:
                await ended(coming)
            if piece is None:
                return
            yield piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
