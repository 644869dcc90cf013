"""Deciding in batches: the real SDKs against both endpoints on loopback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Decision, Engine
from consensus.batching import Batching, BatchSettings, Event
from consensus.errors import DataError, DeclarationError, LedgerError
from consensus.jobs import JobRun
from consensus.models.protocol import CallRecord
from consensus.telemetry import Telemetry
from tests.engine_fixtures import engine_of
from tests.loopback.batches import Fate
from tests.loopback.replies import Reply
from tests.loopback.server import LoopbackProvider
from tests.telemetry.fixtures import Watched, attributes

HAIKU, NANO, OPUS = "anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano", "anthropic/claude-opus-5-5"

POLICY = f"""
version = 1
[tiers]
small = ["{HAIKU}", "{NANO}"]
frontier = ["{OPUS}"]
[tasks.refund]
kind = "approve"
criteria = "Within 30 days."
strategy = "vote"
tier = "small"
seats = 2
quorum = 1
min_agreement = 1.0
escalate_to = ["frontier"]
stop = {{ rule = "margin" }}
deadline_s = 1
"""

QUICK = BatchSettings(settle_s=0.1, gather_s=5.0, poll_s=(0.02, 0.1))

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def tasks(count: int) -> list[Approve]:
    return [
        Approve(type="refund", subject=f"Case {n}.", criteria="Within 30 days.")
        for n in range(count)
    ]


def engine_in(
    folder: Path,
    events: list[Event] | None = None,
    *,
    policy: str = POLICY,
    settings: BatchSettings = QUICK,
    telemetry: Telemetry | None = None,
) -> Engine:
    file = folder / "policy.toml"
    file.write_text(policy)
    heard = [] if events is None else events
    batch = Batching(folder / "batches.jsonl", settings=settings, tell=heard.append)
    return Engine(file, ledger=folder / "ledger.db", batch=batch, telemetry=telemetry)


async def decided(engine: Engine, given: Sequence[Approve]) -> list[Decision]:
    return [decision async for decision in engine.decide_many(given)]


def calls_of(engine: Engine, decisions: Sequence[Decision]) -> list[CallRecord]:
    assert engine.ledger is not None
    return [call for d in decisions for call in engine.ledger.calls_of(str(d.receipt_id))]


async def test_each_provider_gets_one_batch_at_half_the_price(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    events: list[Event] = []
    async with engine_in(tmp_path, events) as engine:
        decisions = await decided(engine, tasks(5))
        calls = calls_of(engine, decisions)
        prices = engine.prices
    assert [(d.action, d.outcome) for d in decisions] == [("act", "approve")] * 5
    assert Counter(b.api for b in loopback_env.batches.made.values()) == {
        "anthropic": 1,
        "openai": 1,
    }
    assert {entry.path for entry in loopback_env.requests} == {"batch"}
    assert len(calls) == 10
    for call in calls:
        assert call.price_basis == "batch"
        full = prices.price(str(call.served_model)).cost_pico(call.usage)
        assert 2 * call.cost_pico == full > 0
    assert sum(d.cost.pico_usd for d in decisions) == sum(call.cost_pico for call in calls)
    assert [e.kind for e in events if e.kind != "polled"].count("ended") == 2


async def test_results_in_any_order_reach_their_own_decision(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    def odd_is_rejected(asked: Any) -> Reply:
        odd = any(f"Case {n}." in asked.prompt for n in range(1, 20, 2))
        return Reply(answer="reject" if odd else "approve")

    loopback_env.set_script(odd_is_rejected)
    loopback_env.batches.seed = 7
    async with engine_in(tmp_path) as engine:
        decisions = await decided(engine, tasks(10))
    assert [d.outcome for d in decisions] == ["approve", "reject"] * 5


async def test_an_escalation_goes_out_in_the_next_batch(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    def split(asked: Any) -> Reply:
        return Reply(answer="reject" if "nano" in asked.model else "approve")

    loopback_env.set_script(split)
    async with engine_in(tmp_path) as engine:
        decisions = await decided(engine, tasks(4))
    assert {len(d.route) for d in decisions} == {2}
    sizes = [len(batch.items) for batch in loopback_env.batches.of("anthropic")]
    assert sizes == [4, 4]


async def test_stopping_rule_and_deadline_are_off_and_the_reasons_say_so(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    policy = POLICY.replace("seats = 2", "seats = 5").replace("deadline_s = 1", "deadline_s = 0.01")
    async with engine_in(tmp_path, policy=policy) as engine:
        (decision,) = await decided(engine, tasks(1))
    assert len(decision.ballots) == 5
    said = " ".join(decision.reasons)
    assert "all seats are asked at once" in said
    assert "deadline of 0.01 s is off" in said


@pytest.mark.parametrize("fate", ["expired", "canceled"])
async def test_what_a_batch_did_not_come_to_is_asked_in_the_next_one_and_then_alone(
    tmp_path: Path, loopback_env: LoopbackProvider, fate: Fate
) -> None:
    loopback_env.batches.fate = lambda _id, body: fate if "haiku" in body["model"] else None
    async with engine_in(tmp_path) as engine:
        (decision,) = await decided(engine, tasks(1))
        calls = [c for c in calls_of(engine, [decision]) if c.requested_model == HAIKU]
    assert decision.action == "act"
    failures = {"expired": "timeout", "canceled": "cancelled"}
    assert [c.failure for c in calls] == [failures[fate], failures[fate], None]
    assert [c.price_basis for c in calls] == ["none", "none", "served"]
    assert len(loopback_env.batches.of("anthropic")) == 2
    assert loopback_env.log.paid_twice == {}


async def test_an_expired_item_of_an_openai_batch_is_answered_by_the_next(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    seen: list[str] = []

    def once(custom_id: str, body: dict[str, Any]) -> Fate | None:
        if "nano" in body["model"] and not seen:
            seen.append(custom_id)
            return "expired"
        return None

    loopback_env.batches.fate = once
    async with engine_in(tmp_path) as engine:
        decisions = await decided(engine, tasks(3))
        calls = [c for c in calls_of(engine, decisions) if c.requested_model == NANO]
    assert all(d.action == "act" for d in decisions)
    assert Counter(c.price_basis for c in calls) == {"batch": 3, "none": 1}
    assert [len(b.items) for b in loopback_env.batches.of("openai")] == [3, 1]


async def test_a_refused_item_fails_its_seat_and_no_other(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    def one_is_refused(asked: Any) -> Reply | None:
        return Reply(status=400) if "Case 1." in asked.prompt else None

    loopback_env.set_script(one_is_refused)
    policy = POLICY.replace('escalate_to = ["frontier"]\n', "")
    async with engine_in(tmp_path, policy=policy) as engine:
        decisions = await decided(engine, tasks(3))
    assert [d.action for d in decisions] == ["act", "abstain", "act"]
    assert {f.failure for f in decisions[1].failures} == {"bad_request"}
    assert "Case 1" not in str(decisions[1].failures)


async def test_batches_stay_within_the_limits_on_items_and_bytes(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    small = BatchSettings(settle_s=0.2, poll_s=(0.02, 0.1), most_items=4)
    async with engine_in(tmp_path, settings=small) as engine:
        await decided(engine, tasks(10))
    for api in ("anthropic", "openai"):
        sizes = sorted(len(batch.items) for batch in loopback_env.batches.of(api))
        assert sum(sizes) == 10
        assert sizes[-1] == 4
        assert len(sizes) == 3


async def test_an_openai_batch_is_of_one_model(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    policy = POLICY.replace(f'"{HAIKU}"', '"openai/gpt-5.4"')
    async with engine_in(tmp_path, policy=policy) as engine:
        decisions = await decided(engine, tasks(2))
    assert all(d.action == "act" for d in decisions)
    made = loopback_env.batches.of("openai")
    assert {batch.model for batch in made} == {"gpt-5.4", "gpt-5.4-nano"}
    assert all(batch.refused is None for batch in made)


async def test_a_batch_that_the_full_queue_refused_is_submitted_again(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    loopback_env.batches.refuse = ["token_limit_exceeded"]
    events: list[Event] = []
    async with engine_in(tmp_path, events) as engine:
        decisions = await decided(engine, tasks(2))
    assert all(d.action == "act" for d in decisions)
    assert [e.said for e in events if e.kind == "failed"] == ["token_limit_exceeded"]
    assert len(loopback_env.batches.of("openai")) == 2


async def test_a_look_that_fails_is_repeated_and_nothing_is_given_up(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    loopback_env.batches.broken_looks = 3
    async with engine_in(tmp_path) as engine:
        (decision,) = await decided(engine, tasks(1))
    assert (decision.action, len(decision.ballots)) == ("act", 2)


async def test_a_submission_that_hung_up_after_it_was_taken_is_found_and_not_paid_twice(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    loopback_env.batches.begun_in_silence = 2
    events: list[Event] = []
    async with engine_in(tmp_path, events) as engine:
        decisions = await decided(engine, tasks(3))
    assert all(d.action == "act" for d in decisions)
    assert sorted(e.provider for e in events if e.kind == "found") == ["anthropic", "openai"]
    assert len(loopback_env.batches.made) == 2
    assert loopback_env.log.paid_twice == {}


async def test_no_item_writes_a_cache_that_the_others_could_not_read(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    long = Approve(type="refund", subject="A long letter. " * 2000, criteria="Within 30 days.")
    async with engine_in(tmp_path) as engine:
        (decision,) = await decided(engine, [long])
    (ballot,) = (b for b in decision.ballots if b.model == HAIKU)
    assert ballot.usage.cache_write == ballot.usage.cache_write_1h == 0
    assert ballot.usage.input > 5000


async def test_without_a_key_the_decision_fails_with_its_class(
    tmp_path: Path,
) -> None:
    async with engine_in(tmp_path) as engine:
        (decision,) = await decided(engine, tasks(1))
    assert {f.failure for f in decision.failures} == {"auth"}
    assert decision.action == "abstain"


async def test_models_without_a_batch_endpoint_are_asked_live(tmp_path: Path) -> None:
    batch = Batching(tmp_path / "batches.jsonl", settings=QUICK)
    engine, client = engine_of(
        tmp_path, '[tasks.refund]\nkind = "approve"\n', lambda _: "approve", batch=batch
    )
    async with engine:
        (decision,) = await decided(engine, tasks(1))
    assert decision.action == "act"
    assert len(client.requests) == 1
    assert not batch.journal.exists()


async def test_a_call_span_names_its_batch(tmp_path: Path, loopback_env: LoopbackProvider) -> None:
    watched = Watched()
    async with engine_in(tmp_path, telemetry=watched.telemetry) as engine:
        await decided(engine, tasks(1))
    told = {attributes(call)["consensus.batch.id"] for call in watched.calls()}
    assert told == set(loopback_env.batches.made)


def test_a_batch_goes_by_one_table(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="reload and batch exclude each other"):
        Engine(batch=Batching(tmp_path / "b.jsonl"), reload=True, ledger=False)


# -- jobs ------------------------------------------------------------------------------------------


async def _job(folder: Path, *, kill_at: str | None = None) -> tuple[JobRun, list[dict[str, Any]]]:
    """Decide a file of six tasks; killed at an event of a batch, if one is named."""
    source = folder / "tasks.jsonl"
    source.write_text("".join(f'{{"subject":"Case {n}."}}\n' for n in range(6)))
    engine = engine_in(folder)
    if kill_at is not None:
        _kill_at(engine, kill_at)
    run = JobRun(engine, source, folder / "out.jsonl", "refund", concurrency=10)
    rows: list[dict[str, Any]] = []
    async with engine:
        async for row in run.rows():
            rows.append(row)  # noqa: PERF401 - rows that were decided before the kill are kept
    return run, rows


def _kill_at(engine: Engine, what: str) -> None:
    """Let the process stop at the wire: before or after the provider has taken the batch."""
    assert engine._batch is not None
    batching = engine._batch

    def killed(event: Event) -> None:
        if event.kind == what:
            raise LedgerError("killed here")

    batching._tell = killed


@pytest.mark.parametrize("moment", ["submitted", "polled", "ended"])
async def test_a_job_that_died_takes_up_its_batches_and_pays_nothing_twice(
    tmp_path: Path, loopback_env: LoopbackProvider, moment: str
) -> None:
    with pytest.raises(LedgerError, match="killed here"):
        await _job(tmp_path, kill_at=moment)
    begun = len(loopback_env.batches.made)
    assert begun >= 1
    run, rows = await _job(tmp_path)
    assert [row["action"] for row in rows] == ["act"] * 6
    assert len(loopback_env.batches.made) == 2
    assert loopback_env.log.paid_twice == {}
    assert len(loopback_env.log.paid) == 12
    assert run.bad_lines == 0


async def test_a_job_that_died_before_it_heard_of_its_batch_finds_it(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    with pytest.raises(LedgerError):
        await _job(tmp_path, kill_at="submitted")
    journal = tmp_path / "batches.jsonl"
    kept = [line for line in journal.read_text().splitlines() if '"submitted"' not in line]
    journal.write_text("\n".join(kept) + "\n")
    begun = len(loopback_env.batches.made)
    await _job(tmp_path)
    assert begun >= 1
    assert len(loopback_env.batches.made) == 2
    assert loopback_env.log.paid_twice == {}


async def test_a_batch_that_the_provider_has_forgotten_is_asked_again(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    with pytest.raises(LedgerError):
        await _job(tmp_path, kill_at="submitted")
    begun = len(loopback_env.batches.made)
    loopback_env.batches.made.clear()
    _, rows = await _job(tmp_path)
    assert begun >= 1
    assert [row["action"] for row in rows] == ["act"] * 6
    assert len(loopback_env.batches.made) == 2


async def test_another_anthropic_batch_of_the_same_size_is_not_taken_for_ours(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    with pytest.raises(LedgerError):
        await _job(tmp_path, kill_at="submitted")
    journal = tmp_path / "batches.jsonl"
    kept = [line for line in journal.read_text().splitlines() if '"submitted"' not in line]
    journal.write_text("\n".join(kept) + "\n")
    for batch in loopback_env.batches.of("anthropic"):
        for item in batch.items:
            item["custom_id"] = "other-" + item["custom_id"][:40]
    _, rows = await _job(tmp_path)
    assert [row["action"] for row in rows] == ["act"] * 6
    own = loopback_env.batches.of("anthropic")[-1]
    assert not own.items[0]["custom_id"].startswith("other-")


async def test_every_item_is_on_the_ledger_once(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    with pytest.raises(LedgerError):
        await _job(tmp_path, kill_at="ended")
    await _job(tmp_path)
    engine = engine_in(tmp_path)
    async with engine:
        assert engine.ledger is not None
        rows = [line for line in (tmp_path / "out.jsonl").read_text().splitlines() if line]
        receipts = [json.loads(row)["receipt_id"] for row in rows]
        calls = [call for name in receipts for call in engine.ledger.calls_of(name)]
    answered = [call for call in calls if call.failure is None]
    assert len(answered) == len({call.call_id for call in answered}) == 12
    assert {call.price_basis for call in answered} == {"batch"}
    # How many calls still waited for their batch when it was killed is chance.
    assert {call.failure for call in calls} <= {None, "cancelled"}
    assert sum(call.cost_pico for call in calls if call.failure is not None) == 0


async def test_a_broken_journal_stops_the_job_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "batches.jsonl").write_text("no json\n")
    with pytest.raises(DataError, match=r"batches\.jsonl:1"):
        await _job(tmp_path)
