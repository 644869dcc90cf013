"""Every provider but Anthropic, through ``litellm.acompletion``.

litellm takes seconds to import, so that happens at the first call, in a thread. It is told to
retry nothing, to log nothing and to phone nobody. For ``openai/…`` (OpenAI and every server that
speaks its protocol) it is handed an OpenAI client of ours, so that the pool has the size we need
and is closed with us; for other providers it keeps clients of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from consensus.errors import ProviderError
from consensus.models._hosted_embedding import embedding_arguments, embedding_of
from consensus.models._http import aiohttp_client
from consensus.models.chat_completions import (
    TOP_LOGPROBS,
    completion_of,
    endpoint,
    failed,
    holds_to_schema,
    messages,
    provider_name,
    read_usage,
    response_format,
    takes_sampling,
)
from consensus.models.embedding import is_embedding
from consensus.models.errors_map import provider_error, status_failure
from consensus.models.instructions import schema_instruction
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["LiteLLMClient", "completion_of", "import_litellm", "read_usage"]

_ATTEMPT_TIMEOUT_S = 3600.0
"""What litellm is told. It keeps one client per timeout it has seen, so ours must not vary; the
caller's timeout is kept outside of it."""


class LiteLLMClient:
    """Calls any model that litellm can name; a :class:`~consensus.models.protocol.ModelClient`.

    - An output schema goes out as ``response_format`` where the price map says that the model can
      (and for models it does not list), strict where the schema allows it; else it is asked for in
      the system prompt.
    - ``choices`` are read from the first token's alternatives, where the provider sends them: see
      :func:`~consensus.models.choice_tokens.read_first_token`.
    - Parameters that litellm knows a model not to take (temperature, seed, log-probabilities) are
      left out.
    - The limit sent is :meth:`~consensus.models.prices.PriceBook.output_room`.

    Args:
        api_key: else what litellm reads (``OPENAI_API_KEY``, ``GEMINI_API_KEY`` …).
        base_url: else ``<PROVIDER>_BASE_URL`` or ``<PROVIDER>_API_BASE``, else litellm's own.
        concurrency: the size of the connection pool (``openai/…``).
        prices: says what each model can do.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        concurrency: int = 100,
        prices: PriceBook,
    ) -> None:
        self._api_key = api_key or None
        self._base_url = base_url or None
        self._concurrency = concurrency
        self._prices = prices
        self._openai: AsyncOpenAI | None = None

    async def prepare(self) -> None:
        """Import litellm now, in a thread: several seconds that no deadline should have to pay."""
        await import_litellm()

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request, once. ``timeout_s`` covers all of it, from connect to the last byte.

        Raises:
            ProviderError: with its class; ``usage`` is set where a useless answer was billed.
        """
        litellm = await import_litellm()
        started = time.perf_counter()
        response = await self._send(litellm, request, timeout_s)
        read = embedding_of if is_embedding(request) else completion_of
        return read(request, response, time.perf_counter() - started)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens by OpenAI's tokenizer for its models; for others a safe upper bound.

        litellm counts every model whose tokenizer it lacks by OpenAI's, which can be far too few.
        """
        bound = request.input_bytes() + 16 * (len(request.turns) + 2)
        if provider_name(request.model) not in {"openai", "azure"} or not self._prices.listed(
            request.model
        ):
            return bound
        litellm = await import_litellm()
        schema = json.dumps(request.output_schema) if request.output_schema else ""
        try:
            count = await asyncio.to_thread(
                litellm.token_counter, model=request.model, messages=messages(request, schema)
            )
        except Exception:  # noqa: BLE001 - the bound is always right, whatever the tokenizer said
            return bound
        return min(int(count) + 16, bound)

    async def aclose(self) -> None:
        """Close our connections."""
        client, self._openai = self._openai, None
        if client is not None:
            await client.close()
        # litellm starts a task a call to report its timing to nobody; this lets the last one end.
        await asyncio.sleep(0)

    async def _send(self, litellm: ModuleType, request: Request, timeout_s: float) -> Any:
        arguments = self._arguments(request)
        send = litellm.acompletion
        if is_embedding(request):
            arguments, send = embedding_arguments(request, arguments), litellm.aembedding
        error: ProviderError
        try:
            with _unlogged():
                async with asyncio.timeout(timeout_s if math.isfinite(timeout_s) else None):
                    return await send(**arguments)
        except TimeoutError:
            error = failed(request.model, "timeout", f"sent no answer within {timeout_s:.3g} s")
        except Exception as caught:  # noqa: BLE001 - litellm raises whatever its providers do
            error = _translate(caught, request.model)
        # Raised here and not above, so that it carries no context: litellm's own exceptions quote
        # the request, with the key and the judged text.
        raise error

    def _arguments(self, request: Request) -> dict[str, Any]:
        provider = provider_name(request.model)
        instruction = ""
        arguments: dict[str, Any] = {
            "model": request.model,
            "max_tokens": self._prices.output_room(request.model, request.max_output_tokens),
            "timeout": _ATTEMPT_TIMEOUT_S,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,
            "no-log": True,
        }
        if request.output_schema is not None:
            if holds_to_schema(self._prices, request.model):
                arguments["response_format"] = response_format(request.output_schema)
            else:
                instruction = schema_instruction(request.output_schema)
        arguments["messages"] = messages(request, instruction)
        if request.temperature is not None and takes_sampling(self._prices, request.model):
            arguments["temperature"] = request.temperature
        if request.seed is not None:
            arguments["seed"] = request.seed
        if request.choices:
            arguments["logprobs"] = True
            arguments["top_logprobs"] = TOP_LOGPROBS.get(provider, 20)
        if provider == "openai":
            arguments["client"] = self._openai_client()
        else:
            if self._api_key is not None:
                arguments["api_key"] = self._api_key
            base_url = self._base_url or endpoint(provider)
            if base_url is not None:
                arguments["api_base"] = base_url
        return arguments

    def _openai_client(self) -> AsyncOpenAI:
        if self._openai is None:
            import httpx
            import openai

            base_url = self._base_url or endpoint("openai")
            key = self._api_key or os.environ.get("OPENAI_API_KEY") or None
            if key is None and base_url is not None:
                key = "none"  # servers of one's own seldom ask for a key; the SDK insists on one
            if key is None:
                raise failed("openai/", "auth", "needs a key: set OPENAI_API_KEY", again=False)
            self._openai = openai.AsyncOpenAI(
                api_key=key,
                base_url=base_url,
                max_retries=0,
                timeout=_ATTEMPT_TIMEOUT_S,
                http_client=aiohttp_client(httpx, concurrency=self._concurrency),
            )
        return self._openai


async def import_litellm() -> ModuleType:
    """litellm, imported once, in a thread: the event loop must not stand still for seconds."""
    if not _imported:
        await asyncio.to_thread(_first_import)
    return _imported[0]


_imported: list[ModuleType] = []
_importing = threading.Lock()


def _first_import() -> None:
    with _importing:
        if _imported:
            return
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        litellm: ModuleType = importlib.import_module("litellm")
        litellm.telemetry = False  # type: ignore[attr-defined]
        litellm.suppress_debug_info = True  # type: ignore[attr-defined]
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx"):
            logger = logging.getLogger(name)
            if logger.level in {logging.NOTSET, logging.DEBUG, logging.INFO}:
                logger.setLevel(logging.WARNING)
        # Half of litellm is imported by its first call, so that is made here, to nobody.
        for module in ("litellm._service_logger", "openai.resources.chat", "aiohttp"):
            importlib.import_module(module)
        asyncio.run(_rehearse(litellm))
        _imported.append(litellm)


async def _rehearse(litellm: ModuleType) -> None:
    with _unlogged():
        await litellm.acompletion(
            model="openai/gpt-5.4",
            messages=[{"role": "user", "content": "?"}],
            mock_response="!",
            **{"no-log": True},
        )


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep litellm from queueing the call for its logging worker, which outlives it."""
    from litellm._internal_context import is_internal_call

    token = is_internal_call.set(True)
    try:
        yield
    finally:
        is_internal_call.reset(token)


def _translate(caught: Exception, model: str) -> ProviderError:
    """litellm's exceptions, by what the provider answered rather than by litellm's class for it.

    Its classes follow the wording of messages (a 500 with ``invalid_request_error`` in its body
    comes as ``BadRequestError``); the status and the headers it keeps are the provider's.
    """
    provider = provider_name(model)
    name = type(caught).__name__
    headers = getattr(caught, "litellm_response_headers", None)
    if headers is None:
        headers = getattr(getattr(caught, "response", None), "headers", None)
    status = getattr(caught, "status_code", None)
    bodies = [getattr(link, "body", None) for link in _chain(caught)]
    body = next((body for body in bodies if isinstance(body, dict)), {})
    body = body["error"] if isinstance(body.get("error"), dict) else body
    if headers and isinstance(status, int):
        return provider_error(
            provider,
            model=model,
            status=status,
            kinds=(body.get("code"), body.get("type"), getattr(caught, "code", None)),
            prose=body.get("message") or getattr(caught, "message", None),
            headers=dict(headers),
            request_id=dict(headers).get("x-request-id"),
        )
    unsent = any(type(link).__name__ in _NOT_CONNECTED for link in _chain(caught))
    for link in _chain(caught):
        # litellm wraps whatever it did not expect in connection errors of its own.
        if type(link).__module__.startswith("litellm"):
            continue
        if "Timeout" in type(link).__name__:
            return failed(model, "connection", "could not be reached in time", unbilled=unsent)
        if isinstance(link, OSError) or type(link).__name__ in _NETWORK:
            what = "closed or refused the connection"
            return failed(model, "connection", what, unbilled=unsent)
    if isinstance(status, int) and 400 <= status < 500:
        failure, _ = status_failure(status)
        return failed(model, failure, f"was not asked: litellm refused ({name})", again=False)
    return failed(model, "malformed_response", f"sent an answer that is no completion ({name})")


_NETWORK = frozenset(
    {"APIConnectionError", "ConnectError", "NetworkError", "ReadError", "RemoteProtocolError"}
)

_NOT_CONNECTED = frozenset(
    {"ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(12):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
