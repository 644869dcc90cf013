"""Chat completions by two clients, litellm and OpenAI's SDK alone: one protocol, one outcome."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from consensus.ballots import Usage
from consensus.errors import ProviderError
from consensus.models.chat_completions import read_usage
from consensus.models.litellm_client import LiteLLMClient
from consensus.models.openai_client import OpenAIClient
from consensus.models.prices import PriceBook
from consensus.models.protocol import ModelClient
from consensus.models.windows import THINKING_ROOM
from tests.loopback import LoopbackProvider, Reply, RequestInfo
from tests.models.provider_faults import (
    BALLOT,
    FAULTS,
    KEY,
    Fault,
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


Kind = type[LiteLLMClient] | type[OpenAIClient]
Client = LiteLLMClient | OpenAIClient


@pytest.fixture(params=[LiteLLMClient, OpenAIClient], ids=["litellm", "openai"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
async def client(kind: Kind, loopback: LoopbackProvider) -> AsyncIterator[Client]:
    made = kind(api_key=KEY, base_url=loopback.openai_url, prices=PRICES)
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


def test_each_is_a_model_client(kind: Kind) -> None:
    assert isinstance(kind(prices=PRICES), ModelClient)


@pytest.mark.parametrize("module", ["litellm_client", "openai_client"])
def test_importing_either_imports_no_sdk(module: str) -> None:
    code = (
        f"import sys, consensus.models.{module};"
        "assert not {'anthropic', 'litellm', 'openai', 'httpx', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestAsking:
    async def test_a_ballot_comes_back_whole(self, client: Client) -> None:
        done = await client.complete(ask(GPT), timeout_s=60)
        assert json.loads(done.text) == {"rationale": "ok", "answer": "approve", "confidence": 0.8}
        assert (done.served_model, done.finish) == (GPT, "stop")
        assert done.request_id == "req_000000000000000000000001"
        assert done.headers["x-ratelimit-remaining-requests"] == "3999"
        assert done.choice_probabilities is None

    async def test_a_closed_schema_is_strict(self, client: Client, sent: Bodies) -> None:
        await client.complete(ask(GPT), timeout_s=60)
        assert sent[0]["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": BALLOT, "strict": True},
        }

    async def test_an_open_schema_is_not(self, client: Client, sent: Bodies) -> None:
        schema = {"type": "object", "properties": {"x": {"type": "string"}}}
        await client.complete(ask(GPT, output_schema=schema), timeout_s=60)
        assert sent[0]["response_format"]["json_schema"]["strict"] is False

    async def test_a_model_that_cannot_gets_the_schema_in_words(
        self, kind: Kind, loopback: LoopbackProvider, sent: Bodies
    ) -> None:
        prices = PriceBook({GPT: {"supports_response_schema": False}})
        client = kind(api_key=KEY, base_url=loopback.openai_url, prices=prices)
        await client.complete(ask(GPT), timeout_s=60)
        await client.aclose()
        assert "response_format" not in sent[0]
        assert json.dumps(BALLOT) in sent[0]["messages"][0]["content"]

    async def test_a_model_that_nobody_lists_is_held_to_the_schema(
        self, client: Client, sent: Bodies
    ) -> None:
        await client.complete(ask("openai/in-house"), timeout_s=60)
        assert sent[0]["response_format"]["type"] == "json_schema"

    async def test_parts_are_joined_by_blank_lines(self, client: Client, sent: Bodies) -> None:
        request = ask(GPT)
        await client.complete(request, timeout_s=60)
        assert sent[0]["messages"] == [
            {"role": "system", "content": request.system},
            {"role": "user", "content": request.turns[0].text},
        ]

    async def test_what_a_model_does_not_take_is_left_out(
        self, client: Client, sent: Bodies
    ) -> None:
        for model in ("openai/gpt-4o", "openai/gpt-5"):
            await client.complete(ask(model, temperature=0.3, seed=7), timeout_s=60)
        assert (sent[0]["temperature"], sent[0]["seed"]) == (0.3, 7)
        assert "temperature" not in sent[1]

    async def test_models_that_think_get_room_for_it(self, client: Client, sent: Bodies) -> None:
        for model in (GPT, "openai/gpt-5"):
            await client.complete(ask(model), timeout_s=60)
        limits = [body.get("max_completion_tokens") or body["max_tokens"] for body in sent]
        assert limits == [200, 200 + THINKING_ROOM]


class TestTokenBallots:
    async def test_probabilities_are_read_from_the_first_token(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        mass = {"approve": 0.6, " Approve": 0.1, "reject": 0.2, "I": 0.1}
        loopback.set_script(lambda _: Reply(probabilities=mass))
        request = ask(GPT, output_schema=None, choices=("approve", "reject"))
        done = await client.complete(request, timeout_s=60)
        assert done.text == "approve"
        assert done.choice_probabilities == pytest.approx((7 / 9, 2 / 9))
        assert done.coverage == pytest.approx(0.9)

    async def test_what_cannot_be_told_is_not_told(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(probabilities={"ref": 0.9, "hold": 0.1}))
        request = ask(GPT, output_schema=None, choices=("refund", "refuse", "hold"))
        done = await client.complete(request, timeout_s=60)
        assert done.choice_probabilities is None

    async def test_a_model_without_log_probabilities_is_asked_without(
        self, client: Client, sent: Bodies
    ) -> None:
        request = ask("openai/gpt-5", output_schema=None, choices=("approve", "reject"))
        done = await client.complete(request, timeout_s=60)
        assert "logprobs" not in sent[0]
        assert "top_logprobs" not in sent[0]
        assert done.choice_probabilities is None


class TestReading:
    async def test_cached_tokens_have_their_own_price(self, client: Client) -> None:
        first = await client.complete(ask(GPT), timeout_s=60)
        second = await client.complete(ask(GPT), timeout_s=60)
        assert first.usage.cache_read == 0
        assert second.usage.cache_read >= 1024
        assert second.usage.total_input == first.usage.input
        price = PRICES.price(GPT)
        saved = second.usage.cache_read * (2_500_000 - 250_000)
        assert price.cost_pico(first.usage) - price.cost_pico(second.usage) == saved

    async def test_the_served_model_is_told_and_is_what_is_billed(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(served_model="gpt-5.4-nano-2026-03-17"))
        done = await client.complete(ask(GPT), timeout_s=60)
        assert done.served_model == "openai/gpt-5.4-nano-2026-03-17"
        assert PRICES.price(done.served_model).rates().input == 200_000

    @pytest.mark.parametrize(
        ("reply", "finish"),
        [
            (Reply(refusal=True), "refusal"),
            (Reply(finish="content_filter", empty=True), "refusal"),
            (Reply(finish="length", text='{"answer": "app'), "length"),
            (Reply(finish="stop"), "stop"),
        ],
        ids=["refusal", "filter", "length", "stop"],
    )
    async def test_how_an_answer_ended_is_told(
        self, client: Client, loopback: LoopbackProvider, reply: Reply, finish: str
    ) -> None:
        loopback.set_script(lambda _: reply)
        done = await client.complete(ask(GPT), timeout_s=60)
        assert done.finish == finish
        assert done.usage.total_input > 0

    async def test_an_answer_without_a_choice_is_malformed_and_was_billed(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        usage = '{"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51}'
        raw = '{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-5.4",'
        loopback.set_script(lambda _: Reply(raw=f'{raw} "choices": [], "usage": {usage}}}'))
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(GPT), timeout_s=60)
        assert caught.value.failure == "malformed_response"
        assert caught.value.usage == Usage(input=50, output=1)
        assert caught.value.served_model == GPT

    @pytest.mark.parametrize(
        "reply", [Reply(no_usage=True), Reply(usage={"prompt_tokens": -5})], ids=["no", "negative"]
    )
    async def test_a_usage_that_cannot_be_billed_by_is_left_empty(
        self, client: Client, loopback: LoopbackProvider, reply: Reply
    ) -> None:
        loopback.set_script(lambda _: reply)
        assert (await client.complete(ask(GPT), timeout_s=60)).usage == Usage()


def raw_usage(**fields: Any) -> SimpleNamespace:
    """A usage as litellm gives it."""
    return SimpleNamespace(
        **{
            name: SimpleNamespace(**value) if isinstance(value, dict) else value
            for name, value in fields.items()
        }
    )


class TestUsage:
    def test_cached_tokens_inside_the_prompt_are_taken_off_it(self) -> None:
        raw = raw_usage(
            prompt_tokens=100, completion_tokens=7, prompt_tokens_details={"cached_tokens": 60}
        )
        assert read_usage(raw) == Usage(input=40, cache_read=60, output=7)

    def test_cached_tokens_beside_the_prompt_are_not(self) -> None:
        raw = raw_usage(
            prompt_tokens=10, completion_tokens=7, prompt_tokens_details={"cached_tokens": 60}
        )
        assert read_usage(raw) == Usage(input=10, cache_read=60, output=7)

    def test_writes_are_split_by_lifetime(self) -> None:
        split = SimpleNamespace(ephemeral_5m_input_tokens=10, ephemeral_1h_input_tokens=20)
        raw = raw_usage(
            prompt_tokens=100,
            completion_tokens=7,
            prompt_tokens_details={
                "cached_tokens": 50,
                "cache_creation_tokens": 30,
                "cache_creation_token_details": split,
            },
        )
        usage = Usage(input=20, cache_read=50, cache_write=10, cache_write_1h=20, output=7)
        assert read_usage(raw) == usage

    def test_thinking_inside_the_output_is_not_added(self) -> None:
        raw = raw_usage(
            prompt_tokens=10,
            completion_tokens=50,
            total_tokens=60,
            completion_tokens_details={"reasoning_tokens": 40},
        )
        assert read_usage(raw) == Usage(input=10, output=50, reasoning=40)

    def test_thinking_beside_the_output_is(self) -> None:
        raw = raw_usage(
            prompt_tokens=10,
            completion_tokens=50,
            total_tokens=100,
            completion_tokens_details={"reasoning_tokens": 40},
        )
        assert read_usage(raw) == Usage(input=10, output=90, reasoning=40)

    def test_nothing_said_is_nothing_known(self) -> None:
        assert read_usage(None) is None
        assert read_usage(raw_usage(prompt_tokens=0, completion_tokens=0)) is None


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    async def test_every_fault_has_its_class_and_tells_nothing(
        self, client: Client, loopback: LoopbackProvider, fault: Fault
    ) -> None:
        reply, failure, retryable, status = fault
        loopback.set_script(lambda _: reply)
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(GPT), timeout_s=1.5)
        error = caught.value
        assert (error.failure, error.retryable, error.status) == (failure, retryable, status)
        assert error.model == GPT
        assert error.retry_after_s == (7.0 if reply.retry_after else None)
        assert_tells_nothing(error)
        assert len(loopback.requests) == 1  # one attempt: retrying is the gateway's business

    @pytest.mark.parametrize(
        ("code", "failure"),
        [
            ("context_length_exceeded", "request_too_large"),
            ("content_filter", "refusal"),
            ("model_not_found", "not_found"),
        ],
    )
    async def test_the_providers_code_says_more_than_the_status(
        self, client: Client, loopback: LoopbackProvider, code: str, failure: str
    ) -> None:
        loopback.set_script(lambda _: Reply(status=400, error_code=code))
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(GPT), timeout_s=60)
        assert caught.value.failure == failure
        assert_tells_nothing(caught.value)

    async def test_a_spent_account_is_not_asked_again(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(status=429, error_code="insufficient_quota"))
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(GPT), timeout_s=60)
        assert (caught.value.failure, caught.value.retryable) == ("rate_limited", False)

    async def test_a_server_that_is_not_there_is_a_connection_failure(self, kind: Kind) -> None:
        client = kind(api_key=KEY, base_url="http://127.0.0.1:9/v1", prices=PRICES)
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(GPT), timeout_s=60)
        await client.aclose()
        assert (caught.value.failure, caught.value.retryable) == ("connection", True)
        assert_tells_nothing(caught.value)

    async def test_without_a_key_it_says_which_variable_to_set(self, kind: Kind) -> None:
        client = kind(prices=PRICES)
        with pytest.raises(ProviderError, match="set OPENAI_API_KEY") as caught:
            await client.complete(ask(GPT), timeout_s=60)
        assert (caught.value.failure, caught.value.retryable) == ("auth", False)

    async def test_a_server_of_ones_own_needs_no_key(
        self, kind: Kind, loopback: LoopbackProvider
    ) -> None:
        client = kind(base_url=loopback.openai_url, prices=PRICES)
        done = await client.complete(ask("openai/in-house"), timeout_s=60)
        await client.aclose()
        assert done.served_model == "openai/in-house"

    async def test_key_and_endpoint_come_from_the_environment(
        self, kind: Kind, loopback_env: LoopbackProvider
    ) -> None:
        client = kind(prices=PRICES)
        await client.complete(ask(GPT), timeout_s=60)
        await client.aclose()
        assert len(loopback_env.requests) == 1


class TestQuiet:
    async def test_nothing_is_logged_or_printed(
        self,
        client: Client,
        loopback: LoopbackProvider,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        caplog.set_level(logging.DEBUG)
        await client.complete(ask(GPT), timeout_s=60)
        loopback.set_script(lambda _: Reply(status=401))
        with pytest.raises(ProviderError):
            await client.complete(ask(GPT), timeout_s=60)
        out, err = capfd.readouterr()
        for told in (caplog.text, out, err):
            assert "Ada Lovelace" not in told
            assert KEY not in told
        assert "Give Feedback" not in out + err

    async def test_nothing_is_left_running(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        before = asyncio.all_tasks()
        await client.complete(ask(GPT), timeout_s=60)
        loopback.set_script(lambda _: Reply(status=500))
        with pytest.raises(ProviderError):
            await client.complete(ask(GPT), timeout_s=60)
        await client.aclose()
        left = {t.get_coro().__qualname__ for t in asyncio.all_tasks() - before}  # type: ignore[union-attr]
        assert {name for name in left if not name.startswith("RequestHandler")} == set()


class TestCounting:
    async def test_openai_models_are_counted_by_their_tokenizer(self, client: Client) -> None:
        request = ask(GPT)
        count = await client.count_tokens(request)
        assert 1000 < count < request.input_bytes() / 2

    @pytest.mark.parametrize("model", ["gemini/gemini-2.5-flash", "openai/in-house"])
    async def test_others_get_a_safe_bound(self, client: Client, model: str) -> None:
        request = ask(model)
        assert await client.count_tokens(request) >= request.input_bytes()


class TestManyAtOnce:
    async def test_a_fan_out_is_not_throttled_by_the_pool(
        self, client: Client, loopback: LoopbackProvider
    ) -> None:
        await client.complete(ask(GPT), timeout_s=60)
        loopback.set_script(lambda _: Reply(latency_s=1.0))
        await asyncio.gather(*(client.complete(ask(GPT), timeout_s=60) for _ in range(40)))
        assert loopback.log.most_in_flight == 40
