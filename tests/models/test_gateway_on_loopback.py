"""The gateway with the real SDKs, against a provider on loopback."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from consensus.errors import DeadlineError, ProviderError
from consensus.ledger.jobs import CallScope, PaidCalls
from consensus.ledger.store import Ledger
from consensus.models import retry
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.gateway import CallContext, Gateway
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, Deadline, Part, Request, Turn
from tests.loopback import LoopbackProvider, Reply, Rule, Script

HAIKU, OPUS, NANO = "anthropic/claude-haiku-5-5", "anthropic/claude-opus-5-5", "openai/gpt-5.4-nano"
ELSEWHERE = "together_ai/openai/gpt-oss-20b"
"""Of a provider that only litellm reaches."""
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["approve", "reject"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


class Street:
    """A gateway of real clients, a real ledger, and the provider that both SDKs reach."""

    def __init__(self, provider: LoopbackProvider, ledger: Ledger) -> None:
        self.provider = provider
        self.ledger = ledger
        self.prices = PriceBook()
        settings = {
            "anthropic": ProviderSettings(base_url=provider.url, api_key_env="PLANTED"),
            "openai": ProviderSettings(base_url=provider.openai_url, api_key_env="PLANTED"),
            "together_ai": ProviderSettings(base_url=provider.openai_url, api_key_env="PLANTED"),
        }
        self.gateway = Gateway(ClientFactory(settings, self.prices), self.prices, sink=ledger)


@pytest.fixture
async def street(
    loopback_of_calls: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Street]:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(retry, "sleep", sleep)
    monkeypatch.setenv("PLANTED", "sk-planted-key")
    async with Ledger(tmp_path / "calls.db") as ledger:
        made = Street(loopback_of_calls, ledger)
        try:
            yield made
        finally:
            await made.gateway.aclose()


@pytest.fixture
async def loopback_of_calls() -> AsyncIterator[LoopbackProvider]:
    async with LoopbackProvider() as provider:
        yield provider


def request(model: str, sample: int = 0) -> Request:
    turns = (Turn("user", (Part("shared"), Part("Grant it?"))),)
    return Request(model, "You judge.", turns, output_schema=SCHEMA, sample=sample)


def context(**changes: object) -> CallContext:
    given = {"decision_id": "d", "budget": Budget(10**12), "deadline": Deadline(30), **changes}
    return CallContext(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [HAIKU, NANO])
async def test_a_failing_provider_is_asked_again_and_every_attempt_is_on_the_ledger(
    street: Street, model: str
) -> None:
    street.provider.set_script(
        Script(rules=[Rule(Reply(status=529), times=1), Rule(Reply(status=500), times=1)])
    )
    completion, records = await street.gateway.call(request(model), context())
    assert json.loads(completion.text) == {"answer": "approve"}
    assert [r.failure for r in records] == ["overloaded", "server_error", None]
    assert len(street.provider.requests) == 3
    kept = street.ledger.calls_of("d")
    assert {r.call_id for r in kept} == {r.call_id for r in records}
    assert sum(r.cost_pico for r in kept) == records[-1].cost_pico > 0


@pytest.mark.parametrize("model", [HAIKU, NANO])
async def test_the_model_that_served_is_billed(street: Street, model: str) -> None:
    served = "claude-opus-5-5" if model == HAIKU else "gpt-5.4"
    street.provider.set_script(Script(default=Reply(served_model=served)))
    _, (record,) = await street.gateway.call(request(model), context())
    assert record.served_model == f"{model.partition('/')[0]}/{served}"
    assert record.cost_pico == street.prices.price(record.served_model).cost_pico(record.usage)
    assert record.price_basis == "served"


async def test_a_refused_key_goes_to_the_other_providers_model_and_is_never_shown(
    street: Street,
) -> None:
    street.provider.set_script(Script(rules=[Rule(Reply(status=401), api="anthropic")]))
    _, records = await street.gateway.call(request(HAIKU), context(fallbacks=(NANO,)))
    assert [(r.requested_model, r.failure) for r in records] == [(HAIKU, "auth"), (NANO, None)]
    with pytest.raises(ProviderError) as caught:
        await street.gateway.call(request(OPUS), context())
    assert "sk-planted-key" not in f"{caught.value!r} {caught.value.calls!r} {records!r}"


async def test_a_deadline_cuts_a_slow_answer_off(street: Street) -> None:
    street.provider.set_script(Script(latency_s=20))
    loop = asyncio.get_running_loop()
    await street.gateway.clients.client(HAIKU).count_tokens(request(HAIKU))  # SDK imported
    started = loop.time()
    with pytest.raises(DeadlineError):
        await street.gateway.call(request(HAIKU), context(deadline=Deadline(0.3)))
    assert loop.time() - started < 2
    assert [r.failure for r in street.ledger.calls_of("d")] == ["deadline"]


async def test_a_decision_cut_short_goes_on_without_paying_twice(street: Street) -> None:
    street.provider.set_script(Script(latency_s=0.05))
    asked = [request(HAIKU, sample) for sample in range(40)]
    running = [asyncio.create_task(street.gateway.call(r, context())) for r in asked[:20]]
    await asyncio.gather(*running)
    late = [asyncio.create_task(street.gateway.call(r, context())) for r in asked[20:]]
    await asyncio.sleep(0.02)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)

    paid = PaidCalls(street.ledger.calls_of("d")).of(CallScope("d"))
    budget = Budget(10**12)
    results = await asyncio.gather(
        *(street.gateway.call(r, context(paid=paid, budget=budget)) for r in asked)
    )
    answered = [r for r in street.ledger.calls_of("d") if r.completion is not None]
    assert Counter(r.key for r in answered).most_common(1)[0][1] == 1
    assert len(answered) == 40
    assert sum(records[-1].replayed for _, records in results) == 20
    assert budget.spent == sum(r.cost_pico for r in answered)


@pytest.mark.parametrize("model", [HAIKU, NANO])
async def test_an_answer_that_cannot_be_read_is_not_free_for_the_provider_bills_it(
    street: Street, model: str
) -> None:
    street.provider.set_script(Script(rules=[Rule(Reply(half=True), times=1)]))
    _, (unread, read) = await street.gateway.call(request(model), context())
    billed, _ = street.provider.requests
    assert billed.paid
    assert (unread.failure, unread.price_basis) == ("malformed_response", "estimated_usage")
    assert unread.request_id == f"req_{billed.n:024d}"
    assert unread.usage.input >= billed.input
    assert unread.cost_pico >= read.cost_pico


@pytest.mark.parametrize("model", [HAIKU, NANO, ELSEWHERE])
@pytest.mark.parametrize("cut", ["before", "body"])
async def test_a_connection_that_was_cut_is_booked_at_an_estimate(
    street: Street, model: str, cut: Literal["before", "body"]
) -> None:
    street.provider.set_script(Script(rules=[Rule(Reply(cut=cut), times=1)]))
    budget = Budget(10**12)
    _, (lost, answered) = await street.gateway.call(request(model), context(budget=budget))
    assert (lost.failure, lost.price_basis) == ("connection", "estimated_usage")
    assert lost.usage.input > 0.8 * answered.usage.total_input
    assert lost.usage.output > answered.usage.output  # none was answered before it: all of its room
    assert budget.spent == lost.cost_pico + answered.cost_pico
    kept = {call.call_id: call.cost_pico for call in street.ledger.calls_of("d")}
    assert kept == {call.call_id: call.cost_pico for call in (lost, answered)}


@pytest.mark.parametrize("model", [HAIKU, NANO, ELSEWHERE])
@pytest.mark.parametrize("deadline_s", [None, 0.3])
async def test_what_did_not_answer_in_time_is_booked_at_an_estimate(
    street: Street, model: str, deadline_s: float | None
) -> None:
    await street.gateway.call(request(model), context())  # how long an answer usually is
    street.provider.set_script(Script(latency_s=20))
    budget = Budget(10**12)
    if deadline_s is None:
        street.gateway._lanes[model].timeout_s = 0.3
    given = context(decision_id="late", budget=budget, deadline=Deadline(deadline_s))
    with pytest.raises(ProviderError if deadline_s is None else DeadlineError):
        await street.gateway.call(request(model), given)
    (usual,) = street.ledger.calls_of("d")
    late = street.ledger.calls_of("late")
    assert {call.failure for call in late} == {"timeout" if deadline_s is None else "deadline"}
    assert {call.price_basis for call in late} == {"estimated_usage"}
    assert {call.usage.output for call in late} == {usual.usage.output}
    assert budget.spent == sum(call.cost_pico for call in late) > 0


@pytest.mark.parametrize("model", [HAIKU, NANO, ELSEWHERE])
async def test_a_connection_that_was_refused_costs_nothing(street: Street, model: str) -> None:
    await street.gateway.clients.client(model).prepare()  # type: ignore[attr-defined]
    await street.provider.__aexit__(None, None, None)
    budget = Budget(10**12)
    with pytest.raises(ProviderError):
        await street.gateway.call(request(model), context(budget=budget))
    refused = street.ledger.calls_of("d")
    assert {(r.failure, r.price_basis, r.cost_pico) for r in refused} == {("connection", "none", 0)}
    assert budget.spent == 0


@pytest.mark.parametrize("model", [HAIKU, NANO])
async def test_what_was_cut_off_before_it_was_sent_costs_nothing(
    street: Street, model: str
) -> None:
    await street.gateway.clients.client(model).prepare()  # type: ignore[attr-defined]
    budget = Budget(10**12)
    call = asyncio.create_task(street.gateway.call(request(model), context(budget=budget)))
    await asyncio.sleep(0)  # its request is composed
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (cut,) = street.ledger.calls_of("d")
    assert (cut.failure, cut.price_basis, cut.cost_pico) == ("cancelled", "none", 0)
    assert street.provider.requests == []
    assert budget.spent == 0


@pytest.mark.parametrize("status", [408, 504, 500, 529])
async def test_an_error_status_is_an_answer_and_costs_nothing(street: Street, status: int) -> None:
    street.provider.set_script(Script(rules=[Rule(Reply(status=status), times=1)]))
    _, (failed, _) = await street.gateway.call(request(HAIKU), context())
    assert (failed.status, failed.price_basis, failed.cost_pico) == (status, "none", 0)
