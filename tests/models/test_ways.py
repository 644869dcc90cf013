"""The first request goes through the SDK, later ones the same way without it: nobody can tell."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import to_json

from consensus.errors import ProviderError
from consensus.models.anthropic_client import AnthropicClient
from consensus.models.openai_client import OpenAIClient
from consensus.models.prices import PriceBook
from tests.loopback import LoopbackProvider, Reply, RequestInfo
from tests.models.provider_faults import FAULTS, KEY, Fault, ask, assert_tells_nothing

pytest_plugins = ("tests.loopback.fixtures",)

Client = AnthropicClient | OpenAIClient
MODELS = {AnthropicClient: "anthropic/claude-haiku-5-5", OpenAIClient: "openai/gpt-5.4"}


@pytest.fixture(params=MODELS, ids=["anthropic", "openai"])
async def client(
    request: pytest.FixtureRequest, loopback: LoopbackProvider
) -> AsyncIterator[Client]:
    url = loopback.url if request.param is AnthropicClient else loopback.openai_url
    made: Client = request.param(api_key=KEY, base_url=url, prices=PriceBook())
    await made.complete(ask(MODELS[request.param]), timeout_s=20)
    yield made
    await made.aclose()


def model(client: Client) -> str:
    return MODELS[type(client)]


async def counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that the SDK itself is asked to post to from now on."""
    sdk: Any = client._client()
    through, post = [], sdk.post

    async def noted(path: str, **rest: Any) -> Any:
        through.append(path)
        return await post(path, **rest)

    monkeypatch.setattr(sdk, "post", noted)
    return through


async def test_a_later_request_is_the_same_on_the_wire(
    client: Client, loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RequestInfo] = []
    loopback.set_script(seen.append)
    client._ways.clear()
    for _ in range(2):
        await client.complete(ask(model(client)), timeout_s=20)
    first, second = seen
    assert first.headers == second.headers
    assert (first.path, first.key) == (second.path, second.key)


async def test_a_later_request_does_not_trouble_the_sdk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = await counted(client, monkeypatch)
    await client.complete(ask(model(client)), timeout_s=20)
    assert through == []


async def test_calls_that_begin_together_compose_their_requests_before_any_is_sent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    send = client._transport.send

    def composed(body: Any) -> bytes:
        done.append("composed")
        return to_json(body)

    async def sent(*given: Any) -> Any:
        done.append("sent")
        return await send(*given)

    monkeypatch.setattr("consensus.models._sdk_client.to_json", composed)
    monkeypatch.setattr(client._transport, "send", sent)
    await asyncio.gather(*(client.complete(ask(model(client)), timeout_s=20) for _ in range(4)))
    assert done == ["composed"] * 4 + ["sent"] * 4


async def test_credentials_that_are_renewed_are_left_to_the_sdk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_fixed", lambda _: False)
    client._ways.clear()
    through = await counted(client, monkeypatch)
    for _ in range(2):
        await client.complete(ask(model(client)), timeout_s=20)
    assert len(through) == 2


async def test_a_refused_key_makes_the_sdk_begin_anew(
    client: Client, loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.set_script(lambda asked: Reply(status=401) if asked.n == 2 else None)
    with pytest.raises(ProviderError):
        await client.complete(ask(model(client)), timeout_s=20)
    through = await counted(client, monkeypatch)
    for _ in range(2):
        await client.complete(ask(model(client)), timeout_s=20)
    assert len(through) == 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_every_fault_means_what_it_means_at_first(
    client: Client, loopback: LoopbackProvider, fault: Fault
) -> None:
    reply, failure, retryable, status = fault
    loopback.set_script(lambda _: reply)
    with pytest.raises(ProviderError) as later:
        await client.complete(ask(model(client)), timeout_s=1.0)
    client._ways.clear()
    with pytest.raises(ProviderError) as first:
        await client.complete(ask(model(client)), timeout_s=1.0)
    error = later.value
    assert (error.failure, error.retryable, error.status) == (failure, retryable, status)
    assert error.retry_after_s == (7.0 if reply.retry_after else None)
    assert str(error) == str(first.value)
    assert_tells_nothing(error)
    assert len(loopback.requests) == 3  # a fault is shown to the SDK, and not asked for again


async def test_compressed_answers_are_read_later_too(
    client: Client, loopback: LoopbackProvider
) -> None:
    body = '{"model": "m", "content": [{"type": "text", "text": "yes"}], '
    body += '"choices": [{"message": {"content": "yes"}}]}'
    raw = gzip.compress(body.encode()).decode("latin-1")
    headers = {"content-encoding": "gzip"}
    loopback.set_script(lambda _: Reply(raw=raw, headers=headers, content_type="application/json"))
    answer = await client.complete(ask(model(client), output_schema=None), timeout_s=20)
    assert answer.text == "yes"
