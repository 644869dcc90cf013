"""OpenAI's batches of chat completions, through its SDK: a file in, a batch, two files out.

At most 50,000 requests or 200 MB, all for one model; processed within 24 hours, as far as the
account's queue of tokens allows. A batch carries metadata, so it is known again by our mark.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from consensus.errors import ProviderError
from consensus.models.batch.anthropic import unfinished
from consensus.models.batch.wire import BatchState, Item, Outcome, part
from consensus.models.errors_map import KINDS, provider_error
from consensus.models.litellm_client import LiteLLMClient, completion_of, import_litellm
from consensus.models.protocol import Completion, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIBatches"]

T = TypeVar("T")

MARK: Final = "consensus_mark"
"""The key of our mark in a batch's metadata."""

_ENDPOINT: Final = "/v1/chat/completions"
_TIMEOUT_S: Final = 600.0
_SKEW_S: Final = 300.0
_ENDED: Final = frozenset({"completed", "expired", "cancelled", "failed"})
_LATER: Final = frozenset({"token_limit_exceeded", "server_error"})
"""Why a batch that was refused may be accepted when others have ended."""

_NOT_SENT: Final = frozenset(
    {"client", "drop_params", "max_retries", "no-log", "num_retries", "timeout", "model"}
)


class OpenAIBatches(LiteLLMClient):
    """A :class:`~consensus.models.batch.wire.BatchApi`; the same client also calls live."""

    most_items = 50_000
    most_bytes = 200_000_000
    one_model = True
    tells_marks = True

    _batching: AsyncOpenAI | None = None

    async def item(self, custom_id: str, request: Request) -> Item:
        """A request as it is sent: the parameters that litellm would send."""
        await import_litellm()
        from litellm.utils import get_optional_params

        arguments = self._arguments(request)
        name = request.model.removeprefix("openai/")
        given = {k: v for k, v in arguments.items() if k not in _NOT_SENT}
        messages = given.pop("messages")
        found = get_optional_params(
            model=name, custom_llm_provider="openai", drop_params=True, **given
        )
        extra = found.pop("extra_body", None) or {}
        found.pop("stream", None)
        body = {"model": name, "messages": messages, **found, **extra}
        return Item(custom_id, request.model, body, len(_line(custom_id, body)))

    async def submit(self, items: Sequence[Item], mark: str) -> str:
        """Upload the requests, then begin a batch of them."""
        client = self._batch_client()
        content = b"".join(_line(item.custom_id, item.body) for item in items)

        async def begin() -> str:
            file = await client.files.create(file=(f"{mark}.jsonl", content), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id,
                endpoint=_ENDPOINT,
                completion_window="24h",
                metadata={MARK: mark},
            )
            return batch.id

        return await _asked(begin())

    async def candidates(self, mark: str, since: float, count: int) -> list[str]:
        """The batch that carries this mark, if there is one."""
        client = self._batch_client()

        async def look() -> list[str]:
            async for batch in client.batches.list(limit=100):
                if batch.created_at < since - _SKEW_S:
                    break  # the newest come first
                if (batch.metadata or {}).get(MARK) == mark:
                    return [batch.id]
            return []

        return await _asked(look())

    async def state(self, batch_id: str) -> BatchState:
        """How far it is."""
        batch = await _asked(self._batch_client().batches.retrieve(batch_id))
        counts = batch.request_counts
        total, done = (0, 0) if counts is None else (counts.total, counts.completed + counts.failed)
        failed = None
        if batch.status == "failed":
            codes = [error.code for error in (batch.errors and batch.errors.data) or ()]
            known = [code for code in codes if code in KINDS | _LATER]
            failed = str(known[0]) if known else "validation failed"
        return BatchState(batch.status in _ENDED, total, done, failed, failed in _LATER)

    async def results(self, batch_id: str) -> dict[str, Outcome]:
        """What became of its items: from the file of answers and the file of errors."""
        client = self._batch_client()

        async def read() -> dict[str, Outcome]:
            batch = await client.batches.retrieve(batch_id)
            stopped = batch.status == "cancelled"
            found: dict[str, Outcome] = {}
            for name in (batch.error_file_id, batch.output_file_id):
                if name is not None:
                    content = (await client.files.content(name)).content
                    found |= dict(_outcomes(content, batch_id, canceled=stopped))
            return found

        return await _asked(read())

    def read(self, request: Request, outcome: Outcome) -> Completion:
        """An item's completion."""
        response = part(outcome.data, "response")
        body = part(response, "body")
        if outcome.kind == "answered" and body:
            return completion_of(request, body, headers={})
        if outcome.kind in {"answered", "errored"}:
            error = part(body, "error") or part(outcome.data, "error")
            status = response.get("status_code")
            raise provider_error(
                "openai",
                model=request.model,
                status=status if isinstance(status, int) else 500,
                kinds=(error.get("code"), error.get("type")),
                prose=error.get("message"),
                request_id=response.get("request_id"),
            )
        raise unfinished("openai", request, outcome)

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._batching = self._batching, None
        if client is not None:
            await client.close()
        await super().aclose()

    def _batch_client(self) -> AsyncOpenAI:
        """The SDK over its own transport: ours cannot upload files."""
        if self._batching is None:
            import openai

            other = self._openai_client()
            self._batching = openai.AsyncOpenAI(
                api_key=other.api_key, base_url=other.base_url, max_retries=0, timeout=_TIMEOUT_S
            )
        return self._batching


def _line(custom_id: str, body: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": body}
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _outcomes(content: bytes, batch_id: str, *, canceled: bool) -> Iterable[tuple[str, Outcome]]:
    for raw in content.splitlines():
        try:
            line = json.loads(raw)
            custom_id = str(line["custom_id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # its item is one that the batch ended without
        response, code = part(line, "response"), part(line, "error").get("code")
        if response.get("status_code") == 200:
            yield custom_id, Outcome("answered", batch_id, line)
        elif code == "batch_expired":
            yield custom_id, Outcome("expired", batch_id, line)
        elif code == "batch_cancelled" or (canceled and not response):
            yield custom_id, Outcome("canceled", batch_id, line)
        else:
            yield custom_id, Outcome("errored", batch_id, line)


async def _asked(work: Awaitable[T]) -> T:
    """Whatever goes wrong with the endpoint, as one of our errors and without the request."""
    import openai

    error: ProviderError
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await work
    except (TimeoutError, openai.APITimeoutError):
        error = _failed("timeout", "did not answer about a batch in time")
    except openai.APIStatusError as caught:
        error = provider_error(
            "openai",
            model="openai/batches",
            status=caught.status_code,
            kinds=(caught.code, caught.type),
            prose=caught.message,
            what="has no batches here (404)" if caught.status_code == 404 else None,
            headers=caught.response.headers,
            request_id=caught.request_id,
        )
    except openai.APIConnectionError:
        error = _failed("connection", "closed or refused the connection")
    except openai.OpenAIError:
        error = _failed("malformed_response", "sent what is no batch")
    raise error


def _failed(failure: Any, what: str) -> ProviderError:
    return provider_error(
        "openai",
        model="openai/batches",
        failure=failure,
        retryable=True,
        what=what,
        unbilled=True,
    )
