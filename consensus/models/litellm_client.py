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
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from consensus.ballots import Usage
from consensus.errors import FailureClass, ProviderError
from consensus.models._http import aiohttp_client
from consensus.models.choice_tokens import ChoiceMass, read_first_token
from consensus.models.errors_map import provider_error, rate_headers, status_failure
from consensus.models.instructions import schema_instruction
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["LiteLLMClient", "completion_of", "import_litellm", "read_usage"]

_ATTEMPT_TIMEOUT_S = 3600.0
"""What litellm is told. It keeps one client per timeout it has seen, so ours must not vary; the
caller's timeout is kept outside of it."""

_TOP_LOGPROBS: Mapping[str, int] = {"fireworks_ai": 5, "xai": 8}
"""The most alternatives that a provider lists; 20 where it is not here."""

_FINISH: Mapping[object, Literal["stop", "length", "refusal", "tool"]] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "content_filter": "refusal",
    "refusal": "refusal",
    "tool_calls": "tool",
    "function_call": "tool",
}


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
        return completion_of(request, response, time.perf_counter() - started)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens by OpenAI's tokenizer for its models; for others a safe upper bound.

        litellm counts every model whose tokenizer it lacks by OpenAI's, which can be far too few.
        """
        bound = request.input_bytes() + 16 * (len(request.turns) + 2)
        if _provider(request.model) not in {"openai", "azure"} or not self._prices.listed(
            request.model
        ):
            return bound
        litellm = await import_litellm()
        schema = json.dumps(request.output_schema) if request.output_schema else ""
        try:
            count = await asyncio.to_thread(
                litellm.token_counter, model=request.model, messages=_messages(request, schema)
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
        error: ProviderError
        try:
            with _unlogged():
                async with asyncio.timeout(timeout_s if math.isfinite(timeout_s) else None):
                    return await litellm.acompletion(**arguments)
        except TimeoutError:
            error = _failed(request.model, "timeout", f"sent no answer within {timeout_s:.3g} s")
        except Exception as caught:  # noqa: BLE001 - litellm raises whatever its providers do
            error = _translate(caught, request.model)
        # Raised here and not above, so that it carries no context: litellm's own exceptions quote
        # the request, with the key and the judged text.
        raise error

    def _arguments(self, request: Request) -> dict[str, Any]:
        provider = _provider(request.model)
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
            if self._holds_to_schema(request.model):
                arguments["response_format"] = _response_format(request.output_schema)
            else:
                instruction = schema_instruction(request.output_schema)
        arguments["messages"] = _messages(request, instruction)
        samples = self._prices.supports(request.model, "sampling_params") is not False
        if request.temperature is not None and samples:
            arguments["temperature"] = request.temperature
        if request.seed is not None:
            arguments["seed"] = request.seed
        if request.choices:
            arguments["logprobs"] = True
            arguments["top_logprobs"] = _TOP_LOGPROBS.get(provider, 20)
        if provider == "openai":
            arguments["client"] = self._openai_client()
        else:
            if self._api_key is not None:
                arguments["api_key"] = self._api_key
            base_url = self._base_url or _endpoint(provider)
            if base_url is not None:
                arguments["api_base"] = base_url
        return arguments

    def _holds_to_schema(self, model: str) -> bool:
        can = self._prices.supports(model, "response_schema")
        return not self._prices.listed(model) if can is None else can

    def _openai_client(self) -> AsyncOpenAI:
        if self._openai is None:
            import httpx
            import openai

            base_url = self._base_url or _endpoint("openai")
            key = self._api_key or os.environ.get("OPENAI_API_KEY") or None
            if key is None and base_url is not None:
                key = "none"  # servers of one's own seldom ask for a key; the SDK insists on one
            if key is None:
                raise _failed("openai/", "auth", "needs a key: set OPENAI_API_KEY", again=False)
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


def _provider(model: str) -> str:
    provider, slash, _ = model.partition("/")
    return provider if slash else "openai"


def _endpoint(provider: str) -> str | None:
    name = provider.upper().replace("-", "_")
    return os.environ.get(f"{name}_BASE_URL") or os.environ.get(f"{name}_API_BASE") or None


def _messages(request: Request, instruction: str) -> list[dict[str, str]]:
    system = f"{request.system}\n\n{instruction}".strip() if instruction else request.system
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return messages


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": answer}


def _is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects, every property required."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        if schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required", ())) != set(properties or {}):
            return False
    return all(map(_is_strict, schema.values()))


def completion_of(request: Request, response: Any, latency_s: float = 0.0) -> Completion:
    """A chat completion, of litellm or of OpenAI's SDK, in our words.

    Raises:
        ProviderError: it holds no choice.
    """
    provider = _provider(request.model)
    hidden = getattr(response, "_hidden_params", None) or {}
    headers = {str(k): str(v) for k, v in (hidden.get("additional_headers") or {}).items()}
    served = _served(provider, getattr(response, "model", None), request.model)
    usage = read_usage(getattr(response, "usage", None)) or Usage()
    choices = getattr(response, "choices", None) or ()
    request_id = headers.get("llm_provider-x-request-id") or getattr(response, "id", None)
    if not choices:
        raise provider_error(
            provider,
            model=request.model,
            failure="malformed_response",
            retryable=True,
            what="sent an answer without a choice",
            usage=usage,
            served_model=served,
            request_id=request_id,
        )
    choice = choices[0]
    text = choice.message.content
    refused = _refusal(choice.message)
    mass = _choice_mass(request, choice)
    return Completion(
        text=text if isinstance(text, str) else "",
        served_model=served,
        usage=usage,
        finish="refusal" if refused else _FINISH.get(choice.finish_reason, "other"),
        latency_s=latency_s,
        request_id=request_id,
        choice_probabilities=mass.probabilities if mass else None,
        coverage=mass.coverage if mass else None,
        headers=rate_headers({k.removeprefix("llm_provider-"): v for k, v in headers.items()}),
    )


def _served(provider: str, served: object, requested: str) -> str:
    """The served model in litellm's naming: what the provider said, behind the provider's name."""
    if not isinstance(served, str) or not served:
        return requested
    return served if served.startswith(f"{provider}/") else f"{provider}/{served}"


def _refusal(message: Any) -> bool:
    extra = getattr(message, "provider_specific_fields", None) or {}
    return bool(extra.get("refusal") or getattr(message, "refusal", None))


def _choice_mass(request: Request, choice: Any) -> ChoiceMass | None:
    """The choices' probabilities, where the provider sent the first token's alternatives."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not request.choices or not content:
        return None
    first = content[0]
    listed = [(first.token, first.logprob)]
    listed += [(top.token, top.logprob) for top in getattr(first, "top_logprobs", None) or ()]
    return read_first_token(request.choices, listed)


def read_usage(raw: Any) -> Usage | None:
    """A usage in OpenAI's convention, in classes that do not overlap; None if it says nothing.

    ``prompt_tokens`` includes what was read from and written to a cache; litellm brings other
    providers to that convention. Where the cached part is larger than the whole, the provider has
    counted it beside, not inside, and nothing is taken off. ``completion_tokens`` includes
    thinking, unless the provider's own ``total_tokens`` shows that it comes on top (xAI).
    """
    prompt, output = _number(raw, "prompt_tokens"), _number(raw, "completion_tokens")
    prompt_details = getattr(raw, "prompt_tokens_details", None)
    output_details = getattr(raw, "completion_tokens_details", None)
    read = _number(prompt_details, "cached_tokens")
    written = _number(prompt_details, "cache_write_tokens") or _number(
        prompt_details, "cache_creation_tokens"
    )
    split = getattr(prompt_details, "cache_creation_token_details", None)
    hour = min(_number(split, "ephemeral_1h_input_tokens"), written)
    thinking = _number(output_details, "reasoning_tokens")
    if min(prompt, output, read, written, hour, thinking) < 0 or prompt + read + written == 0:
        return None
    beside = _number(raw, "total_tokens") == prompt + output + thinking
    if thinking > output or (thinking and beside):
        output += thinking
    cached = read + written
    return Usage(
        input=prompt - cached if cached <= prompt else prompt,
        cache_read=read,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output,
        reasoning=thinking,
    )


def _number(holder: Any, name: str) -> int:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _translate(caught: Exception, model: str) -> ProviderError:
    """litellm's exceptions, by what the provider answered rather than by litellm's class for it.

    Its classes follow the wording of messages (a 500 with ``invalid_request_error`` in its body
    comes as ``BadRequestError``); the status and the headers it keeps are the provider's.
    """
    provider = _provider(model)
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
    for link in _chain(caught):
        # litellm wraps whatever it did not expect in connection errors of its own.
        if type(link).__module__.startswith("litellm"):
            continue
        if "Timeout" in type(link).__name__:
            return _failed(model, "connection", "could not be reached in time")
        if isinstance(link, OSError) or type(link).__name__ in _NETWORK:
            return _failed(model, "connection", "closed or refused the connection")
    if isinstance(status, int) and 400 <= status < 500:
        failure, _ = status_failure(status)
        return _failed(model, failure, f"was not asked: litellm refused ({name})", again=False)
    return _failed(model, "malformed_response", f"sent an answer that is no completion ({name})")


_NETWORK = frozenset(
    {"APIConnectionError", "ConnectError", "NetworkError", "ReadError", "RemoteProtocolError"}
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(12):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _failed(model: str, failure: FailureClass, what: str, *, again: bool = True) -> ProviderError:
    return provider_error(
        _provider(model), model=model, failure=failure, retryable=again, what=what
    )
