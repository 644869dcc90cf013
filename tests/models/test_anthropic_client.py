"""The Anthropic client: the real SDK against a provider on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consensus.ballots import Usage
from consensus.errors import ProviderError
from consensus.models.anthropic_client import AnthropicClient, read_usage
from consensus.models.prices import PriceBook
from consensus.models.protocol import ModelClient, Part, Turn
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

HAIKU = "anthropic/claude-haiku-5-5"
OPUS = "anthropic/claude-opus-5-5"
OLDER = "anthropic/claude-haiku-4-5"
PRICES = PriceBook()


@pytest.fixture
async def client(loopback: LoopbackProvider) -> AsyncIterator[AnthropicClient]:
    made = AnthropicClient(api_key=KEY, base_url=loopback.url, prices=PRICES)
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


def test_it_is_a_model_client() -> None:
    assert isinstance(AnthropicClient(prices=PRICES), ModelClient)


async def test_it_can_be_prepared_before_any_deadline_runs() -> None:
    client = AnthropicClient(prices=PRICES)
    await client.prepare()
    await client.aclose()
    assert "anthropic" in sys.modules


def test_importing_it_imports_no_sdk() -> None:
    code = (
        "import sys, consensus.models.anthropic_client;"
        "assert not {'anthropic', 'litellm', 'openai', 'httpx', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestAsking:
    async def test_a_ballot_comes_back_whole(self, client: AnthropicClient) -> None:
        done = await client.complete(ask(HAIKU), timeout_s=20)
        assert json.loads(done.text) == {"rationale": "ok", "answer": "approve", "confidence": 0.8}
        assert (done.served_model, done.finish) == (HAIKU, "stop")
        assert done.request_id == "req_000000000000000000000001"
        assert done.headers["anthropic-ratelimit-requests-remaining"] == "3999"
        assert done.latency_s > 0
        assert done.choice_probabilities is None

    async def test_where_the_api_can_it_holds_the_model_to_the_schema(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        await client.complete(ask(HAIKU), timeout_s=20)
        schema = sent[0]["output_config"]["format"]["schema"]
        assert schema["properties"]["answer"] == {"enum": ["approve", "reject"]}
        assert "minimum" not in schema["properties"]["confidence"]  # the API refuses bounds
        assert "tools" not in sent[0]

    async def test_else_a_tool_is_forced(self, loopback: LoopbackProvider) -> None:
        prices = PriceBook({OLDER: {"supports_native_structured_output": False}})
        client = AnthropicClient(api_key=KEY, base_url=loopback.url, prices=prices)
        bodies = Bodies()
        loopback.set_script(bodies)
        done = await client.complete(ask(OLDER), timeout_s=20)
        await client.aclose()
        assert bodies[0]["tool_choice"] == {"type": "tool", "name": "answer"}
        assert bodies[0]["tools"][0]["input_schema"] == BALLOT
        assert json.loads(done.text)["answer"] == "approve"
        assert done.finish == "stop"

    async def test_else_the_schema_is_put_in_words(self, loopback: LoopbackProvider) -> None:
        prices = PriceBook({OPUS: {"supports_native_structured_output": False}})
        client = AnthropicClient(api_key=KEY, base_url=loopback.url, prices=prices)
        bodies = Bodies()
        loopback.set_script(bodies)
        await client.complete(ask(OPUS), timeout_s=20)  # takes no forced tool either
        await client.aclose()
        assert "tools" not in bodies[0]
        assert json.dumps(BALLOT) in bodies[0]["system"]
        assert bodies[0]["system"].startswith("You are a judge.")

    async def test_a_schema_that_the_api_cannot_express_is_not_lost(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        schema = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}
        await client.complete(ask(OLDER, output_schema=schema), timeout_s=20)
        assert sent[0]["tools"][0]["input_schema"] == schema

    async def test_the_answer_is_never_prefilled(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        for model in (HAIKU, OPUS, OLDER):
            await client.complete(ask(model), timeout_s=20)
        assert {body["messages"][-1]["role"] for body in sent} == {"user"}

    async def test_newer_models_get_no_temperature(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        for model in (HAIKU, OPUS, OLDER):
            await client.complete(ask(model, temperature=0.7), timeout_s=20)
        assert [body.get("temperature") for body in sent] == [None, None, 0.7]

    async def test_models_that_think_get_room_for_it(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        for model in (OPUS, OLDER):
            await client.complete(ask(model), timeout_s=20)
        assert [body["max_tokens"] for body in sent] == [200 + THINKING_ROOM, 200]
        assert "thinking" not in sent[0]

    async def test_blocks_read_as_the_turn_does_and_none_is_empty(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        turn = Turn("user", (Part("one"), Part("  "), Part("two"), Part("")))
        await client.complete(ask(HAIKU, turns=(turn,), system=""), timeout_s=20)
        texts = [block["text"] for block in sent[0]["messages"][0]["content"]]
        assert "".join(texts) == "one\n\ntwo"
        assert "system" not in sent[0]

    async def test_a_conversation_keeps_its_turns(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        turns = (
            Turn("user", (Part("a"),)),
            Turn("assistant", (Part("b"),)),
            Turn("user", (Part("c"),)),
        )
        await client.complete(ask(HAIKU, turns=turns), timeout_s=20)
        assert [(m["role"], m["content"]) for m in sent[0]["messages"]] == [
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
        ]


class TestCaching:
    async def test_a_long_shared_prefix_is_written_once_and_then_read(
        self, client: AnthropicClient
    ) -> None:
        first = await client.complete(ask(HAIKU), timeout_s=20)
        other = Turn("user", (Part("The rules. " * 500, cache=True), Part("another subject")))
        second = await client.complete(ask(HAIKU, turns=(other,)), timeout_s=20)
        assert first.usage.cache_write == second.usage.cache_read > 1000
        assert second.usage.cache_write == first.usage.cache_read == 0
        price = PRICES.price(HAIKU)
        assert price.cost_pico(second.usage) < price.cost_pico(first.usage) / 5

    async def test_a_short_prefix_is_not_marked(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        turn = Turn("user", (Part("short", cache=True), Part("x")))
        await client.complete(ask(HAIKU, turns=(turn,)), timeout_s=20)
        assert "cache_control" not in json.dumps(sent[0])

    async def test_what_is_long_enough_depends_on_the_model(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        for model in (HAIKU, OLDER):  # 512 and 4,096 tokens
            await client.complete(ask(model), timeout_s=20)
        assert ["cache_control" in json.dumps(body) for body in sent] == [True, False]

    async def test_the_system_prompt_counts_towards_the_prefix(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        turn = Turn("user", (Part("short", cache=True), Part("x")))
        await client.complete(ask(HAIKU, turns=(turn,), system="s" * 2100), timeout_s=20)
        assert "cache_control" in json.dumps(sent[0])

    async def test_of_many_marks_the_last_four_are_sent(
        self, client: AnthropicClient, sent: Bodies
    ) -> None:
        turn = Turn("user", tuple(Part(f"{i} " * 3000, cache=True) for i in range(6)))
        await client.complete(ask(HAIKU, turns=(turn,)), timeout_s=20)
        blocks = sent[0]["messages"][0]["content"]
        assert ["cache_control" in block for block in blocks] == [False] * 2 + [True] * 4


class TestReading:
    async def test_the_served_model_is_told_and_is_what_is_billed(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(served_model="claude-haiku-4-5-20251001"))
        done = await client.complete(ask(OPUS), timeout_s=20)
        assert done.served_model == "anthropic/claude-haiku-4-5-20251001"
        assert PRICES.price(done.served_model).key == "claude-haiku-4-5-20251001"

    async def test_thinking_is_billed_and_not_read(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(thinking="hm " * 40, text="yes"))
        done = await client.complete(ask(OPUS, output_schema=None), timeout_s=20)
        assert done.text == "yes"
        assert done.usage.reasoning == 30
        assert done.usage.output == 31

    async def test_a_refusal_is_one(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(refusal=True))
        done = await client.complete(ask(HAIKU), timeout_s=20)
        assert (done.finish, done.text) == ("refusal", "")
        assert done.usage.total_input > 0

    @pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
    async def test_an_answer_that_ran_out_of_room_says_so(
        self, client: AnthropicClient, loopback: LoopbackProvider, reason: str
    ) -> None:
        loopback.set_script(lambda _: Reply(finish=reason, text='{"answer": "app'))
        assert (await client.complete(ask(HAIKU), timeout_s=20)).finish == "length"

    async def test_an_empty_answer_is_empty(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(empty=True))
        done = await client.complete(ask(HAIKU), timeout_s=20)
        assert (done.text, done.usage.output) == ("", 1)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(no_usage=True),
            Reply(usage={"input_tokens": -5}),
            Reply(usage={"output_tokens": "9"}),
        ],
        ids=["missing", "negative", "no-number"],
    )
    async def test_a_usage_that_cannot_be_billed_by_is_left_empty(
        self, client: AnthropicClient, loopback: LoopbackProvider, reply: Reply
    ) -> None:
        loopback.set_script(lambda _: reply)
        assert (await client.complete(ask(HAIKU), timeout_s=20)).usage == Usage()

    def test_written_tokens_are_split_by_lifetime(self) -> None:
        raw = {
            "input_tokens": 3,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
            "output_tokens": 5,
        }
        usage = Usage(input=3, cache_read=7, cache_write=40, cache_write_1h=60, output=5)
        assert read_usage(raw) == usage

    def test_a_split_that_says_less_makes_nothing_free(self) -> None:
        raw = {
            "input_tokens": 3,
            "cache_creation_input_tokens": 100,
            "cache_creation": {"ephemeral_1h_input_tokens": 60},
            "output_tokens": 5,
        }
        usage = read_usage(raw)
        assert usage is not None
        assert (usage.cache_write, usage.cache_write_1h) == (40, 60)


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    async def test_every_fault_has_its_class_and_tells_nothing(
        self, client: AnthropicClient, loopback: LoopbackProvider, fault: Fault
    ) -> None:
        reply, failure, retryable, status = fault
        loopback.set_script(lambda _: reply)
        await client.aclose()
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(HAIKU), timeout_s=1.0)
        error = caught.value
        assert (error.failure, error.retryable, error.status) == (failure, retryable, status)
        assert error.model == HAIKU
        assert error.retry_after_s == (7.0 if reply.retry_after else None)
        assert_tells_nothing(error)
        assert len(loopback.requests) == 1  # one attempt: retrying is the gateway's business

    async def test_a_server_that_is_not_there_is_a_connection_failure(self) -> None:
        client = AnthropicClient(api_key=KEY, base_url="http://127.0.0.1:9", prices=PRICES)
        with pytest.raises(ProviderError) as caught:
            await client.complete(ask(HAIKU), timeout_s=20)
        await client.aclose()
        assert (caught.value.failure, caught.value.retryable) == ("connection", True)
        assert_tells_nothing(caught.value)

    @pytest.mark.parametrize("folder", ["", "nowhere"], ids=["no-profile", "broken-profile"])
    async def test_without_a_key_it_says_which_variable_to_set(
        self, loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        if folder:
            monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", folder)
        client = AnthropicClient(base_url=loopback.url, prices=PRICES)
        with pytest.raises(ProviderError, match="set ANTHROPIC_API_KEY") as caught:
            await client.complete(ask(HAIKU), timeout_s=20)
        await client.aclose()
        assert (caught.value.failure, caught.value.retryable) == ("auth", False)
        assert loopback.requests == []

    async def test_key_and_endpoint_come_from_the_environment(
        self, loopback_env: LoopbackProvider
    ) -> None:
        client = AnthropicClient(prices=PRICES)
        await client.complete(ask(HAIKU), timeout_s=20)
        await client.aclose()
        assert len(loopback_env.requests) == 1

    async def test_nothing_is_logged_even_at_debug_level(
        self, client: AnthropicClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        await client.complete(ask(HAIKU), timeout_s=20)
        assert "Ada Lovelace" not in caplog.text
        assert KEY not in caplog.text


class TestCounting:
    async def test_the_api_counts_the_tokens(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        request = ask(HAIKU)
        counted = await client.count_tokens(request)
        done = await client.complete(request, timeout_s=20)
        assert counted == done.usage.total_input
        assert loopback.requests[0].path == "/v1/messages/count_tokens"

    @pytest.mark.parametrize(
        "reply", [Reply(status=500), Reply(raw="{}"), Reply(raw="["), Reply(cut="before")]
    )
    async def test_where_it_cannot_there_is_a_safe_bound(
        self, client: AnthropicClient, loopback: LoopbackProvider, reply: Reply
    ) -> None:
        loopback.set_script(lambda _: reply)
        request = ask(HAIKU)
        assert await client.count_tokens(request) >= request.input_bytes()


class TestManyAtOnce:
    async def test_a_fan_out_is_not_throttled_by_the_pool(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        loopback.set_script(lambda _: Reply(latency_s=0.3))
        await client.complete(ask(HAIKU), timeout_s=20)
        await asyncio.gather(*(client.complete(ask(HAIKU), timeout_s=20) for _ in range(80)))
        assert loopback.log.most_in_flight > 60

    async def test_a_cancelled_call_leaves_nothing_running(
        self, client: AnthropicClient, loopback: LoopbackProvider
    ) -> None:
        asked = asyncio.Event()

        def slow(_: RequestInfo) -> Reply:
            asked.set()
            return Reply(latency_s=0.2)

        loopback.set_script(slow)
        task = asyncio.create_task(client.complete(ask(HAIKU), timeout_s=20))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        names = {t.get_coro().__qualname__ for t in asyncio.all_tasks()}  # type: ignore[union-attr]
        assert not any("complete" in name or "post" in name for name in names)
