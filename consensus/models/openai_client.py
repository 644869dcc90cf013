"""Models behind OpenAI's chat completions, through the ``openai`` SDK.

OpenAI itself, and every server that speaks its protocol. What is sent is what litellm would send;
models that want another of OpenAI's endpoints are left to it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from consensus.errors import FailureClass, ProviderError
from consensus.models._http import Answer
from consensus.models._memo import ByIdentity
from consensus.models._sdk_client import SdkClient
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
    from types import ModuleType

    from openai import AsyncOpenAI

    from consensus.models.litellm_client import LiteLLMClient

__all__ = ["OpenAIClient"]

_THINKING: Final = ("gpt-5", "gpt-6")
_O_SERIES: Final = re.compile(r"o\d")


class OpenAIClient(SdkClient):
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
        super().__init__(api_key=api_key, base_url=base_url, concurrency=concurrency, prices=prices)
        self._provider = provider
        self._others: LiteLLMClient | None = None

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request, once. ``timeout_s`` covers all of it, from connect to the last byte.

        Raises:
            ProviderError: with its class; ``usage`` is set where a useless answer was billed.
        """
        if is_embedding(request) or self._prices.fact(request.model, "mode") not in {None, "chat"}:
            return await self._litellm().complete(request, timeout_s=timeout_s)
        started = time.perf_counter()
        response = await self._post(
            "/chat/completions", self._body(request), request.model, timeout_s, _JSON
        )
        return _read(request, response, time.perf_counter() - started)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens by OpenAI's tokenizer for its models; for others a safe upper bound."""
        return await self._litellm().count_tokens(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await super().aclose()
        others, self._others = self._others, None
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

    def _modules(self) -> tuple[ModuleType, ModuleType]:
        import aiohttp  # noqa: F401
        import httpx
        import openai
        from openai.resources import chat  # noqa: F401

        for name in ("openai", "httpx"):
            logger = logging.getLogger(name)
            if logger.level in {logging.NOTSET, logging.DEBUG, logging.INFO}:
                logger.setLevel(logging.WARNING)
        return openai, httpx

    def _connect(self, http_client: Any, model: str) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        variable = f"{self._provider.upper().replace('-', '_')}_API_KEY"
        base_url = self._base_url or endpoint(self._provider)
        key = self._api_key or os.environ.get(variable) or None
        if key is None and base_url is not None:
            key = "none"  # servers of one's own seldom ask for a key; the SDK insists on one
        if key is None:
            raise self._failed(model, "auth", f"needs a key: set {variable}", again=False)
        return AsyncOpenAI(
            api_key=key, base_url=base_url, max_retries=0, timeout=None, http_client=http_client
        )

    def _fixed(self, sdk: AsyncOpenAI) -> bool:
        return True  # it is made with a key

    def _failed(
        self, model: str, failure: FailureClass, what: str, *, again: bool = True
    ) -> ProviderError:
        return failed(model, failure, what, again=again)

    def _translated(self, caught: Any, model: str) -> ProviderError:
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

    def _body(self, request: Request) -> dict[str, Any]:
        model = request.model
        name = model.partition("/")[2]
        instruction = ""
        body: dict[str, Any] = {"model": name}
        if request.output_schema is not None:
            if holds_to_schema(self._prices, model):
                body["response_format"] = _FORMATS[request.output_schema]
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


_FORMATS: Final = ByIdentity(response_format)
_JSON: Final[Any] = {"headers": {"Content-Type": "application/json"}}


def _read(request: Request, response: Answer, latency_s: float) -> Completion:
    try:
        data = from_json(response.content)
    except ValueError:
        data = None
    if isinstance(data, dict):
        return completion_of(request, data, latency_s, headers=response.headers)
    raise provider_error(
        provider_name(request.model),
        model=request.model,
        failure="malformed_response",
        retryable=True,
        what="sent an answer that is no completion",
        request_id=response.headers.get("x-request-id"),
    )
