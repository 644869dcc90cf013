"""A second copy of a call that takes long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from consensus.errors import ProviderError
from consensus.models.factory import ClientFactory
from consensus.models.gateway import CallContext, Gateway
from consensus.models.limits import ProviderLimits
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, CallRecord, Deadline, Part, Request, Turn
from consensus.models.retry import RetryPolicy
from consensus.models.scripted import Reply, ScriptedClient
from tests.models import virtual_time

PRICES = PriceBook({"scripted/a": {"input": 3, "output": 15}})
REQUEST = Request("scripted/a", "You judge.", (Turn("user", (Part("Grant it?"),)),))
NEVER = 10_000.0


@dataclass
class Street:
    """What each copy does, in order, and what became of it."""

    replies: list[Reply]
    after_s: float | None = 1.0
    budget: Budget = field(default_factory=lambda: Budget(10**12))
    limits: ProviderLimits = field(default_factory=ProviderLimits)
    kept: list[CallRecord] = field(default_factory=list)

    async def record(self, call: CallRecord) -> None:
        self.kept.append(call)

    def run(self) -> tuple[Any, float]:
        """The answer with its records, or the error; and the seconds that it took."""
        waiting = iter(self.replies)
        client = ScriptedClient(lambda _: next(waiting))
        clients = ClientFactory(prices=PRICES, overrides={"scripted": client})
        gateway = Gateway(
            clients,
            PRICES,
            {"scripted": self.limits},
            sink=self,
            retry=RetryPolicy(max_attempts=1),
        )
        context = CallContext(
            decision_id="d", budget=self.budget, deadline=Deadline(None), hedge_after_s=self.after_s
        )

        async def main(clock: Any) -> tuple[Any, float]:
            before = asyncio.all_tasks()
            try:
                said: Any = await gateway.call(REQUEST, context)
            except ProviderError as error:
                said = error
            assert asyncio.all_tasks() == before
            assert (self.budget.reserved, self.limits.active, client.in_flight) == (0, 0, 0)
            return said, clock()

        return virtual_time.run(main)


def test_an_answer_in_time_is_asked_for_once() -> None:
    street = Street([Reply(text="first", latency_s=0.5)])
    (completion, records), taken = street.run()
    assert (completion.text, len(records)) == ("first", 1)
    assert taken == pytest.approx(0.5, abs=0.01)


def test_the_second_copy_answers_for_a_first_that_hangs() -> None:
    street = Street([Reply(text="first", latency_s=NEVER), Reply(text="second", latency_s=0.5)])
    (completion, records), taken = street.run()
    assert completion.text == "second"
    assert taken == pytest.approx(1.5, abs=0.01)
    assert [(r.failure, r.attempt) for r in records] == [("cancelled", 1), (None, 2)]


def test_the_last_record_is_the_answers_own_whoever_was_first() -> None:
    street = Street([Reply(text="first", latency_s=1.2), Reply(text="second", latency_s=NEVER)])
    (completion, records), _ = street.run()
    assert completion.text == "first"
    assert [(r.failure, r.attempt) for r in records] == [("cancelled", 2), (None, 1)]


def test_the_loser_is_priced_and_its_price_is_marked() -> None:
    street = Street([Reply(text="first", latency_s=NEVER), Reply(text="second")])
    (_, records), _ = street.run()
    loser, winner = records
    assert (loser.price_basis, winner.price_basis) == ("estimated_usage", "served")
    assert loser.usage.output == winner.usage.output  # as long as an answer of this model is
    assert loser.cost_pico > 0
    assert street.budget.spent == loser.cost_pico + winner.cost_pico
    assert sorted(r.call_id for r in street.kept) == sorted(r.call_id for r in records)


@pytest.mark.parametrize("failing", [0, 1])
def test_one_copys_failure_leaves_the_other_to_answer(failing: int) -> None:
    replies = [Reply(text="good", latency_s=3.0), Reply(text="good", latency_s=2.0)]
    replies[failing] = Reply(failure="server_error", latency_s=1.5)
    (completion, records), _ = Street(replies).run()
    assert completion.text == "good"
    assert sorted(str(r.failure) for r in records) == ["None", "server_error"]


def test_where_both_fail_the_error_is_the_first_copys() -> None:
    street = Street(
        [Reply(failure="overloaded", latency_s=3.0), Reply(failure="auth", latency_s=0.5)]
    )
    error, _ = street.run()
    assert error.failure == "overloaded"
    assert [r.failure for r in error.calls] == ["auth", "overloaded"]


def test_what_the_cap_does_not_allow_twice_is_asked_once() -> None:
    street = Street([Reply(text="first", latency_s=5.0)], budget=Budget(20_000_000_000))
    (completion, records), taken = street.run()
    assert (completion.text, len(records)) == ("first", 1)
    assert taken == pytest.approx(5.0, abs=0.01)


def test_a_second_copy_waits_for_its_place_like_any_other_call() -> None:
    street = Street([Reply(text="first", latency_s=5.0)], limits=ProviderLimits(concurrency=1))
    (completion, _), taken = street.run()
    assert completion.text == "first"
    assert taken == pytest.approx(5.0, abs=0.01)


def test_nothing_is_asked_twice_unless_the_context_says_so() -> None:
    street = Street([Reply(text="first", latency_s=100.0)], after_s=None)
    (_, records), _ = street.run()
    assert len(records) == 1
