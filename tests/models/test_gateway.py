"""Every call of every model goes through here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Usage
from consensus.errors import (
    BudgetError,
    ConsensusError,
    DataError,
    DeadlineError,
    FailureClass,
    GuardError,
    LedgerError,
    MissingExtraError,
    PriceError,
    ProviderError,
)
from consensus.models import retry
from consensus.models.breaker import BreakerSettings
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.gateway import CallContext, Gateway
from consensus.models.hashing import request_key
from consensus.models.limits import ProviderLimits
from consensus.models.prices import PriceBook
from consensus.models.protocol import (
    Budget,
    CallRecord,
    Completion,
    Deadline,
    ModelClient,
    Part,
    Request,
    Turn,
)
from consensus.models.retry import RetryPolicy
from consensus.models.scripted import Behaviour, Reply, ScriptedClient
from consensus.models.tape import Paid, Tape

A, B, C = "acme/a", "acme/b", "other/c"
TABLES = {
    A: {"input": 1.0, "output": 5.0, "max_input_tokens": 10_000, "max_output_tokens": 2_000},
    B: {"input": 2.0, "output": 10.0, "max_input_tokens": 1_000, "max_output_tokens": 500},
    C: {"input": 3.0, "output": 15.0, "max_input_tokens": 100_000, "max_output_tokens": 8_000},
}
PRICES = PriceBook(TABLES)
USAGE = Usage(input=100, output=10)
COST_A = 100 * 1_000_000 + 10 * 5_000_000


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nothing waits; what would have been waited is listed."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(retry, "sleep", sleep)
    monkeypatch.setattr(ProviderLimits, "pause", lambda self, seconds: None)
    return waited


class Sink:
    """Keeps records, each after a turn of the event loop."""

    def __init__(self, *, fails: bool = False) -> None:
        self.kept: list[CallRecord] = []
        self.begun = 0
        self.fails = fails
        self.gate = asyncio.Event()
        self.gate.set()

    async def record(self, call: CallRecord) -> None:
        self.begun += 1
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.fails:
            raise LedgerError("the disk is full")
        self.kept.append(call)


def request(text: str = "hello", **changes: Any) -> Request:
    made = Request(A, "be brief", (Turn("user", (Part(text),)),), max_output_tokens=100)
    return replace(made, **changes)


def context(**changes: Any) -> CallContext:
    given_ = {"decision_id": "d1", "budget": Budget(None), "deadline": Deadline(None), **changes}
    return CallContext(**given_)


def said(text: str = "yes", **changes: Any) -> Completion:
    return replace(Completion(text, A, USAGE), **changes)


def error(failure: FailureClass = "overloaded", **changes: Any) -> ProviderError:
    return ProviderError("no", **{"failure": failure, "retryable": True, **changes})


def replies(*sequence: Any) -> Behaviour:
    """One reply a request; the last is repeated. A str is a text served by the model asked."""
    left = list(sequence)

    def behave(asked: Request) -> Any:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return said(reply, served_model=asked.model) if isinstance(reply, str) else reply

    return behave


class Room:
    """A gateway with one scripted client behind both providers."""

    def __init__(
        self,
        behaviour: Behaviour | ModelClient,
        *,
        settings: ProviderSettings | None = None,
        sink: Sink | None = None,
        prices: PriceBook = PRICES,
        **options: Any,
    ) -> None:
        self.client: Any = ScriptedClient(behaviour) if callable(behaviour) else behaviour
        self.sink = sink or Sink()
        clients = ClientFactory(
            {"acme": settings or ProviderSettings()},
            prices,
            {"acme": self.client, "other": self.client},
        )
        self.gateway = Gateway(clients, prices, sink=self.sink, **options)

    async def call(self, *args: Any, **changes: Any) -> tuple[Completion, tuple[CallRecord, ...]]:
        return await self.gateway.call(args[0] if args else request(), context(**changes))


# -- the plain path --------------------------------------------------------------------------------


async def test_an_answer_comes_with_its_record() -> None:
    room = Room(replies(said(request_id="r1", latency_s=9)))
    asked = request()
    completion, (record,) = await room.call(asked, seat=3, purpose="debate", task_type="refund")
    assert completion.text == "yes"
    assert record == replace(
        record,
        decision_id="d1",
        seat=3,
        purpose="debate",
        task_type="refund",
        attempt=1,
        requested_model=A,
        served_model=A,
        key=request_key(asked),
        usage=USAGE,
        cost_pico=COST_A,
        price_basis="served",
        request_id="r1",
        failure=None,
        replayed=False,
        completion=completion,
    )


async def test_the_record_is_kept_before_the_answer_is_given() -> None:
    room = Room(replies("yes"))
    room.sink.gate.clear()
    calling = asyncio.create_task(room.call())
    await asyncio.sleep(0.01)
    assert room.sink.begun == 1
    assert not calling.done()
    room.sink.gate.set()
    await calling
    assert len(room.sink.kept) == 1


async def test_an_answer_whose_record_is_lost_is_not_used() -> None:
    room = Room(replies("yes"), sink=Sink(fails=True))
    with pytest.raises(LedgerError) as caught:
        await room.call()
    assert [r.cost_pico for r in caught.value.calls] == [COST_A]
    assert room.client.calls == 1


async def test_samples_of_one_request_are_separate_calls() -> None:
    room = Room(replies("yes"))
    await asyncio.gather(*(room.call(request(sample=i % 2)) for i in range(4)))
    assert room.client.calls == 4


# -- retries ---------------------------------------------------------------------------------------


async def test_a_passing_failure_is_repeated_and_every_attempt_recorded(
    waits: list[float],
) -> None:
    room = Room(replies(error(status=529), error("timeout"), "yes"))
    completion, records = await room.call()
    assert completion.text == "yes"
    assert [(r.attempt, r.failure, r.status) for r in records] == [
        (1, "overloaded", 529),
        (2, "timeout", None),
        (3, None, None),
    ]
    assert [r.call_id for r in room.sink.kept] == [r.call_id for r in records]
    assert len({r.call_id for r in records}) == 3
    assert len(waits) == 2


async def test_a_call_gives_up_after_its_attempts() -> None:
    room = Room(replies(error()), settings=ProviderSettings(max_attempts=2))
    with pytest.raises(ProviderError) as caught:
        await room.call()
    assert caught.value.failure == "overloaded"
    assert [r.failure for r in caught.value.calls] == ["overloaded", "overloaded"]
    assert room.client.calls == 2


async def test_a_provider_without_its_own_number_has_the_gateways() -> None:
    room = Room(replies(error()), retry=RetryPolicy(max_attempts=3))
    with pytest.raises(ProviderError):
        await room.call()
    assert room.client.calls == 3


@pytest.mark.parametrize("failure", ["auth", "bad_request", "not_found", "request_too_large"])
async def test_a_lasting_failure_is_not_repeated(failure: FailureClass) -> None:
    room = Room(replies(error(failure, retryable=False)))
    with pytest.raises(ProviderError):
        await room.call()
    assert room.client.calls == 1


async def test_retry_after_is_waited_for(waits: list[float]) -> None:
    room = Room(replies(error("rate_limited", retry_after_s=7), "yes"))
    await room.call()
    assert 7 <= waits[0] < 8


async def test_retry_after_beyond_the_deadline_ends_the_call(waits: list[float]) -> None:
    room = Room(replies(error("rate_limited", retry_after_s=7), "yes"))
    with pytest.raises(ProviderError) as caught:
        await room.call(deadline=Deadline(5))
    assert caught.value.failure == "rate_limited"
    assert waits == []


async def test_retry_after_pauses_the_whole_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(ProviderLimits, "pause", lambda self, seconds: paused.append(seconds))
    room = Room(replies(error("rate_limited", retry_after_s=7), "yes"))
    await room.call()
    assert paused == [7]


async def test_a_clients_own_bug_is_a_failure_of_the_call_not_of_the_panel() -> None:
    room = Room(replies(KeyError("the judged text")))
    with pytest.raises(ProviderError, match="KeyError") as caught:
        await room.call()
    assert caught.value.failure == "malformed_response"
    assert "judged" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(room.sink.kept) == 1


async def test_what_was_declared_wrongly_is_raised_as_it_is() -> None:
    room = Room(replies(MissingExtraError("not installed")))
    with pytest.raises(MissingExtraError):
        await room.call()
    assert room.sink.kept == []


# -- deadline and timeout --------------------------------------------------------------------------


async def test_nothing_is_sent_after_the_deadline() -> None:
    room = Room(replies("yes"))
    with pytest.raises(DeadlineError):
        await room.call(deadline=Deadline(-1))
    assert room.client.calls == 0


async def test_the_client_is_told_how_long_it_has() -> None:
    told: list[float] = []

    class Client(ScriptedClient):
        async def complete(self, request: Request, *, timeout_s: float) -> Completion:
            told.append(timeout_s)
            return said()

    room = Room(Client(), settings=ProviderSettings(timeout_s=30))
    await room.call()
    await room.call(deadline=Deadline(4))
    assert told == [30, pytest.approx(4, abs=0.1)]


class Hanging(ScriptedClient):
    """A client that heeds no timeout."""

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")


async def test_a_client_that_hangs_is_cut_off_by_the_timeout() -> None:
    room = Room(Hanging(), settings=ProviderSettings(timeout_s=0.02, max_attempts=2))
    with pytest.raises(ProviderError) as caught:
        await room.call()
    assert caught.value.failure == "timeout"
    assert [r.failure for r in caught.value.calls] == ["timeout", "timeout"]


async def test_a_client_that_hangs_is_cut_off_by_the_deadline() -> None:
    room = Room(Hanging())
    with pytest.raises(DeadlineError) as caught:
        await room.call(deadline=Deadline(0.02))
    assert [r.failure for r in caught.value.calls] == ["deadline"]
    assert [r.failure for r in room.sink.kept] == ["deadline"]


async def test_a_short_deadline_does_not_speak_against_a_model() -> None:
    room = Room(Hanging(), breaker=BreakerSettings(consecutive=1, lasting_s=0))
    with pytest.raises(DeadlineError):
        await room.call(deadline=Deadline(0.02))
    assert room.gateway.breaker_states() == {A: "closed"}


async def test_the_deadline_ends_a_wait_in_the_queue() -> None:
    limits = {"acme": ProviderLimits(concurrency=1)}
    await limits["acme"].admit()
    room = Room(replies("yes"), limits=limits)
    budget = Budget(10**12)
    with pytest.raises(DeadlineError):
        await room.call(deadline=Deadline(0.02), budget=budget)
    assert (budget.spent, budget.reserved, limits["acme"].waiting) == (0, 0, 0)


# -- the window guard ------------------------------------------------------------------------------


class Counting(ScriptedClient):
    """Counts a token for every four bytes, and how often it was asked to."""

    counted = 0

    async def count_tokens(self, request: Request) -> int:
        self.counted += 1
        return await super().count_tokens(request)


async def test_a_prompt_whose_bytes_fit_needs_no_tokenizer() -> None:
    room = Room(Counting(replies("yes")))
    await room.call(request("x" * 7000))
    assert room.client.counted == 0


async def test_a_prompt_whose_bytes_do_not_fit_is_counted() -> None:
    room = Room(Counting(replies("yes")))
    await room.call(request("x" * 20_000))
    assert room.client.counted == 1


async def test_a_prompt_whose_tokens_do_not_fit_is_refused_unsent() -> None:
    room = Room(Counting(replies("yes")))
    with pytest.raises(GuardError, match=r"acme/a: 8,\d+ tokens .* 80% of its window of 10,000"):
        await room.call(request("x" * 32_500))
    assert room.client.calls == 0
    assert room.sink.kept == []


async def test_the_guards_share_is_the_callers() -> None:
    room = Room(Counting(replies("yes")))
    await room.call(request("x" * 32_500), context_guard=1.0)
    with pytest.raises(GuardError):
        await room.call(request("x" * 3_000), context_guard=0.05)


async def test_the_reserved_output_is_part_of_the_guard() -> None:
    room = Room(Counting(replies("yes")))
    await room.call(request("x" * 28_000, max_output_tokens=500))
    with pytest.raises(GuardError):
        await room.call(request("x" * 28_000, max_output_tokens=2_000))


async def test_more_output_than_the_model_writes_is_refused() -> None:
    room = Room(replies("yes"))
    with pytest.raises(GuardError, match="writes at most 2,000"):
        await room.call(request(max_output_tokens=2_001))


async def test_what_cannot_be_counted_is_not_assumed_to_fit() -> None:
    class Uncountable(ScriptedClient):
        async def count_tokens(self, request: Request) -> int:
            raise error("connection")

    room = Room(Uncountable(replies("yes")))
    with pytest.raises(GuardError, match="unknown number"):
        await room.call(request("x" * 9_000))
    assert room.client.calls == 0


async def test_text_outside_ascii_is_measured_in_its_own_bytes() -> None:
    room = Room(Counting(replies("yes")))
    await room.call(request("ü" * 3_500))  # 7,000 bytes, 21,000 as escaped JSON
    assert room.client.counted == 0


# -- the budget ------------------------------------------------------------------------------------


async def test_what_was_spent_is_booked_and_the_rest_given_back() -> None:
    budget = Budget(10**12)
    await Room(replies("yes")).call(budget=budget)
    assert (budget.spent, budget.reserved) == (COST_A, 0)


async def test_a_call_that_could_pass_the_cap_is_not_made() -> None:
    room = Room(replies("yes"))
    budget = Budget(100 * 5_000_000)  # the reserved output alone
    with pytest.raises(BudgetError):
        await room.call(budget=budget)
    assert room.client.calls == 0
    assert (budget.spent, budget.reserved) == (0, 0)


async def test_tokens_are_counted_where_bytes_are_too_coarse_for_the_budget() -> None:
    room = Room(Counting(replies("yes")))
    cap = 1_100 * 1_000_000 + 100 * 5_000_000  # 4,000 bytes are about 1,005 tokens
    await room.call(request("x" * 4_000), budget=Budget(cap))
    assert room.client.counted == 1


async def test_a_failed_attempt_gives_its_reservation_back() -> None:
    budget = Budget(10**12)
    room = Room(replies(error("auth", retryable=False)))
    with pytest.raises(ProviderError):
        await room.call(budget=budget)
    assert (budget.spent, budget.reserved) == (0, 0)


async def test_calls_that_wait_hold_no_money() -> None:
    client = ScriptedClient(replies("yes"), latency_s=0.001)
    room = Room(client, settings=ProviderSettings(concurrency=1))
    budget = Budget(20 * COST_A + 1000 * 1_000_000)  # all twenty, and little more
    await asyncio.gather(*(room.call(request(sample=i), budget=budget) for i in range(20)))
    assert budget.spent == 20 * COST_A


async def test_a_call_without_money_does_not_wait_for_a_place() -> None:
    limits = {"acme": ProviderLimits(concurrency=1)}
    await limits["acme"].admit()
    room = Room(replies("yes"), limits=limits)
    with pytest.raises(BudgetError):
        await asyncio.wait_for(room.call(budget=Budget(5)), timeout=1)


async def test_a_place_that_cannot_be_paid_for_is_given_back() -> None:
    limits = {"acme": ProviderLimits(requests_per_minute=1)}
    room, budget = Room(replies("yes"), limits=limits), Budget(10**9)
    budget.reserve(10**9 - 1)
    with pytest.raises(BudgetError):
        await room.call(budget=budget)
    await asyncio.wait_for(room.call(), timeout=1)
    assert limits["acme"].active == 0


@given(
    cap=st.integers(0, 6),
    outcomes=st.lists(st.sampled_from(["yes", "fail", "cancel", "twice"]), max_size=20),
    seed=st.integers(0, 99),
)
def test_calls_at_once_never_pass_the_cap_together(
    cap: int, outcomes: list[str], seed: int
) -> None:
    dice = random.Random(seed)
    worst = 0

    async def behave(asked: Request) -> Any:
        nonlocal worst
        worst = max(worst, budget.spent + budget.reserved)
        await asyncio.sleep(0)
        if asked.system == "fail" or (asked.system == "twice" and dice.random() < 0.5):
            return error()
        # The dearest usage that the reservation allows.
        return said(usage=Usage(input=asked.input_bytes(), output=100))

    budget = Budget(cap * 700 * 1_000_000)

    async def main() -> None:
        room = Room(behave, breaker=BreakerSettings(consecutive=10**6, ratio=1.0, window=10**6))
        tasks = [
            asyncio.create_task(room.call(request(system=o, sample=i), budget=budget))
            for i, o in enumerate(outcomes)
        ]
        await asyncio.sleep(0)
        for task, outcome in zip(tasks, outcomes, strict=True):
            if outcome == "cancel":
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.spent == sum(r.cost_pico for r in room.sink.kept)

    asyncio.run(main())
    assert budget.reserved == 0
    assert max(worst, budget.spent) <= cap * 700 * 1_000_000


@given(text=st.text(max_size=300), schema=st.booleans(), cached=st.booleans())
def test_the_worst_case_is_one(text: str, schema: bool, cached: bool) -> None:
    """A token a byte, all of it written to a cache, and every token of output used."""
    reserved = 0

    def behave(asked: Request) -> Any:
        nonlocal reserved
        reserved = budget.reserved
        tokens = asked.input_bytes()
        kind = "cache_write" if cached else "input"
        return said(usage=Usage(**{kind: tokens, "output": 100}))

    budget = Budget(10**15)
    asked = request(text.encode("utf-8", "ignore").decode(), output_schema={} if schema else None)
    prices = PriceBook({A: {**TABLES[A], "cache_write": 1.25}})
    asyncio.run(Room(behave, prices=prices).call(asked, budget=budget))
    assert 0 < budget.spent <= reserved


async def test_the_worst_case_writes_the_whole_prompt_to_a_cache() -> None:
    prices = PriceBook({A: {**TABLES[A], "cache_write": 1.25}})
    asked = request("x" * 4_000)
    usage = Usage(cache_write=asked.input_bytes(), output=100)
    budget = Budget(asked.input_bytes() * 1_250_000 + 100 * 5_000_000 - 1)
    room = Room(Counting(replies(said(usage=usage))), prices=prices)
    await room.call(asked, budget=budget)
    assert room.client.counted == 1  # bytes alone could have passed the cap


# -- what an answer costs --------------------------------------------------------------------------


async def test_the_served_model_is_billed() -> None:
    room = Room(replies(said(served_model=C)))
    _, (record,) = await room.call()
    assert record.cost_pico == 3 * 100 * 1_000_000 + 15 * 10 * 1_000_000
    assert (record.requested_model, record.served_model) == (A, C)
    assert record.price_basis == "served"


async def test_an_unknown_served_model_is_billed_at_the_requested_ones_price_and_marked() -> None:
    room = Room(replies(said(served_model="acme/mystery")))
    _, (record,) = await room.call()
    assert record.cost_pico == COST_A
    assert record.price_basis == "estimated_price"


async def test_an_unknown_variant_of_a_dearer_model_is_billed_as_that_model() -> None:
    room = Room(replies(said(served_model="other/c-eu-preview")))
    _, (record,) = await room.call()
    assert record.cost_pico == 3 * 100 * 1_000_000 + 15 * 10 * 1_000_000
    assert record.price_basis == "estimated_price"


async def test_a_served_model_that_is_not_said_is_the_requested_one() -> None:
    completion, (record,) = await Room(replies(said(served_model=""))).call()
    assert completion.served_model == record.served_model == A


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(input=-5, output=10),
        Usage(input=100, output=-1),
        Usage(input=100, cache_read=-100, output=10),
        Usage(input=10**30, output=1),
        Usage(input=100, output=5, reasoning=9),
        Usage(output=10),
        Usage(input=100),
    ],
)
async def test_a_senseless_usage_is_estimated_marked_and_never_free(usage: Usage) -> None:
    completion, (record,) = await Room(replies(said("x" * 90, usage=usage))).call()
    assert record.price_basis == "estimated_usage"
    assert record.usage == completion.usage
    assert record.usage.total_input > 0
    assert record.usage.output > 0
    assert 0 < record.cost_pico < 10**12


async def test_a_failed_attempt_that_was_billed_is_billed() -> None:
    failure = error("malformed_response", usage=USAGE, served_model=C)
    budget = Budget(10**12)
    _, records = await Room(replies(failure, "yes")).call(budget=budget)
    assert records[0].cost_pico == 3 * COST_A
    assert budget.spent == sum(r.cost_pico for r in records) == 4 * COST_A


async def test_a_model_without_a_price_is_never_called() -> None:
    room = Room(replies("yes"))
    with pytest.raises(PriceError, match="acme/unpriced"):
        await room.call(request(model="acme/unpriced"))
    assert room.client.calls == 0


# -- fallbacks -------------------------------------------------------------------------------------


def by_model(**replies_: Any) -> Behaviour:
    """Replies by the last letter of the model's name."""

    def behave(asked: Request) -> Any:
        reply = replies_[asked.model[-1]]
        return said(reply, served_model=asked.model) if isinstance(reply, str) else reply

    return behave


@pytest.mark.parametrize("failure", ["auth", "not_found", "bad_request"])
async def test_the_next_model_is_asked_when_the_first_cannot_answer(failure: FailureClass) -> None:
    room = Room(by_model(a=error(failure, retryable=False), b="from b"))
    completion, records = await room.call(fallbacks=(B, C))
    assert completion.text == "from b"
    assert [(r.requested_model, r.attempt, r.failure) for r in records] == [
        (A, 1, failure),
        (B, 2, None),
    ]
    assert records[1].key == request_key(request(model=B))


async def test_a_fallback_is_asked_after_the_first_models_attempts_are_used_up() -> None:
    room = Room(by_model(a=error(), b="from b"), retry=RetryPolicy(max_attempts=3))
    _, records = await room.call(fallbacks=(B,))
    assert [r.requested_model for r in records] == [A, A, A, B]


async def test_a_model_is_no_fallback_of_itself() -> None:
    room = Room(by_model(a=error("auth", retryable=False), c="from c"))
    _, records = await room.call(fallbacks=(A, C))
    assert [record.requested_model for record in records] == [A, C]


async def test_where_a_model_is_its_only_fallback_its_own_error_is_raised() -> None:
    room = Room(by_model(a=error("auth", retryable=False)))
    with pytest.raises(ProviderError) as caught:
        await room.call(fallbacks=(A,))
    assert [record.requested_model for record in caught.value.calls] == [A]


async def test_a_fallback_with_a_smaller_window_is_guarded_by_its_own() -> None:
    room = Room(by_model(a=error("auth", retryable=False), b="from b", c="from c"))
    completion, _ = await room.call(request("x" * 4_000), fallbacks=(B, C))
    assert completion.text == "from c"
    assert B not in [r.model for r in room.client.requests]


async def test_a_fallback_is_asked_where_the_window_is_too_small() -> None:
    room = Room(by_model(c="from c"))
    completion, _ = await room.call(request("x" * 50_000), fallbacks=(B, C))
    assert completion.text == "from c"


async def test_when_nobody_answers_the_first_models_error_is_raised_with_all_attempts() -> None:
    room = Room(
        by_model(
            a=error("auth", retryable=False),
            b=error("not_found", retryable=False),
            c=error("bad_request", retryable=False),
        )
    )
    with pytest.raises(ProviderError) as caught:
        await room.call(fallbacks=(B, C))
    assert caught.value.failure == "auth"
    assert [r.requested_model for r in caught.value.calls] == [A, B, C]
    assert caught.value.__notes__ == [f"fallback {B}: not_found", f"fallback {C}: bad_request"]


async def test_the_budget_ends_the_row_of_fallbacks() -> None:
    room = Room(by_model(a=error("auth", retryable=False), c="from c"))
    with pytest.raises(BudgetError) as caught:
        await room.call(fallbacks=(C,), budget=Budget(1000 * 1_000_000))
    assert [r.failure for r in caught.value.calls] == ["auth"]


# -- the breaker -----------------------------------------------------------------------------------


async def test_a_model_that_keeps_failing_is_left_alone_and_its_fallback_asked() -> None:
    room = Room(
        by_model(a=error(), b="from b"),
        retry=RetryPolicy(max_attempts=1),
        breaker=BreakerSettings(consecutive=2, lasting_s=0),
    )
    for _ in range(2):
        await room.call(fallbacks=(B,))
    _, records = await room.call(fallbacks=(B,))
    assert [r.requested_model for r in records] == [B]
    assert room.gateway.breaker_states() == {A: "open", B: "closed"}


async def test_an_open_breaker_is_an_error_of_its_own_class() -> None:
    room = Room(
        replies(error()),
        settings=ProviderSettings(max_attempts=1),
        breaker=BreakerSettings(consecutive=1, lasting_s=0),
    )
    budget = Budget(10**12)
    with pytest.raises(ProviderError):
        await room.call()
    with pytest.raises(ProviderError) as caught:
        await room.call(budget=budget)
    assert caught.value.failure == "breaker_open"
    assert caught.value.calls == ()
    assert budget.reserved == 0


async def test_a_call_that_nobody_else_can_answer_waits_for_the_breaker(
    waits: list[float],
) -> None:
    room = Room(
        replies(error(), "yes"),
        settings=ProviderSettings(cooldown_s=0.05),
        breaker=BreakerSettings(consecutive=1, lasting_s=0),
        retry=RetryPolicy(max_attempts=10**6, base_s=0),
    )
    completion, records = await room.call()
    assert completion.text == "yes"
    assert [r.failure for r in records] == ["overloaded", None]
    assert 0.04 < waits[1] <= 0.05


async def test_an_open_breaker_ends_a_call_that_has_no_time_for_the_cool_down() -> None:
    room = Room(replies(error()), breaker=BreakerSettings(consecutive=1, lasting_s=0))
    with pytest.raises(ProviderError) as caught:
        await room.call(deadline=Deadline(5))
    assert caught.value.failure == "breaker_open"
    assert [r.failure for r in caught.value.calls] == ["overloaded"]


async def test_the_cool_down_is_the_providers_setting() -> None:
    room = Room(
        replies(error(), "yes"),
        settings=ProviderSettings(cooldown_s=0.02, max_attempts=1),
        breaker=BreakerSettings(consecutive=1, lasting_s=0),
    )
    with pytest.raises(ProviderError):
        await room.call()
    await asyncio.sleep(0.03)
    await room.call()
    assert room.gateway.breaker_states() == {A: "closed"}


async def test_a_probe_that_is_cancelled_makes_room_for_another() -> None:
    async def behave(asked: Request) -> Any:
        if asked.sample == 1:
            await asyncio.sleep(60)
        return error() if asked.sample == 0 else said()

    room = Room(
        behave,
        settings=ProviderSettings(cooldown_s=0, max_attempts=1),
        breaker=BreakerSettings(consecutive=1, lasting_s=0),
    )
    with pytest.raises(ProviderError):
        await room.call()
    probe = asyncio.create_task(room.call(request(sample=1)))
    await asyncio.sleep(0.01)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await room.call(request(sample=2))
    assert room.gateway.breaker_states() == {A: "closed"}


async def test_a_probe_that_never_left_the_queue_makes_room_for_another() -> None:
    limits = {"acme": ProviderLimits(concurrency=1)}
    room = Room(
        replies(error(), "yes"),
        settings=ProviderSettings(cooldown_s=0, max_attempts=1),
        breaker=BreakerSettings(consecutive=1, lasting_s=0),
        limits=limits,
    )
    with pytest.raises(ProviderError):
        await room.call()
    permit = await limits["acme"].admit()
    probe = await cancelled_at(room, lambda: bool(limits["acme"].waiting), Budget(None))
    await asyncio.gather(probe, return_exceptions=True)
    permit.done()
    await room.call()
    assert room.gateway.breaker_states() == {A: "closed"}


# -- limits ----------------------------------------------------------------------------------------


async def test_models_of_one_provider_share_its_limits() -> None:
    client = ScriptedClient(by_model(a="a", b="b"), latency_s=0.005)
    room = Room(client, settings=ProviderSettings(concurrency=3))
    models = [A, B] * 6
    await asyncio.gather(*(room.call(request(model=m, sample=i)) for i, m in enumerate(models)))
    assert client.peak == 3


async def test_a_call_stands_in_the_queue_with_its_estimate_and_leaves_with_its_usage() -> None:
    limits = ProviderLimits(tokens_per_minute=1_000)
    room = Room(replies("yes"), limits={"acme": limits})
    for sample in range(5):  # 110 tokens each; estimated at over 130
        await room.call(request(sample=sample))
    assert limits._tokens_sum == 550
    assert limits.active == 0


@pytest.mark.parametrize("counted", [False, True])
async def test_the_estimate_of_what_was_cut_off_is_never_more_than_was_set_aside(
    counted: bool,
) -> None:
    # 200 bytes are 67 tokens by the estimate, and 50 by this model's own count.
    text = "z" * 200
    client = ScriptedClient(replies(error("timeout")))
    room = Room(client, settings=ProviderSettings(max_attempts=1))
    plain = Room(
        ScriptedClient(replies(error("timeout"))), settings=ProviderSettings(max_attempts=1)
    )
    whole = Budget(10**12)
    with pytest.raises(ProviderError):
        await plain.call(request(text), budget=whole)
    cap = Budget(whole.spent - 1 if counted else whole.spent * 10)
    with pytest.raises(ProviderError):
        await room.call(request(text), budget=cap)
    (record,) = room.sink.kept
    assert (record.failure, record.price_basis) == ("timeout", "estimated_usage")
    assert 0 < cap.spent == record.cost_pico <= (cap.cap or 0)
    assert (record.usage.input < plain.sink.kept[0].usage.input) == counted


# -- cancellation ----------------------------------------------------------------------------------


async def until(moment: Callable[[], bool]) -> None:
    while not moment():  # noqa: ASYNC110 - a test steps through the loop's turns
        await asyncio.sleep(0)


async def cancelled_at(
    room: Room, moment: Callable[[], bool], budget: Budget, *, twice: bool = False
) -> asyncio.Task[Any]:
    calling = asyncio.create_task(room.call(budget=budget))
    await until(moment)
    calling.cancel()
    if twice:
        await asyncio.sleep(0)
        calling.cancel()
    return calling


async def test_cancelling_a_call_in_flight_leaves_nothing_running_and_a_record() -> None:
    async def behave(asked: Request) -> Any:
        await asyncio.sleep(60)

    limits = ProviderLimits()
    room, budget = Room(behave, limits={"acme": limits}), Budget(10**12)
    before = asyncio.all_tasks()
    calling = await cancelled_at(room, lambda: bool(room.client.in_flight), budget)
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert asyncio.all_tasks() == before
    (record,) = room.sink.kept
    assert (record.failure, record.price_basis) == ("cancelled", "estimated_usage")
    assert record.usage.output == 100  # all that was reserved: this model has not answered yet
    assert (budget.spent, budget.reserved, limits.active) == (record.cost_pico, 0, 0)
    assert budget.spent > 0


@pytest.mark.parametrize("twice", [False, True])
async def test_a_paid_answer_is_recorded_once_though_its_caller_has_gone(twice: bool) -> None:
    room, budget = Room(replies("yes")), Budget(10**12)
    room.sink.gate.clear()
    calling = await cancelled_at(room, lambda: bool(room.sink.begun), budget, twice=twice)
    await asyncio.sleep(0.01)
    assert not calling.done()
    room.sink.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert [r.cost_pico for r in room.sink.kept] == [COST_A]
    assert budget.spent == COST_A


async def test_a_sink_that_survives_cancellation_is_awaited_directly() -> None:
    class Surviving(Sink):
        survives_cancellation = True

    room = Room(replies("yes"), sink=Surviving())
    room.sink.gate.clear()
    calling = asyncio.create_task(room.call())
    await until(lambda: bool(room.sink.begun))
    assert len(asyncio.all_tasks()) == 2  # this test and the call
    room.sink.gate.set()
    await calling


async def test_cancelling_a_call_in_the_queue_gives_its_place_back() -> None:
    limits = {"acme": ProviderLimits(concurrency=1)}
    permit = await limits["acme"].admit()
    room, budget = Room(replies("yes"), limits=limits), Budget(10**12)
    calling = await cancelled_at(room, lambda: bool(limits["acme"].waiting), budget)
    with pytest.raises(asyncio.CancelledError):
        await calling
    permit.done()
    assert (limits["acme"].waiting, limits["acme"].active, budget.reserved) == (0, 0, 0)
    assert room.sink.kept == []


async def test_cancelling_between_attempts_keeps_the_records_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(retry, "sleep", sleep)
    room, budget = Room(replies(error())), Budget(10**12)
    calling = await cancelled_at(room, lambda: bool(room.sink.kept), budget)
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert [r.failure for r in room.sink.kept] == ["overloaded"]
    assert budget.reserved == 0


# -- answers that are there ------------------------------------------------------------------------


class Source:
    """The paid answers of a decision, as a ledger hands them out."""

    def __init__(self, *records: CallRecord) -> None:
        self.records = {r.key: r for r in records}

    def lookup(self, key: str) -> Completion | None:
        paid = self.recall(key)
        return None if paid is None else paid.completion

    def recall(self, key: str) -> Paid | None:
        record = self.records.get(key)
        if record is None or record.completion is None:
            return None
        return Paid(
            record.completion,
            record.call_id,
            record.decision_id,
            record.cost_pico,
            record.price_basis,
        )


async def test_a_paid_answer_is_used_again_and_neither_paid_nor_recorded_twice() -> None:
    first = Room(replies("yes"))
    completion, (original,) = await first.call()
    again, budget = Room(replies("another")), Budget(10**12)
    reused, (record,) = await again.call(paid=Source(original), budget=budget)
    assert reused == completion
    assert again.client.calls == 0
    assert again.sink.kept == []
    assert record.replayed
    assert (record.call_id, record.cost_pico, record.usage, record.price_basis) == (
        original.call_id,
        original.cost_pico,
        original.usage,
        "served",
    )
    assert budget.spent == COST_A


async def test_a_paid_answer_is_given_though_budget_and_deadline_are_gone() -> None:
    _, (original,) = await Room(replies("yes")).call()
    room = Room(replies("no"))
    completion, _ = await room.call(
        paid=Source(original), budget=Budget(0), deadline=Deadline(-1), context_guard=0.0001
    )
    assert completion.text == "yes"


async def test_another_sample_is_another_call() -> None:
    _, (original,) = await Room(replies("yes")).call()
    room = Room(replies("fresh"))
    completion, _ = await room.call(request(sample=1), paid=Source(original))
    assert completion.text == "fresh"


async def test_a_fallbacks_paid_answer_is_found_before_the_first_model_is_asked_again() -> None:
    first = Room(by_model(a=error("auth", retryable=False), b="from b"))
    _, records = await first.call(fallbacks=(B,))
    again = Room(by_model(a="from a"))
    completion, (record,) = await again.call(fallbacks=(B,), paid=Source(*records))
    assert completion.text == "from b"
    assert record.requested_model == B
    assert again.client.calls == 0


async def test_a_source_that_knows_no_payments_is_priced_again() -> None:
    class Plain:
        def lookup(self, key: str) -> Completion | None:
            return said()

    _, (record,) = await Room(replies("no")).call(paid=Plain())
    assert record.cost_pico == COST_A
    assert record.replayed
    assert record.call_id


async def test_a_tape_is_recorded_and_replayed_with_its_original_call(tmp_path: Path) -> None:
    with Tape(tmp_path / "t") as tape:
        _, (original,) = await Room(replies("yes"), tape=tape).call()
    with Tape(tmp_path / "t", "replay") as tape:
        room = Room(replies("no"), tape=tape)
        completion, (record,) = await room.call()
    assert completion.text == "yes"
    assert room.client.calls == 0
    assert (record.call_id, record.cost_pico) == (original.call_id, original.cost_pico)
    assert [(r.call_id, r.replayed) for r in room.sink.kept] == [(original.call_id, True)]


async def test_a_replay_that_lacks_an_answer_says_which_and_calls_nobody(tmp_path: Path) -> None:
    (tmp_path / "t").touch()
    with Tape(tmp_path / "t", "replay") as tape:
        room = Room(replies("no"), tape=tape)
        with pytest.raises(DataError, match=r"no answer of acme/a .*seat 2, sample 5"):
            await room.call(request("the secret", sample=5), seat=2)
    assert room.client.calls == 0


async def test_a_replay_finds_the_fallbacks_answer(tmp_path: Path) -> None:
    with Tape(tmp_path / "t") as tape:
        room = Room(by_model(a=error("auth", retryable=False), b="from b"), tape=tape)
        await room.call(fallbacks=(B,))
    with Tape(tmp_path / "t", "replay") as tape:
        completion, _ = await Room(replies("no"), tape=tape).call(
            fallbacks=(B,), decision_id="another"
        )
    assert completion.text == "from b"


async def test_recording_does_not_take_another_decisions_fallback_for_an_answer(
    tmp_path: Path,
) -> None:
    with Tape(tmp_path / "t") as tape:
        await Room(replies("from b"), tape=tape).call(request(model=B))
        completion, _ = await Room(by_model(a="from a"), tape=tape).call(
            fallbacks=(B,), decision_id="d2"
        )
    assert completion.text == "from a"


async def test_a_tape_that_cannot_be_written_loses_no_paid_answer(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "t")
    tape.close()
    room = Room(replies("yes"), tape=tape)
    with pytest.raises(DataError, match="cannot be written"):
        await room.call()
    assert [r.cost_pico for r in room.sink.kept] == [COST_A]


# -- the whole, under disorder ---------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
def test_whatever_happens_the_ledger_holds_every_attempt_once(seed: int) -> None:
    dice = random.Random(seed)

    async def behave(asked: Request) -> Any:
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        return dice.choice([error(), error("auth", retryable=False), said(), said(), ValueError()])

    async def main() -> None:
        limits = {"acme": ProviderLimits(concurrency=3), "other": ProviderLimits(concurrency=2)}
        room, budget = Room(behave, limits=limits), Budget(3000 * 1_000_000 * 5)
        tasks = [
            asyncio.create_task(room.call(request(sample=i), budget=budget, fallbacks=(C,)))
            for i in range(12)
        ]
        for task in tasks:
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < 0.3:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = room.sink.kept
        assert len({r.call_id for r in kept}) == len(kept) == room.client.calls
        assert budget.reserved == 0
        assert budget.spent == sum(r.cost_pico for r in kept)
        told = [
            r
            for result in results
            if not isinstance(result, asyncio.CancelledError)
            for r in (result.calls if isinstance(result, ConsensusError) else result[1])  # type: ignore[index]
        ]
        assert {r.call_id for r in told} <= {r.call_id for r in kept}
        assert all((q.active, q.waiting) == (0, 0) for q in limits.values())

    asyncio.run(main())


async def test_closing_closes_the_clients() -> None:
    room = Room(ScriptedClient())
    await room.gateway.aclose()
    assert room.client.closed


async def test_a_scripted_model_needs_no_price_and_no_network() -> None:
    client = ScriptedClient.answering({"scripted/a": Reply("approve", latency_s=0.0)})
    prices = PriceBook()
    gateway = Gateway(ClientFactory({}, prices, {"scripted": client}), prices)
    completion, (record,) = await gateway.call(
        request(model="scripted/a", choices=("approve", "reject")), context()
    )
    assert completion.text == "approve"
    assert (record.cost_pico, record.price_basis) == (0, "served")
