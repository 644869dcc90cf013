"""The loopback provider itself: what the SDKs need, what scripts can do, what is counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import anthropic
import jsonschema
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loopback import LoopbackProvider, Reply, RequestInfo, Rule, Script, example
from tests.loopback.accounting import PrefixCache, Segment
from tests.loopback.asking import named_choices, named_scale

pytest_plugins = ("tests.loopback.fixtures",)

BALLOT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string"},
        "answer": {"enum": ["approve", "reject"]},
        "confidence": {"type": "number"},
    },
    "required": ["rationale", "answer", "confidence"],
    "additionalProperties": False,
}
OPEN_SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}
HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]


def claude(provider: LoopbackProvider) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=provider.url, api_key="k", max_retries=0)


def gpt(provider: LoopbackProvider) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)


class TestAnthropic:
    async def test_messages(self, loopback: LoopbackProvider) -> None:
        async with claude(loopback) as sdk:
            message = await sdk.messages.create(
                model="claude-haiku-5-5", max_tokens=9, messages=HELLO
            )
        assert message.content[0].type == "text"
        assert message.stop_reason == "end_turn"
        assert message.usage.input_tokens == 2

    async def test_messages_are_streamed(self, loopback: LoopbackProvider) -> None:
        loopback.set_script(lambda _: Reply(text="one two", thinking="hm"))
        async with (
            claude(loopback) as sdk,
            sdk.messages.stream(model="claude-opus-5-5", max_tokens=9, messages=HELLO) as stream,
        ):
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        assert text == "one two"
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.usage.output_tokens == 3

    async def test_a_forced_tool_is_used(self, loopback: LoopbackProvider) -> None:
        async with claude(loopback) as sdk:
            message = await sdk.messages.create(
                model="claude-haiku-4-5",
                max_tokens=9,
                messages=HELLO,
                tools=[{"name": "vote", "input_schema": BALLOT}],
                tool_choice={"type": "tool", "name": "vote"},
            )
        assert message.stop_reason == "tool_use"
        block = message.content[0]
        assert block.type == "tool_use"
        jsonschema.validate(block.input, BALLOT)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"messages": []}, "at least one message"),
            ({"messages": [{"role": "user", "content": ""}]}, "must be non-empty"),
            ({"extra_body": {"temperature": 0.5}}, "sampling parameters"),
            ({"messages": [*HELLO, {"role": "assistant", "content": "{"}]}, "prefill"),
            (
                {
                    "tools": [{"name": "vote", "input_schema": BALLOT}],
                    "tool_choice": {"type": "tool", "name": "vote"},
                },
                "forced tool use",
            ),
            (
                {
                    "output_config": {
                        "format": {"type": "json_schema", "schema": {"type": "object"}}
                    }
                },
                "additionalProperties",
            ),
        ],
    )
    async def test_what_the_api_refuses_is_refused(
        self, loopback: LoopbackProvider, changes: dict[str, Any], message: str
    ) -> None:
        asked: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": HELLO}
        async with claude(loopback) as sdk:
            with pytest.raises(anthropic.BadRequestError, match=message):
                await sdk.messages.create(**{**asked, **changes})

    async def test_errors_have_the_apis_own_bodies(self, loopback: LoopbackProvider) -> None:
        loopback.set_script(lambda _: Reply(status=529, retry_after=3))
        async with claude(loopback) as sdk:
            with pytest.raises(anthropic.InternalServerError) as caught:
                await sdk.messages.create(model="m", max_tokens=9, messages=HELLO)
        assert caught.value.type == "overloaded_error"
        assert caught.value.request_id is not None
        assert caught.value.response.headers["retry-after"] == "3"

    async def test_models_are_listed(self, loopback: LoopbackProvider) -> None:
        async with claude(loopback) as sdk:
            names = [model.id async for model in sdk.models.list()]
        assert "claude-haiku-5-5" in names


class TestOpenAI:
    async def test_completions(self, loopback: LoopbackProvider) -> None:
        async with gpt(loopback) as sdk:
            done = await sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
        assert done.choices[0].message.content
        assert done.usage is not None
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens

    async def test_completions_are_streamed(self, loopback: LoopbackProvider) -> None:
        loopback.set_script(lambda _: Reply(text="one two"))
        async with gpt(loopback) as sdk:
            stream = await sdk.chat.completions.create(
                model="gpt-5.4",
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "one two"
        assert chunks[-1].usage is not None

    async def test_log_probabilities(self, loopback: LoopbackProvider) -> None:
        loopback.set_script(lambda _: Reply(probabilities={"yes": 0.75, "no": 0.25}))
        async with gpt(loopback) as sdk:
            done = await sdk.chat.completions.create(
                model="gpt-5.4", messages=HELLO, logprobs=True, top_logprobs=2
            )
        logprobs = done.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [top.token for top in logprobs.content[0].top_logprobs] == ["yes", "no"]

    async def test_a_forced_function_is_called(self, loopback: LoopbackProvider) -> None:
        async with gpt(loopback) as sdk:
            done = await sdk.chat.completions.create(
                model="gpt-5.4",
                messages=HELLO,
                tools=[{"type": "function", "function": {"name": "vote", "parameters": BALLOT}}],
                tool_choice={"type": "function", "function": {"name": "vote"}},
            )
        calls = done.choices[0].message.tool_calls
        assert calls is not None
        call = calls[0]
        assert call.type == "function"
        jsonschema.validate(json.loads(call.function.arguments), BALLOT)

    async def test_a_strict_schema_must_be_closed(self, loopback: LoopbackProvider) -> None:
        open_schema = {"name": "x", "strict": True, "schema": {"type": "object"}}
        asked: Any = {"type": "json_schema", "json_schema": open_schema}
        async with gpt(loopback) as sdk:
            with pytest.raises(openai.BadRequestError, match="additionalProperties"):
                await sdk.chat.completions.create(
                    model="gpt-5.4", messages=HELLO, response_format=asked
                )

    async def test_without_a_key_it_answers_401(self, loopback: LoopbackProvider) -> None:
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(post, f"{loopback.openai_url}/chat/completions", {})
        assert caught.value.code == 401
        caught.value.close()

    async def test_models_are_listed(self, loopback: LoopbackProvider) -> None:
        async with gpt(loopback) as sdk:
            names = [model.id async for model in sdk.models.list()]
        assert "gpt-5.4" in names


class TestScripts:
    async def ask(self, provider: LoopbackProvider, text: str = "Hello?") -> dict[str, Any]:
        schema = {"name": "a", "schema": BALLOT, "strict": True}
        asked: Any = {"type": "json_schema", "json_schema": schema}
        async with gpt(provider) as sdk:
            done = await sdk.chat.completions.create(
                model="gpt-5.4",
                messages=[{"role": "user", "content": text}],
                response_format=asked,
            )
        answer: dict[str, Any] = json.loads(done.choices[0].message.content or "")
        return answer

    async def test_the_first_value_is_the_default_answer(self, loopback: LoopbackProvider) -> None:
        answer = await self.ask(loopback)
        assert answer == {"rationale": "ok", "answer": "approve", "confidence": 0.8}

    async def test_answers_by_hash_differ_and_repeat(self) -> None:
        async with LoopbackProvider(answers="hash") as provider:
            answers = [(await self.ask(provider, f"{i}"))["answer"] for i in range(12)]
            again = [(await self.ask(provider, f"{i}"))["answer"] for i in range(12)]
        assert answers == again
        assert set(answers) == {"approve", "reject"}

    async def test_a_script_sees_what_is_asked(self, loopback: LoopbackProvider) -> None:
        seen: list[RequestInfo] = []
        loopback.set_script(seen.append)
        await self.ask(loopback)
        await self.ask(loopback)
        first, second = seen
        assert (first.api, first.model, first.prompt) == ("openai", "gpt-5.4", "Hello?")
        assert first.choices == ("approve", "reject")
        assert (first.n, second.n, first.nth, second.nth) == (1, 2, 1, 2)
        assert first.key == second.key
        assert first.api_key == "k"

    async def test_rules_answer_in_order_and_in_turn(self) -> None:
        script = Script(
            rules=[
                Rule(Reply(answer="reject", rationale="once"), contains="refund", times=1),
                Rule(Reply(answer="reject", confidence=0.5), contains="refund", every=2),
                Rule(Reply(status=500), model="claude*"),
            ]
        )
        async with LoopbackProvider(script) as provider:
            answers = [await self.ask(provider, "a refund") for _ in range(3)]
            other = await self.ask(provider, "an order")
        assert [a["answer"] for a in answers] == ["reject", "approve", "reject"]
        assert answers[2]["confidence"] == 0.5
        assert other["answer"] == "approve"

    def test_a_script_is_read_from_json(self) -> None:
        script = Script.from_json(
            {
                "latency_s": 0.5,
                "served": {"a": "a-2026-01-01"},
                "rules": [{"regex": "re.und", "nth": 2, "reply": {"status": 429}}],
                "default": {"answer": "reject"},
            }
        )
        assert script.latency_s == 0.5
        assert script.rules[0].reply.status == 429
        assert script.default.answer == "reject"

    @pytest.mark.parametrize(
        "data", [{"rulez": []}, {"default": {"txt": ""}}, {"rules": [{"x": 1}]}]
    )
    def test_an_unknown_key_is_an_error(self, data: dict[str, Any]) -> None:
        with pytest.raises((TypeError, ValueError)):
            Script.from_json(data)


SCHEMAS: list[dict[str, Any]] = [
    BALLOT,
    {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "uniqueItems": True},
    {"type": "integer", "minimum": 1, "maximum": 10},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"const": 3}}},
    {"anyOf": [{"type": "null"}, {"type": "string"}]},
    {"type": ["string", "null"], "minLength": 9},
    {"type": "boolean"},
]


@pytest.mark.parametrize("schema", SCHEMAS)
@given(pick=st.integers(0, 2**32))
def test_the_default_answer_satisfies_its_schema(schema: dict[str, Any], pick: int) -> None:
    jsonschema.validate(example(schema, pick), schema)


class TestReadingThePrompt:
    @pytest.mark.parametrize(
        ("prompt", "choices"),
        [
            ("? Answer with exactly one word: first, second or tie.", ("first", "second", "tie")),
            ("? Answer with exactly one of these: a refund, b.", ("a refund", "b")),
            (
                "? Answer with exactly one word: approve (it does) or reject (it does not).",
                ("approve", "reject"),
            ),
            ("Answer with exactly one word: yes or no. Then stop", ()),
        ],
    )
    def test_the_words_that_are_offered_are_seen(
        self, prompt: str, choices: tuple[str, ...]
    ) -> None:
        assert named_choices(prompt) == choices

    def test_the_scale_that_is_named_is_seen(self) -> None:
        assert named_scale("Use the whole scale from -1 to 2.5.") == (-1.0, 2.5)
        assert named_scale('{"confidence": <from 0 to 1>}') is None

    async def test_a_schema_in_words_is_obeyed(self, loopback: LoopbackProvider) -> None:
        system = f"Judge. Satisfy this JSON Schema, and nothing else:\n{json.dumps(BALLOT)}"
        async with claude(loopback) as sdk:
            message = await sdk.messages.create(
                model="claude-opus-5-5", max_tokens=9, messages=HELLO, system=system
            )
        block = message.content[0]
        assert block.type == "text"
        jsonschema.validate(json.loads(block.text), BALLOT)

    async def test_a_word_that_is_offered_is_the_default_answer(self) -> None:
        prompt = "Well? Answer with exactly one word: yes or no."
        async with LoopbackProvider() as provider, gpt(provider) as sdk:
            done = await sdk.chat.completions.create(
                model="gpt-5.4",
                messages=[{"role": "user", "content": prompt}],
                logprobs=True,
                top_logprobs=5,
            )
        assert done.choices[0].message.content == "yes"
        logprobs = done.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [top.token for top in logprobs.content[0].top_logprobs] == ["yes", "no"]


class TestCounting:
    def test_a_prefix_is_read_once_it_was_written(self) -> None:
        cache = PrefixCache()
        parts = [Segment("s" * 400), Segment("p" * 4000, "5m"), Segment("q" * 40)]
        first, written = cache.anthropic("m", parts, 1024)
        assert (first.write_5m, first.read, first.fresh) == (1100, 0, 10)
        meanwhile, _ = cache.anthropic("m", parts, 1024)
        assert meanwhile.read == 0  # an answer that has not begun leaves nothing to read
        cache.store(written)
        second, _ = cache.anthropic("m", [*parts[:2], Segment("r" * 80)], 1024)
        assert (second.write_5m, second.read, second.fresh) == (0, 1100, 20)
        assert cache.anthropic("another", parts, 1024)[0].read == 0

    def test_a_prefix_below_the_minimum_is_not_cached(self) -> None:
        bill, written = PrefixCache().anthropic("m", [Segment("p" * 400, "5m")], 1024)
        assert (bill.fresh, bill.write_5m, written) == (100, 0, [])

    def test_one_hour_writes_are_their_own_class(self) -> None:
        bill, _ = PrefixCache().anthropic("m", [Segment("p" * 8000, "1h")], 1024)
        assert (bill.write_5m, bill.write_1h) == (0, 2000)

    def test_entries_end(self) -> None:
        cache = PrefixCache(lifetime_s=-1)
        _, written = cache.openai("m", "x" * 8000)
        cache.store(written)
        assert cache.openai("m", "x" * 8000)[0].read == 0

    def test_openai_caches_whole_blocks_from_1024_tokens_on(self) -> None:
        cache = PrefixCache()
        _, written = cache.openai("m", "x" * 6000)
        cache.store(written)
        bill, _ = cache.openai("m", "x" * 5000 + "y" * 1000)
        assert bill.read == 1152
        assert bill.total == 1500
        assert cache.openai("m", "x" * 4000)[0].read == 0

    async def test_every_request_is_in_the_log(self, loopback: LoopbackProvider) -> None:
        async with gpt(loopback) as sdk:
            for _ in range(2):
                await sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
            loopback.set_script(lambda _: Reply(cut="body"))
            with pytest.raises(openai.APIConnectionError):
                await sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
        entries = loopback.requests
        assert [e.sent for e in entries] == [True, True, False]
        assert loopback.log.paid_twice == {entries[0].key: 2}
        assert loopback.log.summary()["paid"] == 2


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_it_serves_from_a_thread(loopback_thread: LoopbackProvider) -> None:
    assert get(f"{loopback_thread.url}/_log")["requests"] == 0
    with openai.OpenAI(base_url=loopback_thread.openai_url, api_key="k") as sdk:
        sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
    assert get(f"{loopback_thread.url}/_log")["paid"] == 1


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"default": {"text": "from a file"}}))
    command = [sys.executable, "-m", "tests.loopback", "--script", str(script), "--latency", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as sdk:
                done = sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
                assert done.choices[0].message.content == "from a file"
                post(f"{url}/_script", {"default": {"status": 404}})
                with pytest.raises(openai.NotFoundError):
                    sdk.chat.completions.create(model="gpt-5.4", messages=HELLO)
            assert get(f"{url}/_log")["statuses"] == {"200": 1, "404": 1}
            post(f"{url}/_reset", {})
            assert get(f"{url}/_log")["requests"] == 0
        finally:
            process.kill()
