"""Chat completions, OpenAI's protocol: what goes out and what comes back, whoever carries it.

:class:`~consensus.models.openai_client.OpenAIClient` and
:class:`~consensus.models.litellm_client.LiteLLMClient` ask and read alike because both do it here.
A completion may be the JSON as it came (dicts) or an SDK's objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from consensus.ballots import Usage
from consensus.errors import FailureClass, ProviderError
from consensus.models.choice_tokens import ChoiceMass, read_first_token
from consensus.models.errors_map import provider_error, rate_headers
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Request

__all__ = [
    "TOP_LOGPROBS",
    "completion_of",
    "endpoint",
    "failed",
    "holds_to_schema",
    "messages",
    "provider_name",
    "read_usage",
    "response_format",
    "takes_sampling",
]

TOP_LOGPROBS: Mapping[str, int] = {"fireworks_ai": 5, "xai": 8}
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


def provider_name(model: str) -> str:
    """The provider in a model's name, as litellm reads it."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "openai"


def endpoint(provider: str) -> str | None:
    """The endpoint that the environment names: ``<PROVIDER>_BASE_URL`` or ``…_API_BASE``."""
    name = provider.upper().replace("-", "_")
    return os.environ.get(f"{name}_BASE_URL") or os.environ.get(f"{name}_API_BASE") or None


def messages(request: Request, instruction: str) -> list[dict[str, str]]:
    """The conversation; ``instruction`` ends the system prompt."""
    system = f"{request.system}\n\n{instruction}".strip() if instruction else request.system
    found = [{"role": "system", "content": system}] if system else []
    found += [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return found


def holds_to_schema(prices: PriceBook, model: str) -> bool:
    """Whether a model takes ``response_format``: the map's word; a model it does not list does."""
    can = prices.supports(model, "response_schema")
    return not prices.listed(model) if can is None else can


def takes_sampling(prices: PriceBook, model: str) -> bool:
    """Whether a model takes a temperature; only the map's word against it counts."""
    return prices.supports(model, "sampling_params") is not False


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """An output schema, as the API takes it: strict where the schema allows it."""
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


def completion_of(
    request: Request,
    response: object,
    latency_s: float = 0.0,
    *,
    headers: Mapping[str, str] | None = None,
) -> Completion:
    """A chat completion in our words.

    Args:
        request: what was asked.
        response: the JSON as it came, or an object of litellm's or of OpenAI's SDK.
        latency_s: how long it took.
        headers: of the HTTP response; None: those that litellm keeps on its object.

    Raises:
        ProviderError: it holds no choice.
    """
    provider = provider_name(request.model)
    if headers is None:
        kept = _get(_get(response, "_hidden_params"), "additional_headers") or {}
        headers = {str(k).removeprefix("llm_provider-"): str(v) for k, v in kept.items()}
    served = _served(provider, _get(response, "model"), request.model)
    usage = read_usage(_get(response, "usage")) or Usage()
    request_id = headers.get("x-request-id") or _text(_get(response, "id"))
    choices = _get(response, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = _get(choice, "message")
    if message is None:
        raise provider_error(
            provider,
            model=request.model,
            failure="malformed_response",
            retryable=True,
            what="sent an answer without a choice",
            usage=usage if usage.total_input else None,
            served_model=served if usage.total_input else None,
            request_id=request_id,
        )
    mass = _choice_mass(request, choice)
    refused = _get(_get(message, "provider_specific_fields"), "refusal") or _get(message, "refusal")
    return Completion(
        text=_text(_get(message, "content")) or "",
        served_model=served,
        usage=usage,
        finish="refusal" if refused else _FINISH.get(_text(_get(choice, "finish_reason")), "other"),
        latency_s=latency_s,
        request_id=request_id,
        choice_probabilities=mass.probabilities if mass else None,
        coverage=mass.coverage if mass else None,
        headers=rate_headers(headers),
    )


def _get(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _served(provider: str, served: object, requested: str) -> str:
    """The served model in litellm's naming: what the provider said, behind the provider's name."""
    if not isinstance(served, str) or not served:
        return requested
    return served if served.startswith(f"{provider}/") else f"{provider}/{served}"


def _choice_mass(request: Request, choice: object) -> ChoiceMass | None:
    """The choices' probabilities, where the provider sent the first token's alternatives."""
    content = _get(_get(choice, "logprobs"), "content") if request.choices else None
    if not isinstance(content, list) or not content:
        return None
    others = _get(content[0], "top_logprobs")
    listed = []
    for one in (content[0], *(others if isinstance(others, list) else ())):
        token, logprob = _get(one, "token"), _get(one, "logprob")
        if isinstance(logprob, int) and abs(logprob) > 1e9:
            continue  # none, and perhaps more than a float holds
        if isinstance(token, str) and isinstance(logprob, int | float):
            listed.append((token, float(logprob)))
    return read_first_token(request.choices, listed)


def read_usage(raw: object) -> Usage | None:
    """A usage in OpenAI's convention, in classes that do not overlap; None if it says nothing.

    ``prompt_tokens`` includes what was read from and written to a cache; litellm brings other
    providers to that convention. Where the cached part is larger than the whole, the provider has
    counted it beside, not inside, and nothing is taken off. ``completion_tokens`` includes
    thinking, unless the provider's own ``total_tokens`` shows that it comes on top (xAI).
    """
    prompt, output = _number(raw, "prompt_tokens"), _number(raw, "completion_tokens")
    prompt_details = _get(raw, "prompt_tokens_details")
    output_details = _get(raw, "completion_tokens_details")
    read = _number(prompt_details, "cached_tokens")
    written = _number(prompt_details, "cache_write_tokens") or _number(
        prompt_details, "cache_creation_tokens"
    )
    split = _get(prompt_details, "cache_creation_token_details")
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


def _number(holder: object, name: str) -> int:
    value = _get(holder, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def failed(
    model: str, failure: FailureClass, what: str, *, again: bool = True, unbilled: bool = False
) -> ProviderError:
    """A failure without a status, in words of ours."""
    return provider_error(
        provider_name(model),
        model=model,
        failure=failure,
        retryable=again,
        what=what,
        unbilled=unbilled,
    )
