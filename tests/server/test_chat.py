"""The real OpenAI client against ``/v1/chat/completions``: its base URL is all that changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from tests.server.serving import Served, serving, until

USER: Any = {"role": "user", "content": "Unused, 12 days old."}


@asynccontextmanager
async def client_of(served: Served, key: str = "none") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{served.url}/v1", api_key=key, max_retries=0
    ) as client:
        yield client


async def ask(served: Served, model: str, *messages: Any, **options: Any) -> Any:
    async with client_of(served) as client:
        return await client.chat.completions.create(
            model=model, messages=list(messages) or [USER], **options
        )


async def stream(served: Served, model: str, **options: Any) -> list[Any]:
    async with client_of(served) as client:
        sent: Any = await client.chat.completions.create(
            model=model,
            messages=[USER],
            stream=True,
            **options,
        )
        return [chunk async for chunk in sent]


async def test_a_judgement_is_answered_with_its_outcome(tmp_path: Path) -> None:
    async with serving(tmp_path, {"scripted/a": "approve", "scripted/b": "approve"}) as served:
        answer = await ask(served, "refund")
        kept = served.engine.ledger
        assert kept is not None
        decision = kept.receipt(answer.consensus["receipt_id"]).decision
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("approve", "stop")
    assert choice.message.refusal is None
    assert answer.usage.prompt_tokens == decision.usage.total_input
    assert answer.consensus["cost"]["usd"] == decision.cost.usd > 0


async def test_headers_name_action_and_receipt(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, client_of(served) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="refund",
            messages=[USER],
        )
    assert raw.headers["x-consensus-action"] in {"act", "escalate", "abstain"}
    assert f"chatcmpl-{raw.headers['x-consensus-receipt']}" == raw.parse().id


async def test_a_conversation_is_continued_as_it_is(tmp_path: Path) -> None:
    seen: list[Request] = []

    def behave(request: Request) -> Reply:
        seen.append(request)
        return Reply(text="Good day.")

    talk: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "text", "text": "Greet me."}]},
    ]
    async with serving(tmp_path, behave) as served:
        answer = await ask(served, "reply", *talk)
    assert answer.choices[0].message.content == "Good day."
    sent = json.dumps([[p.text for p in t.parts] for t in seen[0].turns]) + seen[0].system
    assert [word in sent for word in ("Be brief.", "Hello?", "Yes?", "Greet me.")] == [True] * 4


async def test_a_schema_of_the_request_binds_the_answer(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    async with serving(tmp_path) as served:
        answer = await ask(served, "reply", response_format=wanted)
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}


@pytest.mark.parametrize(
    ("model", "said", "content"),
    [("triage", "bug", "bug"), ("rating", 7, "7"), ("rating", 7.5, "7.5")],
)
async def test_options_and_scale_are_the_rows(
    tmp_path: Path, model: str, said: object, content: str
) -> None:
    async with serving(tmp_path, lambda request: said) as served:  # type: ignore[arg-type, return-value]
        answer = await ask(served, model)
    assert answer.choices[0].message.content == content


async def test_a_ranking_and_a_comparison_are_asked_with_their_parts(tmp_path: Path) -> None:
    items = {"role": "user", "content": json.dumps({"items": ["x", "y", "z"]})}
    async with serving(tmp_path) as served:
        ranked = await ask(served, "queue", items)
        given = {"consensus": {"a": "one", "b": "two"}}
        compared = await ask(served, "duel", extra_body=given)
        with pytest.raises(openai.BadRequestError, match="JSON object"):
            await ask(served, "duel")
    assert sorted(json.loads(ranked.choices[0].message.content)) == ["x", "y", "z"]
    assert compared.choices[0].message.content in {"A", "B", "tie"}


async def test_what_the_policy_rules_is_ignored_and_named(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Refund all."}, USER]
    async with serving(tmp_path) as served:
        answer = await ask(served, "refund", *talk, temperature=0.3, max_tokens=5)
    assert answer.consensus["ignored"] == ["max_tokens", "temperature", "messages[0]"]


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
        {"extra_body": {"consensus": {"type": "other"}}},
        {"extra_body": {"messages": []}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
    ],
)
async def test_what_would_change_the_question_is_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    async with serving(tmp_path) as served, client_of(served) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                **{"model": "refund", "messages": [USER], **options}
            )
        assert not served.models.requests
    assert caught.value.code
    assert caught.value.type == "invalid_request_error"


async def test_without_an_outcome_the_content_is_null_and_the_refusal_says_why(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, {"scripted/a": "approve", "scripted/b": "reject"}) as served:
        answer = await ask(served, "split")
        streamed = await stream(served, "split")
    message = answer.choices[0].message
    assert (message.content, answer.consensus["action"]) == (None, "escalate")
    assert message.refusal.startswith("No outcome (escalate): ")
    assert answer.choices[0].finish_reason == "stop"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    refusal = "".join(chunk.choices[0].delta.refusal or "" for chunk in streamed)
    assert (text, refusal) == ("", message.refusal)


async def test_an_answer_streams_with_its_usage_at_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path, {"scripted/a": "approve", "scripted/b": "approve"}) as served:
        streamed = await stream(served, "refund", stream_options={"include_usage": True})
    *content, last = streamed
    assert "".join(chunk.choices[0].delta.content or "" for chunk in content) == "approve"
    assert content[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.total_tokens > 0) == ([], True)
    assert all(chunk.usage is None for chunk in content)
    assert len({chunk.id for chunk in streamed}) == 1


async def test_a_slow_answer_streams_behind_signs_of_life(tmp_path: Path) -> None:
    async def behave(request: Request) -> str:
        await asyncio.sleep(0.3)
        return "approve"

    async with serving(tmp_path, behave, heartbeat_s=0.05) as served:
        streamed = await stream(served, "refund")
        body = {"model": "refund", "messages": [USER], "stream": True}
        raw = await served.http.post("/v1/chat/completions", json=body)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "approve"
    assert raw.text.startswith(": still deciding\n\n")
    assert raw.text.endswith("data: [DONE]\n\n")


async def test_an_unknown_task_type_is_an_unknown_model(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with pytest.raises(openai.NotFoundError) as caught:
            await ask(served, "refnud")
        async with client_of(served) as client:
            listed = [model.id async for model in client.models.list()]
            one = await client.models.retrieve("refund")
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("refnud")
    assert caught.value.code == "model_not_found"
    assert "refund" in listed
    assert one.owned_by == "payments"


async def test_a_wrong_key_is_an_authentication_error(tmp_path: Path) -> None:
    async with serving(tmp_path, keys=True) as served:
        served.key("refund")
        async with client_of(served, "ck_00000000_wrong") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.chat.completions.create(model="refund", messages=[USER])
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("late", [False, True])
async def test_where_no_provider_answered_the_client_gets_an_error_it_may_retry(
    tmp_path: Path, late: bool
) -> None:
    async def behave(request: Request) -> Reply:
        await asyncio.sleep(0.2 if late else 0)
        return Reply(failure="auth", status=401)

    async with serving(tmp_path, behave, heartbeat_s=0.05) as served:
        with pytest.raises(openai.InternalServerError, match="no provider answered"):
            await ask(served, "refund")
        with pytest.raises(openai.APIError, match="no provider answered"):
            await stream(served, "refund")


async def test_a_stream_that_is_dropped_cancels_its_decision(tmp_path: Path) -> None:
    running = 0

    async def behave(request: Request) -> str:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(60)
        finally:
            running -= 1
        return "approve"

    async with serving(tmp_path, behave, heartbeat_s=0.05) as served:
        body = {"model": "refund", "messages": [USER], "stream": True}
        sending = served.http.stream("POST", "/v1/chat/completions", json=body)
        async with sending as response:
            await anext(response.aiter_bytes())
            assert running == 3
        await until(lambda: served.service.in_flight == 0)
        assert running == 0
