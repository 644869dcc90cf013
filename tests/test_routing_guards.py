"""Every hop is held against its own model: its window, and what it can write."""

from __future__ import annotations

from pathlib import Path

from consensus import Approve, Generate
from consensus.models.protocol import Request
from tests.engine_fixtures import engine_of

HEAD = """
version = 1
[tiers]
small = ["scripted/a"]
frontier = ["scripted/f"]
[prices."scripted/a"]
max_input_tokens = 4000
max_output_tokens = 1000
[prices."scripted/b"]
max_input_tokens = 6000
max_output_tokens = 1000
[prices."scripted/f"]
max_input_tokens = 100_000
max_output_tokens = 8000
[defaults]
tier = "small"
"""


def essay(words: int) -> Generate:
    return Generate(type="essay", messages=[{"role": "user", "content": "word " * words}])


def approval(words: int) -> Approve:
    return Approve(type="check", subject="word " * words, criteria="Any.")


def models(client_requests: object) -> list[str]:
    return [r.model for r in client_requests if isinstance(r, Request)]  # type: ignore[attr-defined]


async def test_what_is_too_long_for_the_first_model_is_asked_of_the_next_tier(
    tmp_path: Path,
) -> None:
    rows = '[tasks.check]\nkind = "approve"\nescalate_to = ["frontier"]\n'
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        decision = await engine.decide(approval(4000))
    assert models(client.requests) == ["scripted/f"]
    assert [f.failure for f in decision.failures] == ["guard"]
    assert decision.action == "act"


async def test_the_guard_holds_for_every_hop_and_not_for_the_first_alone(tmp_path: Path) -> None:
    rows = '[tasks.check]\nkind = "approve"\nescalate_to = ["scripted/b", "frontier"]\n'
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        decision = await engine.decide(approval(6000))
    assert models(client.requests) == ["scripted/f"]
    assert [f.failure for f in decision.failures] == ["guard", "guard"]


async def test_a_fallback_is_held_against_its_own_window(tmp_path: Path) -> None:
    rows = '[tasks.check]\nkind = "approve"\nfallback = ["scripted/b", "scripted/f"]\n'
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        decision = await engine.decide(approval(6000))
    assert models(client.requests) == ["scripted/f"]
    assert [b.served_model for b in decision.ballots] == ["scripted/f"]


async def test_room_for_the_answer_is_part_of_the_guard(tmp_path: Path) -> None:
    # 0.8 × 4000 tokens: the input alone fits, the input with 1000 tokens for the answer does not.
    short = '[tasks.check]\nkind = "approve"\nmax_output_tokens = 50\n'
    long = '[tasks.check]\nkind = "approve"\nmax_output_tokens = 1000\n'
    spoken = []
    for rows in (short, long):
        engine, _ = engine_of(tmp_path, rows, {}, head=HEAD, ledger=False)
        async with engine:
            spoken.append((await engine.decide(approval(1800))).action)
    assert spoken == ["act", "abstain"]


async def test_an_answer_longer_than_the_model_writes_goes_to_one_that_can(tmp_path: Path) -> None:
    rows = (
        '[tasks.essay]\nkind = "generate"\nmax_output_tokens = 2000\nescalate_to = ["frontier"]\n'
    )
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        decision = await engine.decide(essay(20))
    assert models(client.requests) == ["scripted/f"]
    assert [f.failure for f in decision.failures] == ["guard"]
    assert "writes at most 1,000 tokens" in decision.failures[0].message


async def test_a_row_that_expects_long_answers_goes_to_a_tier_that_writes_them(
    tmp_path: Path,
) -> None:
    rows = (
        '[[defaults.when]]\nmin_expected_output_tokens = 1500\ntier = "frontier"\n'
        '[tasks.essay]\nkind = "generate"\nexpected_output_tokens = 3000\nmax_output_tokens = 900\n'
        '[tasks.note]\nkind = "generate"\nexpected_output_tokens = 100\nmax_output_tokens = 900\n'
    )
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        await engine.decide(essay(20))
        await engine.decide(essay(20).model_copy(update={"type": "note"}))
    assert models(client.requests) == ["scripted/f", "scripted/a"]


async def test_an_upper_bound_on_the_answer_is_a_rule_too(tmp_path: Path) -> None:
    rows = (
        '[tasks.essay]\nkind = "generate"\ntier = "frontier"\nexpected_output_tokens = 100\n'
        "max_output_tokens = 900\n"
        '[[tasks.essay.when]]\nmax_expected_output_tokens = 500\ntier = "small"\n'
    )
    engine, client = engine_of(tmp_path, rows, {}, head=HEAD)
    async with engine:
        await engine.decide(essay(20))
    assert models(client.requests) == ["scripted/a"]
