"""Models behind OpenAI's chat completions, through the ``openai`` SDK.

OpenAI itself, and every server that speaks its protocol. As with Anthropic's client the SDK does
credentials, endpoint, headers, connections and error classes, while the body goes out and the
answer comes in as bytes of our own: an eighth of what the same call costs through litellm. What is
sent is what litellm would send; models that want another of OpenAI's endpoints are left to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from consensus.errors import ProviderError
from consensus.models._http import aiohttp_client
from consensus.models.chat_completions import (
    TOP_LOGPROBS,
    completion_of,
    endpoint,
    failed,
    holds_to_schema,
    messages,
    provider_name,
    response_format,
    takes_sampling,
)
from consensus.models.embedding import is_embedding
from consensus.models.errors_map import provider_error
from consensus.models.instructions import schema_instruction
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Request

if TYPE_CHECKING:
    import httpx
    from openai import AsyncOpenAI

    from consensus.models.litellm_client import LiteLLMClient

__all__ = ["OpenAIClient"]

_THINKING: Final = ("gpt-5", "gpt-6")
_O_SERIES: Final = re.compile(r"o\d")


class OpenAIClient:
    """Calls models by chat completions; a :class:`~consensus.models.protocol.ModelClient`.

    - An output schema goes out as ``response_format`` where the price map says that the model can
      (and for models it does not list), strict where the schema allows it; else it is asked for in
      the system prompt.
    - ``choices`` are read from the first token's alternatives, where the server sends them: see
      :func:`~consensus.models.choice_tokens.read_first_token`.
    - OpenAI's models that think are sent neither temperature nor log-probabilities, unless the map
      says that they do not think by default.
    - The limit sent is :meth:`~consensus.models.prices.PriceBook.output_room`.

    Args:
        provider: whose models these are: ``openai``, or any name with an endpoint of its own.
        api_key: else ``<PROVIDER>_API_KEY``. A server of one's own without a key is sent ``none``.
        base_url: else ``<PROVIDER>_BASE_URL`` or ``<PROVIDER>_API_BASE``, else OpenAI's.
        concurrency: the size of the connection pool.
        prices: says what each model can do.
    """

    def __init__(
        self,
        *,
        provider: str = "openai",
        api_key: str | None = None,
        base_url: str | None = None,
        concurrency: int = 100,
        prices: PriceBook,
    ) -> None:
        self._provider = provider
        self._api_key = api_key or None
        self._base_url = base_url or None
        self._concurrency = concurrency
        self._prices = prices
        self._sdk: AsyncOpenAI | None = None
        self._others: LiteLLMClient | None = None

    async def prepare(self) -> None:
        """Import the SDK now, in a thread: over a second that no deadline should have to pay."""
        await asyncio.to_thread(_import_sdk)

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request, once. ``timeout_s`` covers all of it, from connect to the last byte.

        Raises:
            ProviderError: with its class; ``usage`` is set where a useless answer was billed.
        """
        if is_embedding(request) or self._prices.fact(request.model, "mode") not in {None, "chat"}:
            return await self._litellm().complete(request, timeout_s=timeout_s)
        started = time.perf_counter()
        response = await self._post(self._body(request), request.model, timeout_s)
        return _read(request, response, time.perf_counter() - started)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens by OpenAI's tokenizer for its models; for others a safe upper bound."""
        return await self._litellm().count_tokens(request)

    async def aclose(self) -> None:
        """Close the connections."""
        sdk, self._sdk = self._sdk, None
        others, self._others = self._others, None
        if sdk is not None:
            await sdk.close()
        if others is not None:
            await others.aclose()

    def _litellm(self) -> LiteLLMClient:
        if self._others is None:
            from consensus.models.litellm_client import LiteLLMClient

            self._others = LiteLLMClient(
                api_key=self._api_key,
                base_url=self._base_url,
                concurrency=self._concurrency,
                prices=self._prices,
            )
        return self._others

    def _client(self) -> AsyncOpenAI:
        if self._sdk is None:
            import httpx
            from openai import AsyncOpenAI

            variable = f"{self._provider.upper().replace('-', '_')}_API_KEY"
            base_url = self._base_url or endpoint(self._provider)
            key = self._api_key or os.environ.get(variable) or None
            if key is None and base_url is not None:
                key = "none"  # servers of one's own seldom ask for a key; the SDK insists on one
            if key is None:
                raise failed(
                    f"{self._provider}/", "auth", f"needs a key: set {variable}", again=False
                )
            self._sdk = AsyncOpenAI(
                api_key=key,
                base_url=base_url,
                max_retries=0,
                timeout=None,
                http_client=aiohttp_client(httpx, concurrency=self._concurrency),
            )
        return self._sdk

    async def _post(self, body: dict[str, Any], model: str, timeout_s: float) -> httpx.Response:
        if self._sdk is None:
            await self.prepare()
        import httpx
        import openai

        client = self._client()
        error: ProviderError
        try:
            async with asyncio.timeout(timeout_s if math.isfinite(timeout_s) else None):
                return await client.post(
                    "/chat/completions",
                    cast_to=httpx.Response,
                    content=json.dumps(body, ensure_ascii=False).encode(),
                    options=_JSON,
                )
        except TimeoutError:
            error = failed(model, "timeout", f"sent no answer within {timeout_s:.3g} s")
        except openai.APIStatusError as caught:
            error = _translate_status(caught, model)
        except openai.APITimeoutError:
            error = failed(model, "connection", "could not be reached in time")
        except openai.APIConnectionError:
            error = failed(model, "connection", "closed or refused the connection")
        # Raised here and not above, so that it carries no context: the SDK's own exceptions hold
        # the request, with its key and the judged text.
        raise error

    def _body(self, request: Request) -> dict[str, Any]:
        model = request.model
        name = model.partition("/")[2]
        instruction = ""
        body: dict[str, Any] = {"model": name}
        if request.output_schema is not None:
            if holds_to_schema(self._prices, model):
                body["response_format"] = response_format(request.output_schema)
            else:
                instruction = schema_instruction(request.output_schema)
        body["messages"] = messages(request, instruction)
        limit = self._prices.output_room(model, request.max_output_tokens)
        thinks = self._provider == "openai" and self._thinks(model, name)
        body["max_completion_tokens" if thinks else "max_tokens"] = limit
        free = not thinks or self._answers_at_once(model)
        temperature = request.temperature if takes_sampling(self._prices, model) else None
        searches = thinks and "search" in name
        if temperature is not None and not searches and (free or temperature == 1):
            body["temperature"] = temperature
        if request.seed is not None and not searches:
            body["seed"] = request.seed
        if request.choices and free:
            body["logprobs"] = True
            body["top_logprobs"] = TOP_LOGPROBS.get(self._provider, 20)
        if thinks and _O_SERIES.match(name) and not self._takes_system(model):
            for message in body["messages"]:
                if message["role"] == "system":
                    message["role"] = "user"
        return body

    def _thinks(self, model: str, name: str) -> bool:
        """Whether a model of OpenAI's is of a family that thinks: by name, as litellm has it."""
        if _O_SERIES.match(name):
            return self._prices.listed(model)
        return any(family in name for family in _THINKING) and "gpt-5-chat" not in name

    def _takes_system(self, model: str) -> bool:
        return self._prices.supports(model, "system_messages") is True

    def _answers_at_once(self, model: str) -> bool:
        """Whether a model that can think does not unless it is asked to."""
        return (
            self._prices.supports(model, "none_reasoning_effort") is True
            and self._prices.fact(model, "default_reasoning_effort") == "none"
        )


_JSON: Final[Any] = {"headers": {"Content-Type": "application/json"}}


def _read(request: Request, response: httpx.Response, latency_s: float) -> Completion:
    try:
        data = json.loads(response.content)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        return completion_of(request, data, latency_s, headers=response.headers)
    raise failed(request.model, "malformed_response", "sent an answer that is no completion")


def _translate_status(caught: Any, model: str) -> ProviderError:
    body = caught.body if isinstance(caught.body, dict) else {}
    return provider_error(
        provider_name(model),
        model=model,
        status=caught.status_code,
        kinds=(body.get("code"), body.get("type")),
        prose=body.get("message"),
        headers=caught.response.headers,
        request_id=caught.request_id,
    )


def _import_sdk() -> None:
    import aiohttp  # noqa: F401
    import httpx  # noqa: F401
    import openai  # noqa: F401
    from openai.resources import chat  # noqa: F401

    for name in ("openai", "httpx"):
        logger = logging.getLogger(name)
        if logger.level in {logging.NOTSET, logging.DEBUG, logging.INFO}:
            logger.setLevel(logging.WARNING)
