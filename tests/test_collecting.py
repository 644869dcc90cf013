"""A process that does little else than decide arranges its garbage collector, and puts it back."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from consensus import Approve, Engine
from consensus.collecting import YOUNG
from consensus.models.scripted import ScriptedClient

POLICY = """version = 1
[tiers]
small = ["scripted/judge"]
[defaults]
strategy = "single"
tier = "small"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY, "utf-8")
    return file


async def decided(policy: Path, *, dedicated: bool) -> tuple[tuple[int, int, int], int]:
    """Thresholds and frozen objects after a decision."""
    clients = {"scripted": ScriptedClient()}
    async with Engine(policy, ledger=False, clients=clients, dedicated=dedicated) as engine:
        await engine.decide(Approve(type="refund", subject="Unused.", criteria="Unused?"))
        return gc.get_threshold(), gc.get_freeze_count()


async def test_a_library_leaves_the_collector_as_it_is(policy: Path) -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    assert await decided(policy, dedicated=False) == before


async def test_a_dedicated_process_looks_seldom_and_not_at_what_was_loaded(policy: Path) -> None:
    thresholds, frozen = await decided(policy, dedicated=True)
    assert thresholds[0] == YOUNG
    assert frozen > 1_000


async def test_closing_the_engine_puts_it_back(policy: Path) -> None:
    before = gc.get_threshold()
    await decided(policy, dedicated=True)
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
