"""Claude models through the ``anthropic`` SDK."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic_core import from_json

from consensus.ballots import Usage
from consensus.errors import FailureClass, ProviderError
from consensus.models._http import Answer
from consensus.models._memo import ByIdentity
from consensus.models._sdk_client import SdkClient
from consensus.models.errors_map import provider_error, rate_headers
from consensus.models.instructions import schema_instruction
from consensus.models.protocol import Completion, Request, Turn

if TYPE_CHECKING:
    from types import ModuleType

    from anthropic import AsyncAnthropic

__all__ = ["AnthropicClient", "read_usage"]

_PROVIDER = "anthropic"
_TOOL = "answer"
_NO_KEY = "needs a key: set ANTHROPIC_API_KEY"
_MAX_BREAKPOINTS = 4
_DEFAULT_CACHE_MINIMUM = 1024
_BYTES_PER_TOKEN = 4
_COUNT_TIMEOUT_S = 10.0
_FINISH: dict[object, Literal["stop", "length", "refusal"]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class _Asked(NamedTuple):
    """How an output schema is put to a model, and the schema as it is sent."""

    shape: Literal["text", "native", "tool", "prompt"]
    schema: dict[str, Any]


class AnthropicClient(SdkClient):
    """Calls ``anthropic/…`` models; a :class:`~consensus.models.protocol.ModelClient`.

    - An output schema is enforced by the API (``output_config``) where the price map says that the
      model can, else by a forced tool, else only asked for in the system prompt. The answer is
      never prefilled.
    - Thinking is left at the model's default. The limit sent is
      :meth:`~consensus.models.prices.PriceBook.output_room`: the answer's tokens and, for a model
      that thinks, room to do so. Thinking blocks are not part of the text; their tokens are in
      ``usage.output`` and ``usage.reasoning``.
    - Temperature is left out for models that take none. There is no seed in this API.
    - A part with ``cache=True`` gets a cache marker if the prefix up to it is long enough for the
      model to cache; of more than four, the last four.

    Args:
        api_key: else ``ANTHROPIC_API_KEY``, or whatever else the SDK finds.
        base_url: else ``ANTHROPIC_BASE_URL``.
        concurrency: the size of the connection pool.
        prices: says what each model can do.
    """

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request, once. ``timeout_s`` covers all of it, from connect to the last byte.

        Raises:
            ProviderError: with its class; ``usage`` is set where a useless answer was billed.
        """
        asked = self._shape(request)
        body = self._body(request, asked)
        body["max_tokens"] = self._prices.output_room(request.model, request.max_output_tokens)
        started = time.perf_counter()
        response = await self._post("/v1/messages", body, request.model, timeout_s)
        return self._read(request, asked, response, time.perf_counter() - started)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens by the API's own count; a safe upper bound where it cannot be had."""
        try:
            body = self._body(request, self._shape(request))
            body.pop("temperature", None)
            response = await self._post(
                "/v1/messages/count_tokens", body, request.model, _COUNT_TIMEOUT_S
            )
            count = json.loads(response.content)["input_tokens"]
            if isinstance(count, int) and count > 0:
                return count
        except (ProviderError, ValueError, KeyError, TypeError, RecursionError):
            pass
        # A token is at least one byte; the rest is room for the API's own framing.
        return request.input_bytes() + 16 * (len(request.turns) + 2)

    def _modules(self) -> tuple[ModuleType, ModuleType]:
        import aiohttp  # noqa: F401
        import anthropic
        import httpx2

        # At its debug level the SDK logs requests, and so the judged text, whole.
        for name in ("anthropic", "httpx2"):
            logger = logging.getLogger(name)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.WARNING)
        return anthropic, httpx2

    def _connect(self, http_client: Any, model: str) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            open_telemetry=False,
            http_client=http_client,
        )

    def _fixed(self, sdk: AsyncAnthropic) -> bool:
        return sdk.credentials is None

    def _failed(
        self, model: str, failure: FailureClass, what: str, *, again: bool = True
    ) -> ProviderError:
        return provider_error(_PROVIDER, model=model, failure=failure, retryable=again, what=what)

    def _translated(self, caught: Any, model: str) -> ProviderError:
        return provider_error(
            _PROVIDER,
            model=model,
            status=caught.status_code,
            kinds=(caught.type,),
            prose=caught.api_message,
            headers=caught.response.headers,
            request_id=caught.request_id,
        )

    def _undeclared(self, caught: Exception, model: str) -> ProviderError | None:
        from anthropic import AnthropicError

        # A TypeError is the SDK's way of saying that it found no credentials at all.
        missing = isinstance(caught, TypeError) and "authentication" in str(caught)
        if missing or isinstance(caught, AnthropicError):
            return self._failed(model, "auth", _NO_KEY, again=False)
        return None

    def _shape(self, request: Request) -> _Asked:
        """How the output schema is put to this model."""
        schema = request.output_schema
        if schema is None:
            return _Asked("text", {})
        if self._prices.supports(request.model, "native_structured_output"):
            native = _NATIVE[schema]
            if native is not None:
                return _Asked("native", native)
        forced = self._prices.supports(request.model, "forced_tool_use") is not False
        tools = self._prices.supports(request.model, "function_calling") is True
        if forced and tools and schema.get("type") == "object":
            return _Asked("tool", schema)
        return _Asked("prompt", schema)

    def _body(self, request: Request, asked: _Asked) -> dict[str, Any]:
        system = request.system
        body: dict[str, Any] = {"model": request.model.removeprefix("anthropic/")}
        if asked.shape == "native":
            body["output_config"] = {"format": {"type": "json_schema", "schema": asked.schema}}
        elif asked.shape == "tool":
            tool = {"name": _TOOL, "description": "Give the answer.", "input_schema": asked.schema}
            body["tools"] = [tool]
            body["tool_choice"] = {"type": "tool", "name": _TOOL}
        elif asked.shape == "prompt":
            system = f"{system}\n\n{schema_instruction(asked.schema)}".strip()
        if system:
            body["system"] = system
        body["messages"] = self._messages(request, system)
        if request.temperature is not None and self._takes_temperature(request.model):
            body["temperature"] = request.temperature
        return body

    def _takes_temperature(self, model: str) -> bool:
        return self._prices.supports(model, "sampling_params") is not False

    def _messages(self, request: Request, system: str) -> list[dict[str, Any]]:
        minimum = self._prices.fact(request.model, "prompt_cache_min_tokens")
        least = minimum if isinstance(minimum, int) else _DEFAULT_CACHE_MINIMUM
        if self._prices.supports(request.model, "prompt_caching") is False:
            least = 1 << 62
        size = len(system.encode())
        marked: list[dict[str, Any]] = []
        messages = []
        for turn in request.turns:
            blocks, size = _blocks(turn, size, least * _BYTES_PER_TOKEN, marked)
            content: Any = blocks
            if len(blocks) == 1 and "cache_control" not in blocks[0]:
                content = blocks[0]["text"]
            messages.append({"role": turn.role, "content": content})
        for block in marked[:-_MAX_BREAKPOINTS]:
            del block["cache_control"]
        return messages

    def _read(
        self, request: Request, asked: _Asked, response: Answer, latency_s: float
    ) -> Completion:
        request_id = response.headers.get("request-id")
        try:
            data = from_json(response.content)
            blocks = data["content"]
            served = f"anthropic/{data['model']}" if data.get("model") else request.model
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            data, blocks, served = None, None, request.model
        # A usage that cannot be read stays empty: the gateway bills an estimate, and says so.
        usage = (read_usage(data.get("usage")) if data is not None else None) or Usage()
        text = None if blocks is None else _text(blocks, asked)
        if data is None or text is None:
            raise provider_error(
                _PROVIDER,
                model=request.model,
                failure="malformed_response",
                retryable=True,
                what="sent an answer that is no message",
                usage=usage if usage.total_input else None,
                served_model=served if usage.total_input else None,
                request_id=request_id,
            )
        return Completion(
            text=text,
            served_model=served,
            usage=usage,
            finish=_FINISH.get(str(data.get("stop_reason")), "other"),
            latency_s=latency_s,
            request_id=request_id,
            headers=rate_headers(response.headers),
        )


def read_usage(raw: object) -> Usage | None:
    """Anthropic's usage in classes that do not overlap; None if it cannot be billed by.

    ``input_tokens`` excludes what was read from and written to the cache. Written tokens are split
    by lifetime where the API says so; else they all count as written for five minutes.
    """
    if not isinstance(raw, dict):
        return None
    split = raw.get("cache_creation")
    split = split if isinstance(split, dict) else {}
    details = raw.get("output_tokens_details")
    details = details if isinstance(details, dict) else {}
    fresh, read, written, output, hour, short, thinking = counts = (
        _count(raw.get("input_tokens")),
        _count(raw.get("cache_read_input_tokens")),
        _count(raw.get("cache_creation_input_tokens")),
        _count(raw.get("output_tokens")),
        _count(split.get("ephemeral_1h_input_tokens")),
        _count(split.get("ephemeral_5m_input_tokens")),
        _count(details.get("thinking_tokens")),
    )
    if min(counts) < 0 or fresh + read + written + hour + short == 0:
        return None
    return Usage(
        input=fresh,
        cache_read=read,
        # The total is what is billed; a split that says less does not make the rest free.
        cache_write=max(short, written - hour),
        cache_write_1h=hour,
        output=output,
        reasoning=min(thinking, output),
    )


def _count(value: object) -> int:
    if value is None:
        return 0
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _blocks(
    turn: Turn, size: int, least_bytes: int, marked: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    """A turn's text blocks, which read as ``turn.text`` does; and the prompt's bytes up to here."""
    blocks: list[dict[str, Any]] = []
    for part in turn.parts:
        if not part.text.strip():  # the API refuses empty blocks
            continue
        text = f"\n\n{part.text}" if blocks else part.text
        block: dict[str, Any] = {"type": "text", "text": text}
        blocks.append(block)
        size += len(text.encode())
        if part.cache and size >= least_bytes:
            block["cache_control"] = {"type": "ephemeral"}
            marked.append(block)
    return blocks, size


def _text(blocks: object, asked: _Asked) -> str | None:
    """The answer's text; None if the content is no list of blocks."""
    if not isinstance(blocks, list):
        return None
    texts = []
    for block in blocks:
        if not isinstance(block, dict):
            return None
        if asked.shape == "tool" and block.get("name") == _TOOL:
            return json.dumps(block.get("input"), ensure_ascii=False)
        if block.get("type") == "text":
            text = block.get("text")
            if not isinstance(text, str):
                return None
            texts.append(text)
    return "".join(texts)


def _native_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as the API takes it (what it cannot enforce moves into descriptions), or None."""
    from anthropic import transform_schema

    try:
        return transform_schema(schema)
    except (AssertionError, TypeError, ValueError, AttributeError, KeyError):
        return None


_NATIVE: Final = ByIdentity(_native_schema)
