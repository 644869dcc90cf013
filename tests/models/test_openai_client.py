"""What the OpenAI client sends, held to what litellm sends for the same request."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import pytest

from consensus.ballots import Usage
from consensus.errors import ProviderError
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.litellm_client import LiteLLMClient
from consensus.models.openai_client import OpenAIClient
from consensus.models.price_map import load_map
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion
from tests.loopback import LoopbackProvider, Reply, RequestInfo
from tests.models.provider_faults import KEY, ask, assert_tells_nothing

pytest_plugins = ("tests.loopback.fixtures",)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
]

PRICES = PriceBook()
CHAT_MODELS = sorted(
    f"openai/{name.removeprefix('openai/')}"
    for name, entry in load_map().entries.items()
    if entry.get("litellm_provider") == "openai" and entry.get("mode") == "chat"
)


class Bodies(list[dict[str, Any]]):
    """A script that keeps what it was asked, and answers everything."""

    def __call__(self, asked: RequestInfo) -> Reply:
        self.append(asked.body)
        return Reply(text="approve")


async def test_every_listed_model_is_sent_what_litellm_would_send(
    loopback: LoopbackProvider,
) -> None:
    bodies = Bodies()
    loopback.set_script(bodies)
    ours = OpenAIClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    theirs = LiteLLMClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    differ = []
    for model in (*CHAT_MODELS, "openai/in-house"):
        for changes in (
            {"temperature": 0.3, "seed": 7},
            {"temperature": 1.0, "output_schema": None, "choices": ("approve", "reject")},
        ):
            bodies.clear()
            for client in (ours, theirs):
                with contextlib.suppress(ProviderError):  # what the provider refuses of either
                    await client.complete(ask(model, **changes), timeout_s=60)
            if len(bodies) != 2 or bodies[0] != bodies[1]:
                differ.append((model, bodies[:]))
    await ours.aclose()
    await theirs.aclose()
    assert len(CHAT_MODELS) > 80
    assert differ == []


async def test_a_model_of_another_endpoint_is_left_to_litellm(
    loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    answer = Completion("from litellm", "openai/x", Usage())

    async def complete(self: LiteLLMClient, request: Any, *, timeout_s: float) -> Completion:
        asked.append(request.model)
        return answer

    monkeypatch.setattr(LiteLLMClient, "complete", complete)
    client = OpenAIClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    model = "openai/gpt-5-codex"
    assert PRICES.fact(model, "mode") == "responses"
    assert await client.complete(ask(model), timeout_s=60) is answer
    await client.aclose()
    assert (asked, loopback.requests) == ([model], [])


async def test_a_server_under_a_name_of_ones_own_is_spoken_to_in_openais_protocol(
    loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_KEY", KEY)
    settings = ProviderSettings(loopback.openai_url, "TEAM_KEY")
    clients = ClientFactory({"in-house": settings}, PRICES)
    client = clients.client("in-house/judge-7b")
    assert isinstance(client, OpenAIClient)
    done = await client.complete(ask("in-house/judge-7b"), timeout_s=60)
    assert done.served_model == "in-house/judge-7b"
    assert loopback.requests[0].model == "judge-7b"
    loopback.set_script(lambda _: Reply(status=429, retry_after=7))
    with pytest.raises(ProviderError, match="in-house answered 429") as caught:
        await client.complete(ask("in-house/judge-7b"), timeout_s=60)
    await clients.aclose()
    assert caught.value.retry_after_s == 7.0
    assert_tells_nothing(caught.value)


@pytest.mark.parametrize("provider", ["groq", "gemini", "ollama_chat", "hosted_vllm"])
def test_a_provider_that_litellm_knows_goes_through_it_whatever_its_endpoint(
    provider: str,
) -> None:
    clients = ClientFactory({provider: ProviderSettings("http://127.0.0.1:1/v1")}, PRICES)
    assert isinstance(clients.client(f"{provider}/m"), LiteLLMClient)


async def test_a_name_of_ones_own_without_an_endpoint_goes_through_litellm() -> None:
    assert isinstance(ClientFactory(prices=PRICES).client("in-house/m"), LiteLLMClient)


@pytest.mark.parametrize(
    "raw",
    [
        '{"choices": "none"}',
        '{"choices": [null]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [], "usage": "much"}',
    ],
)
async def test_an_answer_of_a_strange_shape_is_malformed(
    loopback: LoopbackProvider, raw: str
) -> None:
    loopback.set_script(lambda _: Reply(raw=raw))
    client = OpenAIClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    with pytest.raises(ProviderError) as caught:
        await client.complete(ask("openai/gpt-5.4"), timeout_s=60)
    await client.aclose()
    assert (caught.value.failure, caught.value.retryable) == ("malformed_response", True)


async def test_strange_details_cost_neither_the_answer_nor_its_usage(
    loopback: LoopbackProvider,
) -> None:
    raw = (
        '{"id": 7, "model": 5, "choices": [{"message": {"content": "approve"}, '
        '"finish_reason": ["stop"], "logprobs": {"content": [{"token": 1}]}}],'
        '"usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": [1]}}'
    )
    loopback.set_script(lambda _: Reply(raw=raw))
    client = OpenAIClient(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
    request = ask("openai/gpt-5.4", output_schema=None, choices=("approve", "reject"))
    done = await client.complete(request, timeout_s=60)
    await client.aclose()
    assert (done.text, done.finish, done.served_model) == ("approve", "other", "openai/gpt-5.4")
    assert (done.usage.input, done.usage.output) == (9, 1)


async def test_it_does_without_litellm(loopback: LoopbackProvider) -> None:
    code = (
        "import asyncio, sys\n"
        "from consensus.models.openai_client import OpenAIClient\n"
        "from consensus.models.prices import PriceBook\n"
        "from tests.models.provider_faults import ask\n"
        "async def main():\n"
        f"    c = OpenAIClient(base_url={loopback.openai_url!r}, prices=PriceBook())\n"
        "    await c.complete(ask('openai/gpt-5.4'), timeout_s=60)\n"
        "    await c.aclose()\n"
        "asyncio.run(main())\n"
        "assert 'litellm' not in sys.modules"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
