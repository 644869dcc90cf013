"""The litellm client: real litellm and OpenAI SDK against a provider on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consensus.errors import ProviderError
from consensus.models.litellm_client import LiteLLMClient
from consensus.models.prices import PriceBook
from tests.loopback import LoopbackProvider, Reply, RequestInfo
from tests.models.provider_faults import (
    KEY,
    ask,
    assert_tells_nothing,
)

pytest_plugins = ("tests.loopback.fixtures",)
# litellm's own imports warn.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
]

GPT = "openai/gpt-5.4"
PRICES = PriceBook()


@pytest.fixture
async def client(loopback: LoopbackProvider) -> AsyncIterator[LiteLLMClient]:
    made = LiteLLMClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    yield made
    await made.aclose()


class Bodies(list[dict[str, Any]]):
    """A script that keeps what it was asked."""

    def __call__(self, asked: RequestInfo) -> None:
        self.append(asked.body)


@pytest.fixture
def sent(loopback: LoopbackProvider) -> Bodies:
    bodies = Bodies()
    loopback.set_script(bodies)
    return bodies


async def test_it_can_be_prepared_before_any_deadline_runs() -> None:
    client = LiteLLMClient(prices=PRICES)
    await client.prepare()
    await client.aclose()
    assert "litellm" in sys.modules


class TestAlone:
    async def test_the_price_map_is_not_fetched(self, client: LiteLLMClient) -> None:
        await client.complete(ask(GPT), timeout_s=60)
        assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"

    async def test_a_provider_that_litellm_does_not_know_is_not_asked(self) -> None:
        client = LiteLLMClient(api_key=KEY, prices=PRICES)
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask("nobody/model"), timeout_s=60)
        assert caught.value.failure == "bad_request"
        assert not caught.value.retryable
        assert_tells_nothing(caught.value)

    async def test_the_hosts_callbacks_are_not_called(
        self, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await client.complete(ask(GPT), timeout_s=60)  # imports litellm
        import litellm

        called: list[object] = []
        monkeypatch.setattr(litellm, "success_callback", [lambda *args: called.append(args)])
        await client.complete(ask(GPT), timeout_s=60)
        await asyncio.sleep(0.2)
        assert called == []


class TestOtherProviders:
    async def test_a_provider_with_its_own_endpoint_variable_is_reached_there(
        self, loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import litellm

        monkeypatch.setenv("HOSTED_VLLM_API_BASE", loopback.openai_url)
        client = LiteLLMClient(api_key=KEY, prices=PRICES)
        done = await client.complete(ask("hosted_vllm/qwen"), timeout_s=60)
        await client.aclose()
        await litellm.close_litellm_async_clients()
        assert done.served_model == "hosted_vllm/qwen"
        assert json.loads(done.text)["answer"] == "approve"

    @pytest.mark.parametrize("status", [401, 429, 500, 503])
    async def test_their_faults_are_translated_too(
        self, loopback: LoopbackProvider, status: int
    ) -> None:
        import litellm

        loopback.set_script(lambda _: Reply(status=status, retry_after=7))
        client = LiteLLMClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask("hosted_vllm/qwen"), timeout_s=60)
        await client.aclose()
        await litellm.close_litellm_async_clients()
        assert caught.value.status == status
        assert caught.value.retry_after_s == 7.0
        assert_tells_nothing(caught.value)
        assert len(loopback.requests) == 1
