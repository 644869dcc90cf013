"""The gateway under limits and a budget that processes share, from the policy's ``[limits]``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Engine
from consensus.errors import BudgetError, PolicyError, ProviderError
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.gateway import Gateway
from consensus.models.limits import ProviderLimits
from consensus.models.scripted import Behaviour, Reply, ScriptedClient
from consensus.models.shared_limits import SharedLimits
from consensus.models.sharing import Sharing, SharingSettings
from consensus.policy.load import load_policy
from tests.models.test_gateway import COST_A, PRICES, Sink, context, replies, request
from tests.servers.real import Redis

pytestmark = [pytest.mark.needs("redis"), pytest.mark.waits]

VARIABLE = "CONSENSUS_LIMITS_URL"


class Room:
    """Gateways of as many processes as one wants, on one store."""

    def __init__(self, **settings: Any) -> None:
        self.settings = SharingSettings("redis", VARIABLE, **settings)
        self.opened: list[tuple[Gateway, Sharing]] = []
        self.sink = Sink()

    def gateway(
        self, behaviour: Behaviour | ScriptedClient, settings: ProviderSettings | None = None
    ) -> tuple[Gateway, Sharing]:
        client = behaviour if isinstance(behaviour, ScriptedClient) else ScriptedClient(behaviour)
        sharing = Sharing(self.settings)
        factory = ClientFactory({"acme": settings or ProviderSettings()}, PRICES, {"acme": client})
        gateway = Gateway(factory, PRICES, sink=self.sink, sharing=sharing)
        self.opened.append((gateway, sharing))
        return self.opened[-1]


@pytest.fixture
async def room(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[type[Room]]:
    monkeypatch.setenv(VARIABLE, redis_server.url)
    made: list[Room] = []

    class Kept(Room):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            made.append(self)

    yield Kept
    for one in made:
        for gateway, sharing in one.opened:
            await gateway.aclose()
            await sharing.aclose()


async def booked(sharing: Sharing) -> int:
    assert sharing.purse is not None
    day, month = await sharing.purse.spent()
    assert day == month
    return day


async def test_what_is_booked_in_the_end_is_what_calls_cost(room: type[Room]) -> None:
    gateway, sharing = room(daily_usd=1.0).gateway(replies("yes"))
    await asyncio.gather(*(gateway.call(request(f"{i}"), context()) for i in range(20)))
    assert await booked(sharing) == 20 * COST_A


async def test_a_call_that_failed_costs_nothing_in_the_end(room: type[Room]) -> None:
    gateway, sharing = room(daily_usd=1.0).gateway(
        ScriptedClient(lambda _: Reply(failure="bad_request"))
    )
    with pytest.raises(ProviderError):
        await gateway.call(request(), context())
    assert await booked(sharing) == 0


async def test_cancelled_at_any_moment_nothing_stays_set_aside(room: type[Room]) -> None:
    client = ScriptedClient(replies("yes"), latency_s=10)
    opened = room(daily_usd=1.0)
    gateway, sharing = opened.gateway(client)
    for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.05) * 2:
        calling = asyncio.create_task(gateway.call(request(), context()))
        await asyncio.sleep(delay)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    await asyncio.sleep(0.1)
    cut_off = sum(record.cost_pico for record in opened.sink.kept)
    assert await booked(sharing) == cut_off


async def test_the_second_process_finds_the_budget_spent_by_the_first(room: type[Room]) -> None:
    several = room(daily_usd=10 * COST_A / 1e12)
    first, _ = several.gateway(replies("yes"))
    second, sharing = several.gateway(replies("yes"))
    calls = await asyncio.gather(
        *(first.call(request(f"{number}"), context()) for number in range(300)),
        return_exceptions=True,
    )
    made = sum(not isinstance(call, BaseException) for call in calls)
    assert {type(call) for call in calls} <= {tuple, BudgetError}
    refused: BudgetError | None = None
    while refused is None:
        try:
            await first.call(request(), context())
            made += 1
        except BudgetError as error:
            refused = error
    assert "that all processes share" in str(refused)
    with pytest.raises(BudgetError, match="that all processes share"):
        await second.call(request(), context())
    assert 0 < made <= 10
    assert await booked(sharing) == made * COST_A


async def test_a_budget_of_the_decision_is_as_it_was_where_the_shared_one_refuses(
    room: type[Room],
) -> None:
    gateway, _ = room(daily_usd=1e-9).gateway(replies("yes"))
    mine = context()
    with pytest.raises(BudgetError):
        await gateway.call(request(), mine)
    assert (mine.budget.spent, mine.budget.reserved) == (0, 0)


async def test_two_gateways_keep_one_limit_of_calls_at_once(room: type[Room]) -> None:
    several = room()
    client = ScriptedClient(replies("yes"), latency_s=0.05)
    settings = ProviderSettings(concurrency=3)
    gateways = [several.gateway(client, settings)[0] for _ in range(3)]
    await asyncio.gather(
        *(one.call(request(f"{i}"), context()) for one in gateways for i in range(6))
    )
    assert client.calls == 18
    assert client.peak == 3


async def test_models_on_this_machine_have_limits_of_their_own(room: type[Room]) -> None:
    _, sharing = room().gateway(replies("yes"))
    assert type(sharing.limits("local", ProviderSettings())) is ProviderLimits
    assert isinstance(sharing.limits("acme", ProviderSettings()), SharedLimits)


# -- from a policy ---------------------------------------------------------------------------------

POLICY = """
version = 1
[limits]
shared = "redis"
url_env = "CONSENSUS_LIMITS_URL"
daily_usd = 1.0
[prices."acme/a"]
input = 100.0
output = 5.0
max_input_tokens = 10000
max_output_tokens = 2000
[tiers]
small = ["acme/a"]
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
"""


async def test_an_engine_whose_budget_is_spent_by_others_says_so_and_acts_on_nothing(
    redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, redis_server.url)
    (tmp_path / "policy.toml").write_text(POLICY)
    task = Approve(type="refund", subject="Unused.", criteria="Within 30 days.")
    actions = []
    for _ in range(2):  # one process after the other
        async with Engine(
            tmp_path / "policy.toml", clients={"acme": ScriptedClient()}, ledger=False
        ) as engine:
            for _ in range(20):
                decision = await engine.decide(task)
                actions.append(decision.action)
            last = decision
    assert "act" in actions[:20]
    assert "act" not in actions[20:]
    assert last.action == "abstain"
    assert last.partial
    assert {failure.failure for failure in last.failures} == {"budget"}


def test_a_policy_names_the_variable_and_never_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    with pytest.raises(PolicyError, match="CONSENSUS_LIMITS_URL is not set"):
        load_policy(file).sharing()
    file.write_text(POLICY.replace('"CONSENSUS_LIMITS_URL"', '"redis://:hunter2@host"'))
    with pytest.raises(PolicyError, match="must be the NAME") as caught:
        load_policy(file)
    assert "hunter2" not in str(caught.value)
