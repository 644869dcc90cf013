"""Anthropic's Message Batches, through its SDK.

At most 100,000 requests or 256 MB; processed within 24 hours; results for 29 days, in any order. A
batch carries nothing of ours but its items' ids, and those are told only when it has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

from consensus.errors import ProviderError
from consensus.models._http import Answer
from consensus.models.anthropic_client import AnthropicClient
from consensus.models.batch.wire import BatchState, Item, Outcome, part
from consensus.models.errors_map import provider_error
from consensus.models.protocol import Completion, Request, Turn

__all__ = ["AnthropicBatches"]

T = TypeVar("T")

_TIMEOUT_S: Final = 600.0
_SKEW: Final = timedelta(minutes=5)
"""How far the provider's clock may be behind ours."""

_STATUS: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicBatches(AnthropicClient):
    """A :class:`~consensus.models.batch.wire.BatchApi`; the same client also calls live."""

    most_items = 100_000
    most_bytes = 256_000_000
    one_model = False
    tells_marks = False

    async def item(self, custom_id: str, request: Request) -> Item:
        """A request as it is sent: the body that a live call would send, but for cache markers.

        The items of a batch run in no order and side by side: most would pay for writing a prefix
        that few of them could read.
        """
        request = replace(request, turns=tuple(map(_unmarked, request.turns)))
        body = self._body(request, self._shape(request))
        body["max_tokens"] = self._prices.output_room(request.model, request.max_output_tokens)
        line = {"custom_id": custom_id, "params": body}
        size = len(json.dumps(line, ensure_ascii=False).encode()) + 2
        return Item(custom_id, request.model, body, size)

    async def submit(self, items: Sequence[Item], mark: str) -> str:
        """Begin a batch."""
        requests: Any = [{"custom_id": i.custom_id, "params": dict(i.body)} for i in items]
        await self.prepare()
        batch = await _asked(self._client().messages.batches.create(requests=requests))
        return str(batch.id)

    async def candidates(self, mark: str, since: float, count: int) -> list[str]:
        """Batches of so many requests that were begun since then, the oldest first."""
        await self.prepare()
        after = datetime.fromtimestamp(since, UTC) - _SKEW

        async def look() -> list[str]:
            found = []
            async for batch in self._client().messages.batches.list(limit=100):
                if batch.created_at < after:
                    break  # the newest come first
                if _total(batch) == count:
                    found.append(batch.id)
            return found[::-1]

        return await _asked(look())

    async def state(self, batch_id: str) -> BatchState:
        """How far it is."""
        await self.prepare()
        batch = await _asked(self._client().messages.batches.retrieve(batch_id))
        total = _total(batch)
        ended = batch.processing_status == "ended"
        gone = "archived" if batch.archived_at is not None else None
        done = total - batch.request_counts.processing
        return BatchState(ended, total, done, gone, again=gone is not None)

    async def results(self, batch_id: str) -> dict[str, Outcome]:
        """What became of its items."""
        await self.prepare()

        async def read() -> dict[str, Outcome]:
            found = {}
            async for line in await self._client().messages.batches.results(batch_id):
                result = line.result
                kind = "answered" if result.type == "succeeded" else result.type
                data = result.model_dump(mode="json")
                found[line.custom_id] = Outcome(cast("Any", kind), batch_id, data)
            return found

        return await _asked(read())

    def read(self, request: Request, outcome: Outcome) -> Completion:
        """An item's message."""
        if outcome.kind == "answered":
            message = part(outcome.data, "message")
            response = Answer({}, json.dumps(message).encode())
            completion = self._read(request, self._shape(request), response, 0.0)
            named = message.get("id")
            return replace(completion, request_id=named if isinstance(named, str) else None)
        if outcome.kind == "errored":
            error = part(part(outcome.data, "error"), "error")
            kind = str(error.get("type"))
            raise provider_error(
                "anthropic",
                model=request.model,
                status=_STATUS.get(kind, 500),
                kinds=(kind,),
                prose=error.get("message"),
            )
        raise unfinished("anthropic", request, outcome)


def unfinished(provider: str, request: Request, outcome: Outcome) -> ProviderError:
    """An item that its batch ended without, and that nobody was paid for."""
    if outcome.kind == "canceled":
        return provider_error(
            provider,
            model=request.model,
            failure="cancelled",
            retryable=True,
            what="canceled the batch before it came to this request",
            unbilled=True,
        )
    return provider_error(
        provider,
        model=request.model,
        failure="timeout",
        retryable=True,
        what="did not come to this request within the batch's 24 hours",
        unbilled=True,
    )


def _unmarked(turn: Turn) -> Turn:
    return replace(turn, parts=tuple(replace(part, cache=False) for part in turn.parts))


def _total(batch: Any) -> int:
    counts = batch.request_counts
    done = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return int(counts.processing + done)


async def _asked(work: Awaitable[T]) -> T:
    """Whatever goes wrong with the endpoint, as one of our errors and without the request."""
    import anthropic

    error: ProviderError
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await work
    except TimeoutError:
        error = _failed("timeout", "did not answer about a batch in time")
    except anthropic.APIStatusError as caught:
        error = provider_error(
            "anthropic",
            model="anthropic/batches",
            status=caught.status_code,
            kinds=(caught.type,),
            prose=getattr(caught, "api_message", None),
            what="knows no such batch (404)" if caught.status_code == 404 else None,
            headers=caught.response.headers,
            request_id=caught.request_id,
        )
    except anthropic.APIConnectionError:
        error = _failed("connection", "closed or refused the connection")
    except anthropic.APIResponseValidationError:
        error = _failed("malformed_response", "sent what is no batch")
    except anthropic.AnthropicError:
        error = _failed("auth", "needs a key: set ANTHROPIC_API_KEY", again=False)
    except TypeError as caught:  # the SDK's way of saying that it found no credentials
        if "authentication" not in str(caught):
            raise
        error = _failed("auth", "needs a key: set ANTHROPIC_API_KEY", again=False)
    raise error


def _failed(failure: Any, what: str, *, again: bool = True) -> ProviderError:
    return provider_error(
        "anthropic",
        model="anthropic/batches",
        failure=failure,
        retryable=again,
        what=what,
        unbilled=True,
    )
