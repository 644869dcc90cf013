"""One table at a time: what a decision goes by while tables come and go."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from consensus import Approve, Engine
from consensus.ballots import Usage
from consensus.errors import DeclarationError, PolicyError
from consensus.jobs import JobRun
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.gateway import Gateway
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.policy.load import load_policy
from consensus.policy.reload import load_rules
from tests.engine_fixtures import engine_of, policy_file

REFUND = Approve(type="refund", subject="Unused, 12 days old.", criteria="Unused, within 30 days.")


def table_of(model: str, seats: int, dollars: int) -> str:
    return f"""
version = 1
[tiers]
small = ["scripted/{model}"]
[prices."scripted/{model}"]
input = {dollars}
output = {dollars}
[defaults]
tier = "small"
[tasks.refund]
kind = "approve"
strategy = "vote"
seats = {seats}
"""


FIRST, SECOND = table_of("a", 3, 1), table_of("b", 5, 7)


def put(folder: Path, text: str, system: str | None = None) -> None:
    """Write like an editor that saves in one move, prompts first."""
    if system is not None:
        (folder / "prompts" / "templates").mkdir(parents=True, exist_ok=True)
        page = folder / "prompts" / "page"
        page.write_text(f"---\nname: system\nversion: 1\n---\n{system}\n", encoding="utf-8")
        page.replace(folder / "prompts" / "system.md")
    new = folder / "new"
    new.write_text(text, encoding="utf-8")
    new.replace(folder / "policy.toml")


async def until(true: object, *, within_s: float = 5.0) -> None:
    assert callable(true)
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - it is another task that is waited for
            await asyncio.sleep(0.01)


class Closable(ScriptedClient):
    """Says when it is used after it was closed."""

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        assert not self.closed
        return await super().complete(request, timeout_s=timeout_s)


async def test_no_decision_under_load_is_made_on_half_a_table(tmp_path: Path) -> None:
    systems = {FIRST: "Judge by the first book.", SECOND: "Judge by the second book."}
    asked: dict[str, set[tuple[str, str]]] = {}

    async def answer(request: Request) -> Reply:
        said = request.turns[0].text
        name = said[said.index("case-") :].split()[0].rstrip(".")
        asked.setdefault(name, set()).add((request.model, request.system.splitlines()[0]))
        await asyncio.sleep(0.001 * (hash((name, request.model)) % 4))
        return Reply("approve", usage=Usage(input=1000, output=1000))

    put(tmp_path, FIRST, systems[FIRST])
    engine = Engine(
        tmp_path / "policy.toml",
        ledger=tmp_path / "ledger.db",
        clients={"scripted": ScriptedClient(answer)},
    )
    versions = {load_policy(tmp_path / "policy.toml").version_hash: FIRST}
    put(tmp_path, SECOND, systems[SECOND])
    versions[load_policy(tmp_path / "policy.toml").version_hash] = SECOND
    put(tmp_path, FIRST, systems[FIRST])
    over = False

    async def reload_all_the_time() -> int:
        turn = 0
        while not over:
            turn += 1
            text = (SECOND, FIRST)[turn % 2]
            put(tmp_path, text, systems[text])
            assert (await engine.reload()).error is None
        return turn

    def cases() -> list[Approve]:
        return [
            Approve(type="refund", subject=f"This is case-{i}.", criteria="Any.", id=f"case-{i}")
            for i in range(600)
        ]

    async with engine:
        reloading = asyncio.create_task(reload_all_the_time())
        decisions = [d async for d in engine.decide_many(cases(), concurrency=40)]
        over = True
        turns = await reloading
        assert engine.ledger is not None
        receipts = [engine.ledger.receipt(str(d.receipt_id)) for d in decisions]
    assert turns >= 5
    used = set()
    for decision, receipt in zip(decisions, receipts, strict=True):
        text = versions[decision.policy_version]
        model, seats, dollars = ("scripted/a", 3, 1) if text is FIRST else ("scripted/b", 5, 7)
        used.add(decision.policy_version)
        assert asked[str(decision.task_id)] == {(model, systems[text])}
        assert {ballot.model for ballot in decision.ballots} == {model}
        assert len(decision.ballots) == receipt.hops[0].seats == seats
        assert decision.cost.pico_usd == seats * 2000 * dollars * 1_000_000
        assert receipt.policy_version == decision.policy_version
    assert used == set(versions)
    assert len({receipt.prompts_sha256 for receipt in receipts}) == 2


async def test_a_watched_file_takes_over_by_itself(tmp_path: Path) -> None:
    put(tmp_path, FIRST)
    client = ScriptedClient.answering({"scripted/a": "approve", "scripted/b": "reject"})
    engine = Engine(
        tmp_path / "policy.toml", ledger=False, clients={"scripted": client}, reload=0.02
    )
    async with engine:
        before = await engine.decide(REFUND)
        put(tmp_path, SECOND)
        await until(lambda: engine.policy_status.reloads == 1)
        after = await engine.decide(REFUND)
    assert (before.outcome, after.outcome) == ("approve", "reject")
    assert before.policy_version != after.policy_version == engine.policy_status.version


async def test_a_broken_file_keeps_the_old_table_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, FIRST)
    engine = Engine(
        tmp_path / "policy.toml", ledger=False, clients={"scripted": ScriptedClient()}, reload=0.02
    )
    async with engine:
        version = engine.policy_status.version
        with caplog.at_level(logging.ERROR, "consensus.policy"):
            put(tmp_path, FIRST.replace('tier = "small"', 'tier = "smal"'))
            await until(lambda: engine.policy_status.error is not None)
            await asyncio.sleep(0.1)
        status = engine.policy_status
        assert (status.version, status.current, status.reloads) == (version, False, 0)
        assert status.error is not None
        assert "policy.toml:9" in status.error
        assert 'did you mean "small"?' in status.error
        assert (await engine.decide(REFUND)).policy_version == version
        # said once, not at every look
        assert len([r for r in caplog.records if "stays in force" in r.message]) == 1
        put(tmp_path, FIRST)
        await until(lambda: engine.policy_status.error is None)
        put(tmp_path, SECOND)
        await until(lambda: engine.policy_status.reloads == 1)


async def test_a_file_that_goes_away_keeps_the_old_table(tmp_path: Path) -> None:
    put(tmp_path, FIRST)
    engine = Engine(tmp_path / "policy.toml", ledger=False, clients={"scripted": ScriptedClient()})
    async with engine:
        (tmp_path / "policy.toml").unlink()
        status = await engine.reload()
        assert status.error is not None
        assert (await engine.decide(REFUND)).policy_version == status.version


async def test_a_save_that_changes_neither_time_nor_size_is_seen(tmp_path: Path) -> None:
    put(tmp_path, FIRST)
    engine = Engine(
        tmp_path / "policy.toml", ledger=False, clients={"scripted": ScriptedClient()}, reload=0.02
    )
    stamp = (tmp_path / "policy.toml").stat()
    async with engine:
        put(tmp_path, FIRST.replace("seats = 3", "seats = 5"))
        os.utime(tmp_path / "policy.toml", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        await until(lambda: engine.policy_status.reloads == 1)


async def test_a_decision_that_has_begun_ends_under_the_table_it_began_with(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> str:
        begun.set()
        await go_on.wait()
        return "approve"

    put(tmp_path, FIRST + 'escalate_to = ["scripted/a"]\nalpha = 0.0001\n')
    client = ScriptedClient(slow)
    engine = Engine(tmp_path / "policy.toml", ledger=False, clients={"scripted": client})
    async with engine:
        version = engine.policy_status.version
        deciding = asyncio.create_task(engine.decide(REFUND))
        await begun.wait()
        put(tmp_path, SECOND)
        assert (await engine.reload()).version != version
        go_on.set()
        decision = await deciding
    assert decision.policy_version == version
    assert {request.model for request in client.requests} == {"scripted/a"}
    assert len(decision.route) == 2


async def test_a_job_goes_by_the_table_of_its_beginning(tmp_path: Path) -> None:
    put(tmp_path, FIRST)
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(
        "".join(f'{{"subject": "case {i}", "criteria": "any"}}\n' for i in range(6)),
        encoding="utf-8",
    )
    engine = Engine(
        tmp_path / "policy.toml",
        ledger=tmp_path / "ledger.db",
        clients={"scripted": ScriptedClient()},
    )
    async with engine:
        run = JobRun(engine, tasks, tmp_path / "out.jsonl", "refund", concurrency=1)
        seen: list[dict[str, object]] = []
        async for row in run.rows():
            if not seen:
                put(tmp_path, SECOND)
                assert (await engine.reload()).reloads == 1
            seen.append(row)
        assert (await engine.decide(REFUND)).policy_version == engine.policy_status.version
    models = {ballot["model"] for row in seen for ballot in row["ballots"]}  # type: ignore[attr-defined]
    assert (len(seen), models) == (6, {"scripted/a"})


def settings(**of: ProviderSettings) -> Mapping[str, ProviderSettings]:
    return of


async def test_limits_and_clients_of_unchanged_providers_go_on(tmp_path: Path) -> None:
    prices = PriceBook()
    old = Gateway(
        ClientFactory(settings(scripted=ProviderSettings(requests_per_minute=5)), prices), prices
    )
    client, lane = old.clients.client("scripted/a"), old._lanes["scripted/a"]
    same = old.successor(settings(scripted=ProviderSettings(requests_per_minute=5)), prices)
    other = same.successor(settings(scripted=ProviderSettings(requests_per_minute=9)), prices)
    assert same.clients.client("scripted/a") is client
    assert same._lanes["scripted/b"].limits is lane.limits
    assert same._lanes["scripted/a"].breaker is lane.breaker
    assert other.clients.client("scripted/a") is not client
    assert other._lanes["scripted/a"].limits is not lane.limits
    for gateway in (old, same, other):
        await gateway.aclose()


async def test_a_shared_client_is_closed_with_the_last_that_holds_it() -> None:
    prices = PriceBook()
    client = Closable()
    old = Gateway(ClientFactory({}, prices, overrides={"scripted": client}), prices)
    new = old.successor({}, prices)
    await old.aclose()
    assert not client.closed
    await new.aclose()
    assert client.closed


async def test_a_client_outlives_a_new_price_and_not_a_new_ability(tmp_path: Path) -> None:
    cheap = PriceBook(overrides={"openai/x": {"input": 1, "output": 1}})
    dear = PriceBook(overrides={"openai/x": {"input": 2, "output": 2}})
    blind = PriceBook(
        overrides={"openai/x": {"input": 2, "output": 2, "supports_response_schema": False}}
    )
    first = ClientFactory({}, cheap)
    client = first.client("openai/x")
    second = first.successor({}, dear)
    third = second.successor({}, blind)
    assert second.client("openai/x") is client
    assert third.client("openai/x") is not client
    for factory in (first, second, third):
        await factory.aclose()


async def test_an_old_gateway_is_closed_after_the_last_decision_that_holds_it(
    tmp_path: Path,
) -> None:
    put(tmp_path, FIRST)
    engine, _ = engine_of(tmp_path, "", {}, head=FIRST, ledger=False)
    async with engine:
        async with engine.pinned() as held:
            put(tmp_path, SECOND)
            await engine.reload()
            assert held.gateway.clients._clients
        assert not held.gateway.clients._clients
        assert (await engine.decide(REFUND)).policy_version == engine.policy_status.version


def test_a_file_that_a_row_names_is_watched(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text("{}", encoding="utf-8")
    policy = policy_file(tmp_path, '[oracles.shape]\nkind = "json_schema"\nfile = "answer.json"\n')
    before = load_rules(policy, None).digest
    (tmp_path / "answer.json").write_text('{"type": "object"}', encoding="utf-8")
    assert load_rules(policy, None).digest != before


def test_the_digest_is_of_content_and_not_of_time(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, "")
    before = load_rules(policy, None).digest
    os.utime(policy)
    assert load_rules(policy, None).digest == before


def test_a_first_table_that_is_broken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policy\.toml:"):
        engine_of(tmp_path, "[tasks.x]\nseats = 0\n", reload=True)


def test_a_negative_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="reload"):
        engine_of(tmp_path, "", reload=-1.0)
